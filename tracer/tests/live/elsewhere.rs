//! What goes wrong in a network namespace other than the one watched.

use crate::support;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::doctor::{check, doctor, write};
use support::pairs::close_in_turn;
use support::{
    Folder, Keep, Namespace, PATIENCE, PORT, Standing, Top, eventually, host_orphans, number,
    output, row, turn,
};

use crate::record::{Record, replay};
use crate::serve::Serve;

/// A name of a namespace in `/run/netns`, as `ip netns add` gives one. As long as it is there the
/// namespace is, without a process in it.
struct Name(PathBuf);

impl Name {
    fn of(namespace: &Namespace) -> Self {
        let folder = Path::new("/run/netns");
        fs::create_dir_all(folder).expect("/run/netns");
        let name = folder.join(format!("sockflow-{}", namespace.name()));
        File::create(&name).expect("a name");
        let named = Self(name);
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(format!("/proc/{}/ns/net", namespace.name())).arg(&named.0);
        let done = output(mount);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        named
    }

    fn word(&self) -> &str {
        self.0.file_name().and_then(|name| name.to_str()).expect("a name")
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        let _ = umount.arg("-l").arg(&self.0).output();
        let _ = fs::remove_file(&self.0);
    }
}

fn inum(namespace: &Namespace) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(format!("/proc/{}/ns/net", namespace.name())).expect("a namespace").ino()
}

/// The finding of a check in a namespace.
fn found<'a>(findings: &'a Value, check: &str, netns: u64) -> Option<&'a Value> {
    let mut findings = findings.as_array().expect("findings").iter();
    findings.find(|it| it["check"] == check && it["netns"] == netns)
}

/// The orphan limit is the host's, and what it kills is counted in the namespace that it kills in.
#[test]
fn orphans_killed_in_another_namespace_are_the_hosts() {
    const LIMIT: u64 = 64;
    const ORPHANS: u64 = 200;
    let _turn = turn();
    let limit = Keep::setting("net.ipv4.tcp_max_orphans");
    assert_eq!(host_orphans(), 0, "something else on this host leaves orphans");
    let other = Namespace::new();
    let folder = Folder::new("sockflow-elsewhere");
    let file = folder.0.join("t.sockflow");
    let mut top = Top::start(&[]);
    let record = Record::start(&file, &[]);
    write("net.ipv4.tcp_max_orphans", &LIMIT.to_string());
    let count = ORPHANS.to_string();
    let arguments = ["--mode", "zero-window", "--connections", &count, "--rate", "50/s"];
    let standing =
        Standing::start(Some(&other), &[&arguments[..], &["--hold", "60s"]].concat(), ORPHANS);
    let is_told = |it: &Value| {
        let killed = other.tcp_ext("TCPAbortOnMemory");
        killed > 0 && number(it, "/orphans/killed") == killed
    };
    let snapshot = top.until("all that were killed", is_told);
    let killed = number(&snapshot, "/orphans/killed");
    assert!(killed >= ORPHANS - 2 * LIMIT, "{killed}");
    // Counted one by one as well, and of the host's own namespace there is none.
    assert_eq!(number(row(&snapshot, PORT, "in"), "/orphan_ends/killed"), killed, "{snapshot}");
    assert_eq!(number(&snapshot, "/counters/TCPAbortOnMemory"), 0, "{snapshot}");
    let seen = snapshot["namespaces"]["seen"].as_array().expect("namespaces");
    let there = seen.iter().find(|it| it["netns"] == inum(&other)).expect("the namespace");
    assert_eq!(number(there, "/counters/TCPAbortOnMemory"), killed, "{there}");
    let finding = &snapshot["findings"][0];
    assert_eq!((&finding["check"], &finding["port"]), (&"orphans".into(), &PORT.into()));
    // What nobody has seen before the namespace is gone is lost with it.
    recorded(&file, |it| number(it, "/orphans/killed") == killed);
    standing.release();
    drop(other);
    drop(limit);
    top.until("a moment without it", |it| {
        number(it, "/orphans/host") == 0
            && it["namespaces"]["seen"] != snapshot["namespaces"]["seen"]
    });
    let last = top.last();
    assert!(number(&last, "/orphans/killed") >= killed, "what is gone still counts: {last}");
    record.stop();
    let (snapshots, _) = replay(&file, &[]);
    let recorded = snapshots.last().expect("a snapshot");
    assert!(number(recorded, "/orphans/killed") >= killed, "{recorded}");
}

/// Two namespaces in trouble of different kinds at once, one of them with a name and no process: every
/// view names each.
#[test]
fn trouble_in_two_namespaces_is_named_in_each() {
    const BUCKETS: u64 = 6;
    const BACKLOG: i32 = 3;
    let _turn = turn();
    let (blue, green) = (Namespace::new(), Namespace::new());
    blue.set("net.ipv4.tcp_max_tw_buckets", &BUCKETS.to_string());
    let name = Name::of(&green);
    let numbers = (inum(&blue), inum(&green));
    let folder = Folder::new("sockflow-elsewhere");
    let file = folder.0.join("t.sockflow");
    let mut top = Top::start(&[]);
    let record = Record::start(&file, &[]);
    let serve = Serve::start(&[]);
    // In the one a listener that does not accept, and clients that ask again and again.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into();
    let sockets: Vec<Socket> = green.inside(|| {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.bind(&address).expect("bind");
        listener.listen(BACKLOG).expect("listen");
        let client = |_| {
            let client = socket();
            client.set_nonblocking(true).expect("nonblocking");
            let _ = client.connect(&address);
            client
        };
        let clients = (0..40).map(client);
        std::iter::once(listener).chain(clients.collect::<Vec<_>>()).collect()
    });
    // Nobody is in it any more: its sockets are ours.
    drop(green);
    // In the other, connections that the client closes first, and no room for TIME_WAIT.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, path) = (&over, format!("/proc/{}/ns/net", blue.name()));
        let closing = scope.spawn(move || {
            support::enter(Path::new(&path));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 1)).expect("listen");
            let to = listener.local_addr().expect("an address");
            while !over.load(Ordering::Relaxed) {
                let client = TcpStream::connect(to).expect("connect");
                close_in_turn(client, listener.accept().expect("accept").0);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let views = || {
            let both = |it: &Value| {
                let queue = found(&it["findings"], "accept_queue", numbers.1);
                let buckets = found(&it["findings"], "time_wait", numbers.0);
                // Who holds the listener takes a thorough look.
                let is_whole = |it: &Value| it["severity"] == "crit" && it["owner"].is_object();
                queue.is_some_and(is_whole) && buckets.is_some()
            };
            let snapshot = top.until("both findings", both);
            let queue = found(&snapshot["findings"], "accept_queue", numbers.1).expect("one");
            let buckets = found(&snapshot["findings"], "time_wait", numbers.0).expect("one");
            println!("{}\n{}", queue["text"], buckets["text"]);
            assert_eq!(queue["port"], PORT, "{queue}");
            assert!(queue["text"].as_str().expect("text").contains(name.word()), "{queue}");
            assert!(buckets["text"].as_str().expect("text").contains(&numbers.0.to_string()));
            for (check, netns) in [("accept_queue", numbers.1), ("time_wait", numbers.0)] {
                exported(&serve, check, netns);
            }
            let report = {
                let done = output(doctor(&["--json", "--fail-on", "never"]));
                serde_json::from_slice::<Value>(&done.stdout).expect("JSON")
            };
            assert!(found(&report["findings"], "accept_queue", numbers.1).is_some(), "{report}");
            assert!(found(&report["findings"], "time_wait", numbers.0).is_some(), "{report}");
            assert_eq!(check(&report, "accept_queue")["state"], "crit", "{report}");
            let notes = report["notes"].to_string();
            assert!(notes.contains(name.word()), "{notes}");
            recorded(&file, both);
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(views));
        over.store(true, Ordering::Relaxed);
        closing.join().expect("the connections");
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    drop(sockets);
    top.stop();
    serve.stop();
    record.stop();
}

/// Each has its own label in the metrics.
fn exported(serve: &Serve, check: &str, netns: u64) {
    let wanted = [format!("check=\"{check}\""), format!("netns=\"{netns}\"")];
    eventually("the metric", || {
        let series = serve.scrape();
        series.keys().any(|it| {
            it.starts_with("sockflow_finding{") && wanted.iter().all(|wanted| it.contains(wanted))
        })
    });
}

/// The recording says so, too.
fn recorded(file: &Path, both: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    while !replay(file, &[]).0.iter().any(&both) {
        assert!(began.elapsed() < PATIENCE, "never recorded");
        std::thread::sleep(Duration::from_millis(500));
    }
}
