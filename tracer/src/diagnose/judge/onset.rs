//! When each finding began: a finding that is there again soon goes on, it does not begin anew.

use crate::diagnose::finding::{Finding, Scope};
use crate::diagnose::severity::Severity;
use crate::time::Wall;

/// A finding that was absent for no longer than this goes on, ns.
const HOLDS_NS: i64 = 10_000_000_000;
/// Findings followed at once: there are not so many checks.
pub(super) const MOST: usize = 256;

/// What makes two findings the same one. The cause is not part of it: it is often known later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) check: &'static str,
    pub(super) scope: Scope,
    /// Which of several; empty for what there is once on a host.
    pub(super) subject: String,
}

impl Key {
    pub(super) fn of(finding: &Finding) -> Self {
        let subject = finding.subject.clone().unwrap_or_default();
        Self { check: finding.check, scope: finding.scope, subject }
    }
}

/// A finding that goes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Onset {
    pub(super) key: Key,
    pub(super) since: Wall,
    /// The last moment it was there.
    pub(super) last: Wall,
    /// The worst severity that the list of anomalies has of it.
    pub(super) marked: Severity,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Onsets(pub(super) Vec<Onset>);

impl Onsets {
    /// Since when it has been so.
    pub(super) fn since(&mut self, finding: &Finding, now: Wall) -> Wall {
        let key = Key::of(finding);
        if let Some(onset) = self.0.iter_mut().find(|onset| onset.key == key) {
            onset.last = now;
            return onset.since;
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(Onset { key, since: now, last: now, marked: Severity::Ok });
        now
    }

    /// That of a finding.
    pub(super) fn get_mut(&mut self, finding: &Finding) -> Option<&mut Onset> {
        let key = Key::of(finding);
        self.0.iter_mut().find(|onset| onset.key == key)
    }

    /// Those that are over: absent for too long.
    pub(super) fn take_over(&mut self, now: Wall) -> Vec<Onset> {
        let is_over = |onset: &Onset| now.0.saturating_sub(onset.last.0) > HOLDS_NS;
        let over = self.0.iter().filter(|onset| is_over(onset)).cloned().collect();
        self.0.retain(|onset| !is_over(onset));
        over
    }
}
