//! What network namespaces other than the one watched say of themselves.
//!
//! The orphan limit and TCP's memory are the host's; accept queues, TIME_WAIT buckets and the counters of
//! the group TcpExt are each namespace's own.

use std::collections::BTreeMap;

use super::Listener;

/// Namespaces of one observation that are kept.
pub const MOST_NAMESPACES: usize = 256;
/// Listeners of a namespace that are kept: those that somebody waits for, or that dropped somebody.
pub const MOST_BUSY: usize = 64;

/// Orphans killed, for their number or for want of memory.
pub const KILLED: &str = "TCPAbortOnMemory";

/// The counters of the group TcpExt that are read in every namespace.
pub const COUNTERS: [&str; 4] = [KILLED, "TCPTimeWaitOverflow", "ListenOverflows", "ListenDrops"];

/// The other namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// By number.
    pub namespaces: Vec<NetnsFacts>,
    /// Orphans that the kernel killed in any of them since watching began, also in those that are gone.
    pub killed: u64,
    /// Namespaces that were found and could not be entered, or are too many.
    pub unseen: u64,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetnsFacts {
    /// Its inode number, as `lsns -t net` shows it.
    pub netns: u32,
    /// Its name in `/run/netns`, if it has one: as somebody chose it.
    pub name: Option<String>,
    /// Those of [`COUNTERS`] that the kernel has, since watching began, or since the namespace did.
    pub counters: BTreeMap<&'static str, u64>,
    /// Minisockets, in either substate.
    pub tw: Option<u64>,
    /// `net.ipv4.tcp_max_tw_buckets`.
    pub max_tw_buckets: Option<u64>,
    /// Of its minisockets those of connections that came in, and those of connections that it made;
    /// looked at only where they are half of the limit, or more.
    pub minisockets: Option<(u64, u64)>,
    /// Its busy listeners, at most [`MOST_BUSY`].
    pub listeners: Vec<Listener>,
}

impl Elsewhere {
    /// The namespace of this number.
    #[must_use]
    pub fn find(&self, netns: u32) -> Option<&NetnsFacts> {
        self.namespaces.iter().find(|it| it.netns == netns)
    }
}

impl NetnsFacts {
    /// Whether its minisockets are half of their limit, or more.
    #[must_use]
    pub fn has_many_minisockets(&self) -> bool {
        let is_half = |(now, limit): (u64, u64)| now.saturating_mul(2) >= limit;
        self.tw.zip(self.max_tw_buckets).is_some_and(is_half)
    }

    /// What people call it: its name, or `net:[4026532008]`.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("net:[{}]", self.netns))
    }
}
