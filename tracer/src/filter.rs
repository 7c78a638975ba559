//! The filter: which sockets are let through, alike in every command.
//!
//! Live it acts in the kernel ([`Filter::to_kernel`]); for what user space finds by itself
//! (sockets that stood before, minisockets) the same test runs here ([`Filter::passes_socket`]).

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use tracer_common::config::{self, FILTER_PORTS};

/// What was asked for; an empty field lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Local ports, any of them.
    pub ports: Vec<u16>,
    /// Peer's ports, any of them.
    pub peer_ports: Vec<u16>,
    /// The peer's network.
    pub addr: Option<IpNet>,
    /// The owner's process id.
    pub pid: Option<u32>,
    /// The owner's name.
    pub comm: Option<String>,
    /// The owner's cgroup2: path and id.
    pub cgroup: Option<(String, u64)>,
    /// The network namespace: as typed, and its inode number.
    pub netns: Option<(String, u32)>,
    /// 4 or 6.
    pub family: Option<u8>,
}

/// Ports a filter can name at once.
pub const MAX_PORTS: usize = FILTER_PORTS;
/// Bytes of a process's name that the kernel keeps.
pub const MAX_COMM: usize = 15;

/// What is tested of a socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketIdentity {
    /// Local port.
    pub local_port: u16,
    /// Peer's port.
    pub peer_port: u16,
    /// Peer's address.
    pub peer: IpAddr,
    /// Whether its family is AF_INET6 (an IPv4 peer may be behind it).
    pub is_ipv6: bool,
    /// Network namespace.
    pub netns: u32,
}

impl Filter {
    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the socket passes, its owner aside.
    #[must_use]
    pub fn passes_socket(&self, socket: &SocketIdentity) -> bool {
        let any = |ports: &[u16], port| ports.is_empty() || ports.contains(&port);
        self.passes_listener(socket)
            && any(&self.peer_ports, socket.peer_port)
            && self.addr.is_none_or(|net| net.contains(&socket.peer.to_canonical()))
    }

    /// Whether sockets pass that this listener accepts, as far as it can tell: it has no peer yet,
    /// those will have.
    #[must_use]
    pub fn passes_listener(&self, socket: &SocketIdentity) -> bool {
        (self.ports.is_empty() || self.ports.contains(&socket.local_port))
            && self.netns.as_ref().is_none_or(|(_, netns)| *netns == socket.netns)
            && self.family.is_none_or(|family| (family == 6) == socket.is_ipv6)
    }

    /// Whether a group with this owner passes.
    #[must_use]
    pub fn passes_owner(&self, pid: Option<u32>, comm: &str, cgroup: u64) -> bool {
        self.pid.is_none_or(|wanted| pid == Some(wanted))
            && self.comm.as_ref().is_none_or(|wanted| wanted == comm)
            && self.cgroup.as_ref().is_none_or(|(_, wanted)| *wanted == cgroup)
    }

    /// Whether it asks whose a socket is.
    #[must_use]
    pub const fn names_owner(&self) -> bool {
        self.pid.is_some() || self.comm.is_some() || self.cgroup.is_some()
    }

    /// The filter as the programs take it.
    #[must_use]
    pub fn to_kernel(&self) -> config::Filter {
        let mut out = config::Filter {
            ports_len: self.ports.len() as u32,
            peer_ports_len: self.peer_ports.len() as u32,
            tgid: self.pid.unwrap_or(0),
            netns: self.netns.as_ref().map_or(0, |(_, netns)| *netns),
            cgroup: self.cgroup.as_ref().map_or(0, |(_, id)| *id),
            family: u32::from(self.family.unwrap_or(0)),
            ..config::Filter::default()
        };
        for (place, port) in out.ports.iter_mut().zip(&self.ports) {
            *place = *port;
        }
        for (place, port) in out.peer_ports.iter_mut().zip(&self.peer_ports) {
            *place = *port;
        }
        if let Some(comm) = &self.comm {
            out.comm_on = 1;
            for (place, byte) in out.comm.iter_mut().take(MAX_COMM).zip(comm.bytes()) {
                *place = byte;
            }
        }
        if let Some(net) = self.addr {
            out.addr_on = 1;
            let (addr, mask) = match net {
                IpNet::V4(net) => {
                    let mask = u32::from(net.netmask());
                    (
                        net.network().to_ipv6_mapped().octets(),
                        ((!0_u128 << 32) | u128::from(mask)).to_be_bytes(),
                    )
                }
                IpNet::V6(net) => (net.network().octets(), net.netmask().octets()),
            };
            out.addr = words(addr);
            out.addr_mask = words(mask);
        }
        out
    }

    /// For people: `port = 9981 and pid = 7`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        let list = |ports: &[u16]| {
            let mut text = String::new();
            for (index, port) in ports.iter().enumerate() {
                let _ = write!(text, "{}{port}", if index == 0 { "" } else { "," });
            }
            text
        };
        if !self.ports.is_empty() {
            parts.push(format!("port = {}", list(&self.ports)));
        }
        if !self.peer_ports.is_empty() {
            parts.push(format!("peer port = {}", list(&self.peer_ports)));
        }
        parts.extend(self.addr.map(|net| format!("peer in {net}")));
        parts.extend(self.pid.map(|pid| format!("pid = {pid}")));
        parts.extend(self.comm.as_ref().map(|comm| format!("comm = {comm}")));
        parts.extend(self.cgroup.as_ref().map(|(path, _)| format!("cgroup = {path}")));
        parts.extend(self.netns.as_ref().map(|(netns, _)| format!("netns = {netns}")));
        parts.extend(self.family.map(|family| format!("IPv{family}")));
        parts.join(" and ")
    }
}

/// 16 bytes as four words in the address's own byte order, as the kernel keeps them.
fn words(bytes: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(peer: &str) -> SocketIdentity {
        let peer: IpAddr = peer.parse().unwrap();
        SocketIdentity {
            local_port: 9981,
            peer_port: 40000,
            peer,
            is_ipv6: peer.is_ipv6(),
            netns: 1,
        }
    }

    #[test]
    fn every_field_must_match() {
        let mut filter = Filter { ports: vec![80, 9981], ..Filter::default() };
        assert!(filter.passes_socket(&socket("10.0.0.1")));
        filter.addr = Some("10.0.0.0/8".parse().unwrap());
        assert!(filter.passes_socket(&socket("10.0.0.1")));
        assert!(filter.passes_socket(&socket("::ffff:10.0.0.1")), "IPv4 behind an IPv6 socket");
        assert!(!filter.passes_socket(&socket("11.0.0.1")));
        assert!(!filter.passes_socket(&socket("0.0.0.0")), "a listener has no peer");
        assert!(filter.passes_listener(&socket("0.0.0.0")), "what it accepts may pass");
        filter.family = Some(6);
        assert!(!filter.passes_socket(&socket("10.0.0.1")));
        assert_eq!(filter.describe(), "port = 80,9981 and peer in 10.0.0.0/8 and IPv6");
    }

    #[test]
    fn an_ipv4_network_is_compared_as_mapped() {
        let filter = Filter { addr: Some("10.1.0.0/16".parse().unwrap()), ..Filter::default() };
        let kernel = filter.to_kernel();
        let peer =
            words("10.1.2.3".parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped().octets());
        let other =
            words("10.2.2.3".parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped().octets());
        let matches = |peer: [u32; 4]| {
            (0..4).all(|word| (peer[word] ^ kernel.addr[word]) & kernel.addr_mask[word] == 0)
        };
        assert!(matches(peer));
        assert!(!matches(other));
    }
}
