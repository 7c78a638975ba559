//! `top --sampled`: what sock_diag and /proc show, without BPF and without privilege. What it says is
//! what the kernel says; what it cannot know it does not say.

use crate::support;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::Value;
use support::pairs::{close_in_turn, half_closed};
use support::{
    Namespace, PORT, Standing, Top, eventually_is, find_row, host_orphans, number, output, row,
    sockflow, turn,
};

const ESTABLISHED: u64 = 7;
const TIME_WAIT: u64 = 5;
const FIN_WAIT2: u64 = 3;
const ORPHANS: u64 = 4;
/// Another service's.
const OTHER: u16 = 9982;
/// Of a service that is gone: its port, and what is left of it.
const GONE: (u16, u64) = (9983, 2);

/// Sockets of each kind that stand still.
struct Known {
    _listener: TcpListener,
    _established: Vec<(TcpStream, TcpStream)>,
    _half_closed: Vec<TcpStream>,
    _orphans: Standing,
}

impl Known {
    /// Opens them in a namespace and waits until the kernel has them all.
    fn open(namespace: &Namespace) -> Self {
        let before = host_orphans();
        let (listener, established) = namespace.inside(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen");
            let pair = |_| {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect");
                (client, listener.accept().expect("accept").0)
            };
            let established: Vec<_> = (0..ESTABLISHED).map(pair).collect();
            (0..TIME_WAIT).map(pair).for_each(|(client, server)| close_in_turn(server, client));
            let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, GONE.0)).expect("listen");
            for _ in 0..GONE.1 {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, GONE.0)).expect("connect");
                close_in_turn(gone.accept().expect("accept").0, client);
            }
            (listener, established)
        });
        let half_closed = half_closed(namespace, &listener, FIN_WAIT2);
        let (count, port) = (ORPHANS.to_string(), OTHER.to_string());
        let arguments =
            ["--mode", "zero-window", "--connections", &count, "--hold", "90s", "--port", &port];
        let orphans = Standing::start(Some(namespace), &arguments, ORPHANS);
        let stand = (TIME_WAIT + FIN_WAIT2 + GONE.1, before + ORPHANS);
        eventually_is("what stands", &stand, || (namespace.sockstat("tw"), host_orphans()));
        Self {
            _listener: listener,
            _established: established,
            _half_closed: half_closed,
            _orphans: orphans,
        }
    }
}

fn state(of: &Value, name: &str) -> u64 {
    number(of, &format!("/states/{name}"))
}

/// As far as it goes without a word about owners.
fn assert_sockets(snapshot: &Value) {
    let server = row(snapshot, PORT, "in");
    let client = row(snapshot, PORT, "out");
    let expected = [
        (server, "listen", 1),
        (server, "established", ESTABLISHED),
        (server, "time_wait", TIME_WAIT),
        (server, "fin_wait2", FIN_WAIT2),
        (client, "established", ESTABLISHED),
        (client, "close_wait", FIN_WAIT2),
        (client, "time_wait", 0),
        (row(snapshot, OTHER, "in"), "fin_wait1", ORPHANS),
        (row(snapshot, GONE.0, "in"), "time_wait", GONE.1),
    ];
    for (of, name, count) in expected {
        assert_eq!(state(of, name), count, "{name} of {of}");
    }
    assert_eq!(number(server, "/orphans"), 0, "{server}");
    let orphans = row(snapshot, OTHER, "in");
    assert_eq!(number(orphans, "/orphans"), ORPHANS, "{orphans}");
    assert!(number(orphans, "/orphan_bytes") > 0, "a zero window holds data: {orphans}");
    let listen = server["listen"].as_object().expect("a listener");
    assert_eq!((&listen["queued"], &listen["overflows"]), (&0.into(), &Value::Null), "{server}");
    // What the rows do not say the sums do not, either.
    assert_eq!(state(snapshot, "time_wait"), TIME_WAIT + GONE.1, "{snapshot}");
    assert_eq!(state(snapshot, "fin_wait2"), FIN_WAIT2, "{snapshot}");
    let minisockets = TIME_WAIT + FIN_WAIT2 + GONE.1;
    assert_eq!(number(snapshot, "/tw_buckets/now"), minisockets, "{snapshot}");
    assert_eq!(number(snapshot, "/tw_buckets/fin_wait2"), FIN_WAIT2, "{snapshot}");
    assert_eq!(number(snapshot, "/orphans/tracked"), ORPHANS, "{snapshot}");
    assert_eq!(number(snapshot, "/orphans/by_state/fin_wait1"), ORPHANS, "{snapshot}");
    assert_nothing_invented(snapshot);
}

/// Numbers that only who counts can know.
fn assert_nothing_invented(snapshot: &Value) {
    let fidelity = snapshot["fidelity"].as_object().expect("fidelity");
    assert_eq!(fidelity.len(), 15, "{fidelity:?}");
    let worth = |signal: &&str| fidelity[*signal].as_str().expect("a fidelity");
    let seen = ["state", "orphan_begin", "orphan_end", "time_wait", "owner", "listen_drops"];
    assert!(seen.iter().all(|signal| worth(signal) == "sampled"), "{fidelity:?}");
    let not = ["end_reason", "reset_in", "reset_out", "reset_reason", "mem_refused"];
    assert!(not.iter().all(|signal| worth(signal) == "absent"), "{fidelity:?}");
    let better = |worth: &Value| worth != "sampled" && worth != "absent";
    assert!(!fidelity.values().any(better), "{fidelity:?}");
    let objects = ["/totals", "/totals_per_s", "/lost"];
    let of_rows = ["/totals", "/orphan_ends", "/orphan_end_details", "/fin_wait1_ms"];
    let unknown = |of: &Value, at: &str| {
        let Some(fields) = of.pointer(at).map(|it| it.as_object().expect("an object")) else {
            return;
        };
        assert!(!fields.is_empty() && fields.values().all(Value::is_null), "{at} of {of}");
    };
    objects.iter().for_each(|at| unknown(snapshot, at));
    for rows in ["ports", "processes"] {
        for row in snapshot[rows].as_array().expect("rows") {
            of_rows.iter().for_each(|at| unknown(row, at));
        }
    }
    for row in snapshot["ports"].as_array().expect("rows") {
        for at in ["opened_per_s", "closed_per_s", "resets_per_s", "minisockets", "memory_refused"]
        {
            assert!(row[at].is_null(), "{at} of {row}");
        }
    }
    assert!(snapshot["minisockets"].is_null() && snapshot["tcp_mem"]["refused"].is_null());
    let unseen = snapshot["unseen"].as_array().expect("words");
    assert!(unseen.iter().any(|it| it.to_string().contains("between two looks")), "{unseen:?}");
}

fn is_there(snapshot: &Value) -> bool {
    number(snapshot, "/orphans/tracked") == ORPHANS
        && find_row(snapshot, PORT, "out").is_some_and(|row| state(row, "close_wait") == FIN_WAIT2)
        && find_row(snapshot, PORT, "in").is_some_and(|row| state(row, "time_wait") == TIME_WAIT)
}

#[test]
fn what_stands_is_what_the_kernel_says() {
    let _turn = turn();
    let before = host_orphans();
    let namespace = Namespace::new();
    let known = Known::open(&namespace);
    let arguments = ["--sampled", "--netns", &namespace.name(), "--interval", "200ms"];
    let mut top = Top::start(&arguments);
    let snapshot = top.until("all are seen", is_there);
    // TIME_WAIT lasts a minute: it was the same all the while.
    assert_eq!(namespace.sockstat("tw"), TIME_WAIT + FIN_WAIT2 + GONE.1);
    assert_sockets(&snapshot);
    assert_eq!(number(&snapshot, "/orphans/host"), before + ORPHANS, "{snapshot}");
    assert_eq!(snapshot["orphans"]["drift"], 0, "orphans elsewhere are found: {snapshot}");
    // Nothing that was there before is missing, and nothing that root may not see.
    let server = row(&snapshot, PORT, "in");
    assert_eq!(number(server, "/owner/pid"), u64::from(std::process::id()), "{server}");
    assert!(!snapshot["unseen"].to_string().contains("CAP_"), "{snapshot}");
    // With a filter the rest is out; the host's orphans are the host's.
    let port = PORT.to_string();
    let mut filtered = Top::start(&[&arguments[..], &["--port", &port]].concat());
    let snapshot = filtered.next().clone();
    assert!(find_row(&snapshot, OTHER, "in").is_none(), "{snapshot}");
    assert_eq!(state(&snapshot, "established"), ESTABLISHED, "{snapshot}");
    assert_eq!(state(&snapshot, "time_wait"), TIME_WAIT, "{snapshot}");
    assert_eq!(number(&snapshot, "/orphans/tracked"), 0, "{snapshot}");
    assert_eq!(snapshot["orphans"]["drift"], 0, "{snapshot}");
    drop(known);
    // What is gone is gone.
    let snapshot = top.until("the orphans are gone", |snapshot| {
        find_row(snapshot, OTHER, "in").is_none_or(|row| number(row, "/orphans") == 0)
    });
    assert!(!is_there(&snapshot));
    drop(top.stop());
}

#[test]
fn an_orphan_keeps_the_owner_it_was_last_seen_with() {
    let _turn = turn();
    let namespace = Namespace::new();
    let mut top = Top::start(&["--sampled", "--netns", &namespace.name(), "--interval", "100ms"]);
    let (listener, client, mut server) = namespace.inside(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen");
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect");
        let server = listener.accept().expect("accept").0;
        (listener, client, server)
    });
    // Until the client's window is closed.
    server.set_nonblocking(true).expect("nonblocking");
    while server.write(&[0; 1 << 16]).is_ok() {}
    let own = u64::from(std::process::id());
    let is_ours = |row: &Value| row.pointer("/owner/pid").and_then(Value::as_u64) == Some(own);
    top.until("it is seen with its owner", |snapshot| {
        find_row(snapshot, PORT, "in")
            .is_some_and(|row| state(row, "established") == 1 && is_ours(row))
    });
    drop((server, listener));
    let snapshot = top.until("it is an orphan", |snapshot| {
        find_row(snapshot, PORT, "in").is_some_and(|row| number(row, "/orphans") == 1)
    });
    let orphan = row(&snapshot, PORT, "in");
    assert!(is_ours(orphan), "{orphan}");
    assert_eq!((state(orphan, "fin_wait1"), state(orphan, "listen")), (1, 0), "{orphan}");
    let processes = snapshot["processes"].as_array().expect("rows");
    let process = processes.iter().find(|row| row["pid"] == own).expect("our row");
    assert_eq!((number(process, "/orphans"), number(process, "/sockets")), (1, 1), "{process}");
    drop(client);
    top.until("it is gone", |snapshot| {
        find_row(snapshot, PORT, "in").is_none_or(|row| number(row, "/orphans") == 0)
    });
    drop(top.stop());
}

/// The same command as nobody.
fn as_nobody(namespace: &Namespace, arguments: &[&str]) -> std::process::Command {
    let command = sockflow(arguments);
    let entered = namespace.enter(&command);
    let mut nobody = std::process::Command::new(entered.get_program());
    nobody.args(["--setuid", "65534", "--setgid", "65534"]).args(entered.get_args());
    nobody
}

#[test]
fn without_any_privilege_it_sees_its_namespace_and_says_what_it_does_not() {
    let _turn = turn();
    let (namespace, other) = (Namespace::new(), Namespace::new());
    let known = Known::open(&namespace);
    let hold = ["--mode", "zero-window", "--connections", "2", "--hold", "90s"];
    let elsewhere = Standing::start(Some(&other), &hold, 2);
    let mut top = Top::run(as_nobody(&namespace, &["top", "--json", "--sampled"]));
    let snapshot = top.until("all are seen", is_there);
    assert_sockets(&snapshot);
    let server = row(&snapshot, PORT, "in");
    assert!(server["owner"].is_null(), "root's, and not to be seen: {server}");
    // The orphans of the other namespace are not seen, but that they are there is.
    let drift = snapshot["orphans"]["drift"].as_i64().expect("a number");
    assert!(drift <= -2, "{snapshot}");
    assert_eq!(
        drift,
        number(&snapshot, "/orphans/tracked").cast_signed()
            - number(&snapshot, "/orphans/host").cast_signed()
    );
    let unseen = snapshot["unseen"].to_string();
    for told in ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "limits"] {
        assert!(unseen.contains(told), "{told}: {unseen}");
    }
    drop(top.stop());

    // As text it says the same, on stderr.
    let done = output(as_nobody(&namespace, &["top", "--sampled", "--duration", "100ms"]));
    let (text, talk) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{talk}");
    assert!(text.lines().all(|line| line.contains("| sampled")), "{text}");
    assert!(text.contains(":9981") && !text.contains("opened"), "{text}");
    assert!(talk.contains("without BPF") && talk.contains("CAP_SYS_PTRACE"), "{talk}");

    // Another namespace is closed to it; tracing is, and it is told what is not.
    let inside = ["top", "--sampled", "--netns", &other.name()];
    for (arguments, hint) in [(&inside[..], "sudo"), (&["top"], "sockflow top --sampled")] {
        let done = output(as_nobody(&namespace, arguments));
        let talk = String::from_utf8_lossy(&done.stderr);
        assert!(done.stdout.is_empty() && !done.status.success(), "{arguments:?}: {talk}");
        let hinted = talk.lines().any(|line| line.contains("hint:") && line.contains(hint));
        assert!(hinted, "{arguments:?}: {talk}");
    }
    elsewhere.release();
    drop(known);
}

#[test]
fn without_type_information_it_needs_none() {
    let _turn = turn();
    let done = output(sockflow(&["top", "--btf", "/no/such/file"]));
    let talk = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{talk}");
    assert!(talk.contains("hint:") && talk.contains("`sockflow top --sampled`"), "{talk}");
}
