//! A setting that changed while we watched: where a limit was lowered, that is why it is reached.

use super::check::{Check, describe};
use super::look::{Look, Weight};
use super::row::Set;
use super::severity::Severity;
use super::watch::Watch;
use crate::facts::Known;
use crate::format::{count, duration};
use crate::time::{Monotonic, Wall};

pub(super) struct SettingChanged;

/// A change that does no harm is worth a word for so long, seconds.
const NEWS_S: f64 = 30.0;

/// A setting that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was first seen so.
    pub at: Monotonic,
    /// The same by the clock.
    pub time: Wall,
    /// Its name.
    pub name: String,
    /// What it was.
    pub from: String,
    /// What it is since.
    pub to: String,
}

/// Which settings limit what a check looks at.
const LIMITS: &[(&str, &[&str])] = &[
    ("orphans", &["net.ipv4.tcp_max_orphans"]),
    ("tcp_mem", &["net.ipv4.tcp_mem"]),
    ("file_max", &["fs.file-max"]),
    ("time_wait", &["net.ipv4.tcp_max_tw_buckets"]),
    ("syn_queue", &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"]),
    ("ephemeral_ports", &["net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"]),
    ("udp_mem", &["net.ipv4.udp_mem"]),
    ("conntrack", &["net.netfilter.nf_conntrack_max"]),
    ("softnet", &["net.core.netdev_max_backlog"]),
];

impl Change {
    /// `net.ipv4.tcp_max_orphans was lowered from 131,072 to 256 41 s ago`.
    fn words(&self, now: Monotonic) -> String {
        let show = |value: &str| value.parse().map_or_else(|_| value.to_owned(), count);
        let verb = if self.lowers() { "lowered" } else { "changed" };
        let ago = match now.seconds_since(self.at) {
            little if little < 1.0 => "just now".to_owned(),
            seconds => format!("{} ago", duration(seconds)),
        };
        let (from, to) = (show(&self.from), show(&self.to));
        format!("{} was {verb} from {from} to {to} {ago}", self.name)
    }

    /// Sets it back.
    fn undone(&self) -> Set {
        let Self { name, from, to, .. } = self.clone();
        Set { sysctl: name, from: to, to: from }
    }

    /// Whether less is allowed since.
    fn lowers(&self) -> bool {
        let numbers = |text: &str| -> Option<Vec<u64>> {
            text.split(' ').map(|word| word.parse().ok()).collect()
        };
        match (numbers(&self.from), numbers(&self.to)) {
            (Some(from), Some(to)) => to.last() < from.last(),
            _ => false,
        }
    }

    /// The limit it stood for before, where it is one number or the last of several.
    fn former_limit(&self) -> Option<u64> {
        self.from.split(' ').next_back()?.parse().ok()
    }
}

/// Where something is wrong because of a limit that was lowered, and would be well with the former one:
/// says so, and advises to set it back before anything else.
pub(super) fn blame<'a>(
    watch: &'a Watch,
    all: &mut [(&'static dyn Check, Known<Look>)],
) -> Option<&'a Change> {
    let last = watch.last();
    let mut worst: Option<(Weight, &Change)> = None;
    for (check, look) in all {
        let Ok(look) = look else { continue };
        if look.severity() < Severity::Warn {
            continue;
        }
        let weight = look.weight(*check);
        for change in &watch.changes {
            if !is_cause(watch, check.id(), look, change) {
                continue;
            }
            let words = change.words(last.at);
            if !look.behind.is_empty() {
                look.behind.push_str("; ");
            }
            look.behind.push_str(&words);
            look.why = format!("{words}. {}", look.why);
            look.set.retain(|set| set.sysctl != change.name);
            look.set.insert(0, change.undone());
            look.follows = None;
            if worst.is_none_or(|(most, _)| weight > most) {
                worst = Some((weight, change));
            }
        }
    }
    worst.map(|(_, change)| change)
}

/// What is said of a change that made something go wrong.
pub(super) fn cause(watch: &Watch, change: &Change) -> Look {
    let words = change.words(watch.last().at);
    Look {
        at_least: Severity::Warn,
        why: format!("{words}; with the former value nothing would be wrong."),
        ..news(watch, change)
    }
}

/// What is said of a change that did no harm.
fn news(watch: &Watch, change: &Change) -> Look {
    let words = change.words(watch.last().at);
    Look {
        at_least: Severity::Note,
        subject: Some(change.name.clone()),
        why: format!("{words}."),
        before: words,
        set: vec![change.undone()],
        gain: "as it was before".to_owned(),
        evidence: format!("/proc/sys/{}", change.name.replace('.', "/")),
        ..Look::default()
    }
}

fn is_cause(watch: &Watch, check: &str, look: &Look, change: &Change) -> bool {
    let limits = LIMITS.iter().find(|(id, _)| *id == check);
    let named = limits.is_some_and(|(_, names)| names.contains(&change.name.as_str()));
    // Half of the former limit was room enough.
    let was_room = match (look.now, change.former_limit()) {
        (Some(now), Some(former)) => now.saturating_mul(2) < former,
        _ => false,
    };
    let still_so = watch.last().sysctls.get(&change.name) == Some(&change.to);
    named && change.lowers() && was_room && still_so
}

impl Check for SettingChanged {
    describe!("setting_changed", "setting", "setting changed", "settings", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let last = watch.last();
        let is_news = |change: &&Change| last.at.seconds_since(change.at) <= NEWS_S;
        Ok(match watch.changes.iter().rev().find(is_news) {
            Some(change) => news(watch, change),
            None => Look { why: "No setting changed.".to_owned(), ..Look::default() },
        })
    }
}
