//! What is concluded, live: each fault that `sockflow storm` plays is found with its cause, port and
//! process, and the screen's snapshots, the doctor, the recording and the exporter say the same of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::record::{Record, replay};
use crate::serve::Serve;
use crate::support::doctor::NO_FILES;
use crate::support::{
    Folder, Guarded, Namespace, PATIENCE, PORT, Standing, Top, number, output, sockflow, storm,
    turn,
};

/// A fault, and what must be said of it.
struct Case {
    check: &'static str,
    cause: Option<&'static str>,
    /// The one port that is to blame.
    port: Option<u16>,
    /// Whether one process is to blame.
    has_owner: bool,
    /// No sooner than it is as bad.
    at_least: &'static str,
    /// Whether it goes on, so that who comes then sees it.
    lasts: bool,
}

impl Case {
    const fn new(check: &'static str, cause: Option<&'static str>) -> Self {
        Self { check, cause, port: Some(PORT), has_owner: true, at_least: "note", lasts: true }
    }
}

#[test]
fn connections_that_are_not_closed() {
    played(&Case::new("close_wait", Some("not_closed")), "close-wait", 150, &[]);
}

#[test]
fn connections_whose_data_is_not_read() {
    played(&Case::new("close_wait", Some("unread_data")), "unread-data", 150, &[]);
}

#[test]
fn connections_whose_end_is_not_read() {
    played(&Case::new("close_wait", Some("eof_unread")), "eof-unread", 150, &[]);
}

#[test]
fn connections_that_are_not_accepted() {
    played(&Case::new("close_wait", Some("never_accepted")), "never-accept", 150, &[]);
}

#[test]
fn sockets_kept_in_fin_wait2() {
    played(&Case::new("fin_wait2", Some("kept_open")), "fin-wait2", 150, &[]);
}

#[test]
fn descriptors_kept_of_closed_sockets() {
    let case = Case { port: None, ..Case::new("closed_fds", None) };
    played(&case, "closed-fds", 300, &[]);
}

#[test]
fn orphans_whose_peers_do_not_read() {
    let case = Case::new("orphans", Some("closed_window"));
    played(&case, "zero-window", 250, &["--rate", "20/s", "--sysctl", FEW_ORPHANS]);
}

#[test]
fn a_limit_that_was_lowered() {
    // Who comes afterwards knows nothing of it.
    let case = Case {
        has_owner: false,
        port: None,
        at_least: "warn",
        lasts: false,
        ..Case::new("setting_changed", None)
    };
    played(&case, "zero-window", 250, &["--rate", "100/s", "--sysctl", FEW_ORPHANS]);
}

#[test]
fn memory_held_by_connections() {
    let setting = "net.ipv4.tcp_mem=1000 4000 60000";
    let more = ["--sndbuf", "1M", "--rcvbuf", "1M", "--sysctl", setting];
    played(&Case::new("tcp_mem", None), "hold-memory", 60, &more);
}

#[test]
fn datagrams_that_nobody_reads() {
    let case = Case { lasts: false, ..Case::new("udp_mem", None) };
    played(&case, "udp-unread", 20_000, &["--rate", "1000/s"]);
}

#[test]
fn an_address_used_up_by_bind_before_connect() {
    let _turn = turn();
    let case =
        Case { has_owner: false, port: None, ..Case::new("ephemeral_ports", Some("early_bind")) };
    let namespace = Namespace::new();
    let range = "net.ipv4.ip_local_port_range=40000 40499";
    let storm =
        ["--mode", "early-bind", "--connections", "500", "--hold", "60s", "--sysctl", range];
    let begin = || {
        let standing = Standing::start(Some(&namespace), &storm, 500);
        (standing.pid(), standing)
    };
    said_alike(&case, Some(&namespace), begin, release);
}

const FEW_ORPHANS: &str = "net.ipv4.tcp_max_orphans=256";

/// A fault that a storm plays.
fn played(case: &Case, mode: &str, connections: u64, more: &[&str]) {
    let _turn = turn();
    let count = connections.to_string();
    let storm = [&["--mode", mode, "--connections", &count, "--hold", "60s"], more].concat();
    let begin = || {
        let standing = Standing::start(None, &storm, connections);
        (standing.pid(), standing)
    };
    said_alike(case, None, begin, release);
}

fn release(standing: Standing) {
    standing.release();
}

/// What a view says of it.
#[derive(Debug, PartialEq)]
struct Said {
    check: String,
    cause: Option<String>,
    severity: String,
    /// Whether it still grows: then it is not as bad as it gets.
    grows: bool,
    port: Option<u64>,
    pid: Option<u64>,
}

impl Case {
    fn is(&self, finding: &Value) -> bool {
        finding["check"] == self.check && finding["cause"].as_str() == self.cause
    }

    /// The finding among those of a snapshot or a report.
    fn of(&self, findings: &Value) -> Option<Said> {
        let finding = findings.as_array()?.iter().find(|it| self.is(it))?;
        let text = finding["text"].as_str().expect("a sentence");
        assert!(!text.is_empty() && finding["since"].is_string(), "{finding}");
        Some(Said {
            check: self.check.to_owned(),
            cause: self.cause.map(str::to_owned),
            severity: finding["severity"].as_str().expect("a word").to_owned(),
            grows: finding["limit_in_s"].as_f64().is_some_and(|left_s| left_s > 0.0),
            port: finding["port"].as_u64(),
            pid: finding.pointer("/owner/pid").and_then(Value::as_u64),
        })
    }
}

/// A fault from `begin`, which returns the process that is to blame, to `end`: top, the doctor, the exporter and a recording of the same time say the same of it.
fn said_alike<T>(
    case: &Case,
    namespace: Option<&Namespace>,
    begin: impl FnOnce() -> (u32, T),
    end: impl FnOnce(T),
) {
    let folder = Folder::new("sockflow-findings");
    let name = namespace.map(Namespace::name);
    let inside: Vec<&str> = name.iter().flat_map(|name| ["--netns", name]).collect();
    let mut top = Top::start(&inside);
    let file = folder.0.join("t.sockflow");
    let record = Record::start(&file, &inside);
    let serve = Serve::start(&inside);
    let (pid, fault) = begin();
    let what = format!("{} ({})", case.check, case.cause.unwrap_or("no cause"));
    // Whose it is needs a thorough look, every five seconds.
    let whole = |it: &Said| {
        let is_owner = !case.has_owner || it.pid == Some(u64::from(pid));
        let is_bad = it.severity != "note" || case.at_least == "note";
        it.port == case.port.map(u64::from) && is_owner && is_bad && !it.grows
    };
    let snapshot = top.until(&what, |it| case.of(&it["findings"]).is_some_and(|it| whole(&it)));
    let screen = case.of(&snapshot["findings"]).expect("it was there");
    println!("{what}: {screen:?}: {}", text(case, &snapshot));
    if case.lasts {
        examined(case, &inside, &screen);
    }
    exported(case, &serve, &screen);
    // Each looks at its own times, the recorder too: the fault goes on until it has seen it.
    let began = Instant::now();
    while !said_of(case, &file).0.contains(&screen) {
        assert!(began.elapsed() < PATIENCE, "never recorded: {screen:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    end(fault);
    top.stop();
    serve.stop();
    record.stop();
    recorded(case, &file, &screen);
}

fn text(case: &Case, snapshot: &Value) -> String {
    let findings = snapshot["findings"].as_array().expect("findings");
    let finding = findings.iter().find(|it| case.is(it)).expect("it was there");
    finding["text"].as_str().expect("a sentence").to_owned()
}

/// The doctor, asked meanwhile.
fn examined(case: &Case, inside: &[&str], screen: &Said) {
    let arguments = ["doctor", "--json", "--root", NO_FILES, "--fail-on", "never"];
    let done = output(sockflow(&[&arguments[..], inside].concat()));
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let found = case.of(&report["findings"]).expect("the finding");
    // Orphans are nobody's any more: whose they were is known to who saw them close.
    let pid = screen.pid.filter(|_| case.check != "orphans");
    assert_eq!((found.port, found.pid), (screen.port, pid), "{}", report["findings"]);
    let row = checks.iter().find(|row| row["id"] == case.check).expect("the check");
    assert_eq!(row["cause"].as_str(), case.cause, "{row}");
    // What is worth knowing is no state of its own.
    let state = if screen.severity == "note" { "ok" } else { &screen.severity };
    assert_eq!(row["state"], state, "{row}");
}

/// The exporter, scraped meanwhile.
fn exported(case: &Case, serve: &Serve, screen: &Said) {
    let wanted = [
        format!("check=\"{}\"", case.check),
        format!("cause=\"{}\"", case.cause.unwrap_or_default()),
        format!("severity=\"{}\"", screen.severity),
        format!("port=\"{}\"", screen.port.map_or_else(String::new, |port| port.to_string())),
    ];
    let is_it = |series: &String| {
        series.starts_with("sockflow_finding{") && wanted.iter().all(|it| series.contains(it))
    };
    let began = Instant::now();
    while !serve.scrape().keys().any(is_it) {
        assert!(began.elapsed() < PATIENCE, "{wanted:?}: {:?}", serve.scrape().keys());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What a replay of the recording says at each moment, as far as it is written, and its stderr.
fn said_of(case: &Case, file: &Path) -> (Vec<Said>, String) {
    let (snapshots, talk) = replay(file, &[]);
    (snapshots.iter().filter_map(|snapshot| case.of(&snapshot["findings"])).collect(), talk)
}

/// The recording, replayed and reported.
fn recorded(case: &Case, file: &Path, screen: &Said) {
    let (said, talk) = said_of(case, file);
    assert!(said.contains(screen), "{screen:?} is not in {said:?}: {talk}");
    let mut command = sockflow(&["report", "--format", "json"]);
    command.arg(file);
    let done = output(command);
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let found = case.of(&report["findings"]).expect("the finding");
    assert_eq!((found.port, found.pid), (screen.port, screen.pid), "{}", report["findings"]);
}

/// What is well under full load is called well: no finding above a note.
#[test]
fn short_connections_at_full_speed_are_no_finding() {
    let _turn = turn();
    let top = Top::start(&[]);
    let arguments = ["--connections", "200000", "--duration", "20s", "--rate", "10000/s"];
    storm(None, &arguments);
    for snapshot in top.stop() {
        let severity = &snapshot["verdict"]["severity"];
        assert!(severity == "ok" || severity == "note", "{}", snapshot["findings"]);
        assert_eq!(number(&snapshot, "/orphans/killed"), 0);
    }
}

/// A few slow readers fill their buffers and stop: a few per cent of a limit are no alarm, however fast
/// they were reached.
#[test]
fn a_few_slow_readers_are_no_alarm() {
    let _turn = turn();
    let top = Top::start(&[]);
    let arguments = [
        "--mode",
        "hold-memory",
        "--connections",
        "8",
        "--sndbuf",
        "1M",
        "--rcvbuf",
        "1M",
        "--rate",
        "2/s",
        "--hold",
        "10s",
    ];
    storm(None, &arguments);
    for snapshot in top.stop() {
        let severity = &snapshot["verdict"]["severity"];
        assert!(severity == "ok" || severity == "note", "{}", snapshot["findings"]);
    }
}

/// Four listeners share a port, and one of the processes is stopped: its queue fills, the others' do not.
#[test]
fn of_four_listeners_the_stopped_one_is_named() {
    // What the listeners leave in TIME_WAIT keeps the storms of other tests from their port.
    const SHARED: u16 = 9991;
    const LISTENER: &str = "import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(('127.0.0.1', 9991))
s.listen(128)
print('listens', flush=True)
while True:
    s.accept()[0].close()
";
    let _turn = turn();
    let case = Case { port: Some(SHARED), ..Case::new("accept_queue", Some("stopped")) };
    let begin = || {
        let mut listeners: Vec<Guarded> = (0..4)
            .map(|_| {
                let mut command = Command::new("python3");
                command.args(["-c", LISTENER]);
                let mut listener = Guarded::start(command);
                assert_eq!(listener.line(PATIENCE).as_deref(), Some("listens"));
                listener
            })
            .collect();
        let stopped = listeners.swap_remove(2);
        stopped.signal(Signal::STOP);
        let clients: Vec<Socket> = (0..1_000)
            .map(|_| {
                let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                client.set_nonblocking(true).expect("a flag");
                let _ = client.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, SHARED)).into());
                client
            })
            .collect();
        (stopped.pid(), (clients, stopped, listeners))
    };
    said_alike(&case, None, begin, drop);
}
