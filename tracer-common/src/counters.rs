//! The exact totals that the programs keep for a group of sockets, and the losses.
//!
//! A group is all sockets of one service, direction and owner ([`crate::abi::GroupKey`]). Its
//! counters are an array of 64-bit words per CPU; the sum over the CPUs is the value. Populations
//! can be negative on one CPU (a socket enters a state on one and leaves it on another), never in
//! the sum at rest.

use crate::state::TcpState;

/// Words in a group's counters.
pub const GROUP_WORDS: usize = 40;

/// Index of a word in a group's counters. Words 0 to 12 are the populations by
/// [`TcpState::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Sockets that reached ESTABLISHED since tracing began.
    Opened = TcpState::COUNT as u32,
    /// Connections that reached CLOSE, of those opened and of those that stood before.
    Closed,
    /// Connections that stood before tracing began (or before the filter let them in).
    Standing,
    /// Sockets that became orphans and outlived their `close()`.
    Orphaned,
    /// Full sockets that were replaced by a minisocket (TIME_WAIT or FIN_WAIT2).
    TimeWait,
    /// RST segments received.
    ResetsIn,
    /// RST segments sent.
    ResetsOut,
    /// State changes counted.
    Changes,
    /// Orphans now (population).
    Orphans,
    /// Orphans now in FIN_WAIT1 (population).
    OrphansFinWait1,
    /// Orphans now in LAST_ACK (population).
    OrphansLastAck,
    /// Orphans now in CLOSING (population).
    OrphansClosing,
    /// Orphans now in FIN_WAIT2 as full sockets (population).
    OrphansFinWait2,
    /// Orphans that ended: see [`OrphanEnd`]; the six words follow in its order.
    OrphanEnds,
    /// Longest time a socket spent in FIN_WAIT1, ns: the maximum over the CPUs, not the sum.
    FinWait1MaxNs = Counter::OrphanEnds as u32 + OrphanEnd::ALL.len() as u32,
}

const _: () = assert!((Counter::FinWait1MaxNs as usize) < GROUP_WORDS);

/// Why an orphan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OrphanEnd {
    /// The peer closed first and acknowledged our FIN (LAST_ACK to CLOSE): the clean end.
    Acked = 0,
    /// Replaced by a minisocket (TIME_WAIT, or FIN_WAIT2 as a minisocket).
    TimeWait = 1,
    /// The peer sent a RST.
    PeerReset = 2,
    /// Retries used up (`tcp_orphan_retries`), or an ICMP error stood at the end of them.
    TimedOut = 3,
    /// Killed by the kernel: orphan limit or tcp_mem (`TCPAbortOnMemory`).
    Killed = 4,
    /// Anything else: negative TCP_LINGER2, a FIN_WAIT2 timer, a dying network namespace.
    Other = 5,
}

impl OrphanEnd {
    /// All ends, by number.
    pub const ALL: [Self; 6] =
        [Self::Acked, Self::TimeWait, Self::PeerReset, Self::TimedOut, Self::Killed, Self::Other];

    /// The end with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::TimeWait => "time_wait",
            Self::PeerReset => "peer_reset",
            Self::TimedOut => "timed_out",
            Self::Killed => "killed",
            Self::Other => "other",
        }
    }
}

/// What can be lost, by kind: index into the per-CPU array `LOSSES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// Detail events for which the ring buffer had no room. Never affects totals.
    Detail = 0,
    /// Sockets for which the table had no room: their states and ends are not counted.
    Untracked = 1,
    /// Sockets counted, but in the row "other", because the group table had no room.
    Ungrouped = 2,
    /// FIN_WAIT1 times that found no room in the histogram.
    Histogram = 3,
    /// Not a loss: program runs that the kernel skipped, and the program's twin made up for.
    Caught = 4,
}

/// Words in `LOSSES`.
pub const LOSS_WORDS: u32 = 5;

/// One group's counters on one CPU, or their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GroupCounters {
    /// The words; see [`Counter`].
    pub words: [u64; GROUP_WORDS],
}

impl Default for GroupCounters {
    fn default() -> Self {
        Self { words: [0; GROUP_WORDS] }
    }
}

// SAFETY: an array of integers; every bit pattern is valid and there is no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for GroupCounters {}

impl GroupCounters {
    /// Adds what another CPU counted: sums, except the maximum.
    pub fn merge(&mut self, other: &Self) {
        const MAX: usize = Counter::FinWait1MaxNs as usize;
        for (index, (word, add)) in self.words.iter_mut().zip(other.words).enumerate() {
            *word = if index == MAX { (*word).max(add) } else { word.wrapping_add(add) };
        }
    }

    /// A counter that only grows.
    #[must_use]
    pub const fn total(&self, counter: Counter) -> u64 {
        self.words[counter as usize]
    }

    /// A population: what is there now. The CPUs are read one after the other, so a socket in
    /// flight between two of them can make it momentarily negative: that reads as 0.
    #[must_use]
    pub const fn population(&self, counter: Counter) -> u64 {
        clamp(self.words[counter as usize])
    }

    /// Sockets now in `state`; clamped like [`Self::population`].
    #[must_use]
    pub const fn in_state(&self, state: TcpState) -> u64 {
        clamp(self.words[state.number() as usize])
    }

    /// Orphans that ended so.
    #[must_use]
    pub const fn ended(&self, end: OrphanEnd) -> u64 {
        self.words[Counter::OrphanEnds as usize + end as usize]
    }
}

#[expect(clippy::cast_possible_wrap, reason = "a population is a signed word by design")]
const fn clamp(word: u64) -> u64 {
    if (word as i64) < 0 { 0 } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn populations_add_up_over_cpus_and_never_wrap() {
        let mut born_here = GroupCounters::default();
        born_here.words[TcpState::Established.number() as usize] = 1;
        born_here.words[Counter::FinWait1MaxNs as usize] = 7;
        let mut left_there = GroupCounters::default();
        left_there.words[TcpState::Established.number() as usize] = 0_u64.wrapping_sub(1);
        left_there.words[Counter::FinWait1MaxNs as usize] = 5;
        assert_eq!(left_there.in_state(TcpState::Established), 0);
        born_here.merge(&left_there);
        assert_eq!(born_here.in_state(TcpState::Established), 0);
        assert_eq!(born_here.total(Counter::FinWait1MaxNs), 7);
    }
}
