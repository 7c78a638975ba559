//! A network namespace of storm's own: made by the calling thread, with its loopback up.

use anyhow::{Context, bail};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use super::sys;
use crate::error::Failure;

const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;
/// The first interface of every namespace, and the only one of a new one.
const LOOPBACK_INDEX: i32 = 1;

/// Enters a new namespace; only this thread and what it starts later are inside.
pub(super) fn enter_new() -> anyhow::Result<()> {
    sys::new_network_namespace().context(
        Failure::environment("cannot make a network namespace: it takes CAP_SYS_ADMIN")
            .hint("run it as root: `sudo sockflow storm …`"),
    )?;
    loopback_up().context("cannot bring up the loopback of the new network namespace")
}

/// One `RTM_NEWLINK` over netlink: unlike the interface ioctls it needs no C structures.
fn loopback_up() -> anyhow::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0, which is the default.
        None,
    )?;
    send(&socket, &up_request(), SendFlags::empty())?;
    let mut answer = [0u8; 256];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let kind = answer[4..6].try_into().map(u16::from_ne_bytes)?;
    if length < 20 || kind != NLMSG_ERROR {
        bail!("netlink gave an answer of type {kind} and {length} bytes");
    }
    // An "error" of 0 is the acknowledgement.
    match answer[16..20].try_into().map(i32::from_ne_bytes)? {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(-error).into()),
    }
}

fn up_request() -> [u8; 32] {
    let mut message = [0u8; 32];
    message[0..4].copy_from_slice(&32u32.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message[8..12].copy_from_slice(&1u32.to_ne_bytes());
    // struct ifinfomsg from byte 16 on: family, type, index, flags, mask of flags to change.
    message[20..24].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    message[28..32].copy_from_slice(&IFF_UP.to_ne_bytes());
    message
}
