//! Sockets that another process holds than the one they are counted for: accepted by a worker of the
//! process that listens, or passed on. The kernel says neither when it happens; user space searches
//! /proc from time to time, leaves what it found in `HANDOVERS`, and has this program walk all sockets
//! of a network namespace.
//!
//! Since 5.15 the walk has each socket locked while the program looks at it (`bpf_iter_tcp_seq_show`,
//! net/ipv4/tcp_ipv4.c): its record has one writer, and no change of state comes in between.

use core::ffi::c_void;
use core::ptr::read_volatile;

use tracer_common::abi::{DIRECTION_IN, ServiceKey};
use tracer_common::state::TcpState;

use crate::group;
use crate::maps::HANDOVERS;
use crate::sock::Sock;
use crate::track;

/// `TCP_NEW_SYN_RECV`: a request socket, in the same table.
const REQUEST: u8 = 12;

/// `struct bpf_iter__tcp`: what the walk is about, then the socket (`struct sock_common`), NULL at the
/// end.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn sf_owner(ctx: *const c_void) -> i32 {
    // SAFETY: the context of this kind of program, eight bytes a member.
    let socket = unsafe { read_volatile(ctx.cast::<*const c_void>().add(1)) };
    if socket.is_null() {
        return 0;
    }
    let sock = Sock::new(socket);
    let state = sock.state();
    // Minisockets have the cookie of the socket whose place they took.
    if state == TcpState::TimeWait.number() || state == REQUEST {
        return 0;
    }
    let cookie = sock.cookie();
    if cookie == 0 {
        return 0;
    }
    let Some(found) = HANDOVERS.get_ptr(cookie) else { return 0 };
    // SAFETY: an aligned value from the map; nobody writes it while the walk is on.
    let found = unsafe { *found };
    let Some(record) = track::find(cookie) else { return 0 };
    let before = record.tgid;
    if track::hand_over(record, found) {
        if state == TcpState::Listen.number() {
            let key = ServiceKey {
                netns: record.netns,
                port: record.service_port,
                direction: DIRECTION_IN,
                pad: 0,
            };
            group::listener_changes_hands(key, before, found);
        }
        let _ = HANDOVERS.remove(cookie);
    }
    0
}
