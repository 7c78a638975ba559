//! Peers by network: how the orphans towards them ended, from single events, in bounded memory.

use std::collections::BTreeMap;

use tracer_common::counters::OrphanEnd;

use super::phased;
use crate::aggregate::snapshot::Snapshot;
use crate::event::{Event, EventKind, Network};
use crate::report::model::{PeerRow, Peers, Phased};

/// Most networks told apart.
const MOST_NETWORKS: usize = 8192;
/// Most rows in the report.
const MOST_ROWS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    killed: u64,
    timed_out: u64,
    peer_reset: u64,
}

/// Bad ends so far.
#[derive(Debug, Default)]
pub(super) struct BadEnds {
    networks: BTreeMap<Network, Ends>,
    uncounted: u64,
}

impl BadEnds {
    pub(super) fn event(&mut self, event: &Event) {
        let EventKind::OrphanEnd { reason, .. } = event.kind else { return };
        if !matches!(reason, OrphanEnd::Killed | OrphanEnd::TimedOut | OrphanEnd::PeerReset) {
            return;
        }
        let network = Network::of(event.peer.0);
        if self.networks.len() >= MOST_NETWORKS && !self.networks.contains_key(&network) {
            self.uncounted += 1;
            return;
        }
        let ends = self.networks.entry(network).or_default();
        match reason {
            OrphanEnd::Killed => ends.killed += 1,
            OrphanEnd::TimedOut => ends.timed_out += 1,
            _ => ends.peer_reset += 1,
        }
    }

    /// With what was sampled at the three moments.
    pub(super) fn finish(self, moments: Phased<&Snapshot>) -> Peers {
        let mut rows: BTreeMap<String, PeerRow> = BTreeMap::new();
        let row = |network: String| PeerRow { network, ..PeerRow::default() };
        for (network, ends) in self.networks {
            let network = network.to_string();
            let Ends { killed, timed_out, peer_reset } = ends;
            let row = rows.entry(network.clone()).or_insert_with(|| row(network));
            (row.killed, row.timed_out, row.peer_reset) = (killed, timed_out, peer_reset);
        }
        for (moment, place) in phased::PLACES {
            let snapshot = moment(&moments);
            for peer in snapshot.ports.iter().flat_map(|port| &port.orphan_peers) {
                let row =
                    rows.entry(peer.network.clone()).or_insert_with(|| row(peer.network.clone()));
                *place(&mut row.orphans) += peer.orphans;
                if std::ptr::eq(snapshot, moments.during) {
                    row.orphan_bytes += peer.bytes;
                }
            }
        }
        let mut networks: Vec<PeerRow> = rows.into_values().collect();
        let weight = |row: &PeerRow| {
            let bad = row.killed + row.timed_out + row.peer_reset;
            let Phased { before, during, after } = row.orphans;
            std::cmp::Reverse((during, bad, before.max(after)))
        };
        networks.sort_by(|a, b| weight(a).cmp(&weight(b)).then_with(|| a.network.cmp(&b.network)));
        let more = networks.len().saturating_sub(MOST_ROWS) as u64;
        networks.truncate(MOST_ROWS);
        Peers { networks, more, uncounted: self.uncounted }
    }
}
