//! A reader of the kernel's own type information (BTF), for a few questions: where in a struct is
//! this field, and how wide is it? How many arguments has this function or tracepoint? What does
//! this enum call its numbers?
//!
//! `aya_obj::btf::Btf` keeps the members of structs private and rustc emits no CO-RE relocations,
//! so sockflow looks the offsets up itself. Format: `Documentation/bpf/btf.rst` in the kernel.

use std::collections::HashSet;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Where the running kernel keeps its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

const MAGIC: u16 = 0xeb9f;
/// Modifiers and typedefs are followed at most so far: a loop in broken data ends.
const MAX_CHAIN: usize = 32;

/// Parsed BTF: where each type's description begins.
pub struct Btf {
    data: Vec<u8>,
    types_at: usize,
    strings_at: usize,
    strings_len: usize,
    /// Offsets of the type records from `types_at`; index = type id − 1.
    types: Vec<u32>,
    /// Ids of the structs.
    structs: Vec<u32>,
    /// What is said not to be there ([`Self::hide`]).
    hidden: HashSet<String>,
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf").field("types", &self.types.len()).finish_non_exhaustive()
    }
}

/// A field's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the head of the outer struct.
    pub offset: u32,
    /// Bytes wide.
    pub size: u32,
}

/// Why a field's place cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfError {
    /// The data is not BTF, or cut short.
    Malformed(&'static str),
    /// No struct of this name.
    NoStruct(String),
    /// The struct has no such field.
    NoField(String),
    /// The field is a bit field: not at a byte of its own.
    BitField(String),
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed BTF: {what}"),
            Self::NoStruct(name) => write!(f, "this kernel has no struct {name}"),
            Self::NoField(name) => write!(f, "this kernel has no field {name}"),
            Self::BitField(name) => write!(f, "{name} is a bit field on this kernel"),
        }
    }
}

impl std::error::Error for BtfError {}

/// The largest file that is read: a kernel's BTF has 4 to 10 MB.
const MOST_BYTES: u64 = 128 << 20;

/// Reads a file that somebody named: it may be a device without an end, or a FIFO without a writer.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut file = file.take(MOST_BYTES + 1);
    let mut data = Vec::new();
    file.by_ref().take(2).read_to_end(&mut data)?;
    if data != MAGIC.to_le_bytes() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not BTF: wrong magic number"));
    }
    file.read_to_end(&mut data)?;
    if data.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is too large for BTF"));
    }
    Ok(data)
}

impl Btf {
    /// Reads and parses a file of raw BTF.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not BTF.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let data = read(path)
            .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
        Ok(Self::parse(data)?)
    }

    /// Parses raw BTF.
    ///
    /// # Errors
    ///
    /// [`BtfError::Malformed`].
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let malformed = BtfError::Malformed;
        if data.len() < 24 {
            return Err(malformed("shorter than its header"));
        }
        if u16::from_le_bytes([data[0], data[1]]) != MAGIC {
            return Err(malformed("wrong magic number"));
        }
        let word = |at: usize| {
            data.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(|bytes| u32::from_le_bytes(bytes) as usize)
        };
        let header = |at| word(at).ok_or(malformed("header cut short"));
        let head = header(4)?;
        let (types_at, types_len) = (head.saturating_add(header(8)?), header(12)?);
        let (strings_at, strings_len) = (head.saturating_add(header(16)?), header(20)?);
        if strings_at.saturating_add(strings_len) > data.len()
            || types_at.saturating_add(types_len) > data.len()
        {
            return Err(malformed("sections beyond its end"));
        }
        let mut btf = Self {
            data,
            types_at,
            strings_at,
            strings_len,
            types: Vec::new(),
            structs: Vec::new(),
            hidden: HashSet::new(),
        };
        btf.index(types_len)?;
        Ok(btf)
    }

    fn index(&mut self, types_len: usize) -> Result<(), BtfError> {
        let mut at = 0;
        while at < types_len {
            let info = self.word(at + 4).ok_or(BtfError::Malformed("type cut short"))?;
            let (kind, count) = (kind_of(info), count_of(info) as usize);
            let tail = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
                KIND_ENUM | KIND_FUNC_PROTO => count * 8,
                KIND_PTR | KIND_FWD | KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT
                | KIND_FUNC | KIND_FLOAT | KIND_TYPE_TAG => 0,
                _ => return Err(BtfError::Malformed("unknown kind of type")),
            };
            self.types.push(at as u32);
            if kind == KIND_STRUCT {
                self.structs.push(self.types.len() as u32);
            }
            at += 12 + tail;
        }
        Ok(())
    }

    /// Lets a field (`tcp_sock.linger2`) or a function be as if this kernel did not have it.
    pub fn hide(&mut self, name: &str) {
        self.hidden.insert(name.to_owned());
    }

    /// Whether [`Self::hide`] was told so.
    #[must_use]
    pub fn is_hidden(&self, name: &str) -> bool {
        self.hidden.contains(name)
    }

    /// Bytes of a struct.
    ///
    /// # Errors
    ///
    /// No such struct.
    pub fn size_of(&self, struct_name: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::NoStruct(struct_name.to_owned());
        let id = self.structs_named(struct_name).next().ok_or_else(missing)?;
        self.size(id, MAX_CHAIN).ok_or_else(missing)
    }

    /// How many arguments a function takes; `None` where there is no such function.
    #[must_use]
    pub fn params(&self, function: &str) -> Option<usize> {
        let at = self.find(KIND_FUNC, function)?;
        self.proto_params(self.word(at + 8)?)
    }

    /// How many arguments a tracepoint hands over; `None` where there is no such tracepoint.
    #[must_use]
    pub fn tracepoint_params(&self, tracepoint: &str) -> Option<usize> {
        // A pointer to a function that takes a `void *` before them.
        let at = self.find(KIND_TYPEDEF, &format!("btf_trace_{tracepoint}"))?;
        let pointer = self.at(self.word(at + 8)?)?;
        self.proto_params(self.word(pointer + 8)?)?.checked_sub(1)
    }

    fn proto_params(&self, id: u32) -> Option<usize> {
        let info = self.word(self.at(id)? + 4)?;
        (kind_of(info) == KIND_FUNC_PROTO).then(|| count_of(info) as usize)
    }

    /// The names of an enum's numbers; empty where there is no such enum.
    #[must_use]
    pub fn enumerators(&self, name: &str) -> Vec<(u32, &str)> {
        let Some(at) = self.find(KIND_ENUM, name) else { return Vec::new() };
        let count = self.word(at + 4).map_or(0, count_of) as usize;
        (0..count)
            .filter_map(|index| {
                let entry = at + 12 + index * 8;
                Some((self.word(entry + 4)?, self.name_at(entry)))
            })
            .collect()
    }

    /// As raw BTF with the same ids, but of all types only the functions and tracepoints of these
    /// names: for aya, which decodes every type and goes through all of them for each program, to
    /// learn an id.
    #[must_use]
    pub fn only(&self, names: &HashSet<String>) -> Vec<u8> {
        let mut strings = vec![0];
        let mut types = Vec::with_capacity(self.types.len() * 12);
        for at in self.types.iter().map(|at| *at as usize) {
            let info = self.word(at + 4).unwrap_or_default();
            let name = match kind_of(info) {
                KIND_FUNC | KIND_TYPEDEF => Some(self.name_at(at)).filter(|it| names.contains(*it)),
                _ => None,
            };
            let described = match name {
                Some(name) => {
                    let from = strings.len() as u32;
                    strings.extend(name.bytes().chain([0]));
                    [from, info, self.word(at + 8).unwrap_or_default()]
                }
                None => [0, KIND_FWD << 24, 0],
            };
            types.extend(described.iter().flat_map(|word| word.to_le_bytes()));
        }
        let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, types_len, types_len, strings_len];
        let header = header.iter().flat_map(|word| word.to_le_bytes());
        header.chain(types).chain(strings).collect()
    }

    /// Where the type of this kind and name is described: a walk through all types.
    fn find(&self, kind: u32, name: &str) -> Option<usize> {
        self.types.iter().map(|at| *at as usize).find(|at| {
            self.word(at + 4).is_some_and(|info| kind_of(info) == kind) && self.is_named(*at, name)
        })
    }

    fn structs_named(&self, name: &str) -> impl Iterator<Item = u32> {
        let is_it = move |id: &u32| self.at(*id).is_some_and(|at| self.is_named(at, name));
        self.structs.iter().copied().filter(is_it)
    }

    fn strings(&self) -> &[u8] {
        &self.data[self.strings_at..self.strings_at + self.strings_len]
    }

    /// Whether what is described here has this name: asked of a hundred thousand names at the start, so
    /// none of them is decoded.
    fn is_named(&self, at: usize, name: &str) -> bool {
        let from = self.word(at).unwrap_or(0) as usize;
        let tail = self.strings().get(from..).unwrap_or_default();
        tail.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn word(&self, at: usize) -> Option<u32> {
        let at = self.types_at + at;
        Some(u32::from_le_bytes(self.data.get(at..at + 4)?.try_into().ok()?))
    }

    fn name_at(&self, at: usize) -> &str {
        let from = self.word(at).unwrap_or(0) as usize;
        self.strings()
            .get(from..)
            .and_then(|tail| tail.split(|byte| *byte == 0).next())
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or("")
    }

    fn at(&self, id: u32) -> Option<usize> {
        self.types.get((id as usize).checked_sub(1)?).map(|at| *at as usize)
    }

    /// The field `path` of `struct_name`; a dot goes into a named member (`ns.inum`), anonymous
    /// structs and unions are looked through.
    ///
    /// # Errors
    ///
    /// No such struct or field, or a bit field.
    pub fn field(&self, struct_name: &str, path: &str) -> Result<Field, BtfError> {
        if self.structs_named(struct_name).next().is_none() {
            return Err(BtfError::NoStruct(struct_name.to_owned()));
        }
        let full = || format!("{struct_name}.{path}");
        if self.is_hidden(&full()) {
            return Err(BtfError::NoField(full()));
        }
        self.structs_named(struct_name)
            .find_map(|id| self.walk(id, path, 0))
            .ok_or_else(|| BtfError::NoField(full()))?
            .ok_or_else(|| BtfError::BitField(full()))
    }

    /// `Some(None)`: found, but a bit field.
    fn walk(&self, id: u32, path: &str, base: u32) -> Option<Option<Field>> {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let (offset, bits, type_id) = self.member(id, name, MAX_CHAIN)?;
        if bits != 0 || offset % 8 != 0 {
            return Some(None);
        }
        let offset = base + offset / 8;
        match rest {
            Some(rest) => self.walk(self.resolve(type_id)?, rest, offset),
            None => Some(Some(Field { offset, size: self.size(type_id, MAX_CHAIN)? })),
        }
    }

    /// (offset in bits, width of the bit field or 0, type) of a member, looking through anonymous
    /// ones.
    fn member(&self, id: u32, name: &str, depth: usize) -> Option<(u32, u32, u32)> {
        let depth = depth.checked_sub(1)?;
        let at = self.at(self.resolve(id)?)?;
        let info = self.word(at + 4)?;
        if !matches!(kind_of(info), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let bit_fields = info >> 31 == 1;
        for index in 0..count_of(info) as usize {
            let member_at = at + 12 + index * 12;
            let type_id = self.word(member_at + 4)?;
            let raw = self.word(member_at + 8)?;
            let (offset, bits) = if bit_fields { (raw & 0x00ff_ffff, raw >> 24) } else { (raw, 0) };
            if self.is_named(member_at, name) {
                return Some((offset, bits, type_id));
            }
            if self.is_named(member_at, "")
                && let Some((inner, bits, type_id)) = self.member(type_id, name, depth)
            {
                return Some((offset + inner, bits, type_id));
            }
        }
        None
    }

    /// Follows typedefs and modifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_CHAIN {
            let at = self.at(id)?;
            match kind_of(self.word(at + 4)?) {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = self.word(at + 8)?;
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn size(&self, id: u32, depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let at = self.at(self.resolve(id)?)?;
        match kind_of(self.word(at + 4)?) {
            KIND_PTR => Some(8),
            KIND_ARRAY => {
                let element = self.size(self.word(at + 12)?, depth)?;
                element.checked_mul(self.word(at + 20)?)
            }
            KIND_INT | KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_ENUM64 | KIND_FLOAT => {
                self.word(at + 8)
            }
            _ => None,
        }
    }
}

const fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

const fn count_of(info: u32) -> u32 {
    info & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { u32 first; union { u16 narrow; struct inner { u8 deep[4]; } named; };
    /// u32 bit:1; }`, written by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0u32\0outer\0first\0narrow\0named\0inner\0deep\0bit\0u16\0u8\0why\0\
            LATE\0close\0btf_trace_sent\0";
        let name = |wanted: &str| {
            let needle = format!("\0{wanted}\0");
            strings.windows(needle.len()).position(|w| w == needle.as_bytes()).unwrap() as u32 + 1
        };
        let mut types: Vec<u32> = Vec::new();
        let info = |kind: u32, count: u32, flag: u32| flag << 31 | kind << 24 | count;
        types.extend([name("u32"), info(KIND_INT, 0, 0), 4, 32]); // 1
        types.extend([name("u16"), info(KIND_INT, 0, 0), 2, 16]); // 2
        types.extend([name("u8"), info(KIND_INT, 0, 0), 1, 8]); // 3
        types.extend([0, info(KIND_ARRAY, 0, 0), 0, 3, 3, 4]); // 4: u8[4]
        types.extend([name("inner"), info(KIND_STRUCT, 1, 0), 4, name("deep"), 4, 0]); // 5
        types.extend([0, info(KIND_UNION, 2, 0), 4, name("narrow"), 2, 0, name("named"), 5, 0]); // 6
        types.extend([name("outer"), info(KIND_STRUCT, 3, 1), 12]); // 7
        types.extend([name("first"), 1, 0, 0, 6, 32, name("bit"), 1, 1 << 24 | 64]);
        types.extend([name("why"), info(KIND_ENUM, 1, 0), 4, name("LATE"), 3]); // 8
        types.extend([0, info(KIND_FUNC_PROTO, 2, 0), 0, 0, 1, 0, 1]); // 9: void (u32, u32)
        types.extend([name("close"), info(KIND_FUNC, 0, 0), 9]); // 10
        types.extend([0, info(KIND_PTR, 0, 0), 9]); // 11
        types.extend([name("btf_trace_sent"), info(KIND_TYPEDEF, 0, 0), 11]); // 12
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = Vec::new();
        out.extend(MAGIC.to_le_bytes());
        out.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&types);
        out.extend(strings);
        out
    }

    #[test]
    fn fields_are_found_through_anonymous_and_named_members() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.field("outer", "first"), Ok(Field { offset: 0, size: 4 }));
        assert_eq!(btf.field("outer", "narrow"), Ok(Field { offset: 4, size: 2 }));
        assert_eq!(btf.field("outer", "named.deep"), Ok(Field { offset: 4, size: 4 }));
    }

    #[test]
    fn of_what_is_cut_down_to_some_names_the_ids_stay() {
        let names = ["close", "btf_trace_sent", "absent"].map(str::to_owned).into();
        let raw = Btf::parse(sample()).unwrap().only(&names);
        let ours = Btf::parse(raw.clone()).unwrap();
        assert_eq!((ours.types.len(), &ours.structs[..]), (12, &[][..]));
        assert_eq!(ours.params("close"), None, "its arguments are not there");
        assert!(ours.at(10).is_some_and(|at| ours.find(KIND_FUNC, "close") == Some(at)));
        let tracepoint = ours.find(KIND_TYPEDEF, "btf_trace_sent");
        assert!(ours.at(12).is_some_and(|at| tracepoint == Some(at)));
        assert_eq!(ours.find(KIND_ENUM, "why"), None);
        assert!(aya::Btf::parse(&raw, aya::Endianness::default()).is_ok());
    }

    #[test]
    fn functions_tracepoints_and_enums_are_found_by_name() {
        let mut btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.params("close"), Some(2));
        assert_eq!(btf.params("open"), None);
        assert_eq!(btf.tracepoint_params("sent"), Some(1), "without the void pointer");
        assert_eq!(btf.enumerators("why"), [(3, "LATE")]);
        assert_eq!(btf.size_of("outer"), Ok(12));
        btf.hide("outer.first");
        assert_eq!(btf.field("outer", "first"), Err(BtfError::NoField("outer.first".into())));
        assert!(btf.field("outer", "narrow").is_ok());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(
            btf.field("outer", "gone").unwrap_err().to_string(),
            "this kernel has no field outer.gone"
        );
        assert_eq!(btf.field("absent", "x"), Err(BtfError::NoStruct("absent".into())));
        assert_eq!(btf.field("outer", "bit"), Err(BtfError::BitField("outer.bit".into())));
    }

    proptest::proptest! {
        #[test]
        fn damaged_data_never_panics(cut in 0_usize..400, flip in 0_usize..400, bits: u8) {
            let mut data = sample();
            let length = data.len();
            data[flip % length] ^= bits;
            data.truncate(cut.min(length));
            if let Ok(btf) = Btf::parse(data) {
                let _ = btf.field("outer", "named.deep");
            }
        }
    }
}
