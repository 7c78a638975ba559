//! What the sockets of a row wait for, and the memory they hold: observed from time to time, by
//! sock_diag and in `/proc/PID/fd`.

use std::ops::AddAssign;

use serde::Serialize;

use super::{Direction, Owner};

/// Orphans by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrphansByCause {
    /// The peer's window is closed, and the kernel probes it.
    pub closed_window: u64,
    /// Retransmitted without an answer.
    pub unanswered: u64,
    /// Neither: sent, and not overdue.
    pub in_flight: u64,
}

impl AddAssign for OrphansByCause {
    fn add_assign(&mut self, more: Self) {
        self.closed_window += more.closed_window;
        self.unanswered += more.unanswered;
        self.in_flight += more.in_flight;
    }
}

/// Sockets in CLOSE_WAIT by what the application has left undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CloseWaitByCause {
    /// Nobody has accepted them.
    pub never_accepted: u64,
    /// Data is in their receive queue.
    pub unread_data: u64,
    /// Only the FIN is in it.
    pub eof_unread: u64,
    /// Nothing is left to read, and they are not closed.
    pub not_closed: u64,
}

/// A service whose sockets hold much of TCP's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The listening side's port.
    pub port: u16,
    /// Which side we are on.
    pub direction: Direction,
    /// The process that holds most of it; `null` where none does (orphans) or it is not known.
    pub owner: Option<Owner>,
    /// Memory charged to TCP for them, bytes.
    pub bytes: u64,
}
