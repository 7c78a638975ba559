//! The socket option that tests need and no crate wraps.

#![expect(unsafe_code, reason = "calls into libc")]

use std::os::fd::{AsFd, AsRawFd};

/// `TCP_LINGER2`: how long FIN_WAIT2 is waited for after `close()`, seconds; not at all below 0.
pub(crate) fn set_linger2(socket: impl AsFd, seconds: i32) {
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads exactly the four bytes
    // of `seconds` that the length names.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_LINGER2,
            (&raw const seconds).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
