//! What runs in a guest: one step a scenario, so that each has its own time, its own end, and a
//! hang costs one.

use std::fmt::Write as _;

use crate::test::live::{Program, Programs};

const LIMITS: &str = "reads the host's limits, the same on every kernel";
const SAME: &str = "the same on every kernel";
const SINGLY: &str = "singly on this machine's kernel; in guests one of each kind at a time";
/// Test programs and single tests that are left out, and why.
const NOT_IN_A_GUEST: [(&str, &str); 19] = [
    ("live_terminal", "needs tmux"),
    ("live_record", "files and Python, the same on every kernel"),
    ("live_serve", "needs Prometheus"),
    ("live_report", "needs Chromium"),
    ("live_doctor", LIMITS),
    ("live_doctor_memory", LIMITS),
    ("live_doctor_queues", LIMITS),
    ("live_doctor_trace", LIMITS),
    ("live_commands::a_hostile_name_is_spelt_out", SAME),
    ("live_commands::a_reader_that_goes_away_is_no_error", SAME),
    ("live_commands::what_cannot_be_is_refused", SAME),
    ("live_degraded::what_tells_why_orphans_end", SINGLY),
    ("live_degraded::what_tells_that_orphans_begin_and_whose_they_are", SINGLY),
    ("live_degraded::what_tells_of_minisockets", SINGLY),
    ("live_degraded::what_tells_of_resets", SINGLY),
    ("live_degraded::what_tells_of_memory", SINGLY),
    ("live_degraded::what_tells_of_listeners", SINGLY),
    ("live_degraded::several_at_once", SINGLY),
    ("live_degraded::without_what_all_need_it_stops_and_names_it", SAME),
];

/// An emulated CPU makes a few hundred connections a second: large runs are divided by this.
const SCALE: u32 = 100;

/// The hooks on `close()` below the best: what they must do as well is tested on each.
const RUNGS: [&str; 2] = ["kprobe", "cgroup"];
/// Test programs and, of each, the tests that depend on how `close()` is seen.
const ON_EACH_RUNG: [(&str, &str); 2] = [
    (
        "live_edges",
        "half_closed shut_down_both killed_with_a_linger a_child_that_inherits data_unread \
         used_up queue_full",
    ),
    ("live_standing", "orphans_outside"),
];

/// The most one scenario may take, seconds: thrice the slowest, beside other guests and a build.
const LIMIT: u32 = 360;

/// The step whose output is held against `kernels.toml`.
pub(super) const PROBES: &str = "probes";
/// The step whose output is held against `verifier.toml`.
pub(super) const VERIFIER: &str = "verifier";

/// Why a test program (`live_serve`), or one of its tests (`live_serve::name`), does not run in
/// guests, if it does not.
pub(super) fn left_out(name: &str) -> Option<&'static str> {
    let program = name.split_once("::").map_or(name, |(program, _)| program);
    let is_left_out = |(left_out, _): &&(&str, &str)| *left_out == program || *left_out == name;
    NOT_IN_A_GUEST.iter().find(is_left_out).map(|(_, why)| *why)
}

/// One run of a test in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) program: String,
    pub(super) test: String,
    /// The rung on which `close()` is seen, where it is not the best.
    pub(super) rung: Option<&'static str>,
}

impl Scenario {
    /// `live_edges::both_close_at_once`, on a rung of its own followed by `/kprobe`.
    pub(super) fn name(&self) -> String {
        let rung = self.rung.map_or(String::new(), |rung| format!("/{rung}"));
        format!("{}::{}{rung}", self.program, self.test)
    }
}

/// Everything that runs in a guest, in order.
pub(super) fn scenarios(programs: &Programs, filter: &[String]) -> Vec<Scenario> {
    let passes =
        |test: &str| filter.is_empty() || filter.iter().any(|word| test.contains(word.as_str()));
    let of = |program: &Program, rung: Option<&'static str>, among: Option<&str>| {
        let is_wanted = |test: &&String| {
            passes(test)
                && left_out(&format!("{}::{test}", program.name)).is_none()
                && among.is_none_or(|words| words.split(' ').any(|word| test.contains(word)))
        };
        let tests: Vec<Scenario> = program
            .scenarios
            .iter()
            .filter(is_wanted)
            .map(|test| Scenario { program: program.name.clone(), test: test.clone(), rung })
            .collect();
        tests
    };
    let guests = || programs.tests.iter().filter(|program| left_out(&program.name).is_none());
    let mut all: Vec<Scenario> = guests().flat_map(|program| of(program, None, None)).collect();
    for rung in RUNGS {
        for (name, among) in ON_EACH_RUNG {
            let program = guests().find(|program| program.name == name);
            all.extend(
                program.into_iter().flat_map(|program| of(program, Some(rung), Some(among))),
            );
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
        let Scenario { program, test, .. } = scenario;
        let _ = writeln!(script, "export SOCKFLOW_RUNGS={rung}");
        let _ = writeln!(
            script,
            "run {} {LIMIT} /tests/{program} --test-threads=1 --show-output --exact {test}",
            scenario.name()
        );
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let program = |name: &str, tests: &[&str]| Program {
            name: name.into(),
            path: name.into(),
            scenarios: tests.iter().map(|test| (*test).to_owned()).collect(),
        };
        Programs {
            sockflow: "sockflow".into(),
            tests: vec![
                program("live_edges", &["half_closed_then_closed", "refused"]),
                program("live_terminal", &["draws"]),
            ],
        }
    }

    #[test]
    fn each_scenario_is_a_step_and_what_depends_on_the_hook_is_one_on_each() {
        let names: Vec<String> = scenarios(&programs(), &[]).iter().map(Scenario::name).collect();
        let half = "live_edges::half_closed_then_closed";
        let expected = [
            half.to_owned(),
            "live_edges::refused".to_owned(),
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
    fn what_is_left_out_has_a_reason() {
        assert!(left_out("live_terminal").is_some());
        assert_eq!(left_out("live_doctor_queues"), left_out("live_doctor"));
        assert_eq!(left_out("live_doctor_cgroup"), None);
        assert_eq!(left_out("live_edges"), None);
        assert!(left_out("live_terminal::any").is_some());
        assert!(left_out("live_degraded::what_tells_of_resets").is_some());
        assert_eq!(left_out("live_degraded"), None);
    }
}
