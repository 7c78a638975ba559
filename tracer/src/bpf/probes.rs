//! THE table: which signals there are, and for each the ladder of hooks that can give it.
//!
//! One row is one rung, best first. Which rung a kernel gets is decided by trying
//! ([`super::plan`]); nothing else in the project asks for a kernel version.

use crate::event::Fidelity;

/// A fact that is wanted from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// A full socket was destroyed: where orphans end.
    OrphanEnd,
    /// `close()` was called: where orphans begin.
    OrphanBegin,
    /// A socket changed its state.
    State,
    /// A RST came.
    ResetIn,
    /// A RST was sent.
    ResetOut,
    /// A minisocket took a socket's place, and ended.
    TimeWait,
    /// The kernel's memory pressure for TCP began or ended.
    MemPressure,
    /// Who closed a socket.
    Owner,
    /// Who accepted a socket that is not closed yet.
    AcceptOwner,
}

impl Signal {
    /// All signals, in the order in which they are attached: what removes records comes before
    /// what makes them, and what fills them in before the close hook, whose records are empty.
    pub const ALL: [Self; 9] = [
        Self::OrphanEnd,
        Self::State,
        Self::OrphanBegin,
        Self::ResetIn,
        Self::ResetOut,
        Self::TimeWait,
        Self::MemPressure,
        Self::Owner,
        Self::AcceptOwner,
    ];

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrphanEnd => "orphan_end",
            Self::OrphanBegin => "orphan_begin",
            Self::State => "state",
            Self::ResetIn => "reset_in",
            Self::ResetOut => "reset_out",
            Self::TimeWait => "time_wait",
            Self::MemPressure => "mem_pressure",
            Self::Owner => "owner",
            Self::AcceptOwner => "accept_owner",
        }
    }

    /// Whether sockflow cannot run without it.
    #[must_use]
    pub const fn required(self) -> bool {
        matches!(self, Self::State | Self::OrphanEnd)
    }
}

/// How a rung gets its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A BTF-typed tracepoint.
    TpBtf(&'static str),
    /// A trampoline at a function's entry.
    Fentry(&'static str),
    /// A breakpoint at a function's entry.
    Kprobe(&'static str),
    /// A `sock_release` program on the root of the cgroup2 hierarchy.
    CgroupSockRelease,
    /// Concluded from another signal.
    From(Signal),
    /// Read from time to time.
    Sampler(&'static str),
}

impl Hook {
    /// The kind alone, as [`super::plan::Only`] names it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::TpBtf(_) => "tp_btf",
            Self::Fentry(_) => "fentry",
            Self::Kprobe(_) => "kprobe",
            Self::CgroupSockRelease => "cgroup",
            Self::From(_) => "from",
            Self::Sampler(_) => "sampler",
        }
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TpBtf(name) => write!(f, "tp_btf {name}"),
            Self::Fentry(name) => write!(f, "fentry {name}"),
            Self::Kprobe(name) => write!(f, "kprobe {name}"),
            Self::CgroupSockRelease => f.write_str("cgroup/sock_release"),
            Self::From(signal) => write!(f, "from {}", signal.name()),
            Self::Sampler(what) => write!(f, "sampled: {what}"),
        }
    }
}

/// One rung of a signal's ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// What it gives.
    pub signal: Signal,
    /// How.
    pub hook: Hook,
    /// The BPF program, where it has one.
    pub program: Option<&'static str>,
    /// The program that makes up for its skipped runs, where each counts.
    pub twin: Option<&'static str>,
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
    Rung { signal, hook, program, twin: None, fidelity, blind }
}

impl Rung {
    const fn with_twin(self, twin: &'static str) -> Self {
        Self { twin: Some(twin), ..self }
    }
}

/// Every rung; within a signal, best first.
pub const PROBES: &[Rung] = &[
    rung(
        Signal::OrphanEnd,
        Hook::TpBtf("tcp_destroy_sock"),
        Some("sf_destroy"),
        Fidelity::Exact,
        "a reset by our own kernel for data that came after close() reads as peer_reset or \
         time_wait",
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
        Fidelity::Exact,
        "resets sent for a socket that is already destroyed",
    ),
    rung(Signal::ResetOut, Hook::Sampler("nothing"), None, Fidelity::Absent, "resets sent"),
    rung(
        Signal::TimeWait,
        Hook::From(Signal::State),
        None,
        Fidelity::Derived,
        "which minisockets end, and why; how many there are is sampled by sockstat and sock_diag",
    ),
    rung(
        Signal::MemPressure,
        Hook::Sampler("/proc/net/protocols"),
        None,
        Fidelity::Sampled,
        "pressure that begins and ends within an interval (TCPMemoryPressures still counts it)",
    ),
    rung(Signal::Owner, Hook::From(Signal::OrphanBegin), None, Fidelity::Exact, ""),
    rung(
        Signal::AcceptOwner,
        Hook::From(Signal::State),
        None,
        Fidelity::Derived,
        "the listener's process stands for the one that accepts, until close()",
    ),
];
