//! Settings that change while they are watched. Pure.

use std::collections::BTreeMap;

use crate::facts::causes::{MOST_CHANGES, SettingChange};
use crate::time::Monotonic;

/// Remembers how settings were.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Value, and when it was seen last.
    last: BTreeMap<String, (String, Monotonic)>,
    /// When all were read last.
    all_at: Option<Monotonic>,
    found: Vec<SettingChange>,
}

impl Changes {
    /// Takes all settings in, as they are at that time.
    pub(super) fn all(&mut self, at: Monotonic, settings: &BTreeMap<String, String>) {
        if let Some(before) = self.all_at.replace(at) {
            let gone: Vec<String> =
                self.last.keys().filter(|name| !settings.contains_key(*name)).cloned().collect();
            for name in gone {
                let Some((from, after)) = self.last.remove(&name) else { continue };
                self.push(SettingChange { name, from: Some(from), to: None, after, seen: at });
            }
            for (name, to) in settings {
                if !self.last.contains_key(name) {
                    let (name, to) = (name.clone(), Some(to.clone()));
                    self.push(SettingChange { name, from: None, to, after: before, seen: at });
                }
            }
        }
        for (name, value) in settings {
            self.one(at, name, value);
        }
    }

    /// Takes one setting in.
    pub(super) fn one(&mut self, at: Monotonic, name: &str, value: &str) {
        let Some((last, seen)) = self.last.get_mut(name) else {
            self.last.insert(name.to_owned(), (value.to_owned(), at));
            return;
        };
        let after = std::mem::replace(seen, at);
        if last != value {
            let from = std::mem::replace(last, value.to_owned());
            let (name, to) = (name.to_owned(), Some(value.to_owned()));
            self.push(SettingChange { name, from: Some(from), to, after, seen: at });
        }
    }

    fn push(&mut self, change: SettingChange) {
        if self.found.len() >= MOST_CHANGES {
            self.found.remove(0);
        }
        self.found.push(change);
    }

    /// All changes so far.
    pub(super) fn found(&self) -> &[SettingChange] {
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Monotonic {
        Monotonic(second * 1_000_000_000)
    }

    #[test]
    fn a_change_lies_between_two_times() {
        let settings = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let mut changes = Changes::default();
        changes.all(at(1), &settings(&[("orphans", "131072"), ("conntrack", "9")]));
        assert_eq!(changes.found(), []);
        changes.one(at(2), "orphans", "131072");
        changes.one(at(3), "orphans", "256");
        changes.all(at(6), &settings(&[("orphans", "256"), ("udp", "1")]));
        let change =
            |name: &str, from: Option<&str>, to: Option<&str>, after, seen| SettingChange {
                name: name.into(),
                from: from.map(Into::into),
                to: to.map(Into::into),
                after: at(after),
                seen: at(seen),
            };
        assert_eq!(
            changes.found(),
            [
                change("orphans", Some("131072"), Some("256"), 2, 3),
                change("conntrack", Some("9"), None, 1, 6),
                change("udp", None, Some("1"), 1, 6),
            ]
        );
        for second in 10..200 {
            changes.one(at(second), "orphans", &second.to_string());
        }
        assert_eq!(changes.found().len(), MOST_CHANGES);
        assert_eq!(changes.found().last().unwrap().seen, at(199));
    }
}
