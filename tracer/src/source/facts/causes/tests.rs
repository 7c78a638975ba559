//! Causes from sockets as dumps show them.

use super::super::super::sock_diag::SocketMemory;
use super::super::tests::entry;
use super::*;
use crate::facts::causes::{HalfOpen, SourcePorts};
use crate::time::Monotonic;

const RANGE: Option<(u16, u16)> = Some((40_000, 40_499));

fn ages() -> Ages {
    Ages::forgetting_after(2)
}

fn at(second: u64) -> Monotonic {
    Monotonic(second * 1_000_000_000)
}

/// A full socket of port 9981, whose number is cookie, peer port, and inode.
fn full(state: TcpState, number: u16) -> Entry {
    let peer = format!("192.0.2.7:{number}");
    let id = u64::from(number);
    Entry { cookie: id, inode: id, ..entry(Kind::Full, state, 9_981, &peer) }
}

fn memory(receive: u32, send: u32, reserve: i32) -> Option<SocketMemory> {
    Some(SocketMemory {
        rmem_alloc: receive,
        wmem_queued: send,
        fwd_alloc: reserve,
        ..SocketMemory::default()
    })
}

/// A tally in namespace 1 with listeners on 0.0.0.0:9981 (inode 1).
fn tally(ages: &mut Ages) -> Tally<'_> {
    let mut tally = Tally::new(ages);
    tally.enter(1, RANGE);
    tally.listener("0.0.0.0:9981".parse().unwrap(), 1, 3, 128);
    tally
}

fn add(tally: &mut Tally<'_>, entry: &Entry) {
    let accepted = tally.is_accepted(entry);
    tally.add(entry, accepted);
}

/// Processes with these pids, none of which is there to be asked for its name.
fn holders(pids: &[u32]) -> Holders {
    let mut holders = Holders::default();
    for pid in pids {
        holders.add(*pid);
    }
    holders
}

/// No process has such a pid.
const NOBODY: u32 = u32::MAX - 1;

fn server() -> ServiceAt {
    ServiceAt { netns: 1, port: 9_981, accepted: true }
}

#[test]
fn orphans_are_told_apart_by_what_they_wait_for() {
    let mut ages = ages();
    let mut look = |second: u64, from: u16| {
        ages.begin(at(second));
        let mut tally = tally(&mut ages);
        for number in from..from + 60 {
            let orphan = Entry { inode: 0, ..full(TcpState::FinWait1, 5_000 + number) };
            let orphan = match number % 3 {
                0 => Entry { timer: Entry::TIMER_PROBE, retransmits: 9, ..orphan },
                1 => Entry { timer: Entry::TIMER_RETRANSMIT, retransmits: 1, ..orphan },
                _ => Entry { timer: Entry::TIMER_RETRANSMIT, retransmits: 0, ..orphan },
            };
            add(&mut tally, &Entry { memory: memory(0, 1_000, 24), ..orphan });
        }
        // Of a connection that we made, to another network.
        let client = Entry {
            inode: 0,
            cookie: 9,
            local: "10.0.0.4:40001".parse().unwrap(),
            peer: "198.51.100.9:443".parse().unwrap(),
            ..full(TcpState::LastAck, 7)
        };
        add(&mut tally, &client);
        tally.seal();
        let causes = tally.finish(&mut holders(&[]));
        ages.end();
        causes
    };
    let first = look(10, 0);
    let part = |count, bytes, oldest_ms| Part { count, bytes, oldest_ms };
    let parts = |oldest| OrphanParts {
        closed_window: part(20, 20 * 1_024, oldest),
        unanswered: part(20, 20 * 1_024, oldest),
        in_flight: part(20, 20 * 1_024, oldest),
    };
    let of_client = OrphanParts { in_flight: part(1, 0, 0), ..OrphanParts::default() };
    let client = ServiceAt { netns: 1, port: 443, accepted: false };
    assert_eq!(first.orphans.services, [(server(), parts(0)), (client, of_client)]);
    let networks: Vec<(String, u64)> =
        first.orphans.peers.iter().map(|(it, parts)| (it.to_string(), parts.count())).collect();
    assert_eq!(networks, [("192.0.2.0".into(), 60), ("198.51.100.0".into(), 1)]);
    assert_eq!((first.orphans.all.count(), first.orphans.all.bytes()), (61, 60 * 1_024));
    assert_eq!(first.memory.unowned.sockets, 61);
    // Five seconds later most of them are still there; the oldest tells.
    let second = look(15, 30);
    assert_eq!(second.orphans.services[0].1, parts(5_000));
}

#[test]
fn close_wait_says_what_was_left_undone() {
    let mut ages = ages();
    ages.begin(at(10));
    ages.of_socket(11, As::CloseWait);
    ages.begin(at(40));
    let mut tally = tally(&mut ages);
    let mut close_wait = |number: u16, inode: u64, rqueue: u32| {
        let memory = memory(768, 0, 256);
        add(&mut tally, &Entry { inode, rqueue, memory, ..full(TcpState::CloseWait, number) });
    };
    close_wait(11, 11, 0);
    close_wait(12, 12, 1);
    close_wait(13, 13, 11);
    close_wait(14, 14, 2);
    // Nobody accepted these: 5 unread bytes, and none.
    close_wait(15, 0, 6);
    close_wait(16, 0, 1);
    // Held by another process, and by one that may not be looked at.
    close_wait(17, 17, 0);
    close_wait(18, 18, 0);
    close_wait(19, 18_000, 0);
    // Neither is one: established, and shut down by us but open.
    add(&mut tally, &full(TcpState::Established, 20));
    add(&mut tally, &full(TcpState::FinWait2, 21));
    tally.seal();
    let mut holders = holders(&[NOBODY, NOBODY + 1]);
    for inode in [11, 12, 13, 14, 20, 21] {
        assert_eq!(tally.claim(inode, 0), Claim::Known);
    }
    // A child holds it as well: the first one has it.
    assert_eq!(tally.claim(11, 1), Claim::Known);
    assert_eq!(tally.claim(17, 1), Claim::Known);
    assert_eq!(tally.claim(18, 1), Claim::Known);
    assert_eq!((tally.claim(1, 0), tally.claim(99, 0)), (Claim::Listener, Claim::Stranger));
    holders.hold(1, 0);
    let causes = tally.finish(&mut holders);
    assert_eq!((causes.close_wait, causes.fin_wait2), (9, 1));
    let part = |count: u64, oldest_ms| Part { count, bytes: count * 1_024, oldest_ms };
    let [first, second, third] = &causes.close_waits[..] else { panic!("{causes:?}") };
    let expected = CloseWait {
        service: server(),
        owner: Some((NOBODY, String::new())),
        never_accepted: part(2, 0),
        unread_data: part(2, 0),
        eof_unread: part(1, 0),
        not_closed: part(1, 30_000),
        unread_bytes: 10 + 1 + 5,
    };
    assert_eq!(*first, expected);
    assert_eq!((first.count(), first.oldest_ms()), (6, 30_000));
    assert_eq!((second.owner.as_ref().map(|it| it.0), second.count()), (Some(NOBODY + 1), 2));
    assert_eq!((&third.owner, third.count()), (&None, 1));
    let [kept] = &causes.fin_wait2s[..] else { panic!("{causes:?}") };
    assert_eq!((kept.service, kept.part.count), (server(), 1));
    assert_eq!(kept.owner.as_ref().map(|it| it.0), Some(NOBODY));
    assert_eq!((causes.memory.unowned.sockets, causes.memory.unknown.sockets), (2, 1));
}

#[test]
fn never_accepted_is_the_listeners_whose_queue_it_must_be_in() {
    let mut ages = ages();
    let queues = [0, 5, 0, 0];
    let owner_of = |ages: &mut Ages, queues: [u32; 4]| {
        ages.begin(at(1));
        let mut tally = Tally::new(ages);
        tally.enter(1, RANGE);
        for (inode, queue) in (1..).zip(queues) {
            tally.listener("0.0.0.0:80".parse().unwrap(), inode, queue, 128);
        }
        let waits = Entry {
            local: "10.0.0.4:80".parse().unwrap(),
            inode: 0,
            rqueue: 1,
            ..full(TcpState::CloseWait, 11)
        };
        add(&mut tally, &waits);
        tally.seal();
        let mut holders = holders(&[NOBODY - 1, NOBODY]);
        holders.hold(1, 0);
        holders.hold(2, 1);
        let oldest = tally.oldest_waits();
        let causes = tally.finish(&mut holders);
        (causes.close_waits[0].owner.as_ref().map(|owner| owner.0), oldest.len())
    };
    assert_eq!(owner_of(&mut ages, queues), (Some(NOBODY), 1));
    assert_eq!(owner_of(&mut ages, [1, 5, 0, 0]), (None, 2), "of two, which?");
}

#[test]
fn the_oldest_that_waits_tells_whether_anybody_accepts() {
    let mut ages = ages();
    let mut look = |second, waiting: std::ops::Range<u16>| {
        ages.begin(at(second));
        let mut tally = tally(&mut ages);
        for number in waiting {
            add(&mut tally, &Entry { inode: 0, ..full(TcpState::Established, number) });
        }
        tally.seal();
        let oldest = tally.oldest_waits().get(&1).copied();
        ages.end();
        oldest
    };
    assert_eq!(look(10, 1..4), Some(0));
    assert_eq!(look(15, 1..9), Some(5_000));
    // All that waited were accepted, new ones came.
    assert_eq!(look(20, 9..30), Some(0));
    assert_eq!(look(25, 0..0), None);
}

#[test]
fn memory_is_summed_by_service_and_by_process() {
    let mut ages = ages();
    ages.begin(at(1));
    let mut tally = tally(&mut ages);
    for number in 1..=10 {
        let send = if number <= 4 { 1 << 20 } else { 0 };
        let established = full(TcpState::Established, 100 + number);
        add(&mut tally, &Entry { memory: memory(4_096, send, 100), ..established });
    }
    let upstream = Entry {
        local: "10.0.0.4:40001".parse().unwrap(),
        peer: "198.51.100.9:5432".parse().unwrap(),
        memory: memory(9 << 20, 0, 0),
        ..full(TcpState::Established, 50)
    };
    add(&mut tally, &upstream);
    // The reserve can be below zero for a moment.
    add(
        &mut tally,
        &Entry { inode: 0, memory: memory(0, 100, -200), ..full(TcpState::FinWait1, 9) },
    );
    tally.seal();
    let holders = &mut holders(&[NOBODY - 1, NOBODY]);
    for inode in 101..=104 {
        tally.claim(inode, 0);
    }
    tally.claim(105, 1);
    tally.claim(50, 1);
    let MemoryHeld { all, services, processes, unowned, unknown } = tally.finish(holders).memory;
    assert_eq!(all.sockets, 12);
    assert_eq!((all.receive, all.send), ((9 << 20) + 40_960, (4 << 20) + 100));
    assert_eq!((unowned.sockets, unowned.charged, unknown.sockets), (1, 0, 5));
    let rows: Vec<(u16, bool, Option<u32>, u64)> = services
        .iter()
        .map(|(it, owner, queues)| {
            (it.port, it.accepted, owner.as_ref().map(|it| it.0), queues.charged)
        })
        .collect();
    let of_server = 10 * 4_196 + (4 << 20);
    let expected =
        [(5_432, false, Some(NOBODY), 9 << 20), (9_981, true, Some(NOBODY - 1), of_server)];
    assert_eq!(rows, expected);
    let rows: Vec<(u32, u64, u64)> =
        processes.iter().map(|(it, queues)| (it.0, queues.sockets, queues.charged)).collect();
    let first = 4 * (4_196 + (1 << 20));
    assert_eq!(rows, [(NOBODY, 2, (9 << 20) + 4_196), (NOBODY - 1, 4, first)]);
    assert_eq!(processes[1].1.reserve(), 400);
}

#[test]
fn half_open_connections_are_counted_by_listening_address() {
    let mut ages = ages();
    ages.begin(at(1));
    let mut tally = Tally::new(&mut ages);
    tally.enter(1, RANGE);
    for inode in 1..=4 {
        tally.listener("0.0.0.0:9981".parse().unwrap(), inode, 0, 128);
    }
    tally.listener("10.0.0.4:80".parse().unwrap(), 5, 0, 16);
    tally.listener("[::]:80".parse().unwrap(), 6, 0, 32);
    let mut requests = |local: &str, count: u16| {
        for number in 0..count {
            let local = local.parse().unwrap();
            let request = full(TcpState::SynRecv, number + 1);
            add(&mut tally, &Entry { kind: Kind::Request, local, inode: 0, ..request });
        }
    };
    requests("10.0.0.4:9981", 100);
    requests("127.0.0.1:9981", 20);
    requests("10.0.0.4:80", 7);
    requests("10.0.0.5:80", 6);
    requests("[2001:db8::1]:80", 1);
    requests("10.0.0.4:81", 2);
    tally.seal();
    let holders = &mut holders(&[NOBODY]);
    holders.hold(3, 0);
    let causes = tally.finish(holders);
    assert_eq!(causes.half_open, 136);
    let rows: Vec<(String, u64, u32, u32)> = causes
        .half_opens
        .iter()
        .map(|it: &HalfOpen| (it.local.unwrap().to_string(), it.requests, it.listeners, it.backlog))
        .collect();
    let row = |local: &str, requests, listeners, backlog| {
        (local.to_owned(), requests, listeners, backlog)
    };
    assert_eq!(
        rows,
        [
            row("0.0.0.0:9981", 120, 4, 128),
            row("10.0.0.4:80", 7, 1, 16),
            row("[::]:80", 7, 1, 32),
            row("10.0.0.4:81", 2, 0, 0),
        ]
    );
    assert_eq!(causes.half_opens[0].owner, Some((NOBODY, String::new())));
}

#[test]
fn early_binders_compete_for_a_port_at_the_source_address() {
    let mut ages = ages();
    ages.begin(at(1));
    let mut tally = Tally::new(&mut ages);
    tally.enter(1, RANGE);
    let mut connect = |kind, local: String, peer: String| {
        let entry = Entry {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            ..entry(kind, TcpState::Established, 0, "0.0.0.0:0")
        };
        add(&mut tally, &entry);
    };
    // 500 ports to ten destinations: full for whoever binds first, 50 of 500 for each destination.
    for port in 0..500 {
        let peer = format!("127.0.0.{}:80", 2 + port % 10);
        let kind = if port < 100 { Kind::Minisocket } else { Kind::Full };
        connect(kind, format!("127.0.0.1:{}", 40_000 + port), peer);
    }
    // The same port to another destination, one outside of the range, and IPv6.
    connect(Kind::Full, "127.0.0.1:40000".into(), "127.0.0.99:80".into());
    connect(Kind::Full, "127.0.0.1:39999".into(), "127.0.0.98:80".into());
    connect(Kind::Full, "[::1]:40499".into(), "[::1]:80".into());
    tally.enter(2, None);
    let elsewhere =
        Entry { local: "127.0.0.1:1024".parse().unwrap(), ..full(TcpState::FinWait2, 9) };
    add(&mut tally, &elsewhere);
    tally.seal();
    let sources = tally.finish(&mut holders(&[])).sources;
    let row = |netns, local: &str, ports, time_wait, destinations, range| SourcePorts {
        netns,
        local: local.parse().unwrap(),
        ports,
        time_wait,
        destinations,
        range,
    };
    assert_eq!(
        sources,
        [
            row(1, "127.0.0.1", 500, 99, 11, (40_000, 40_499)),
            row(1, "::1", 1, 0, 1, (40_000, 40_499)),
            row(2, "127.0.0.1", 1, 0, 1, (1, u16::MAX)),
        ]
    );
}

#[test]
fn whatever_is_counted_the_lists_stay_short() {
    let mut ages = ages();
    ages.begin(at(1));
    let mut tally = Tally::new(&mut ages);
    tally.enter(1, None);
    for number in 1..=60_000_u32 {
        let peer = std::net::Ipv4Addr::from(number << 8);
        let full = Entry {
            local: ([10, 0, (number >> 8) as u8, number as u8], 80).into(),
            peer: (peer, number as u16).into(),
            cookie: u64::from(number),
            inode: u64::from(number % 2),
            ..full(TcpState::FinWait1, 1)
        };
        let request = Entry { kind: Kind::Request, ..full };
        let waits = Entry { state: TcpState::CloseWait, inode: 0, ..full };
        for entry in [full, request, waits] {
            tally.add(&entry, number % 2 == 0);
        }
    }
    assert!(tally.is_whole());
    tally.seal();
    let causes = tally.finish(&mut holders(&[]));
    assert_eq!((causes.half_open, causes.orphans.all.count()), (60_000, 30_000));
    assert_eq!(causes.close_wait, 60_000);
    for len in [
        causes.orphans.services.len(),
        causes.orphans.peers.len(),
        causes.close_waits.len(),
        causes.half_opens.len(),
        causes.sources.len(),
        causes.memory.services.len(),
    ] {
        assert!(len <= MOST_ROWS, "{len}");
    }
}
