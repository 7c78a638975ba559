//! Why the kernel sent a RST, by its own names (`enum sk_rst_reason`, include/net/rstreason.h,
//! since 6.10).
//!
//! The kernel's numbers differ between versions, its names do not: user space reads the running
//! kernel's enum and finds the names here. The numbers here mean nothing outside of this build.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResetReason(u8);

/// What the kernel's names begin with.
const PREFIX: &str = "SK_RST_REASON_";

const NAMES: [&str; 25] = [
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_RFC7323_PAWS",
    "TCP_TOO_OLD_ACK",
    "TCP_ACK_UNSENT_DATA",
    "TCP_FLAGS",
    "TCP_OLD_ACK",
    "TCP_ABORT_ON_DATA",
    "TCP_TIMEWAIT_SOCKET",
    "INVALID_SYN",
    "TCP_ABORT_ON_CLOSE",
    "TCP_ABORT_ON_LINGER",
    "TCP_ABORT_ON_MEMORY",
    "TCP_STATE",
    "TCP_KEEPALIVE_TIMEOUT",
    "TCP_DISCONNECT_WITH_DATA",
    "MPTCP_RST_EUNSPEC",
    "MPTCP_RST_EMPTCP",
    "MPTCP_RST_ERESOURCE",
    "MPTCP_RST_EPROHIBIT",
    "MPTCP_RST_EWQ2BIG",
    "MPTCP_RST_EBADPERF",
    "MPTCP_RST_EMIDDLEBOX",
    "ERROR",
];

impl ResetReason {
    /// How many there are.
    pub const COUNT: usize = NAMES.len();

    /// Number n.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < NAMES.len() { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The kernel's name without the prefix that all have: `TCP_ABORT_ON_CLOSE`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    /// The reason with this name, with or without the prefix.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let number = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        for number in 0..ResetReason::COUNT {
            let reason = ResetReason::from_number(u8::try_from(number).unwrap()).unwrap();
            assert_eq!(usize::from(reason.number()), number);
            assert_eq!(ResetReason::named(reason.name()), Some(reason));
        }
        assert_eq!(ResetReason::named("SK_RST_REASON_TCP_STATE").unwrap().number(), 14);
        assert_eq!(ResetReason::named("SK_RST_REASON_MAX"), None);
        assert_eq!(ResetReason::from_number(25), None);
    }
}
