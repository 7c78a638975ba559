//! Local ports in use by local address.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use super::super::super::sock_diag::Entry;
use crate::facts::causes::{MOST_ROWS, SourcePorts};

/// Addresses told apart.
const MOST_ADDRESSES: usize = 256;
/// Destinations told apart, of all addresses together.
const MOST_DESTINATIONS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Sources {
    netns: u32,
    range: (u16, u16),
    found: FxHashMap<(u32, IpAddr), Source>,
    destinations: usize,
}

/// One address. A port is a bit, counted from the first of the range.
#[derive(Debug)]
struct Source {
    range: (u16, u16),
    used: Vec<u64>,
    /// Those that more than TIME_WAIT holds.
    busy: Vec<u64>,
    /// Peers may choose them, so hashed with a secret.
    destinations: HashSet<SocketAddr>,
}

const ALL: (u16, u16) = (1, u16::MAX);

impl Default for Sources {
    fn default() -> Self {
        Self { netns: 0, range: ALL, found: FxHashMap::default(), destinations: 0 }
    }
}

impl Sources {
    pub(super) fn enter(&mut self, netns: u32, range: Option<(u16, u16)>) {
        self.netns = netns;
        self.range = range.filter(|(first, last)| first <= last).unwrap_or(ALL);
    }

    pub(super) fn add(&mut self, entry: &Entry, time_wait: bool) {
        let (port, (first, last)) = (entry.local.port(), self.range);
        if port < first || port > last {
            return;
        }
        let key = (self.netns, entry.local.ip());
        if self.found.len() >= MOST_ADDRESSES && !self.found.contains_key(&key) {
            return;
        }
        let source = self.found.entry(key).or_insert_with(|| {
            let words = usize::from(last - first) / 64 + 1;
            Source {
                range: (first, last),
                used: vec![0; words],
                busy: vec![0; words],
                destinations: HashSet::new(),
            }
        });
        let bit = usize::from(port - first);
        source.used[bit / 64] |= 1 << (bit % 64);
        if !time_wait {
            source.busy[bit / 64] |= 1 << (bit % 64);
        }
        if self.destinations < MOST_DESTINATIONS && source.destinations.insert(entry.peer) {
            self.destinations += 1;
        }
    }

    pub(super) fn finish(self) -> Vec<SourcePorts> {
        let ones = |words: &[u64]| words.iter().map(|word| u64::from(word.count_ones())).sum();
        let mut rows: Vec<SourcePorts> = self
            .found
            .into_iter()
            .map(|((netns, local), source)| {
                let (ports, busy): (u64, u64) = (ones(&source.used), ones(&source.busy));
                SourcePorts {
                    netns,
                    local,
                    ports,
                    time_wait: ports - busy,
                    destinations: source.destinations.len() as u64,
                    range: source.range,
                }
            })
            .collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.ports), row.netns, row.local));
        rows.truncate(MOST_ROWS);
        rows
    }
}
