//! The client's end of each connection: which source address and port it comes from.
//!
//! A connection is named by its 4-tuple, and whoever closes first keeps that name in TIME_WAIT for
//! a minute. Storm therefore spreads: over IPv4 the sources go round 127.0.0.2 to 127.0.0.254, and
//! the kernel picks the port, which gives 253 times the ephemeral range. IPv6 has one loopback
//! address only, so there storm walks the ephemeral range itself, one port after the other: the
//! kernel's own search prefers one parity and, with that used up, tries thousands of ports a
//! connection. When the walk comes round to a name still in TIME_WAIT on the client's side, the
//! kernel takes it over once it is a second old (`tcp_tw_reuse`, on for loopback by default);
//! before that storm waits. A TIME_WAIT on the server's side never refuses: the SYN's sequence
//! number is newer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_timeout, socket_error,
};
use rustix::net::{bind, connect};

use super::control::Control;
use super::socket::{PATIENCE, tcp_socket, wait_for};
use super::sys;

/// 127.0.0.2 to 127.0.0.254.
const SOURCES: u64 = 253;
/// How long to wait for a name to come out of TIME_WAIT: twice what it takes on kernels that
/// count that age in whole seconds.
const EXHAUSTED: Duration = Duration::from_secs(4);
/// Busy names passed over before pausing.
const PASS_OVER: u32 = 64;

/// Makes the client sockets of one worker.
pub(super) struct Route {
    address: IpAddr,
    targets: Vec<SocketAddr>,
    recv_buffer: Option<u32>,
    /// IPv6: ports to walk; empty where the kernel cannot be told which to take.
    ports: Vec<u16>,
    /// Position in that walk, and the distance to this worker's next one.
    at: u64,
    stride: u64,
}

impl Route {
    pub(super) fn new(address: IpAddr, ports: &[u16], recv_buffer: Option<u32>) -> Self {
        Self {
            address,
            targets: ports.iter().map(|&p| SocketAddr::new(address, p)).collect(),
            recv_buffer,
            ports: if address.is_ipv6() {
                ephemeral_ports(ports)
            } else {
                Vec::new()
            },
            at: 0,
            stride: 1,
        }
    }

    /// Starts the walk at `first` and takes every `stride`th port, so that several walkers meet as
    /// seldom as can be.
    pub(super) fn walking(mut self, first: u64, stride: u64) -> Self {
        (self.at, self.stride) = (first, stride);
        self
    }

    /// A client connected to the target of connection number `index`.
    pub(super) fn connect(&mut self, index: u64, control: &Control) -> Result<OwnedFd, Errno> {
        let target = self.targets[(index % self.targets.len() as u64) as usize];
        let mut passed = 0u32;
        let mut since = None;
        loop {
            match self.attempt(index, target) {
                Err(Errno::ADDRNOTAVAIL) => {
                    let since = *since.get_or_insert_with(Instant::now);
                    if since.elapsed() > EXHAUSTED || control.ended().is_some() {
                        return Err(Errno::ADDRNOTAVAIL);
                    }
                    passed += 1;
                    if passed.is_multiple_of(PASS_OVER) || self.ports.is_empty() {
                        control.sleep(Duration::from_millis(2));
                    }
                }
                // Before Linux 6.3 the kernel chooses, slower but no less right.
                Err(Errno::NOPROTOOPT) if !self.ports.is_empty() => self.ports.clear(),
                result => return result,
            }
        }
    }

    fn attempt(&mut self, index: u64, target: SocketAddr) -> Result<OwnedFd, Errno> {
        let socket = tcp_socket(self.address)?;
        // Bounds connect(), which would otherwise retry a swallowed SYN for two minutes.
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        if let Some(bytes) = self.recv_buffer {
            // Before connect(), or the window offered in the handshake would be the default one.
            set_socket_recv_buffer_size(&socket, bytes as usize)?;
        }
        if self.address.is_ipv4() {
            let source = Ipv4Addr::new(127, 0, 0, 2 + (index % SOURCES) as u8);
            sys::bind_address_no_port(&socket)?;
            bind(&socket, &SocketAddr::new(source.into(), 0))?;
        } else if !self.ports.is_empty() {
            let port = self.ports[(self.at % self.ports.len() as u64) as usize];
            self.at += self.stride;
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
