//! A kernel that lacks a field or a hook loses the signal that needs it, and no other, and says so;
//! simulated by hiding what this kernel has.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{
    Namespace, PORT, Top, assert_complete, ended, ends, number, output, row, sockflow, storm, turn,
};

/// By signal what `sockflow probes` says of it.
fn probes(hidden: &str) -> BTreeMap<String, Value> {
    let mut command = sockflow(&["probes", "--json"]);
    command.env("SOCKFLOW_HIDE", hidden);
    let done = output(command);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let signals = told["signals"].as_array().expect("signals").clone();
    let name = |signal: &Value| signal["signal"].as_str().expect("a name").to_owned();
    signals.into_iter().map(|signal| (name(&signal), signal)).collect()
}

/// What is hidden, and which signals may be worth less for it, with their fidelity then. A signal
/// that is as bad already on this kernel stays as it is.
const HIDDEN: [(&str, &[(&str, &str)]); 11] = [
    ("tcp_sock.linger2", &[("end_reason", "derived")]),
    ("tcp_sock.snd_una", &[("end_reason", "derived")]),
    ("sock.sk_lingertime", &[("orphan_begin", "derived"), ("owner", "derived")]),
    ("proto.memory_pressure", &[("mem_pressure", "sampled")]),
    ("sock.sk_ack_backlog", &[("accept_overflow", "sampled")]),
    ("task_struct.comm", &[("owner", "absent")]),
    ("inet_timewait_sock.tw_substate", &[("time_wait", "derived"), ("time_wait_end", "absent")]),
    ("inet_twsk_deschedule_put", &[("time_wait_end", "absent")]),
    ("tcp_send_reset", &[("reset_out", "absent"), ("reset_reason", "absent")]),
    ("sock_exceed_buf_limit", &[("mem_refused", "absent")]),
    ("tcp_check_oom", &[("end_reason", "derived")]),
];

#[test]
fn what_is_hidden_costs_one_signal() {
    let _turn = turn();
    let whole = probes("");
    let rank = |fidelity: &str| {
        let order = ["exact", "derived", "sampled", "absent"];
        order.iter().position(|known| *known == fidelity).expect("a fidelity")
    };
    for (hidden, expected) in HIDDEN {
        let now = probes(hidden);
        for (signal, told) in &now {
            let before = whole[signal]["fidelity"].as_str().expect("a fidelity");
            let after = told["fidelity"].as_str().expect("a fidelity");
            let lowered = expected.iter().find(|(name, _)| name == signal).map(|(_, to)| *to);
            let due = lowered.filter(|to| rank(to) > rank(before)).unwrap_or(before);
            assert_eq!(after, due, "{signal} without {hidden}: {told}");
            if lowered.is_none() {
                assert_eq!(told["hook"], whole[signal]["hook"], "{signal} without {hidden}");
            }
        }
        // And it is said, at one of them at least.
        let field = hidden.split_once('.').map_or(hidden, |(_, field)| field);
        let said = expected.iter().any(|(signal, _)| now[*signal].to_string().contains(field));
        assert!(said, "{hidden} is not named: {now:?}");
    }
}

/// Without the fields that tell owners, what is counted is counted all the same.
#[test]
fn without_owners_the_numbers_stay() {
    const CONNECTIONS: u64 = 200;
    let _turn = turn();
    let namespace = Namespace::new();
    let mut command = sockflow(&["top", "--json", "--netns", &namespace.name()]);
    command.env("SOCKFLOW_HIDE", "task_struct.comm,tcp_sock.linger2,proto.sysctl_mem");
    let top = Top::run(command);
    assert_eq!(top.snapshots[0]["fidelity"]["owner"], "absent");
    let count = CONNECTIONS.to_string();
    storm(Some(&namespace), &["--mode", "server-closes", "--connections", &count]);
    let last = top.last();
    assert_complete(&last);
    let server = row(&last, PORT, "in");
    assert_eq!(number(server, "/totals/opened"), CONNECTIONS, "{server}");
    assert_eq!(number(server, "/totals/closed"), CONNECTIONS, "{server}");
    assert_eq!(ends(server), ended("time_wait", CONNECTIONS), "{server}");
    assert!(server["owner"].is_null(), "{server}");
    assert_eq!(last["orphans"]["drift"], 0, "{last}");
}

#[test]
fn without_what_all_need_it_stops_and_names_it() {
    let _turn = turn();
    let mut command = sockflow(&["probes"]);
    command.env("SOCKFLOW_HIDE", "net.ns.inum");
    let done = output(command);
    assert_eq!(done.status.code(), Some(3));
    let talk = String::from_utf8_lossy(&done.stderr);
    assert!(talk.contains("net.ns.inum") && talk.contains("hint:"), "{talk}");
}
