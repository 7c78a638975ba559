//! Faults of servers and clients, one a mode: sockets that somebody keeps in a state in which they do
//! no good. Each leaves what a tracer must find the cause of, and lets go of it in the end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, bind, connect, recv,
    send, shutdown, socket_with,
};

use super::control::{Control, Ended};
use super::held::Held;
use super::pace::Pacer;
use super::plan::{Mode, Plan, room_for_sockets};
use super::report::announce;
use super::route::Route;
use super::short::{HOPELESS, Tally, pair};
use super::socket::{self, Failures, abort, accept, note, tcp_socket, wait_end, wait_for};

/// What a client says before it goes away.
const REQUEST: &[u8] = b"GET /slow\n";
/// A datagram: a DNS query is about that long.
const DATAGRAM: [u8; 64] = [b'.'; 64];
/// Destinations that early-bind connects to in turn: 127.0.0.2 and the following.
const DESTINATIONS: u8 = 10;

/// Both ends of a connection, as far as somebody keeps them.
type Ends = (Option<OwnedFd>, Option<OwnedFd>);

/// Builds them up, lets them stand, lets go.
pub(super) fn run(plan: &Plan, control: &Control) -> anyhow::Result<Held> {
    // Too few descriptors are a fault as well, and counted: EMFILE.
    room_for_sockets(2 * plan.connections);
    let mut fault = Fault::open(plan)?;
    let mut pacer = Pacer::new(plan.rate(), 1);
    let mut failed = Failures::new();
    let mut kept: Vec<Ends> = Vec::with_capacity(plan.connections as usize);
    let (mut ended, mut in_a_row) = (None, 0);
    for index in 0..plan.connections {
        ended = control.sleep(pacer.turn(Instant::now()));
        if ended.is_some() {
            break;
        }
        match fault.one(plan, control) {
            Ok(ends) => {
                kept.push(ends);
                in_a_row = 0;
            }
            Err(error) => {
                note(&mut failed, error);
                in_a_row += 1;
            }
        }
        control.done.store(index + 1, Ordering::Relaxed);
        if in_a_row >= HOPELESS && plan.mode != Mode::EarlyBind {
            break;
        }
    }
    let (stood, opened) = (kept.len() as u64, Instant::now());
    announce(stood);
    let told = ended.or_else(|| control.sleep(plan.hold()));
    drop(kept);
    let complete = stood + failed.values().sum::<u64>() == plan.connections;
    let ended = match told {
        _ if complete => Ended::Complete,
        Some(ended) => ended,
        None => Ended::Failing,
    };
    let tally = Tally { completed: stood, failed, ended };
    Ok(Held { tally, stood, holders: Vec::new(), opened })
}

/// Who listens, and where the clients come from.
struct Fault {
    listeners: Vec<OwnedFd>,
    route: Route,
    /// The next of early-bind's destinations.
    turn: u8,
    /// UDP: who does not read, and who sends to it.
    datagrams: Option<(OwnedFd, OwnedFd)>,
    payload: Vec<u8>,
}

impl Fault {
    fn open(plan: &Plan) -> anyhow::Result<Self> {
        let listeners = match plan.mode {
            Mode::UdpUnread => Vec::new(),
            Mode::EarlyBind => (0..DESTINATIONS)
                .map(|turn| socket::listeners(destination(turn), &plan.ports[..1], None))
                .collect::<anyhow::Result<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect(),
            _ => socket::listeners(plan.address, &plan.ports, None)?,
        };
        if plan.mode == Mode::HoldMemory {
            for listener in &listeners {
                set_socket_recv_buffer_size(listener, plan.recv_buffer as usize)?;
            }
        }
        let datagrams = match plan.mode {
            Mode::UdpUnread => Some(datagrams(plan)?),
            _ => None,
        };
        let route = Route::new(plan, plan.first, 1);
        let payload = vec![b'.'; plan.send_buffer as usize];
        Ok(Self { listeners, route, turn: 0, datagrams, payload })
    }

    fn one(&mut self, plan: &Plan, control: &Control) -> Result<Ends, Errno> {
        match plan.mode {
            Mode::NeverAccept => {
                let (client, _) = self.route.connect(control)?;
                say(&client)?;
                Ok((None, None))
            }
            Mode::EarlyBind => self.bound_early(plan),
            Mode::UdpUnread => {
                if let Some((_, sender)) = &self.datagrams {
                    send(sender, &DATAGRAM, SendFlags::NOSIGNAL)?;
                }
                Ok((None, None))
            }
            mode => {
                let (client, server) = pair(&mut self.route, &self.listeners, control)?;
                self.spoil(mode, client, server, plan)
            }
        }
    }

    /// Makes of a connection what the mode says.
    fn spoil(
        &self,
        mode: Mode,
        client: OwnedFd,
        server: OwnedFd,
        plan: &Plan,
    ) -> Result<Ends, Errno> {
        match mode {
            Mode::UnreadData => {
                say(&client)?;
                drop(client);
                wait_for(&server, PollFlags::RDHUP)?;
                Ok((None, Some(server)))
            }
            Mode::EofUnread => {
                say(&client)?;
                let mut request = [0u8; REQUEST.len()];
                recv(&server, &mut request, RecvFlags::WAITALL)?;
                drop(client);
                wait_for(&server, PollFlags::RDHUP)?;
                Ok((None, Some(server)))
            }
            Mode::FinWait2 => {
                shutdown(&client, Shutdown::Write)?;
                wait_for(&server, PollFlags::RDHUP)?;
                Ok((Some(client), Some(server)))
            }
            Mode::ClosedFds => {
                abort(client)?;
                wait_for(&server, PollFlags::HUP)?;
                Ok((None, Some(server)))
            }
            Mode::HoldMemory => {
                set_socket_send_buffer_size(&client, plan.send_buffer as usize)?;
                super::zero_window::fill(&client, &self.payload)?;
                Ok((Some(client), Some(server)))
            }
            // The server has read all, the end too, and does not close.
            _ => {
                say(&client)?;
                drop(client);
                wait_end(&server)?;
                Ok((None, Some(server)))
            }
        }
    }

    /// A port taken before it is known where to connect to is taken for every destination: the source
    /// address has each of its ports once.
    fn bound_early(&mut self, plan: &Plan) -> Result<Ends, Errno> {
        let turn = self.turn;
        self.turn = (turn + 1) % DESTINATIONS;
        let client = tcp_socket(plan.address)?;
        bind(&client, &SocketAddr::new(plan.address, 0))?;
        connect(&client, &SocketAddr::new(destination(turn), plan.ports[0]))?;
        let server = accept(&self.listeners[usize::from(turn)])?;
        Ok((Some(client), Some(server)))
    }
}

fn say(client: &OwnedFd) -> Result<(), Errno> {
    send(client, REQUEST, SendFlags::NOSIGNAL).map(drop)
}

const fn destination(turn: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + turn))
}

fn datagrams(plan: &Plan) -> Result<(OwnedFd, OwnedFd), Errno> {
    let family = if plan.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open = || socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let (server, client) = (open()?, open()?);
    set_socket_recv_buffer_size(&server, plan.recv_buffer as usize)?;
    let at = SocketAddr::new(plan.address, plan.ports[0]);
    bind(&server, &at)?;
    connect(&client, &at)?;
    Ok((server, client))
}
