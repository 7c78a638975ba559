//! Events as fixed records of 64 bytes: what the columns are compared with.
//!
//! The least a record can be: owners are left out, addresses are their last four bytes.

use std::net::IpAddr;

use sockflow::event::{Event, EventKind};
use sockflow::time::Monotonic;
use tracer_common::counters::{EndDetail, OrphanEnd};
use tracer_common::state::TcpState;

const RECORD: usize = 64;

/// Appends one record.
pub(crate) fn put(out: &mut Vec<u8>, event: &Event) {
    let mut record = [0; RECORD];
    record[0..8].copy_from_slice(&event.at.0.to_le_bytes());
    record[8..16].copy_from_slice(&event.born.map_or(0, |born| born.0).to_le_bytes());
    record[16..24].copy_from_slice(&event.socket.to_le_bytes());
    record[24..28].copy_from_slice(&event.owner.as_ref().map_or(0, |o| o.pid).to_le_bytes());
    record[28..32].copy_from_slice(&event.netns.to_le_bytes());
    record[32..34].copy_from_slice(&event.local.1.to_le_bytes());
    record[34..36].copy_from_slice(&event.peer.1.to_le_bytes());
    record[36..40].copy_from_slice(&kind(event.kind));
    record[40..44].copy_from_slice(&address(event.local.0));
    record[44..48].copy_from_slice(&address(event.peer.0));
    out.extend_from_slice(&record);
}

/// Lends each record to `sink` as an event.
pub(crate) fn read(records: &[u8], mut sink: impl FnMut(&Event)) -> u64 {
    let mut events = 0;
    for record in records.chunks_exact(RECORD) {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| record[at + byte]));
        let port = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
        let address = |at: usize| IpAddr::from([0, 1, 2, 3].map(|byte| record[at + byte]));
        sink(&Event {
            at: Monotonic(word(0)),
            kind: event_kind([record[36], record[37], record[38]]),
            socket: word(16),
            local: (address(40), port(32)),
            peer: (address(44), port(34)),
            owner: None,
            netns: (word(24) >> 32) as u32,
            born: Some(Monotonic(word(8))).filter(|born| born.0 != 0),
        });
        events += 1;
    }
    events
}

fn address(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => std::array::from_fn(|byte| address.octets()[12 + byte]),
    }
}

fn kind(kind: EventKind) -> [u8; 4] {
    match kind {
        EventKind::State { old, new } => [1, old.number(), new.number(), 0],
        EventKind::Close => [2, 0, 0, 0],
        EventKind::OrphanBegin { state } => [3, state.number(), 0, 0],
        EventKind::OrphanEnd { reason, .. } => [4, reason as u8, 0, 0],
        EventKind::TimeWaitBegin { .. } => [5, 0, 0, 0],
        EventKind::ResetIn => [6, 0, 0, 0],
        EventKind::ResetOut { .. } => [7, 0, 0, 0],
        EventKind::TimeWaitEnd { .. } => [8, 0, 0, 0],
        EventKind::Pressure { .. } => [9, 0, 0, 0],
    }
}

fn event_kind([kind, one, other]: [u8; 3]) -> EventKind {
    let state = |number| TcpState::from_number(number).unwrap_or(TcpState::Close);
    match kind {
        1 => EventKind::State { old: state(one), new: state(other) },
        3 => EventKind::OrphanBegin { state: state(one) },
        4 => EventKind::OrphanEnd {
            reason: OrphanEnd::from_number(one).unwrap_or(OrphanEnd::Other),
            detail: EndDetail::None,
            cause: None,
        },
        5 => EventKind::TimeWaitBegin { substate: None },
        6 => EventKind::ResetIn,
        7 => EventKind::ResetOut { reason: None },
        _ => EventKind::Close,
    }
}
