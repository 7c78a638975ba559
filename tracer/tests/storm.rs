//! `sockflow storm` as a process: what signals, pipes and exits do to it.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn storm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockflow"));
    command.arg("storm").args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    storm(arguments).output().expect("storm starts")
}

fn result(stdout: &str) -> Value {
    let last = stdout.lines().last().expect("a line");
    serde_json::from_str(last).expect("JSON on the last line")
}

/// Whether this user may make network namespaces and change the kernel's settings.
fn privileged() -> bool {
    let able =
        output(&["--netns", "--connections", "1", "--sysctl", "net.ipv4.tcp_fin_timeout=60"]);
    if !able.status.success() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&able.stderr));
    }
    able.status.success()
}

/// Starts a storm and waits until it says that all stands.
fn standing(arguments: &[&str], stdin: Stdio) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = storm(arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("storm starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    (child, stdout, line)
}

fn finish(mut child: Child, mut stdout: BufReader<ChildStdout>) -> (Value, String) {
    let (mut rest, mut talk) = (String::new(), String::new());
    stdout.read_to_string(&mut rest).expect("stdout");
    child.stderr.take().expect("pipe").read_to_string(&mut talk).expect("stderr");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}: {talk}");
    (result(&rest), talk)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("kill");
}

#[test]
fn an_address_beyond_loopback_is_a_usage_error() {
    let refused = output(&["--addr", "192.0.2.1"]);
    assert_eq!(refused.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(talk.contains("loopback") && talk.contains("192.0.2.1"), "{talk}");
}

#[test]
fn settings_are_restored_on_a_signal_even_if_started_with_sigint_ignored() {
    if !privileged() {
        return;
    }
    let path = "/proc/sys/net/ipv4/tcp_max_orphans";
    let before = std::fs::read_to_string(path).expect("a setting of the host");
    let other = before.trim().parse::<u64>().expect("a number") + 1;
    for (which, trap) in [(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let setting = format!("net.ipv4.tcp_max_orphans={other}");
        // A shell that ignores the signal passes that on to what it executes.
        let mut child = Command::new("sh")
            .args(["-c", &format!("trap '' {trap}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_sockflow"))
            .args(["storm", "--mode", "hold", "--connections", "10", "--netns", "--json"])
            .args(["--sysctl", &setting])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut stdout = BufReader::new(child.stdout.take().expect("pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        assert_eq!(line, "holding 10\n");
        let during = std::fs::read_to_string(path).expect("read");
        assert_eq!(during.trim(), other.to_string());
        signal(&child, which);
        let (result, talk) = finish(child, stdout);
        assert_eq!(std::fs::read_to_string(path).expect("read"), before);
        assert_eq!(result["sysctls"][0]["restored"], true);
        assert_eq!(result["completed"], 10);
        assert!(talk.contains("restored to"), "{talk}");
    }
}

#[test]
fn orphans_outlive_their_server() {
    if !privileged() {
        return;
    }
    let arguments = [
        "--mode",
        "zero-window",
        "--connections",
        "30",
        "--exit-server",
        "--netns",
        "--json",
        "--hold",
        "1s",
    ];
    let (child, stdout, line) = standing(&arguments, Stdio::null());
    assert_eq!(line, "holding 30\n");
    let starter = child.id();
    // The starter's namespace, seen through its engine: FIN_WAIT1 on port 9981 (0x26FD).
    let mut orphans = 0;
    for task in std::fs::read_dir(format!("/proc/{starter}/task")).expect("tasks") {
        let table = task.expect("task").path().join("net/tcp");
        let table = std::fs::read_to_string(table).expect("tcp");
        let waiting = |line: &&str| line.contains(":26FD ") && line.contains(" 04 ");
        orphans = orphans.max(table.lines().filter(waiting).count());
    }
    let (result, _) = finish(child, stdout);
    assert_eq!(orphans, 30);
    assert_eq!(result["orphans"]["left"], 30);
    assert_eq!(result["orphans"]["killed"], 0);
    assert_eq!(result["completed"], 30);
    let server = result["server"]["pid"].as_u64().expect("a pid");
    assert_ne!(server, u64::from(starter));
    assert_eq!(result["server"]["comm"], "sockflow");
}

#[test]
fn a_run_cut_short_counts_what_it_made() {
    if !privileged() {
        return;
    }
    for exit_server in [false, true] {
        let mut command = storm(&["--mode", "zero-window", "--rate", "100/s", "--netns", "--json"]);
        if exit_server {
            command.arg("--exit-server");
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("storm starts");
        std::thread::sleep(Duration::from_millis(700));
        signal(&child, Signal::INT);
        let stdout = BufReader::new(child.stdout.take().expect("pipe"));
        let (result, _) = finish(child, stdout);
        let left = result["orphans"]["left"].as_u64().expect("a count");
        assert!((10..10_000).contains(&left), "{result}");
        assert_eq!(result["orphans"]["killed"], 0, "{result}");
        assert_eq!(result["completed"], left, "{result}");
        assert_eq!(result["ended"], "signal", "{result}");
    }
}

#[test]
fn a_hold_ends_when_its_stdin_does() {
    let arguments = ["--mode", "hold", "--connections", "20", "--port", "19981", "--json"];
    let (mut child, stdout, line) = standing(&arguments, Stdio::piped());
    assert_eq!(line, "holding 20\n");
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().expect("wait").is_none(), "it stands");
    let started = Instant::now();
    drop(child.stdin.take());
    let (result, _) = finish(child, stdout);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!((&result["held"], &result["completed"]), (&20.into(), &20.into()));
}

#[test]
fn more_than_one_process_may_hold_is_held_by_several() {
    // 600 descriptors leave room for some 230 connections each.
    let binary = env!("CARGO_BIN_EXE_sockflow");
    let script = format!(
        "ulimit -n 600; exec {binary} storm --mode hold --connections 500 --port 19982 --hold 1s --json"
    );
    let done = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().expect("sh");
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(stdout.starts_with("holding 500\n"), "{stdout}");
    let result = result(&stdout);
    assert_eq!((&result["held"], &result["completed"]), (&500.into(), &500.into()));
    assert_eq!(result["holders"].as_array().map(Vec::len), Some(3));
}
