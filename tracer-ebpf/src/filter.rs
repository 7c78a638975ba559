//! Which sockets are let through: decided once, when a socket is first seen.
//!
//! What belongs to the socket is tested here; what belongs to its owner, when the owner's group
//! is made ([`owner_passes`]), so that neither costs anything per event.

use tracer_common::config::FILTER_PORTS;

use crate::config::config;
use crate::sock::Sock;
use crate::task::Process;

/// Whether the filter lets the socket through.
///
/// `local_port` may be 0 in SYN_SENT, when `connect()` has not chosen one yet: with a filter on
/// local ports such a socket joins when it is established.
#[inline(always)]
pub(crate) fn socket_passes(sock: Sock, local_port: u16, peer_port: u16, netns: u32) -> bool {
    if !listener_passes(sock, local_port, netns) {
        return false;
    }
    if config!(filter.peer_ports_len) != 0
        && !any_port(&raw const crate::config::CONFIG.filter.peer_ports, peer_port)
    {
        return false;
    }
    if config!(filter.addr_on) != 0 {
        let peer = sock.peer_as_ipv6();
        let addr = config!(filter.addr);
        let mask = config!(filter.addr_mask);
        let mut word = 0;
        while word < 4 {
            if (peer[word] ^ addr[word]) & mask[word] != 0 {
                return false;
            }
            word += 1;
        }
    }
    true
}

/// Whether the filter lets sockets through that this listener accepts, as far as it can tell: a
/// listener has no peer yet, those will have.
#[inline(always)]
pub(crate) fn listener_passes(sock: Sock, local_port: u16, netns: u32) -> bool {
    if config!(filter.ports_len) != 0
        && !any_port(&raw const crate::config::CONFIG.filter.ports, local_port)
    {
        return false;
    }
    if config!(filter.netns) != 0 && config!(filter.netns) != netns {
        return false;
    }
    config!(filter.family) == 0 || (config!(filter.family) == 6) == sock.is_ipv6()
}

/// Unused places hold 0, which no socket that is asked about has.
#[inline(always)]
fn any_port(ports: *const [u16; FILTER_PORTS], port: u16) -> bool {
    let mut index = 0;
    while index < FILTER_PORTS {
        // SAFETY: within the array of the read-only configuration.
        let candidate = crate::config::read(unsafe { ports.cast::<u16>().add(index) });
        if candidate != 0 && candidate == port {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether the filter lets a group with this owner through (`None`: unknown).
#[inline(always)]
pub(crate) fn owner_passes(tgid: u32, process: Option<Process>) -> bool {
    if config!(filter.tgid) != 0 && config!(filter.tgid) != tgid {
        return false;
    }
    if config!(filter.comm_on) != 0 {
        let wanted = config!(filter.comm);
        let Some(process) = process else { return false };
        let mut comm = [0; 16];
        process.read_comm(&mut comm);
        let mut index = 0;
        while index < 16 {
            if comm[index] != wanted[index] {
                return false;
            }
            if comm[index] == 0 {
                break;
            }
            index += 1;
        }
    }
    if config!(filter.cgroup) != 0 {
        let Some(process) = process else { return false };
        if process.cgroup() != config!(filter.cgroup) {
            return false;
        }
    }
    true
}
