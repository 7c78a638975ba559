//! The dump on real sockets of this kernel.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use proptest::prelude::*;
use rustix::net::sockopt::socket_cookie;

use super::super::gauges::{GaugeReader, Place};
use super::super::testing::{InNetns, eventually};
use super::*;

/// A connection: the client's end and the server's.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Writes until nothing more goes in: both ends' buffers are full, the window is closed.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut refused = 0;
    while refused < 20 {
        if stream.write_all(&[7; 1 << 10]).is_ok() {
            refused = 0;
        } else {
            refused += 1;
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn dump(states: StateMask) -> Vec<Entry> {
    let mut entries = Vec::new();
    let dumped =
        SockDiag::open().unwrap().dump(states, true, |entry| entries.push(*entry)).unwrap();
    assert_eq!(dumped.sockets, entries.len() as u64);
    assert_eq!((dumped.unknown, dumped.interrupted), (0, false));
    entries
}

/// The socket with `cookie`, as soon as it is in `state`.
fn when_in(state: TcpState, cookie: u64) -> Entry {
    eventually(|| dump(StateMask::of(&[state])).into_iter().find(|entry| entry.cookie == cookie))
}

/// Whether the kernel has no room for more minisockets.
fn full_of_minisockets() -> bool {
    let gauges = GaugeReader::open(Place::Own).unwrap().sample();
    gauges.sockets.tw >= gauges.limits.max_tw_buckets
}

/// The inode /proc would show: a socket's own.
fn inode(stream: &TcpStream) -> u64 {
    let file = std::fs::File::from(OwnedFd::from(stream.try_clone().unwrap()));
    file.metadata().unwrap().ino()
}

#[test]
fn a_listener_and_both_ends_of_a_connection() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let (client, server) = pair(&listener);

    let listens = when_in(TcpState::Listen, socket_cookie(&listener).unwrap());
    assert_eq!(listens.local, address);
    assert_eq!(listens.peer, "0.0.0.0:0".parse().unwrap());
    assert_eq!((listens.kind, listens.ipv6), (Kind::Full, false));
    assert_eq!((listens.rqueue, listens.wqueue > 0), (0, true));

    let ours = when_in(TcpState::Established, socket_cookie(&server).unwrap());
    assert_eq!(ours.local, address);
    assert_eq!(ours.peer, client.local_addr().unwrap());
    assert_eq!(ours.inode, inode(&server));
    assert_eq!((ours.kind, ours.shutdown), (Kind::Full, 0));
    assert!(ours.memory.is_some());
    assert!(!ours.is_orphan());

    let theirs = when_in(TcpState::Established, socket_cookie(&client).unwrap());
    assert_eq!((theirs.local, theirs.peer), (ours.peer, ours.local));
    assert_eq!(theirs.inode, inode(&client));
    assert_eq!(theirs.uid, rustix::process::getuid().as_raw());
}

#[test]
fn a_connection_nobody_accepted_is_no_orphan() {
    let listener = listener();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let waiting = eventually(|| {
        dump(StateMask::of(&[TcpState::Established]))
            .into_iter()
            .find(|entry| entry.peer == client.local_addr().unwrap())
    });
    assert_eq!((waiting.kind, waiting.inode), (Kind::Full, 0));
    assert!(!waiting.is_orphan());
}

#[test]
fn unread_bytes_are_the_queues() {
    let (mut client, server) = pair(&listener());
    client.write_all(&[1; 1000]).unwrap();
    let _ = server.peek(&mut [0]).unwrap();
    let ours = when_in(TcpState::Established, socket_cookie(&server).unwrap());
    assert_eq!((ours.rqueue, ours.wqueue), (1000, 0));
    let memory = ours.memory.unwrap();
    assert!(memory.rmem_alloc >= 1000);
    assert!(memory.charged() >= Bytes(u64::from(memory.rmem_alloc)));
}

#[test]
fn close_wait_lasts_since_the_last_acknowledgement() {
    let (client, server) = pair(&listener());
    let cookie = socket_cookie(&server).unwrap();
    drop(client);
    let began = Instant::now();
    let wanted = StateMask::of(&[TcpState::CloseWait]);
    let age = eventually(|| {
        let mut found = None;
        let mut sink = |entry: &Entry| {
            if entry.cookie == cookie {
                found = entry.last_ack_ms;
            }
        };
        SockDiag::open().unwrap().dump_last_acks(wanted, &mut sink).unwrap();
        found.filter(|ms| *ms >= 30)
    });
    // Jiffies are coarse.
    assert!(u128::from(age) <= began.elapsed().as_millis() + 20, "{age} ms");
}

#[test]
fn a_closed_socket_with_a_silent_peer_is_a_minisocket_in_fin_wait2() {
    let (client, server) = pair(&listener());
    let (cookie, local) = (socket_cookie(&server).unwrap(), server.local_addr().unwrap());

    // Shut down but open, it is a full socket.
    server.shutdown(Shutdown::Write).unwrap();
    let full = when_in(TcpState::FinWait2, cookie);
    assert_eq!((full.kind, full.shutdown), (Kind::Full, 2));
    assert_eq!(full.inode, inode(&server));
    assert!(!full.is_orphan());

    drop(server);
    let mini = eventually(|| {
        // Where others have used up the host's minisockets, there are none to be seen.
        if full_of_minisockets() {
            return Some(None);
        }
        dump(StateMask::of(&[TcpState::FinWait2]))
            .into_iter()
            .find(|entry| entry.cookie == cookie && entry.kind != Kind::Full)
            .map(Some)
    });
    let Some(mini) = mini else {
        eprintln!("skipped: tcp_max_tw_buckets is reached");
        return;
    };
    assert_eq!(mini.kind, Kind::Minisocket);
    assert_eq!((mini.local, mini.inode, mini.memory), (local, 0, None));
    assert!(mini.expires_ms > 0);
    assert!(!mini.is_orphan());

    // The peer closes: the same minisocket goes on in TIME_WAIT.
    drop(client);
    let mini = when_in(TcpState::TimeWait, cookie);
    assert_eq!((mini.kind, mini.local), (Kind::Minisocket, local));
    assert!((50_000..=61_000).contains(&mini.expires_ms), "{mini:?}");
    assert_eq!((mini.cgroup_id, mini.shutdown), (None, 0));
}

#[test]
fn an_orphan_with_a_zero_window() {
    let (client, mut server) = pair(&listener());
    let cookie = socket_cookie(&server).unwrap();
    let cgroup = when_in(TcpState::Established, cookie).cgroup_id;
    fill(&mut server);
    drop(server);
    let orphan = when_in(TcpState::FinWait1, cookie);
    assert!(orphan.is_orphan());
    assert_eq!((orphan.kind, orphan.inode, orphan.shutdown), (Kind::Full, 0, 3));
    assert_eq!(orphan.peer, client.local_addr().unwrap());
    assert_eq!(orphan.cgroup_id, cgroup);
    assert!(orphan.wqueue > 0);
    let memory = orphan.memory.unwrap();
    assert!(memory.wmem_queued >= orphan.wqueue);
    assert!(memory.charged() >= Bytes(u64::from(memory.wmem_queued)));
}

#[test]
fn an_orphan_in_last_ack() {
    let (client, mut server) = pair(&listener());
    let cookie = socket_cookie(&server).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    when_in(TcpState::CloseWait, cookie);
    fill(&mut server);
    drop(server);
    assert!(when_in(TcpState::LastAck, cookie).is_orphan());
    drop(client);
}

#[test]
fn charged_memory_is_whole_pages() {
    let page = rustix::param::page_size() as u64;
    let (_client, mut server) = pair(&listener());
    let cookie = socket_cookie(&server).unwrap();
    fill(&mut server);
    // Timers may be moving bytes just now.
    eventually(|| {
        let memory = when_in(TcpState::Established, cookie).memory.unwrap();
        (memory.wmem_queued > 0 && memory.charged().0.is_multiple_of(page)).then_some(())
    });
}

#[test]
fn ipv6_and_ipv4_over_it() {
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        eprintln!("skipped: no IPv6");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let client6 = TcpStream::connect(("::1", port)).unwrap();
    let (server6, _) = listener.accept().unwrap();
    let entry = when_in(TcpState::Established, socket_cookie(&server6).unwrap());
    assert_eq!(entry.local, SocketAddr::new("::1".parse().unwrap(), port));
    assert_eq!(entry.peer.port(), client6.local_addr().unwrap().port());
    assert!(entry.ipv6);

    let client4 = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server4, _) = listener.accept().unwrap();
    let entry = when_in(TcpState::Established, socket_cookie(&server4).unwrap());
    assert_eq!(entry.local, SocketAddr::new("127.0.0.1".parse().unwrap(), port));
    assert_eq!(entry.peer, client4.local_addr().unwrap());
    assert!(entry.ipv6);
    let entry = when_in(TcpState::Established, socket_cookie(&client4).unwrap());
    assert!(!entry.ipv6);
}

#[test]
fn the_kernel_filters_by_state() {
    let listener = listener();
    let (_client, _server) = pair(&listener);
    let entries = dump(StateMask::of(&[TcpState::Listen]));
    assert!(!entries.is_empty());
    assert!(entries.iter().all(|e| e.state == TcpState::Listen));
    assert!(dump(StateMask::default()).is_empty());
    let both = StateMask::of(&[TcpState::Listen]) | StateMask::of(&[TcpState::TimeWait]);
    assert!(both.contains(TcpState::TimeWait) && !both.contains(TcpState::FinWait1));
}

#[test]
fn memory_only_where_asked_for() {
    let (_client, _server) = pair(&listener());
    let mut diag = SockDiag::open().unwrap();
    diag.dump(StateMask::ALL, false, |entry| {
        assert_eq!(entry.memory, None);
    })
    .unwrap();
    // The same socket serves again.
    let mut with = 0;
    diag.dump(StateMask::ALL, true, |entry| {
        assert_eq!(entry.memory.is_some(), entry.kind == Kind::Full);
        with += u32::from(entry.memory.is_some());
    })
    .unwrap();
    assert!(with >= 2);
}

#[test]
fn another_namespace() {
    let Some(other) = InNetns::start() else {
        return;
    };
    let _listener = listener();
    let mut diag = SockDiag::open_in(Path::new(&other.path())).unwrap();
    let dumped = diag.dump(StateMask::ALL, true, |_| {}).unwrap();
    assert_eq!(dumped, Dumped::default());
    assert!(SockDiag::open_in(Path::new("/proc/self/ns/uts")).is_err());
}

#[test]
fn what_the_kernel_refuses_is_an_error_with_its_number() {
    let mut diag = SockDiag::open().unwrap();
    let mut dumped = Dumped::default();
    let family = AddressFamily::from_raw(200);
    let what = Wanted { protocol: wire::TCP, family, states: StateMask::ALL, extensions: 0 };
    let error = diag.dump_family(what, &mut dumped, &mut |_| {}).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::INVAL.raw_os_error()));
    // And it goes on.
    let _listener = listener();
    let dumped = diag.dump(StateMask::ALL, false, |_| {}).unwrap();
    assert!(dumped.sockets > 0);
}

/// A message as the kernel writes it.
fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(7u32.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A socket's message body with these attributes.
fn socket(state: u8, timer: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![2, state, timer, 6];
    bytes.extend(9981u16.to_be_bytes());
    bytes.extend(40_000u16.to_be_bytes());
    bytes.extend([10, 4, 11, 1]);
    bytes.extend([0; 12]);
    bytes.extend([192, 0, 2, 7]);
    bytes.extend([0; 12]);
    for word in [0, 0x1234_5678, 0x9, 60_000, 1, 2, 1000, 4242u32] {
        bytes.extend(word.to_ne_bytes());
    }
    for (kind, value) in attributes {
        bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[test]
fn every_field_of_a_socket() {
    let numbers: Vec<u8> = (1..=9u32).flat_map(u32::to_ne_bytes).collect();
    let info: Vec<u8> = [[0; 56].as_slice(), &0x0403_0201u32.to_ne_bytes(), &[9; 40]].concat();
    let body = socket(
        4,
        1,
        &[(8, &[3]), (2, &info), (15, &[1, 2, 3, 4, 5]), (7, &numbers), (21, &77u64.to_ne_bytes())],
    );
    let entry = wire::entry(&body).unwrap();
    let memory = SocketMemory {
        rmem_alloc: 1,
        rcvbuf: 2,
        wmem_alloc: 3,
        sndbuf: 4,
        fwd_alloc: 5,
        wmem_queued: 6,
        optmem: 7,
        backlog: 8,
        drops: 9,
    };
    assert_eq!(
        entry,
        Entry {
            ipv6: false,
            kind: Kind::Full,
            state: TcpState::FinWait1,
            local: "10.4.11.1:9981".parse().unwrap(),
            peer: "192.0.2.7:40000".parse().unwrap(),
            inode: 4242,
            cookie: 0x9_1234_5678,
            uid: 1000,
            timer: Entry::TIMER_RETRANSMIT,
            retransmits: 6,
            expires_ms: 60_000,
            rqueue: 1,
            wqueue: 2,
            shutdown: 3,
            cgroup_id: Some(77),
            memory: Some(memory),
            last_ack_ms: Some(0x0403_0201),
        }
    );
    assert_eq!(memory.charged(), Bytes(1 + 6 + 5));
    let below = SocketMemory { fwd_alloc: -100, ..memory };
    assert_eq!(below.charged(), Bytes(0));
}

#[test]
fn what_is_not_a_full_socket() {
    let kind = |state, timer| wire::entry(&socket(state, timer, &[])).unwrap().kind;
    assert_eq!(kind(3, 1), Kind::Request);
    assert_eq!(kind(5, 3), Kind::Minisocket);
    assert_eq!(kind(6, 3), Kind::Minisocket);
    // Bound but not connected, shown by 6.8 and later when asked for.
    assert_eq!(wire::entry(&socket(13, 0, &[])), None);
    assert_eq!(wire::entry(&socket(1, 0, &[])[..71]), None);
}

#[test]
fn errors_and_inconsistency_are_decoded() {
    let answer = [
        message(20, 0x12, &socket(1, 0, &[])),
        message(2, 0, &(-105i32).to_ne_bytes()),
        message(3, 2, &(-4i32).to_ne_bytes()),
        message(3, 2, &0i32.to_ne_bytes()),
        message(3, 2, &[]),
        message(2, 0, &0i32.to_ne_bytes()),
    ]
    .concat();
    let messages: Vec<_> = wire::messages(&answer).map(Result::unwrap).collect();
    assert!(messages[0].interrupted && !messages[1].interrupted);
    assert!(matches!(messages[0].body, wire::Body::Socket(body) if body.len() == 72));
    let errno = |at: usize| match &messages[at].body {
        wire::Body::Failed(error) => error.raw_os_error(),
        _ => None,
    };
    assert_eq!((errno(1), errno(2)), (Some(105), Some(4)));
    assert!(matches!(messages[3].body, wire::Body::Done));
    assert!(matches!(messages[4].body, wire::Body::Done));
    assert!(matches!(messages[5].body, wire::Body::Other));
    assert!(messages.iter().all(|message| message.sequence == 7));
}

proptest! {
    #[test]
    fn any_answer_is_survived(answer: Vec<u8>) {
        for message in wire::messages(&answer) {
            if let Ok(wire::Message { body: wire::Body::Socket(body), .. }) = message {
                let _ = wire::entry(body);
            }
        }
        let _ = wire::entry(&answer);
    }

    #[test]
    fn any_attributes_are_survived(tail: Vec<u8>, state: u8, timer: u8) {
        let mut body = socket(state, timer, &[]);
        body.extend(tail);
        let _ = wire::entry(&body);
    }

    #[test]
    fn a_cut_answer_is_a_prefix_and_an_error(at in 0usize..300) {
        let one = message(20, 2, &socket(1, 0, &[(8, &[0])]));
        let answer = [one.clone(), one.clone(), one.clone()].concat();
        let at = at.min(answer.len());
        let read: Vec<_> = wire::messages(&answer[..at]).collect();
        let whole = at / one.len();
        prop_assert_eq!(read.iter().filter(|message| message.is_ok()).count(), whole);
        prop_assert_eq!(read.len(), whole + usize::from(at % one.len() > 0));
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_dump() {
    // As many connections as descriptors allow (`ulimit -n 220000` for 200,000 sockets).
    let mut open = Vec::new();
    for _ in 0..11 {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        open.extend((0..9_000).map_while(|_| {
            let client = TcpStream::connect(address).ok()?;
            Some((client, listener.accept().ok()?))
        }));
    }
    let mut diag = SockDiag::open().unwrap();
    for (what, states, with_memory) in [
        ("all, with memory", StateMask::ALL, true),
        ("all", StateMask::ALL, false),
        ("established, with memory", StateMask::of(&[TcpState::Established]), true),
        ("orphans, with memory", StateMask::ORPHANS, true),
    ] {
        for _ in 0..3 {
            let start = Instant::now();
            let mut bytes = 0;
            let dumped = diag
                .dump(states, with_memory, |entry| {
                    bytes += entry.memory.map_or(0, |memory| memory.charged().0);
                })
                .unwrap();
            println!("{what}: {} sockets in {:?}", dumped.sockets, start.elapsed());
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_decoding() {
    let body = socket(4, 1, &[(8, &[3]), (21, &[7; 8]), (22, &[0; 4]), (7, &[1; 36])]);
    let answer = message(20, 2, &body).repeat(200);
    let start = Instant::now();
    let mut sum = 0;
    for _ in 0..1_000 {
        for message in wire::messages(std::hint::black_box(&answer)) {
            if let wire::Body::Socket(body) = message.unwrap().body {
                sum += wire::entry(body).unwrap().inode;
            }
        }
    }
    println!("200,000 sockets in {:?} ({sum})", start.elapsed());
}
