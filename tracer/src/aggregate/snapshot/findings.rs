//! What is made of the numbers: how bad it is, what happened.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Owner;
use crate::time::Wall;

/// How bad it is: from the time to the limit, not from a percentage alone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    #[default]
    Ok,
    /// Worth knowing.
    Note,
    /// A limit within half an hour, or above 80 % of it.
    Warn,
    /// A limit within two minutes, or the kernel already kills.
    Crit,
}

impl Severity {
    /// The word on screen.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "NOTE",
            Self::Warn => "WARN",
            Self::Crit => "CRIT",
        }
    }
}

/// The one-sentence answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// How bad.
    pub severity: Severity,
    /// The sentence, without the severity word: `orphans 118,204 of 131,072 (90%) +297/s, limit
    /// reached in 43 s`.
    pub text: String,
}

/// Something that happened and matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anomaly {
    /// When.
    pub time: Wall,
    /// How bad.
    pub severity: Severity,
    /// Which kind: `orphan-kill`, `orphan-growth`, `tcp_mem`, `listen-overflow`, …
    pub kind: &'static str,
    /// The service it concerns, if one.
    pub port: Option<u16>,
    /// What happened, in words.
    pub text: String,
}

/// An orphan that ended otherwise than by its peer's acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadEnd {
    /// When.
    pub time: Wall,
    /// Its local port.
    pub port: u16,
    /// Its peer: address and port.
    pub peer: SocketAddr,
    /// Why it ended: `peer_reset`, `timed_out`, `killed`, `other`.
    pub reason: &'static str,
    /// Who closed it.
    pub owner: Option<Owner>,
}
