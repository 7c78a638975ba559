//! TCP states with the kernel's numbers (`include/net/tcp_states.h`, unchanged since 4.x).

use core::fmt;

/// A TCP state; the discriminant is the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// Data flows both ways.
    Established = 1,
    /// `connect()` sent a SYN.
    SynSent = 2,
    /// A full socket waiting for the handshake's last ACK; usually for microseconds, because the
    /// kernel keeps half-open connections as request sockets, which never show in events.
    SynRecv = 3,
    /// We closed first; our FIN (or data before it) is not acknowledged yet.
    FinWait1 = 4,
    /// Our FIN is acknowledged, the peer's has not come.
    FinWait2 = 5,
    /// Only minisockets are in it; `inet_sock_set_state` never reports it.
    TimeWait = 6,
    /// Not connected (any more).
    Close = 7,
    /// The peer closed first; the application has not.
    CloseWait = 8,
    /// The peer closed first, then we did; our FIN is not acknowledged yet.
    LastAck = 9,
    /// Waiting for connections.
    Listen = 10,
    /// Both sides closed at once.
    Closing = 11,
    /// A request socket (half-open connection); never a full socket's state.
    NewSynRecv = 12,
}

impl TcpState {
    /// One more than the largest state number: the size of an array indexed by state.
    pub const COUNT: usize = 13;

    /// Every state, by number.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// The state with the kernel's number `number`, or `None` for a number no kernel uses.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        // Spelled out: an index into ALL would leave a bounds check, and a panic has no place in
        // a BPF program.
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }

    /// The kernel's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kernel's name without `TCP_`: how events spell it (`FIN_WAIT1`).
    #[must_use]
    pub const fn kernel_name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
        }
    }

    /// How `ss` spells it: what screens show.
    #[must_use]
    pub const fn ss_name(self) -> &'static str {
        match self {
            Self::Established => "ESTAB",
            Self::SynSent => "SYN-SENT",
            Self::SynRecv => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Close => "UNCONN",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW-SYN-RECV",
        }
    }

    /// Whether a socket in this state has been ESTABLISHED and has not gone: the states that
    /// count as `live` in `opened + standing = closed + live`.
    #[must_use]
    pub const fn is_connection(self) -> bool {
        matches!(
            self,
            Self::Established
                | Self::FinWait1
                | Self::FinWait2
                | Self::CloseWait
                | Self::LastAck
                | Self::Closing
        )
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.ss_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_number(state.number()), Some(state));
        }
        assert_eq!(TcpState::from_number(0), None);
        assert_eq!(TcpState::from_number(13), None);
        assert_eq!(TcpState::LastAck.number(), 9);
        assert_eq!(TcpState::Listen.number(), 10);
    }
}
