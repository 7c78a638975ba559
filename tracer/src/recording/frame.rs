//! The bytes around a payload: the header of a file and the header of a frame.
//!
//! Both are fixed, little-endian and carry their own checksum; everything that evolves is in the
//! payloads. Nothing is believed before its checksum is right and its lengths are within limits.

use crc32c::crc32c;

use super::bounds;

/// Begins a file. Not ASCII, and with both kinds of line end and a DOS end of file, so that a
/// transfer that rewrites text shows at once (the idea is PNG's).
pub const MAGIC: [u8; 8] = *b"\x89SFL\r\n\x1a\n";
/// The version of the layout that older readers cannot skip over.
pub const MAJOR: u16 = 1;
/// The version of what older readers may ignore.
pub const MINOR: u16 = 1;
/// Bytes of a file header.
pub const FILE_HEADER: usize = 32;
/// Bytes of a frame header.
pub const FRAME_HEADER: usize = 64;
/// Begins a frame; the last byte is the major version.
pub const MARKER: [u8; 4] = [0xf5, b'S', b'F', MAJOR as u8];
/// Most bytes of a payload in the file.
pub const MOST_STORED: u32 = 16 << 20;
/// Most bytes of a payload uncompressed.
pub const MOST_RAW: u32 = 64 << 20;
/// Most bytes of a file header: a later minor version may have more fields than we know.
const MOST_FILE_HEADER: u32 = 4096;

/// The payload is compressed with zstd.
pub const ZSTD: u8 = 1;
/// A checkpoint that was taken earlier than where it stands, see `docs/FORMAT.md`.
pub const CARRIED: u8 = 2;
/// The flags that this reader knows; a frame with another one cannot be read.
pub const KNOWN_FLAGS: u8 = ZSTD | CARRIED;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What holds for the whole run (JSON).
    Host,
    /// Events, as columns.
    Events,
    /// All that was said in one interval but events (JSON).
    Sample,
    /// The state of the aggregator, opaque here.
    Checkpoint,
    /// The file ends cleanly (JSON).
    End,
    /// From a later minor version: skipped.
    Unknown(u8),
}

impl Kind {
    /// Its number in the file.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Host => 1,
            Self::Events => 2,
            Self::Sample => 3,
            Self::Checkpoint => 4,
            Self::End => 5,
            Self::Unknown(number) => number,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Host,
            2 => Self::Events,
            3 => Self::Sample,
            4 => Self::Checkpoint,
            5 => Self::End,
            _ => Self::Unknown(number),
        }
    }
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Readers of another major version cannot read it.
    pub major: u16,
    /// Informative.
    pub minor: u16,
    /// Where the first frame begins.
    pub length: u32,
    /// The same in all pieces of a trace, and in all their frames.
    pub trace: u64,
    /// Which piece of the trace it is, from 0.
    pub piece: u32,
}

impl FileHeader {
    /// A header of this version.
    #[must_use]
    pub const fn new(trace: u64, piece: u32) -> Self {
        Self { major: MAJOR, minor: MINOR, length: FILE_HEADER as u32, trace, piece }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.trace.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.piece.to_le_bytes());
        let crc = crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header of these bytes, unless they are damaged or none at all.
    #[must_use]
    pub fn decode(bytes: &[u8; FILE_HEADER]) -> Option<Self> {
        if bytes[..8] != MAGIC || crc32c(&bytes[..28]) != u32_at(bytes, 28) {
            return None;
        }
        let header = Self {
            major: u16::from_le_bytes([bytes[8], bytes[9]]),
            minor: u16::from_le_bytes([bytes[10], bytes[11]]),
            length: u32_at(bytes, 12),
            trace: u64_at(bytes, 16),
            piece: u32_at(bytes, 24),
        };
        (FILE_HEADER as u32..=MOST_FILE_HEADER).contains(&header.length).then_some(header)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the payload is.
    pub kind: Kind,
    /// [`ZSTD`], [`CARRIED`].
    pub flags: u8,
    /// The trace it belongs to.
    pub trace: u64,
    /// Its number in the trace, over all pieces.
    pub sequence: u32,
    /// Events in it.
    pub events: u32,
    /// Events of the trace before it: the number of its first.
    pub events_before: u64,
    /// The earliest moment in it, ns of the monotonic clock.
    pub first_ns: u64,
    /// The latest.
    pub last_ns: u64,
    /// Bytes of the payload in the file.
    pub stored_len: u32,
    /// Bytes of the payload uncompressed.
    pub raw_len: u32,
    /// CRC32C of the payload as stored.
    pub payload_crc: u32,
}

impl FrameHeader {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[..4].copy_from_slice(&MARKER);
        bytes[4] = self.kind.number();
        bytes[5] = self.flags;
        bytes[8..16].copy_from_slice(&self.trace.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.events.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.events_before.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_ns.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.last_ns.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header of these bytes, unless they are damaged, none at all, or beyond the limits.
    #[must_use]
    pub fn decode(bytes: &[u8; FRAME_HEADER]) -> Option<Self> {
        if bytes[..4] != MARKER || crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return None;
        }
        let header = Self {
            kind: Kind::from_number(bytes[4]),
            flags: bytes[5],
            trace: u64_at(bytes, 8),
            sequence: u32_at(bytes, 16),
            events: u32_at(bytes, 20),
            events_before: u64_at(bytes, 24),
            first_ns: u64_at(bytes, 32),
            last_ns: u64_at(bytes, 40),
            stored_len: u32_at(bytes, 48),
            raw_len: u32_at(bytes, 52),
            payload_crc: u32_at(bytes, 56),
        };
        (header.stored_len <= MOST_STORED && header.raw_len <= MOST_RAW).then_some(header)
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub const fn size(&self) -> u64 {
        FRAME_HEADER as u64 + self.stored_len as u64
    }

    /// The number of the first event after it.
    #[must_use]
    pub const fn events_after(&self) -> u64 {
        self.events_before.saturating_add(self.events as u64)
    }

    /// The payload, if these stored bytes are it.
    ///
    /// # Errors
    ///
    /// Why not, for people.
    pub fn open(&self, stored: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        if stored.len() != self.stored_len as usize || crc32c(&stored) != self.payload_crc {
            return Err("a frame's checksum is wrong");
        }
        if self.flags & !KNOWN_FLAGS != 0 {
            return Err("a later version of sockflow wrote it in a way not known here");
        }
        bounds::header(self)?;
        let raw = if self.flags & ZSTD == 0 {
            stored
        } else {
            zstd::bulk::decompress(&stored, self.raw_len as usize)
                .map_err(|_| "it cannot be decompressed")?
        };
        if raw.len() == self.raw_len as usize { Ok(raw) } else { Err("a frame's length is wrong") }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: Kind::Events,
            flags: ZSTD,
            trace: 0x0123_4567_89ab_cdef,
            sequence: 7,
            events: 65_536,
            events_before: 1 << 40,
            first_ns: 11,
            last_ns: 12,
            stored_len: 1000,
            raw_len: 5000,
            payload_crc: 0xdead_beef,
        }
    }

    #[test]
    fn headers_come_back_as_they_were() {
        assert_eq!(FrameHeader::decode(&header().encode()), Some(header()));
        let file = FileHeader::new(42, 3);
        assert_eq!(FileHeader::decode(&file.encode()), Some(file));
    }

    #[test]
    fn no_single_flipped_bit_passes() {
        let frame = header().encode();
        for bit in 0..FRAME_HEADER * 8 {
            let mut bytes = frame;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&bytes), None, "bit {bit}");
        }
        let file = FileHeader::new(42, 3).encode();
        for bit in 0..FILE_HEADER * 8 {
            let mut bytes = file;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_no_header() {
        for (stored_len, raw_len) in [(MOST_STORED + 1, 0), (0, MOST_RAW + 1), (u32::MAX, u32::MAX)]
        {
            let header = FrameHeader { stored_len, raw_len, ..header() };
            assert_eq!(FrameHeader::decode(&header.encode()), None);
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let stored = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
        let header = FrameHeader {
            stored_len: stored.len() as u32,
            raw_len: 100,
            payload_crc: crc32c(&stored),
            events: 1,
            ..header()
        };
        assert_eq!(header.open(stored), Err("it cannot be decompressed"));
    }
}
