//! The doctor: which resource of this host runs out first, when, and what to do about it.
//!
//! Pure: it looks at [`Watch`]ed facts and draws conclusions; it asks nobody and changes nothing.
//! Each resource has a [`Check`] of its own; [`CHECKS`] lists them; [`examine`] ranks what they
//! found. What a check cannot see is a finding of its own, [`State::Unknown`] with the reason:
//! never a false ok.
//!
//! Severity comes from the time that is left, not from a percentage alone: see [`Look::judge`].

mod accept_queue;
mod checks;
mod conntrack;
mod ephemeral_ports;
mod fds;
mod file_max;
mod finding;
mod memcg;
mod orphans;
mod softnet;
mod syn_queue;
mod sysctl_lint;
pub mod sysctls;
mod tcp_mem;
mod time_wait;
mod udp_mem;
mod watch;
mod words;

use serde::Serialize;

pub use self::checks::{CHECKS, Check};
pub use self::finding::Look;
pub use self::finding::{Finding, Scope, Set, State};
pub use self::watch::{WINDOW_S, Watch};
use crate::facts::Facts;
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
    /// One entry a check, the one to look at first first; see [`Finding`].
    pub checks: Vec<Finding>,
    /// Each line of the host's sysctl files that is worth a word.
    pub lint: Vec<sysctls::lint::Remark>,
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

/// Looks at everything.
#[must_use]
pub fn examine(watch: &Watch, about: About) -> Report {
    let mut checks: Vec<Finding> = CHECKS
        .iter()
        .map(|check| match check.look(watch) {
            Ok(look) => look.finding(*check),
            Err(why) => Finding::unknown(*check, why.0),
        })
        .collect();
    // Who follows from what is well does not.
    let bad: Vec<&str> = checks.iter().filter(|it| it.state > State::Ok).map(|it| it.id).collect();
    for finding in &mut checks {
        finding.follows = finding.follows.filter(|other| bad.contains(other));
    }
    rank(&mut checks);
    let verdict = checks
        .iter()
        .map(|finding| finding.state)
        .filter(|state| *state != State::Unknown)
        .max()
        .unwrap_or(State::Unknown);
    let first_to_run_out = checks
        .iter()
        .filter_map(|finding| Some((finding.id, finding.in_s?)))
        .map(|(check, in_s)| RunsOut { check, in_s })
        .next();
    Report {
        schema: SCHEMA,
        time: about.time,
        source: "live",
        notes: notes(watch.last()),
        host: about.host,
        kernel: watch.last().kernel.clone(),
        watched_s: watch.seconds(),
        verdict,
        sentence: sentence(&checks),
        first_to_run_out,
        checks,
        lint: watch
            .last()
            .settings
            .as_ref()
            .map_or_else(|_| Vec::new(), |settings| sysctls::lint::lint(settings, watch.last())),
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
}

/// Worst first; of two alike what the whole host dies of, then what has less time, then what is
/// used more. What is harmless though it is full stands first among what is fine, what is unknown
/// last.
fn rank(checks: &mut [Finding]) {
    let left = |finding: &Finding| finding.in_s.unwrap_or(f64::INFINITY);
    let used = |finding: &Finding| finding.used.unwrap_or(0.0);
    checks.sort_by(|a, b| {
        (b.state.rank().cmp(&a.state.rank()))
            // A file's lines are no resource.
            .then_with(|| a.limit.is_none().cmp(&b.limit.is_none()))
            // One server that refuses is not a host that does. Where all is well it is no matter.
            .then_with(|| {
                let is_minor = |it: &Finding| it.state > State::Ok && it.scope != Scope::Host;
                is_minor(a).cmp(&is_minor(b))
            })
            .then_with(|| left(a).total_cmp(&left(b)))
            // Of two that refuse at once, the cause goes before what follows from it.
            .then_with(|| a.follows.is_some().cmp(&b.follows.is_some()))
            .then_with(|| used(b).total_cmp(&used(a)))
    });
}

/// The verdict as a sentence.
fn sentence(checks: &[Finding]) -> String {
    let unknown = checks.iter().filter(|finding| finding.state == State::Unknown).count();
    let unseen = match unknown {
        0 => String::new(),
        1 => " One check could not be made.".to_owned(),
        many => format!(" {many} checks could not be made."),
    };
    let Some(first) = checks.first() else { return String::new() };
    let subject = first.subject.as_deref().map(|who| format!(" ({who})")).unwrap_or_default();
    let what = format!("{}{subject}", first.noun);
    let sentence = match (first.state, first.in_s) {
        (State::Unknown, _) => return "Nothing could be measured.".to_owned(),
        (State::Crit, Some(left)) if left > 0.0 => {
            format!("Runs out of {what} in {}. Do step 1 now.", duration(left))
        }
        (State::Crit, Some(_)) => format!("Out of {what}. Do step 1 now."),
        (State::Crit, None) => format!("See to the {what} now: step 1."),
        (State::Warn, Some(left)) if left > 0.0 => {
            format!("Runs out of {what} in {} at the present rate.", duration(left))
        }
        (State::Warn, _) => format!("Worth a look: {what}."),
        (State::Ok, _) if unknown > 0 => {
            "Nothing that could be seen is about to run out.".to_owned()
        }
        (State::Ok, _) => "Nothing is about to run out.".to_owned(),
    };
    sentence + &unseen
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
