//! A kernel that lacks a field or a hook loses the signal that needs it, and no other, and says so;
//! simulated by hiding what this kernel has.
//!
//! Which hooks a kernel has differs, so what is hidden is compared with the same kernel whole: what
//! `probes` and `top` say of each signal, and what each `top` counts of one small storm that all of
//! them watch.

use crate::support;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::once;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::{
    Namespace, SMALL, Top, assert_complete, emulated, ended, ends, eventually, host_orphans,
    number, output, row, sockflow, storm, turn,
};

/// What is told of each signal.
type Told = BTreeMap<String, Value>;

/// Connections of each kind: the server closes, the server or the client resets, the client resets
/// the orphan that the server left.
const CLOSED: (u16, u64) = (9981, 40);
const RESET: (u16, u64) = (9982, 7);
const CLIENT_RESET: (u16, u64) = (9983, 6);
const ORPHANED: (u16, u64) = (9984, 5);
/// A listener that nobody accepts from: its port, the connections it has room for, and how many more
/// knock. Those that are refused knock again after a second, so the kernel's count is what counts.
const FULL: (u16, u64, u64) = (9985, 2, 3);

/// What is hidden, and which signals may be worth less for it, with their fidelity then. A signal
/// that is as bad already on this kernel stays as it is.
struct Hidden {
    names: Cow<'static, str>,
    costs: Cow<'static, [Cost]>,
}

/// A signal, and what it is worth then.
type Cost = (&'static str, &'static str);

const fn hidden(names: &'static str, costs: &'static [Cost]) -> Hidden {
    Hidden { names: Cow::Borrowed(names), costs: Cow::Borrowed(costs) }
}

fn hiding(names: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = sockflow(arguments);
    command.env("SOCKFLOW_HIDE", names);
    command
}

/// By signal what `sockflow probes` says of it.
fn probes(names: &str) -> Told {
    let done = output(hiding(names, &["probes", "--json"]));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let signals = told["signals"].as_array().expect("signals").clone();
    let name = |signal: &Value| signal["signal"].as_str().expect("a name").to_owned();
    signals.into_iter().map(|signal| (name(&signal), signal)).collect()
}

/// By signal what a snapshot says of it: less than `probes` does.
fn told_by(snapshot: &Value) -> Told {
    let signals = snapshot["fidelity"].as_object().expect("signals");
    signals.iter().map(|(name, told)| (name.clone(), json!({ "fidelity": told }))).collect()
}

/// The last snapshot after the storm of each, with this hidden from it.
fn counted<'a>(hidden: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let before = host_orphans();
    let namespace = Namespace::new();
    let name = namespace.name();
    let watch = [&["top", "--json", "--netns", &name], &SMALL[..]].concat();
    let watch = |names| Top::run(hiding(names, &watch));
    let watching: Vec<Top> = hidden.map(watch).collect();
    let full = full_queue(&namespace);
    let run = |mode: &str, (port, count): (u16, u64), more: &[&str]| {
        let (port, count) = (port.to_string(), count.to_string());
        let arguments = ["--mode", mode, "--port", &port, "--connections", &count];
        storm(Some(&namespace), &[&arguments[..], more].concat());
    };
    run("server-closes", CLOSED, &[]);
    run("reset", RESET, &[]);
    run("client-reset", CLIENT_RESET, &[]);
    run("zero-window", ORPHANED, &["--hold", "100ms", "--release", "reset"]);
    eventually("no orphans", || host_orphans() == before);
    let all: Vec<Value> = watching.into_iter().map(Top::last).collect();
    drop(full);
    for last in &all {
        assert_complete(last);
        assert!(number(last, "/counters/ListenOverflows") >= FULL.2, "{last}");
    }
    all
}

/// The listener and what waits in its queue, when all that knock have been refused and are gone.
fn full_queue(namespace: &Namespace) -> (Socket, Vec<TcpStream>) {
    let (port, room, more) = FULL;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let (listener, queued, knocking) = namespace.inside(|| {
        let listener = socket();
        listener.bind(&to.into()).expect("bind");
        // A queue takes one more than its backlog.
        listener.listen(i32::try_from(room - 1).expect("small")).expect("listen");
        let queued: Vec<_> = (0..room).map(|_| TcpStream::connect(to).expect("connect")).collect();
        let knock = |_| {
            let socket = socket();
            socket.set_nonblocking(true).expect("non-blocking");
            let _ = socket.connect(&to.into());
            socket
        };
        let knocking: Vec<Socket> = (0..more).map(knock).collect();
        (listener, queued, knocking)
    });
    eventually("all were refused", || namespace.tcp_ext("ListenOverflows") >= more);
    drop(knocking);
    (listener, queued)
}

/// The numbers of the storm that rest on each signal: those of every service. How many minisockets
/// are left is not among them: before 5.12 a new connection may take the place of one.
fn numbers(snapshot: &Value) -> Told {
    let rows = snapshot["ports"].as_array().expect("rows");
    let of = |pick: &dyn Fn(&Value) -> Value| -> Value {
        let mut each: Vec<Value> =
            rows.iter().map(|row| json!([row["port"], row["direction"], pick(row)])).collect();
        each.sort_by_key(ToString::to_string);
        each.into()
    };
    let sum = |ends: &Value| -> u64 {
        ends.as_object().expect("ends").values().filter_map(Value::as_u64).sum()
    };
    let listens = |name: &str, counter: &str| {
        let told = &row(snapshot, FULL.0, "in")["listen"][name];
        let told = if told.is_null() {
            Value::Null
        } else {
            (*told == snapshot["counters"][counter]).into()
        };
        json!([[FULL.0, "in", told]])
    };
    let full = ["listen", "established", "fin_wait1", "close_wait", "last_ack", "closing"];
    let signal = |name: &str, numbers: Value| (name.to_owned(), numbers);
    BTreeMap::from([
        signal(
            "state",
            of(&|row| {
                let states: Vec<&Value> = full.iter().map(|state| &row["states"][state]).collect();
                json!([row["totals"]["opened"], row["totals"]["closed"], states])
            }),
        ),
        signal("orphan_begin", of(&|row| row["totals"]["orphaned"].clone())),
        signal("orphan_end", of(&|row| json!([sum(&row["orphan_ends"]), row["orphans"]]))),
        signal("end_reason", of(&|row| json!([row["orphan_ends"], row["orphan_end_details"]]))),
        signal("reset_in", of(&|row| row["totals"]["resets_in"].clone())),
        signal("reset_out", of(&|row| row["totals"]["resets_out"].clone())),
        signal("reset_reason", of(&|row| row["reset_reasons"].clone())),
        signal(
            "time_wait",
            of(&|row| json!([row["totals"]["time_wait"], row["minisockets"]["begun"]])),
        ),
        signal("time_wait_end", of(&|row| row["minisockets"]["killed"].clone())),
        signal("mem_pressure", snapshot["tcp_mem"]["entered"].clone()),
        signal("mem_refused", of(&|row| row["memory_refused"].clone())),
        // Other listeners are gone before they are looked at, or not.
        signal("accept_overflow", listens("overflows", "ListenOverflows")),
        signal("listen_drops", listens("drops", "ListenDrops")),
        signal("owner", of(&|row| row["owner"]["comm"].clone())),
        signal("drift", snapshot["orphans"]["drift"].clone()),
    ])
}

/// The numbers of this kernel whole are those that were asked for.
fn assert_whole(last: &Value) {
    for (port, count) in [CLOSED, RESET, CLIENT_RESET, ORPHANED] {
        for direction in ["in", "out"] {
            let row = row(last, port, direction);
            assert_eq!(number(row, "/totals/opened"), count, "{row}");
            assert_eq!(number(row, "/totals/closed"), count, "{row}");
        }
    }
    let of = |(port, _): (u16, u64), direction| row(last, port, direction);
    assert_eq!(ends(of(CLOSED, "in")), ended("time_wait", CLOSED.1), "{last}");
    assert_eq!(ends(of(ORPHANED, "in")), ended("peer_reset", ORPHANED.1), "{last}");
    assert_eq!(number(of(RESET, "in"), "/totals/resets_out"), RESET.1, "{last}");
    assert_eq!(number(of(RESET, "out"), "/totals/resets_in"), RESET.1, "{last}");
    assert_eq!(number(of(CLIENT_RESET, "in"), "/totals/resets_in"), CLIENT_RESET.1, "{last}");
    assert_eq!(last["orphans"]["drift"], 0, "{last}");
    let known =
        if last["fidelity"]["accept_overflow"] == "exact" { json!(true) } else { json!(null) };
    assert_eq!(numbers(last)["accept_overflow"], json!([[FULL.0, "in", known]]), "{last}");
    assert_eq!(numbers(last)["listen_drops"], json!([[FULL.0, "in", true]]), "{last}");
}

fn rank(fidelity: &str) -> usize {
    let order = ["exact", "derived", "sampled", "absent"];
    order.iter().position(|known| *known == fidelity).expect("a fidelity")
}

fn fidelity<'a>(told: &'a Told, signal: &str) -> &'a str {
    told[signal]["fidelity"].as_str().expect("a fidelity")
}

/// Each of `cases` costs what it says, and nothing else.
fn costs(cases: &[Hidden]) {
    let _turn = turn();
    let all = counted(once("").chain(cases.iter().map(|case| &*case.names)));
    let (whole_last, lasts) = all.split_first().expect("the whole one's");
    assert_whole(whole_last);
    let (whole, whole_numbers) = (told_by(whole_last), numbers(whole_last));
    for (case, last) in cases.iter().zip(lasts) {
        let (names, now) = (&case.names, told_by(last));
        for signal in now.keys() {
            let before = fidelity(&whole, signal);
            assert_eq!(
                fidelity(&now, signal),
                case.due(signal, before),
                "{signal} without {names}"
            );
        }
        for (signal, numbers) in numbers(last) {
            if now.get(&signal) == whole.get(&signal) {
                assert_eq!(numbers, whole_numbers[&signal], "{signal} without {names}: {last}");
            } else if fidelity(&now, &signal) == "absent" && signal != "reset_reason" {
                // What nobody sees is no number.
                let each = numbers.as_array().expect("a row each");
                let known: Vec<&Value> = each.iter().filter(|row| !row[2].is_null()).collect();
                assert_eq!(known, [&Value::Null; 0], "{signal} without {names}");
            }
        }
    }
    // A guest takes seconds to load the programs; what is said does not depend on the kernel.
    if emulated().is_none() {
        let whole = probes("");
        cases.iter().for_each(|case| case.is_said(&whole));
    }
}

impl Hidden {
    fn all_of(cases: &[&Self]) -> Self {
        let names: Vec<&str> = cases.iter().map(|case| &*case.names).collect();
        let costs = cases.iter().flat_map(|case| case.costs.iter().copied()).collect();
        Self { names: names.join(",").into(), costs }
    }

    fn cost(&self, signal: &str) -> Option<&'static str> {
        self.costs.iter().find(|(name, _)| *name == signal).map(|(_, to)| *to)
    }

    /// What a signal is worth without it, of what it was.
    fn due<'a>(&self, signal: &str, before: &'a str) -> &'a str {
        self.cost(signal).filter(|to| rank(to) > rank(before)).unwrap_or(before)
    }

    /// `probes` says it as `top` does: as why a hook is refused or what is not seen, and of no signal
    /// that is not worth less.
    fn is_said(&self, whole: &Told) {
        let Self { names, costs } = self;
        let now = probes(names);
        for (signal, told) in &now {
            let before = fidelity(whole, signal);
            let due = self.due(signal, before);
            assert_eq!(fidelity(&now, signal), due, "{signal} without {names}: {told}");
            if self.cost(signal).is_none() {
                let (hook, blind) = (&whole[signal]["hook"], &whole[signal]["blind"]);
                assert_eq!(&told["hook"], hook, "{signal} without {names}");
                assert_eq!(&told["blind"], blind, "{signal} without {names}");
            }
        }
        for name in names.split(',') {
            let field = name.split_once('.').map_or(name, |(_, field)| field);
            let said = |signal: &str| {
                let told = &now[signal];
                told["refused"].to_string().contains(field)
                    || told["blind"].to_string().contains(field)
            };
            assert!(costs.iter().any(|(signal, _)| said(signal)), "{name} is not named: {now:?}");
        }
    }
}

const WHY_ORPHANS_END: &[Hidden] = &[
    hidden("tcp_sock.linger2", &[("end_reason", "derived")]),
    hidden("tcp_sock.snd_una", &[("end_reason", "derived")]),
    hidden("sock.sk_err", &[("end_reason", "derived")]),
    hidden("tcp_check_oom", &[("end_reason", "derived")]),
];

const THAT_ORPHANS_BEGIN: &[Hidden] = &[
    hidden("sock.sk_lingertime", &[("orphan_begin", "derived"), ("owner", "derived")]),
    // There is a rung below it that is as good.
    hidden("tcp_close", &[("orphan_begin", "exact"), ("owner", "exact")]),
    hidden("task_struct.comm", &[("owner", "absent")]),
];

const MINISOCKETS: &[Hidden] = &[
    hidden(
        "inet_timewait_sock.tw_substate",
        &[("time_wait", "derived"), ("time_wait_end", "absent")],
    ),
    hidden("inet_twsk_alloc", &[("time_wait", "derived"), ("time_wait_end", "absent")]),
    hidden("inet_twsk_deschedule_put", &[("time_wait_end", "absent")]),
];

const RESETS: &[Hidden] = &[
    // That it was a reset that ended an orphan the socket says as well.
    hidden("tcp_receive_reset", &[("reset_in", "absent")]),
    hidden("tcp_send_reset", &[("reset_out", "absent"), ("reset_reason", "absent")]),
];

const MEMORY: &[Hidden] = &[
    hidden("proto.memory_pressure", &[("mem_pressure", "sampled")]),
    hidden("tcp_enter_memory_pressure", &[("mem_pressure", "sampled")]),
    hidden("sock_exceed_buf_limit", &[("mem_refused", "absent")]),
];

const LISTENERS: &[Hidden] = &[
    hidden("tcp_conn_request", &[("accept_overflow", "sampled")]),
    hidden("sock.sk_ack_backlog", &[("accept_overflow", "sampled")]),
];

const SEVERAL: Hidden = hidden(
    "task_struct.group_leader,tcp_sock.write_seq,proto.sysctl_mem,tcp_v6_syn_recv_sock",
    &[("owner", "absent"), ("end_reason", "derived"), ("accept_overflow", "sampled")],
);

#[test]
fn what_tells_why_orphans_end() {
    costs(WHY_ORPHANS_END);
}

#[test]
fn what_tells_that_orphans_begin_and_whose_they_are() {
    costs(THAT_ORPHANS_BEGIN);
}

#[test]
fn what_tells_of_minisockets() {
    costs(MINISOCKETS);
}

#[test]
fn what_tells_of_resets() {
    costs(RESETS);
}

#[test]
fn what_tells_of_memory() {
    costs(MEMORY);
}

#[test]
fn what_tells_of_listeners() {
    costs(LISTENERS);
}

/// All of the above in as few `top`s as there are cases of one kind: the first of each kind
/// together, and so on. What costs one signal must not cost one of another kind; a guest takes
/// seconds for each `top`, so there it is this one alone.
#[test]
fn one_of_each_kind_at_a_time() {
    let kinds = [WHY_ORPHANS_END, THAT_ORPHANS_BEGIN, MINISOCKETS, RESETS, MEMORY, LISTENERS];
    let most = kinds.iter().map(|kind| kind.len()).max().unwrap_or_default();
    let cases: Vec<Hidden> = (0..most)
        .map(|at| {
            let together: Vec<&Hidden> = kinds.iter().filter_map(|kind| kind.get(at)).collect();
            Hidden::all_of(&together)
        })
        .chain([SEVERAL])
        .collect();
    costs(&cases);
}

#[test]
fn several_at_once() {
    costs(&[SEVERAL]);
}

#[test]
fn without_what_all_need_it_stops_and_names_it() {
    let _turn = turn();
    let done = output(hiding("net.ns.inum", &["probes"]));
    assert_eq!(done.status.code(), Some(3));
    let talk = String::from_utf8_lossy(&done.stderr);
    assert!(talk.contains("net.ns.inum") && talk.contains("hint:"), "{talk}");
    for (name, signal) in [("tcp_destroy_sock", "orphan_end"), ("inet_sock_set_state", "state")] {
        let told = &probes(name)[signal];
        assert_eq!(told["fidelity"], "absent", "{told}");
        assert!(told["refused"].to_string().contains(name), "{told}");
        let done = output(hiding(name, &["top", "--json"]));
        let talk = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{talk}");
        assert!(done.stdout.is_empty() && talk.contains(name), "{talk}");
        assert!(talk.contains("`sockflow top --sampled`"), "there is a way on: {talk}");
    }
}
