//! Workloads: a server in a cgroup as Docker makes one is named in rows, in a trace after the container
//! is gone, and by the filter.

use crate::support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use support::*;

const ID: &str = "79fedb3bd23ca77c9d9ccb41909038316f713df22b54b7d942b71d3812e7c74e";
const NAME: &str = "docker:79fedb3bd23c";
const PORT: u64 = 9981;

/// `docker/ID`, taken away when dropped.
struct Container(PathBuf);

impl Container {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let mount = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
        })?;
        let path = mount.join("docker").join(ID);
        fs::create_dir_all(&path).expect("a cgroup");
        Some(Self(path))
    }

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

impl Drop for Container {
    fn drop(&mut self) {
        // Its last processes take a moment to go.
        let began = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && began.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // Where Docker runs it is not empty, and stays.
        let _ = fs::remove_dir(self.0.parent().expect("docker"));
    }
}

fn last(text: &[u8]) -> Value {
    let text = String::from_utf8_lossy(text);
    serde_json::from_str(text.lines().last().expect("a line")).expect("an object")
}

/// The workloads of the rows of our port, and how many sockets those have.
fn seen(snapshot: &Value) -> (Vec<Value>, u64) {
    let rows = snapshot["ports"].as_array().expect("rows");
    let ours: Vec<&Value> = rows.iter().filter(|row| row["port"] == PORT).collect();
    let established = ours.iter().filter_map(|row| row["states"]["established"].as_u64()).sum();
    (ours.iter().map(|row| row["workload"].clone()).collect(), established)
}

#[test]
fn a_container_is_named_and_kept_when_it_is_gone() {
    let _turn = turn();
    let Some(container) = Container::new() else {
        println!("n/a: no cgroup2 is mounted");
        return;
    };
    let folder = Folder::new("sockflow-workloads");
    let trace = folder.0.join("t.sockflow");
    let file = trace.to_str().expect("a path");
    let mut recorder = Guarded::start(sockflow(&["record", "-o", file, "--interval", "200ms"]));
    eventually("the trace begins", || trace.exists());
    let port = PORT.to_string();
    let storm = sockflow(&[
        "storm",
        "--json",
        "--mode",
        "hold-memory",
        "--connections",
        "20",
        "--hold",
        "300s",
        "--port",
        &port,
    ]);
    let mut standing = Guarded::start(container.enter(&storm));
    assert_eq!(standing.line(PATIENCE).as_deref(), Some("holding 20"));

    // Live: by default, by each of its names, and by another's.
    let top = |filter: &[&str]| {
        let arguments = ["top", "--json", "--interval", "200ms", "--duration", "1s"];
        let done = output(sockflow(&[&arguments[..], filter].concat()));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        last(&done.stdout)
    };
    for filter in [&[][..], &["--workload", NAME], &["--workload", ID], &["--workload", &NAME[7..]]]
    {
        let snapshot = top(filter);
        let (workloads, established) = seen(&snapshot);
        assert_eq!(workloads, [NAME, NAME], "{filter:?}: in and out");
        assert_eq!(established, 40, "{filter:?}: both ends");
        let processes = snapshot["processes"].as_array().expect("rows");
        let alien = |row: &&Value| row["workload"] != NAME;
        assert!(filter.is_empty() || !processes.iter().any(|row| alien(&row)), "{processes:?}");
    }
    let none = top(&["--workload", "podman:79fedb3bd23c"]);
    assert_eq!(
        (none["ports"].as_array().map(Vec::len), &none["filter"]),
        (Some(0), &Value::from("workload = podman:79fedb3bd23c"))
    );
    let sampled = top(&["--sampled", "--workload", NAME]);
    assert_eq!(seen(&sampled), (vec![NAME.into(), NAME.into()], 40));

    // The container goes, and what it was stays.
    standing.signal(Signal::TERM);
    standing.end(PATIENCE);
    let cgroup = container.0.clone();
    drop(container);
    assert!(!cgroup.exists());
    let gone = top(&["--port", &port]);
    assert!(gone["ports"].as_array().expect("rows").is_empty() || seen(&gone).1 == 0);
    recorder.signal(Signal::INT);
    let (_, status, talk) = recorder.end(PATIENCE);
    assert!(status.success(), "{talk}");

    let replay = output(sockflow(&["replay", file, "--json", "--workload", NAME]));
    let last = last(&replay.stdout);
    assert_eq!(seen(&last).0, [NAME, NAME], "{last}");
    let opened = |row: &Value| row["totals"]["opened"].as_u64().unwrap_or(0);
    let rows = last["ports"].as_array().expect("rows");
    assert_eq!(rows.iter().map(opened).sum::<u64>(), 40, "and nobody else's: {rows:?}");

    let export = |filter: &[&str]| -> Vec<Value> {
        let arguments = ["export", file, "--format", "jsonl"];
        let done = output(sockflow(&[&arguments[..], filter].concat()));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    };
    let of_ours = export(&["--workload", NAME]);
    assert!(of_ours.len() >= 80, "{}", of_ours.len());
    assert!(of_ours.iter().all(|event| event["workload"] == NAME));
    let all = export(&[]);
    let named = all.iter().filter(|event| event["workload"] == NAME).count();
    assert_eq!(named, of_ours.len());
}
