//! `sockflow doctor` on a memory cgroup whose sockets take what it has.
//!
//! Needs cgroup2 with the memory controller; where cgroup1 has it the test says so, and runs on
//! other kernels (`cargo xtask vm`).

use crate::support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use support::doctor::*;
use support::*;

/// A memory cgroup of its own, taken away when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let mount = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
        })?;
        let controllers = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
        if !controllers.split_whitespace().any(|name| name == "memory") {
            return None;
        }
        fs::write(mount.join("cgroup.subtree_control"), "+memory").expect("the controller");
        let path = mount.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup");
        Some(Self(path))
    }

    fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).expect("a file of the cgroup");
        text.trim().parse().expect("a number")
    }

    fn limit(&self, bytes: u64) {
        fs::write(self.0.join("memory.max"), bytes.to_string()).expect("memory.max");
    }

    /// The same command, in it.
    fn enter(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args());
        shell
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its last sockets and processes take a moment to go.
        let began = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && began.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn sockets_that_fill_their_cgroup() {
    let _turn = turn();
    let Some(cgroup) = Cgroup::new("sockflow-doctor") else {
        let found = report(None, &["--watch", "0"]);
        let memcg = check(&found, "memcg");
        assert_eq!(memcg["state"], "unknown", "{memcg}");
        skip("memcg", memcg["why"].as_str().expect("why"));
        return;
    };
    let look = |arguments: &[&str]| report(None, arguments);
    // Connections whose clients do not read: what the server sent waits in its buffers.
    let storm = sockflow(&[
        "storm",
        "--json",
        "--mode",
        "zero-window",
        "--connections",
        "40",
        "--hold",
        "300s",
        "--sndbuf",
        "262144",
        "--rcvbuf",
        "65536",
        "--port",
        "9981",
    ]);
    let mut standing = Guarded::start(cgroup.enter(&storm));
    let line = standing.line(PATIENCE);
    if line.as_deref() != Some("holding 40") {
        panic!("{line:?}: {}", standing.end(PATIENCE).2);
    }
    // Whoever else is killed for want of memory, not the sockets' own process.
    fs::write(format!("/proc/{}/oom_score_adj", standing.pid()), "-1000").expect("oom_score_adj");
    let sock = || {
        let stat = fs::read_to_string(cgroup.0.join("memory.stat")).expect("memory.stat");
        let row = stat.lines().find_map(|line| line.strip_prefix("sock ")).expect("a row sock");
        row.parse::<u64>().expect("a number")
    };
    eventually("charged to the cgroup", || sock() * 5 > cgroup.number("memory.current"));
    assert_state(&look(&["--watch", "0"]), "memcg", "ok");

    let current = cgroup.number("memory.current");
    cgroup.limit(current * 10 / 9);
    let near = look(&["--watch", "0"]);
    assert_state(&near, "memcg", "warn");
    let found = check(&near, "memcg");
    let name = cgroup.0.file_name().expect("a name").to_string_lossy();
    assert_eq!(found["subject"], format!("/{name}"), "{found}");
    assert_eq!(found["scope"], "cgroup");

    // Another process takes the rest: the cgroup hits its limit, and the kernel kills for it.
    let watching = doctor(&["--json", "--fail-on", "never", "--watch", "2s", "--port", "9981"]);
    let mut watching = Guarded::start(watching);
    let mut hog = Command::new("sh");
    // Grows until it is killed.
    hog.args(["-c", "x=0123456789abcdef; while :; do x=$x$x; done"]);
    let began = std::time::Instant::now();
    while watching.child.try_wait().expect("wait").is_none() && began.elapsed() < PATIENCE {
        let _ = Guarded::start(cgroup.enter(&hog)).end(PATIENCE);
    }
    let (lines, status, talk) = watching.end(PATIENCE);
    assert!(status.success(), "{talk}");
    let full: Value = serde_json::from_str(&lines.concat()).expect("JSON");
    assert_state(&full, "memcg", "crit");
    let found = check(&full, "memcg");
    assert!(found["evidence"].as_str().expect("evidence").contains("hit its limit"), "{found}");
    assert_eq!(found["in_s"], 0.0, "{found}");
    assert_eq!(full["first_to_run_out"]["check"], "memcg");

    // As advised: twice as much.
    let max = number(found, "/limit");
    let action = found["action"].as_str().expect("action");
    assert!(action.contains("memory.max") && action.contains("MemoryMax="), "{found}");
    cgroup.limit(2 * max);
    assert_state(&look(&["--watch", "1s"]), "memcg", "ok");
    drop(standing);
}
