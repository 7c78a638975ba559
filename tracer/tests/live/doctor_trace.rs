//! `sockflow doctor --trace`: what it says of a moment of a recording is what it said then.

use crate::support;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use support::doctor::*;
use support::*;

fn of_trace(path: &Path, arguments: &[&str]) -> Value {
    let mut command = sockflow(&["doctor", "--json", "--fail-on", "never", "--trace"]);
    command.arg(path).args(arguments);
    let done = output(command);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

#[test]
fn the_same_of_a_moment_as_then() {
    let _turn = turn();
    let _keep = Keep::setting("net.ipv4.tcp_max_orphans");
    eventually("without orphans", || host_orphans() == 0);
    let folder = Folder::new("sockflow-doctor-trace");
    let trace = folder.0.join("t.sockflow");
    let mut record = sockflow(&["record", "-o"]);
    record.arg(&trace);
    let mut recording = Guarded::start(record);
    eventually("recording", || trace.metadata().is_ok_and(|meta| meta.len() > 0));

    // Two things at once: orphans above half their limit, and a queue that nobody empties.
    let setting = "net.ipv4.tcp_max_orphans=400";
    let storm =
        ["--mode", "zero-window", "--connections", "300", "--port", "9982", "--hold", "60s"];
    let standing = Standing::start(None, &[&storm[..], &["--sysctl", setting]].concat(), 300);
    let queue = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let queue = queue.expect("a socket");
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    queue.set_reuse_address(true).expect("reuse");
    queue.bind(&address.into()).expect("bind");
    queue.listen(4).expect("listen");
    let clients: Vec<TcpStream> =
        (0..5).map(|_| TcpStream::connect(address).expect("a connection")).collect();

    // Until a thorough look of the recorder's has seen both.
    let mut live = report(None, &["--watch", "500ms"]);
    assert_eq!(check(&live, "orphans")["state"], "warn", "{live}");
    let seen = || {
        let now = of_trace(&trace, &["--at", "end"]);
        number(check(&now, "accept_queue"), "/now") == 5
            && check(&now, "orphans")["evidence"].as_str().is_some_and(|it| it.contains("each"))
            && now["notes"].as_array().is_some_and(|notes| notes.len() == 1)
    };
    eventually("in the trace", seen);
    let then = of_trace(&trace, &["--at", "end", "--port", "9981"]);
    assert_eq!((&then["source"], &live["source"]), (&"trace".into(), &"live".into()));
    for id in ["orphans", "accept_queue", "tcp_mem", "file_max", "fds"] {
        for field in ["state", "limit", "subject", "unit"] {
            assert_eq!(check(&then, id)[field], check(&live, id)[field], "{id} {field}");
        }
    }
    assert_eq!(check(&then, "orphans")["now"], 300);
    // The trace knows that the limit was lowered while it was recorded: the first remedy is to undo that.
    let set = |report: &Value| check(report, "orphans")["set"][0].clone();
    for field in ["sysctl", "from"] {
        assert_eq!(set(&then)[field], set(&live)[field], "{field}");
    }
    let number = |set: &Value| set["to"].as_str().and_then(|to| to.parse::<u64>().ok());
    assert!(number(&set(&then)) > number(&set(&live)), "{then}");
    // What is known live is known of the trace.
    for finding in live["checks"].as_array_mut().expect("checks") {
        let of_then = check(&then, finding["id"].as_str().expect("an id"));
        let is_unknown = |finding: &Value| finding["state"] == "unknown";
        assert_eq!(is_unknown(of_then), is_unknown(finding), "{of_then}");
    }

    drop(clients);
    drop(queue);
    standing.release();
    eventually("without orphans", || host_orphans() == 0);
    // Closed, and looked at without anything else: the worst moment is found.
    recording.signal(Signal::TERM);
    let (_, status, talk) = recording.end(PATIENCE);
    assert!(status.success(), "{talk}");
    let worst = of_trace(&trace, &[]);
    assert_eq!(worst["checks"][0]["id"], "accept_queue", "{worst}");
    assert!(worst["notes"][0].as_str().expect("a note").contains("the worst of"), "{worst}");
    let mut file = sockflow(&["doctor", "--print-sysctl", "--trace"]);
    file.arg(&trace);
    let file = output(file);
    let text = String::from_utf8(file.stdout).expect("ASCII");
    assert!(file.status.success() && text.contains("\nnet.ipv4.tcp_max_orphans = "), "{text}");
    let _ = TcpListener::bind(address).expect("the port is free again");
}
