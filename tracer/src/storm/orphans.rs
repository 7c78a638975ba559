//! The zero-window run: building the orphans up with a server inside this process or in one that
//! exits, letting them stand, letting them go.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::ChildStdout;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::child;
use super::control::{Control, Ended, stdin_is_closed};
use super::plan::{Plan, Role, Usage, room_for_sockets};
use super::report::{Orphans, Server, Sockstat, announce};
use super::route::Route;
use super::short::{Tally, pair};
use super::socket::{self, Failures, accept, note};
use super::zero_window::{Orphaner, release};
use crate::stdio;

/// Longest wait for another process between two looks at the reasons to stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What a zero-window run came to.
pub(super) struct Outcome {
    pub tally: Tally,
    pub orphans: Orphans,
    pub server: Server,
    pub opened: Instant,
    pub standing: Option<Sockstat>,
}

/// What the server side did; also what a server process reports on its last line.
#[derive(Serialize, Deserialize)]
struct Served {
    server: Server,
    made: u64,
    bytes: u64,
    failed: Failures,
    ended: Option<Ended>,
}

/// Builds the orphans up, lets them stand, and lets them go.
pub(super) fn run(plan: &Plan, control: &Control) -> anyhow::Result<Outcome> {
    // Beyond the clients, the servers on their way to being closed.
    let sockets = plan.connections + 512;
    let room = room_for_sockets(sockets);
    if room < sockets {
        return Err(Usage(format!(
            "{} clients need {sockets} descriptors and the hard limit leaves room for {room}; \
             raise it (ulimit -Hn) or lower --connections",
            plan.connections
        ))
        .into());
    }
    let mut clients = Vec::with_capacity(plan.connections as usize);
    let served = if plan.exit_server {
        serve_elsewhere(plan, control, &mut clients)?
    } else {
        serve_here(plan, control, &mut clients)?
    };
    let opened = Instant::now();
    let standing = Sockstat::read();
    announce(served.made);
    let ended = served.ended.or_else(|| control.sleep(plan.hold()));
    // A run cut short aborts the connections it had not yet made orphans of: their clients find a
    // reset as well, which is not the kernel's doing.
    let aborted = (clients.len() as u64).saturating_sub(served.made);
    let released = release(clients, plan.release);
    let mut failed = served.failed;
    for (name, count) in released.failed {
        *failed.entry(name).or_default() += count;
    }
    let complete = served.made == plan.connections;
    Ok(Outcome {
        tally: Tally {
            completed: released.completed,
            failed,
            ended: ended.filter(|_| !complete).unwrap_or(if complete {
                Ended::Complete
            } else {
                Ended::Failing
            }),
        },
        orphans: Orphans {
            left: served.made,
            bytes: served.bytes,
            killed: released.resets.saturating_sub(aborted),
            release: plan.release,
        },
        server: served.server,
        opened,
        standing,
    })
}

fn serve_here(
    plan: &Plan,
    control: &Control,
    clients: &mut Vec<OwnedFd>,
) -> anyhow::Result<Served> {
    let listeners = socket::listeners(plan.address, &plan.ports, Some(plan.send_buffer))?;
    let mut route = Route::new(plan, plan.first, 1);
    let mut orphaner = Orphaner::new(plan);
    let mut ended = None;
    for _ in 0..plan.connections {
        match pair(&mut route, &listeners, control) {
            Ok((client, server)) => {
                clients.push(client);
                ended = orphaner.take(server, control);
            }
            Err(error) => note(&mut orphaner.failed, error),
        }
        if ended.is_some() {
            break;
        }
    }
    let ended = ended.or_else(|| orphaner.finish(control));
    Ok(served(&mut orphaner, ended))
}

fn served(orphaner: &mut Orphaner, ended: Option<Ended>) -> Served {
    Served {
        server: Server::this_process(),
        made: orphaner.made,
        bytes: orphaner.bytes,
        failed: std::mem::take(&mut orphaner.failed),
        ended,
    }
}

/// The clients here, the server in a process that has exited when this returns.
fn serve_elsewhere(
    plan: &Plan,
    control: &Control,
    clients: &mut Vec<OwnedFd>,
) -> anyhow::Result<Served> {
    let mut process =
        child::start(&Plan { role: Role::Server, duration: control.left(), ..plan.clone() })?;
    let mut stdout = process.stdout.take().context("no pipe from the server")?;
    let mut route = Route::new(plan, plan.first, 1);
    let mut failed = Failures::new();
    // One byte from the server when it listens, and one for each connection it has filled.
    let mut alive = hears(&mut stdout, control);
    for index in 0..plan.connections {
        if !alive || control.ended().is_some() {
            break;
        }
        match route.connect(control) {
            Ok((client, _)) => {
                clients.push(client);
                alive = hears(&mut stdout, control);
                control.done.store(index + 1, Ordering::Relaxed);
            }
            Err(error) => note(&mut failed, error),
        }
    }
    let ended = control.ended();
    if ended.is_some()
        && let Some(pid) = Pid::from_raw(process.id().cast_signed())
    {
        // Cut short, it must not go on closing what it has at its leisurely rate.
        let _ = kill_process(pid, Signal::TERM);
    }
    // No more will come: it closes what it has, reports, and exits.
    drop(process.stdin.take());
    let mut report = String::new();
    stdout.read_to_string(&mut report)?;
    process.wait()?;
    let report = report.trim_start_matches('.');
    let mut served: Served =
        serde_json::from_str(report).context("the server process ended without a report")?;
    served.ended = ended.or(served.ended);
    for (name, count) in failed {
        *served.failed.entry(name).or_default() += count;
    }
    Ok(served)
}

/// Waits for the server's next byte; in vain if the run or the server ends first.
fn hears(stdout: &mut ChildStdout, control: &Control) -> bool {
    let mut byte = [0u8; 1];
    while control.ended().is_none() {
        match poll(&mut [PollFd::new(&*stdout, PollFlags::IN)], Some(&TICK)) {
            Err(Errno::INTR) | Ok(0) => {}
            Err(_) => return false,
            Ok(_) => return stdout.read_exact(&mut byte).is_ok() && byte[0] == b'.',
        }
    }
    false
}

/// The server process: accepts, fills and closes until its starter has no more, then reports.
pub(super) fn serve(plan: &Plan, control: &Control) -> anyhow::Result<()> {
    let listeners = socket::listeners(plan.address, &plan.ports, Some(plan.send_buffer))?;
    let mut stdout = stdio::out();
    let mut tell = |byte: &[u8]| stdout.write_all(byte).and_then(|()| stdout.flush());
    tell(b".")?;
    let mut orphaner = Orphaner::new(plan);
    let mut ended = None;
    let mut accepted = 0;
    while accepted < plan.connections && ended.is_none() {
        match next(&listeners) {
            Ok(Some(socket)) => {
                accepted += 1;
                ended = orphaner.take(socket, control);
                tell(b".")?;
            }
            Ok(None) if stdin_is_closed() => break,
            Ok(None) => ended = control.ended(),
            Err(error) => note(&mut orphaner.failed, error),
        }
    }
    let ended = ended.or_else(|| orphaner.finish(control));
    drop(listeners);
    let report = serde_json::to_string(&served(&mut orphaner, ended))?;
    tell(report.as_bytes())?;
    Ok(())
}

/// A connection from whichever listener has one, or none within a tick.
fn next(listeners: &[OwnedFd]) -> Result<Option<OwnedFd>, Errno> {
    let mut polled: Vec<_> =
        listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
    match poll(&mut polled, Some(&TICK)) {
        Err(Errno::INTR) | Ok(0) => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let ready = polled.iter().position(|fd| fd.revents().contains(PollFlags::IN));
    ready.map(|index| accept(&listeners[index])).transpose()
}
