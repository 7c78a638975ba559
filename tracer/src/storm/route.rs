//! The client's end of each connection: which source address and port it comes from.
//!
//! A connection is named by its 4-tuple, and whoever closes first keeps that name in TIME_WAIT for
//! a minute. Storm therefore walks through names in order and uses each once before any twice: N
//! connections leave N names behind, as long as there are that many. IPv4 has 253 source addresses
//! (127.0.0.2 to 127.0.0.254) times the ephemeral range, IPv6 one address; each listener multiplies
//! that. The kernel's own choice of a port would be at random, and slow: it prefers one parity and,
//! with that used up, tries thousands of ports a connection.
//!
//! When the walk comes round to a name still in TIME_WAIT on the client's side, the kernel takes it
//! over once it is a second old (`tcp_tw_reuse`, on for loopback by default); before that storm
//! passes over it, and at last waits. A TIME_WAIT on the server's side never refuses: the SYN's
//! sequence number is newer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_timeout, socket_error,
};
use rustix::net::{bind, connect};

use super::control::Control;
use super::plan::{Mode, Plan};
use super::socket::{PATIENCE, tcp_socket, wait_for};
use super::sys;

/// 127.0.0.2 to 127.0.0.254.
const SOURCES: u64 = 253;
/// How long to wait for a name to come out of TIME_WAIT: twice what it takes on kernels that
/// count that age in whole seconds.
const EXHAUSTED: Duration = Duration::from_secs(4);
/// Busy names passed over before pausing.
const PASS_OVER: u32 = 256;

/// Makes the client sockets of one worker.
pub(super) struct Route {
    address: IpAddr,
    targets: Vec<SocketAddr>,
    recv_buffer: Option<u32>,
    /// Ports to walk; empty where the kernel cannot be told which to take.
    ports: Vec<u16>,
    /// The next name's number, and the distance to the one after it.
    at: u64,
    stride: u64,
}

impl Route {
    /// Walks from name `first` on and takes every `stride`th: walkers side by side never meet
    /// before the names are used up.
    pub(super) fn new(plan: &Plan, first: u64, stride: u64) -> Self {
        let target = |&port: &u16| SocketAddr::new(plan.address, port);
        Self {
            address: plan.address,
            targets: plan.ports.iter().map(target).collect(),
            recv_buffer: (plan.mode == Mode::ZeroWindow).then_some(plan.recv_buffer),
            ports: ephemeral_ports(&plan.ports),
            at: first,
            stride,
        }
    }

    /// A connected client, and the number of the listener it is connected to.
    pub(super) fn connect(&mut self, control: &Control) -> Result<(OwnedFd, usize), Errno> {
        let target = (self.at % self.targets.len() as u64) as usize;
        let mut passed = 0u32;
        let mut since = None;
        loop {
            match self.attempt(self.at, self.targets[target]) {
                Err(Errno::ADDRNOTAVAIL) => {
                    let since = *since.get_or_insert_with(Instant::now);
                    if since.elapsed() > EXHAUSTED || control.ended().is_some() {
                        return Err(Errno::ADDRNOTAVAIL);
                    }
                    passed += 1;
                    if passed.is_multiple_of(PASS_OVER) || self.ports.is_empty() {
                        control.sleep(Duration::from_millis(1));
                    }
                    // The next name of the same listener, so that they stay evenly used.
                    self.at += self.stride * self.targets.len() as u64;
                }
                // Before Linux 6.3 the kernel chooses, slower but no less right.
                Err(Errno::NOPROTOOPT) if !self.ports.is_empty() => self.ports.clear(),
                result => {
                    self.at += self.stride;
                    return result.map(|socket| (socket, target));
                }
            }
        }
    }

    fn attempt(&self, name: u64, target: SocketAddr) -> Result<OwnedFd, Errno> {
        let socket = tcp_socket(self.address)?;
        // Bounds connect(), which would otherwise retry a swallowed SYN for two minutes.
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        if let Some(bytes) = self.recv_buffer {
            // Before connect(), or the window offered in the handshake would be the default one.
            set_socket_recv_buffer_size(&socket, bytes as usize)?;
        }
        let mut name = name / self.targets.len() as u64;
        if self.address.is_ipv4() {
            let source = Ipv4Addr::new(127, 0, 0, 2 + (name % SOURCES) as u8);
            name /= SOURCES;
            sys::bind_address_no_port(&socket)?;
            bind(&socket, &SocketAddr::new(source.into(), 0))?;
        }
        if !self.ports.is_empty() {
            let port = self.ports[(name % self.ports.len() as u64) as usize];
            sys::pin_local_port(&socket, port)?;
        }
        match connect(&socket, &target) {
            Ok(()) => Ok(socket),
            // Interrupted, it goes on in the background.
            Err(Errno::INTR) => {
                wait_for(&socket, PollFlags::OUT)?;
                socket_error(&socket)??;
                Ok(socket)
            }
            Err(Errno::INPROGRESS) => Err(Errno::TIMEDOUT),
            Err(error) => Err(error),
        }
    }
}

/// A name to begin with. Not always the first: runs in a row would each begin with the names that
/// the one before left in TIME_WAIT a moment ago.
#[must_use]
pub fn any_first(listeners: usize) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let steps = clock.map_or(0, |since| u64::from(since.subsec_micros()));
    steps * listeners as u64 * SOURCES
}

/// The ephemeral range of this thread's network namespace, without the ports listened on.
pub(super) fn ephemeral_ports(listening: &[u16]) -> Vec<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let mut bounds = text
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse::<u16>().ok());
    let (low, high) = match (bounds.next(), bounds.next()) {
        (Some(low), Some(high)) if low > 0 && low < high => (low, high),
        _ => (32_768, 60_999),
    };
    (low..=high).filter(|p| !listening.contains(p)).collect()
}
