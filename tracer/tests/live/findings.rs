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
    /// The arguments of `storm`.
    storm: &'static [&'static str],
    /// So many connections stand.
    stands: u64,
    check: &'static str,
    cause: Option<&'static str>,
    /// Whether it goes on while the connections stand, so that who comes then sees it.
    lasts: bool,
    /// Whether it happens in a network namespace of its own.
    apart: bool,
    /// Whether one process, or one port, is to blame.
    has_owner: bool,
    has_port: bool,
}

const CASES: [Case; 9] = [
    Case {
        storm: &["--mode", "close-wait", "--connections", "150"],
        stands: 150,
        check: "close_wait",
        cause: Some("not_closed"),
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: true,
    },
    Case {
        storm: &["--mode", "unread-data", "--connections", "150"],
        stands: 150,
        check: "close_wait",
        cause: Some("unread_data"),
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: true,
    },
    Case {
        storm: &["--mode", "eof-unread", "--connections", "150"],
        stands: 150,
        check: "close_wait",
        cause: Some("eof_unread"),
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: true,
    },
    Case {
        storm: &["--mode", "never-accept", "--connections", "150"],
        stands: 150,
        check: "close_wait",
        cause: Some("never_accepted"),
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: true,
    },
    Case {
        storm: &["--mode", "fin-wait2", "--connections", "150"],
        stands: 150,
        check: "fin_wait2",
        cause: Some("kept_open"),
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: true,
    },
    Case {
        storm: &["--mode", "closed-fds", "--connections", "300"],
        stands: 300,
        check: "closed_fds",
        cause: None,
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: false,
    },
    Case {
        storm: &["--mode", "early-bind", "--connections", "500", "--sysctl", RANGE],
        stands: 500,
        check: "ephemeral_ports",
        cause: Some("early_bind"),
        lasts: true,
        apart: true,
        has_owner: false,
        has_port: false,
    },
    Case {
        storm: &[
            "--mode",
            "zero-window",
            "--connections",
            "250",
            "--rate",
            "100/s",
            "--sysctl",
            "net.ipv4.tcp_max_orphans=256",
        ],
        stands: 250,
        check: "orphans",
        cause: Some("closed_window"),
        lasts: true,
        apart: false,
        has_owner: true,
        has_port: true,
    },
    Case {
        storm: &["--mode", "udp-unread", "--connections", "20000", "--rate", "1000/s"],
        stands: 20000,
        check: "udp_mem",
        cause: None,
        lasts: false,
        apart: false,
        has_owner: true,
        has_port: true,
    },
];

const RANGE: &str = "net.ipv4.ip_local_port_range=40000 40499";

/// What a view says of it.
#[derive(Debug, PartialEq)]
struct Said {
    check: String,
    cause: Option<String>,
    severity: String,
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
            port: finding["port"].as_u64(),
            pid: finding.pointer("/owner/pid").and_then(Value::as_u64),
        })
    }
}

#[test]
fn every_view_names_the_cause() {
    let _turn = turn();
    for case in &CASES {
        let folder = Folder::new("sockflow-findings");
        let namespace = case.apart.then(Namespace::new);
        let name = namespace.as_ref().map(Namespace::name);
        let inside: Vec<&str> = name.iter().flat_map(|name| ["--netns", name]).collect();
        let mut top = Top::start(&inside);
        let file = folder.0.join("t.sockflow");
        let record = Record::start(&file, &inside);
        let serve = Serve::start(&inside);
        let standing = Standing::start(
            namespace.as_ref(),
            &[case.storm, &["--hold", "60s"]].concat(),
            case.stands,
        );
        let what = format!("{} ({})", case.check, case.cause.unwrap_or("no cause"));
        let snapshot = top.until(&what, |it| case.of(&it["findings"]).is_some());
        let screen = case.of(&snapshot["findings"]).expect("it was there");
        println!("{what}: {screen:?}: {}", text(case, &snapshot));
        assert_eq!(screen.port.is_some(), case.has_port, "{snapshot}");
        if case.has_port {
            assert_eq!(screen.port, Some(u64::from(PORT)));
        }
        if case.has_owner {
            assert_eq!(screen.pid, Some(u64::from(standing.pid())), "{snapshot}");
        }
        if case.lasts {
            examined(case, &inside, &screen);
        }
        exported(case, &serve, &screen);
        standing.release();
        top.stop();
        serve.stop();
        record.stop();
        recorded(case, &file, &screen);
    }
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

/// The recording, replayed and reported.
fn recorded(case: &Case, file: &Path, screen: &Said) {
    let (snapshots, talk) = replay(file, &[]);
    let said: Vec<Said> =
        snapshots.iter().filter_map(|snapshot| case.of(&snapshot["findings"])).collect();
    assert!(said.contains(screen), "{screen:?} is not in {said:?}: {talk}");
    let mut command = sockflow(&["report", "--format", "json"]);
    command.arg(file);
    let done = output(command);
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let of_report = case.of(&report["findings"]);
    assert!(of_report.is_some(), "{}", report["findings"]);
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
    let mut top = Top::start(&[]);
    let mut listeners: Vec<Guarded> = (0..4)
        .map(|_| {
            let mut command = Command::new("python3");
            command.args(["-c", LISTENER]);
            let mut listener = Guarded::start(command);
            assert_eq!(listener.line(PATIENCE).as_deref(), Some("listens"));
            listener
        })
        .collect();
    let stopped = listeners[2].pid();
    listeners[2].signal(Signal::STOP);
    let clients: Vec<Socket> = (0..1_000)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            client.set_nonblocking(true).expect("a flag");
            let _ = client.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, SHARED)).into());
            client
        })
        .collect();
    let is_it =
        |finding: &&Value| finding["check"] == "accept_queue" && finding["cause"] == "stopped";
    let found =
        |it: &Value| it["findings"].as_array().is_some_and(|all| all.iter().any(|it| is_it(&it)));
    let snapshot = top.until("a stopped listener", found);
    let finding = snapshot["findings"].as_array().and_then(|all| all.iter().find(is_it));
    let finding = finding.expect("it was there");
    println!("{}", finding["text"]);
    assert_eq!(number(finding, "/owner/pid"), u64::from(stopped), "{finding}");
    assert_eq!(number(finding, "/port"), u64::from(SHARED));
    assert_eq!(snapshot["verdict"]["severity"], finding["severity"], "{}", snapshot["verdict"]);
    drop(clients);
    for listener in &mut listeners {
        listener.signal(Signal::KILL);
        listener.end(PATIENCE);
    }
}
