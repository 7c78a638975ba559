//! The ring buffer's bytes as events.
//!
//! The kernel side writes [`EventRecord`] as it lies in memory; here it is read field by field,
//! so that no length and no alignment has to be trusted.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, TryGetError};
use tracer_common::abi::{EventKind as RawKind, EventRecord};
use tracer_common::counters::{EndDetail, MiniEnd, OrphanEnd};
use tracer_common::lifecycle::orphan_cause;
use tracer_common::state::TcpState;

use super::known::ResetReasons;
use crate::event::{Event, EventKind, Owner};
use crate::time::Monotonic;

/// A record from its bytes; `None` when there are too few.
#[must_use]
pub fn record(bytes: &[u8]) -> Option<EventRecord> {
    fields(bytes).ok()
}

fn fields(mut bytes: &[u8]) -> Result<EventRecord, TryGetError> {
    // In the order of the struct; expressions in a literal run in the order they are written.
    let mut record = EventRecord {
        ts_ns: bytes.try_get_u64_ne()?,
        born_ns: bytes.try_get_u64_ne()?,
        cookie: bytes.try_get_u64_ne()?,
        group: bytes.try_get_u32_ne()?,
        netns: bytes.try_get_u32_ne()?,
        local_port: bytes.try_get_u16_ne()?,
        peer_port: bytes.try_get_u16_ne()?,
        kind: bytes.try_get_u8()?,
        old: bytes.try_get_u8()?,
        new: bytes.try_get_u8()?,
        reason: bytes.try_get_u8()?,
        family: bytes.try_get_u8()?,
        detail: bytes.try_get_u8()?,
        waits: bytes.try_get_u16_ne()?,
        ..EventRecord::default()
    };
    let EventRecord { tgid, local, peer, .. } = &mut record;
    *tgid = bytes.try_get_u32_ne()?;
    bytes.try_copy_to_slice(local)?;
    bytes.try_copy_to_slice(peer)?;
    Ok(record)
}

/// The event in the domain's words; `None` for a kind or a state this build does not know. `names`:
/// what the kernel's numbers for resets mean.
#[must_use]
pub fn event(raw: &EventRecord, owner: Option<&Arc<Owner>>, names: &ResetReasons) -> Option<Event> {
    let state = TcpState::from_number;
    let kind = match RawKind::ALL.into_iter().find(|kind| *kind as u8 == raw.kind)? {
        RawKind::State => EventKind::State { old: state(raw.old)?, new: state(raw.new)? },
        RawKind::Close => EventKind::Close,
        RawKind::OrphanBegin => EventKind::OrphanBegin { state: state(raw.new)? },
        RawKind::OrphanEnd => {
            let reason = OrphanEnd::from_number(raw.reason)?;
            EventKind::OrphanEnd {
                reason,
                detail: EndDetail::from_number(raw.detail)?,
                cause: state(raw.old).and_then(|last| orphan_cause(raw.waits as u8, last, reason)),
            }
        }
        RawKind::TimeWaitBegin => EventKind::TimeWaitBegin { substate: state(raw.new) },
        RawKind::TimeWaitEnd => EventKind::TimeWaitEnd {
            substate: state(raw.new)?,
            reason: MiniEnd::from_number(raw.reason)?,
        },
        RawKind::ResetIn => EventKind::ResetIn,
        RawKind::ResetOut => {
            let number = raw.reason.checked_sub(1).map(u32::from);
            EventKind::ResetOut { reason: number.and_then(|number| names.named(number)) }
        }
        RawKind::Pressure => EventKind::Pressure { began: raw.reason != 0 },
    };
    // A minisocket outlives its group, whose place may be another owner's by now.
    let owner = owner.filter(|owner| raw.tgid == 0 || raw.tgid == owner.pid);
    Some(Event {
        at: Monotonic(raw.ts_ns),
        kind,
        socket: raw.cookie,
        local: (address(raw.family, raw.local), raw.local_port),
        peer: (address(raw.family, raw.peer), raw.peer_port),
        owner: owner.cloned(),
        netns: raw.netns,
        born: (raw.born_ns != 0).then_some(Monotonic(raw.born_ns)),
    })
}

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    if family == 4 {
        IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
    } else {
        IpAddr::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_an_event_with_its_owner() {
        let owner = Arc::new(Owner { pid: 7, comm: "httpdns".into() });
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[127, 0, 0, 1]);
        let raw = EventRecord {
            ts_ns: 10,
            group: 5,
            family: 4,
            local,
            local_port: 9981,
            kind: RawKind::State as u8,
            old: 1,
            new: 4,
            ..EventRecord::default()
        };
        let names = ResetReasons::default();
        let told = event(&raw, Some(&owner), &names).unwrap();
        assert_eq!(told.owner, Some(Arc::clone(&owner)));
        assert_eq!(told.local, ("127.0.0.1".parse().unwrap(), 9981));
        let change = EventKind::State { old: TcpState::Established, new: TcpState::FinWait1 };
        assert_eq!(told.kind, change);
        assert_eq!(told.born, None);
        assert_eq!(event(&EventRecord { kind: 99, ..raw }, None, &names), None);
        let ended = EventRecord { kind: RawKind::TimeWaitEnd as u8, new: 6, tgid: 8, ..raw };
        let told = event(&ended, Some(&owner), &names).unwrap();
        assert_eq!(told.owner, None, "the group has another owner by now");
        let reason = MiniEnd::Expired;
        assert_eq!(told.kind, EventKind::TimeWaitEnd { substate: TcpState::TimeWait, reason });
    }

    /// The bytes as the kernel side lays them out.
    #[test]
    fn fields_lie_where_the_struct_has_them() {
        let mut bytes = [0_u8; size_of::<EventRecord>()];
        bytes[std::mem::offset_of!(EventRecord, cookie)] = 9;
        bytes[std::mem::offset_of!(EventRecord, peer_port)] = 7;
        bytes[std::mem::offset_of!(EventRecord, reason)] = 4;
        bytes[std::mem::offset_of!(EventRecord, family)] = 6;
        bytes[std::mem::offset_of!(EventRecord, detail)] = 3;
        bytes[std::mem::offset_of!(EventRecord, waits)] = 2;
        bytes[std::mem::offset_of!(EventRecord, tgid)] = 5;
        bytes[std::mem::offset_of!(EventRecord, local)] = 1;
        bytes[std::mem::offset_of!(EventRecord, peer) + 15] = 2;
        let read = record(&bytes).unwrap();
        assert_eq!((read.cookie, read.peer_port, read.reason, read.family), (9, 7, 4, 6));
        assert_eq!((read.local[0], read.peer[15]), (1, 2));
        assert_eq!((read.detail, read.waits, read.tgid), (3, 2, 5));
        assert_eq!(record(&bytes[1..]), None, "too short");
    }
}
