//! A payload back into events.

use std::sync::Arc;

use super::Malformed;
use super::code::{Code, Place};
use super::column::{Column, Numbers};
use super::dictionary::{AddressTable, read_owners};
use super::recent::Recent;
use super::wire::Bytes;
use crate::event::{Event, EventKind, Owner};
use crate::time::Monotonic;

/// What a payload gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Events handed over.
    pub events: u64,
    /// Events of a kind, state or reason this version does not know: left out.
    pub unknown: u64,
}

/// How many events a payload says it has, without decoding them.
pub fn count(payload: &[u8]) -> Result<u64, Malformed> {
    let count = Bytes(payload).number()?;
    // A code is a byte at least.
    if count > payload.len() as u64 {
        return Err(Malformed("it has fewer bytes than events"));
    }
    Ok(count)
}

/// Hands every event to `sink`, in order; the event is only lent.
///
/// Lengths are checked before the first event is handed over, references on the way: after an
/// error the caller drops what it was given.
pub fn decode(payload: &[u8], sink: impl FnMut(&Event)) -> Result<Decoded, Malformed> {
    Decoder::read(payload)?.run(sink)
}

struct Decoder<'a> {
    at: u64,
    table: Vec<Code>,
    owner_table: Vec<Arc<Owner>>,
    /// Of every event, its place in the table.
    codes: Vec<u16>,
    times: Numbers<'a>,
    backs: Numbers<'a>,
    owners: Numbers<'a>,
    identities: Identities<'a>,
    /// The last event of each flow: the next one differs in time and kind only.
    flows: Vec<Event>,
    recent: Recent,
}

impl<'a> Decoder<'a> {
    /// Reads the tables and finds the columns; nothing may be missing or left over.
    fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = &mut Bytes(payload);
        let length = bytes.size()?;
        let start = bytes.number()?;
        let first_cookie = bytes.number()?;
        let table = read_codes(bytes)?;
        let owner_table = read_owners(bytes)?;
        let addresses = bytes.size()?;
        let codes = Column::read(bytes, length, 1)?;
        let codes = places(codes, length, &table)?;
        let uses = Uses::count(&codes, &table);
        if addresses > 2 * uses.new {
            return Err(Malformed("it has more addresses than flows have ends"));
        }
        let times = Column::read(bytes, length, 0)?.numbers();
        let backs = Column::read(bytes, uses.back, 0)?.numbers();
        let owners = Column::read(bytes, uses.owner, 0)?.numbers();
        let identities = Identities::read(bytes, &uses, first_cookie, addresses)?;
        if !bytes.0.is_empty() {
            return Err(Malformed("it does not end where it should"));
        }
        Ok(Self {
            at: start,
            table,
            owner_table,
            codes,
            times,
            backs,
            owners,
            identities,
            flows: Vec::with_capacity(uses.new),
            recent: Recent::new(),
        })
    }

    fn run(mut self, mut sink: impl FnMut(&Event)) -> Result<Decoded, Malformed> {
        let mut decoded = Decoded::default();
        for code in std::mem::take(&mut self.codes) {
            let code = self.table[usize::from(code)];
            self.at = self.at.wrapping_add(self.times.next());
            let flow = self.flow(code.place)?;
            let event = self.flows.get_mut(flow).ok_or(Malformed("an event refers to no flow"))?;
            if code.owner_changes {
                event.owner = owner(&self.owner_table, self.owners.next())?;
            }
            self.recent.touch(flow as u32);
            let Some(kind) = code.kind else {
                decoded.unknown += 1;
                continue;
            };
            event.at = Monotonic(self.at);
            event.kind = kind;
            decoded.events += 1;
            sink(event);
        }
        if !self.identities.addresses.is_used_up() {
            return Err(Malformed("no flow has one of the addresses"));
        }
        Ok(decoded)
    }

    /// The flow an event speaks of; a new one is added.
    #[inline]
    fn flow(&mut self, place: Place) -> Result<usize, Malformed> {
        match place {
            Place::Recent(rank) => Ok(self.recent.flow(rank) as usize),
            Place::Back => {
                let back = usize::try_from(self.backs.next()).ok();
                back.and_then(|back| self.flows.len().checked_sub(back)?.checked_sub(1))
                    .ok_or(Malformed("an event refers to before the first flow"))
            }
            Place::New | Place::NewStanding => {
                let flow = self.identities.next(self.at, place == Place::New)?;
                self.flows.push(flow);
                Ok(self.flows.len() - 1)
            }
        }
    }
}

fn read_codes(bytes: &mut Bytes<'_>) -> Result<Vec<Code>, Malformed> {
    let length = bytes.size()?;
    let mut table = Vec::new();
    for _ in 0..length {
        table.push(Code::read(bytes)?);
    }
    Ok(table)
}

/// The codes of all events, each of which is in the table.
fn places(codes: Column<'_>, length: usize, table: &[Code]) -> Result<Vec<u16>, Malformed> {
    let last = u16::try_from(table.len()).map_err(|_| Malformed("its code table is too long"))?;
    let mut codes = codes.numbers();
    let mut places = Vec::with_capacity(length);
    for _ in 0..length {
        match u16::try_from(codes.next()) {
            Ok(code) if code < last => places.push(code),
            _ => return Err(Malformed("an event's code is not in the table")),
        }
    }
    Ok(places)
}

fn owner(table: &[Arc<Owner>], number: u64) -> Result<Option<Arc<Owner>>, Malformed> {
    let Some(place) = number.checked_sub(1) else { return Ok(None) };
    let owner = usize::try_from(place).ok().and_then(|place| table.get(place));
    owner.cloned().map(Some).ok_or(Malformed("an owner is not in the table"))
}

/// How often the codes call for each of the other columns: their lengths.
#[derive(Default)]
struct Uses {
    back: usize,
    owner: usize,
    new: usize,
    born: usize,
}

impl Uses {
    fn count(codes: &[u16], table: &[Code]) -> Self {
        let mut uses = vec![0; table.len()];
        for &code in codes {
            uses[usize::from(code)] += 1;
        }
        let sum = |wanted: fn(&Code) -> bool| {
            table.iter().zip(&uses).filter(|(code, _)| wanted(code)).map(|(_, uses)| uses).sum()
        };
        Self {
            back: sum(|code| code.place == Place::Back),
            owner: sum(|code| code.owner_changes),
            new: sum(|code| code.place.is_new()),
            born: sum(|code| code.place == Place::New),
        }
    }
}

/// What flows are, in the order in which they appear.
struct Identities<'a> {
    cookies: Numbers<'a>,
    local_addresses: Numbers<'a>,
    local_ports: Numbers<'a>,
    peer_addresses: Numbers<'a>,
    peer_ports: Numbers<'a>,
    netns: Numbers<'a>,
    ages: Numbers<'a>,
    addresses: AddressTable,
    /// The newest flow's.
    cookie: u64,
}

impl<'a> Identities<'a> {
    fn read(
        bytes: &mut Bytes<'a>,
        uses: &Uses,
        first_cookie: u64,
        addresses: usize,
    ) -> Result<Self, Malformed> {
        let mut column = |length| Column::read(bytes, length, 0).map(Column::numbers);
        Ok(Self {
            cookies: column(uses.new)?,
            local_addresses: column(uses.new)?,
            local_ports: column(uses.new)?,
            peer_addresses: column(uses.new)?,
            peer_ports: column(uses.new)?,
            netns: column(uses.new)?,
            ages: column(uses.born)?,
            addresses: AddressTable::read(bytes, addresses)?,
            cookie: first_cookie,
        })
    }

    /// The next flow, which appears at the time `at`, as an event to be filled in.
    #[inline]
    fn next(&mut self, at: u64, is_born: bool) -> Result<Event, Malformed> {
        self.cookie = self.cookie.wrapping_add(self.cookies.next());
        Ok(Event {
            at: Monotonic(at),
            kind: EventKind::Close,
            socket: self.cookie,
            local: (
                self.addresses.take(self.local_addresses.next())?,
                port(&mut self.local_ports)?,
            ),
            peer: (self.addresses.take(self.peer_addresses.next())?, port(&mut self.peer_ports)?),
            owner: None,
            netns: u32::try_from(self.netns.next())
                .map_err(|_| Malformed("a network namespace's number is too large"))?,
            born: is_born.then(|| Monotonic(at.wrapping_sub(self.ages.next()))),
        })
    }
}

fn port(ports: &mut Numbers<'_>) -> Result<u16, Malformed> {
    u16::try_from(ports.next()).map_err(|_| Malformed("a port is too large"))
}
