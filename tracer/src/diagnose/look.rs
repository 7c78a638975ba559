//! What a check says of a moment, before it is a row of the doctor's report and a finding.

use super::check::Check;
use super::finding::{Finding, Scope};
use super::row::{CheckRow, Set, State};
use super::severity::{self, Severity};
use super::trend::Trend;
use super::watch::Watch;
use crate::event::{Fidelity, Owner};
use crate::facts::Facts;
use crate::format::{bytes, change, count, duration, percent};
use crate::sanitize::sanitize;
use crate::time::Wall;

/// What a check says: the parts of a [`CheckRow`] and of a [`Finding`] that it makes itself.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields of CheckRow and Finding")]
pub struct Look {
    pub now: Option<u64>,
    pub limit: Option<u64>,
    pub growth_per_s: Option<f64>,
    pub in_s: Option<f64>,
    /// How long it has grown like that, seconds.
    pub seen_s: f64,
    pub subject: Option<String>,
    pub port: Option<u16>,
    pub owner: Option<Owner>,
    /// The network namespace, where it is another than the one watched.
    pub netns: Option<u64>,
    /// Whose it is, where that is narrower than the check's.
    pub scope: Option<Scope>,
    pub cause: Option<&'static str>,
    pub fidelity: Fidelity,
    pub harmless: bool,
    /// The kernel kills, drops or refuses because of it.
    pub refuses: bool,
    /// At least as bad as that, whatever the numbers say.
    pub at_least: Severity,
    /// No worse than that, whatever the numbers say.
    pub at_most: Severity,
    /// What is wrong, in a few words; the check's noun where empty.
    pub what: &'static str,
    /// Goes before the amounts in the sentence: what the kernel does because of it.
    pub before: String,
    /// Goes behind them: whose it is, why it is so.
    pub behind: String,
    /// What the kernel did and counted.
    pub happened: Option<Happened>,
    pub why: String,
    pub set: Vec<Set>,
    pub action: String,
    pub gain: String,
    pub risk: String,
    pub undo: String,
    pub evidence: String,
    pub follows: Option<&'static str>,
}

/// Something that the kernel did while we watched, for the list of anomalies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// [`super::Anomaly::kind`].
    pub kind: &'static str,
    /// How often, counted since any time in the past.
    pub total: u64,
    /// How often over the watch.
    pub lately: u64,
    /// The text of the anomaly: this, the number since it began, and that.
    pub text: (&'static str, String),
}

impl Default for Look {
    fn default() -> Self {
        Self {
            now: None,
            limit: None,
            growth_per_s: None,
            in_s: None,
            seen_s: 0.0,
            subject: None,
            port: None,
            owner: None,
            netns: None,
            scope: None,
            cause: None,
            fidelity: Fidelity::Sampled,
            harmless: false,
            refuses: false,
            at_least: Severity::Ok,
            at_most: Severity::Crit,
            what: "",
            before: String::new(),
            behind: String::new(),
            happened: None,
            why: String::new(),
            set: Vec::new(),
            action: String::new(),
            gain: String::new(),
            risk: String::new(),
            undo: String::new(),
            evidence: String::new(),
            follows: None,
        }
    }
}

/// Room for `times` as many, as a power of two; bounded, for a limit can be as good as infinite.
pub(super) fn room(number: u64, times: u64) -> u64 {
    number.clamp(1, 1 << 40).saturating_mul(times).next_power_of_two()
}

/// What one finding weighs against another, what counts most first: how bad it is; whether the kernel
/// kills or refuses for the whole host; whether it is the host's (one server that refuses is not a
/// host that does); whether it refuses; what has less time left; the cause before what follows from
/// it; what is used more.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Weight {
    known: bool,
    severity: Severity,
    /// A file's lines are no resource.
    is_resource: bool,
    refuses_host: bool,
    of_host: bool,
    refuses: bool,
    hurry: f64,
    is_cause: bool,
    used: f64,
}

impl Look {
    /// Something against its limit.
    #[must_use]
    pub fn at(now: u64, limit: u64) -> Self {
        Self { now: Some(now), limit: Some(limit), ..Self::default() }
    }

    /// With the time that is left at the growth of `value` over the watch.
    #[must_use]
    pub fn trend(self, watch: &Watch, value: impl Fn(&Facts) -> Option<u64>) -> Self {
        self.growing(watch.trend(value))
    }

    /// With the time that is left at this growth.
    #[must_use]
    pub(super) fn growing(mut self, trend: Trend) -> Self {
        self.growth_per_s = trend.per_s;
        if let (Some(now), Some(limit)) = (self.now, self.limit) {
            self.in_s = trend.seconds_until(now, limit);
            self.seen_s = trend.seen_s;
        }
        self
    }

    /// The kernel refuses already: there is no time left.
    pub(super) fn refusing(&mut self) {
        self.at_least = Severity::Crit;
        self.refuses = true;
        self.in_s = Some(0.0);
    }

    /// Adds a setting to change, if this host has it and it is not so already.
    pub(super) fn propose(&mut self, facts: &Facts, sysctl: &str, to: &impl ToString) -> bool {
        let to = to.to_string();
        match facts.sysctls.get(sysctl) {
            Some(from) if *from != to => {
                self.set.push(Set { sysctl: sysctl.to_owned(), from: from.clone(), to });
                true
            }
            _ => false,
        }
    }

    /// How bad it is: from the numbers, and from what the check says of them.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let by_use = severity::of_use(self.used().unwrap_or(0.0), self.in_s, self.seen_s);
        let most = if self.harmless { self.at_most.min(Severity::Note) } else { self.at_most };
        // Harmless, and nothing happens: not worth a word.
        if self.harmless && !self.refuses {
            return Severity::Ok;
        }
        by_use.max(self.at_least).min(most)
    }

    /// The same for the doctor's row.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(self.severity())
    }

    pub(super) fn used(&self) -> Option<f64> {
        let (now, limit) = (self.now?, self.limit?);
        // Nothing of nothing is nothing; something of nothing is all.
        Some(match limit {
            0 => f64::from(u8::from(now > 0)),
            limit => now as f64 / limit as f64,
        })
    }

    fn is_full(&self) -> bool {
        self.used().is_some_and(|used| used >= 1.0)
    }

    pub(super) fn scope(&self, check: &dyn Check) -> Scope {
        self.scope.unwrap_or_else(|| check.scope())
    }

    pub(super) fn weight(&self, check: &dyn Check) -> Weight {
        let severity = self.severity();
        let of_host = severity <= Severity::Note || check.scope() == Scope::Host;
        Weight {
            known: true,
            severity,
            is_resource: self.limit.is_some(),
            refuses_host: self.refuses && of_host,
            of_host,
            refuses: self.refuses,
            hurry: match self.in_s {
                _ if severity <= Severity::Note => f64::NEG_INFINITY,
                _ if self.is_full() => 0.0,
                left => -left.unwrap_or(f64::INFINITY),
            },
            is_cause: self.follows.is_none(),
            used: self.used().unwrap_or(0.0),
        }
    }

    /// The finding; `None` where nothing is worth a word. What a file says is about the next boot,
    /// not about this moment.
    pub(super) fn finding(&self, check: &dyn Check, time: Wall) -> Option<Finding> {
        let severity = self.severity();
        if severity == Severity::Ok || check.id() == super::sysctl_lint::ID {
            return None;
        }
        let in_s = if self.is_full() { Some(0.0) } else { self.in_s };
        Some(Finding {
            check: check.id(),
            severity,
            cause: self.cause,
            scope: self.scope(check),
            port: self.port,
            owner: self.owner.clone(),
            netns: self.netns,
            // Set from what is known of the owner.
            workload: None,
            now: self.now,
            limit: self.limit,
            used: self.used(),
            unit: check.unit(),
            growth_per_s: self.growth_per_s,
            limit_in_s: in_s,
            since: time,
            fidelity: self.fidelity,
            refuses: self.refuses,
            what: if self.what.is_empty() { check.noun() } else { self.what },
            subject: self.subject.as_deref().map(|subject| sanitize(subject).into_owned()),
            text: self.sentence(check),
        })
    }

    /// `kernel killed 274 orphans …; orphans 250 of 256 (97%) +19.4/s, limit reached in 0.3 s; …`.
    pub(super) fn sentence(&self, check: &dyn Check) -> String {
        let mut text = self.before.clone();
        if !text.is_empty() && self.limit.is_none() {
            if !self.behind.is_empty() {
                text.push_str(": ");
                text.push_str(&self.behind);
            }
            return sanitize(&text).into_owned();
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(check.noun());
        match self.subject.as_deref() {
            Some(subject) if subject.starts_with("to ") => text.push_str(&format!(" {subject}:")),
            Some(subject) => text.push_str(&format!(" of {subject}:")),
            None => {}
        }
        let unit = if check.unit() == "pages" { " pages" } else { "" };
        let show = |number: u64| match check.unit() {
            "bytes" => bytes(number),
            _ => count(number),
        };
        match (self.now, self.limit) {
            (Some(now), Some(limit)) => {
                let percent = percent(now, limit);
                text.push_str(&format!(" {} of {}{unit} ({percent})", show(now), show(limit)));
            }
            (Some(now), None) => text.push_str(&format!(" {}", show(now))),
            _ => {}
        }
        match (self.in_s, self.growth_per_s) {
            _ if self.is_full() => text.push_str(", limit reached"),
            (Some(left), Some(growth)) if left > 0.0 => {
                let left = duration(left);
                text.push_str(&format!(" {}/s, limit reached in {left}", change(growth)));
            }
            _ => {}
        }
        if !self.behind.is_empty() {
            text.push_str("; ");
            text.push_str(&self.behind);
        }
        sanitize(&text).into_owned()
    }

    /// The row. A check that found nothing wrong changes nothing.
    pub(super) fn row(mut self, check: &dyn Check) -> CheckRow {
        let weight = self.weight(check);
        let text = self.sentence(check);
        let severity = self.severity();
        let state = self.state();
        if state == State::Ok {
            self.set.clear();
            (self.gain, self.risk, self.undo, self.action) = Default::default();
            self.in_s = None;
            self.follows = None;
        } else if self.is_full() {
            self.in_s = Some(0.0);
        }
        let undo: Vec<String> = self
            .set
            .iter()
            .map(|set| match set.from.contains(' ') {
                true => format!("sysctl -w {}=\"{}\"", set.sysctl, set.from),
                false => format!("sysctl -w {}={}", set.sysctl, set.from),
            })
            .collect();
        CheckRow {
            id: check.id(),
            state,
            severity,
            cause: self.cause,
            text,
            used: self.used(),
            now: self.now,
            limit: self.limit,
            unit: check.unit(),
            scope: check.scope(),
            subject: self.subject,
            in_s: self.in_s,
            harmless: self.harmless,
            why: self.why,
            set: self.set,
            action: self.action,
            gain: self.gain,
            risk: self.risk,
            undo: if undo.is_empty() { self.undo } else { undo.join("; ") },
            evidence: self.evidence,
            follows: self.follows,
            noun: check.noun(),
            title: check.title(),
            weight,
        }
    }
}
