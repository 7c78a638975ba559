//! What a check found: the row of the report.

use serde::Serialize;

use super::checks::Check;
use super::watch::Watch;
use crate::aggregate::severity::{self, Severity};
use crate::facts::Facts;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not seen; says nothing about the resource.
    Unknown,
    /// Nothing to do.
    Ok,
    /// Near a limit: [`severity`] has the rule.
    Warn,
    /// About to reach it, or reached, or the kernel refuses already.
    Crit,
}

impl State {
    /// The word on screen.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "?",
            Self::Ok => "ok",
            Self::Warn => "WARN",
            Self::Crit => "CRIT",
        }
    }

    /// For sorting: what is fine goes before what nobody saw.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Ok => 1,
            Self::Warn => 2,
            Self::Crit => 3,
        }
    }
}

/// Whose resource it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
}

/// A setting to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Set {
    /// Its name.
    pub sysctl: String,
    /// What it is now.
    pub from: String,
    /// What it should be.
    pub to: String,
}

/// One row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The check's id.
    pub id: &'static str,
    /// How bad.
    pub state: State,
    /// In use, in [`Self::unit`]; `null` where unknown.
    pub now: Option<u64>,
    /// What may be used; `null` where unknown or without a limit.
    pub limit: Option<u64>,
    /// [`Self::now`] of [`Self::limit`], 1 is all of it.
    #[serde(rename = "use")]
    pub used: Option<f64>,
    /// `sockets`, `pages`, …
    pub unit: &'static str,
    /// Whose.
    pub scope: Scope,
    /// Which of several: `httpdns[4121]`, `127.0.0.1:9981`.
    pub subject: Option<String>,
    /// Seconds until the limit; `null` without a credible trend, 0 where it is reached.
    pub in_s: Option<f64>,
    /// At or near its limit, and that does no harm.
    pub harmless: bool,
    /// Why it is so, or why it is not known.
    pub why: String,
    /// Settings to change, in this order.
    pub set: Vec<Set>,
    /// What to do that is no setting; empty without.
    pub action: String,
    /// What that brings.
    pub gain: String,
    /// What it may break.
    pub risk: String,
    /// How to take it back.
    pub undo: String,
    /// What the finding rests on.
    pub evidence: String,
    /// The id of the check whose cure cures this too.
    pub follows: Option<&'static str>,
    /// What it is called in a sentence.
    #[serde(skip)]
    pub noun: &'static str,
    /// What it is called in a table.
    #[serde(skip)]
    pub title: &'static str,
}

impl Finding {
    /// Not seen.
    pub(super) fn unknown(check: &dyn Check, why: String) -> Self {
        let mut finding = Look::default().finding(check);
        finding.state = State::Unknown;
        finding.why = why;
        finding
    }
}

/// What a check says: the part of a [`Finding`] that it makes itself.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields of Finding")]
pub struct Look {
    pub now: Option<u64>,
    pub limit: Option<u64>,
    pub in_s: Option<f64>,
    /// How long it has grown like that, seconds.
    pub seen_s: f64,
    pub subject: Option<String>,
    pub harmless: bool,
    /// At least as bad as that, whatever the numbers say.
    pub at_least: Option<State>,
    pub why: String,
    pub set: Vec<Set>,
    pub action: String,
    pub gain: String,
    pub risk: String,
    pub undo: String,
    pub evidence: String,
    pub follows: Option<&'static str>,
}

/// Room for `times` as many, as a power of two; bounded, for a limit can be as good as infinite.
pub(super) fn room(number: u64, times: u64) -> u64 {
    number.clamp(1, 1 << 40).saturating_mul(times).next_power_of_two()
}

impl Look {
    /// Something against its limit.
    #[must_use]
    pub fn at(now: u64, limit: u64) -> Self {
        Self { now: Some(now), limit: Some(limit), ..Self::default() }
    }

    /// With the time that is left at the growth of `value` over the watch.
    #[must_use]
    pub fn trend(mut self, watch: &Watch, value: impl Fn(&Facts) -> Option<u64>) -> Self {
        if let (Some(now), Some(limit)) = (self.now, self.limit) {
            let trend = watch.trend(value);
            self.in_s = trend.seconds_until(now, limit);
            self.seen_s = trend.seen_s;
        }
        self
    }

    /// The kernel refuses already: there is no time left.
    pub(super) fn refusing(&mut self) {
        self.at_least = Some(State::Crit);
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

    /// [`State`] from the numbers.
    #[must_use]
    pub fn judge(&self) -> State {
        if self.harmless {
            return State::Ok;
        }
        let state = match severity::of_use(self.used().unwrap_or(0.0), self.in_s, self.seen_s) {
            Severity::Crit => State::Crit,
            Severity::Warn => State::Warn,
            Severity::Note | Severity::Ok => State::Ok,
        };
        self.at_least.map_or(state, |least| least.max(state))
    }

    fn used(&self) -> Option<f64> {
        let (now, limit) = (self.now?, self.limit?);
        // Nothing of nothing is nothing; something of nothing is all.
        Some(match limit {
            0 => f64::from(u8::from(now > 0)),
            limit => now as f64 / limit as f64,
        })
    }

    /// The row. A check that found nothing wrong changes nothing.
    pub(super) fn finding(mut self, check: &dyn Check) -> Finding {
        let state = self.judge();
        if state == State::Ok {
            self.set.clear();
            (self.gain, self.risk, self.undo, self.action) = Default::default();
            self.in_s = None;
            self.follows = None;
        } else if self.used().is_some_and(|used| used >= 1.0) {
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
        Finding {
            id: check.id(),
            state,
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
        }
    }
}
