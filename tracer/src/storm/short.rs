//! Connections that end at once: connect, accept and the two closes, all on one thread. With
//! nobody to wake, that is the fastest a core can do it.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::io::Errno;

use super::control::{Control, Ended};
use super::pace::Pacer;
use super::plan::{Mode, Plan};
use super::route::Route;
use super::socket::{self, End, Failures, abort, accept, note, wait_end};

/// Failures in a row after which going on proves nothing.
pub(super) const HOPELESS: u32 = 100;
/// Connections between two updates of the progress.
const TELL_EVERY: u64 = 256;

/// What one or all workers did.
#[derive(Debug)]
pub(super) struct Tally {
    pub completed: u64,
    pub failed: Failures,
    pub ended: Ended,
}

/// Runs the plan's workers to their end.
pub(super) fn run(plan: &Plan, control: &Control) -> anyhow::Result<Tally> {
    let listeners = socket::listeners(plan.address, &plan.ports, None)?;
    let workers = u64::from(plan.workers);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        // The listeners are shared, so a worker may be given another's connection. That is fine:
        // each takes one for each it made, and waits for an end only after taking one.
        let running: Vec<_> = (0..workers)
            .map(|number| {
                let worker = Worker {
                    plan,
                    control,
                    listeners: &listeners,
                    route: Route::new(plan, plan.first + number, workers),
                };
                scope.spawn(move || worker.run(number))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    Ok(Tally::sum(tallies))
}

impl Tally {
    fn sum(tallies: Vec<Self>) -> Self {
        let mut all = Self { completed: 0, failed: Failures::new(), ended: Ended::Complete };
        for tally in tallies {
            all.completed += tally.completed;
            for (name, count) in tally.failed {
                *all.failed.entry(name).or_default() += count;
            }
            if tally.ended != Ended::Complete {
                all.ended = tally.ended;
            }
        }
        all
    }
}

struct Worker<'a> {
    plan: &'a Plan,
    control: &'a Control,
    listeners: &'a [OwnedFd],
    route: Route,
}

impl Worker<'_> {
    fn run(mut self, number: u64) -> Tally {
        let mut pacer = Pacer::new(self.plan.rate(), self.plan.workers);
        let mut tally = Tally { completed: 0, failed: Failures::new(), ended: Ended::Complete };
        let mut in_a_row = 0;
        let mut index = number;
        while index < self.plan.connections {
            let pause = pacer.turn(Instant::now());
            let ended =
                if pause.is_zero() { self.control.ended() } else { self.control.sleep(pause) };
            if let Some(ended) = ended {
                tally.ended = ended;
                break;
            }
            match self.one() {
                Ok(()) => {
                    in_a_row = 0;
                    tally.completed += 1;
                    if tally.completed.is_multiple_of(TELL_EVERY) {
                        self.control.done.fetch_add(TELL_EVERY, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    note(&mut tally.failed, error);
                    in_a_row += 1;
                    // Source ports do not come back by asking a hundred times.
                    if in_a_row >= HOPELESS || error == Errno::ADDRNOTAVAIL {
                        tally.ended = self.control.ended().unwrap_or(Ended::Failing);
                        break;
                    }
                }
            }
            index += u64::from(self.plan.workers);
        }
        tally
    }

    fn one(&mut self) -> Result<(), Errno> {
        let (client, server) = pair(&mut self.route, self.listeners, self.control)?;
        match self.plan.mode {
            Mode::ClientCloses => in_order(client, server),
            Mode::Reset => aborted(server, client),
            Mode::ClientReset => aborted(client, server),
            _ => in_order(server, client),
        }
    }
}

/// Closes `first`, and `second` once the FIN has come, so that TIME_WAIT is `first`'s.
pub(super) fn in_order(first: OwnedFd, second: OwnedFd) -> Result<(), Errno> {
    drop(first);
    let end = wait_end(&second)?;
    drop(second);
    match end {
        End::Reset => Err(Errno::CONNRESET),
        End::Fin | End::Open => Ok(()),
    }
}

/// Aborts `first`, and closes `second` once the RST has come.
fn aborted(first: OwnedFd, second: OwnedFd) -> Result<(), Errno> {
    abort(first)?;
    let end = wait_end(&second)?;
    drop(second);
    match end {
        End::Reset => Ok(()),
        End::Fin | End::Open => Err(Errno::PROTO),
    }
}

/// Both ends of one new connection.
pub(super) fn pair(
    route: &mut Route,
    listeners: &[OwnedFd],
    control: &Control,
) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (client, listener) = route.connect(control)?;
    let server = accept(&listeners[listener])?;
    Ok((client, server))
}
