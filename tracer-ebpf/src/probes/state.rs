//! State changes: `inet_sock_set_state`, the one tracepoint every TCP socket passes.
//!
//! It fires before the state is stored (`inet_sk_state_store`, `net/ipv4/af_inet.c`), and for a
//! `close()` after `shutdown()` with the old state as the new one.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_common::abi::{
    EventKind, FLAG_OPENED, FLAG_ORPHAN, FLAG_RESET_IN, FLAG_STANDING, GROUP_OTHER, GROUP_OUTSIDE,
    MARK_FIN_WAIT2, MARK_MINISOCKET, MARK_TIME_WAIT, SockRecord,
};
use tracer_common::counters::{Counter, Loss};
use tracer_common::lifecycle::{
    CloseCalled, SHUTDOWN_BOTH, SOCK_DEAD, SOCK_LINGER, begins_orphan, begins_time_wait,
    is_close_transition, runs_in_owner_context,
};
use tracer_common::state::TcpState;

use crate::config::config;
use crate::emit::{self, emit};
use crate::group;
use crate::sock::Sock;
use crate::task::{current_is_exiting, current_tgid};
use crate::totals::{Totals, lose};
use crate::track;
use crate::twin::{self, Program};

const IPPROTO_TCP: u16 = 6;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn sf_state(ctx: BtfTracePointContext) -> i32 {
    if let Some((sock, old, new)) = change(&ctx) {
        twin::first(Program::State, || changed(sock, old, new));
    }
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn sf_state_twin(ctx: BtfTracePointContext) -> i32 {
    twin::second(Program::State, || {
        if let Some((sock, old, new)) = change(&ctx) {
            changed(sock, old, new);
        }
    });
    0
}

/// The socket that changes, its old state and its new one.
#[inline(always)]
fn change(ctx: &BtfTracePointContext) -> Option<(Sock, TcpState, TcpState)> {
    let sock = Sock::new(ctx.arg::<*const core::ffi::c_void>(0));
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    // MPTCP's own sockets pass here too, beside the TCP sockets that carry them.
    if sock.protocol() != IPPROTO_TCP {
        return None;
    }
    Some((sock, TcpState::from_number(old as u8)?, TcpState::from_number(new as u8)?))
}

/// How the program knows that `close()` was called on this socket.
#[inline(always)]
fn close_called(record: Option<&SockRecord>) -> CloseCalled {
    match record {
        _ if config!(close_hook) == 0 => CloseCalled::Unknown,
        Some(record) if record.closer != 0 => CloseCalled::Yes,
        // The hook on close may not have been there yet when this socket was closed.
        _ if track::merging() => CloseCalled::Unknown,
        _ => CloseCalled::No,
    }
}

#[inline(always)]
fn changed(sock: Sock, old: TcpState, new: TcpState) {
    // A child of a listener, not yet itself: up to 6.12 at least it still has the listener's
    // cookie here, and what it is given now is overwritten. Its next change begins it.
    if matches!((old, new), (TcpState::Listen, TcpState::SynRecv)) {
        return;
    }
    // Before anything branches, though few need it, and everywhere else from the record: the verifier
    // goes through the kernel's types at each such load, on each way that leads to it, and that was
    // half of what loading the programs took.
    let netns = sock.netns();
    let time = emit::event_time();
    let begins = matches!((old, new), (TcpState::Close, TcpState::Listen | TcpState::SynSent));
    let grown = matches!(old, TcpState::SynRecv);
    let cookie = sock.cookie();
    let found = track::find_sock(sock, cookie);
    let is_new = found.as_ref().is_none_or(|(_, record)| record.state == 0);
    if found.is_none() && !track::wanted(sock, old, new, netns) {
        return;
    }
    if grown && is_new && matches!(new, TcpState::Close) {
        return;
    }
    let (id, record) = match found {
        Some(found) => found,
        None => {
            let id = track::new_key(sock, cookie);
            let Some(record) = track::make(id) else {
                if begins || grown {
                    track::no_room(id);
                }
                return;
            };
            (id, record)
        }
    };
    let accepted = grown && is_new;
    let joins = begins || accepted || record.state == 0;
    if begins || accepted {
        track::begin(sock, record, new, netns, time);
    } else if record.state == 0 {
        track::meet(sock, record, old, netns);
    } else if record.state != old.number() && !track::merging() {
        lose(Loss::Gaps);
    }
    if joins && record.group == GROUP_OTHER {
        lose(Loss::Ungrouped);
    }
    let from = record.state;
    let to = new.number();

    // A closer that is the owner already has nothing to adopt: no need to ask who runs.
    let stranger = record.closer != 0 && record.closer != record.tgid;
    if runs_in_owner_context(old, new) || (stranger && record.closer == current_tgid()) {
        track::adopt(record);
    }

    if matches!(new, TcpState::FinWait1) && from != to {
        record.fin_wait1_ns = emit::time(time);
    }
    if let Some(totals) = Totals::of(record.group) {
        count(sock, totals, record, from, old, new, time);
        orphan(sock, totals, record, old, new);
    }
    if matches!(new, TcpState::Close) {
        if from != to {
            record.last_state = last_state(from, old);
        }
        if matches!(old, TcpState::Listen) {
            group::listen_ends(record.netns, record.service_port);
        }
    }
    record.state = to;

    if emit::all() && record.group != GROUP_OUTSIDE {
        if closes(sock, record, old, new) {
            record.close_told = 1;
            emit(time, EventKind::Close, sock, id, record, from, 0, 0);
        }
        let told = if accepted { old.number() } else { from };
        emit(time, EventKind::State, sock, id, record, told, to, 0);
        if begins_time_wait_now(sock, record, last_state(from, old), new) {
            emit(time, EventKind::TimeWaitBegin, sock, id, record, 0, substate(record), 0);
        }
    }
    if emit::orphans() && record.group != GROUP_OUTSIDE && record.flags & NEW_ORPHAN != 0 {
        emit(time, EventKind::OrphanBegin, sock, id, record, from, to, 0);
    }
    record.flags &= !NEW_ORPHAN;
}

/// Whether this is the change that the closing process's own `close()` makes. The hook on close
/// sees too little of the socket to tell it; this change follows in the same call.
#[inline(always)]
fn closes(sock: Sock, record: &SockRecord, old: TcpState, new: TcpState) -> bool {
    record.close_told == 0
        && record.closer != 0
        && record.closer == current_tgid()
        && sock.shutdown() == SHUTDOWN_BOTH
        && (is_close_transition(old, new) || matches!(new, TcpState::Close))
}

/// The state before CLOSE, by the kernel's own word: the run that would have seen the change to it may
/// have been skipped, and what the record says (`from`) only balances the populations.
#[inline(always)]
fn last_state(from: u8, old: TcpState) -> u8 {
    if matches!(old, TcpState::Close) { from } else { old.number() }
}

/// A flag of the record that lives within one run: it has just become an orphan.
const NEW_ORPHAN: u8 = 1 << 7;

/// The substate of the minisocket that takes its place; 0: not known.
#[inline(always)]
fn substate(record: &SockRecord) -> u8 {
    match record.marks & MARK_MINISOCKET {
        MARK_TIME_WAIT => TcpState::TimeWait.number(),
        MARK_FIN_WAIT2 => TcpState::FinWait2.number(),
        _ => 0,
    }
}

#[inline(always)]
fn begins_time_wait_now(sock: Sock, record: &SockRecord, last: u8, new: TcpState) -> bool {
    if !matches!(new, TcpState::Close) {
        return false;
    }
    if record.marks & MARK_MINISOCKET != 0 {
        return true;
    }
    if track::minisockets_are_hooked() {
        return false;
    }
    match TcpState::from_number(last) {
        Some(last) => {
            begins_time_wait(last, new, sock.err(), record.flags & FLAG_RESET_IN != 0)
                && !sock.linger2_negative()
        }
        None => false,
    }
}

/// Populations, opened, closed, the time in FIN_WAIT1.
#[inline(always)]
fn count(
    sock: Sock,
    totals: Totals,
    record: &mut SockRecord,
    from: u8,
    old: TcpState,
    new: TcpState,
    time: u64,
) {
    let to = new.number();
    if record.group == GROUP_OUTSIDE || from == to {
        return;
    }
    totals.count(Counter::Changes);
    if from != TcpState::Close.number() {
        totals.leave(from);
    }
    if !matches!(new, TcpState::Close) {
        totals.enter(to);
    }
    if new.is_connection() && !track::was_connection(record) {
        record.flags |= FLAG_OPENED;
        totals.count(Counter::Opened);
    }
    if from == TcpState::FinWait1.number() && record.fin_wait1_ns != 0 {
        let took = emit::time(time).saturating_sub(record.fin_wait1_ns);
        totals.fin_wait1_took(record.service_port, record.direction, took);
    }
    if matches!(new, TcpState::Close) {
        if begins_time_wait_now(sock, record, last_state(from, old), new) {
            totals.count(Counter::TimeWait);
        }
        if track::was_connection(record) {
            record.flags &= !(FLAG_OPENED | FLAG_STANDING);
            totals.count(Counter::Closed);
        }
    }
}

/// Orphans: begin, and their way through the states. They end in `destroy`.
#[inline(always)]
fn orphan(sock: Sock, totals: Totals, record: &mut SockRecord, old: TcpState, new: TcpState) {
    let from = record.state;
    let to = new.number();
    if record.flags & FLAG_ORPHAN != 0 {
        if from != to {
            totals.orphan_leaves(from);
            totals.orphan_enters(to);
        }
        return;
    }
    // `SOCK_DEAD` on a socket not known as an orphan: its `close()` waited (SO_LINGER), or the
    // change that made it one was missed.
    if sock.flags() & SOCK_DEAD == 0 {
        if !begins_orphan(old, new, sock.shutdown(), close_called(Some(record))) {
            return;
        }
        // `close()` waits first; but `inet_release` takes no time for a process that exits.
        let lingers = sock.flags() & SOCK_LINGER != 0 && sock.lingertime() != 0;
        if lingers && !current_is_exiting() {
            return;
        }
    }
    record.flags |= FLAG_ORPHAN | NEW_ORPHAN;
    totals.count(Counter::Orphaned);
    totals.count(Counter::Orphans);
    totals.orphan_enters(to);
}
