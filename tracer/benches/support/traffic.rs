//! A server in a storm of connections, simulated from a seed: what the codec is measured with.
//!
//! Two CPUs, each busy with its own sockets, their events interleaved by time and slightly out of
//! order. A connection is accepted in the network's context, closed by a worker after some
//! microseconds to a second, and ends in the network's context again, often on another CPU. Nothing
//! is invented for the codec's comfort: lifetimes, round trips, peers, ports and the nanoseconds
//! between events are random.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sockflow::event::{Event, EventKind, Owner};
use sockflow::time::Monotonic;
use tracer_common::counters::{EndDetail, OrphanEnd};
use tracer_common::state::TcpState;

const CPUS: usize = 2;
const PEERS: usize = 40_000;
const CONNECTIONS_PER_SECOND: f64 = 200_000.0;
const NETNS: u32 = 4_026_531_840;

/// An endless iterator of events.
pub(crate) struct Traffic {
    random: Random,
    cpus: [Cpu; CPUS],
    peers: Vec<IpAddr>,
    next_batch: u64,
    listener: Arc<Owner>,
    workers: Vec<Arc<Owner>>,
}

struct Cpu {
    clock: u64,
    /// When the next connection arrives.
    arrival: u64,
    /// What is to be done, the earliest first; by number so that ties have an order.
    tasks: BinaryHeap<Reverse<(u64, u64)>>,
    connections: std::collections::HashMap<u64, Connection>,
    /// The rest of the burst in progress.
    burst: VecDeque<Event>,
    cookies: std::ops::Range<u64>,
}

/// A connection between two bursts.
struct Connection {
    event: Event,
    fate: Fate,
    stage: u8,
    /// Where the network's side of it runs.
    home: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    WeClose,
    PeerCloses,
    PeerResets,
    TimesOut,
}

impl Traffic {
    /// The storm of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let networks: Vec<u32> = (0..600).map(|_| (random.below(223 << 16) << 8) as u32).collect();
        let peers = (0..PEERS).map(|_| peer(&mut random, &networks)).collect();
        let boot = 86_400_000_000_000 + random.below(1_000_000_000);
        let owner = |pid, comm: &str| Arc::new(Owner { pid, comm: comm.to_owned() });
        Self {
            cpus: std::array::from_fn(|_| Cpu {
                clock: boot,
                arrival: boot,
                tasks: BinaryHeap::new(),
                connections: std::collections::HashMap::new(),
                burst: VecDeque::new(),
                cookies: 0..0,
            }),
            peers,
            next_batch: 3_000,
            listener: owner(812, "nginx"),
            workers: (0..4).map(|worker| owner(815 + worker, "nginx")).collect(),
            random,
        }
    }

    /// The next event of `cpu`'s burst, stamped with its time.
    fn emit(&mut self, cpu: usize) -> Option<Event> {
        let mut event = self.cpus[cpu].burst.pop_front()?;
        if matches!(event.kind, EventKind::State { old: TcpState::Close, .. }) {
            // The program that sees a socket first takes the time once, for both.
            return Some(event);
        }
        self.cpus[cpu].clock += 140 + self.random.below(60) + self.random.exponential(180.0);
        // The time is taken a little before the record gets its place in the ring.
        event.at = Monotonic(self.cpus[cpu].clock - self.random.below(120));
        Some(event)
    }

    /// Lets `cpu` begin its next burst: an arrival or the earliest task.
    fn begin_burst(&mut self, cpu: usize) {
        let this = &mut self.cpus[cpu];
        let arrival = this.arrival;
        match this.tasks.peek() {
            Some(&Reverse((due, number))) if due <= arrival => {
                this.tasks.pop();
                this.clock = this.clock.max(due) + 200;
                self.go_on(cpu, number);
            }
            _ => {
                this.clock = this.clock.max(arrival) + 300;
                let mean = 1e9 * CPUS as f64 / CONNECTIONS_PER_SECOND;
                this.arrival = arrival + self.random.exponential(mean);
                self.accept(cpu);
            }
        }
    }

    fn accept(&mut self, cpu: usize) {
        let socket = self.cookie(cpu);
        let popular = self.random.unit() * self.random.unit();
        let peer = self.peers[(popular * PEERS as f64) as usize];
        let outgoing = self.random.below(10) == 0;
        let ephemeral = 32_768 + self.random.below(28_232) as u16;
        let here = match peer {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 10)),
        };
        let backend = Ipv4Addr::new(10, 0, 0, 20 + self.random.below(6) as u8);
        let (local, peer) = if outgoing {
            ((Ipv4Addr::new(10, 0, 0, 10).into(), ephemeral), (backend.into(), 5_432))
        } else {
            ((here, 443), (peer, ephemeral))
        };
        let born = Monotonic(self.cpus[cpu].clock);
        let event = Event {
            at: born,
            kind: EventKind::Close,
            socket,
            local,
            peer,
            owner: Some(Arc::clone(&self.listener)),
            netns: NETNS,
            born: Some(born),
        };
        let through = if outgoing { TcpState::SynSent } else { TcpState::SynRecv };
        let burst = [state(TcpState::Close, through), state(through, TcpState::Established)];
        self.burst(cpu, &event, &burst);
        let fate = match self.random.below(100) {
            0..66 => Fate::WeClose,
            66..95 => Fate::PeerCloses,
            95..98 => Fate::PeerResets,
            _ => Fate::TimesOut,
        };
        let delay = self.random.log_uniform(20e3, 1e9);
        let on = self.random.below(CPUS as u64) as usize;
        self.later(on, delay, Connection { event, fate, stage: 0, home: cpu });
    }

    /// The next burst of a connection.
    fn go_on(&mut self, cpu: usize, number: u64) {
        use TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck};
        let Some(mut connection) = self.cpus[cpu].connections.remove(&number) else { return };
        let stage = (connection.fate, connection.stage);
        let closes = |from, to| [EventKind::Close, state(from, to), orphan_begin(to)];
        if matches!(stage, (Fate::WeClose | Fate::TimesOut, 0) | (Fate::PeerCloses, 1)) {
            let worker = self.random.below(self.workers.len() as u64) as usize;
            connection.event.owner = Some(Arc::clone(&self.workers[worker]));
        }
        let event = connection.event.clone();
        match stage {
            (Fate::WeClose | Fate::TimesOut, 0) => {
                self.burst(cpu, &event, &closes(Established, FinWait1));
            }
            (Fate::WeClose, _) => {
                let end = orphan_end(OrphanEnd::TimeWait);
                let burst =
                    [state(FinWait1, FinWait2), EventKind::TimeWaitBegin { substate: None }];
                self.burst(cpu, &event, &[burst[0], burst[1], state(FinWait2, Close), end]);
            }
            (Fate::PeerCloses, 0) => self.burst(cpu, &event, &[state(Established, CloseWait)]),
            (Fate::PeerCloses, 1) => self.burst(cpu, &event, &closes(CloseWait, LastAck)),
            (Fate::PeerCloses, _) => {
                let end = orphan_end(OrphanEnd::Acked);
                self.burst(cpu, &event, &[state(LastAck, Close), end]);
            }
            (Fate::PeerResets, 0) => {
                self.burst(cpu, &event, &[EventKind::ResetIn, state(Established, Close)]);
            }
            (Fate::PeerResets, _) => self.burst(cpu, &event, &[EventKind::Close]),
            (Fate::TimesOut, _) => {
                let end = orphan_end(OrphanEnd::TimedOut);
                self.burst(cpu, &event, &[state(FinWait1, Close), end]);
            }
        }
        connection.stage += 1;
        let last = if connection.fate == Fate::PeerCloses { 3 } else { 2 };
        if connection.stage < last {
            let (delay, on) = match stage {
                (Fate::TimesOut, _) => (self.random.log_uniform(2e8, 1e9), connection.home),
                (Fate::PeerCloses | Fate::PeerResets, 0) => {
                    let application = self.random.below(CPUS as u64) as usize;
                    (self.random.log_uniform(20e3, 20e6), application)
                }
                _ => (self.random.log_uniform(50e3, 100e6), connection.home),
            };
            self.later(on, delay, connection);
        }
    }

    fn burst(&mut self, cpu: usize, event: &Event, kinds: &[EventKind]) {
        let events = kinds.iter().map(|&kind| Event { kind, ..event.clone() });
        self.cpus[cpu].burst.extend(events);
    }

    fn later(&mut self, cpu: usize, delay: u64, connection: Connection) {
        let number = connection.event.socket;
        self.cpus[cpu].tasks.push(Reverse((self.cpus[cpu].clock + delay, number)));
        self.cpus[cpu].connections.insert(number, connection);
    }

    /// A CPU hands out cookies from a batch of its own.
    fn cookie(&mut self, cpu: usize) -> u64 {
        let next = self.cpus[cpu].cookies.next();
        next.unwrap_or_else(|| {
            let first = self.next_batch * 4_096 + 1;
            self.next_batch += 1;
            self.cpus[cpu].cookies = first + 1..first + 4_096;
            first
        })
    }
}

impl Iterator for Traffic {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let cpu = (0..CPUS).min_by_key(|&cpu| self.ready_at(cpu))?;
            match self.emit(cpu) {
                Some(event) => return Some(event),
                None => self.begin_burst(cpu),
            }
        }
    }
}

impl Traffic {
    /// When `cpu` does its next thing.
    fn ready_at(&self, cpu: usize) -> u64 {
        let this = &self.cpus[cpu];
        if !this.burst.is_empty() {
            return this.clock;
        }
        let due = this.tasks.peek().map_or(u64::MAX, |Reverse((due, _))| *due);
        this.clock.max(due.min(this.arrival))
    }
}

/// A tenth of the peers has IPv6; the others are in some hundred networks.
fn peer(random: &mut Random, networks: &[u32]) -> IpAddr {
    let network = networks[random.below(networks.len() as u64) as usize];
    if random.below(10) == 0 {
        let high = 0x2a00_0000_0000_0000_u64 | u64::from(network) << 24 | random.below(1 << 16);
        return IpAddr::V6((u128::from(high) << 64 | u128::from(random.next())).into());
    }
    IpAddr::V4((network | random.below(256) as u32).into())
}

fn state(old: TcpState, new: TcpState) -> EventKind {
    EventKind::State { old, new }
}

fn orphan_begin(state: TcpState) -> EventKind {
    EventKind::OrphanBegin { state }
}

fn orphan_end(reason: OrphanEnd) -> EventKind {
    EventKind::OrphanEnd { reason, detail: EndDetail::None, cause: None }
}

/// `SplitMix64`: good enough for traffic, and no crate.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 up to, not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        (-mean * (1.0 - self.unit()).ln()) as u64
    }

    fn log_uniform(&mut self, least: f64, most: f64) -> u64 {
        (least * (most / least).powf(self.unit())) as u64
    }
}
