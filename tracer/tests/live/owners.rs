//! Whose a socket is: the process's that has a descriptor of it, as /proc shows them, also where that is
//! not the one that listens or connected.

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use support::{
    Folder, Guarded, Namespace, PATIENCE, PORT, Top, assert_balanced, assert_complete, number, row,
    turn,
};

const OFTEN: [&str; 2] = ["--interval", "100ms"];

/// `python3` with a script and its arguments; `None` where there is none.
fn python(script: &str, arguments: &[&str]) -> Option<Command> {
    let there = Command::new("python3").arg("-V").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("n/a: no python3");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-u", "-c", script]).args(arguments).stdin(Stdio::null());
    Some(command)
}

/// Established sockets with this local port, by the process that has them open, of all processes that
/// /proc shows, by the descriptors of all their threads. Those with none are 0's.
fn held(namespace: Option<&Namespace>, port: u16) -> BTreeMap<u32, u64> {
    const ESTABLISHED: &str = "01";
    let folder = namespace.map_or_else(|| "/proc/self/net".to_owned(), Namespace::folder);
    let table = fs::read_to_string(format!("{folder}/tcp")).expect("a table");
    let mut holders: BTreeMap<String, u32> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[1].ends_with(&format!(":{port:04X}")) && words[3] == ESTABLISHED {
            holders.insert(format!("socket:[{}]", words[9]), 0);
        }
    }
    let folders = |path: String| {
        let numbers = fs::read_dir(path).into_iter().flatten().flatten();
        numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
    };
    for pid in folders("/proc".to_owned()) {
        for thread in folders(format!("/proc/{pid}/task")) {
            let links = fs::read_dir(format!("/proc/{pid}/task/{thread}/fd"));
            for link in links.into_iter().flatten().flatten() {
                let target = fs::read_link(link.path()).unwrap_or_default();
                if let Some(holder) = holders.get_mut(&*target.to_string_lossy()) {
                    *holder = pid;
                }
            }
        }
    }
    let mut counts = BTreeMap::new();
    holders.into_values().for_each(|pid| *counts.entry(pid).or_default() += 1);
    counts
}

/// Rows of processes with this port and no other, but for the clients', which are ours.
fn rows(snapshot: &Value, port: u16) -> impl Iterator<Item = &Value> {
    let rows = snapshot["processes"].as_array().expect("processes");
    rows.iter().filter(move |row| {
        *row["ports"].as_array().expect("ports") == [port] && row["pid"] != std::process::id()
    })
}

/// Established sockets by process, as a snapshot has them.
fn counted(snapshot: &Value, port: u16) -> BTreeMap<u32, u64> {
    let counts = rows(snapshot, port).map(|row| {
        let pid = row["pid"].as_u64().unwrap_or(0) as u32;
        (pid, number(row, "/states/established"))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Waits until each process has as many as it holds, and nobody is in doubt; every row of a process and
/// the port's is in balance, and there are `all` of them.
fn settles(
    top: &mut Top,
    namespace: Option<&Namespace>,
    port: u16,
    all: u64,
) -> BTreeMap<u32, u64> {
    let held = held(namespace, port);
    assert_eq!(held.values().sum::<u64>(), all, "{held:?}");
    let snapshot = top.until(&format!("as in /proc: {held:?}"), |snapshot| {
        counted(snapshot, port) == held && row(snapshot, port, "in")["owner_unchecked"] == 0
    });
    balanced(&snapshot, port);
    held
}

fn balanced(snapshot: &Value, port: u16) {
    assert_balanced(row(snapshot, port, "in"));
    for process in rows(snapshot, port) {
        assert_balanced(process);
        assert_eq!(process["owner_unchecked"], 0, "{process}");
    }
}

/// Connects so often, one after the other, each answered by a byte when it is accepted.
fn connect(namespace: Option<&Namespace>, port: u16, count: u64) -> Vec<TcpStream> {
    let connect = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
        stream.read_exact(&mut [0]).expect("a byte");
        stream
    };
    let all = || (0..count).map(|_| connect()).collect();
    namespace.map_or_else(all, |namespace| namespace.inside(all))
}

/// Four workers that share the listener of their parent: each takes a connection, says so with a byte,
/// lets the others take the next, and closes what its client has closed.
const PREFORK: &str = r#"
import os, select, socket, sys, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', int(sys.argv[1])))
listener.listen(128)
listener.setblocking(False)
for worker in range(4):
    if os.fork() == 0:
        kept = []
        while True:
            for ready in select.select([listener] + kept, [], [])[0]:
                if ready is not listener:
                    if not ready.recv(100):
                        kept.remove(ready)
                        ready.close()
                    continue
                try:
                    taken, _ = listener.accept()
                except BlockingIOError:
                    continue
                kept.append(taken)
                taken.send(b'x')
                time.sleep(0.02)
print('listening')
os.wait()
"#;

/// The processes of a group, ended with this value.
struct Family(Guarded);

impl Family {
    fn start(mut command: Command, says: &str) -> Self {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
        let mut first = Guarded::start(command);
        let said = first.line(PATIENCE);
        assert_eq!(said.as_deref(), Some(says), "{}", first.end(PATIENCE).2);
        Self(first)
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.0.pid().cast_signed()).expect("a pid");
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

#[test]
fn workers_that_share_a_listener() {
    const CONNECTIONS: u64 = 40;
    let _turn = turn();
    if cannot_walk() {
        println!("n/a: no walk");
        return;
    }
    let port = PORT.to_string();
    let Some(server) = python(PREFORK, &[&port]) else { return };
    let namespace = Namespace::new();
    let mut top = Top::start(&[&["--netns", &namespace.name()], &OFTEN[..]].concat());
    let server = Family::start(namespace.enter(&server), "listening");
    let mut clients = connect(Some(&namespace), PORT, CONNECTIONS);
    let held = settles(&mut top, Some(&namespace), PORT, CONNECTIONS);
    assert!(held.len() > 1, "one worker took all: {held:?}");
    assert!(!held.contains_key(&server.0.pid()), "it takes none itself: {held:?}");

    // Some end: at the workers', whose rows stay in balance.
    clients.truncate(15);
    let snapshot = top.until("closed", |snapshot| {
        number(row(snapshot, PORT, "in"), "/totals/closed") == CONNECTIONS - 15
    });
    assert_eq!(counted(&snapshot, PORT).values().sum::<u64>(), 15);
    let held = settles(&mut top, Some(&namespace), PORT, 15);
    // New ones are another worker's again, with the old ones where they were.
    clients.extend(connect(Some(&namespace), PORT, 10));
    let more = settles(&mut top, Some(&namespace), PORT, 25);
    for (pid, count) in held {
        assert!(more.get(&pid).is_some_and(|more| *more >= count), "{more:?}");
    }
    drop(clients);
    let closed = CONNECTIONS + 10;
    top.until("all closed", |snapshot| {
        number(row(snapshot, PORT, "in"), "/totals/closed") == closed
    });
    drop(server);
    let last = top.last();
    balanced(&last, PORT);
    assert_eq!(number(row(&last, PORT, "in"), "/totals/opened"), closed, "{last}");
    assert_complete(&last);
}

/// What they are counted for before they are searched for is said to be in doubt, and only that.
#[test]
fn an_owner_is_in_doubt_until_it_was_searched_for() {
    let _turn = turn();
    let port = PORT.to_string();
    let Some(server) = python(PREFORK, &[&port]) else { return };
    let namespace = Namespace::new();
    // Without a walk it stays so until they are closed.
    let mut command = support::sockflow(&["top", "--json", "--netns", &namespace.name()]);
    command.args(OFTEN).env("SOCKFLOW_HIDE", "bpf_iter_tcp");
    let mut top = Top::run(command);
    let server = Family::start(namespace.enter(&server), "listening");
    let clients = connect(Some(&namespace), PORT, 6);
    let master = server.0.pid();
    let in_doubt = |snapshot: &Value| {
        let row = rows(snapshot, PORT).find(|row| row["pid"] == master)?;
        Some((number(row, "/states/established"), number(row, "/owner_unchecked")))
    };
    let snapshot = top.until("in doubt", |snapshot| in_doubt(snapshot) == Some((6, 6)));
    assert_eq!(number(row(&snapshot, PORT, "in"), "/owner_unchecked"), 6);
    // They are their closers' then.
    drop(clients);
    let snapshot =
        top.until("closed", |snapshot| number(row(snapshot, PORT, "in"), "/totals/closed") == 6);
    assert_eq!(in_doubt(&snapshot), Some((0, 0)), "{snapshot}");
    balanced(&snapshot, PORT);
    // Who alone has the listener is in no doubt.
    drop(server);
    let listener =
        namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 1)).expect("listen"));
    let client = namespace.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT + 1)));
    let accepted = listener.accept().expect("accept");
    top.until("certain", |snapshot| {
        support::find_row(snapshot, PORT + 1, "in").is_some_and(|row| {
            row["owner_unchecked"] == 0
                && number(row, "/states/established") == 1
                && row["owner"]["pid"] == std::process::id()
        })
    });
    drop((client, accepted));
}

/// A filter on a process has what that process holds, whoever listens, and nothing that it gave away.
#[test]
fn a_filter_on_one_of_the_processes() {
    const CONNECTIONS: u64 = 20;
    let _turn = turn();
    if cannot_walk() {
        println!("n/a: no walk");
        return;
    }
    let port = PORT.to_string();
    let Some(server) = python(PREFORK, &[&port]) else { return };
    let namespace = Namespace::new();
    let server = Family::start(namespace.enter(&server), "listening");
    let master = server.0.pid();
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
    let children = children.expect("children");
    let worker: u32 = children.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
    let mut tops = [worker, master].map(|pid| {
        Top::start(
            &[&["--netns", &namespace.name(), "--pid", &pid.to_string()], &OFTEN[..]].concat(),
        )
    });
    let clients = connect(Some(&namespace), PORT, CONNECTIONS);
    let of_worker = held(Some(&namespace), PORT)[&worker];
    assert!((1..CONNECTIONS).contains(&of_worker), "{of_worker}");
    for (top, (pid, expected)) in tops.iter_mut().zip([(worker, of_worker), (master, 0)]) {
        let snapshot = top.until(&format!("{expected} of {pid}"), |snapshot| {
            support::find_row(snapshot, PORT, "in").is_some_and(|row| {
                number(row, "/states/established") == expected
                    && row["owner"]["pid"] == pid
                    && row["owner_unchecked"] == 0
            })
        });
        balanced(&snapshot, PORT);
        assert_eq!(number(row(&snapshot, PORT, "in"), "/totals/opened"), expected, "{snapshot}");
    }
    drop(clients);
    let [of_worker_top, of_master] = tops;
    let mut top = of_worker_top;
    top.until("closed", |snapshot| {
        number(row(snapshot, PORT, "in"), "/totals/closed") == of_worker
    });
    for top in [top, of_master] {
        balanced(&top.last(), PORT);
    }
}

/// Whether `probes` says that sockets cannot be walked through here.
fn cannot_walk() -> bool {
    let done = support::output(support::sockflow(&["probes", "--json"]));
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let signals = report["signals"].as_array().expect("signals");
    let row = signals.iter().find(|row| row["signal"] == "accept_owner").expect("a row");
    row["hook"] != "iter tcp"
}

#[test]
fn nginx_with_four_workers() {
    const CONNECTIONS: u64 = 40;
    let _turn = turn();
    if !Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok_and(|it| it.success())
        || cannot_walk()
    {
        println!("n/a: no nginx, or no walk");
        return;
    }
    let folder = Folder::new("sockflow-nginx");
    let configuration = folder.0.join("nginx.conf");
    let path = folder.0.display();
    let text = format!(
        "daemon off; worker_processes 4; pid {path}/pid; error_log {path}/log;
         events {{ worker_connections 256; accept_mutex on; accept_mutex_delay 20ms; }}
         http {{ access_log off; keepalive_timeout 600s;
                client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;
                uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
                server {{ listen 127.0.0.1:{PORT}; location / {{ return 200 \"x\"; }} }} }}"
    );
    fs::write(&configuration, text).expect("a file");
    let mut top = Top::start(&[&["--port", &PORT.to_string()], &OFTEN[..]].concat());
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(&configuration).stdin(Stdio::null());
    let nginx = Guarded::start(nginx);
    top.until("listening", |snapshot| support::find_row(snapshot, PORT, "in").is_some());
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect");
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
            let read = client.read(&mut [0; 1024]).expect("an answer");
            assert!(read > 0);
            client
        })
        .collect();
    let held = settles(&mut top, None, PORT, CONNECTIONS);
    assert!(!held.contains_key(&nginx.pid()), "the master holds none: {held:?}");
    drop(clients);
    top.until("closed", |snapshot| {
        number(row(snapshot, PORT, "in"), "/totals/closed") == CONNECTIONS
    });
    let last = top.last();
    balanced(&last, PORT);
    assert_complete(&last);
}

/// Takes ten connections and passes one on for each byte of its stdin, to a process that was there
/// before, and last its listener.
const PASS: &str = r#"
import os, socket, sys
here, there = socket.socketpair()
if os.fork() == 0:
    here.close()
    kept = []
    while len(kept) < 11:
        _, descriptors, _, _ = socket.recv_fds(there, 10, 10)
        kept += descriptors
        print(os.getpid())
    listener = socket.socket(fileno=kept.pop())
    while True:
        taken, _ = listener.accept()
        kept.append(taken)
        taken.send(b'x')
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', int(sys.argv[1])))
listener.listen(128)
print('listening')
kept = [listener]
while len(kept) < 11:
    taken, _ = listener.accept()
    kept.append(taken)
    taken.send(b'x')
while sys.stdin.read(1):
    passed = kept.pop()
    socket.send_fds(here, [b'x'], [passed.fileno()])
    passed.close()
os.wait()
"#;

#[test]
fn descriptors_that_are_passed_on() {
    let _turn = turn();
    if cannot_walk() {
        println!("n/a: no walk");
        return;
    }
    let port = PORT.to_string();
    let Some(server) = python(PASS, &[&port]) else { return };
    let namespace = Namespace::new();
    let mut top = Top::start(&[&["--netns", &namespace.name()], &OFTEN[..]].concat());
    let mut server = namespace.enter(&server);
    server.stdin(Stdio::piped());
    let mut server = Family::start(server, "listening");
    let from = server.0.pid();
    let mut clients = connect(Some(&namespace), PORT, 10);
    assert_eq!(settles(&mut top, Some(&namespace), PORT, 10), BTreeMap::from([(from, 10)]));

    let mut stdin = server.0.child.stdin.take().expect("a pipe");
    let mut pass = |count: usize| {
        stdin.write_all(&vec![b'y'; count]).expect("a pipe");
        let mut said = (0..count).map(|_| server.0.line(PATIENCE).expect("a line"));
        said.by_ref().last().and_then(|pid| pid.parse::<u32>().ok()).expect("a pid")
    };
    let to = pass(4);
    let half = BTreeMap::from([(from, 6), (to, 4)]);
    assert_eq!(settles(&mut top, Some(&namespace), PORT, 10), half);

    // The rest, and the listener: what comes now is the receiver's at once.
    pass(7);
    assert_eq!(settles(&mut top, Some(&namespace), PORT, 10), BTreeMap::from([(to, 10)]));
    top.until("listener passed on", |snapshot| {
        rows(snapshot, PORT).any(|row| row["pid"] == to && row["states"]["listen"] == 1)
    });
    clients.extend(connect(Some(&namespace), PORT, 5));
    let snapshot = top.until("five more", |snapshot| {
        number(row(snapshot, PORT, "in"), "/states/established") == 15
    });
    assert_eq!(counted(&snapshot, PORT), BTreeMap::from([(to, 15)]), "{snapshot}");
    drop(server);
    top.until("closed", |snapshot| number(row(snapshot, PORT, "in"), "/totals/closed") == 15);
    drop(clients);
    let last = top.last();
    balanced(&last, PORT);
    assert_complete(&last);
}

/// Its main thread ends, and another one goes on.
const HEADLESS: &str = r#"
import ctypes, os, platform, socket, sys, threading
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', int(sys.argv[1])))
listener.listen(128)
kept = []
def serve():
    while True:
        taken, _ = listener.accept()
        kept.append(taken)
        taken.send(b'x')
threading.Thread(target=serve).start()
print('listening')
ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)
"#;

#[test]
fn a_process_whose_main_thread_has_ended() {
    let _turn = turn();
    let port = PORT.to_string();
    let Some(server) = python(HEADLESS, &[&port]) else { return };
    let namespace = Namespace::new();
    let server = Family::start(namespace.enter(&server), "listening");
    let pid = server.0.pid();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    support::eventually("a zombie", || {
        stat().rsplit_once(')').expect("a name").1.starts_with(" Z")
    });
    let mut clients = connect(Some(&namespace), PORT, 5);
    // These stood before, those begin under its eyes.
    let mut top = Top::start(&[&["--netns", &namespace.name()], &OFTEN[..]].concat());
    assert_eq!(settles(&mut top, Some(&namespace), PORT, 5), BTreeMap::from([(pid, 5)]));
    clients.extend(connect(Some(&namespace), PORT, 5));
    assert_eq!(settles(&mut top, Some(&namespace), PORT, 10), BTreeMap::from([(pid, 10)]));
    let last = top.last();
    let process = rows(&last, PORT).find(|row| row["pid"] == pid).expect("a row");
    assert_eq!((&process["alive"], number(process, "/states/listen")), (&true.into(), 1));
    drop(clients);
}
