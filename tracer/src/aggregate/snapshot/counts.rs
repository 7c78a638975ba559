//! Counts of sockets: by state, since tracing began, by how they ended.

use serde::{Deserialize, Serialize};

/// Sockets by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// LISTEN.
    pub listen: u64,
    /// SYN_SENT.
    pub syn_sent: u64,
    /// SYN_RECV: half-open connections (request sockets) as sock_diag last sampled them, and full
    /// sockets, which are in it for microseconds. Without a sample those alone.
    pub syn_recv: u64,
    /// ESTABLISHED.
    pub established: u64,
    /// FIN_WAIT1.
    pub fin_wait1: u64,
    /// FIN_WAIT2: full sockets plus minisockets in substate FIN_WAIT2.
    pub fin_wait2: u64,
    /// CLOSE_WAIT.
    pub close_wait: u64,
    /// LAST_ACK.
    pub last_ack: u64,
    /// CLOSING.
    pub closing: u64,
    /// Minisockets in substate TIME_WAIT.
    pub time_wait: u64,
}

impl States {
    /// Connections: what `live` means in `opened + standing = closed + live`, minisockets
    /// excepted (they are no longer full sockets).
    #[must_use]
    pub const fn live_with(&self, fin_wait2_minisockets: u64) -> u64 {
        self.established
            + self.fin_wait1
            + self.fin_wait2.saturating_sub(fin_wait2_minisockets)
            + self.close_wait
            + self.last_ack
            + self.closing
    }
}

/// Change of populations a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields of States, as rates")]
pub struct StateRates {
    pub established: f64,
    pub fin_wait1: f64,
    pub fin_wait2: f64,
    pub close_wait: f64,
    pub last_ack: f64,
    pub closing: f64,
    pub time_wait: f64,
}

/// Totals since tracing began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Sockets that reached ESTABLISHED.
    pub opened: u64,
    /// Connections that left for good (full socket reached CLOSE).
    pub closed: u64,
    /// Connections that stood when tracing began: `opened + standing = closed + live`.
    pub standing: u64,
    /// Sockets that became orphans and outlived their `close()`.
    pub orphaned: u64,
    /// Full sockets replaced by a minisocket (TIME_WAIT, or FIN_WAIT2 on its way there).
    pub time_wait: u64,
    /// RST received.
    pub resets_in: u64,
    /// RST sent.
    pub resets_out: u64,
}

/// Totals a second, over the last interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields of Totals, as rates")]
pub struct TotalRates {
    pub opened: f64,
    pub closed: f64,
    pub orphaned: f64,
    pub time_wait: f64,
    pub resets_in: f64,
    pub resets_out: f64,
}

/// Orphans by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named after the states")]
pub struct OrphanStates {
    pub fin_wait1: u64,
    pub last_ack: u64,
    pub closing: u64,
    pub fin_wait2: u64,
}

/// Why orphans ended, counted since tracing began; see `tracer_common::counters::OrphanEnd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named after OrphanEnd")]
pub struct OrphanEnds {
    pub acked: u64,
    pub time_wait: u64,
    pub peer_reset: u64,
    pub timed_out: u64,
    pub killed: u64,
    pub other: u64,
}

/// What more is known of [`OrphanEnds`]: parts of `killed` and of `other`, not beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrphanEndDetails {
    /// Of `killed`: `net.ipv4.tcp_max_orphans`.
    pub killed_limit: u64,
    /// Of `killed`: TCP's memory was above `tcp_mem[2]`, and it had data in its send queue.
    pub killed_memory: u64,
    /// Of `other`: TCP_LINGER2 is negative.
    pub linger2: u64,
}

/// Minisockets: `standing + begun = time_wait + fin_wait2 + expired + reused + killed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Minisockets {
    /// Those that stood when tracing began.
    pub standing: u64,
    /// Those that began since, in either substate.
    pub begun: u64,
    /// Now in substate TIME_WAIT.
    pub time_wait: u64,
    /// Now in substate FIN_WAIT2.
    pub fin_wait2: u64,
    /// Ended because their time was over.
    pub expired: u64,
    /// Ended because a new connection between the same ends took their place.
    pub reused: u64,
    /// Ended before their time otherwise: a RST, data in FIN_WAIT2, `ss -K`.
    pub killed: u64,
    /// Sockets for which there was none to be had (`TCPTimeWaitOverflow`).
    pub overflow: u64,
}
