//! What runs in a guest: one step a scenario, so that each has its own time, its own end, and a
//! hang costs one.

use std::fmt::Write as _;

use crate::test::live::{Program, Programs};

const LIMITS: &str = "reads the host's limits, the same on every kernel";
/// Test programs that are left out, and why.
const NOT_IN_A_GUEST: [(&str, &str); 8] = [
    ("live_terminal", "needs tmux"),
    ("live_record", "files and Python, the same on every kernel"),
    ("live_serve", "needs Prometheus"),
    ("live_report", "needs Chromium"),
    ("live_doctor", LIMITS),
    ("live_doctor_memory", LIMITS),
    ("live_doctor_queues", LIMITS),
    ("live_doctor_trace", LIMITS),
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

/// Why a test program does not run in guests, if it does not.
pub(super) fn left_out(program: &str) -> Option<&'static str> {
    NOT_IN_A_GUEST.iter().find(|(name, _)| *name == program).map(|(_, why)| *why)
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

/// The script of steps, for `init.sh` to run.
pub(super) fn script(scenarios: &[Scenario]) -> String {
    let mut script = format!("export SOCKFLOW_LIVE_SCALE={SCALE}\n");
    let _ = writeln!(script, "run {PROBES} 60 sockflow probes --json");
    let _ = writeln!(script, "run {VERIFIER} 60 sockflow probes --verifier");
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
    fn what_is_left_out_has_a_reason() {
        assert!(left_out("live_terminal").is_some());
        assert_eq!(left_out("live_doctor_queues"), left_out("live_doctor"));
        assert_eq!(left_out("live_doctor_cgroup"), None);
        assert_eq!(left_out("live_edges"), None);
    }
}
