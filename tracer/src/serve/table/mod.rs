//! THE table of metrics. A row is all there is to a metric: the text that is served, the docs and
//! the tests of dashboard and alerts go through it.
//!
//! Names have base units and no abbreviations; a counter's `_total` and an info's `_info` are
//! added by the format. A value that is not known is left out: an alert must not divide by a limit
//! of 0. Labels are bounded: states, reasons and kinds by themselves, services by the ledger.

mod about;
mod host;
mod services;

use super::ledger::{Counted, Exposed, Service};
use super::times::Times;
use crate::aggregate::snapshot::{Direction, OrphanStates, States};

/// What a value does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while sockflow runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: what it says is in the labels.
    Info,
    /// Counts by size: a counter for each upper end, `le`.
    Histogram,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Exact.
    Whole(u64),
    /// Measured.
    Real(f64),
    /// Counts by bucket.
    Times(Times),
}

/// One value with the values of its family's labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample(pub Vec<String>, pub Value);

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// Its name, without `_total` and `_info`.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// The signals that it counts occurrences of: where one of them is not counted on this kernel,
    /// the metric is left out.
    pub rests_on: &'static [&'static str],
    /// Its values.
    pub samples: fn(&Exposed) -> Vec<Sample>,
}

impl Family {
    /// Its name in queries.
    #[must_use]
    pub fn series(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge => self.name.to_owned(),
            Kind::Info => format!("{}_info", self.name),
            Kind::Histogram => format!("{}_bucket", self.name),
        }
    }

    /// Its values now; none where it is not known.
    #[must_use]
    pub fn values(&self, exposed: &Exposed) -> Vec<Sample> {
        if self.rests_on.iter().all(|signal| exposed.counts(signal)) {
            (self.samples)(exposed)
        } else {
            Vec::new()
        }
    }

    const fn rests_on(self, signals: &'static [&'static str]) -> Self {
        Self { rests_on: signals, ..self }
    }

    /// Its unit, if that is one the format knows: name and unit, taken apart.
    #[must_use]
    pub fn unit(&self) -> Option<(&'static str, &'static str)> {
        self.name.rsplit_once('_').filter(|(_, unit)| matches!(*unit, "seconds" | "bytes"))
    }
}

const TOTALS: &str = "BPF, exact totals kept in the kernel";
const DIAG: &str = "sock_diag, sampled";
const SOCKSTAT: &str = "/proc/net/sockstat";
const SYSCTL: &str = "/proc/sys/net/ipv4";
const TREND: &str = "the newest stretch of samples that is one line";
const SELF: &str = "sockflow";

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    source: &'static str,
    samples: fn(&Exposed) -> Vec<Sample>,
) -> Family {
    Family { name, kind: Kind::Gauge, labels, help, source, rests_on: &[], samples }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    source: &'static str,
    samples: fn(&Exposed) -> Vec<Sample>,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help, source, rests_on: &[], samples }
}

const fn info(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    source: &'static str,
    samples: fn(&Exposed) -> Vec<Sample>,
) -> Family {
    Family { name, kind: Kind::Info, labels, help, source, rests_on: &[], samples }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    source: &'static str,
    samples: fn(&Exposed) -> Vec<Sample>,
) -> Family {
    Family { name, kind: Kind::Histogram, labels, help, source, rests_on: &[], samples }
}

/// All metrics, in the order in which they are served.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [
        about::WATCHED,
        host::ORPHANS,
        host::CONNECTIONS,
        host::LIMITS,
        services::TABLE,
        about::BELIEF,
        about::PROCESS,
    ]
    .into_iter()
    .flatten()
}

fn whole(value: u64) -> Vec<Sample> {
    vec![Sample(Vec::new(), Value::Whole(value))]
}

fn real(value: f64) -> Vec<Sample> {
    vec![Sample(Vec::new(), Value::Real(value))]
}

fn maybe(value: Option<f64>) -> Vec<Sample> {
    value.map(real).unwrap_or_default()
}

fn maybe_whole(value: Option<u64>) -> Vec<Sample> {
    value.map(whole).unwrap_or_default()
}

/// RST segments by direction, as far as a hook counts them.
fn resets(exposed: &Exposed, first: &[&str], counted: &Counted) -> Vec<Sample> {
    let signals = ["reset_in", "reset_out"].into_iter().zip(counted.resets());
    let counted = signals.filter(|(signal, _)| exposed.counts(signal));
    labelled(first, counted.map(|(_, count)| count))
}

/// A limit; 0 stands for one that could not be read.
fn known(limit: u64) -> Vec<Sample> {
    if limit > 0 { whole(limit) } else { Vec::new() }
}

fn one_labelled(labels: &[&str]) -> Vec<Sample> {
    vec![Sample(labels.iter().map(|label| (*label).to_owned()).collect(), Value::Whole(1))]
}

/// Counts by one more label.
fn labelled(first: &[&str], counts: impl IntoIterator<Item = (&'static str, u64)>) -> Vec<Sample> {
    let labels = |name: &str| first.iter().copied().chain([name]).map(str::to_owned).collect();
    counts.into_iter().map(|(name, count)| Sample(labels(name), Value::Whole(count))).collect()
}

fn per_service(exposed: &Exposed, value: fn(&Service) -> Option<Value>) -> Vec<Sample> {
    exposed
        .services
        .iter()
        .filter_map(|s| Some(Sample(labels(s).map(str::to_owned).into(), value(s)?)))
        .collect()
}

const fn labels(service: &Service) -> [&str; 2] {
    [service.port.as_str(), direction(service)]
}

const fn direction(service: &Service) -> &'static str {
    match service.direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn states(first: &[&str], states: &States) -> Vec<Sample> {
    let States {
        listen,
        syn_sent,
        syn_recv,
        established,
        fin_wait1,
        fin_wait2,
        close_wait,
        last_ack,
        closing,
        time_wait,
    } = *states;
    labelled(
        first,
        [
            ("listen", listen),
            ("syn_sent", syn_sent),
            ("syn_recv", syn_recv),
            ("established", established),
            ("fin_wait1", fin_wait1),
            ("fin_wait2", fin_wait2),
            ("close_wait", close_wait),
            ("last_ack", last_ack),
            ("closing", closing),
            ("time_wait", time_wait),
        ],
    )
}

fn orphan_states(first: &[&str], states: &OrphanStates) -> Vec<Sample> {
    let OrphanStates { fin_wait1, last_ack, closing, fin_wait2 } = *states;
    labelled(
        first,
        [
            ("fin_wait1", fin_wait1),
            ("last_ack", last_ack),
            ("closing", closing),
            ("fin_wait2", fin_wait2),
        ],
    )
}
