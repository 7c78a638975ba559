//! Connections that stay: both ends open until told to let go.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::control::{Control, Ended};
use super::pace::Pacer;
use super::plan::{Plan, Role, room_for_sockets};
use super::report::announce;
use super::route::Route;
use super::shares;
use super::short::{Tally, in_order, pair};
use super::socket::{self, Failures, note};

/// What holding came to.
pub(super) struct Held {
    pub tally: Tally,
    /// Connections that stood together.
    pub stood: u64,
    /// The processes that held them, where this one alone could not.
    pub holders: Vec<u32>,
    /// When they all stood.
    pub opened: Instant,
}

/// Opens the connections, in this process or, where its descriptors do not suffice, in several.
pub(super) fn run(plan: &Plan, control: &Control) -> anyhow::Result<Held> {
    let room = room_for_sockets(2 * plan.connections) / 2;
    if room < plan.connections {
        return shares::run(plan, control, room);
    }
    let mut listeners = socket::listeners(plan.address, &plan.ports, None)?;
    let mut route = Route::new(plan, plan.first, 1);
    let mut pacer = Pacer::new(plan.rate(), 1);
    let mut failed = Failures::new();
    let mut pairs: Vec<(OwnedFd, OwnedFd)> = Vec::with_capacity(plan.connections as usize);
    let mut ended = None;
    for index in 0..plan.connections {
        ended = control.sleep(pacer.turn(Instant::now()));
        if ended.is_some() {
            break;
        }
        match pair(&mut route, &listeners, control) {
            Ok(both) => pairs.push(both),
            Err(error) => note(&mut failed, error),
        }
        control.done.store(index + 1, Ordering::Relaxed);
    }
    if plan.role == Role::Share {
        // The next share listens on the same ports.
        listeners.clear();
    }
    let (stood, opened) = (pairs.len() as u64, Instant::now());
    announce(stood);
    let ended = ended.or_else(|| control.sleep(plan.hold()));
    let mut completed = 0;
    for (client, server) in pairs {
        // Server first: that leaves TIME_WAIT where it keeps no client port from being used.
        match in_order(server, client) {
            Ok(()) => completed += 1,
            Err(error) => note(&mut failed, error),
        }
    }
    // A hold is complete when it stood until told to go, whichever way it was told.
    let complete = stood == plan.connections && ended != Some(Ended::Failing);
    let tally =
        Tally { completed, failed, ended: ended.filter(|_| !complete).unwrap_or(Ended::Complete) };
    Ok(Held { tally, stood, holders: Vec::new(), opened })
}
