//! The filter: which sockets are let through, alike in every command.
//!
//! Live it acts in the kernel ([`Filter::to_kernel`]); for what user space finds by itself
//! (sockets that stood before, minisockets) the same test runs here ([`Filter::passes_socket`]).
//! For what a trace recorded, `recording::narrow` asks the same tests, and
//! [`Filter::beyond_totals`] says what recorded totals cannot answer.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tracer_common::config::{self, FILTER_PORTS};

use crate::workload::{self, Workload};

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
    /// The owner's cgroup2: path, and id on this host. A trace is asked by the path alone; the id
    /// is 0 then.
    pub cgroup: Option<(String, u64)>,
    /// The owner's container, pod or systemd unit, as it was typed. The kernel cannot test it: live,
    /// `recording::narrow` does.
    pub workload: Option<String>,
    /// The network namespace: as typed, and its inode number.
    pub netns: Option<(String, u32)>,
    /// 4 or 6.
    pub family: Option<u8>,
}

/// What recorded numbers mean under a filter that asks for owners.
pub const BY_PORT_ALONE: &str = "A trace counts TIME-WAIT, times in FIN-WAIT-1, reasons of resets, memory of orphans and accept \
     queues by port, not by process: here those are the whole port's.";

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

    /// Whether a listener passes, as far as its address and owner tell: where it listens was asked for
    /// with the namespace.
    #[must_use]
    pub fn passes_listening(&self, local: SocketAddr, owner: Option<(u32, &str)>) -> bool {
        let identity = SocketIdentity {
            local_port: local.port(),
            peer_port: 0,
            peer: local.ip(),
            is_ipv6: local.is_ipv6(),
            netns: self.netns.as_ref().map_or(0, |(_, netns)| *netns),
        };
        self.passes_listener(&identity) && self.passes_process(owner)
    }

    /// Whether a process passes, as far as its id and name tell.
    #[must_use]
    pub fn passes_process(&self, owner: Option<(u32, &str)>) -> bool {
        self.pid.is_none_or(|wanted| owner.is_some_and(|(pid, _)| pid == wanted))
            && self.comm.as_ref().is_none_or(|wanted| owner.is_some_and(|(_, comm)| comm == wanted))
    }

    /// Whether a cgroup2 with this path passes, as far as its workload tells.
    #[must_use]
    pub fn passes_workload_of(&self, path: &str) -> bool {
        let known = || Some(Workload::of_cgroup(path)?.to_string());
        self.workload.is_none() || self.passes_workload(known().as_deref())
    }

    /// Whether a group with this owner passes.
    #[must_use]
    pub fn passes_owner(&self, pid: Option<u32>, comm: &str, cgroup: u64) -> bool {
        self.pid.is_none_or(|wanted| pid == Some(wanted))
            && self.comm.as_ref().is_none_or(|wanted| wanted == comm)
            && self.cgroup.as_ref().is_none_or(|(_, wanted)| *wanted == cgroup)
    }

    /// Whether a process in this workload passes; `None`: it is in none that is known.
    #[must_use]
    pub fn passes_workload(&self, known: Option<&str>) -> bool {
        let Some(wanted) = &self.workload else { return true };
        known.is_some_and(|known| workload::is_meant(known, wanted))
    }

    /// Whether sockets of a service pass, as far as its port and side tell. `port` is the listening
    /// side's: ours where `accepted`, else the peer's. The other side's port is ephemeral and is not
    /// known of a service, so a filter on it lets no service through.
    #[must_use]
    pub fn passes_service(&self, port: u16, accepted: bool) -> bool {
        let (named, other) = if accepted {
            (&self.ports, &self.peer_ports)
        } else {
            (&self.peer_ports, &self.ports)
        };
        (named.is_empty() || named.contains(&port)) && other.is_empty()
    }

    /// The conditions that totals by service and process cannot answer, as they are typed, with the
    /// words of [`Self::conditions`]: they are kept without addresses, families and namespaces, and
    /// know one of a connection's two ports.
    #[must_use]
    pub fn beyond_totals(&self) -> Vec<(&'static str, String)> {
        let mut beyond = Vec::new();
        if !self.ports.is_empty() && !self.peer_ports.is_empty() {
            beyond.push(("--port together with --peer-port", self.peer_port_condition()));
        }
        beyond.extend(self.addr_condition().map(|words| ("--addr", words)));
        beyond.extend(self.netns_condition().map(|words| ("--netns", words)));
        let family = if self.family == Some(6) { "-6" } else { "-4" };
        beyond.extend(self.family_condition().map(|words| (family, words)));
        beyond
    }

    /// Whether it asks whose a socket is.
    #[must_use]
    pub const fn names_owner(&self) -> bool {
        self.pid.is_some() || self.comm.is_some() || self.names_place()
    }

    /// Whether it asks where the owner belongs.
    #[must_use]
    pub const fn names_place(&self) -> bool {
        self.cgroup.is_some() || self.workload.is_some()
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
        self.conditions().join(" and ")
    }

    /// Each condition in words: `port = 9981`.
    #[must_use]
    pub fn conditions(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if !self.ports.is_empty() {
            parts.push(format!("port = {}", list(&self.ports)));
        }
        if !self.peer_ports.is_empty() {
            parts.push(self.peer_port_condition());
        }
        parts.extend(self.addr_condition());
        parts.extend(self.pid.map(|pid| format!("pid = {pid}")));
        parts.extend(self.comm.as_ref().map(|comm| format!("comm = {comm}")));
        parts.extend(self.cgroup.as_ref().map(|(path, _)| format!("cgroup = {path}")));
        parts.extend(self.workload.as_ref().map(|name| format!("workload = {name}")));
        parts.extend(self.netns_condition());
        parts.extend(self.family_condition());
        parts
    }

    fn peer_port_condition(&self) -> String {
        format!("peer port = {}", list(&self.peer_ports))
    }

    fn addr_condition(&self) -> Option<String> {
        self.addr.map(|net| format!("peer in {net}"))
    }

    fn netns_condition(&self) -> Option<String> {
        self.netns.as_ref().map(|(netns, _)| format!("netns = {netns}"))
    }

    fn family_condition(&self) -> Option<String> {
        self.family.map(|family| format!("IPv{family}"))
    }
}

fn list(ports: &[u16]) -> String {
    let mut text = String::new();
    for (index, port) in ports.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{port}", if index == 0 { "" } else { "," });
    }
    text
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
    fn a_service_is_known_by_one_of_its_ports() {
        let of = |ports: &[u16], peer_ports: &[u16]| Filter {
            ports: ports.to_vec(),
            peer_ports: peer_ports.to_vec(),
            ..Filter::default()
        };
        assert!(of(&[80, 443], &[]).passes_service(443, true));
        assert!(!of(&[80, 443], &[]).passes_service(443, false), "443 is the peer's port there");
        assert!(of(&[], &[443]).passes_service(443, false));
        assert!(!of(&[], &[443]).passes_service(443, true));
        assert!(of(&[], &[]).passes_service(0, true));
    }

    #[test]
    fn what_totals_cannot_answer_is_named() {
        let beyond = |filter: Filter| -> Vec<(&'static str, String)> { filter.beyond_totals() };
        let known = Filter { ports: vec![80], pid: Some(7), ..Filter::default() };
        assert_eq!(beyond(known.clone()), []);
        let both = Filter { peer_ports: vec![443], ..known };
        assert_eq!(
            beyond(both),
            [("--port together with --peer-port", "peer port = 443".to_owned())]
        );
        let places = Filter {
            addr: Some("10.0.0.0/8".parse().unwrap()),
            netns: Some(("4026531840".into(), 4_026_531_840)),
            family: Some(6),
            ..Filter::default()
        };
        let words = places.conditions();
        let beyond = beyond(places);
        assert_eq!(beyond.iter().map(|it| it.0).collect::<Vec<_>>(), ["--addr", "--netns", "-6"]);
        assert!(beyond.iter().all(|(_, it)| words.contains(it)), "the words are the same");
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
