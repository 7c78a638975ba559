//! The commands around the numbers: filters let through exactly what they name, `trace` prints
//! exactly the events there were, hostile names are harmless, errors say what to do.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{
    Folder, Guarded, Namespace, PATIENCE, PORT, Standing, Top, binary, emulated, number, output,
    sockflow, storm, turn,
};

/// Connections by service and direction.
type Counts = BTreeSet<(u64, String, u64)>;

fn counts(snapshot: &Value, total: &str) -> Counts {
    let rows = snapshot["ports"].as_array().expect("ports");
    rows.iter()
        .map(|row| {
            let direction = row["direction"].as_str().expect("a direction").to_owned();
            (number(row, "/port"), direction, number(row, &format!("/totals/{total}")))
        })
        .filter(|(_, _, count)| *count > 0)
        .collect()
}

/// Connections of three processes: of one over IPv4, of another over IPv6, and our own.
const FOUR: (u16, u64) = (9986, 30);
const SIX: (u16, u64) = (9987, 20);
const OWN: (u16, u64) = (9988, 7);

/// A service's port and connections, and the directions in which they are seen.
type Rows<'a> = ((u16, u64), &'a str);

fn expected(rows: &[Rows<'_>]) -> Counts {
    rows.iter()
        .flat_map(|((port, count), directions)| {
            directions.split(' ').map(|direction| (u64::from(*port), direction.to_owned(), *count))
        })
        .collect()
}

/// Filters, and what each lets through.
fn filters() -> Vec<(Vec<String>, Counts)> {
    const BOTH: &str = "in out";
    let own = std::process::id().to_string();
    let filters: &[(&[&str], &[Rows<'_>])] = &[
        (&[], &[(FOUR, BOTH), (SIX, BOTH), (OWN, BOTH)]),
        (&["--port", "9986"], &[(FOUR, "in")]),
        (&["--port", "9986,9987"], &[(FOUR, "in"), (SIX, "in")]),
        (&["--peer-port", "9987"], &[(SIX, "out")]),
        (&["--addr", "127.0.0.0/8"], &[(FOUR, BOTH), (OWN, BOTH)]),
        (&["--addr", "::1"], &[(SIX, BOTH)]),
        (&["--addr", "10.0.0.0/8"], &[]),
        (&["-4"], &[(FOUR, BOTH), (OWN, BOTH)]),
        (&["-6"], &[(SIX, BOTH)]),
        (&["--comm", "sockflow"], &[(FOUR, BOTH), (SIX, BOTH)]),
        (&["--comm", "sockflo"], &[]),
        (&["--pid", &own], &[(OWN, BOTH)]),
        (&["--pid", &own, "--port", "9986"], &[]),
        (&["-4", "--comm", "sockflow", "--port", "9986"], &[(FOUR, "in")]),
    ];
    filters
        .iter()
        .map(|(filter, rows)| {
            (filter.iter().map(|word| (*word).to_owned()).collect(), expected(rows))
        })
        .collect()
}

/// `top` for each filter, in the namespace. A guest's CPU takes seconds to verify the programs: there
/// it is one filter of each kind, for what a kernel may read differently.
fn tops(namespace: &Namespace, kinds: &[&str]) -> Vec<(Vec<String>, Counts, Top)> {
    let name = namespace.name();
    let start = |(filter, expected): (Vec<String>, Counts)| {
        let words: Vec<&str> = filter.iter().map(String::as_str).collect();
        let top = Top::start(&[&["--netns", &name], &words[..]].concat());
        (filter, expected, top)
    };
    let mut filters = filters();
    if emulated().is_some() {
        let own = std::process::id().to_string();
        // A guest's process ids are as short as parts of a port.
        let word = |word: &String| if *word == own { "OWN".to_owned() } else { word.clone() };
        let is_one = |filter: &[String]| {
            let words: Vec<String> = filter.iter().map(word).collect();
            kinds.contains(&words.join(" ").as_str())
        };
        filters.retain(|(filter, _)| is_one(filter));
        assert_eq!(filters.len(), kinds.len());
    }
    filters.into_iter().map(start).collect()
}

/// Our own connections, both ends.
fn own_connections(namespace: &Namespace) -> Vec<(TcpStream, TcpStream)> {
    let (port, count) = OWN;
    namespace.inside(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("listen");
        (0..count)
            .map(|_| {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
                (listener.accept().expect("accept").0, client)
            })
            .collect()
    })
}

#[test]
fn filters_let_exactly_their_sockets_through() {
    let _turn = turn();
    let namespace = Namespace::new();
    let kinds = ["--peer-port 9987", "--addr ::1", "--pid OWN", "-4 --comm sockflow --port 9986"];
    let tops = tops(&namespace, &kinds);
    storm(Some(&namespace), &["-4", "--port", "9986", "--connections", "30"]);
    storm(Some(&namespace), &["-6", "--port", "9987", "--connections", "20"]);
    drop(own_connections(&namespace));
    namespace.settled();
    for (filter, expected, top) in tops {
        let last = top.last();
        assert_eq!(counts(&last, "opened"), expected, "{filter:?}");
        assert_eq!(counts(&last, "closed"), expected, "{filter:?}");
        assert_eq!(last["orphans"]["drift"], 0, "{filter:?}: {last}");
    }
}

#[test]
fn filters_let_exactly_their_standing_sockets_through() {
    let _turn = turn();
    let namespace = Namespace::new();
    let hold = |family: &str, (port, count): (u16, u64)| {
        let (port, number) = (port.to_string(), count.to_string());
        // Long enough for all that is started meanwhile.
        let hold = ["--mode", "hold", family, "--port", &port, "--connections", &number];
        let hold = [&hold[..], &["--duration", "5m"]].concat();
        Standing::start(Some(&namespace), &hold, count)
    };
    let (four, six) = (hold("-4", FOUR), hold("-6", SIX));
    let own = own_connections(&namespace);
    for (filter, expected, top) in tops(&namespace, &["--port 9986,9987", "--addr ::1"]) {
        assert_eq!(counts(&top.last(), "standing"), expected, "{filter:?}");
    }
    let pid = six.pid().to_string();
    let last = Top::start(&["--netns", &namespace.name(), "--pid", &pid]).last();
    assert_eq!(counts(&last, "standing"), expected(&[(SIX, "in out")]));
    drop(own);
    four.release();
    six.release();
}

/// An event as it is expected: kind, the states, why.
fn event(event: &Value) -> String {
    let text = |name: &str| event[name].as_str();
    match (text("kind").expect("a kind"), text("old"), text("new"), text("reason")) {
        ("state", Some(old), Some(new), _) => format!("{old}>{new}"),
        // The substate is known where the kernel's own call is seen, and both are right: it depends
        // on which comes first, the peer's FIN or its acknowledgement of ours.
        (kind @ "time_wait_begin", _, substate, _) => {
            assert!(matches!(substate, None | Some("TIME_WAIT" | "FIN_WAIT2")), "{event}");
            kind.to_owned()
        }
        (kind, _, Some(state), _) => format!("{kind} {state}"),
        (kind, _, _, Some(reason)) => format!("{kind} {reason}"),
        (kind, ..) => kind.to_owned(),
    }
}

const SERVER: [&str; 8] = [
    "SYN_RECV>ESTABLISHED",
    "close",
    "ESTABLISHED>FIN_WAIT1",
    "orphan_begin FIN_WAIT1",
    "FIN_WAIT1>FIN_WAIT2",
    "FIN_WAIT2>CLOSE",
    "time_wait_begin",
    "orphan_end time_wait",
];
const CLIENT: [&str; 8] = [
    "CLOSE>SYN_SENT",
    "SYN_SENT>ESTABLISHED",
    "ESTABLISHED>CLOSE_WAIT",
    "close",
    "CLOSE_WAIT>LAST_ACK",
    "orphan_begin LAST_ACK",
    "LAST_ACK>CLOSE",
    "orphan_end acked",
];
const LISTENER: [&str; 3] = ["CLOSE>LISTEN", "close", "LISTEN>CLOSE"];

#[test]
fn trace_prints_exactly_the_events_there_were() {
    const CONNECTIONS: usize = 100;
    let _turn = turn();
    let namespace = Namespace::new();
    let mut trace = Guarded::start(sockflow(&["trace", "--json", "--netns", &namespace.name()]));
    // It says nothing until something happens.
    let began = Instant::now();
    loop {
        storm(Some(&namespace), &["--connections", "1"]);
        if trace.line_within(Duration::from_millis(300)).is_some() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{}", trace.end(PATIENCE).2);
    }
    while trace.line_within(Duration::from_millis(300)).is_some() {}

    let count = CONNECTIONS.to_string();
    let report = storm(Some(&namespace), &["--connections", &count]);
    trace.signal(Signal::INT);
    let (lines, status, talk) = trace.end(PATIENCE);
    assert!(status.success(), "{status}: {talk}");
    assert!(!talk.contains("lost"), "{talk}");

    let mut sockets: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["schema"], "sockflow.event/1", "{event}");
        assert_eq!(event["family"], 4, "{event}");
        assert_eq!(event["owner"], report["server"], "{event}");
        let socket = event["socket"].as_str().expect("a cookie").to_owned();
        sockets.entry(socket).or_default().push(event);
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for events in sockets.values() {
        let told: Vec<String> = events.iter().map(event).collect();
        let local = number(&events[0], "/local/port") == u64::from(PORT);
        let (who, expected) = match told[0].as_str() {
            "CLOSE>LISTEN" => ("listener", &LISTENER[..]),
            _ if local => ("server", &SERVER[..]),
            _ => ("client", &CLIENT[..]),
        };
        assert_eq!(told, expected, "{who}");
        let times: Vec<u64> = events.iter().map(|event| number(event, "/ts_ns")).collect();
        assert!(times.is_sorted(), "{times:?}");
        for event in &events[1..] {
            assert!(event["age_ms"].as_f64().is_some_and(|age| age > 0.0), "{event}");
        }
        *seen.entry(who).or_default() += 1;
    }
    assert_eq!(
        seen,
        BTreeMap::from([("client", CONNECTIONS), ("listener", 1), ("server", CONNECTIONS)])
    );
}

/// A process may call itself what it likes; a terminal must not do what the name says.
#[test]
fn a_hostile_name_is_spelt_out() {
    let _turn = turn();
    let namespace = Namespace::new();
    let folder = Folder::new("sockflow-names");
    let evil = folder.0.join("\x1b]0;evil\x07");
    std::os::unix::fs::symlink(binary(), &evil).expect("a link");
    let mut command = Command::new(&evil);
    command.args(["storm", "--mode", "hold", "--connections", "3", "--duration", "60s"]);
    let mut top =
        Guarded::start(sockflow(&["top", "--interval", "100ms", "--netns", &namespace.name()]));
    top.line(PATIENCE).expect("a line");
    let mut trace = Guarded::start(sockflow(&["trace", "--netns", &namespace.name()]));
    let mut text = String::new();
    let began = Instant::now();
    // Told to let go at once, each run opens and closes a few.
    while trace.line_within(Duration::from_millis(300)).map(|line| text.push_str(&line)).is_none() {
        assert!(began.elapsed() < PATIENCE);
        let mut holder = Guarded::start(namespace.enter(&command));
        assert_eq!(holder.line(PATIENCE).as_deref(), Some("holding 3"));
    }
    let shown = "\\x1b]0;evil\\x07[";
    let began = Instant::now();
    let mut line = String::new();
    while !line.contains(shown) {
        assert!(began.elapsed() < PATIENCE, "{line:?}");
        line = top.line(PATIENCE).expect("a line");
        text.push_str(&line);
    }
    trace.signal(Signal::TERM);
    let (lines, status, _) = trace.end(PATIENCE);
    assert!(status.success());
    assert!(lines.iter().any(|line| line.contains(shown)), "{lines:?}");
    text.extend(lines);
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[track_caller]
fn assert_refused(command: Command, code: i32, says: &[&str]) {
    let done = output(command);
    let talk = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(code), "{talk}");
    assert!(done.stdout.is_empty(), "{talk}");
    for said in says {
        assert!(talk.contains(said), "{said} in {talk}");
    }
}

#[test]
fn without_privilege_it_says_which_and_how_to_get_it() {
    let _turn = turn();
    // Nobody may be unable to reach the build folder.
    let folder = Folder::new("sockflow-binary");
    let copy = folder.0.join("sockflow");
    std::fs::copy(binary(), &copy).expect("a copy");
    std::fs::set_permissions(&folder.0, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("permissions");
    for arguments in [&["top", "--json"][..], &["trace"]] {
        let mut command = Command::new(&copy);
        command.args(arguments).uid(65_534).gid(65_534).current_dir("/");
        assert_refused(command, 3, &["CAP_BPF", "hint:", "`sudo sockflow"]);
    }
}

#[test]
fn without_type_information_it_says_so() {
    let _turn = turn();
    for command in ["top", "trace", "probes"] {
        let says = ["BTF", "/nonexistent", "hint:", "CONFIG_DEBUG_INFO_BTF"];
        assert_refused(sockflow(&[command, "--btf", "/nonexistent"]), 3, &says);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (arguments, says) in [
        (&["--port", "70000"][..], &["70000", "--port"][..]),
        (&["--port", "0"], &["--port"]),
        (&["--pid", "4000000"], &["no process has the id 4000000", "hint:"]),
        (&["--addr", "nonsense"], &["nonsense", "--addr", "10.4.0.0/16"]),
        (&["--addr", "10.0.0.0/33"], &["10.0.0.0/33"]),
        (&["--comm", "sixteen-bytes-xx"], &["can match nothing", "hint:"]),
        (&["--netns", "no-such"], &["no network namespace no-such", "hint:"]),
        (&["--cgroup", "/no/such"], &["no cgroup", "hint:"]),
        (&["-4", "-6"], &["cannot be used with"]),
        (&["--interval", "1ms"], &["--interval"]),
    ] {
        let command = sockflow(&[&["top", "--json"], arguments].concat());
        assert_refused(command, 2, says);
    }
}

/// The kernel's count of resets sent is held against what the tracepoint reports for sockets: nobody
/// listens, so these are sent for none.
#[test]
fn resets_that_no_socket_sent_are_told() {
    const TRIES: u64 = 24;
    let _turn = turn();
    let mut top = Top::start(&[]);
    top.next();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let closed = free.local_addr().expect("its address");
    drop(free);
    for _ in 0..TRIES {
        assert!(TcpStream::connect(closed).is_err(), "somebody listens");
    }
    let last = top.last();
    // Others of this host may send some as well.
    assert!(number(&last, "/resets_out_unseen") >= TRIES, "{last}");
    assert_eq!(last["fidelity"]["reset_out"], "derived");
    let row = |row: &Value| number(row, "/port") == u64::from(closed.port());
    let rows = last["ports"].as_array().expect("rows");
    let sent: u64 =
        rows.iter().filter(|it| row(it)).map(|row| number(row, "/totals/resets_out")).sum();
    assert_eq!(sent, 0, "{last}");
}

/// Said when it begins, on stderr, in the words of the commands that read traces (`filters`).
#[test]
fn a_filter_that_matches_nothing_is_said_alike() {
    let _turn = turn();
    let folder = Folder::new("sockflow-unmatched");
    let trace = folder.0.join("none.sockflow");
    let said = "sockflow: note: nothing matches the filter: port = 1";
    for arguments in [
        &["top", "--json", "--duration", "1s"][..],
        &["top", "--sampled", "--duration", "1s"],
        &["trace", "--duration", "1s"],
        &["record", "--duration", "1s", "-o", trace.to_str().expect("a name")],
        &["doctor", "--watch", "0", "--fail-on", "never"],
    ] {
        let done = output(sockflow(&[arguments, &["--port", "1"]].concat()));
        let talk = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {talk}");
        assert_eq!(talk.lines().filter(|line| *line == said).count(), 1, "{arguments:?}: {talk}");
    }
}

/// `sockflow top --json | head -1`
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let _turn = turn();
    for (command, gone) in [("top --json --interval 100ms", "head -1"), ("top", "head -1")] {
        // The pipe's status is top's own.
        let script = format!("set -o pipefail; '{}' {command} | {gone}", binary().display());
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).stdin(Stdio::null());
        let done = output(shell);
        let talk = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{command}: {talk}");
        assert!(!done.stdout.is_empty(), "{command}: {talk}");
        assert!(talk.lines().all(|line| line.contains("note:")), "{talk}");
    }
}
