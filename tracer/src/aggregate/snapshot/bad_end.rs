//! Orphans that did not end well, by name.

use std::net::SocketAddr;

use serde::Serialize;

use super::Owner;
use crate::time::Wall;

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
    /// What it waited for: `closed_window`, `unanswered`, `in_flight`; `null` where all was
    /// acknowledged, or that is not known.
    pub cause: Option<&'static str>,
    /// Who closed it.
    pub owner: Option<Owner>,
}
