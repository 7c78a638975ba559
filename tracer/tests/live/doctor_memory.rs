//! `sockflow doctor` on what the whole host runs out of by its sockets: orphans, TCP's memory, UDP's;
//! and the story from end to end.

use crate::support;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};

use serde_json::Value;

use support::doctor::*;
use support::*;

/// Pages of UDP memory of the host.
fn udp_pages() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").expect("sockstat");
    let row = text.lines().find_map(|line| line.strip_prefix("UDP:")).expect("a row UDP");
    row.split_whitespace().last().expect("mem").parse().expect("a number")
}

#[test]
fn udp_memory_that_nobody_reads() {
    let _turn = turn();
    let _keep = Keep::setting("net.ipv4.udp_mem");
    let look = || report(None, &["--watch", "0"]);
    assert_state(&look(), "udp_mem", "ok");
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let sinks: Vec<UdpSocket> = (0..64)
        .map(|_| {
            let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
            let to = sink.local_addr().expect("an address");
            for _ in 0..300 {
                sender.send_to(&[0; 1400], to).expect("send");
            }
            sink
        })
        .collect();
    let pages = udp_pages();
    assert!(pages > 1000, "{pages} pages");
    // The first number is the limit.
    let limit = |pages: u64| {
        write("net.ipv4.udp_mem", &format!("{pages} {} {}", pages * 2, pages * 4));
    };
    limit(pages * 10 / 9);
    assert_state(&look(), "udp_mem", "warn");
    limit(pages);
    let full = look();
    assert_state(&full, "udp_mem", "crit");
    // It is as it says: the next socket gets little.
    let send = || {
        let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        for _ in 0..80 {
            sender.send_to(&[0; 1400], sink.local_addr().expect("an address")).expect("send");
        }
        sink.set_nonblocking(true).expect("nonblocking");
        (0..80).filter(|_| sink.recv(&mut [0; 1400]).is_ok()).count()
    };
    limit(pages / 2);
    let taken = send();
    assert!(taken < 10, "{taken} datagrams in spite of the limit");
    apply(check(&full, "udp_mem"));
    assert_state(&look(), "udp_mem", "ok");
    assert_eq!(send(), 80);
    drop(sinks);
    eventually("less UDP memory", || udp_pages() < pages / 2);
    assert_state(&look(), "udp_mem", "ok");
}

/// Orphans whose clients read nothing.
fn orphans<'a>(count: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let zero_window = ["--mode", "zero-window", "--connections", count, "--port", "9981"];
    [&zero_window[..], more].concat()
}

#[test]
fn orphans_that_grow_towards_their_limit() {
    let _turn = turn();
    let _keep = Keep::setting("net.ipv4.tcp_max_orphans");
    eventually("without orphans", || host_orphans() == 0);
    let mut command = sockflow(&["storm", "--json"]);
    let limit = "net.ipv4.tcp_max_orphans=2000";
    command.args(orphans("600", &["--rate", "50/s", "--hold", "5s", "--sysctl", limit]));
    let storm = Guarded::start(command);
    eventually("an eighth of the limit", || host_orphans() > 250);
    let report = report(None, &[]);
    // Soon full, but not half full, and seen for three seconds only: no emergency yet.
    assert_state(&report, "orphans", "warn");
    let left = report["first_to_run_out"]["in_s"].as_f64().expect("a time");
    let truth = (2000.0 - host_orphans() as f64) / 50.0;
    assert!((left - truth).abs() < 8.0, "{left} for {truth}");
    assert_eq!(report["first_to_run_out"]["check"], "orphans");
    let found = check(&report, "orphans");
    let why = found["why"].as_str().expect("why");
    assert!(why.contains("answer but do not read"), "{found}");
    drop(storm);
    eventually("without orphans", || host_orphans() == 0);
    // Standing, at more than half of the limit.
    let limit = "net.ipv4.tcp_max_orphans=500";
    let standing =
        Standing::start(None, &orphans("300", &["--hold", "60s", "--sysctl", limit]), 300);
    let warned = self::report(None, &[]);
    assert_state(&warned, "orphans", "warn");
    assert_eq!(warned["first_to_run_out"], Value::Null, "they do not grow");
    standing.release();
    eventually("without orphans", || host_orphans() == 0);
    assert_state(&self::report(None, &["--watch", "0"]), "orphans", "ok");
}

#[test]
fn tcp_memory_goes_before_the_orphan_limit() {
    let _turn = turn();
    let _keep = Keep::setting("net.ipv4.tcp_mem");
    eventually("without orphans", || host_orphans() == 0);
    let base = sockstat("/proc/self/net", "mem");
    let setting = |pressure: u64, high: u64| {
        format!("net.ipv4.tcp_mem={} {} {}", base + 1000, base + pressure, base + high)
    };
    let buffers = ["--sndbuf", "131072", "--rcvbuf", "65536"];
    let start = |setting: &str| {
        let mut command = sockflow(&["storm", "--json"]);
        let more = [&buffers[..], &["--rate", "60/s", "--hold", "8s", "--sysctl", setting]];
        command.args(orphans("400", &more.concat()));
        Guarded::start(command)
    };
    let storm = start(&setting(2000, 4000));
    eventually("charged", || sockstat("/proc/self/net", "mem") > base + 2000);
    let out = report(None, &[]);
    drop(storm);
    assert_state(&out, "tcp_mem", "crit");
    assert_eq!(out["first_to_run_out"]["check"], "tcp_mem", "{out}");
    assert_eq!(check(&out, "orphans")["state"], "ok", "{out}");
    eventually("without orphans", || host_orphans() == 0);
    // Pressure alone.
    let setting = setting(1200, 4_000_000);
    let more = [&buffers[..], &["--hold", "60s", "--sysctl", &setting]].concat();
    let standing = Standing::start(None, &orphans("200", &more), 200);
    eventually("under pressure", under_pressure);
    assert_state(&report(None, &["--watch", "1s"]), "tcp_mem", "warn");
    standing.release();
    // The flag falls when a socket next asks for memory.
    storm_once();
    assert_state(&report(None, &["--watch", "0"]), "tcp_mem", "ok");
}

fn storm_once() {
    storm(None, &["--connections", "200", "--port", "9983"]);
}

/// The story end to end: it is reproduced, the doctor names the cause, its advice is followed, and
/// the same storm is survived.
#[test]
fn the_story_before_and_after() {
    let _turn = turn();
    let keep = Keep::setting("net.ipv4.tcp_max_orphans");
    eventually("without orphans", || host_orphans() == 0);
    write("net.ipv4.tcp_max_orphans", "150");
    let run = || -> (Value, Vec<String>, u64) {
        let killed = tcp_ext("TCPAbortOnMemory");
        let mut command = sockflow(&["storm", "--json"]);
        command.args(orphans("400", &["--rate", "100/s", "--hold", "4s"]));
        let mut storm = Guarded::start(command);
        eventually("many", || host_orphans() > 60);
        let mut text = Guarded::start(doctor(&["--fail-on", "never"]));
        let seen = report(None, &[]);
        let (text, ..) = text.end(PATIENCE);
        let (_, status, talk) = storm.end(PATIENCE);
        assert!(status.success(), "{talk}");
        (seen, text, tcp_ext("TCPAbortOnMemory") - killed)
    };
    let (before, text_before, killed_before) = run();
    assert!(killed_before > 50, "the kernel killed {killed_before}");
    assert_state(&before, "orphans", "crit");
    assert_eq!(before["first_to_run_out"]["check"], "orphans");
    eventually("without orphans", || host_orphans() == 0);
    apply(check(&before, "orphans"));
    let (after, text_after, killed_after) = run();
    let side = |report: &Value, killed: u64| {
        let orphans = check(report, "orphans");
        format!(
            "{} of {} orphans, {}, {killed} killed",
            orphans["now"], orphans["limit"], orphans["state"]
        )
    };
    println!("before: {}", side(&before, killed_before));
    println!("after:  {}\n", side(&after, killed_after));
    for (before, after) in text_before.iter().zip(&text_after) {
        println!("{before:<82}| {after}");
    }
    assert_eq!(killed_after, 0, "the second storm is survived");
    assert_ne!(check(&after, "orphans")["in_s"], 0.0, "{}", check(&after, "orphans"));
    drop(keep);
}
