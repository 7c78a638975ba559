//! Looks at sockets that are made up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::source::sock_diag::SocketMemory;

const NETNS: u32 = 7;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A connection with a descriptor, inode and cookie alike.
fn connection(state: TcpState, local: u16, peer: u16, id: u64) -> Entry {
    Entry {
        ipv6: false,
        kind: Kind::Full,
        state,
        local: at(local),
        peer: at(peer),
        inode: id,
        cookie: id,
        uid: 0,
        timer: 0,
        retransmits: 0,
        expires_ms: 0,
        rqueue: 0,
        wqueue: 0,
        shutdown: 0,
        cgroup_id: Some(3),
        memory: Some(SocketMemory { wmem_queued: 4096, ..SocketMemory::default() }),
        last_ack_ms: None,
    }
}

fn closed(mut entry: Entry, state: TcpState) -> Entry {
    entry.inode = 0;
    entry.state = state;
    entry
}

fn minisocket(mut entry: Entry, state: TcpState) -> Entry {
    entry.kind = Kind::Minisocket;
    closed(entry, state)
}

fn listener(port: u16, id: u64) -> Entry {
    Entry { rqueue: 2, wqueue: 128, ..connection(TcpState::Listen, port, 0, id) }
}

fn holder(pid: u32, comm: &str) -> Arc<Holder> {
    Arc::new(Holder { pid, comm: comm.into(), start_ticks: 9, shared: false })
}

/// What is kept from look to look.
#[derive(Default)]
struct Eye {
    filter: Filter,
    listened: HashSet<(u32, u16)>,
    holders: HashMap<u64, Arc<Holder>>,
    known: HashMap<u64, Known>,
    drops: Drops,
}

impl Eye {
    fn look(&mut self, entries: &[Entry]) -> Drawn {
        let mut look = Look::new(&self.filter, NETNS, std::mem::take(&mut self.listened));
        let (listeners, rest): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| entry.state == TcpState::Listen);
        listeners.into_iter().for_each(|entry| look.listener(NETNS, entry));
        rest.into_iter().for_each(|entry| look.socket(NETNS, entry));
        let drawn = look.draw(&self.holders, &mut self.known, &mut self.drops);
        self.listened.clone_from(&drawn.listened);
        drawn
    }
}

/// Port, direction, owner, sockets in a state.
fn rows(drawn: &Drawn, state: TcpState) -> Vec<(u16, Direction, Option<u32>, u64)> {
    let row = |part: &Part| {
        let pid = part.holder.as_ref().map(|holder| holder.pid);
        (part.service.port, part.service.direction, pid, part.counters.in_state(state))
    };
    drawn.parts.iter().map(row).filter(|row| row.3 > 0).collect()
}

fn orphans(drawn: &Drawn) -> Vec<(u16, Option<u32>, u64)> {
    let row = |part: &Part| {
        let pid = part.holder.as_ref().map(|holder| holder.pid);
        (part.service.port, pid, part.counters.population(Counter::Orphans))
    };
    drawn.parts.iter().map(row).filter(|row| row.2 > 0).collect()
}

const IN: Service = Service { port: 9981, direction: Direction::In };

#[test]
fn sockets_belong_to_a_service_and_to_who_holds_them() {
    use TcpState::{Established, Listen};
    let mut eye = Eye::default();
    eye.holders.extend([(1, holder(10, "server")), (2, holder(10, "server"))]);
    eye.holders.insert(3, holder(20, "client"));
    let queued = closed(connection(Established, 9981, 40_001, 4), Established);
    let drawn = eye.look(&[
        connection(Established, 9981, 40_000, 2),
        connection(Established, 40_000, 9981, 3),
        // Not accepted yet: it waits for who listens.
        queued,
        // Nobody that may be looked at holds it.
        connection(Established, 9981, 40_002, 5),
        listener(9981, 1),
    ]);
    let expected = [
        (9981, Direction::In, None, 1),
        (9981, Direction::In, Some(10), 2),
        (9981, Direction::Out, Some(20), 1),
    ];
    assert_eq!(rows(&drawn, Established), expected);
    assert_eq!(rows(&drawn, Listen), [(9981, Direction::In, Some(10), 1)]);
    let listen = drawn.sample.services[&IN].listen.unwrap();
    assert_eq!((listen.queued, listen.backlog), (2, 128));
    let counted = |part: &Part| {
        let events = [Counter::Opened, Counter::Closed, Counter::Standing, Counter::Orphaned];
        events.iter().any(|counter| part.counters.total(*counter) > 0)
    };
    assert!(!drawn.parts.iter().any(counted), "nothing is counted: {drawn:?}");
}

#[test]
fn an_orphan_is_put_down_to_who_held_it_at_the_look_before() {
    let mut eye = Eye::default();
    eye.holders.insert(2, holder(10, "server"));
    let socket = connection(TcpState::Established, 9981, 40_000, 2);
    eye.look(&[listener(9981, 1), socket]);
    eye.holders.clear();
    let orphan = closed(socket, TcpState::FinWait1);
    let unknown = closed(connection(TcpState::Established, 9981, 40_001, 3), TcpState::LastAck);
    // Its listener is gone as well; it stays what it was for as many looks as it stands.
    for _ in 0..3 {
        let drawn = eye.look(&[orphan, unknown]);
        assert_eq!(orphans(&drawn), [(9981, None, 1), (9981, Some(10), 1)]);
        assert_eq!(rows(&drawn, TcpState::FinWait1), [(9981, Direction::In, Some(10), 1)]);
        let seen = &drawn.sample.services[&IN];
        assert_eq!((seen.orphans, seen.orphan_bytes), (2, 8192));
        assert_eq!(seen.peers.len(), 1);
    }
    eye.look(&[]);
    assert!(eye.known.is_empty(), "what is gone is forgotten");
}

#[test]
fn minisockets_are_counted_by_substate_and_half_open_ones_beside() {
    let mut eye = Eye::default();
    let socket = |id| connection(TcpState::Established, 9981, 40_000, id);
    let request = Entry { kind: Kind::Request, state: TcpState::SynRecv, ..socket(9) };
    let drawn = eye.look(&[
        listener(9981, 1),
        minisocket(socket(2), TcpState::TimeWait),
        minisocket(socket(3), TcpState::TimeWait),
        minisocket(socket(4), TcpState::FinWait2),
        request,
        // Seen twice: it moved while the dump ran.
        socket(5),
        socket(5),
    ]);
    let seen = &drawn.sample.services[&IN];
    assert_eq!((seen.time_wait, seen.fin_wait2_minisockets), (2, 1));
    assert!(drawn.sample.has_time_wait);
    assert_eq!(drawn.sample.fin_wait2_minisockets, 1);
    assert_eq!(rows(&drawn, TcpState::Established), [(9981, Direction::In, None, 1)]);
    assert_eq!(rows(&drawn, TcpState::SynRecv), []);
    assert_eq!(seen.listen.unwrap().half_open, Some(1));
}

#[test]
fn a_connection_stays_accepted_when_its_listener_is_gone() {
    let mut eye = Eye::default();
    // By their ports alone nobody could tell which side accepted.
    let socket = connection(TcpState::Established, 50_000, 40_000, 2);
    eye.look(&[listener(50_000, 1), socket]);
    for _ in 0..2 {
        let drawn = eye.look(&[socket]);
        assert_eq!(rows(&drawn, TcpState::Established), [(50_000, Direction::In, None, 1)]);
    }
    // Another one, after all of the service is gone.
    eye.look(&[]);
    let drawn = eye.look(&[connection(TcpState::Established, 50_000, 443, 3)]);
    assert_eq!(rows(&drawn, TcpState::Established), [(443, Direction::Out, None, 1)]);
}

#[test]
fn what_the_filter_keeps_out_is_not_counted_but_its_orphans_are() {
    let mut eye =
        Eye { filter: Filter { ports: vec![9981], ..Filter::default() }, ..Eye::default() };
    let other = connection(TcpState::Established, 80, 40_000, 5);
    let drawn = eye.look(&[
        listener(9981, 1),
        listener(80, 2),
        connection(TcpState::Established, 9981, 40_000, 3),
        other,
        closed(connection(TcpState::FinWait1, 80, 40_001, 6), TcpState::FinWait1),
        minisocket(other, TcpState::TimeWait),
    ]);
    assert_eq!(rows(&drawn, TcpState::Established), [(9981, Direction::In, None, 1)]);
    assert_eq!(rows(&drawn, TcpState::Listen), [(9981, Direction::In, None, 1)]);
    assert_eq!((orphans(&drawn), drawn.orphans_outside), (vec![], 1));
    assert_eq!(drawn.sample.services.keys().collect::<Vec<_>>(), [&IN]);
}

#[test]
fn a_filter_on_owners_follows_a_socket_after_its_close() {
    let mut eye = Eye { filter: Filter { pid: Some(10), ..Filter::default() }, ..Eye::default() };
    eye.holders.extend([(1, holder(10, "server")), (2, holder(10, "server"))]);
    eye.holders.extend([(3, holder(11, "other")), (4, holder(10, "server"))]);
    let socket = |id| connection(TcpState::Established, 9981, 40_000 + id as u16, id);
    let all = [listener(9981, 1), socket(2), socket(3), socket(4)];
    let drawn = eye.look(&all);
    assert_eq!(rows(&drawn, TcpState::Established), [(9981, Direction::In, Some(10), 2)]);
    let drawn = eye.look(&[
        all[0],
        closed(all[1], TcpState::FinWait1),
        // The other's; then one that was never seen with an owner.
        closed(all[2], TcpState::FinWait1),
        closed(socket(9), TcpState::FinWait1),
        minisocket(all[3], TcpState::TimeWait),
        minisocket(socket(8), TcpState::TimeWait),
    ]);
    assert_eq!(orphans(&drawn), [(9981, Some(10), 1)]);
    assert_eq!(drawn.orphans_outside, 2);
    assert_eq!(drawn.sample.services[&IN].time_wait, 1);
}

#[test]
fn who_waits_for_a_connection_is_not_known_where_several_listen() {
    let mut eye = Eye::default();
    eye.holders.extend([(1, holder(10, "a")), (2, holder(11, "b"))]);
    let queued = closed(connection(TcpState::Established, 9981, 40_000, 3), TcpState::Established);
    let drawn = eye.look(&[listener(9981, 1), listener(9981, 2), queued]);
    assert_eq!(rows(&drawn, TcpState::Established), [(9981, Direction::In, None, 1)]);
    assert_eq!(rows(&drawn, TcpState::Listen).len(), 2);
}

#[test]
fn addresses_are_no_part_of_it() {
    let mut eye = Eye::default();
    let mut socket = connection(TcpState::Established, 9981, 40_000, 2);
    socket.peer = SocketAddr::from((IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), 40_000));
    socket.ipv6 = true;
    let drawn = eye.look(&[listener(9981, 1), socket]);
    assert_eq!(rows(&drawn, TcpState::Established), [(9981, Direction::In, None, 1)]);
}
