//! Services within bounds, and counters that never go down.
//!
//! A time series database keeps every label it ever saw, so services get a row of their own only
//! up to a cap; the rest is summed as `other`. A service keeps its row once it has one: a row that
//! moved to and fro would make gaps in charts and jumps in rates. It loses it only to one that
//! clearly matters more, and then what it counted goes over to `other`, as does what a service
//! counted that leaves the snapshot. So the sum over all rows is the snapshot's own at any time,
//! no series goes down, and memory is bounded by the cap and by how many ports there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::times::{self, BUCKETS, Times};
use crate::aggregate::snapshot::{
    Direction, Fidelity, Finding, OrphanEnds, OrphanStates, OwnProcess, PortRow, Severity,
    Snapshot, States, Totals,
};
use crate::time::Wall;

/// The name of an owner or a workload is taken over at most so often, seconds: any process can call
/// itself something else every moment, and each name is a series.
const NAME_HOLDS_S: i64 = 60;

/// A service: port and direction.
type Key = (u16, Direction);

/// A snapshot, ready to be exposed.
#[derive(Clone, Debug)]
pub struct Exposed {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Its services: by port, `other` last.
    pub services: Vec<Service>,
    /// Services in the snapshot.
    pub seen: usize,
    /// Those of them that are summed in `other`.
    pub folded: usize,
    /// Sums over all services, never less than before.
    pub sums: Counted,
    /// What is wrong, each once: findings that differ in their subject alone are one.
    pub findings: BTreeSet<Found>,
    /// The process that serves it.
    pub process: OwnProcess,
}

/// A finding, as far as labels go: checks, severities and causes are few, ports are bounded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Which check.
    pub check: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Why; empty where that is not known.
    pub cause: &'static str,
    /// Of which service: a port, `other` for those beyond the cap; empty where it is none's.
    pub port: String,
    /// In which network namespace; empty in the one watched.
    pub netns: String,
}

impl Exposed {
    /// Whether a signal's occurrences are counted. Where they are not, 0 would be a lie. A signal that
    /// is not in the table is not doubted.
    #[must_use]
    pub fn counts(&self, signal: &str) -> bool {
        let known = self.snapshot.fidelity.get(signal);
        known.is_none_or(|fidelity| fidelity.of_totals() != Fidelity::Absent)
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its port as a label; `other` for the rest.
    pub port: String,
    /// Its side.
    pub direction: Direction,
    /// Who owns it.
    pub comm: Option<String>,
    /// The container, pod or unit of its owners, where that is asked for.
    pub workload: Option<String>,
    /// Sockets now.
    pub states: States,
    /// Orphans now.
    pub orphans: OrphanStates,
    /// Memory of the orphans, bytes.
    pub orphan_bytes: u64,
    /// Growth of the orphans a second; `None` while it is not known.
    pub growth_per_s: Option<f64>,
    /// Connections that stood when tracing began.
    pub standing: u64,
    /// The longest time in FIN_WAIT1, seconds; `None` where none ended, and for `other`.
    pub fin_wait1_max_s: Option<f64>,
    /// What it counted.
    pub counted: Counted,
}

/// What only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted([u64; Counted::LENGTH]);

impl Default for Counted {
    fn default() -> Self {
        Self([0; Self::LENGTH])
    }
}

impl Counted {
    /// The counters, and after them the buckets of FIN_WAIT1 times.
    const LENGTH: usize = 12 + BUCKETS;

    /// Of totals, ends and FIN_WAIT1 times.
    #[must_use]
    pub fn of(totals: &Totals, ends: &OrphanEnds, fin_wait1: &Times) -> Self {
        let Totals { opened, closed, standing: _, orphaned, time_wait, resets_in, resets_out } =
            *totals;
        let OrphanEnds { acked, time_wait: to_time_wait, peer_reset, timed_out, killed, other } =
            *ends;
        let counters = [
            opened,
            closed,
            orphaned,
            time_wait,
            resets_in,
            resets_out,
            acked,
            to_time_wait,
            peer_reset,
            timed_out,
            killed,
            other,
        ];
        let mut all = [0; Self::LENGTH];
        all.iter_mut().zip(counters.iter().chain(fin_wait1)).for_each(|(to, from)| *to = *from);
        Self(all)
    }

    /// Connections opened.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.0[0]
    }

    /// Connections closed.
    #[must_use]
    pub const fn closed(&self) -> u64 {
        self.0[1]
    }

    /// Orphans begun.
    #[must_use]
    pub const fn orphaned(&self) -> u64 {
        self.0[2]
    }

    /// Sockets that became minisockets.
    #[must_use]
    pub const fn time_wait(&self) -> u64 {
        self.0[3]
    }

    /// RST by direction.
    #[must_use]
    pub const fn resets(&self) -> [(&'static str, u64); 2] {
        [("received", self.0[4]), ("sent", self.0[5])]
    }

    /// Orphans ended, by reason.
    #[must_use]
    pub const fn ends(&self) -> [(&'static str, u64); 6] {
        [
            ("acked", self.0[6]),
            ("time_wait", self.0[7]),
            ("peer_reset", self.0[8]),
            ("timed_out", self.0[9]),
            ("killed", self.0[10]),
            ("other", self.0[11]),
        ]
    }

    /// FIN_WAIT1 times that fell into each bucket.
    #[must_use]
    pub fn fin_wait1(&self) -> Times {
        std::array::from_fn(|at| self.0[12 + at])
    }

    fn with_times_of(mut self, other: &Self) -> Self {
        self.0[12..].copy_from_slice(&other.0[12..]);
        self
    }

    fn zip(self, with: Self, mut f: impl FnMut(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|at| f(self.0[at], with.0[at])))
    }

    fn plus(self, more: Self) -> Self {
        self.zip(more, u64::saturating_add)
    }

    fn minus(self, less: Self) -> Self {
        self.zip(less, u64::saturating_sub)
    }

    fn at_least(self, floor: Self) -> Self {
        self.zip(floor, u64::max)
    }
}

/// A service with a row of its own.
#[derive(Debug)]
struct Named {
    /// What the snapshot had last.
    last: Counted,
    /// What the row says.
    counted: Counted,
    comm: Held,
    workload: Held,
}

/// A name that others choose, and since when it is said.
#[derive(Debug, Default)]
struct Held(Option<(String, Wall)>);

impl Held {
    fn take(&mut self, name: &str, time: Wall) {
        let holds = self.0.as_ref().is_some_and(|(held, since)| {
            held == name || time.0 - since.0 < NAME_HOLDS_S * 1_000_000_000
        });
        if !holds {
            self.0 = Some((name.to_owned(), time));
        }
    }

    fn name(&self) -> Option<String> {
        self.0.as_ref().map(|(name, _)| name.clone())
    }
}

/// Keeps the rows from snapshot to snapshot.
#[derive(Debug)]
pub struct Ledger {
    cap: usize,
    with_workloads: bool,
    named: BTreeMap<Key, Named>,
    /// All services of the last snapshot: one that is new has no history in `other`.
    seen: BTreeSet<Key>,
    /// All services of any snapshot: at most two a port.
    ever: BTreeSet<Key>,
    /// Over all services, and over those without a row, by side; never less than before.
    sums: BTreeMap<Direction, Counted>,
    others: BTreeMap<Direction, Counted>,
    /// Ports without a row that a finding has named: at most as many as rows.
    blamed: BTreeSet<u16>,
    /// Network namespaces that a finding was in: likewise.
    entered: BTreeSet<u64>,
}

impl Ledger {
    /// With rows for at most `cap` services.
    #[must_use]
    pub const fn new(cap: usize) -> Self {
        Self {
            cap,
            with_workloads: false,
            named: BTreeMap::new(),
            seen: BTreeSet::new(),
            ever: BTreeSet::new(),
            sums: BTreeMap::new(),
            others: BTreeMap::new(),
            blamed: BTreeSet::new(),
            entered: BTreeSet::new(),
        }
    }

    /// Says of each row which workload its owners are in, if `it` is so: at most one more series a row.
    #[must_use]
    pub const fn with_workloads(mut self, it: bool) -> Self {
        self.with_workloads = it;
        self
    }

    /// Takes the next snapshot in.
    pub fn expose(&mut self, snapshot: Arc<Snapshot>) -> Exposed {
        // Port 0 is the snapshot's own "other".
        let present: BTreeMap<Key, &PortRow> = snapshot
            .ports
            .iter()
            .filter(|row| row.port != 0)
            .map(|row| ((row.port, row.direction), row))
            .collect();
        // What a service counted that left is in the sums still, and so in `other` from now on.
        self.named.retain(|key, _| present.contains_key(key));
        self.admit(&snapshot.ports, &present);
        let mut services: Vec<Service> = Vec::with_capacity(self.named.len() + 2);
        for (key, named) in &mut self.named {
            if let Some(row) = present.get(key) {
                named.take(row, snapshot.time);
                services.push(Service {
                    workload: named.workload.name().filter(|_| self.with_workloads),
                    ..named.service(row)
                });
            }
        }
        services.extend(
            [Direction::In, Direction::Out]
                .into_iter()
                .filter_map(|direction| self.other(direction, &snapshot.ports)),
        );
        self.seen = present.keys().copied().collect();
        self.ever.extend(&self.seen);
        let findings = self.findings(&snapshot);
        Exposed {
            services,
            seen: self.seen.len(),
            folded: self.seen.len() - self.named.len(),
            sums: self.sums.values().fold(Counted::default(), |sum, side| sum.plus(*side)),
            findings,
            process: OwnProcess::default(),
            snapshot,
        }
    }

    fn findings(&mut self, snapshot: &Snapshot) -> BTreeSet<Found> {
        let found = |finding: &Finding| Found {
            check: finding.check,
            severity: finding.severity,
            cause: finding.cause.unwrap_or(""),
            port: finding.port.map_or_else(String::new, |port| self.blamed(port)),
            netns: finding.netns.map_or_else(String::new, |netns| self.entered(netns)),
        };
        snapshot.findings.iter().map(found).collect()
    }

    /// The label of a port that a finding names. Not all have a row (UDP services have none), and an
    /// alert without the port is worth little.
    fn blamed(&mut self, port: u16) -> String {
        let has_row = self.named.keys().any(|(named, _)| *named == port);
        if !has_row && !self.blamed.contains(&port) {
            if self.blamed.len() >= self.cap {
                return "other".to_owned();
            }
            self.blamed.insert(port);
        }
        port.to_string()
    }

    /// The label of another network namespace: containers come and go, so only so many are told apart.
    fn entered(&mut self, netns: u64) -> String {
        if !self.entered.contains(&netns) {
            if self.entered.len() >= self.cap {
                return "other".to_owned();
            }
            self.entered.insert(netns);
        }
        netns.to_string()
    }

    /// Gives rows to those who need one most; the snapshot's order is by weight.
    fn admit(&mut self, rows: &[PortRow], present: &BTreeMap<Key, &PortRow>) {
        for row in rows.iter().filter(|row| row.port != 0) {
            let key = (row.port, row.direction);
            if self.named.contains_key(&key) {
                continue;
            }
            if self.named.len() >= self.cap {
                let lightest = self
                    .named
                    .keys()
                    .filter_map(|key| present.get(key).map(|row| (weight(row), *key)))
                    .min();
                match lightest {
                    Some((least, out)) if clearly_more(weight(row), least) => {
                        self.named.remove(&out);
                    }
                    // All that follow weigh less.
                    _ => return,
                }
            }
            // What was counted in `other` stays there.
            let now = counted(row);
            let last = if self.seen.contains(&key) { now } else { Counted::default() };
            // The kernel side keeps the FIN_WAIT1 times of a service that leaves, and has them again
            // when it comes back; they are in `other` since it left.
            let last = if self.ever.contains(&key) { last.with_times_of(&now) } else { last };
            let (comm, workload) = (Held::default(), Held::default());
            let named = Named { last, counted: Counted::default(), comm, workload };
            self.named.insert(key, named);
        }
    }

    /// The sum of those without a row; `None` if there never was one.
    fn other(&mut self, direction: Direction, rows: &[PortRow]) -> Option<Service> {
        let mut service = Service {
            port: "other".into(),
            direction,
            comm: None,
            workload: None,
            states: States::default(),
            orphans: OrphanStates::default(),
            orphan_bytes: 0,
            growth_per_s: Some(0.0),
            standing: 0,
            fin_wait1_max_s: None,
            counted: Counted::default(),
        };
        let mut all = Counted::default();
        let mut any = false;
        for row in rows.iter().filter(|row| row.direction == direction) {
            all = all.plus(counted(row));
            if !self.named.contains_key(&(row.port, direction)) {
                service.add(row);
                any = true;
            }
        }
        let sum = self.sums.entry(direction).or_default();
        *sum = sum.at_least(all);
        let mut rest = *sum;
        for (_, named) in self.named.iter().filter(|((_, its), _)| *its == direction) {
            rest = rest.minus(named.counted);
        }
        any |= rest != Counted::default();
        if !any && !self.others.contains_key(&direction) {
            return None;
        }
        let kept = self.others.entry(direction).or_default();
        *kept = kept.at_least(rest);
        service.counted = *kept;
        Some(service)
    }
}

impl Named {
    fn take(&mut self, row: &PortRow, time: Wall) {
        let now = counted(row);
        // Less than before means that the service was away and began anew.
        let more = now.zip(self.last, |now, last| now.checked_sub(last).unwrap_or(now));
        self.counted = self.counted.plus(more);
        self.last = now;
        if let Some(owner) = &row.owner {
            self.comm.take(&owner.comm, time);
        }
        if let Some(workload) = &row.workload {
            self.workload.take(workload, time);
        }
    }

    fn service(&self, row: &PortRow) -> Service {
        Service {
            port: row.port.to_string(),
            direction: row.direction,
            comm: self.comm.name(),
            workload: None,
            states: row.states,
            orphans: row.orphans_by_state,
            orphan_bytes: row.orphan_bytes,
            growth_per_s: row.growth_per_s,
            standing: row.totals.standing,
            fin_wait1_max_s: Some(row.fin_wait1_ms.max / 1e3).filter(|longest| *longest > 0.0),
            counted: self.counted,
        }
    }
}

impl Service {
    fn add(&mut self, row: &PortRow) {
        let (sum, states) = (&mut self.states, &row.states);
        sum.listen += states.listen;
        sum.syn_sent += states.syn_sent;
        sum.syn_recv += states.syn_recv;
        sum.established += states.established;
        sum.fin_wait1 += states.fin_wait1;
        sum.fin_wait2 += states.fin_wait2;
        sum.close_wait += states.close_wait;
        sum.last_ack += states.last_ack;
        sum.closing += states.closing;
        sum.time_wait += states.time_wait;
        let (sum, orphans) = (&mut self.orphans, &row.orphans_by_state);
        sum.fin_wait1 += orphans.fin_wait1;
        sum.last_ack += orphans.last_ack;
        sum.closing += orphans.closing;
        sum.fin_wait2 += orphans.fin_wait2;
        self.orphan_bytes += row.orphan_bytes;
        self.growth_per_s = self.growth_per_s.zip(row.growth_per_s).map(|(sum, more)| sum + more);
        self.standing += row.totals.standing;
    }
}

fn counted(row: &PortRow) -> Counted {
    Counted::of(&row.totals, &row.orphan_ends, &times::times(&row.fin_wait1_times))
}

/// Orphans first, then connections: as the snapshot's rows are sorted.
const fn weight(row: &PortRow) -> (u64, u64) {
    (row.orphans, row.states.live_with(0))
}

/// Whether a service takes a row from another: one that has nothing left, or twice the orphans and
/// some, lest two of a size drive each other out by turns.
const fn clearly_more((orphans, sockets): (u64, u64), least: (u64, u64)) -> bool {
    (matches!(least, (0, 0)) && orphans + sockets > 0) || orphans > 2 * least.0 + 10
}
