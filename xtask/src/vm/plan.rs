//! What runs in a guest.

use std::fmt::Write as _;

use super::build::Programs;

/// Tests that need what a guest does not have.
const NOT_IN_A_GUEST: [&str; 1] = ["live_terminal"];

/// An emulated CPU makes a few hundred connections a second: large runs are divided by this.
const SCALE: u32 = 50;

/// The hooks on `close()` below the best: what they must do as well is tested on each.
const RUNGS: [&str; 2] = ["kprobe", "cgroup"];
const ON_EACH_RUNG: [&str; 1] = ["live_edges"];

/// The most one test program may take, seconds.
const LIMIT: u32 = 240;

/// The script of steps, for `init.sh` to run.
pub(super) fn steps(programs: &Programs, filter: &[String]) -> String {
    let mut script = format!("export SOCKFLOW_LIVE_SCALE={SCALE}\n");
    script.push_str("run probes 60 sockflow probes --json\n");
    let filter: String = filter.iter().map(|word| format!(" '{word}'")).collect();
    for (name, _) in &programs.tests {
        if NOT_IN_A_GUEST.contains(&name.as_str()) {
            continue;
        }
        let _ = writeln!(script, "run {name} {LIMIT} /tests/{name} --test-threads=1{filter}");
    }
    for kind in RUNGS {
        let _ = writeln!(script, "export SOCKFLOW_RUNGS=orphan_begin={kind}");
        for name in ON_EACH_RUNG {
            let test = format!("/tests/{name} --test-threads=1{filter}");
            let _ = writeln!(script, "run {name}/{kind} {LIMIT} {test}");
        }
    }
    script
}
