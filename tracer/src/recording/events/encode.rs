//! Events into a payload.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::code::{Codes, Place};
use super::column::ColumnWriter;
use super::dictionary::{Addresses, Owners};
use super::recent::Recent;
use super::wire::put_number;
use crate::event::Event;
use crate::time::Monotonic;

/// Collects events into one payload.
///
/// A payload can hold any number of events up to `u32::MAX`; a writer seals it long before.
pub struct EventsEncoder {
    /// Time of the first event, and of the last one.
    start: u64,
    at: u64,
    /// Cookie of the first flow, and of the newest one.
    first_cookie: u64,
    cookie: u64,
    codes: Codes,
    owners: Owners,
    addresses: Addresses,
    flows: Flows,
    events: EventColumns,
    identities: IdentityColumns,
}

/// What is written event by event, as far as the event's code calls for it.
#[derive(Default)]
struct EventColumns {
    codes: ColumnWriter,
    times: ColumnWriter,
    backs: ColumnWriter,
    owners: ColumnWriter,
}

/// What is written when a flow appears.
#[derive(Default)]
struct IdentityColumns {
    cookies: ColumnWriter,
    local_addresses: ColumnWriter,
    local_ports: ColumnWriter,
    peer_addresses: ColumnWriter,
    peer_ports: ColumnWriter,
    netns: ColumnWriter,
    ages: ColumnWriter,
}

/// The flows of the payload.
struct Flows {
    /// The newest flow with this cookie.
    by_cookie: FxHashMap<u64, u32>,
    known: Vec<Flow>,
    recent: Recent,
}

/// A socket as one payload knows it.
struct Flow {
    socket: u64,
    local: (IpAddr, u16),
    peer: (IpAddr, u16),
    netns: u32,
    born: Option<Monotonic>,
    /// Number in [`Owners`].
    owner: u32,
}

impl Flow {
    fn of(event: &Event) -> Self {
        let &Event { socket, local, peer, netns, born, .. } = event;
        Self { socket, local, peer, netns, born, owner: 0 }
    }

    fn is_of(&self, event: &Event) -> bool {
        self.socket == event.socket
            && self.peer == event.peer
            && self.local == event.local
            && self.born == event.born
            && self.netns == event.netns
    }
}

impl EventsEncoder {
    /// An encoder without events.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: 0,
            at: 0,
            first_cookie: 0,
            cookie: 0,
            codes: Codes::new(),
            owners: Owners::default(),
            addresses: Addresses::default(),
            flows: Flows::new(),
            events: EventColumns::default(),
            identities: IdentityColumns::default(),
        }
    }

    /// Adds one event.
    pub fn push(&mut self, event: &Event) {
        if self.is_empty() {
            self.start = event.at.0;
            self.at = self.start;
            self.first_cookie = event.socket;
            self.cookie = event.socket;
        }
        self.events.times.push(event.at.0.wrapping_sub(self.at));
        self.at = event.at.0;

        let (flow, place) = self.flows.find(event);
        match place {
            Place::Recent(_) => {}
            Place::Back => {
                self.events.backs.push(self.flows.known.len() as u64 - 1 - u64::from(flow));
            }
            Place::New | Place::NewStanding => self.write_identity(event),
        }
        let owner_changes = self.note_owner(flow, event);
        self.events.codes.push(self.codes.number(event.kind, place, owner_changes));
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.codes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes the payload would have now.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        const EVENT: usize = 3;
        const FLOW: usize = 12;
        EVENT * self.len()
            + FLOW * self.flows.known.len()
            + 2 * self.events.backs.len()
            + self.events.owners.len()
            + self.owners.size_hint()
            + self.addresses.size_hint()
    }

    /// Appends the payload to `out`; the encoder is empty again and keeps its memory.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        put_number(out, self.len() as u64);
        put_number(out, self.start);
        put_number(out, self.first_cookie);
        self.codes.finish(out);
        self.owners.finish(out);
        put_number(out, self.addresses.len() as u64);
        // A code has a byte even if all are alike, so that no short payload claims to be many
        // events.
        self.events.codes.finish(out, 1);
        self.events.times.finish(out, 0);
        self.events.backs.finish(out, 0);
        self.events.owners.finish(out, 0);
        self.identities.finish(out);
        self.addresses.finish(out);
        self.flows.clear();
        (self.start, self.first_cookie) = (0, 0);
    }

    fn write_identity(&mut self, event: &Event) {
        let columns = &mut self.identities;
        columns.cookies.push(event.socket.wrapping_sub(self.cookie));
        self.cookie = event.socket;
        columns.local_addresses.push(self.addresses.reference(event.local.0));
        columns.local_ports.push(event.local.1.into());
        columns.peer_addresses.push(self.addresses.reference(event.peer.0));
        columns.peer_ports.push(event.peer.1.into());
        columns.netns.push(event.netns.into());
        if let Some(born) = event.born {
            columns.ages.push(event.at.0.wrapping_sub(born.0));
        }
    }

    /// Whether the event's owner is another one than its flow's so far; then it is written.
    fn note_owner(&mut self, flow: u32, event: &Event) -> bool {
        let flow = &mut self.flows.known[flow as usize];
        if self.owners.is(flow.owner, event.owner.as_ref()) {
            return false;
        }
        flow.owner = self.owners.number(event.owner.as_ref());
        self.events.owners.push(flow.owner.into());
        true
    }
}

impl Default for EventsEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl IdentityColumns {
    fn finish(&mut self, out: &mut Vec<u8>) {
        for column in [
            &mut self.cookies,
            &mut self.local_addresses,
            &mut self.local_ports,
            &mut self.peer_addresses,
            &mut self.peer_ports,
            &mut self.netns,
            &mut self.ages,
        ] {
            column.finish(out, 0);
        }
    }
}

impl Flows {
    fn new() -> Self {
        Self { by_cookie: FxHashMap::default(), known: Vec::new(), recent: Recent::new() }
    }

    /// The event's flow and how to name it; a new one is now known.
    fn find(&mut self, event: &Event) -> (u32, Place) {
        let (flow, place) = self.known(event).unwrap_or_else(|| self.add(event));
        self.recent.touch(flow);
        (flow, place)
    }

    #[inline]
    fn known(&self, event: &Event) -> Option<(u32, Place)> {
        let is_its = |flow: u32| self.known.get(flow as usize).is_some_and(|f| f.is_of(event));
        // The flow that spoke last mostly goes on: no need to look it up.
        if is_its(self.recent.flow(0)) {
            return Some((self.recent.flow(0), Place::Recent(0)));
        }
        let flow = *self.by_cookie.get(&event.socket)?;
        is_its(flow).then(|| (flow, self.recent.rank(flow).map_or(Place::Back, Place::Recent)))
    }

    fn add(&mut self, event: &Event) -> (u32, Place) {
        let flow = self.known.len() as u32;
        self.known.push(Flow::of(event));
        self.by_cookie.insert(event.socket, flow);
        (flow, if event.born.is_some() { Place::New } else { Place::NewStanding })
    }

    fn clear(&mut self) {
        self.by_cookie.clear();
        self.known.clear();
        self.recent = Recent::new();
    }
}
