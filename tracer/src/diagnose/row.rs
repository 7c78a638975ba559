//! A check as a row of the doctor's report.

use serde::Serialize;

use super::check::Check;
use super::finding::Scope;
use super::look::{Look, Weight};
use super::severity::Severity;

/// How bad a row is: a note is ok there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not observed; says nothing about the resource.
    Unknown,
    /// Nothing to do.
    Ok,
    /// [`Severity::Warn`].
    Warn,
    /// [`Severity::Crit`].
    Crit,
}

impl State {
    /// What a severity is in the doctor's report.
    #[must_use]
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Ok | Severity::Note => Self::Ok,
            Severity::Warn => Self::Warn,
            Severity::Crit => Self::Crit,
        }
    }

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
pub struct CheckRow {
    /// The check's id.
    pub id: &'static str,
    /// How bad.
    pub state: State,
    /// The severity of its finding; `ok` without one.
    pub severity: Severity,
    /// Why it is so, where that is known: the finding's.
    pub cause: Option<&'static str>,
    /// The finding's sentence.
    pub text: String,
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
    /// What the row rests on.
    pub evidence: String,
    /// The id of the check whose cure cures this too.
    pub follows: Option<&'static str>,
    /// What it is called in a sentence.
    #[serde(skip)]
    pub noun: &'static str,
    /// What it is called in a table.
    #[serde(skip)]
    pub title: &'static str,
    /// What it weighs against others.
    #[serde(skip)]
    pub weight: Weight,
}

impl CheckRow {
    /// Not observed.
    pub(super) fn unknown(check: &dyn Check, why: String) -> Self {
        let row = Look { why, ..Look::default() }.row(check);
        Self { state: State::Unknown, text: String::new(), weight: Weight::default(), ..row }
    }
}
