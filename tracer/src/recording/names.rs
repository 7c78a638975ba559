//! Names in the file for what the program knows by number or by a static string.
//!
//! Names, because a later version may count more, and an older reader must still find what it
//! knows. A name once in a released version keeps its meaning for ever.

use std::collections::BTreeMap;

use tracer_common::counters::{
    Counter, GROUP_WORDS, GroupCounters, MINI_WORDS, MiniCounter, MiniCounters, MiniEnd, OrphanEnd,
};
use tracer_common::state::TcpState;

use crate::event::{Direction, Fidelity};

/// The signals whose fidelity is told (`bpf::probes::Signal`, which is not to be named here).
pub(super) const SIGNALS: [&str; 15] = [
    "orphan_end",
    "state",
    "orphan_begin",
    "end_reason",
    "reset_in",
    "reset_out",
    "reset_reason",
    "time_wait",
    "time_wait_end",
    "mem_pressure",
    "mem_refused",
    "accept_overflow",
    "listen_drops",
    "owner",
    "accept_owner",
];

/// The counters of a group that are neither states nor ends, and whether each is a population: a
/// signed number, below 0 where a socket in flight was counted on one CPU only.
const COUNTERS: [(Counter, &str, bool); 21] = [
    (Counter::Opened, "opened", false),
    (Counter::Closed, "closed", false),
    (Counter::Standing, "standing", false),
    (Counter::Orphaned, "orphaned", false),
    (Counter::TimeWait, "time_wait", false),
    (Counter::ResetsIn, "resets_in", false),
    (Counter::ResetsOut, "resets_out", false),
    (Counter::Changes, "changes", false),
    (Counter::Orphans, "orphans", true),
    (Counter::OrphansFinWait1, "orphans_fin_wait1", true),
    (Counter::OrphansLastAck, "orphans_last_ack", true),
    (Counter::OrphansClosing, "orphans_closing", true),
    (Counter::OrphansFinWait2, "orphans_fin_wait2", true),
    (Counter::FinWait1MaxNs, "fin_wait1_max_ns", false),
    (Counter::KilledForLimit, "killed_for_limit", false),
    (Counter::KilledForMemory, "killed_for_memory", false),
    (Counter::EndedByLinger2, "ended_by_linger2", false),
    (Counter::TimeWaitOverflow, "time_wait_overflow", false),
    (Counter::MemoryRefused, "memory_refused", false),
    (Counter::AcceptOverflows, "accept_overflows", false),
    (Counter::Moved, "moved", true),
];

/// What a word without a name of its own is called, before its number: none is lost.
const NAMELESS: &str = "word_";

/// A number in the file: counters are unsigned, populations signed.
pub(super) type Number = i128;

/// The name of a word in a group's counters, and whether it is a population.
fn word_name(word: usize) -> (String, bool) {
    let state = u8::try_from(word).ok().and_then(TcpState::from_number);
    if let Some(state) = state {
        return (state.kernel_name().to_ascii_lowercase(), true);
    }
    if let Some((_, name, signed)) = COUNTERS.iter().find(|row| row.0 as usize == word) {
        return ((*name).to_owned(), *signed);
    }
    let end = word.checked_sub(Counter::OrphanEnds as usize);
    match end.and_then(|end| OrphanEnd::ALL.get(end)) {
        Some(end) => (format!("ended_{}", end.name()), false),
        None => (format!("{NAMELESS}{word}"), false),
    }
}

/// The counters by name; those that are 0 are left out.
#[expect(clippy::cast_possible_wrap, reason = "a population is a signed word by design")]
pub(super) fn counters(counters: &GroupCounters) -> BTreeMap<String, Number> {
    let mut named = BTreeMap::new();
    for (word, value) in counters.words.iter().enumerate().filter(|(_, value)| **value != 0) {
        let (name, signed) = word_name(word);
        let number = if signed { Number::from(*value as i64) } else { Number::from(*value) };
        named.insert(prefixed(word, name), number);
    }
    named
}

/// The counters with these names; others are ignored.
#[expect(clippy::cast_sign_loss, reason = "a population is a signed word by design")]
pub(super) fn words(named: &BTreeMap<String, Number>) -> GroupCounters {
    let mut counters = GroupCounters::default();
    if named.is_empty() {
        return counters;
    }
    for (word, slot) in counters.words.iter_mut().enumerate() {
        let (name, signed) = word_name(word);
        let Some(number) = named.get(&prefixed(word, name)) else { continue };
        *slot = if signed {
            i64::try_from(*number).map_or(0, |number| number as u64)
        } else {
            u64::try_from(*number).unwrap_or(0)
        };
    }
    counters
}

/// The name of a word in a service's minisocket counters, and whether it is a population.
fn mini_word_name(word: usize) -> (String, bool) {
    const NAMES: [(MiniCounter, &str, bool); 3] = [
        (MiniCounter::TimeWait, "time_wait", true),
        (MiniCounter::FinWait2, "fin_wait2", true),
        (MiniCounter::Begun, "begun", false),
    ];
    if let Some((_, name, signed)) = NAMES.iter().find(|row| row.0 as usize == word) {
        return ((*name).to_owned(), *signed);
    }
    let end = word.checked_sub(MiniCounter::Ends as usize).and_then(|end| MiniEnd::ALL.get(end));
    match end {
        Some(end) => (end.name().to_owned(), false),
        None => (format!("{NAMELESS}{word}"), false),
    }
}

/// The minisocket counters by name; those that are 0 are left out.
#[expect(clippy::cast_possible_wrap, reason = "a population is a signed word by design")]
pub(super) fn mini_counters(counters: &MiniCounters) -> BTreeMap<String, Number> {
    let mut named = BTreeMap::new();
    for (word, value) in counters.words.iter().enumerate().filter(|(_, value)| **value != 0) {
        let (name, signed) = mini_word_name(word);
        let number = if signed { Number::from(*value as i64) } else { Number::from(*value) };
        named.insert(name, number);
    }
    named
}

/// The minisocket counters with these names; others are ignored.
#[expect(clippy::cast_sign_loss, reason = "a population is a signed word by design")]
pub(super) fn mini_words(named: &BTreeMap<String, Number>) -> MiniCounters {
    let mut counters = MiniCounters::default();
    for word in 0..MINI_WORDS {
        let (name, signed) = mini_word_name(word);
        let Some(number) = named.get(&name) else { continue };
        counters.words[word] = if signed {
            i64::try_from(*number).map_or(0, |number| number as u64)
        } else {
            u64::try_from(*number).unwrap_or(0)
        };
    }
    counters
}

/// `time_wait` is a state and a counter: the state is told apart.
fn prefixed(word: usize, name: String) -> String {
    if word < TcpState::COUNT && !name.starts_with(NAMELESS) { format!("in_{name}") } else { name }
}

/// The value for each known name that is there.
pub(super) fn known<V: Copy>(
    names: &[&'static str],
    given: &BTreeMap<String, V>,
) -> BTreeMap<&'static str, V> {
    names.iter().filter_map(|name| Some((*name, *given.get(*name)?))).collect()
}

/// The direction's name.
pub(super) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// The direction with this name.
pub(super) fn direction_named(name: &str) -> Option<Direction> {
    [Direction::In, Direction::Out].into_iter().find(|known| direction(*known) == name)
}

/// The fidelity with this name; what a later version may call otherwise is not relied on.
pub(super) fn fidelity_named(name: &str) -> Fidelity {
    [Fidelity::Exact, Fidelity::Derived, Fidelity::Sampled]
        .into_iter()
        .find(|known| known.name() == name)
        .unwrap_or(Fidelity::Absent)
}

const _: () = assert!(GROUP_WORDS >= TcpState::COUNT);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_word_has_one_name_and_every_counter_its_own() {
        let names: BTreeSet<String> =
            (0..GROUP_WORDS).map(|word| prefixed(word, word_name(word).0)).collect();
        assert_eq!(names.len(), GROUP_WORDS);
        let nameless: Vec<&String> =
            names.iter().filter(|name| name.starts_with(NAMELESS)).collect();
        // Word 0 is no state, and the last are spare. A new counter needs a name above.
        let spare = GROUP_WORDS - 1 - Counter::Moved as usize;
        assert_eq!(nameless.len(), 1 + spare, "{nameless:?}");
    }

    #[test]
    fn the_signals_are_those_of_the_table_of_probes() {
        let known: BTreeSet<&str> = SIGNALS.into();
        let theirs: BTreeSet<&str> =
            crate::bpf::probes::Signal::ALL.iter().map(|signal| signal.name()).collect();
        assert_eq!(known, theirs);
    }
}
