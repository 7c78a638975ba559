//! Orphans on demand: counted one by one as the kernel does, owned by a process that is gone, with
//! the memory they hold, and with the reason why each ended.

use crate::support;

use serde_json::Value;
use support::{
    Namespace, PORT, Standing, Top, assert_balanced, assert_complete, emulated, ended, ends,
    host_orphans, number, row, turn,
};

/// In a guest, making them takes longer than anything that is done with them.
fn count() -> u64 {
    if emulated().is_some() { 100 } else { 500 }
}

/// What `ss` says of the orphans in FIN_WAIT1: how many, and the memory charged for them.
fn by_ss(namespace: &Namespace) -> (u64, u64) {
    let lines = namespace.ss(&["-tanmO", "state", "fin-wait-1", "sport", "=", ":9981"]);
    let memory = |line: &String| -> u64 {
        let (_, skmem) = line.split_once("skmem:(").expect("skmem");
        let (skmem, _) = skmem.split_once(')').expect("its end");
        // Receive queue, send queue and reserve; the others are limits or shares of those.
        skmem
            .split(',')
            .filter_map(|part| {
                let at = part.find(|c: char| c.is_ascii_digit())?;
                let (name, value) = part.split_at(at);
                matches!(name, "r" | "w" | "f").then(|| value.parse::<u64>().expect("bytes"))
            })
            .sum()
    };
    (lines.len() as u64, lines.iter().map(memory).sum())
}

/// Orphans by their peers, as of the last dump.
fn orphans_at_peers(row: &Value) -> u64 {
    let peers = row["orphan_peers"].as_array().expect("orphan_peers");
    peers.iter().map(|peer| number(peer, "/orphans")).sum()
}

/// Many orphans stand, with everything known about them; then their clients let go.
fn orphans_are_followed(arguments: &[&str], reason: &str, server_stays: bool) -> Value {
    let _turn = turn();
    let namespace = Namespace::new();
    let name = namespace.name();
    let before = host_orphans();
    let mut top = Top::start(&["--netns", &name, "--interval", "200ms"]);
    let orphans = count();
    let number_of = orphans.to_string();
    let standard = ["--mode", "zero-window", "--connections", &number_of, "--hold", "60s"];
    let standing = Standing::start(Some(&namespace), &[&standard, arguments].concat(), orphans);
    assert_eq!(host_orphans(), before + orphans);
    let (seen, memory) = by_ss(&namespace);
    assert_eq!(seen, orphans);

    // A dump may be a few seconds apart from the last one.
    let snapshot = top.until("all orphans with their memory", |snapshot| {
        number(snapshot, "/orphans/tracked") == orphans
            && number(snapshot, "/orphans/bytes").abs_diff(memory) <= memory / 10
            && orphans_at_peers(row(snapshot, PORT, "in")) == orphans
            && snapshot["processes"][0]["alive"] == server_stays
    });
    assert_eq!(number(&snapshot, "/orphans/host"), before + orphans, "{snapshot}");
    assert_eq!(snapshot["orphans"]["drift"], 0, "{snapshot}");
    let by_state = &snapshot["orphans"]["by_state"];
    assert_eq!(number(by_state, "/fin_wait1"), orphans, "{snapshot}");
    for state in ["last_ack", "closing", "fin_wait2"] {
        assert_eq!(by_state[state], 0, "{state} in {snapshot}");
    }
    let server = row(&snapshot, PORT, "in");
    assert_eq!(number(server, "/orphans"), orphans, "{server}");
    assert_eq!(number(server, "/totals/orphaned"), orphans, "{server}");
    assert_eq!(number(server, "/states/fin_wait1"), orphans, "{server}");
    assert_eq!(ends(server), [], "{server}");
    assert!(number(server, "/orphan_bytes").abs_diff(memory) <= memory / 10, "{memory}: {server}");
    assert_eq!(server["orphan_peers"][0]["network"], "127.0.0.0/24", "{server}");
    assert_balanced(server);

    let report = standing.release();
    assert_eq!(number(&report, "/orphans/left"), orphans, "{report}");
    assert_eq!(number(&report, "/orphans/killed"), 0, "{report}");
    assert_eq!(number(&report, "/completed"), orphans, "{report}");
    assert_eq!(server["owner"], report["server"], "{server}");
    let process = &snapshot["processes"][0];
    assert_eq!(process["pid"], report["server"]["pid"], "{process}");
    assert_eq!(process["comm"], report["server"]["comm"], "{process}");
    assert_eq!(number(process, "/orphans"), orphans, "{process}");

    top.until("all orphans ended", |snapshot| number(snapshot, "/orphans/tracked") == 0);
    let last = top.last_at_rest(&namespace);
    let server = row(&last, PORT, "in");
    assert_eq!(ends(server), ended(reason, orphans), "{server}");
    assert_eq!(number(server, "/totals/opened"), orphans, "{server}");
    assert_eq!(number(server, "/totals/closed"), orphans, "{server}");
    assert_eq!(number(server, "/orphan_bytes"), 0, "{server}");
    assert_eq!(server["orphan_peers"].as_array().map(Vec::len), Some(0), "{server}");
    assert_eq!(host_orphans(), before);
    assert_eq!(number(&last, "/orphans/killed"), 0, "{last}");
    assert_complete(&last);
    last
}

#[test]
fn orphans_outlive_their_server_and_are_reset() {
    let last = orphans_are_followed(&["--exit-server", "--release", "reset"], "peer_reset", false);
    let server = row(&last, PORT, "in");
    assert_eq!(number(server, "/totals/resets_in"), count(), "{server}");
    assert_eq!(number(server, "/states/time_wait"), 0, "{server}");
}

#[test]
fn orphans_are_read_to_their_end() {
    let last = orphans_are_followed(&["--exit-server", "--release", "read"], "time_wait", false);
    let server = row(&last, PORT, "in");
    assert_eq!(number(server, "/totals/time_wait"), count(), "{server}");
    assert_eq!(number(server, "/states/time_wait"), count(), "{server}");
}

#[test]
fn orphans_of_a_server_that_stays() {
    orphans_are_followed(&["--release", "reset"], "peer_reset", true);
}
