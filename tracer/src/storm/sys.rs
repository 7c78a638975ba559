//! The three system calls storm needs that no crate in the tree wraps safely, and nothing else.

#![expect(unsafe_code, reason = "calls into libc")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{Getter, ioctl};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `SIOCOUTQ`: bytes written that the peer has not acknowledged.
const SIOCOUTQ: u32 = libc::TIOCOUTQ as u32;
/// `SIOCOUTQNSD`: bytes written that have not even been sent; libc does not name it.
const SIOCOUTQNSD: u32 = 0x894b;
/// `IP_LOCAL_PORT_RANGE` (Linux 6.3); libc does not name it.
const IP_LOCAL_PORT_RANGE: i32 = 51;

fn set_ip_option(fd: impl AsFd, name: i32, value: u32) -> Result<(), Errno> {
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads exactly the four bytes
    // of `value` that the length names.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            name,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

/// Lets `bind` fix the address and leaves the port to `connect`, which knows the whole 4-tuple and
/// can therefore share a port between destinations.
pub(super) fn bind_address_no_port(fd: impl AsFd) -> Result<(), Errno> {
    set_ip_option(fd, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Makes `connect` take exactly `port`, without the exclusive claim an explicit `bind` would stake:
/// a bound port left in TIME_WAIT is closed to every other program's `connect` for a minute.
pub(super) fn pin_local_port(fd: impl AsFd, port: u16) -> Result<(), Errno> {
    let port = u32::from(port);
    set_ip_option(fd, IP_LOCAL_PORT_RANGE, port << 16 | port)
}

/// What lies in a socket's send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendQueue {
    /// Bytes the peer has not acknowledged, sent or not.
    pub unacked: u32,
    /// The part of them that has not been sent.
    pub unsent: u32,
}

impl SendQueue {
    /// All that was sent is acknowledged and yet data waits: only the peer's window holds it back.
    pub(super) fn is_blocked_by_window(self) -> bool {
        self.unsent > 0 && self.unsent == self.unacked
    }
}

/// Reads a socket's send queue.
pub(super) fn send_queue(fd: impl AsFd) -> Result<SendQueue, Errno> {
    let fd = fd.as_fd();
    // SAFETY: both requests write one int for any TCP socket, and fail for anything else.
    let (unsent, unacked) = unsafe {
        (
            ioctl(fd, Getter::<SIOCOUTQNSD, libc::c_int>::new())?,
            ioctl(fd, Getter::<SIOCOUTQ, libc::c_int>::new())?,
        )
    };
    Ok(SendQueue {
        unacked: u32::try_from(unacked).unwrap_or(0),
        unsent: u32::try_from(unsent).unwrap_or(0),
    })
}

/// Moves the calling thread, and whatever threads and processes it starts from now on, into a
/// fresh network namespace.
pub(super) fn new_network_namespace() -> Result<(), Errno> {
    // SAFETY: the danger of `unshare` lies in unsharing the descriptor table; NEWNET leaves it
    // alone, and sockets stay in the namespace they were made in.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}
