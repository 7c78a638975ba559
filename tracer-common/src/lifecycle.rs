//! What a change of state means: pure decisions, made by the BPF programs and tested here.

use crate::counters::{EndDetail, OrphanCause, OrphanEnd};
use crate::state::TcpState;

/// `SOCK_DEAD`, bit 0 of `sk_flags`: the mark of an orphan (`include/net/sock.h`).
pub const SOCK_DEAD: u64 = 1 << 0;
/// `SOCK_LINGER`, bit 4 of `sk_flags`: `close()` waits `sk_lingertime` before it lets go.
pub const SOCK_LINGER: u64 = 1 << 4;
/// `SHUTDOWN_MASK`: both directions shut down, by `close()` or `shutdown(SHUT_RDWR)`.
pub const SHUTDOWN_BOTH: u8 = 3;

/// How a program knows that `close()` was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCalled {
    /// A hook on close ran for this socket.
    Yes,
    /// There is such a hook and it has not run: this is `shutdown()`.
    No,
    /// There is no such hook: only `sk_shutdown` tells.
    Unknown,
}

/// Whether this transition can only run in the context of the process that calls `close()`,
/// `shutdown()`, `listen()` or `connect()`, so that the current task may be taken for the owner.
///
/// Everything else may run in softirq, where the current task is a stranger's. From
/// `tcp_close_state` (`net/ipv4/tcp.c`): entering FIN_WAIT1 or LAST_ACK, and the transition of a
/// state to itself, happen there only.
#[must_use]
pub const fn runs_in_owner_context(old: TcpState, new: TcpState) -> bool {
    matches!(new, TcpState::Listen | TcpState::SynSent) || is_close_transition(old, new)
}

/// Whether this transition is one that `tcp_close_state` makes.
#[must_use]
pub const fn is_close_transition(old: TcpState, new: TcpState) -> bool {
    match new {
        TcpState::FinWait1 | TcpState::LastAck => true,
        TcpState::FinWait2 | TcpState::Closing => old as u8 == new as u8,
        _ => false,
    }
}

/// Whether the socket becomes an orphan with this transition: `close()` was called and TCP has
/// not finished.
///
/// `__tcp_close` sets `sk_shutdown` to both, then makes exactly one of these transitions, then
/// sets `SOCK_DEAD`. A socket that goes to CLOSE instead (unread data, SO_LINGER 0) is destroyed
/// within the call and is never an orphan that anybody could see.
#[must_use]
pub const fn begins_orphan(
    old: TcpState,
    new: TcpState,
    sk_shutdown: u8,
    close_called: CloseCalled,
) -> bool {
    sk_shutdown == SHUTDOWN_BOTH
        && is_close_transition(old, new)
        && !matches!(close_called, CloseCalled::No)
}

/// Whether a connection that nobody is known to listen for was accepted here: by its ports, of
/// which the listening one is the less ephemeral.
#[must_use]
pub const fn is_accepted(local_port: u16, peer_port: u16) -> bool {
    /// Start of Linux's default ephemeral range (`net.ipv4.ip_local_port_range`).
    const EPHEMERAL: u16 = 32_768;
    local_port < EPHEMERAL && peer_port >= EPHEMERAL
}

/// What is known of an orphan when it is destroyed.
#[derive(Clone, Copy, Debug)]
pub struct EndOfOrphan {
    /// The state it was in before CLOSE.
    pub last: TcpState,
    /// `sk_err`, an errno, or 0.
    pub sk_err: u32,
    /// A RST came.
    pub reset_in: bool,
    /// A RST was sent.
    pub reset_out: bool,
    /// Everything sent is acknowledged, the FIN included (`snd_una == write_seq`).
    pub all_acked: bool,
    /// TCP_LINGER2 is negative: FIN_WAIT2 is not waited for.
    pub linger2_negative: bool,
    /// `tcp_check_oom` was seen to decide to kill it.
    pub killed: bool,
    /// There was no minisocket to be had for it.
    pub no_minisocket: bool,
}

const ECONNABORTED: u32 = 103;
const ECONNRESET: u32 = 104;

/// Why an orphan ended.
///
/// The kernel tells by what it leaves behind: `tcp_reset` reports a RST; `tcp_write_err` sets
/// `sk_err` to ETIMEDOUT or to the last ICMP error; the orphan limit and tcp_mem
/// (`tcp_check_oom`, `tcp_out_of_resources`) end a socket with data or FIN unacknowledged and set
/// nothing, and only sometimes send a RST.
#[must_use]
pub const fn classify_end(end: EndOfOrphan) -> OrphanEnd {
    if end.killed {
        return OrphanEnd::Killed;
    }
    if end.reset_in || end.sk_err == ECONNRESET {
        return OrphanEnd::PeerReset;
    }
    if end.sk_err == ECONNABORTED {
        // tcp_abort: somebody killed it with `ss -K`.
        return OrphanEnd::Other;
    }
    if end.sk_err != 0 {
        return OrphanEnd::TimedOut;
    }
    match end.last {
        TcpState::LastAck if end.all_acked => OrphanEnd::Acked,
        TcpState::Closing if end.all_acked && !end.no_minisocket => OrphanEnd::TimeWait,
        TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing => {
            if end.all_acked {
                OrphanEnd::Other
            } else {
                OrphanEnd::Killed
            }
        }
        TcpState::FinWait2 if !end.linger2_negative && !end.reset_out && !end.no_minisocket => {
            OrphanEnd::TimeWait
        }
        _ => OrphanEnd::Other,
    }
}

/// In [`waits`]: the peer has no room (`snd_wnd` is 0).
const WINDOW_CLOSED: u8 = 1;
/// In [`waits`]: a probe of its window is unanswered (`icsk_probes_out`).
const PROBED: u8 = 2;
/// In [`waits`]: a retransmission is unanswered (`icsk_retransmits`).
const RETRANSMITTED: u8 = 4;
/// In [`waits`]: the rest was read.
const KNOWN: u8 = 8;

/// What a socket waits for, as bits, without a branch: the verifier walks what follows once for each.
///
/// None of the three is cleared on the way to `inet_csk_destroy_sock` (`tcp_done`,
/// `tcp_write_queue_purge`, net/ipv4/tcp.c); an acknowledgement clears the last two (`tcp_ack`,
/// net/ipv4/tcp_input.c).
#[must_use]
#[inline(always)]
pub const fn waits(window: u32, probes: u8, retransmits: u8) -> u8 {
    /// The highest bit of a number or of its negative is set for all but 0.
    #[inline(always)]
    const fn not_zero(number: u32) -> u8 {
        ((number | number.wrapping_neg()) >> 31) as u8
    }
    let window_closed = not_zero(window) ^ 1;
    let (probed, retransmitted) = (not_zero(probes as u32), not_zero(retransmits as u32));
    window_closed * WINDOW_CLOSED + probed * PROBED + retransmitted * RETRANSMITTED + KNOWN
}

/// What an orphan had waited for that ended so in state `last`; `None` where all was acknowledged, or
/// that is not known.
#[must_use]
pub const fn orphan_cause(waits: u8, last: TcpState, end: OrphanEnd) -> Option<OrphanCause> {
    let waited = matches!(last, TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing)
        && matches!(end, OrphanEnd::Killed | OrphanEnd::TimedOut | OrphanEnd::PeerReset);
    if !waited || waits & KNOWN == 0 {
        None
    } else if waits & (WINDOW_CLOSED | PROBED) != 0 {
        Some(OrphanCause::ClosedWindow)
    } else if waits & RETRANSMITTED != 0 {
        Some(OrphanCause::Unanswered)
    } else {
        Some(OrphanCause::InFlight)
    }
}

/// What more is known of an end that [`classify_end`] has told. `for_memory`: of a killed one,
/// whether it was for memory; `None` where that is not known.
///
/// `tcp_check_oom` kills for both at once where both hold: then it counts as memory, which no
/// higher orphan limit would have helped.
#[must_use]
pub const fn end_detail(
    reason: OrphanEnd,
    end: EndOfOrphan,
    for_memory: Option<bool>,
) -> EndDetail {
    match (reason, end.last, for_memory) {
        (OrphanEnd::Killed, _, Some(true)) => EndDetail::Memory,
        (OrphanEnd::Killed, _, Some(false)) => EndDetail::Limit,
        (OrphanEnd::Other, TcpState::FinWait2, _) if end.linger2_negative => EndDetail::Linger2,
        (OrphanEnd::Other, _, _) if end.no_minisocket => EndDetail::Overflow,
        _ => EndDetail::None,
    }
}

/// Whether this transition replaces the full socket by a minisocket, as far as the transition
/// alone can tell: `tcp_time_wait` ends in `tcp_done`, so it shows as a change to CLOSE.
#[must_use]
pub const fn begins_time_wait(old: TcpState, new: TcpState, sk_err: u32, reset_in: bool) -> bool {
    matches!(new, TcpState::Close)
        && matches!(old, TcpState::FinWait2 | TcpState::Closing)
        && sk_err == 0
        && !reset_in
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpState::*;

    #[test]
    fn what_an_orphan_waited_for() {
        use OrphanCause::*;
        for (window, probes, retransmits, expected) in [
            (0, 0, 0, ClosedWindow),
            // It answers each probe, or none.
            (0, 3, 0, ClosedWindow),
            (100, 255, 0, ClosedWindow),
            (0, 0, 4, ClosedWindow),
            (65_536, 0, 128, Unanswered),
            (u32::MAX, 0, 1, Unanswered),
            (1, 0, 0, InFlight),
        ] {
            let waits = waits(window, probes, retransmits);
            assert_eq!(orphan_cause(waits, FinWait1, OrphanEnd::Killed), Some(expected));
            assert_eq!(orphan_cause(waits, FinWait2, OrphanEnd::TimedOut), None);
            assert_eq!(orphan_cause(waits, LastAck, OrphanEnd::Acked), None);
        }
        assert_eq!(orphan_cause(0, FinWait1, OrphanEnd::Killed), None, "not read");
    }

    const CLEAN: EndOfOrphan = EndOfOrphan {
        last: LastAck,
        sk_err: 0,
        reset_in: false,
        reset_out: false,
        all_acked: true,
        linger2_negative: false,
        killed: false,
        no_minisocket: false,
    };

    #[test]
    fn close_makes_an_orphan_and_shutdown_does_not() {
        assert!(begins_orphan(Established, FinWait1, 3, CloseCalled::Yes));
        assert!(begins_orphan(CloseWait, LastAck, 3, CloseCalled::Unknown));
        assert!(!begins_orphan(Established, FinWait1, 3, CloseCalled::No));
        assert!(!begins_orphan(Established, FinWait1, 2, CloseCalled::Yes));
        // close() after shutdown(): the state goes to itself.
        assert!(begins_orphan(FinWait2, FinWait2, 3, CloseCalled::Yes));
        // The softirq acknowledging our FIN between the hook and the lock is not it.
        assert!(!begins_orphan(FinWait1, FinWait2, 3, CloseCalled::Yes));
        // Unread data: straight to CLOSE, never an orphan.
        assert!(!begins_orphan(Established, Close, 3, CloseCalled::Yes));
    }

    #[test]
    fn softirq_transitions_name_no_owner() {
        for (old, new) in [
            (Listen, SynRecv),
            (SynRecv, Established),
            (SynSent, Established),
            (Established, CloseWait),
            (FinWait1, FinWait2),
            (FinWait1, Closing),
            (FinWait2, Close),
            (LastAck, Close),
        ] {
            assert!(!runs_in_owner_context(old, new), "{old} -> {new}");
        }
        for (old, new) in [
            (Close, Listen),
            (Close, SynSent),
            (Established, FinWait1),
            (CloseWait, LastAck),
            (LastAck, LastAck),
            (Closing, Closing),
        ] {
            assert!(runs_in_owner_context(old, new), "{old} -> {new}");
        }
    }

    #[test]
    fn ends_are_told_apart_by_what_the_kernel_leaves() {
        let end = |change: fn(&mut EndOfOrphan)| {
            let mut end = CLEAN;
            change(&mut end);
            classify_end(end)
        };
        assert_eq!(end(|_| ()), OrphanEnd::Acked);
        assert_eq!(end(|e| e.all_acked = false), OrphanEnd::Killed);
        assert_eq!(end(|e| e.reset_in = true), OrphanEnd::PeerReset);
        assert_eq!(end(|e| e.sk_err = 110), OrphanEnd::TimedOut);
        assert_eq!(end(|e| e.sk_err = 113), OrphanEnd::TimedOut);
        assert_eq!(end(|e| e.sk_err = 103), OrphanEnd::Other);
        assert_eq!(end(|e| e.last = FinWait2), OrphanEnd::TimeWait);
        assert_eq!(end(|e| e.last = Closing), OrphanEnd::TimeWait);
        assert_eq!(
            end(|e| {
                e.last = FinWait2;
                e.linger2_negative = true;
            }),
            OrphanEnd::Other
        );
        assert_eq!(
            end(|e| {
                e.last = FinWait1;
                e.all_acked = false;
                e.reset_out = true;
            }),
            OrphanEnd::Killed
        );
        assert_eq!(end(|e| e.killed = true), OrphanEnd::Killed, "as the kernel decided");
        for last in [FinWait2, Closing] {
            let refused = EndOfOrphan { last, no_minisocket: true, ..CLEAN };
            assert_eq!(classify_end(refused), OrphanEnd::Other);
            assert_eq!(end_detail(OrphanEnd::Other, refused, None), EndDetail::Overflow);
        }
    }

    #[test]
    fn a_killed_orphan_was_killed_for_memory_or_for_the_limit() {
        let killed = |for_memory| end_detail(OrphanEnd::Killed, CLEAN, for_memory);
        assert_eq!(killed(Some(true)), EndDetail::Memory);
        assert_eq!(killed(Some(false)), EndDetail::Limit);
        assert_eq!(killed(None), EndDetail::None);
        let linger2 = EndOfOrphan { last: FinWait2, linger2_negative: true, ..CLEAN };
        assert_eq!(end_detail(OrphanEnd::Other, linger2, None), EndDetail::Linger2);
        assert_eq!(end_detail(OrphanEnd::Acked, CLEAN, Some(true)), EndDetail::None);
    }
}
