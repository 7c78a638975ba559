//! A host's sysctl files, line by line: what is dead, unknown, in the wrong unit, contradicted by
//! another line, not so now, or not what it was meant for. Pure: on [`Settings`] and [`Facts`].

use serde::Serialize;

use super::rules;
use super::table::{self, Life, Where};
use crate::diagnose::State;
use crate::facts::{Facts, SettingLine, Settings};

/// What is to be said of a line, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Nothing.
    Fine,
    /// Does nothing: the setting was taken out, or was never upstream.
    Dead,
    /// This kernel has no such setting.
    Unknown,
    /// Does not do what it is set for.
    NoEffect,
    /// Another unit than the setting's.
    WrongUnit,
    /// Less than the kernel would give by itself, or than is in use.
    Lowers,
    /// A later line sets it otherwise.
    Contradicted,
    /// It is something else now.
    Differs,
    /// Does what it says, and something else.
    Risky,
    /// Cannot be read.
    Malformed,
    /// Cannot be judged from here.
    NotSeen,
}

impl Word {
    /// On screen.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
            Self::NoEffect => "no effect",
            Self::WrongUnit => "wrong unit",
            Self::Lowers => "lowers",
            Self::Contradicted => "overridden",
            Self::Differs => "differs",
            Self::Risky => "risky",
            Self::Malformed => "malformed",
            Self::NotSeen => "not seen",
        }
    }
}

/// What there is to say about a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// The key, in dotted form.
    pub sysctl: String,
    /// The value.
    pub value: String,
    /// In a word.
    pub word: Word,
    /// How bad.
    pub state: State,
    /// In a sentence.
    pub text: String,
}

impl Remark {
    /// `/etc/sysctl.conf:12 net.ipv4.tcp_tw_recycle`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{} {}", self.file, self.line, self.sysctl)
    }
}

/// One thing to say: word, how bad, sentence.
pub(super) type Said = (Word, State, String);

/// The lines that are worth a word, in the order they are applied.
#[must_use]
pub fn lint(settings: &Settings, facts: &Facts) -> Vec<Remark> {
    (0..settings.lines.len())
        .map(|at| judge(settings, at, facts))
        .filter(|remark| remark.word != Word::Fine)
        .collect()
}

/// The verdict on one line.
#[must_use]
pub fn judge(settings: &Settings, at: usize, facts: &Facts) -> Remark {
    let line = &settings.lines[at];
    let mut said = Vec::new();
    match &line.value {
        None => said.push((Word::Malformed, State::Warn, "no `=`: it is not applied".to_owned())),
        // A pattern is for whatever is there.
        Some(_) if line.key.contains('*') => {}
        // What is not about sockets is not the doctor's.
        Some(_) if !line.key.starts_with("net.") && table::find(&line.key).is_none() => {}
        Some(_) if settings.absent.contains(&line.key) => said.push(absent(&line.key, facts)),
        Some(value) => {
            let later = settings.lines[at + 1..].iter().find(|later| {
                later.key == line.key && later.value.as_ref().is_some_and(|other| other != value)
            });
            if facts.sysctls.get(&line.key).is_some_and(|now| is_numbers(now)) && !is_numbers(value)
            {
                said.push((Word::Malformed, State::Warn, "it takes numbers".to_owned()));
            }
            rules::judge(&line.key, value, facts, &mut said);
            match later {
                Some(later) => said.insert(0, contradicted(later)),
                None => said.extend(differs(&line.key, value, facts)),
            }
        }
    }
    let word = said.first().map_or(Word::Fine, |(word, ..)| *word);
    let state = said.iter().map(|(_, state, _)| *state).max().unwrap_or(State::Ok);
    Remark {
        file: line.file.clone(),
        line: line.line,
        sysctl: line.key.clone(),
        value: line.value.clone().unwrap_or_default(),
        word,
        state,
        text: said.into_iter().map(|(_, _, text)| text).collect::<Vec<_>>().join("; "),
    }
}

/// A key that /proc/sys does not have here.
fn absent(key: &str, facts: &Facts) -> Said {
    let known = table::find(key);
    match known.map(|known| known.life) {
        Some(Life::Until(version)) => {
            let text = format!("removed in Linux {version}: this line does nothing");
            (Word::Dead, State::Warn, text)
        }
        Some(Life::Vendor) => {
            let text = "never in an upstream kernel: this line does nothing here".to_owned();
            (Word::Dead, State::Warn, text)
        }
        Some(Life::Since(version)) => {
            let text = format!("this kernel does not have it (upstream since {version})");
            (Word::Unknown, State::Warn, text)
        }
        Some(_)
            if known.is_some_and(|known| known.scope == Where::Host)
                && facts.first_netns != Some(true) =>
        {
            let text = "shows in the host's first network namespace only".to_owned();
            (Word::NotSeen, State::Ok, text)
        }
        _ if key.starts_with("net.netfilter.")
            || key.starts_with("net.nf_conntrack")
            || key.starts_with("net.bridge.")
            || is_of_a_device(key) =>
        {
            let text = "not there now: its module or device is not loaded".to_owned();
            (Word::NotSeen, State::Ok, text)
        }
        _ if facts.first_netns != Some(true) => {
            let text = "not there in this network namespace".to_owned();
            (Word::NotSeen, State::Ok, text)
        }
        _ => (Word::Unknown, State::Warn, "this kernel has no such setting".to_owned()),
    }
}

/// Numbers as `/proc/sys` takes them (`strtoul_lenient`, kernel/sysctl.c), at least one.
fn is_numbers(text: &str) -> bool {
    let is_number = |word: &str| {
        let digits = word.strip_prefix('-').unwrap_or(word);
        match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).is_ok(),
            None => digits.parse::<u64>().is_ok(),
        }
    };
    !text.is_empty() && text.split(' ').all(is_number)
}

/// `net.ipv4.conf.eth0.rp_filter`.
fn is_of_a_device(key: &str) -> bool {
    [".conf.", ".neigh."].iter().any(|part| key.contains(part))
}

fn contradicted(later: &SettingLine) -> Said {
    let value = later.value.as_deref().unwrap_or_default();
    let text = format!("{}:{} sets it to {value} afterwards", later.file, later.line);
    (Word::Contradicted, State::Warn, text)
}

fn differs(key: &str, value: &str, facts: &Facts) -> Option<Said> {
    let now = facts.sysctls.get(key)?;
    (now != value).then(|| (Word::Differs, State::Warn, format!("it is {now} now")))
}
