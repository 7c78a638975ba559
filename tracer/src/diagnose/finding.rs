//! A finding: what is concluded about one thing at one moment. Every view shows these and adds nothing.

use serde::Serialize;

use super::severity::Severity;
use crate::event::{Fidelity, Owner};
use crate::time::Wall;

/// Whose resource it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole host's.
    Host,
    /// A network namespace's.
    Netns,
    /// One process's.
    Process,
    /// One memory cgroup's.
    Cgroup,
    /// A service's.
    Service,
    /// One listening socket's.
    Listener,
}

/// What is wrong, at one moment. Findings are ranked, the worst first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which check: `orphans`, `tcp_mem`, `accept_queue`, …
    pub check: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Why, where that is known: `closed_window`, `not_accepting`, …
    pub cause: Option<&'static str>,
    /// Whose resource it is.
    pub scope: Scope,
    /// The service it concerns.
    pub port: Option<u16>,
    /// The process it concerns.
    pub owner: Option<Owner>,
    /// Inode number of the network namespace it concerns.
    pub netns: Option<u64>,
    /// The container, pod or systemd unit of [`Self::owner`]; `null` where unknown.
    pub workload: Option<String>,
    /// In use, in [`Self::unit`].
    pub now: Option<u64>,
    /// What may be used; `null` where unknown or without a limit.
    pub limit: Option<u64>,
    /// [`Self::now`] of [`Self::limit`]; 1 is all of it.
    #[serde(rename = "use")]
    pub used: Option<f64>,
    /// `sockets`, `pages`, …
    pub unit: &'static str,
    /// Growth of [`Self::now`] a second; `null` where there is no credible trend.
    pub growth_per_s: Option<f64>,
    /// Seconds until the limit; `null` without a credible trend, 0 where it is reached.
    pub limit_in_s: Option<f64>,
    /// Since when it has been so.
    pub since: Wall,
    /// How far the numbers can be trusted.
    pub fidelity: Fidelity,
    /// Whether the kernel kills, drops or refuses because of it.
    pub refuses: bool,
    /// What is wrong, in a few words: `orphans killed`, `accept queue full`.
    pub what: &'static str,
    /// Which of several: `httpdns[4121] 0.0.0.0:9981`, `to 192.0.2.7:80`.
    pub subject: Option<String>,
    /// One sentence, without the severity's word.
    pub text: String,
}

/// How bad a moment is: of two moments the worse one is greater. Its worst finding counts: how severe,
/// how much of its limit is used, whether the kernel refuses, how much is known of why and whose it is;
/// then how near any limit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Badness {
    severity: Severity,
    /// Tenths of the limit. Of two moments that are nearly as bad the one that says why and whose it is
    /// tells more: that takes a look every few seconds, which the very worst may have just missed.
    tenths: u8,
    refuses: bool,
    known: u8,
    /// How many findings are as severe.
    number: usize,
    used: f64,
    /// How near the limits of orphans and memory are, whether that is a finding or not.
    near: f64,
}

impl Badness {
    /// That of a moment with these findings, worst first.
    #[must_use]
    pub fn of(findings: &[Finding], near: f64) -> Self {
        let Some(worst) = findings.first() else { return Self { near, ..Self::default() } };
        let alike = || findings.iter().filter(|it| it.severity == worst.severity);
        // Full is full: queues hold one more, and the kernel counts late.
        let used = alike().filter_map(|it| it.used).fold(0.0, f64::max).min(1.0);
        let known = [worst.cause.is_some(), worst.port.is_some(), worst.owner.is_some()];
        Self {
            severity: worst.severity,
            // Between 0 and 10.
            tenths: (used * 10.0) as u8,
            refuses: alike().any(|it| it.refuses),
            known: known.into_iter().map(u8::from).sum(),
            number: alike().count(),
            used,
            near,
        }
    }
}

/// The one-sentence answer: the worst finding's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// How bad.
    pub severity: Severity,
    /// The sentence, without the severity's word: `orphans 118,204 of 131,072 (90%) +297/s, limit
    /// reached in 43 s`.
    pub text: String,
}

/// Something that happened: a finding that began, got worse or ended, or what the kernel did.
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
