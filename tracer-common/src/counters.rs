//! The exact totals that the programs keep for a group of sockets, and the losses.
//!
//! A group is all sockets of one service, direction and owner ([`crate::abi::GroupKey`]). Its
//! counters are an array of 64-bit words, there several times ([`crate::abi::shard_bits`]) so that
//! CPUs do not wait for one another; the sum is the value. Populations can be negative in one shard (a
//! socket enters a state on one CPU and leaves it on another), never in the sum at rest.

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
    /// Longest time a socket spent in FIN_WAIT1, ns: the maximum over the shards, not the sum.
    FinWait1MaxNs = Counter::OrphanEnds as u32 + OrphanEnd::ALL.len() as u32,
    /// Orphans killed for the orphan limit ([`EndDetail::Limit`]).
    KilledForLimit,
    /// Orphans killed for tcp_mem ([`EndDetail::Memory`]).
    KilledForMemory,
    /// Orphans ended by a negative TCP_LINGER2 ([`EndDetail::Linger2`]).
    EndedByLinger2,
    /// Full sockets for which there was no minisocket to be had (`TCPTimeWaitOverflow`).
    TimeWaitOverflow,
    /// Memory that the kernel refused them: tcp_mem or their memory cgroup's limit.
    MemoryRefused,
    /// Connections refused because the accept queue was full, counted at the listener
    /// (`ListenOverflows`).
    AcceptOverflows,
    /// Connections taken over from other groups of the service, less those given away to them: see
    /// [`moved_word`].
    Moved,
}

const _: () = assert!((Counter::Moved as usize) < GROUP_WORDS);

/// Bits of [`Counter::Moved`] that count opened connections: at a million a second as much as a server
/// moves in 25 days. The rest counts those that stood before, which are at most as many as stood.
const MOVED_OPENED_BITS: u32 = 42;

/// What one connection that is taken over adds to [`Counter::Moved`], and takes off it where it was:
/// `opened` and `standing` are 0 or 1, by what it is counted as in the group that saw it begin.
/// [`GroupCounters::moved`] reads the sums. One word for the two, because there was room for one.
#[inline(always)]
#[must_use]
pub const fn moved_word(opened: u64, standing: u64) -> u64 {
    opened.wrapping_add(standing << MOVED_OPENED_BITS)
}

/// The word that counts the orphans now in the state with this number (population), if orphans are
/// counted in it.
///
/// By arithmetic: to the kernel's verifier a branch for each state, with a constant of its own,
/// would be paths that it walks to the end of the program one by one.
#[must_use]
pub const fn orphans_in(state: u8) -> Option<usize> {
    const FIRST: u32 = Counter::OrphansFinWait1 as u32;
    /// A state's word, two bits each, from [`FIRST`] on.
    const PLACES: u32 = (Counter::OrphansLastAck as u32 - FIRST)
        << (2 * TcpState::LastAck.number())
        | (Counter::OrphansClosing as u32 - FIRST) << (2 * TcpState::Closing.number())
        | (Counter::OrphansFinWait2 as u32 - FIRST) << (2 * TcpState::FinWait2.number());
    const STATES: u32 = 1 << TcpState::FinWait1.number()
        | 1 << TcpState::LastAck.number()
        | 1 << TcpState::Closing.number()
        | 1 << TcpState::FinWait2.number();
    let state = state & 15;
    if (STATES >> state) & 1 == 0 {
        return None;
    }
    Some((FIRST + ((PLACES >> (2 * state)) & 3)) as usize)
}

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

/// What an orphan waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OrphanCause {
    /// The peer's window is closed.
    ClosedWindow = 1,
    /// What was sent again was not answered.
    Unanswered = 2,
    /// The acknowledgement of what was sent, which was not overdue.
    InFlight = 3,
}

impl OrphanCause {
    /// All causes, by number from 1 on.
    pub const ALL: [Self; 3] = [Self::ClosedWindow, Self::Unanswered, Self::InFlight];

    /// The cause with this number; `None` for 0, which says that there is none.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1..=3 => Some(Self::ALL[number as usize - 1]),
            _ => None,
        }
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClosedWindow => "closed_window",
            Self::Unanswered => "unanswered",
            Self::InFlight => "in_flight",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::ClosedWindow => "closed window",
            Self::Unanswered => "unanswered",
            Self::InFlight => "in flight",
        }
    }
}

/// What more is known of an orphan's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndDetail {
    /// Nothing.
    #[default]
    None = 0,
    /// Of [`OrphanEnd::Killed`]: `net.ipv4.tcp_max_orphans`.
    Limit = 1,
    /// Of [`OrphanEnd::Killed`]: memory above `tcp_mem[2]` and data in its send queue.
    Memory = 2,
    /// Of [`OrphanEnd::Other`]: TCP_LINGER2 is negative, FIN_WAIT2 is not waited for.
    Linger2 = 3,
    /// Of [`OrphanEnd::Other`]: there was no minisocket to be had (`TCPTimeWaitOverflow`).
    Overflow = 4,
}

impl EndDetail {
    /// All details, by number.
    pub const ALL: [Self; 5] =
        [Self::None, Self::Limit, Self::Memory, Self::Linger2, Self::Overflow];

    /// The detail with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Its name in JSON; `None` for nothing.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Limit => Some("limit"),
            Self::Memory => Some("memory"),
            Self::Linger2 => Some("linger2"),
            Self::Overflow => Some("overflow"),
        }
    }

    /// The group's word it is counted in, if one.
    #[must_use]
    pub const fn counter(self) -> Option<Counter> {
        match self {
            Self::Limit => Some(Counter::KilledForLimit),
            Self::Memory => Some(Counter::KilledForMemory),
            Self::Linger2 => Some(Counter::EndedByLinger2),
            Self::None | Self::Overflow => None,
        }
    }
}

/// Why a minisocket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MiniEnd {
    /// Its time was over.
    Expired = 0,
    /// A new connection between the same ends took its place: a `connect()` that reused the port
    /// (`TWRecycled`), or a SYN of the peer's.
    Reused = 1,
    /// It was ended before its time otherwise: a RST came, data came in FIN_WAIT2, `ss -K`, its
    /// network namespace went.
    Killed = 2,
}

impl MiniEnd {
    /// All ends, by number.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Reused, Self::Killed];

    /// The end with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Reused => "reused",
            Self::Killed => "killed",
        }
    }
}

/// Words in a service's minisocket counters.
pub const MINI_WORDS: usize = 6;

/// Index of a word in a service's minisocket counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MiniCounter {
    /// Minisockets now in substate TIME_WAIT (population).
    TimeWait = 0,
    /// Minisockets now in substate FIN_WAIT2 (population).
    FinWait2,
    /// Minisockets that began, in either substate.
    Begun,
    /// Minisockets that ended: see [`MiniEnd`]; the three words follow in its order.
    Ends,
}

const _: () = assert!(MiniCounter::Ends as usize + MiniEnd::ALL.len() <= MINI_WORDS);

/// The minisockets of one service on one CPU, or their sum. They are counted by service and not by
/// group: a minisocket outlives its owner by a minute, and must not hold the owner's group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MiniCounters {
    /// The words; see [`MiniCounter`].
    pub words: [u64; MINI_WORDS],
}

// SAFETY: an array of integers; every bit pattern is valid and there is no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for MiniCounters {}

impl MiniCounters {
    /// Adds what another CPU counted.
    pub fn merge(&mut self, other: &Self) {
        for (word, add) in self.words.iter_mut().zip(other.words) {
            *word = word.wrapping_add(add);
        }
    }

    /// A population, clamped like [`GroupCounters::population`].
    #[must_use]
    pub const fn population(&self, counter: MiniCounter) -> u64 {
        clamp(self.words[counter as usize])
    }

    /// A counter that only grows.
    #[must_use]
    pub const fn total(&self, counter: MiniCounter) -> u64 {
        self.words[counter as usize]
    }

    /// Minisockets that ended so.
    #[must_use]
    pub const fn ended(&self, end: MiniEnd) -> u64 {
        self.words[MiniCounter::Ends as usize + end as usize]
    }
}

/// What is counted for the whole host: index into the per-CPU array `HOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HostCounter {
    /// The kernel's memory pressure for TCP began.
    PressureBegun = 0,
    /// It ended.
    PressureEnded = 1,
}

/// Words in `HOST`.
pub const HOST_WORDS: u32 = 2;

/// What can be lost, by kind: index into the per-CPU array `LOSSES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// Detail events for which the ring buffer had no room. Never affects totals.
    Detail = 0,
    /// Sockets for which the table had no room: their states and ends are not counted.
    Untracked = 1,
    /// Sockets counted, but in the row "other", because there was no group left for their owner, nor
    /// for their service.
    Ungrouped = 2,
    /// FIN_WAIT1 times that found no room in the histogram.
    Histogram = 3,
    /// Not a loss: program runs that the kernel skipped, and the program's twin made up for.
    Caught = 4,
    /// Minisockets for which the table had no room: their end is not counted, nor they themselves.
    Minisockets = 5,
    /// Reasons of resets that found no room.
    Reasons = 6,
    /// Changes of state that nobody saw, proved by the next: it began from another state than the one
    /// last seen. There are hosts whose kernel skips runs that it does not count.
    Gaps = 7,
}

/// Words in `LOSSES`.
pub const LOSS_WORDS: u32 = 8;

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

    /// Connections taken over from other groups less those given away, as (opened, standing): sums of
    /// [`moved_word`].
    #[expect(clippy::cast_possible_wrap, reason = "signed parts of a word by design")]
    #[must_use]
    pub const fn moved(&self) -> (i64, i64) {
        const UNUSED: u32 = u64::BITS - MOVED_OPENED_BITS;
        let word = self.words[Counter::Moved as usize] as i64;
        let opened = word << UNUSED >> UNUSED;
        (opened, word.wrapping_sub(opened) >> MOVED_OPENED_BITS)
    }

    /// Counts each connection where it is, and not where it began: a group that has taken one over
    /// opened it, as far as [`Counter::Opened`] and [`Counter::Standing`] tell from here on.
    ///
    /// For who has some of a service's groups only. The sum over all of them is the same without,
    /// and only grows, while one that is read in the midst of a move can be off by it.
    #[expect(clippy::cast_possible_wrap, reason = "a sum that is momentarily negative reads as 0")]
    pub const fn settle(&mut self) {
        let (opened, standing) = self.moved();
        let words = &mut self.words;
        let at = Counter::Opened as usize;
        words[at] = clamp((words[at] as i64).wrapping_add(opened) as u64);
        let at = Counter::Standing as usize;
        words[at] = clamp((words[at] as i64).wrapping_add(standing) as u64);
        words[Counter::Moved as usize] = 0;
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

    #[test]
    fn a_connection_that_is_handed_over_is_its_holders() {
        let moved = Counter::Moved as usize;
        let (mut from, mut into) = (GroupCounters::default(), GroupCounters::default());
        from.words[Counter::Opened as usize] = 40;
        from.words[Counter::Standing as usize] = 3;
        for word in (0..12).map(|_| moved_word(1, 0)).chain((0..2).map(|_| moved_word(0, 1))) {
            from.words[moved] = from.words[moved].wrapping_sub(word);
            into.words[moved] = into.words[moved].wrapping_add(word);
        }
        assert_eq!((from.moved(), into.moved()), ((-12, -2), (12, 2)));
        let mut all = from;
        all.merge(&into);
        assert_eq!(all.moved(), (0, 0));
        from.settle();
        into.settle();
        let held = |group: &GroupCounters| {
            (group.total(Counter::Opened), group.total(Counter::Standing), group.moved())
        };
        assert_eq!((held(&from), held(&into)), ((28, 1, (0, 0)), (12, 2, (0, 0))));
        // A busy server of many workers, for weeks.
        let many = moved_word(1, 0).wrapping_mul(100_000 * 86_400 * 200);
        let mut long = GroupCounters::default();
        long.words[moved] = many.wrapping_add(moved_word(0, 1).wrapping_mul(500_000));
        assert_eq!(long.moved(), (1_728_000_000_000, 500_000));
        long.words[moved] = 0_u64.wrapping_sub(long.words[moved]);
        assert_eq!(long.moved(), (-1_728_000_000_000, -500_000));
        // Read in the midst of a move.
        let mut early = GroupCounters::default();
        early.words[moved] = 0_u64.wrapping_sub(moved_word(1, 0));
        early.settle();
        assert_eq!(held(&early), (0, 0, (0, 0)));
    }

    #[test]
    fn orphans_are_counted_in_the_states_that_they_can_be_in() {
        for number in 0..16 {
            let counter = match TcpState::from_number(number) {
                Some(TcpState::FinWait1) => Some(Counter::OrphansFinWait1),
                Some(TcpState::LastAck) => Some(Counter::OrphansLastAck),
                Some(TcpState::Closing) => Some(Counter::OrphansClosing),
                Some(TcpState::FinWait2) => Some(Counter::OrphansFinWait2),
                _ => None,
            };
            assert_eq!(orphans_in(number), counter.map(|counter| counter as usize), "{number}");
        }
    }
}
