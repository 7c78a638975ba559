//! The sockets that a report tells of: all, or those of a port.

use crate::aggregate::snapshot::{OrphanEnds, PortRow, Snapshot, States};

/// Which sockets are told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) port: Option<u16>,
}

/// Rates of a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) opened: f64,
    pub(super) closed: f64,
    pub(super) resets: f64,
}

impl Scope {
    pub(super) fn has(self, port: u16) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
    }

    pub(super) fn ports(self, snapshot: &Snapshot) -> impl Iterator<Item = &PortRow> {
        snapshot.ports.iter().filter(move |row| self.has(row.port))
    }

    pub(super) fn orphans(self, snapshot: &Snapshot) -> u64 {
        match self.port {
            None => snapshot.orphans.tracked,
            Some(_) => self.ports(snapshot).map(|row| row.orphans).sum(),
        }
    }

    pub(super) fn opened(self, snapshot: &Snapshot) -> u64 {
        match self.port {
            None => snapshot.totals.opened,
            Some(_) => self.ports(snapshot).map(|row| row.totals.opened).sum(),
        }
    }

    pub(super) fn states(self, snapshot: &Snapshot) -> States {
        if self.port.is_none() {
            return snapshot.states;
        }
        self.ports(snapshot).fold(States::default(), |sum, row| States {
            listen: sum.listen + row.states.listen,
            syn_sent: sum.syn_sent + row.states.syn_sent,
            syn_recv: sum.syn_recv + row.states.syn_recv,
            established: sum.established + row.states.established,
            fin_wait1: sum.fin_wait1 + row.states.fin_wait1,
            fin_wait2: sum.fin_wait2 + row.states.fin_wait2,
            close_wait: sum.close_wait + row.states.close_wait,
            last_ack: sum.last_ack + row.states.last_ack,
            closing: sum.closing + row.states.closing,
            time_wait: sum.time_wait + row.states.time_wait,
        })
    }

    pub(super) fn rates(self, snapshot: &Snapshot) -> Rates {
        if self.port.is_none() {
            let rates = &snapshot.totals_per_s;
            return Rates {
                opened: rates.opened,
                closed: rates.closed,
                resets: rates.resets_in + rates.resets_out,
            };
        }
        self.ports(snapshot).fold(Rates::default(), |sum, row| Rates {
            opened: sum.opened + row.opened_per_s,
            closed: sum.closed + row.closed_per_s,
            resets: sum.resets + row.resets_per_s,
        })
    }

    pub(super) fn ends(self, snapshot: &Snapshot) -> OrphanEnds {
        self.ports(snapshot).fold(OrphanEnds::default(), |sum, row| {
            let ends = &row.orphan_ends;
            OrphanEnds {
                acked: sum.acked + ends.acked,
                time_wait: sum.time_wait + ends.time_wait,
                peer_reset: sum.peer_reset + ends.peer_reset,
                timed_out: sum.timed_out + ends.timed_out,
                killed: sum.killed + ends.killed,
                other: sum.other + ends.other,
            }
        })
    }
}
