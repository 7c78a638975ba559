//! The doctor's report of a moment: every check as a row, ranked, with what to do; and the findings.

use serde::Serialize;

use super::check::Check;
use super::checks::{CHECKS, OTHERS};
use super::elsewhere;
use super::finding::Finding;
use super::look::Look;
use super::row::{CheckRow, State};
use super::setting_changed::{self, SettingChanged};
use super::severity::Severity;
use super::sysctl_lint;
use super::sysctls::lint::{Remark, lint};
use super::watch::Watch;
use crate::facts::{Facts, Known};
use crate::format::duration;
use crate::time::Wall;

/// The schema's name in JSON.
pub const SCHEMA: &str = "sockflow.doctor/1";

/// What the doctor has to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// When.
    pub time: Wall,
    /// `live` or `trace`.
    pub source: &'static str,
    /// `uname -n`.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// How long was watched, seconds: what a trend rests on.
    pub watched_s: f64,
    /// The worst state of what is known.
    pub verdict: State,
    /// The verdict as a sentence.
    pub sentence: String,
    /// What is to be known about the moment: which one it is, and what was seen before it only.
    pub notes: Vec<String>,
    /// What runs out first, if something does.
    pub first_to_run_out: Option<RunsOut>,
    /// What is wrong, worst first: the same list as in the snapshot of the moment.
    pub findings: Vec<Finding>,
    /// One entry a check, the one to look at first first; see [`CheckRow`].
    pub checks: Vec<CheckRow>,
    /// Each line of the host's sysctl files that is worth a word.
    pub lint: Vec<Remark>,
}

/// A resource and the time it has left.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunsOut {
    /// The check's id.
    pub check: &'static str,
    /// Seconds; 0 where the kernel refuses already.
    pub in_s: f64,
}

/// Who is asked about, beside what was seen.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// When the report is made.
    pub time: Wall,
    /// The host's name.
    pub host: String,
}

/// What each check says of a moment.
pub(super) struct Assessment(Vec<(&'static dyn Check, Known<Look>)>);

impl Assessment {
    /// Asks every check.
    pub(super) fn of(watch: &Watch) -> Self {
        let mut all: Vec<(&'static dyn Check, Known<Look>)> =
            CHECKS.iter().map(|check| (*check, check.look(watch))).collect();
        all.extend(elsewhere::looks(watch));
        let blamed = setting_changed::blame(watch, &mut all);
        if let Some(change) = blamed {
            all.push((&SettingChanged, Ok(setting_changed::cause(watch, change))));
        }
        for check in OTHERS {
            if blamed.is_some() && check.id() == SettingChanged.id() {
                continue;
            }
            // Of these a word is said only where there is something to say.
            if let Ok(look) = check.look(watch)
                && look.severity() > Severity::Ok
            {
                all.push((check, Ok(look)));
            }
        }
        // What follows from something that is well does not.
        let bad: Vec<&str> = all
            .iter()
            .filter(|(_, look)| look.as_ref().is_ok_and(|look| look.severity() > Severity::Note))
            .map(|(check, _)| check.id())
            .collect();
        for look in all.iter_mut().filter_map(|(_, look)| look.as_mut().ok()) {
            look.follows = look.follows.filter(|other| bad.contains(other));
        }
        let weight = |(check, look): &(&'static dyn Check, Known<Look>)| {
            look.as_ref().map_or_else(|_| Default::default(), |look| look.weight(*check))
        };
        all.sort_by(|a, b| weight(b).partial_cmp(&weight(a)).unwrap_or(std::cmp::Ordering::Equal));
        Self(all)
    }

    /// What is wrong, worst first, as if it had begun now.
    pub(super) fn findings(&self, watch: &Watch, time: Wall) -> Vec<Finding> {
        let finding = |(check, look): (&'static dyn Check, &Look)| {
            let mut finding = look.finding(check, time)?;
            let workload = finding.owner.as_ref().and_then(|owner| watch.workload_of(owner.pid));
            finding.workload = workload.map(str::to_owned);
            Some(finding)
        };
        self.looks().filter_map(finding).collect()
    }

    pub(super) fn looks(&self) -> impl Iterator<Item = (&'static dyn Check, &Look)> {
        self.0.iter().filter_map(|(check, look)| Some((*check, look.as_ref().ok()?)))
    }

    /// One row a check: of the network namespace where it is worst.
    fn into_rows(self) -> Vec<CheckRow> {
        let mut has_row: Vec<&str> = Vec::new();
        let row = |(check, look): (&'static dyn Check, Known<Look>)| match look {
            Ok(look) => look.row(check),
            Err(why) => CheckRow::unknown(check, why.0),
        };
        let is_first = |(check, _): &(&'static dyn Check, Known<Look>)| {
            let is_first = !has_row.contains(&check.id());
            has_row.push(check.id());
            is_first
        };
        self.0.into_iter().filter(is_first).map(row).collect()
    }
}

/// The report of what was watched, by itself: without anything that was counted.
#[must_use]
pub fn examine(watch: &Watch, about: About) -> Report {
    let assessment = Assessment::of(watch);
    let findings = assessment.findings(watch, about.time);
    report(watch, assessment, findings, about)
}

/// The report of a moment that has these findings.
pub(super) fn report(
    watch: &Watch,
    assessment: Assessment,
    findings: Vec<Finding>,
    about: About,
) -> Report {
    let checks = assessment.into_rows();
    let known = checks.iter().any(|row| row.state != State::Unknown);
    let worst = findings.first().map_or(Severity::Ok, |finding| finding.severity);
    let first_to_run_out = checks
        .iter()
        .filter_map(|row| Some((row.id, row.in_s?)))
        .map(|(check, in_s)| RunsOut { check, in_s })
        .next();
    let settings = watch.last().settings.as_ref();
    Report {
        schema: SCHEMA,
        time: about.time,
        source: "live",
        notes: notes(watch.last()),
        host: about.host,
        kernel: watch.last().kernel.clone(),
        watched_s: watch.seconds(),
        verdict: if known { State::of(worst) } else { State::Unknown },
        sentence: sentence(&checks, &findings),
        first_to_run_out,
        findings,
        checks,
        lint: settings.map_or_else(|_| Vec::new(), |settings| lint(settings, watch.last())),
    }
}

/// What of the last look is older than the moment.
fn notes(last: &Facts) -> Vec<String> {
    /// As near as a look can be to a moment.
    const NEAR_S: f64 = 2.0;
    let age = last.detail_at.map(|seen| last.at.seconds_since(seen));
    age.filter(|age| *age >= NEAR_S)
        .map(|age| {
            format!("descriptors, sockets and cgroups were looked at {} before", duration(age))
        })
        .into_iter()
        .chain(elsewhere::note(last))
        .collect()
}

impl Report {
    /// Whether enough was seen to call a host well: most checks could be made. What is bad is bad
    /// however little was seen.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        let unknown = self.checks.iter().filter(|it| it.state == State::Unknown).count();
        self.verdict > State::Ok || unknown * 2 < self.checks.len()
    }

    /// Of the host itself rather than of a moment of it: the lines of its sysctl files count too, since
    /// they take effect at the next boot.
    #[must_use]
    pub fn with_files(mut self) -> Self {
        let lint = self.checks.iter().find(|row| row.id == sysctl_lint::ID);
        if let Some(state) = lint.map(|row| row.state).filter(|state| *state > self.verdict) {
            self.verdict = state;
            self.sentence = match state {
                State::Crit => "See to the sysctl files now: step 1.".to_owned(),
                _ => "Worth a look: sysctl files.".to_owned(),
            } + &unseen(&self.checks);
        }
        self
    }
}

/// How many checks could not be made, as a sentence.
fn unseen(checks: &[CheckRow]) -> String {
    match checks.iter().filter(|row| row.state == State::Unknown).count() {
        0 => String::new(),
        1 => " One check could not be made.".to_owned(),
        many => format!(" {many} checks could not be made."),
    }
}

/// The verdict as a sentence: the worst finding's, as everywhere.
fn sentence(checks: &[CheckRow], findings: &[Finding]) -> String {
    let unseen = unseen(checks);
    let sentence = match findings.first() {
        _ if checks.iter().all(|row| row.state == State::Unknown) => {
            return "Nothing could be measured.".to_owned();
        }
        Some(finding) => format!("{}.", super::words::capital(&finding.text)),
        None if unseen.is_empty() => "Nothing is about to run out.".to_owned(),
        None => "Nothing that could be seen is about to run out.".to_owned(),
    };
    sentence + &unseen
}
