//! Where a program is attached, or what stands for it.

use super::Signal;

/// How a rung gets its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A BTF-typed tracepoint.
    TpBtf(&'static str),
    /// A trampoline at a function's entry.
    Fentry(&'static str),
    /// A trampoline at a function's exit.
    Fexit(&'static str),
    /// A breakpoint at a function's entry.
    Kprobe(&'static str),
    /// A breakpoint where a function returns.
    Kretprobe(&'static str),
    /// An argument of another signal's tracepoint.
    Argument(Signal, &'static str),
    /// A `sock_release` program on the root of the cgroup2 hierarchy.
    CgroupSockRelease,
    /// A walk through all objects of a kind, which user space has done from time to time.
    Iter(&'static str),
    /// Concluded from another signal.
    From(Signal),
    /// Read from time to time.
    Sampler(&'static str),
}

impl Hook {
    /// The kind alone, as [`crate::bpf::plan::Only`] names it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::TpBtf(_) => "tp_btf",
            Self::Fentry(_) => "fentry",
            Self::Fexit(_) => "fexit",
            Self::Kprobe(_) => "kprobe",
            Self::Kretprobe(_) => "kretprobe",
            Self::Argument(..) => "argument",
            Self::CgroupSockRelease => "cgroup",
            Self::Iter(_) => "iter",
            Self::From(_) => "from",
            Self::Sampler(_) => "sampler",
        }
    }

    /// The kernel's function or tracepoint.
    #[must_use]
    pub const fn target(self) -> Option<&'static str> {
        match self {
            Self::TpBtf(name)
            | Self::Fentry(name)
            | Self::Fexit(name)
            | Self::Kprobe(name)
            | Self::Kretprobe(name) => Some(name),
            Self::Argument(..)
            | Self::CgroupSockRelease
            | Self::Iter(_)
            | Self::From(_)
            | Self::Sampler(_) => None,
        }
    }

    /// The signal it is concluded from, if it is.
    #[must_use]
    pub const fn source(self) -> Option<Signal> {
        match self {
            Self::From(signal) | Self::Argument(signal, _) => Some(signal),
            _ => None,
        }
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TpBtf(name) => write!(f, "tp_btf {name}"),
            Self::Fentry(name) => write!(f, "fentry {name}"),
            Self::Fexit(name) => write!(f, "fexit {name}"),
            Self::Kprobe(name) => write!(f, "kprobe {name}"),
            Self::Kretprobe(name) => write!(f, "kretprobe {name}"),
            Self::Argument(signal, what) => write!(f, "with {}: {what}", signal.name()),
            Self::CgroupSockRelease => f.write_str("cgroup/sock_release"),
            Self::Iter(kind) => write!(f, "iter {kind}"),
            Self::From(signal) => write!(f, "from {}", signal.name()),
            Self::Sampler(what) => write!(f, "sampled: {what}"),
        }
    }
}
