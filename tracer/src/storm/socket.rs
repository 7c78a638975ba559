//! Single steps on sockets: listen, accept, wait for the peer's end, abort. What may block is
//! bounded in time, so that a run cannot hang on a packet filter that swallows a segment.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_socket_linger, set_socket_reuseaddr, set_socket_send_buffer_size,
    set_socket_timeout,
};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, accept_with, bind, listen, recv, socket_with,
};

use crate::error::{Failure, Kind};

/// Longest wait for any one step; on loopback each takes microseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// What the kernel cuts to `somaxconn`.
const BACKLOG: i32 = 65_535;

/// Failures by the name of their errno.
pub(super) type Failures = BTreeMap<String, u64>;

/// Counts one failure.
pub(super) fn note(failures: &mut Failures, error: Errno) {
    *failures.entry(errno_name(error)).or_default() += 1;
}

/// A socket of the family of `address`.
pub(super) fn tcp_socket(address: IpAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// The listeners, one a port. Accepted sockets inherit `send_buffer`.
pub(super) fn listeners(
    address: IpAddr,
    ports: &[u16],
    send_buffer: Option<u32>,
) -> anyhow::Result<Vec<OwnedFd>> {
    let open = |port: u16| -> Result<OwnedFd, Errno> {
        let socket = tcp_socket(address)?;
        set_socket_reuseaddr(&socket, true)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        if let Some(bytes) = send_buffer {
            set_socket_send_buffer_size(&socket, bytes as usize)?;
        }
        bind(&socket, &SocketAddr::new(address, port))?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    ports
        .iter()
        .map(|&port| {
            open(port).with_context(|| {
                let what = format!("cannot listen on {}", SocketAddr::new(address, port));
                let hint = format!("see who does: `ss -ltnp sport = :{port}`");
                Failure { kind: Kind::Failed, what, hint: Some(hint) }
            })
        })
        .collect()
}

/// Takes the next connection.
pub(super) fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
            result => return result,
        }
    }
}

/// How the other side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It sent a FIN, and all before it has been read.
    Fin,
    /// It sent a RST.
    Reset,
    /// It has not ended yet.
    Open,
}

/// Reads what has come, into nowhere, without waiting.
pub(super) fn drain(socket: &OwnedFd, scratch: &mut [u8]) -> Result<End, Errno> {
    loop {
        match recv(socket, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Ok(End::Fin),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(End::Open),
            Err(Errno::CONNRESET) => return Ok(End::Reset),
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the other side has ended: this is what puts the two closes in order, however late
/// softirq delivers the first one's FIN.
pub(super) fn wait_end(socket: &OwnedFd) -> Result<End, Errno> {
    let mut scratch = [0u8; 64];
    loop {
        match drain(socket, &mut scratch)? {
            End::Open => wait_for(socket, PollFlags::IN)?,
            end => return Ok(end),
        }
    }
}

/// Waits for an event on one socket, at most [`PATIENCE`].
pub(super) fn wait_for(socket: impl AsFd, events: PollFlags) -> Result<(), Errno> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&socket, events)], Some(&patience)) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Closes with a RST instead of a FIN.
pub(super) fn abort(socket: OwnedFd) -> Result<(), Errno> {
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    drop(socket);
    Ok(())
}

/// The names scripts look for; the number for all others.
fn errno_name(error: Errno) -> String {
    let name = match error {
        Errno::ADDRINUSE => "EADDRINUSE",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::AGAIN => "EAGAIN",
        Errno::CONNABORTED => "ECONNABORTED",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::MFILE => "EMFILE",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::NFILE => "ENFILE",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NOMEM => "ENOMEM",
        Errno::NOTCONN => "ENOTCONN",
        Errno::PERM => "EPERM",
        Errno::PIPE => "EPIPE",
        Errno::PROTO => "EPROTO",
        Errno::TIMEDOUT => "ETIMEDOUT",
        other => return format!("errno {}", other.raw_os_error()),
    };
    name.into()
}
