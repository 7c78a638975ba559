//! The lines of the host's sysctl files that do nothing, or not what they were meant to.

use super::check::{Check, describe};
use super::look::Look;
use super::row::State;
use super::severity::Severity;
use super::sysctls::lint::{Remark, lint};
use super::watch::Watch;
use crate::facts::Known;
use crate::format::count;

pub(super) struct SysctlLint;

pub(super) const ID: &str = "sysctl_lint";

impl Check for SysctlLint {
    describe!("sysctl_lint", "sysctl files", "sysctl files", "lines", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let settings = facts.settings.as_ref().map_err(Clone::clone)?;
        let remarks = lint(settings, facts);
        let wrong: Vec<&Remark> =
            remarks.iter().filter(|remark| remark.state != State::Ok).collect();
        let worst = wrong.iter().max_by_key(|remark| remark.state);
        let mut look = Look { now: Some(wrong.len() as u64), ..Look::default() };
        look.at_least = match worst.map(|remark| remark.state) {
            Some(State::Crit) => Severity::Crit,
            Some(State::Warn) => Severity::Warn,
            Some(State::Ok | State::Unknown) | None => Severity::Ok,
        };
        // The first of the worst.
        let first = wrong.iter().find(|remark| Some(remark.state) == worst.map(|it| it.state));
        look.why = match first {
            Some(remark) => format!("{}: {}", remark.place(), remark.text),
            None => "Nothing to remark on.".to_owned(),
        };
        if first.is_some() {
            look.action = "delete or correct the lines listed below".to_owned();
            look.gain = "what is set at boot is what was meant".to_owned();
            look.risk = "none for lines that do nothing".to_owned();
            look.undo = "keep a copy of the file".to_owned();
        }
        look.evidence = format!("{} lines read", count(settings.lines.len() as u64));
        if !settings.unreadable.is_empty() {
            let files = settings.unreadable.join(", ");
            look.evidence.push_str(&format!("; not readable: {files}"));
        }
        Ok(look)
    }
}
