//! An event's code: what happened, whose event it is, and whether its owner changed.

use tracer_common::counters::OrphanEnd;
use tracer_common::state::TcpState;

use super::Malformed;
use super::recent::RANKS;
use super::wire::{Bytes, put_number};
use crate::event::EventKind;

/// How an event names its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// By its rank among those that spoke last.
    Recent(u8),
    /// By its distance from the newest flow, in a column.
    Back,
    /// It is a new flow, seen since its birth.
    New,
    /// It is a new flow that stood before tracing began.
    NewStanding,
}

impl Place {
    const BACK: u8 = RANKS as u8;
    const NEW: u8 = Self::BACK + 1;
    const NEW_STANDING: u8 = Self::BACK + 2;

    const fn number(self) -> u8 {
        match self {
            Self::Recent(rank) => rank,
            Self::Back => Self::BACK,
            Self::New => Self::NEW,
            Self::NewStanding => Self::NEW_STANDING,
        }
    }

    fn from_number(number: u8) -> Result<Self, Malformed> {
        Ok(match number {
            0..Self::BACK => Self::Recent(number),
            Self::BACK => Self::Back,
            Self::NEW => Self::New,
            Self::NEW_STANDING => Self::NewStanding,
            _ => return Err(Malformed("a code names its flow in an unknown way")),
        })
    }

    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::New | Self::NewStanding)
    }
}

/// In a code's flags: the event's owner is another one than its flow's so far.
const OWNER_CHANGES: u8 = 1 << 3;
const PLACE: u8 = OWNER_CHANGES - 1;

/// One entry of a payload's code table.
#[derive(Clone, Copy)]
pub(super) struct Code {
    /// `None`: a kind, state or reason of a newer version.
    pub(super) kind: Option<EventKind>,
    pub(super) place: Place,
    pub(super) owner_changes: bool,
}

impl Code {
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let flags = bytes.byte()?;
        let length = bytes.size()?;
        Ok(Self {
            kind: kind(bytes.take(length)?),
            place: Place::from_number(flags & !OWNER_CHANGES)?,
            owner_changes: flags & OWNER_CHANGES != 0,
        })
    }
}

fn kind(bytes: &[u8]) -> Option<EventKind> {
    let state = TcpState::from_number;
    Some(match *bytes {
        [1, old, new] => EventKind::State { old: state(old)?, new: state(new)? },
        [2] => EventKind::Close,
        [3, of] => EventKind::OrphanBegin { state: state(of)? },
        [4, reason] => EventKind::OrphanEnd { reason: OrphanEnd::from_number(reason)? },
        [5] => EventKind::TimeWaitBegin,
        [6] => EventKind::ResetIn,
        [7] => EventKind::ResetOut,
        _ => return None,
    })
}

fn put_kind(out: &mut Vec<u8>, kind: EventKind) {
    let mut put = |bytes: &[u8]| {
        put_number(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    match kind {
        EventKind::State { old, new } => put(&[1, old.number(), new.number()]),
        EventKind::Close => put(&[2]),
        EventKind::OrphanBegin { state } => put(&[3, state.number()]),
        EventKind::OrphanEnd { reason } => put(&[4, reason as u8]),
        EventKind::TimeWaitBegin => put(&[5]),
        EventKind::ResetIn => put(&[6]),
        EventKind::ResetOut => put(&[7]),
    }
}

/// The code table of a payload being written.
pub(super) struct Codes {
    /// By [`slot`]: the code's number plus one; 0 where the payload has none.
    numbers: Vec<u16>,
    /// The slots in use, by number.
    used: Vec<u16>,
    /// The table's entries as bytes.
    entries: Vec<u8>,
}

impl Codes {
    pub(super) fn new() -> Self {
        Self { numbers: vec![0; SLOTS], used: Vec::new(), entries: Vec::new() }
    }

    /// The number of a code, which is now in the table.
    #[inline]
    pub(super) fn number(&mut self, kind: EventKind, place: Place, owner_changes: bool) -> u64 {
        let flags = place.number() | if owner_changes { OWNER_CHANGES } else { 0 };
        let slot = slot(kind, flags);
        if self.numbers[slot] == 0 {
            self.add(kind, flags, slot);
        }
        u64::from(self.numbers[slot]) - 1
    }

    #[cold]
    fn add(&mut self, kind: EventKind, flags: u8, slot: usize) {
        self.entries.push(flags);
        put_kind(&mut self.entries, kind);
        self.used.push(slot as u16);
        self.numbers[slot] = self.used.len() as u16;
    }

    /// Writes the table and empties it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        put_number(out, self.used.len() as u64);
        out.append(&mut self.entries);
        for slot in self.used.drain(..) {
            self.numbers[usize::from(slot)] = 0;
        }
    }
}

const FLAGS: usize = (OWNER_CHANGES | PLACE) as usize + 1;
const STATES: usize = TcpState::COUNT;
const SLOTS: usize = FLAGS * (STATES * STATES + STATES + OrphanEnd::ALL.len() + 4);

/// Where [`Codes`] keeps a code: every kind with its arguments and flags has its own place.
fn slot(kind: EventKind, flags: u8) -> usize {
    const ORPHAN_BEGIN: usize = STATES * STATES;
    const ORPHAN_END: usize = ORPHAN_BEGIN + STATES;
    const PLAIN: usize = ORPHAN_END + OrphanEnd::ALL.len();
    let kind = match kind {
        EventKind::State { old, new } => old as usize * STATES + new as usize,
        EventKind::OrphanBegin { state } => ORPHAN_BEGIN + state as usize,
        EventKind::OrphanEnd { reason } => ORPHAN_END + reason as usize,
        EventKind::Close => PLAIN,
        EventKind::TimeWaitBegin => PLAIN + 1,
        EventKind::ResetIn => PLAIN + 2,
        EventKind::ResetOut => PLAIN + 3,
    };
    kind * FLAGS + usize::from(flags)
}

/// All kinds with all their arguments.
#[cfg(test)]
pub(super) fn every_kind() -> Vec<EventKind> {
    let states = TcpState::ALL.into_iter();
    let changes =
        states.clone().flat_map(|old| TcpState::ALL.map(move |new| EventKind::State { old, new }));
    let mut kinds: Vec<_> = changes.collect();
    kinds.extend(states.map(|state| EventKind::OrphanBegin { state }));
    kinds.extend(OrphanEnd::ALL.map(|reason| EventKind::OrphanEnd { reason }));
    kinds.extend([EventKind::Close, EventKind::TimeWaitBegin]);
    kinds.extend([EventKind::ResetIn, EventKind::ResetOut]);
    kinds
}
