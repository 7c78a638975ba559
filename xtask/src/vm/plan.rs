//! What runs in a guest: one step a scenario, so that each has its own time, its own end, and a
//! hang costs one.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::matrix::Kernel;
use crate::test::live::Programs;

const LIMITS: &str = "reads the host's limits, the same on every kernel";
/// These run where they are named: `cargo xtask vm -- findings`.
const SLOW: &str = "takes minutes under emulation; run when named";
const SAME: &str = "the same on every kernel";
const SINGLY: &str = "singly on this machine's kernel; in guests one of each kind at a time";
/// Files of `tracer/tests/live` and single tests that are left out, and why.
const NOT_IN_A_GUEST: [(&str, &str); 30] = [
    ("field", SAME),
    ("findings", SLOW),
    ("findings::a_few_slow_readers_are_no_alarm", LIMITS),
    ("findings::of_four_listeners_the_stopped_one_is_named", "needs Python"),
    ("findings::short_connections_at_full_speed_are_no_finding", LIMITS),
    ("readme", "needs tmux"),
    ("terminal", "needs tmux"),
    ("sandboxes", "needs unshare and ip"),
    ("owners", "needs Python, and nginx for one"),
    ("workloads", SAME),
    ("record", "files and Python, the same on every kernel"),
    ("serve", "needs Prometheus"),
    ("streams", SAME),
    ("report", "needs Chromium"),
    ("doctor", LIMITS),
    ("doctor_memory", LIMITS),
    ("doctor_queues", LIMITS),
    ("doctor_trace", LIMITS),
    ("commands::a_hostile_name_is_spelt_out", SAME),
    ("commands::a_reader_that_goes_away_is_no_error", SAME),
    ("commands::what_cannot_be_is_refused", SAME),
    ("namespaces::times_are_right_in_a_time_namespace", "needs an unshare that has --time"),
    ("degraded::what_tells_why_orphans_end", SINGLY),
    ("degraded::what_tells_that_orphans_begin_and_whose_they_are", SINGLY),
    ("degraded::what_tells_of_minisockets", SINGLY),
    ("degraded::what_tells_of_resets", SINGLY),
    ("degraded::what_tells_of_memory", SINGLY),
    ("degraded::what_tells_of_listeners", SINGLY),
    ("degraded::several_at_once", SINGLY),
    ("degraded::without_what_all_need_it_stops_and_names_it", SAME),
];

/// An emulated CPU makes a few hundred connections a second: large runs are divided by this.
const SCALE: u32 = 100;

/// The hooks on `close()` below the best: what they must do as well is tested on each.
const RUNGS: [&str; 2] = ["kprobe", "cgroup"];
/// Files of `tracer/tests/live` and, of each, the tests that depend on how `close()` is seen.
const ON_EACH_RUNG: [(&str, &str); 2] = [
    (
        "edges",
        "half_closed shut_down_both killed_with_a_linger a_child_that_inherits data_unread \
         used_up queue_full",
    ),
    ("standing", "orphans_outside"),
];

/// The most one scenario may take, seconds: thrice the slowest, beside other guests and a build.
const LIMIT: u32 = 360;

/// The step whose output is held against `kernels.toml`.
pub(super) const PROBES: &str = "probes";
/// The step whose output is held against `verifier.toml`.
pub(super) const VERIFIER: &str = "verifier";

/// The live tests' program in a guest.
pub(super) const LIVE: &str = "/live";

/// The file of `tracer/tests/live` that a test is in: `serve` of `serve::name`.
pub(super) fn file_of(test: &str) -> &str {
    test.split_once("::").map_or(test, |(file, _)| file)
}

/// Why a file of live tests (`serve`), or one of its tests (`serve::name`), does not run in guests,
/// if it does not.
pub(super) fn left_out(name: &str) -> Option<&'static str> {
    let is_left_out =
        |(left_out, _): &&(&str, &str)| *left_out == file_of(name) || *left_out == name;
    // What is said of one test says more than what is said of its file.
    NOT_IN_A_GUEST.iter().rev().find(is_left_out).map(|(_, why)| *why)
}

/// Fails where a table names a test, or a file of them, that is not there: renamed, it would run
/// where it must not, or no longer on each rung.
pub(super) fn all_are_there(programs: &Programs, kernels: &[Kernel]) -> Result<()> {
    let tests = &programs.scenarios;
    let is_there = |name: &str| tests.iter().any(|test| test == name || file_of(test) == name);
    let words = ON_EACH_RUNG
        .iter()
        .flat_map(|(file, words)| words.split(' ').map(move |word| (*file, word)));
    let has_none = |(file, word): &(&str, &str)| {
        !tests.iter().any(|test| file_of(test) == *file && test.contains(word))
    };
    let left_out = NOT_IN_A_GUEST.iter().map(|(name, _)| *name).filter(|name| !is_there(name));
    let absent = kernels.iter().flat_map(|kernel| kernel.absent.keys());
    let absent = absent.map(String::as_str).filter(|name| !tests.iter().any(|test| test == name));
    let missing: Vec<String> = left_out
        .chain(absent)
        .map(str::to_owned)
        .chain(words.filter(has_none).map(|(file, word)| format!("{file}::…{word}…")))
        .collect();
    if !missing.is_empty() {
        bail!(
            "no live test is called {}, which kernels.toml or xtask/src/vm/plan.rs names",
            missing.join(", ")
        );
    }
    Ok(())
}

/// One run of a test in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) test: String,
    /// The rung on which `close()` is seen, where it is not the best.
    pub(super) rung: Option<&'static str>,
}

impl Scenario {
    /// `edges::both_close_at_once`, on a rung of its own followed by `/kprobe`.
    pub(super) fn name(&self) -> String {
        let rung = self.rung.map_or(String::new(), |rung| format!("/{rung}"));
        format!("{}{rung}", self.test)
    }
}

/// Everything that runs in a guest, in order.
pub(super) fn scenarios(programs: &Programs, filter: &[String]) -> Vec<Scenario> {
    let passes =
        |test: &str| filter.is_empty() || filter.iter().any(|word| test.contains(word.as_str()));
    let runs = |test: &&String| {
        passes(test) && left_out(test).is_none_or(|why| why == SLOW && !filter.is_empty())
    };
    let guests = || programs.scenarios.iter().filter(runs);
    let scenario = |test: &String, rung| Scenario { test: test.clone(), rung };
    let mut all: Vec<Scenario> = guests().map(|test| scenario(test, None)).collect();
    for rung in RUNGS {
        for (file, among) in ON_EACH_RUNG {
            let depends = |test: &&String| {
                file_of(test) == file && among.split(' ').any(|word| test.contains(word))
            };
            all.extend(guests().filter(depends).map(|test| scenario(test, Some(rung))));
        }
    }
    all
}

/// The scenarios in so many parts that take about as long: those that are alike are neighbours, so
/// they are dealt out in turn.
pub(super) fn parts(scenarios: &[Scenario], count: usize) -> Vec<Vec<Scenario>> {
    let part = |at: usize| scenarios.iter().skip(at).step_by(count).cloned().collect::<Vec<_>>();
    // The first one runs also if nothing passes the filter: it looks at the probes.
    let is_needed = |(at, part): &(usize, Vec<Scenario>)| *at == 0 || !part.is_empty();
    (0..count).map(part).enumerate().filter(is_needed).map(|(_, part)| part).collect()
}

/// The script of steps, for `init.sh` to run.
pub(super) fn script(scenarios: &[Scenario], with_probes: bool) -> String {
    let mut script = format!("export SOCKFLOW_LIVE_SCALE={SCALE}\n");
    if with_probes {
        let _ = writeln!(script, "run {PROBES} 60 sockflow probes --json");
        let _ = writeln!(script, "run {VERIFIER} 60 sockflow probes --verifier");
    }
    for scenario in scenarios {
        let rung = scenario.rung.map_or(String::new(), |rung| format!("orphan_begin={rung}"));
        let test = &scenario.test;
        let _ = writeln!(script, "export SOCKFLOW_RUNGS={rung}");
        let _ = writeln!(
            script,
            "run {} {LIMIT} {LIVE} --test-threads=1 --show-output --exact {test}",
            scenario.name()
        );
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let tests = ["edges::half_closed_then_closed", "edges::refused", "terminal::draws"];
        Programs {
            sockflow: "sockflow".into(),
            live: "live".into(),
            scenarios: tests.iter().map(|test| (*test).to_owned()).collect(),
        }
    }

    #[test]
    fn each_scenario_is_a_step_and_what_depends_on_the_hook_is_one_on_each() {
        let names: Vec<String> = scenarios(&programs(), &[]).iter().map(Scenario::name).collect();
        let half = "edges::half_closed_then_closed";
        let expected = [
            half.to_owned(),
            "edges::refused".to_owned(),
            format!("{half}/kprobe"),
            format!("{half}/cgroup"),
        ];
        assert_eq!(names, expected);
        assert_eq!(scenarios(&programs(), &["refused".to_owned()]).len(), 1);
    }

    #[test]
    fn every_scenario_is_in_one_part() {
        let all = scenarios(&programs(), &[]);
        let parts = parts(&all, 2);
        assert_eq!(parts.len(), 2);
        assert!(parts[0].len() - parts[1].len() <= 1);
        let mut together = parts.concat();
        together.sort_by_key(|one| all.iter().position(|known| known == one));
        assert_eq!(together, all);
        assert_eq!(super::parts(&all[..1], 2), [all[..1].to_vec()], "nothing for the other");
        assert_eq!(super::parts(&[], 2), [vec![]], "the probes are looked at");
    }

    #[test]
    fn a_name_without_a_test_is_found() {
        let error = all_are_there(&programs(), &[]).unwrap_err().to_string();
        for name in ["serve", "degraded::several_at_once", "edges::…shut_down_both…"] {
            assert!(error.contains(name), "{name}: {error}");
        }
        for name in ["terminal", "edges::…half_closed…"] {
            assert!(!error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_reason() {
        assert!(left_out("terminal").is_some());
        assert_eq!(left_out("doctor_queues"), left_out("doctor"));
        assert_eq!(left_out("doctor_cgroup"), None);
        assert_eq!(left_out("edges"), None);
        assert!(left_out("terminal::any").is_some());
        assert!(left_out("degraded::what_tells_of_resets").is_some());
        assert_eq!(left_out("degraded"), None);
    }
}
