//! The record of a socket: found, made, brought from group to group.

use core::mem::MaybeUninit;

use aya_log_ebpf::warn;
use tracer_common::abi::{
    CONTROL_MERGING, CONTROL_MINISOCKETS, DIRECTION_IN, DIRECTION_OUT, FLAG_DESTROYED, FLAG_OPENED,
    FLAG_ORPHAN, FLAG_STANDING, GROUP_OTHER, GROUP_OUTSIDE, Handover, MERGED, MERGING, NOT_MERGED,
    SockRecord,
};
use tracer_common::counters::{Counter, Loss, moved_word};
use tracer_common::lifecycle::{SOCK_DEAD, is_accepted, is_close_transition};
use tracer_common::state::TcpState;

use crate::config::config;
use crate::filter::{listener_passes, socket_passes};
use crate::group;
use crate::maps::{CONTROL, SOCKETS};
use crate::sock::Sock;
use crate::task::{Process, current_tgid};
use crate::totals::{NOEXIST, Totals, lose};

/// The socket's record, if it has one and is not a tombstone.
#[inline(always)]
pub(crate) fn find(id: u64) -> Option<&'static mut SockRecord> {
    let record = SOCKETS.get_ptr_mut(id)?;
    // SAFETY: a value of the map. The kernel holds the socket's lock wherever state changes, so
    // its record has one writer at a time (but for `closer`, which the close hook alone writes).
    let record = unsafe { &mut *record };
    if record.flags & FLAG_DESTROYED != 0 { None } else { Some(record) }
}

/// The record of a socket with this cookie (0: none), and the key it has it under.
///
/// A socket may have got its cookie (from anybody who asked the kernel for it) after it got a
/// record under its address, so both are tried where there are such records at all.
#[inline(always)]
pub(crate) fn find_sock(sock: Sock, cookie: u64) -> Option<(u64, &'static mut SockRecord)> {
    if cookie != 0
        && let Some(record) = find(cookie)
    {
        return Some((cookie, record));
    }
    if config!(by_address) != 0 {
        let address = sock.address();
        if let Some(record) = find(address) {
            return Some((address, record));
        }
    }
    None
}

/// The key under which a socket without a record gets one.
#[inline(always)]
pub(crate) fn new_key(sock: Sock, cookie: u64) -> u64 {
    if cookie != 0 {
        cookie
    } else if config!(cookie_helper) != 0 {
        sock.new_cookie()
    } else {
        sock.address()
    }
}

/// Makes an empty record: nothing is counted yet. `None` when there is no room.
#[inline(always)]
pub(crate) fn make(id: u64) -> Option<&'static mut SockRecord> {
    // Zeros, word by word and in place: the compiler would call a `memset` that goes byte by byte, for
    // each new socket and on each path that the verifier walks.
    let mut record = MaybeUninit::<SockRecord>::uninit();
    let words = record.as_mut_ptr().cast::<u64>();
    let mut word = 0;
    while word < size_of::<SockRecord>() / 8 {
        // SAFETY: within the record, which is made of whole words (asserted beside it).
        unsafe { words.add(word).write_volatile(0) };
        word += 1;
    }
    const { assert!(GROUP_OUTSIDE == 0, "nothing is counted for it yet") };
    // SAFETY: all of it is written, and zeros are one of its values.
    let record = unsafe { record.assume_init_ref() };
    // Losing a race is fine: the record is there then.
    let _ = SOCKETS.insert(id, record, NOEXIST);
    find(id)
}

/// A socket begins without a record. Counted here only, so that each counts once.
#[inline(always)]
pub(crate) fn no_room(id: u64) {
    lose(Loss::Untracked);
    warn!((), "no room for socket {}", id);
}

/// Whether user space is still merging what stood before.
#[inline(always)]
pub(crate) fn merging() -> bool {
    merge_state() == MERGING
}

#[inline(always)]
fn merge_state() -> u32 {
    // SAFETY: one word of the map, read as a whole.
    CONTROL.get_ptr(CONTROL_MERGING).map_or(NOT_MERGED, |word| unsafe { *word })
}

/// Whether a hook marks the sockets that minisockets take the place of ([`MARK_MINISOCKET`]).
///
/// [`MARK_MINISOCKET`]: tracer_common::abi::MARK_MINISOCKET
#[inline(always)]
pub(crate) fn minisockets_are_hooked() -> bool {
    // SAFETY: one word of the map, read as a whole.
    CONTROL.get_ptr(CONTROL_MINISOCKETS).is_some_and(|word| unsafe { *word } != 0)
}

/// Removes the record; the kernel destroys the socket. While user space merges, a tombstone stays.
#[inline(always)]
pub(crate) fn forget(id: u64, record: &mut SockRecord) {
    if merging() {
        record.flags = FLAG_DESTROYED;
    } else {
        let _ = SOCKETS.remove(id);
    }
}

/// Leaves a tombstone for a socket that never had a record.
#[inline(always)]
pub(crate) fn bury(id: u64) {
    let record = SockRecord { flags: FLAG_DESTROYED, ..SockRecord::default() };
    let _ = SOCKETS.insert(id, record, NOEXIST);
}

/// Whether a socket without a record needs one at this transition.
///
/// One outside the filter does when it listens (which tells the direction of what it accepts) and,
/// where no hook on `close()` makes the record, when it may become an orphan: the host's orphans
/// are all counted.
#[inline(always)]
pub(crate) fn wanted(sock: Sock, old: TcpState, new: TcpState, netns: u32) -> bool {
    if matches!(new, TcpState::Listen)
        || (config!(close_hook) == 0 && is_close_transition(old, new))
    {
        return true;
    }
    let connects = matches!(new, TcpState::SynSent);
    let local_port = if connects { sock.hashed_port() } else { sock.local_port() };
    socket_passes(sock, local_port, sock.peer_port(), netns)
}

/// Decides group and direction of a socket that begins to listen, to connect, or is accepted; it
/// is born at `time` (0: nobody asks).
#[inline(always)]
pub(crate) fn begin(sock: Sock, record: &mut SockRecord, new: TcpState, netns: u32, time: u64) {
    record.netns = netns;
    let local_port = sock.hashed_port();
    let peer_port = sock.peer_port();
    record.born_ns = time;
    record.fin_wait1_ns = 0;
    record.flags = 0;
    record.marks = 0;
    record.last_state = 0;
    record.state = TcpState::Close.number();
    record.group = GROUP_OUTSIDE;
    record.tgid = 0;
    let passes = socket_passes(sock, local_port, peer_port, netns);
    if matches!(new, TcpState::SynSent) {
        record.direction = DIRECTION_OUT;
        record.service_port = peer_port;
        let process = Process::current();
        if let Some(process) = process {
            record.tgid = process.tgid;
        }
        if passes {
            record.group = group::find_or_make(peer_port, DIRECTION_OUT, process);
        }
        return;
    }
    record.direction = DIRECTION_IN;
    record.service_port = local_port;
    if matches!(new, TcpState::Listen) {
        let process = Process::current();
        record.tgid = match process {
            Some(process) => process.tgid,
            None => 0,
        };
        // A filter on peers keeps the listener out, which has none, and not what it accepts.
        let accepts = if listener_passes(sock, local_port, netns) {
            group::find_or_make(local_port, DIRECTION_IN, process)
        } else {
            GROUP_OUTSIDE
        };
        if passes {
            record.group = accepts;
        }
        // Known even when filtered out: it tells the direction of the sockets it accepts.
        group::listen_begins(netns, local_port, accepts, record.tgid);
    } else if passes {
        (record.group, record.tgid) = group::of_accepted(netns, local_port);
    }
}

/// Decides group and direction of a socket first seen in the middle of its life, and counts what
/// it is.
#[inline(always)]
pub(crate) fn meet(sock: Sock, record: &mut SockRecord, old: TcpState, netns: u32) {
    record.netns = netns;
    let local_port = sock.local_port();
    let peer_port = sock.peer_port();
    record.state = old.number();
    let accepted = matches!(old, TcpState::Listen)
        || group::is_service(netns, local_port)
        || (!group::is_service(netns, peer_port) && is_accepted(local_port, peer_port));
    (record.direction, record.service_port) =
        if accepted { (DIRECTION_IN, local_port) } else { (DIRECTION_OUT, peer_port) };
    // Closed before its first change was seen.
    let orphan = sock.flags() & SOCK_DEAD != 0 && old.is_connection();
    if orphan {
        record.flags |= FLAG_ORPHAN;
    }
    if !socket_passes(sock, local_port, peer_port, netns) {
        if orphan && let Some(outside) = Totals::of(GROUP_OUTSIDE) {
            outside.count(Counter::Orphans);
        }
        return;
    }
    (record.group, record.tgid) = if accepted {
        group::of_accepted(netns, local_port)
    } else {
        (group::find_or_make(peer_port, DIRECTION_OUT, None), 0)
    };
    if let Some(totals) = Totals::of(record.group) {
        if orphan {
            totals.count(Counter::Orphans);
            totals.orphan_enters(old.number());
            if merge_state() == MERGED {
                totals.count(Counter::Orphaned);
            }
        }
        if record.group == GROUP_OUTSIDE {
            return;
        }
        if !matches!(old, TcpState::Close) {
            totals.enter(old.number());
        }
        if old.is_connection() && merge_state() == MERGED {
            // All that stood before are known: this one came since, and the kernel skipped the
            // run that would have told (`lost.missed`).
            record.flags |= FLAG_OPENED;
            totals.count(Counter::Opened);
        } else if old.is_connection() {
            record.flags |= FLAG_STANDING;
            totals.count(Counter::Standing);
        }
    }
}

/// The current process proved to be the owner: takes the socket into its group.
///
/// Call only where [`tracer_common::lifecycle::runs_in_owner_context`] holds, or where the close
/// hook has named the current process.
#[inline(always)]
pub(crate) fn adopt(record: &mut SockRecord) {
    if record.tgid == current_tgid() {
        return;
    }
    let Some(process) = Process::current() else {
        return;
    };
    record.tgid = process.tgid;
    let to = if record.group == GROUP_OUTSIDE || record.group == GROUP_OTHER {
        // Outside by its ports or its former owner. Only an owner filter could let it in now,
        // and then it would be opened in one place and closed in another: it stays outside. So it is
        // with one that found no group: the sums over a service's groups would not agree.
        return;
    } else {
        group::find_or_make(record.service_port, record.direction, Some(process))
    };
    if to == GROUP_OUTSIDE || to == GROUP_OTHER || to == record.group {
        return;
    }
    if let (Some(from), Some(into)) = (Totals::of(record.group), Totals::of(to)) {
        let state = record.state;
        let word = moved(record);
        from.gives(word);
        into.takes(word);
        if state != 0 && state != TcpState::Close.number() {
            from.leave(state);
            into.enter(state);
        }
        if record.flags & FLAG_ORPHAN != 0 {
            from.uncount(Counter::Orphans);
            from.orphan_leaves(state);
            into.count(Counter::Orphans);
            into.orphan_enters(state);
        }
        record.group = to;
    }
}

/// What the socket is counted as in the group that saw it begin. Without a branch, which would double
/// the verifier's paths.
#[inline(always)]
fn moved(record: &SockRecord) -> u64 {
    const { assert!(FLAG_OPENED == 1 << 0 && FLAG_STANDING == 1 << 1, "shifts") };
    let flags = u64::from(record.flags);
    moved_word(flags & 1, flags >> 1 & 1)
}

/// User space found that another process holds the socket, which the caller has locked: takes it from
/// its group into that one's. `false` if it has changed hands or was closed in the meantime.
///
/// A process that the filter leaves out has no group: the socket leaves what is counted, or comes
/// into it as one that is opened now.
#[inline(always)]
pub(crate) fn hand_over(record: &mut SockRecord, to: Handover) -> bool {
    let state = record.state;
    if record.group != to.from
        || record.flags & (FLAG_ORPHAN | FLAG_DESTROYED) != 0
        || state == 0
        || state == TcpState::Close.number()
    {
        return false;
    }
    let word = moved(record);
    if to.from != GROUP_OUTSIDE
        && let Some(from) = Totals::of(to.from)
    {
        from.leave(state);
        from.gives(word);
    }
    if to.to != GROUP_OUTSIDE
        && let Some(into) = Totals::of(to.to)
    {
        into.enter(state);
        if to.from != GROUP_OUTSIDE {
            into.takes(word);
        } else if TcpState::from_number(state).is_some_and(TcpState::is_connection) {
            record.flags |= FLAG_OPENED;
            into.count(Counter::Opened);
        }
    }
    record.group = to.to;
    record.tgid = to.tgid;
    true
}

/// Whether it has been a connection, so that its end counts as `closed`.
#[inline(always)]
pub(crate) fn was_connection(record: &SockRecord) -> bool {
    record.flags & (FLAG_OPENED | FLAG_STANDING) != 0
}
