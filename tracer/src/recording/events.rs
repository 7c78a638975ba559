//! Events as columns: the payload of an events frame.
//!
//! A stand-in: one JSON line an event, until the columns are there.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tracer_common::counters::OrphanEnd;
use tracer_common::state::TcpState;

use crate::event::{Event, EventKind, Owner};
use crate::time::Monotonic;

/// Why a payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// What was read of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Events handed over.
    pub events: u64,
    /// Events of kinds that are not known here.
    pub unknown: u64,
}

/// Collects events for one frame.
#[derive(Debug, Default)]
pub struct EventsEncoder {
    lines: Vec<u8>,
    events: usize,
}

impl EventsEncoder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event in.
    pub fn push(&mut self, event: &Event) {
        let (kind, a, b) = match event.kind {
            EventKind::State { old, new } => (0, old.number(), new.number()),
            EventKind::Close => (1, 0, 0),
            EventKind::OrphanBegin { state } => (2, state.number(), 0),
            EventKind::OrphanEnd { reason } => (3, reason as u8, 0),
            EventKind::TimeWaitBegin => (4, 0, 0),
            EventKind::ResetIn => (5, 0, 0),
            EventKind::ResetOut => (6, 0, 0),
        };
        let owner = event.owner.as_ref().map(|owner| json!([owner.pid, owner.comm]));
        let born = event.born.map(|born| born.0);
        let line = json!([
            event.at.0,
            kind,
            a,
            b,
            event.socket,
            event.local.0,
            event.local.1,
            event.peer.0,
            event.peer.1,
            owner,
            event.netns,
            born
        ]);
        self.lines.extend_from_slice(line.to_string().as_bytes());
        self.lines.push(b'\n');
        self.events += 1;
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.events
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// About how many bytes they will take.
    #[must_use]
    pub const fn size_hint(&self) -> usize {
        self.lines.len()
    }

    /// Appends the payload to `out` and begins anew.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.lines);
        self.events = 0;
    }
}

/// How many events a payload holds.
///
/// # Errors
///
/// It is no payload.
pub fn count(payload: &[u8]) -> Result<u64, Malformed> {
    Ok(payload.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Hands over the events of a payload.
///
/// # Errors
///
/// It is no payload.
pub fn decode(payload: &[u8], mut each: impl FnMut(&Event)) -> Result<Decoded, Malformed> {
    let mut decoded = Decoded::default();
    for line in payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let value = serde_json::from_slice(line).map_err(|_| Malformed("no JSON"))?;
        each(&one(&value).ok_or(Malformed("no event"))?);
        decoded.events += 1;
    }
    Ok(decoded)
}

fn one(value: &Value) -> Option<Event> {
    let number = |index: usize| value.get(index)?.as_u64();
    let address = |index: usize| value.get(index)?.as_str()?.parse::<IpAddr>().ok();
    let small = |index: usize| u8::try_from(number(index)?).ok();
    let port = |index: usize| u16::try_from(number(index)?).ok();
    let kind = match number(1)? {
        0 => EventKind::State {
            old: TcpState::from_number(small(2)?)?,
            new: TcpState::from_number(small(3)?)?,
        },
        1 => EventKind::Close,
        2 => EventKind::OrphanBegin { state: TcpState::from_number(small(2)?)? },
        3 => EventKind::OrphanEnd { reason: OrphanEnd::from_number(small(2)?)? },
        4 => EventKind::TimeWaitBegin,
        5 => EventKind::ResetIn,
        6 => EventKind::ResetOut,
        _ => return None,
    };
    let owner = match value.get(9)? {
        Value::Null => None,
        owner => Some(Arc::new(Owner {
            pid: u32::try_from(owner.get(0)?.as_u64()?).ok()?,
            comm: owner.get(1)?.as_str()?.to_owned(),
        })),
    };
    Some(Event {
        at: Monotonic(number(0)?),
        kind,
        socket: number(4)?,
        local: (address(5)?, port(6)?),
        peer: (address(7)?, port(8)?),
        owner,
        netns: u32::try_from(number(10)?).ok()?,
        born: number(11).map(Monotonic),
    })
}
