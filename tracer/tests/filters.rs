//! Filters are alike everywhere: the same recording through each command with each filter, and what is
//! said where a filter matches nothing or cannot be answered. The live commands are in `live_commands`.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const MIXED: &str = "tests/recordings/v1.0-mixed.sockflow";
const STORY: &str = "tests/recordings/v1.0-story.sockflow";
/// The other network namespace of the recording.
const NETNS: &str = "4026532177";

fn sockflow(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sockflow"))
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .env("TZ", "UTC")
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What went to stdout, for a run that must succeed.
fn data(arguments: &str) -> String {
    let output = sockflow(arguments);
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {talk}");
    text(&output.stdout)
}

/// The last snapshot of a trace.
fn last(filter: &str) -> Value {
    let lines = data(&format!("replay {MIXED} --json {filter}"));
    serde_json::from_str(lines.lines().last().expect("a line")).expect("an object")
}

fn report(filter: &str) -> Value {
    serde_json::from_str(&data(&format!("report {MIXED} --format json {filter}")))
        .expect("an object")
}

/// `8080 in 160`: of each service how many were opened.
fn services(rows: &Value) -> Vec<String> {
    let mut services: Vec<String> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let opened = &row["totals"]["opened"];
            let opened = if opened.is_null() { String::new() } else { format!(" {opened}") };
            format!("{} {}{opened}", row["port"], row["direction"].as_str().expect("a direction"))
        })
        .collect();
    services.sort();
    services
}

/// A filter, the services it lets through, and how many of their connections were opened.
const OF_TOTALS: &[(&str, &[&str], u64)] = &[
    ("--port 8080", &["8080 in 160"], 160),
    ("--port 8080,8443", &["8080 in 160", "8443 in 80"], 240),
    ("--peer-port 8080", &["8080 out 160"], 160),
    ("--pid 11895", &["5432 out 43", "8080 out 160", "8443 out 80"], 283),
    ("--comm worker", &["5432 out 43", "8080 out 160", "8443 out 80"], 283),
    ("--comm web-server", &["5432 in 43", "8080 in 160", "8443 in 80"], 283),
    ("--cgroup /workers", &["5432 out 43", "8080 out 160", "8443 out 80"], 283),
    ("--cgroup /sys/fs/cgroup/workers", &["5432 out 43", "8080 out 160", "8443 out 80"], 283),
    ("--workload docker:79fedb3bd23c", &[], 0),
    ("--port 8080 --comm web-server", &["8080 in 160"], 160),
    ("--port 9981", &["9981 in 260"], 260),
];

#[test]
fn replay_and_report_show_the_same_sockets() {
    for (filter, expected, opened) in OF_TOTALS {
        let snapshot = last(filter);
        assert_eq!(services(&snapshot["ports"]), *expected, "{filter}");
        assert_eq!(snapshot["totals"]["opened"], *opened, "{filter}");
        let processes = snapshot["processes"].as_array().expect("rows");
        let of_processes: u64 =
            processes.iter().filter_map(|row| row["totals"]["opened"].as_u64()).sum();
        assert_eq!(of_processes, *opened, "{filter}");

        let report = report(filter);
        assert_eq!(report["impact"]["opened"], *opened, "{filter}");
        let mut rows = services(&report["ports"]);
        rows.sort();
        let bare: Vec<String> = expected
            .iter()
            .map(|row| row.rsplit_once(' ').expect("a number").0.to_owned())
            .collect();
        assert_eq!(rows, bare, "{filter}");
        assert_eq!(report["filter"], snapshot["filter"], "{filter}");
    }
}

#[test]
fn a_narrowed_snapshot_adds_up_and_the_hosts_numbers_stay_the_hosts() {
    let all = data(&format!("replay {MIXED} --json"));
    let snapshots = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    };
    let all = snapshots(&all);
    for filter in ["--port 9981", "--comm worker", "--port 1"] {
        let some = snapshots(&data(&format!("replay {MIXED} --json {filter}")));
        assert_eq!(some.len(), all.len());
        for (some, all) in some.iter().zip(&all) {
            for host in
                ["orphans/host", "orphans/limit", "orphans/drift", "tcp_mem/pages", "counters"]
            {
                let at = format!("/{host}");
                assert_eq!(some.pointer(&at), all.pointer(&at), "{filter}: {host}");
            }
            let rows = some["ports"].as_array().expect("rows");
            for name in ["opened", "closed", "orphaned", "resets_in", "resets_out"] {
                let sum: u64 = rows.iter().filter_map(|row| row["totals"][name].as_u64()).sum();
                assert_eq!(some["totals"][name], sum, "{filter}: {name}");
            }
            let orphans: u64 = rows.iter().filter_map(|row| row["orphans"].as_u64()).sum();
            assert_eq!(some["orphans"]["tracked"], orphans, "{filter}");
            for row in rows {
                let same = all["ports"].as_array().expect("rows").iter().find(|other| {
                    (&other["port"], &other["direction"]) == (&row["port"], &row["direction"])
                });
                assert_eq!(Some(row), same, "{filter}: a service's row is as without the filter");
            }
        }
    }
}

/// Rows of a CSV without quotes in it.
fn rows(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    lines
        .map(|line| {
            let fields = line.split(',').map(str::to_owned);
            names.iter().map(|name| (*name).to_owned()).zip(fields).collect()
        })
        .collect()
}

#[test]
fn export_writes_the_events_that_match() {
    let all = rows(&data(&format!("export {MIXED} --format csv")));
    type Test = fn(&BTreeMap<String, String>) -> bool;
    let filters: &[(&str, Test)] = &[
        ("--port 8080", |row| row["local_port"] == "8080"),
        ("--port 8080,5432", |row| ["8080", "5432"].contains(&row["local_port"].as_str())),
        ("--peer-port 9982", |row| row["peer_port"] == "9982"),
        ("--pid 11894", |row| row["owner_pid"] == "11894"),
        ("--comm worker", |row| row["owner_comm"] == "worker"),
        ("--cgroup /workers", |row| row["owner_comm"] == "worker"),
        ("--addr ::1", |row| row["peer_addr"] == "::1"),
        ("--addr 127.0.0.0/8", |row| row["peer_addr"].starts_with("127.")),
        ("-4", |row| row["family"] == "4"),
        ("-6", |row| row["family"] == "6"),
        ("--netns 4026532177", |row| row["netns"] == NETNS),
        ("--netns net:[4026532177]", |row| row["netns"] == NETNS),
        ("-6 --port 8443 --comm web-server", |row| {
            row["family"] == "6" && row["local_port"] == "8443" && row["owner_comm"] == "web-server"
        }),
    ];
    for (filter, matches) in filters {
        let expected: Vec<_> = all.iter().filter(|row| matches(row)).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all.len(), "{filter}");
        let some = rows(&data(&format!("export {MIXED} --format csv {filter}")));
        assert!(some == expected, "{filter}: {} rows, not {}", some.len(), expected.len());
    }
}

#[test]
fn the_doctor_asks_what_its_rows_know() {
    let check = |filter: &str, id: &str| {
        let report =
            data(&format!("doctor --trace {MIXED} --at end --fail-on never --json {filter}"));
        let report: Value = serde_json::from_str(&report).expect("an object");
        let checks = report["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["id"] == id).expect("the check").clone()
    };
    let subject = |filter: &str, id: &str| {
        check(filter, id)["subject"].as_str().unwrap_or_default().to_owned()
    };
    assert!(subject("--port 8443", "accept_queue").contains("8443"));
    assert!(subject("-6", "accept_queue").contains("[::1]"));
    assert_eq!(
        check("--port 1", "accept_queue")["why"],
        "No listener of this network namespace matches the filter."
    );
    assert_eq!(subject("--peer-port 5432", "ephemeral_ports"), "to 127.0.0.1:5432");
    assert_eq!(subject("--addr 127.0.0.0/8", "ephemeral_ports"), "to 127.0.0.1:5432");
    for elsewhere in ["--peer-port 8080", "--addr ::1", "-6"] {
        assert_eq!(check(elsewhere, "ephemeral_ports")["now"], 0, "{elsewhere}");
    }
    assert_eq!(check("--port 1", "orphans"), check("", "orphans"), "the host's");
}

/// Every command that reads a trace.
const COMMANDS: &[&str] = &[
    "replay FILE",
    "replay FILE --json",
    "report FILE --format json",
    "report FILE",
    "export FILE --format csv",
    "export FILE --format jsonl",
    "doctor --fail-on never --trace FILE",
];

#[test]
fn a_filter_that_matches_nothing_is_said_alike() {
    let filters = [
        ("--port 1", "port = 1"),
        ("--port 1,2", "port = 1,2"),
        ("--peer-port 1", "peer port = 1"),
        ("--pid 4000000", "pid = 4000000"),
        ("--comm nobody-here", "comm = nobody-here"),
        ("--cgroup /no/such", "cgroup = /no/such"),
        ("--workload no-such.service", "workload = no-such.service"),
        ("--port 8080 --comm worker", "port = 8080 and comm = worker"),
    ];
    let events = [("--addr 203.0.113.0/24", "peer in 203.0.113.0/24"), ("--netns 7", "netns = 7")];
    for command in COMMANDS {
        let is_export = command.starts_with("export");
        let more: &[(&str, &str)] = if is_export { &events } else { &[] };
        for (filter, words) in filters.iter().chain(more) {
            // What a doctor has of ports and owners are two tables.
            if command.starts_with("doctor") && words.contains(" and ") {
                continue;
            }
            let typed = format!("{} {filter}", command.replace("FILE", MIXED));
            let output = sockflow(&typed);
            assert_eq!(output.status.code(), Some(0), "{typed}");
            let talk = text(&output.stderr);
            let said = format!("sockflow: note: nothing matches the filter: {words}\n");
            assert_eq!(talk, said, "{typed}");
        }
    }
}

#[test]
fn what_totals_cannot_answer_is_refused_alike() {
    for command in COMMANDS.iter().filter(|it| it.starts_with("replay") || it.starts_with("report"))
    {
        for (filter, option) in [
            ("--addr 127.0.0.0/8", "--addr"),
            ("--netns 4026532177", "--netns"),
            ("-4", "-4"),
            ("-6", "-6"),
            ("--port 8080 --peer-port 8081", "--port together with --peer-port"),
        ] {
            let typed = format!("{} {filter}", command.replace("FILE", MIXED));
            let output = sockflow(&typed);
            let talk = text(&output.stderr);
            assert_eq!(
                (output.status.code(), output.stdout.len()),
                (Some(2), 0),
                "{typed}: {talk}"
            );
            let said = format!("sockflow: error: {option} cannot be applied here: ");
            assert!(talk.starts_with(&said), "{typed}: {talk}");
            // The hint is a command that answers.
            let hint = talk.split('`').nth(1).expect("a command").replacen("sockflow ", "", 1);
            assert!(!data(&hint).is_empty(), "{hint}");
        }
    }
    let named = sockflow(&format!("export {MIXED} --format csv --netns blue"));
    assert_eq!(named.status.code(), Some(2));
    assert!(text(&named.stderr).contains("by inode number, not by name"));
    let doctor = sockflow(&format!("doctor --trace {MIXED} --netns {NETNS}"));
    assert_eq!(doctor.status.code(), Some(2));
}

#[test]
fn what_the_recording_itself_left_out_is_said() {
    for command in COMMANDS {
        let typed = format!("{} --port 9981", command.replace("FILE", STORY));
        let output = sockflow(&typed);
        assert_eq!(output.status.code(), Some(0), "{typed}");
        let talk = text(&output.stderr);
        assert!(
            talk.contains(
                "recorded with the filter port = 9981: no other socket is in the trace\n"
            ),
            "{typed}: {talk}"
        );
        assert!(!talk.contains("nothing matches"), "{typed}: {talk}");
    }
    let snapshot: Value = data(&format!("replay {STORY} --json --at end --comm sockflow"))
        .lines()
        .last()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .expect("a line");
    assert_eq!(snapshot["filter"], "port = 9981 and comm = sockflow");
    assert!(
        snapshot["unseen"][0].as_str().is_some_and(|it| it.contains("by port, not by process"))
    );
}

/// What each input of the field's list gave before filters were alike, and what it gives now. Printed:
/// `cargo test -p tracer --test filters -- --nocapture before_and_after`.
#[test]
fn before_and_after() {
    const INPUTS: &[(&str, &str, &str)] = &[
        ("replay FILE --port 8080", "exit 2: unexpected argument", "exit 0"),
        ("replay FILE --port 1", "exit 2: unexpected argument", "exit 0: nothing matches"),
        ("report FILE --port 1", "exit 2: nothing of port 1", "exit 0: nothing matches"),
        ("report FILE --comm worker", "exit 2: unexpected argument", "exit 0"),
        ("export FILE --format csv --port 1", "exit 0: no event passes", "exit 0: nothing matches"),
        ("export FILE --format csv --netns 4026532177", "exit 2: unexpected argument", "exit 0"),
        ("export FILE --format csv --cgroup /workers", "exit 2: unexpected argument", "exit 0"),
        (
            "doctor --fail-on never --trace FILE --port 1",
            "exit 0: not a word",
            "exit 0: nothing matches",
        ),
        (
            "doctor --fail-on never --trace FILE --comm worker",
            "exit 2: unexpected argument",
            "exit 0",
        ),
    ];
    println!("{:<52} {:<28} now", "input", "before");
    for (typed, before, expected) in INPUTS {
        let output = sockflow(&typed.replace("FILE", MIXED));
        let code = output.status.code().expect("a code");
        let nothing = text(&output.stderr).contains("nothing matches the filter");
        let now = format!("exit {code}{}", if nothing { ": nothing matches" } else { "" });
        println!("{typed:<52} {before:<28} {now}");
        assert_eq!(now, *expected, "{typed}");
    }
    let csv = rows(&data(&format!("export {MIXED} --format csv")));
    let by = |column: &str| {
        let left = csv.iter().filter(|row| row["kind"] == "state" && row["old"] == "ESTABLISHED");
        left.map(|row| (row[column].clone(), row["owner_comm"].clone()))
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    println!(
        "{:<52} {:<28} {} rows",
        "who closed first, by port and owner",
        "328 rows",
        by("service_port")
    );
    assert_eq!((by("local_port"), by("service_port")), (328, 9));
    let line: Value = data(&format!("export {MIXED} --format jsonl"))
        .lines()
        .next()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .expect("a line");
    println!("{:<52} {:<28} host {}", "export --format jsonl", "no host, local.port", line["host"]);
    let (seen, unseen) =
        (last("")["totals"]["resets_out"].clone(), last("")["resets_out_unseen"].clone());
    println!("{:<52} {:<28} {seen}, and {unseen} more", "resets sent", "160, called exact");
    assert!(line["local_port"].is_u64() && unseen.is_u64());
}
