//! An event's code: what happened, whose event it is, and whether its owner changed.

use tracer_common::counters::{EndDetail, MiniEnd, OrphanCause, OrphanEnd};
use tracer_common::reset::ResetReason;
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
        [4, reason] => {
            let detail = EndDetail::None;
            EventKind::OrphanEnd { reason: OrphanEnd::from_number(reason)?, detail, cause: None }
        }
        [4, reason, detail] => EventKind::OrphanEnd {
            reason: OrphanEnd::from_number(reason)?,
            detail: EndDetail::from_number(detail)?,
            cause: None,
        },
        [4, reason, detail, cause] => EventKind::OrphanEnd {
            reason: OrphanEnd::from_number(reason)?,
            detail: EndDetail::from_number(detail)?,
            cause: Some(OrphanCause::from_number(cause)?),
        },
        [5] => EventKind::TimeWaitBegin { substate: None },
        [5, substate] => EventKind::TimeWaitBegin { substate: Some(state(substate)?) },
        [6] => EventKind::ResetIn,
        [7] => EventKind::ResetOut { reason: None },
        // By name: the kernel's numbers are not the same everywhere, and there will be more.
        [7, ref name @ ..] => {
            let name = str::from_utf8(name).ok()?;
            EventKind::ResetOut { reason: Some(ResetReason::named(name)?) }
        }
        [8, reason, substate] => EventKind::TimeWaitEnd {
            reason: MiniEnd::from_number(reason)?,
            substate: state(substate)?,
        },
        [9, began @ 0..=1] => EventKind::Pressure { began: began == 1 },
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
        EventKind::OrphanEnd { reason, detail, cause: Some(cause) } => {
            put(&[4, reason as u8, detail as u8, cause as u8]);
        }
        EventKind::OrphanEnd { reason, detail: EndDetail::None, .. } => put(&[4, reason as u8]),
        EventKind::OrphanEnd { reason, detail, .. } => put(&[4, reason as u8, detail as u8]),
        EventKind::TimeWaitBegin { substate: None } => put(&[5]),
        EventKind::TimeWaitBegin { substate: Some(substate) } => put(&[5, substate.number()]),
        EventKind::ResetIn => put(&[6]),
        EventKind::ResetOut { reason: None } => put(&[7]),
        EventKind::ResetOut { reason: Some(reason) } => {
            put(&[&[7], reason.name().as_bytes()].concat());
        }
        EventKind::TimeWaitEnd { reason, substate } => {
            put(&[8, reason as u8, substate.number()]);
        }
        EventKind::Pressure { began } => put(&[9, u8::from(began)]),
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
const DETAILS: usize = EndDetail::ALL.len();
const CAUSES: usize = 1 + OrphanCause::ALL.len();

// Where each kind's places begin, one for each of its arguments; state changes come first.
const ORPHAN_BEGIN: usize = STATES * STATES;
const ORPHAN_END: usize = ORPHAN_BEGIN + STATES;
const TIME_WAIT_BEGIN: usize = ORPHAN_END + OrphanEnd::ALL.len() * DETAILS * CAUSES;
const TIME_WAIT_END: usize = TIME_WAIT_BEGIN + 1 + STATES;
const RESET_OUT: usize = TIME_WAIT_END + MiniEnd::ALL.len() * STATES;
const PLAIN: usize = RESET_OUT + 1 + ResetReason::COUNT;
const SLOTS: usize = FLAGS * (PLAIN + 4);

/// Where [`Codes`] keeps a code: every kind with its arguments and flags has its own place.
fn slot(kind: EventKind, flags: u8) -> usize {
    let kind = match kind {
        EventKind::State { old, new } => old as usize * STATES + new as usize,
        EventKind::OrphanBegin { state } => ORPHAN_BEGIN + state as usize,
        EventKind::OrphanEnd { reason, detail, cause } => {
            let cause = cause.map_or(0, |cause| cause as usize);
            ORPHAN_END + (reason as usize * DETAILS + detail as usize) * CAUSES + cause
        }
        EventKind::TimeWaitBegin { substate } => {
            TIME_WAIT_BEGIN + substate.map_or(0, |state| 1 + state as usize)
        }
        EventKind::TimeWaitEnd { reason, substate } => {
            TIME_WAIT_END + reason as usize * STATES + substate as usize
        }
        EventKind::ResetOut { reason } => {
            RESET_OUT + reason.map_or(0, |reason| 1 + usize::from(reason.number()))
        }
        EventKind::Close => PLAIN,
        EventKind::ResetIn => PLAIN + 1,
        EventKind::Pressure { began } => PLAIN + 2 + usize::from(began),
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
    for detail in EndDetail::ALL {
        for cause in OrphanCause::ALL.map(Some).into_iter().chain([None]) {
            kinds.extend(OrphanEnd::ALL.map(|reason| EventKind::OrphanEnd {
                reason,
                detail,
                cause,
            }));
        }
    }
    let substates = TcpState::ALL.map(Some).into_iter().chain([None]);
    kinds.extend(substates.map(|substate| EventKind::TimeWaitBegin { substate }));
    for substate in TcpState::ALL {
        kinds.extend(MiniEnd::ALL.map(|reason| EventKind::TimeWaitEnd { reason, substate }));
    }
    let reasons = (0..=u8::MAX).map(ResetReason::from_number).take(ResetReason::COUNT + 1);
    kinds.extend(reasons.map(|reason| EventKind::ResetOut { reason }));
    kinds.extend([EventKind::Close, EventKind::ResetIn]);
    kinds.extend([true, false].map(|began| EventKind::Pressure { began }));
    kinds
}
