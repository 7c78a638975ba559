//! THE table: which signals there are, and for each the ladder of hooks that can give it.
//!
//! One row is one rung, best first. Which rung a kernel gets is decided by trying
//! ([`super::plan`]); nothing else in the project asks for a kernel version.

mod hook;
mod signal;

use crate::event::Fidelity;
pub use hook::Hook;
pub use signal::Signal;

/// One rung of a signal's ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// What it gives.
    pub signal: Signal,
    /// How.
    pub hook: Hook,
    /// The BPF program, where it has one.
    pub program: Option<&'static str>,
    /// Further hooks with their programs, attached before it: it takes all of them.
    pub also: &'static [(Hook, &'static str)],
    /// How many arguments [`Self::hook`]'s function must have, where the program looks behind them.
    pub params: Option<usize>,
    /// The program that makes up for its skipped runs, where each counts.
    pub twin: Option<&'static str>,
    /// The program of [`also`](field@Self::also) whose next run tells what a skipped one would have.
    pub repeating: Option<&'static str>,
    /// How far it can be trusted.
    pub fidelity: Fidelity,
    /// What can't be seen with it; empty when nothing.
    pub blind: &'static str,
}

const fn rung(
    signal: Signal,
    hook: Hook,
    program: Option<&'static str>,
    fidelity: Fidelity,
    blind: &'static str,
) -> Rung {
    Rung {
        signal,
        hook,
        program,
        twin: None,
        repeating: None,
        also: &[],
        params: None,
        fidelity,
        blind,
    }
}

impl Rung {
    const fn with_twin(self, twin: &'static str) -> Self {
        Self { twin: Some(twin), ..self }
    }

    const fn repeating(self, repeating: &'static str) -> Self {
        Self { repeating: Some(repeating), ..self }
    }

    const fn also(self, also: &'static [(Hook, &'static str)]) -> Self {
        Self { also, ..self }
    }

    const fn params(self, params: usize) -> Self {
        Self { params: Some(params), ..self }
    }

    /// Its hooks with their programs, in the order in which they are attached; the twin, which is
    /// its program once more, is not among them.
    pub fn parts(&self) -> impl Iterator<Item = (Hook, &'static str)> {
        let main = self.program.map(|program| (self.hook, program));
        self.also.iter().copied().chain(main)
    }

    /// Whether it is no loss that the kernel skips runs of this program.
    pub fn can_skip(&self, program: &str) -> bool {
        self.twin == Some(program) || self.repeating == Some(program)
    }

    /// [`Self::parts`] and the twin.
    pub fn all_parts(&self) -> impl Iterator<Item = (Hook, &'static str)> {
        self.parts().chain(self.twin.map(|twin| (self.hook, twin)))
    }
}

/// The program that brings sockets to the process that holds them ([`super::handover`]).
pub(super) const OWNER_WALK: &str = "sf_owner";

/// Of every rung that tells why an orphan ended.
const RESET_AFTER_CLOSE: &str = "a reset by our own kernel for data that came after close() reads \
    as peer_reset or time_wait";
const KILLED_CONCLUDED: &str = "the kernel's decision to kill: an orphan that ends with data or FIN \
    unacknowledged was killed, for memory if it is short when the socket is destroyed; a reset by \
    our own kernel for data that came after close() reads as peer_reset or time_wait";
const ACCEPT_BLIND: &str = "which of the two it was where the SYN queue is full as well and \
    syncookies are off: it counts here";

/// Every rung; within a signal, best first.
pub const PROBES: &[Rung] = &[
    rung(
        Signal::OrphanEnd,
        Hook::TpBtf("tcp_destroy_sock"),
        Some("sf_destroy"),
        Fidelity::Exact,
        "",
    )
    .with_twin("sf_destroy_twin"),
    rung(
        Signal::OrphanBegin,
        Hook::Fentry("tcp_close"),
        Some("sf_close_fentry"),
        Fidelity::Exact,
        "",
    ),
    rung(
        Signal::OrphanBegin,
        Hook::Kprobe("tcp_close"),
        Some("sf_close_kprobe"),
        Fidelity::Exact,
        "",
    ),
    rung(
        Signal::OrphanBegin,
        Hook::CgroupSockRelease,
        Some("sf_close_cgroup"),
        Fidelity::Exact,
        "sockets of the kernel itself; a close() that waited in vain (SO_LINGER), until its next event",
    ),
    rung(
        Signal::OrphanBegin,
        Hook::From(Signal::State),
        None,
        Fidelity::Derived,
        "shutdown(SHUT_RDWR) looks like close() until the socket's next event",
    ),
    rung(
        Signal::State,
        Hook::TpBtf("inet_sock_set_state"),
        Some("sf_state"),
        Fidelity::Exact,
        "changes whose program run the kernel skipped twice (`lost.missed`)",
    )
    .with_twin("sf_state_twin"),
    rung(
        Signal::EndReason,
        Hook::Fexit("tcp_check_oom"),
        Some("sf_killed"),
        Fidelity::Exact,
        RESET_AFTER_CLOSE,
    )
    .params(2),
    rung(
        Signal::EndReason,
        Hook::From(Signal::OrphanEnd),
        None,
        Fidelity::Derived,
        KILLED_CONCLUDED,
    ),
    rung(
        Signal::ResetIn,
        Hook::TpBtf("tcp_receive_reset"),
        Some("sf_reset_in"),
        Fidelity::Exact,
        "",
    ),
    rung(Signal::ResetIn, Hook::Sampler("nothing"), None, Fidelity::Absent, "resets received"),
    rung(
        Signal::ResetOut,
        Hook::TpBtf("tcp_send_reset"),
        Some("sf_reset_out"),
        Fidelity::Derived,
        "resets in answer to segments that belong to no full socket: a closed port, a socket that is \
         destroyed already, TIME-WAIT; the kernel's own count (TcpOutRsts) has them",
    ),
    rung(Signal::ResetOut, Hook::Sampler("nothing"), None, Fidelity::Absent, "resets sent"),
    rung(
        Signal::ResetReason,
        Hook::Argument(Signal::ResetOut, "the kernel's reason"),
        None,
        Fidelity::Exact,
        "",
    ),
    rung(
        Signal::ResetReason,
        Hook::Sampler("nothing"),
        None,
        Fidelity::Absent,
        "why resets are sent (kernels since 6.10 tell)",
    ),
    rung(
        Signal::TimeWait,
        Hook::Fexit("inet_twsk_alloc"),
        Some("sf_mini_begin"),
        Fidelity::Exact,
        "",
    )
    .also(&[
        (Hook::Fentry("inet_twsk_kill"), "sf_mini_end"),
        (Hook::Fexit("tcp_timewait_state_process"), "sf_mini_segment"),
    ])
    .params(3),
    rung(
        Signal::TimeWait,
        Hook::Fexit("inet_twsk_alloc"),
        Some("sf_mini_begin"),
        Fidelity::Exact,
        "",
    )
    .also(&[
        (Hook::Fentry("inet_twsk_kill"), "sf_mini_end"),
        (Hook::Fexit("tcp_timewait_state_process"), "sf_mini_segment_3"),
    ])
    .params(3),
    rung(
        Signal::TimeWait,
        Hook::Kretprobe("inet_twsk_alloc"),
        Some("sf_mini_begin_kretprobe"),
        Fidelity::Exact,
        "minisockets that were refused (TCPTimeWaitOverflow)",
    )
    .also(&[
        (Hook::Kprobe("inet_twsk_kill"), "sf_mini_end_kprobe"),
        (Hook::Kprobe("__inet_twsk_schedule"), "sf_mini_rearmed_kprobe"),
    ]),
    rung(
        Signal::TimeWait,
        Hook::From(Signal::State),
        None,
        Fidelity::Derived,
        "which minisockets end; how many there are is sampled by sockstat and sock_diag",
    ),
    rung(
        Signal::TimeWaitEnd,
        Hook::Fentry("inet_twsk_deschedule_put"),
        Some("sf_mini_early"),
        Fidelity::Exact,
        "",
    )
    .also(&[(Hook::Fexit("tcp_twsk_unique"), "sf_mini_unique")]),
    rung(
        Signal::TimeWaitEnd,
        Hook::Kprobe("inet_twsk_deschedule_put"),
        Some("sf_mini_early_kprobe"),
        Fidelity::Derived,
        "that a new connection took a minisocket's place: it reads as killed",
    ),
    rung(
        Signal::TimeWaitEnd,
        Hook::Sampler("nothing"),
        None,
        Fidelity::Absent,
        "why minisockets end",
    ),
    rung(
        Signal::MemPressure,
        Hook::Fentry("tcp_enter_memory_pressure"),
        Some("sf_pressure_enter"),
        Fidelity::Exact,
        "",
    )
    .also(&[(Hook::Fentry("tcp_leave_memory_pressure"), "sf_pressure_leave")])
    .repeating("sf_pressure_leave"),
    rung(
        Signal::MemPressure,
        Hook::Kprobe("tcp_enter_memory_pressure"),
        Some("sf_pressure_enter_kprobe"),
        Fidelity::Exact,
        "",
    )
    .also(&[(Hook::Kprobe("tcp_leave_memory_pressure"), "sf_pressure_leave_kprobe")])
    .repeating("sf_pressure_leave_kprobe"),
    rung(
        Signal::MemPressure,
        Hook::Sampler("/proc/net/protocols"),
        None,
        Fidelity::Sampled,
        "pressure that begins and ends within an interval (TCPMemoryPressures still counts it)",
    ),
    rung(
        Signal::MemRefused,
        Hook::TpBtf("sock_exceed_buf_limit"),
        Some("sf_refused"),
        Fidelity::Exact,
        "",
    ),
    rung(Signal::MemRefused, Hook::Sampler("nothing"), None, Fidelity::Absent, "refused memory"),
    rung(
        Signal::AcceptOverflow,
        Hook::Fentry("tcp_conn_request"),
        Some("sf_accept_syn"),
        Fidelity::Exact,
        ACCEPT_BLIND,
    )
    .also(&[
        (Hook::Fentry("tcp_v4_syn_recv_sock"), "sf_accept_v4"),
        (Hook::Fentry("tcp_v6_syn_recv_sock"), "sf_accept_v6"),
    ]),
    rung(
        Signal::AcceptOverflow,
        Hook::Kprobe("tcp_conn_request"),
        Some("sf_accept_syn_kprobe"),
        Fidelity::Exact,
        ACCEPT_BLIND,
    )
    .also(&[
        (Hook::Kprobe("tcp_v4_syn_recv_sock"), "sf_accept_v4_kprobe"),
        (Hook::Kprobe("tcp_v6_syn_recv_sock"), "sf_accept_v6_kprobe"),
    ]),
    rung(
        Signal::AcceptOverflow,
        Hook::Sampler("ListenOverflows"),
        None,
        Fidelity::Sampled,
        "at which listener: the kernel counts by network namespace",
    ),
    rung(
        Signal::ListenDrops,
        Hook::Sampler("sock_diag, the listeners' own counters"),
        None,
        Fidelity::Sampled,
        "drops since the last look at a listener that is gone",
    ),
    rung(Signal::Owner, Hook::From(Signal::OrphanBegin), None, Fidelity::Exact, ""),
    rung(
        Signal::AcceptOwner,
        Hook::Iter("tcp"),
        Some(OWNER_WALK),
        Fidelity::Derived,
        "until /proc is searched, the listener's process stands for the one that accepts; sockets that \
         no process has a descriptor of (io_uring's direct ones, or on their way to another process) \
         keep the owner they had",
    ),
    rung(
        Signal::AcceptOwner,
        Hook::From(Signal::State),
        None,
        Fidelity::Derived,
        "the listener's process stands for the one that accepts, until close()",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_main_program_may_be_skipped() {
        for rung in PROBES {
            for program in [rung.twin, rung.repeating].into_iter().flatten() {
                assert!(rung.all_parts().any(|(_, part)| part == program), "{program}");
                assert!(rung.can_skip(program), "{program}");
                assert_ne!(rung.program, Some(program));
            }
            if let Some(main) = rung.program {
                assert!(!PROBES.iter().any(|rung| rung.can_skip(main)), "{main}");
            }
        }
    }
}
