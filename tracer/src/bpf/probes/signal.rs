//! What is wanted from the kernel.

/// A fact that is wanted from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// A full socket was destroyed: where orphans end.
    OrphanEnd,
    /// `close()` was called: where orphans begin.
    OrphanBegin,
    /// A socket changed its state.
    State,
    /// Why an orphan ended.
    EndReason,
    /// A RST came.
    ResetIn,
    /// A RST was sent.
    ResetOut,
    /// Why a RST was sent.
    ResetReason,
    /// A minisocket took a socket's place, changed its substate, and ended.
    TimeWait,
    /// Why a minisocket ended.
    TimeWaitEnd,
    /// The kernel's memory pressure for TCP began or ended.
    MemPressure,
    /// Memory was refused to a socket.
    MemRefused,
    /// A connection was refused because a listener's accept queue was full.
    AcceptOverflow,
    /// A SYN or a connection was dropped at a listener, for whatever reason.
    ListenDrops,
    /// Who closed a socket.
    Owner,
    /// Who accepted a socket that is not closed yet.
    AcceptOwner,
}

impl Signal {
    /// All signals, in the order in which they are attached: what removes records comes before
    /// what makes them, and what fills them in before the close hook, whose records are empty.
    pub const ALL: [Self; 15] = [
        Self::OrphanEnd,
        Self::State,
        Self::OrphanBegin,
        Self::EndReason,
        Self::ResetIn,
        Self::ResetOut,
        Self::ResetReason,
        Self::TimeWait,
        Self::TimeWaitEnd,
        Self::MemPressure,
        Self::MemRefused,
        Self::AcceptOverflow,
        Self::ListenDrops,
        Self::Owner,
        Self::AcceptOwner,
    ];

    /// Whether its turn comes before the other's ([`Self::ALL`]).
    #[must_use]
    pub fn is_attached_before(self, other: Self) -> bool {
        let first = Self::ALL.into_iter().find(|signal| [self, other].contains(signal));
        first == Some(self) && self != other
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrphanEnd => "orphan_end",
            Self::OrphanBegin => "orphan_begin",
            Self::State => "state",
            Self::EndReason => "end_reason",
            Self::ResetIn => "reset_in",
            Self::ResetOut => "reset_out",
            Self::ResetReason => "reset_reason",
            Self::TimeWait => "time_wait",
            Self::TimeWaitEnd => "time_wait_end",
            Self::MemPressure => "mem_pressure",
            Self::MemRefused => "mem_refused",
            Self::AcceptOverflow => "accept_overflow",
            Self::ListenDrops => "listen_drops",
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
