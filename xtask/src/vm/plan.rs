//! What runs in a guest.

use std::fmt::Write as _;

use super::build::Programs;

/// Tests that need what a guest does not have (tmux, Prometheus, Chromium, Python), or that depend on
/// nothing that differs between kernels.
const NOT_IN_A_GUEST: [&str; 8] = [
    "live_terminal",
    "live_record",
    "live_serve",
    "live_doctor",
    "live_doctor_memory",
    "live_doctor_queues",
    "live_doctor_trace",
    "live_report",
];

/// An emulated CPU makes a few hundred connections a second: large runs are divided by this.
const SCALE: u32 = 50;

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

/// The most one test program may take, seconds.
const LIMIT: u32 = 240;

/// The step whose output is held against `kernels.toml`.
pub(super) const PROBES: &str = "probes";

/// The script of steps, for `init.sh` to run.
pub(super) fn steps(programs: &Programs, filter: &[String]) -> String {
    let mut script = format!("export SOCKFLOW_LIVE_SCALE={SCALE}\n");
    let _ = writeln!(script, "run {PROBES} 60 sockflow probes --json");
    let words: Vec<&str> = filter.iter().map(String::as_str).collect();
    let filter: String = filter.iter().map(|word| format!(" '{word}'")).collect();
    for (name, _) in &programs.tests {
        if NOT_IN_A_GUEST.contains(&name.as_str()) {
            continue;
        }
        let _ = writeln!(script, "run {name} {LIMIT} /tests/{name} --test-threads=1{filter}");
    }
    let passes = |test: &str| words.is_empty() || words.iter().any(|word| test.contains(word));
    for kind in RUNGS {
        let _ = writeln!(script, "export SOCKFLOW_RUNGS=orphan_begin={kind}");
        for (name, tests) in ON_EACH_RUNG {
            let tests: Vec<&str> = tests.split_whitespace().filter(|test| passes(test)).collect();
            if !tests.is_empty() {
                let test = format!("/tests/{name} --test-threads=1 {}", tests.join(" "));
                let _ = writeln!(script, "run {name}/{kind} {LIMIT} {test}");
            }
        }
    }
    script
}
