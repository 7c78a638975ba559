//! `report` as people and scripts meet it: the three formats of the story's recording, what its
//! timeline leads to, and what is said about mistakes and damage. Nothing here needs privilege or a
//! browser; `live/report.rs` opens the page in one.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const STORY: &str = "tests/recordings/v1.0-story.sockflow";

fn sockflow(arguments: &[&str]) -> Output {
    command(arguments).output().expect("it starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockflow"));
    command.args(arguments).stdin(Stdio::null()).env("TZ", "UTC").env("COLUMNS", "100");
    command
}

/// What went to stdout, for a run that must succeed without talk.
fn data(arguments: &[&str]) -> String {
    let output = sockflow(arguments);
    let talk = text(&output.stderr);
    assert_eq!((output.status.code(), talk.as_str()), (Some(0), ""), "{arguments:?}");
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn story(format: &str) -> String {
    data(&["report", STORY, "--format", format])
}

fn object(arguments: &[&str]) -> Value {
    serde_json::from_str(&data(arguments)).expect("an object")
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// What a new version changes, and where the recording was made, is not what is reviewed.
fn fixed(text: &str) -> String {
    let version = concat!("\"reported_by\": \"", env!("CARGO_PKG_VERSION"), "\"");
    let mut lines: Vec<String> = Vec::new();
    let mut in_command = false;
    for line in text.lines() {
        let line = line.replace(version, "\"reported_by\": \"VERSION\"").replace(
            concat!("reported by: sockflow ", env!("CARGO_PKG_VERSION")),
            "reported by: sockflow VERSION",
        );
        if line.starts_with("- command: ") {
            lines.push("- command: COMMAND".to_owned());
        } else if line.trim_start().starts_with("\"command\": [") {
            in_command = true;
            lines.push("    \"command\": [\"COMMAND\"],".to_owned());
        } else if in_command {
            in_command = !line.trim_start().starts_with(']');
        } else {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_story_as_markdown_is_as_reviewed() {
    insta::assert_snapshot!(fixed(&story("md")));
    assert_eq!(story("md"), data(&["report", STORY]), "the default on stdout");
}

#[test]
fn the_story_as_json_is_as_reviewed() {
    insta::assert_snapshot!(fixed(&story("json")));
}

#[test]
fn the_numbers_are_those_of_replay() {
    let report: Value = serde_json::from_str(&story("json")).expect("an object");
    let replayed = data(&["replay", STORY, "--json"]);
    let snapshots: Vec<Value> =
        replayed.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let last = snapshots.last().expect("a snapshot");
    assert_eq!(report["impact"]["killed"], last["orphans"]["killed"]);
    assert_eq!(report["impact"]["opened"], last["totals"]["opened"]);
    for name in ["TCPAbortOnMemory", "TCPMemoryPressures", "TW"] {
        assert_eq!(report["impact"]["counters"][name], last["counters"][name], "{name}");
    }
    assert_eq!(report["orphan_ends"], last["ports"][0]["orphan_ends"]);
    let points = report["series"]["points"].as_array().expect("points");
    assert_eq!(points.len(), snapshots.len());
    for (point, snapshot) in points.iter().zip(&snapshots) {
        assert_eq!(point["time"], snapshot["time"]);
        assert_eq!(point["orphans"], snapshot["orphans"]["host"]);
        assert_eq!(point["limit"], snapshot["orphans"]["limit"]);
        assert_eq!(point["states"], snapshot["states"]);
        assert_eq!(point["opened_per_s"], snapshot["totals_per_s"]["opened"]);
        assert_eq!(point["tcp_mem_pages"], snapshot["tcp_mem"]["pages"]);
    }
    // Everything in FIN_WAIT1 left it, and the map has each of them once.
    assert_eq!(report["fin_wait1"]["total"], 1850);
    let hash = Command::new("sha256sum").arg(STORY).output().expect("sha256sum");
    let hash = text(&hash.stdout);
    assert_eq!(report["trace"]["pieces"][0]["sha256"], hash.split(' ').next().expect("a hash"));
}

#[test]
fn every_mark_opens_the_trace_at_its_moment() {
    let report: Value = serde_json::from_str(&story("json")).expect("an object");
    let marks = report["timeline"]["marks"].as_array().expect("marks");
    assert!(marks.len() > 8, "{marks:?}");
    for mark in marks {
        let typed = mark["replay"].as_str().expect("a command");
        let script =
            format!("{} {typed} --json | head -n 1", "sockflow() { \"$SOCKFLOW\" \"$@\"; };");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("SOCKFLOW", env!("CARGO_BIN_EXE_sockflow"))
            // The reader sits somewhere else.
            .env("TZ", "Asia/Shanghai")
            .output()
            .expect("sh");
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("{typed}: {}", text(&output.stderr));
        });
        assert_eq!(shown["time"], mark["time"], "{typed}");
    }
}

#[test]
fn part_of_it_counts_only_what_was_in_it() {
    let before = object(&["report", STORY, "--to", "22:13:09", "--format", "json"]);
    assert_eq!(before["impact"]["killed"], 0);
    // The kernel kills within a second.
    assert_eq!(before["verdict"]["severity"], "crit");
    let after = object(&["report", STORY, "--from", "22:13:10", "--format", "json"]);
    assert_eq!(after["impact"]["killed"], 274);
    // `max` is the worst moment: 22:13:09.
    let between = object(&["report", STORY, "--from", "+5s", "--to", "max", "--format", "json"]);
    assert_eq!(between["range"]["to"], between["impact"]["worst"]["time"]);
    assert_eq!(between["range"]["moments"], 13);
    assert_eq!(between["range"]["whole"], false);
}

#[test]
fn a_port_is_told_of_alone() {
    let output = sockflow(&["report", STORY, "--port", "9981", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let said = "recorded with the filter port = 9981: no other socket is in the trace\n";
    assert_eq!(text(&output.stderr), format!("sockflow: note: {said}"));
    let report: Value = serde_json::from_slice(&output.stdout).expect("an object");
    let all = object(&["report", STORY, "--format", "json"]);
    assert_eq!(report["port"], 9981);
    assert_eq!(report["impact"]["killed"], all["impact"]["killed"]);
    assert_eq!(report["series"]["points"][17]["states"]["fin_wait1"], 255);
}

/// Mistakes as the user sees them: command, message, exit code.
fn mistake(arguments: &[&str]) -> String {
    let output = sockflow(arguments);
    assert!(output.stdout.is_empty(), "{arguments:?}: stdout is for data");
    let code = output.status.code().expect("an exit code");
    let told = text(&output.stderr);
    assert!(told.contains("\n  hint: "), "{arguments:?}: {told}");
    format!("$ sockflow {}\n{told}[{code}]\n\n", arguments.join(" "))
}

#[test]
fn mistakes_are_as_reviewed_and_leave_nothing_behind() {
    let folder = folder("mistakes");
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let story = fs::read(STORY).expect("the story");
    fs::write(at("text.sockflow"), "kernel: TCP: too many orphaned sockets\n").expect("a file");
    fs::write(at("empty.sockflow"), "").expect("a file");
    // The header and the frame that tells of the host, and no sample.
    let first = 32 + 64 + u32::from_le_bytes(story[80..84].try_into().expect("four")) as usize;
    fs::write(at("early.sockflow"), &story[..first]).expect("a file");
    fs::write(at("kept.html"), "precious").expect("a file");
    fs::write(at("own.html"), &story).expect("a file");
    std::os::unix::fs::symlink("nowhere", at("link.html")).expect("a link");
    let names = |folder: &Path| -> BTreeSet<_> {
        fs::read_dir(folder).expect("a folder").map(|it| it.expect("one").file_name()).collect()
    };
    let before = names(&folder);
    let (own, out) = (at("own.html"), at("x.html"));
    let told: String = [
        mistake(&["report", &at("text.sockflow")]),
        mistake(&["report", &at("empty.sockflow")]),
        mistake(&["report", &at("early.sockflow"), "-o", &out]),
        mistake(&["report", &at("none.sockflow")]),
        mistake(&["report", &at("")]),
        mistake(&["report", STORY, "-o", &at("x.pdf")]),
        mistake(&["report", STORY, "-o", &at("x")]),
        mistake(&["report", STORY, "-o", &at("kept.html")]),
        mistake(&["report", STORY, "-o", &at("link.html")]),
        mistake(&["report", STORY, "-o", &at("no/x.html")]),
        mistake(&["report", STORY, "--format", "html", "-o", &at("")]),
        mistake(&["report", &own, "--force", "-o", &own]),
        mistake(&["report", STORY, "--from", "22:13:20", "--to", "22:13:00"]),
        mistake(&["report", STORY, "--from", "23:00"]),
        mistake(&["report", STORY, "--to", "!99"]),
        mistake(&["report", STORY, "--addr", "10.0.0.0/8", "-o", &out]),
    ]
    .concat();
    insta::assert_snapshot!(told.replace(&*folder.to_string_lossy(), "FOLDER"));
    assert_eq!(names(&folder), before);
    assert_eq!(fs::read(at("kept.html")).expect("a file"), b"precious");
    assert_eq!(fs::read(&own).expect("a file"), story);
}

#[test]
fn a_file_is_replaced_only_when_asked_and_is_whole() {
    let folder = folder("force");
    let path = folder.join("it.html");
    let shown = path.to_string_lossy().into_owned();
    fs::write(&path, "old").expect("a file");
    assert_eq!(data(&["report", STORY, "-o", &shown, "--force"]), "");
    let page = fs::read_to_string(&path).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert!(page.len() < 500 << 10, "{} bytes", page.len());
    assert_eq!(page, story("html"));
    // Never through a link: somebody else may have made it.
    let link = folder.join("link.json");
    std::os::unix::fs::symlink("it.html", &link).expect("a link");
    let told = mistake(&["report", STORY, "-o", &link.to_string_lossy(), "--force"]);
    assert!(told.contains("is a link") && told.contains("it.html"), "{told}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), page);
    assert!(link.symlink_metadata().expect("a link").is_symlink());
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 2, "nothing temporary is left");
    // What is no file is written to as it is.
    assert_eq!(data(&["report", STORY, "--format", "md", "-o", "/dev/null"]), "");
    assert_eq!(data(&["report", STORY, "-o", "-"]), story("md"));
}

#[test]
fn a_closed_pipe_is_fine_and_a_full_disk_is_not() {
    for format in ["html", "md", "json"] {
        let mut child = command(&["report", STORY, "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let told = (output.status.code(), text(&output.stderr));
        assert_eq!(told, (Some(0), String::new()), "{format}");
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let output = command(&["report", STORY, "--format", format]).stdout(full).output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{format}");
        let talk = text(&output.stderr);
        assert!(talk.starts_with("sockflow: error: cannot write to stdout"), "{talk}");
    }
    let talk = mistake(&["report", STORY, "--format", "html", "-o", "/dev/full"]);
    insta::assert_snapshot!(talk);
}

/// Where a frame of events in the second half of a file begins.
fn events_frame(bytes: &[u8]) -> usize {
    let mut at = 32;
    while bytes[at + 4] != 2 || at < bytes.len() / 2 {
        at += 64 + u32::from_le_bytes(bytes[at + 48..at + 52].try_into().expect("four")) as usize;
    }
    at
}

#[test]
fn damage_is_told_in_the_report_and_beside_it() {
    let folder = folder("damaged");
    let path = folder.join("damaged.sockflow");
    let mut bytes = fs::read(STORY).expect("the story");
    let events = events_frame(&bytes);
    bytes[events + 64 + 9] ^= 4;
    bytes.truncate(bytes.len() - 20);
    fs::write(&path, bytes).expect("a file");
    let shown = path.to_string_lossy().into_owned();
    let output = sockflow(&["report", &shown, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let talk = text(&output.stderr).replace(&shown, "FILE");
    insta::assert_snapshot!(talk);
    let report: Value = serde_json::from_slice(&output.stdout).expect("an object");
    let trust = &report["trust"];
    assert_eq!(trust["gaps"].as_array().map(Vec::len), Some(1), "{trust}");
    assert!(trust["lost"]["detail"].as_u64() > Some(0), "{trust}");
    assert_eq!(report["trace"]["ended_cleanly"], false);
    let sentence = trust["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.contains("1 damaged or missing place") && sentence.contains("was not closed"),
        "{sentence}"
    );
    let kinds: Vec<&Value> = report["timeline"]["marks"]
        .as_array()
        .expect("marks")
        .iter()
        .map(|mark| &mark["kind"])
        .collect();
    assert!(kinds.contains(&&Value::from("gap")), "{kinds:?}");
    // Totals do not ride on events.
    assert_eq!(report["impact"]["killed"], 274);
}

#[test]
fn a_redacted_report_tells_neither_host_nor_address() {
    for format in ["html", "md", "json"] {
        let report = data(&["report", STORY, "--redact", "--format", format]);
        for bad in ["127.0.0", "v1.0-story", "da1dd1a5-a687", "/tmp/"] {
            assert!(!report.contains(bad), "{format} has {bad}");
        }
        assert!(report.contains("host-") && report.contains("v4-"), "{format}");
        assert!(report.contains("sockflow[15763]"), "{format}: who it was is what it is for");
    }
    let told = |key: &str| {
        let report = object(&["report", STORY, "--redact", "--format", "json"]);
        assert_eq!(report["redacted"], true);
        report.pointer(key).expect("it").clone()
    };
    let host = "/environment/host/name";
    assert_ne!(told(host), told(host), "the key is another one each time");
}

/// `a.b`, `a[].c`: the names of an object's fields.
fn names(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let free = ["impact.counters", "environment.sysctls"].contains(&at);
                // The doctor's object has a schema of its own.
                if at != "doctor.report" && !free {
                    let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    into.insert(path.clone());
                    names(value, &path, into);
                }
            }
        }
        Value::Array(rows) => rows.iter().for_each(|row| names(row, &format!("{at}[]"), into)),
        _ => {}
    }
}

#[test]
fn every_name_in_the_json_is_described() {
    let report: Value = serde_json::from_str(&story("json")).expect("an object");
    let mut found = BTreeSet::new();
    names(&report, "", &mut found);
    let described = fs::read_to_string("../docs/REPORT.md").expect("docs/REPORT.md");
    let last = |path: &String| format!("`{}`", path.rsplit('.').next().unwrap_or(path));
    let missing: Vec<&String> =
        found.iter().filter(|path| !described.contains(&last(path))).collect();
    assert!(missing.is_empty(), "not in docs/REPORT.md: {missing:?}");
}
