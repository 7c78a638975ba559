//! Which numbers are the host's and which those of the namespace that is watched.

use crate::support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;
use support::doctor::{NO_FILES, check};
use support::pairs::half_closed;
use support::{
    Folder, Namespace, PORT, Standing, Top, assert_complete, eventually, host_orphans, number,
    output, row, turn,
};

use crate::record::replay;

fn listen(namespace: &Namespace) -> TcpListener {
    namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen"))
}

fn setting(name: &str) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("a setting");
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

#[test]
fn counters_are_the_namespaces_and_orphans_and_their_limits_the_hosts() {
    /// Of the watched namespace: room for so many minisockets, and more sockets that want one.
    const ROOM: u64 = 6;
    const MORE: u64 = 4;
    /// Of another namespace.
    const ELSEWHERE: u64 = 9;
    const ORPHANS: u64 = 5;
    let _turn = turn();
    let (watched, other) = (Namespace::new(), Namespace::new());
    watched.set("net.ipv4.tcp_max_tw_buckets", &ROOM.to_string());
    let before = host_orphans();
    let top = Top::start(&["--netns", &watched.name()]);
    let (listener_here, listener_there) = (listen(&watched), listen(&other));
    let here = half_closed(&watched, &listener_here, ROOM + MORE);
    let there = half_closed(&other, &listener_there, ELSEWHERE);
    eventually("all are minisockets", || {
        watched.sockstat("tw") == ROOM && other.sockstat("tw") == ELSEWHERE
    });
    let count = ORPHANS.to_string();
    let arguments = ["--mode", "zero-window", "--connections", &count, "--hold", "60s"];
    let orphans =
        Standing::start(Some(&other), &[&arguments[..], &["--port", "9982"]].concat(), ORPHANS);
    let last = top.last_at_rest(&watched);
    assert_eq!(host_orphans(), before + ORPHANS);
    orphans.release();
    drop((here, there));
    assert_complete(&last);
    // The namespace's: its counters, its minisockets, their limit, its connections.
    assert_eq!(number(&last, "/counters/TCPTimeWaitOverflow"), MORE, "{last}");
    assert_eq!(number(&last, "/tw_buckets/now"), ROOM, "{last}");
    assert_eq!(number(&last, "/tw_buckets/limit"), ROOM, "{last}");
    assert_eq!(number(&last, "/tw_buckets/fin_wait2"), ROOM, "{last}");
    assert_eq!(number(&last, "/states/fin_wait2"), ROOM, "{last}");
    assert_eq!(number(row(&last, PORT, "in"), "/totals/opened"), ROOM + MORE, "{last}");
    assert_eq!(number(&last, "/totals/opened"), 2 * (ROOM + MORE), "{last}");
    // The host's: its orphans, whichever namespace they are in, and its limits.
    assert_eq!(number(&last, "/orphans/host"), before + ORPHANS, "{last}");
    assert_eq!(number(&last, "/orphans/tracked"), 0, "they are elsewhere: {last}");
    assert_eq!(last["orphans"]["drift"], 0, "{last}");
    assert_eq!(vec![number(&last, "/orphans/limit")], setting("tcp_max_orphans"), "{last}");
    let tcp_mem = ["/tcp_mem/low", "/tcp_mem/pressure", "/tcp_mem/high"];
    assert_eq!(tcp_mem.map(|at| number(&last, at)).to_vec(), setting("tcp_mem"), "{last}");
}

/// In a container the host's limits are not to be seen, and that is said. What is in it is right.
#[test]
fn what_a_container_cannot_see_is_unknown() {
    const CONNECTIONS: u64 = 40;
    let _turn = turn();
    let folder = Folder::new("sockflow-container");
    let file = folder.0.join("t.sockflow");
    let run = format!(
        "ip link set lo up; \"$0\" record -o {} --interval 200ms -- \"$0\" storm --connections \
         {CONNECTIONS} && exec \"$0\" doctor --json --root {NO_FILES} --fail-on never",
        file.display()
    );
    let mut container = Command::new("unshare");
    container.args(["-p", "-m", "-n", "-f", "--mount-proc"]);
    container.args(["sh", "-c", &run]).arg(support::binary());
    let done = output(container);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let text = String::from_utf8_lossy(&done.stdout);
    let report = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let report = report.unwrap_or_else(|| panic!("no report: {text}"));
    for (id, limit) in [("orphans", "tcp_max_orphans"), ("tcp_mem", "tcp_mem")] {
        let row = check(&report, id);
        assert_eq!((&row["state"], &row["limit"]), (&"unknown".into(), &Value::Null), "{row}");
        assert!(row["why"].as_str().expect("words").contains(limit), "{row}");
    }
    let (snapshots, talk) = replay(&file, &[]);
    let last = snapshots.last().unwrap_or_else(|| panic!("nothing recorded: {talk}"));
    assert_eq!(last["orphans"]["limit"], Value::Null, "{last}");
    assert_eq!(last["tcp_mem"]["high"], Value::Null, "{last}");
    let verdict = last["verdict"]["text"].as_str().expect("words");
    assert!(verdict.contains("limit unknown"), "{verdict}");
    for direction in ["in", "out"] {
        let row = row(last, PORT, direction);
        assert_eq!(number(row, "/totals/opened"), CONNECTIONS, "{row}");
        assert_eq!(number(row, "/totals/closed"), CONNECTIONS, "{row}");
    }
}

/// A time namespace moves the clocks of who is in it and not those of the kernel's programs.
#[test]
fn times_are_right_in_a_time_namespace() {
    const CONNECTIONS: u64 = 40;
    let _turn = turn();
    let folder = Folder::new("sockflow-time");
    let file = folder.0.join("t.sockflow");
    let inside = Namespace::new();
    let count = CONNECTIONS.to_string();
    let held = ["--mode", "hold", "--connections", &count, "--hold", "60s"];
    let standing = Standing::start(Some(&inside), &held, CONNECTIONS);
    let mut container = Command::new("unshare");
    container.args(["--time", "--monotonic", "86400", "--boottime", "86400", "--fork"]);
    container.arg(support::binary()).args(["record", "--interval", "200ms", "-o"]).arg(&file);
    // The recorder runs what it is to record.
    let nsenter = format!("--net=/proc/{}/ns/net", inside.name());
    container.args(["--", "nsenter", &nsenter]).arg(support::binary());
    container.args(["storm", "--connections", &count, "--port", "9982"]);
    let began = Timestamp::now();
    let done = output(container);
    let run = began..=Timestamp::now();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    standing.release();
    let (snapshots, talk) = replay(&file, &[]);
    let last = snapshots.last().unwrap_or_else(|| panic!("nothing recorded: {talk}"));
    for (port, opened) in [(PORT, 0), (9982, CONNECTIONS)] {
        let row = row(last, port, "in");
        assert_eq!(number(row, "/totals/opened"), opened, "{row}");
        assert_eq!(row["owner"]["comm"], "sockflow", "{row}");
    }
    let processes = last["processes"].as_array().expect("processes");
    let holds = processes.iter().find(|it| number(it, "/sockets") > 0).expect("a process");
    assert_eq!(holds["alive"], true, "{holds}");
    assert!(last["elapsed_s"].as_f64().is_some_and(|elapsed| elapsed < 60.0), "{last}");
    let mut export = support::sockflow(&["export", "--format", "jsonl"]);
    export.arg(&file);
    let events = output(export);
    assert!(events.status.success(), "{}", String::from_utf8_lossy(&events.stderr));
    let text = String::from_utf8_lossy(&events.stdout);
    let times: Vec<Timestamp> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an event"))
        .map(|event| event["time"].as_str().expect("a time").parse().expect("a time"))
        .collect();
    assert!(times.len() as u64 >= 8 * CONNECTIONS, "{}", times.len());
    assert!(times.iter().all(|time| run.contains(time)), "{:?} not in {run:?}", times.first());
}
