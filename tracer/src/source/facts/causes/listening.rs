//! The listeners of all namespaces: which one is behind an address.

use std::net::SocketAddr;

use rustc_hash::FxHashSet;

/// A listener, shortly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listens {
    pub(super) netns: u32,
    pub(super) local: SocketAddr,
    pub(super) inode: u64,
    pub(super) queue: u32,
    pub(super) backlog: u32,
}

/// Listeners; sorted once all are there.
#[derive(Debug, Default)]
pub(super) struct Listening {
    all: Vec<Listens>,
    ports: FxHashSet<(u32, u16)>,
    inodes: FxHashSet<u64>,
}

impl Listening {
    pub(super) fn add(&mut self, listener: Listens) {
        self.ports.insert((listener.netns, listener.local.port()));
        self.inodes.insert(listener.inode);
        self.all.push(listener);
    }

    /// Whether somebody listens on the port.
    pub(super) fn has(&self, netns: u32, port: u16) -> bool {
        self.ports.contains(&(netns, port))
    }

    pub(super) fn is_listener(&self, inode: u64) -> bool {
        self.inodes.contains(&inode)
    }

    pub(super) fn seal(&mut self) {
        self.all.sort_unstable();
    }

    /// The listeners that connections to `local` come to: those bound to it, else to any address.
    pub(super) fn at(&self, netns: u32, local: SocketAddr) -> &[Listens] {
        let exactly = |address: SocketAddr| {
            let from = self.all.partition_point(|it| (it.netns, it.local) < (netns, address));
            let all = self.all.get(from..).unwrap_or_default();
            &all[..all.partition_point(|it| (it.netns, it.local) == (netns, address))]
        };
        let mut found = exactly(local);
        for any in super::any_of(&local.ip()) {
            if found.is_empty() {
                found = exactly((any, local.port()).into());
            }
        }
        found
    }

    /// The one whose queue a connection to `local` must be in, if that is certain.
    pub(super) fn behind(&self, netns: u32, local: SocketAddr) -> Option<u64> {
        let listeners = self.at(netns, local);
        let mut full = listeners.iter().filter(|listener| listener.queue > 0);
        match (listeners, full.next(), full.next()) {
            ([only], ..) | (_, Some(only), None) => Some(only.inode),
            _ => None,
        }
    }
}
