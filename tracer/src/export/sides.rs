//! Which side of its connection a socket is on, and of which service, from what a trace tells.
//!
//! A socket that is seen to connect or to be accepted says so itself. Of one that stood before
//! recording began, or whose beginning was lost, its ports are held against the services that the
//! totals name: every tracked socket is counted under one, so a socket whose local port is an accepting
//! service's and whose peer's port is no connecting one's is accepted, and the other way round. Where
//! both fit, the owner decides; where that does not either, the side is not known.

use std::collections::{HashMap, HashSet};

use tracer_common::state::TcpState;

use crate::event::{Direction, Event, EventKind, Service, Totals};

/// Sockets remembered from their beginning, at least; at most twice as many.
const REMEMBERED: usize = 1 << 18;
/// Services and owners remembered.
const MOST_SERVICES: usize = 1 << 18;

/// What is known so far. Memory is bounded; what is forgotten is asked of the services.
#[derive(Debug, Default)]
pub struct Sides {
    /// The newest sockets, and those before them.
    young: HashMap<u64, Direction>,
    old: HashMap<u64, Direction>,
    services: HashSet<Service>,
    owned: HashSet<(Service, u32)>,
}

impl Sides {
    /// Takes totals in.
    pub fn totals(&mut self, totals: &Totals) {
        for group in &totals.groups {
            // What found no room is under port 0 and tells nothing.
            if group.service.port == 0 {
                continue;
            }
            self.service(group.service);
            if let Some(owner) = &group.owner
                && self.owned.len() < MOST_SERVICES
            {
                self.owned.insert((group.service, owner.pid));
            }
        }
        for service in totals.minisockets.iter().flatten().map(|(service, _)| *service) {
            self.service(service);
        }
    }

    fn service(&mut self, service: Service) {
        if self.services.len() < MOST_SERVICES {
            self.services.insert(service);
        }
    }

    /// Takes an event in; on which side of its connection its socket is, `None` where that is not
    /// known or it is no connection's.
    pub fn side(&mut self, event: &Event) -> Option<Direction> {
        let seen = match event.kind {
            EventKind::Pressure { .. } => return None,
            EventKind::State { old, new } => match (old, new) {
                (TcpState::SynSent, _) | (_, TcpState::SynSent) => Some(Direction::Out),
                (_, TcpState::Listen) => Some(Direction::In),
                // Of connections that both ends open at once SYN_SENT was seen before.
                (TcpState::Listen | TcpState::SynRecv, _) => {
                    self.known(event.socket).or(Some(Direction::In))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(side) = seen {
            self.remember(event.socket, side);
            return seen;
        }
        self.known(event.socket).or_else(|| self.by_ports(event))
    }

    fn known(&self, socket: u64) -> Option<Direction> {
        self.young.get(&socket).or_else(|| self.old.get(&socket)).copied()
    }

    fn remember(&mut self, socket: u64, side: Direction) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(socket, side);
    }

    fn by_ports(&self, event: &Event) -> Option<Direction> {
        let accepting = Service { port: event.local.1, direction: Direction::In };
        let connecting = Service { port: event.peer.1, direction: Direction::Out };
        let one_of = |accepts: bool, connects: bool| match (accepts, connects) {
            (true, false) => Some(Direction::In),
            (false, true) => Some(Direction::Out),
            _ => None,
        };
        let of = |service| self.services.contains(&service);
        one_of(of(accepting), of(connecting)).or_else(|| {
            let pid = event.owner.as_ref()?.pid;
            let of = |service| self.owned.contains(&(service, pid));
            one_of(of(accepting), of(connecting))
        })
    }
}

/// The port that connections of a side are grouped by: the listening one's.
#[must_use]
pub fn service_port(event: &Event, side: Option<Direction>) -> Option<u16> {
    side.map(|side| match side {
        Direction::In => event.local.1,
        Direction::Out => event.peer.1,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Group, Owner};
    use crate::export::tests::event as made;
    use tracer_common::counters::GroupCounters;

    fn event(kind: EventKind, socket: u64, local: u16, peer: u16, pid: Option<u32>) -> Event {
        Event {
            socket,
            local: ([127, 0, 0, 1].into(), local),
            peer: ([127, 0, 0, 1].into(), peer),
            owner: pid.map(|pid| Arc::new(Owner { pid, comm: "x".into() })),
            ..made(kind)
        }
    }

    fn change(old: TcpState, new: TcpState, socket: u64, local: u16, peer: u16) -> Event {
        event(EventKind::State { old, new }, socket, local, peer, None)
    }

    fn totals(groups: &[(u16, Direction, u32)]) -> Totals {
        let group = |(port, direction, pid): &(u16, Direction, u32)| Group {
            service: Service { port: *port, direction: *direction },
            owner: Some(Owner { pid: *pid, comm: "x".into() }),
            owner_start_ticks: 0,
            cgroup: None,
            workload: None,
            alive: true,
            unchecked: 0,
            counters: GroupCounters::default(),
        };
        Totals { groups: groups.iter().map(group).collect(), ..Totals::default() }
    }

    #[test]
    fn both_ends_of_a_loopback_connection_say_which_they_are() {
        use TcpState::{Close, Established, FinWait1, Listen, SynRecv, SynSent};
        let mut sides = Sides::default();
        let (client, server) = (1, 2);
        for (event, side) in [
            (change(Close, SynSent, client, 0, 8080), Direction::Out),
            (change(Listen, SynRecv, server, 8080, 40_000), Direction::In),
            (change(SynRecv, Established, server, 8080, 40_000), Direction::In),
            (change(SynSent, Established, client, 40_000, 8080), Direction::Out),
            (change(Established, FinWait1, server, 8080, 40_000), Direction::In),
            (change(Established, FinWait1, client, 40_000, 8080), Direction::Out),
            // Both ends opened at once: it was SYN_SENT first.
            (change(Close, SynSent, 3, 0, 9000), Direction::Out),
            (change(SynSent, SynRecv, 3, 9000, 9000), Direction::Out),
            (change(SynRecv, Established, 3, 9000, 9000), Direction::Out),
        ] {
            assert_eq!(sides.side(&event), Some(side), "{event:?}");
            let port = if side == Direction::In { event.local.1 } else { event.peer.1 };
            assert_eq!(service_port(&event, Some(side)), Some(port));
        }
    }

    #[test]
    fn what_stood_before_is_told_by_its_service() {
        let (into, out) = (Direction::In, Direction::Out);
        let mut sides = Sides::default();
        let reset = |local, peer, pid| event(EventKind::ResetIn, 7, local, peer, pid);
        assert_eq!(sides.side(&reset(8080, 40_000, None)), None, "nothing is known yet");
        sides.totals(&totals(&[(8080, into, 1), (443, out, 2), (5432, into, 3), (5432, out, 1)]));
        assert_eq!(sides.side(&reset(8080, 40_000, None)), Some(into));
        assert_eq!(sides.side(&reset(40_000, 443, None)), Some(out));
        assert_eq!(sides.side(&reset(443, 40_000, None)), None, "nobody accepts there");
        // A client with a service's port, towards another service.
        assert_eq!(sides.side(&reset(8080, 5432, None)), None, "either");
        assert_eq!(sides.side(&reset(5432, 5432, Some(3))), Some(into), "its owner accepts");
        assert_eq!(sides.side(&reset(5432, 443, Some(2))), Some(out));
        let pressure = event(EventKind::Pressure { began: true }, 0, 0, 0, None);
        assert_eq!(sides.side(&pressure), None);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_known() {
        use TcpState::{Close, SynSent};
        let mut sides = Sides::default();
        for socket in 0..3 * REMEMBERED as u64 {
            sides.side(&change(Close, SynSent, socket, 0, 80));
        }
        assert!(sides.young.len() + sides.old.len() <= 2 * REMEMBERED);
        let last = 3 * REMEMBERED as u64 - 1;
        assert_eq!(sides.known(last), Some(Direction::Out));
        assert_eq!(sides.known(last - REMEMBERED as u64 + 1), Some(Direction::Out));
        assert_eq!(sides.known(0), None);
    }
}
