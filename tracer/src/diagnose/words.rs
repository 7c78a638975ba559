//! A finding in words: what text and screens say alike. Not cleaned: names in it are strangers'.

use super::{CheckRow, Report, Scope, State};
use crate::format::{bytes, count, duration};

/// From this share on a limit counts as near.
const NEAR: f64 = 0.8;

impl CheckRow {
    /// Its state; `ok*` where it is near its limit and that does no harm.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.state == State::Ok && self.is_harmless() { "ok*" } else { self.state.word() }
    }

    /// Near its limit, and harmless.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        self.harmless && self.used >= Some(NEAR)
    }

    /// `118,204/131,072`, in the unit that suits it.
    #[must_use]
    pub fn amounts(&self) -> String {
        let Some(now) = self.now else {
            let what = if self.state == State::Unknown { "not measured" } else { "-" };
            return what.to_owned();
        };
        let show = |number: u64| match self.unit {
            "bytes" => bytes(number),
            // fs.file-max may be as good as infinite.
            _ if number > 1 << 50 => "no limit".to_owned(),
            _ if number >= 10_000_000 => crate::format::short(number as f64),
            _ => count(number),
        };
        match self.limit {
            Some(limit) => format!("{}/{}", show(now), show(limit)),
            None => show(now),
        }
    }

    /// `90%`; cut off, not rounded: 100% is all of it. `None` where unknown or without a limit.
    #[must_use]
    pub fn percent(&self) -> Option<String> {
        let used = self.used?;
        Some(match used * 100.0 {
            little if used > 0.0 && little < 1.0 => "<1%".to_owned(),
            much if much > 999.0 => ">999%".to_owned(),
            value => format!("{:.0}%", value.floor()),
        })
    }

    /// What to do, in a few words; empty where nothing is to be done.
    #[must_use]
    pub fn advice(&self) -> String {
        match (self.state, self.follows, self.set.first()) {
            (State::Unknown, ..) => "see below".to_owned(),
            (State::Ok, ..) if self.is_harmless() => "none: harmless here".to_owned(),
            (State::Ok, ..) => String::new(),
            (_, Some(other), _) => format!("follows {other}: see there"),
            (_, None, Some(set)) => {
                let name = set.sysctl.rsplit('.').next().unwrap_or(&set.sysctl);
                format!("{name}={}", set.to)
            }
            (_, None, None) => self.subject.clone().unwrap_or_else(|| "see below".to_owned()),
        }
    }

    /// `orphans: limit in 43 s   (the host's)`.
    #[must_use]
    pub fn heading(&self) -> String {
        let mut heading = self.title.to_owned();
        if let Some(subject) = &self.subject {
            heading.push_str(&format!(" {subject}"));
        }
        heading.push_str(&match self.in_s {
            _ if self.state <= State::Ok => String::new(),
            Some(left) if left > 0.0 => format!(": limit in {}", duration(left)),
            Some(_) => ": at its limit now".to_owned(),
            None if self.limit.is_some() => ": no trend to project".to_owned(),
            None => String::new(),
        });
        heading.push_str(match self.scope {
            Scope::Host => "   (the host's)",
            Scope::Netns => "   (this network namespace's)",
            Scope::Process => "   (one process's)",
            Scope::Cgroup => "   (one cgroup's)",
            Scope::Service => "   (one service's)",
            Scope::Listener => "   (one listener's)",
        });
        heading
    }

    /// All there is to say about it, each with its label; a label that is empty goes on with the
    /// one before.
    #[must_use]
    pub fn paragraphs(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("why", self.why.clone())];
        if let Some(other) = self.follows {
            all.push(("", format!("It follows from `{other}`: see there first.")));
        }
        for set in &self.set {
            let value = match set.to.contains(' ') {
                true => format!("\"{}\"", set.to),
                false => set.to.clone(),
            };
            all.push(("set", format!("sysctl -w {}={value}   (now {})", set.sysctl, set.from)));
        }
        for (label, text) in [
            ("do", &self.action),
            ("gain", &self.gain),
            ("risk", &self.risk),
            ("undo", &self.undo),
            ("proof", &self.evidence),
        ] {
            if !text.is_empty() {
                all.push((label, text.clone()));
            }
        }
        all
    }
}

/// The first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Report {
    /// How many checks are in which state, those that there are: `2 CRIT`.
    #[must_use]
    pub fn counts(&self) -> Vec<String> {
        let number = |state: State| self.checks.iter().filter(|it| it.state == state).count();
        [
            (State::Crit, "CRIT"),
            (State::Warn, "WARN"),
            (State::Ok, "ok"),
            (State::Unknown, "not measured"),
        ]
        .into_iter()
        .filter(|(state, _)| number(*state) > 0)
        .map(|(state, word)| format!("{} {word}", number(state)))
        .collect()
    }

    /// What is near its limit, and harmless.
    pub fn harmless(&self) -> impl Iterator<Item = &CheckRow> {
        self.checks.iter().filter(|finding| finding.is_harmless())
    }

    /// What could not be seen.
    pub fn unseen(&self) -> impl Iterator<Item = &CheckRow> {
        self.checks.iter().filter(|finding| finding.state == State::Unknown)
    }

    /// Of a trace: said so, with what is to be known about the moment.
    #[must_use]
    pub fn of_trace(mut self, note: Option<String>) -> Self {
        self.source = "trace";
        self.notes.splice(0..0, note);
        self
    }
}
