//! Orphans on demand. The client offers a small window and never reads; the server writes until
//! nothing more fits, then closes. Data and FIN stay in the server's send queue, held back by a
//! window of zero, and the socket stays in FIN_WAIT1 with no process behind it: as long as the
//! client's kernel answers the window probes, which is minutes.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{SendFlags, send};

use super::control::{Control, Ended};
use super::pace::Pacer;
use super::plan::{Plan, Release};
use super::socket::{End, Failures, abort, drain, note};
use super::sys::{SendQueue, send_queue};

/// The client delays its last acknowledgement, the one that says "window 0", by 40 ms. Full
/// sockets wait that long in a queue, many at a time, before the second and final fill.
const SETTLES_IN: Duration = Duration::from_millis(50);
/// Most sockets in that queue.
const MAX_FILLING: usize = 512;
/// Rounds after which a window is given up as one that will not close.
const MAX_ROUNDS: u32 = 40;
/// How long clients may take to read everything once they let go.
const READ_WITHIN: Duration = Duration::from_secs(30);

struct Filling {
    socket: OwnedFd,
    since: Instant,
    rounds: u32,
}

/// Makes orphans out of connected server sockets.
pub(super) struct Orphaner {
    filling: VecDeque<Filling>,
    payload: Vec<u8>,
    pacer: Pacer,
    /// Closed with unsent data against a zero window.
    pub made: u64,
    /// The bytes unacknowledged in all their send queues.
    pub bytes: u64,
    pub failed: Failures,
}

impl Orphaner {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            filling: VecDeque::with_capacity(MAX_FILLING),
            payload: vec![b'.'; plan.send_buffer as usize],
            pacer: Pacer::new(plan.rate(), 1),
            made: 0,
            bytes: 0,
            failed: Failures::new(),
        }
    }

    /// Fills a server socket, and closes those that have been full for long enough.
    pub(super) fn take(&mut self, socket: OwnedFd, control: &Control) -> Option<Ended> {
        match fill(&socket, &self.payload) {
            Ok(()) => self.filling.push_back(Filling { socket, since: Instant::now(), rounds: 0 }),
            Err(error) => note(&mut self.failed, error),
        }
        while self.filling.len() >= MAX_FILLING || self.next_is_ripe() {
            if let Some(ended) = self.close_next(control) {
                return Some(ended);
            }
        }
        control.ended()
    }

    /// Closes all that is left.
    pub(super) fn finish(&mut self, control: &Control) -> Option<Ended> {
        while !self.filling.is_empty() {
            if let Some(ended) = self.close_next(control) {
                return Some(ended);
            }
        }
        None
    }

    fn next_is_ripe(&self) -> bool {
        let next = self.filling.front();
        next.is_some_and(|next| next.since.elapsed() >= SETTLES_IN)
    }

    fn close_next(&mut self, control: &Control) -> Option<Ended> {
        let mut next = self.filling.pop_front()?;
        let unripe = SETTLES_IN.saturating_sub(next.since.elapsed());
        if let Some(ended) = control.sleep(unripe) {
            self.filling.push_front(next);
            return Some(ended);
        }
        match refill(&next.socket, &self.payload) {
            Ok(queue) if queue.is_blocked_by_window() => {
                if let Some(ended) = control.sleep(self.pacer.turn(Instant::now())) {
                    self.filling.push_front(next);
                    return Some(ended);
                }
                self.bytes += u64::from(queue.unacked);
                self.made += 1;
                control.done.store(self.made, Ordering::Relaxed);
                drop(next.socket);
            }
            Ok(_) if next.rounds < MAX_ROUNDS => {
                next.rounds += 1;
                next.since = Instant::now();
                self.filling.push_back(next);
            }
            Ok(_) => {
                *self.failed.entry("window stayed open".into()).or_default() += 1;
                let _ = abort(next.socket);
            }
            Err(error) => note(&mut self.failed, error),
        }
        None
    }
}

impl Drop for Orphaner {
    /// What was not made an orphan must not become one uncounted.
    fn drop(&mut self) {
        for filling in self.filling.drain(..) {
            let _ = abort(filling.socket);
        }
    }
}

/// Writes until the socket takes no more.
pub(super) fn fill(socket: &OwnedFd, payload: &[u8]) -> Result<(), Errno> {
    loop {
        match send(socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn refill(socket: &OwnedFd, payload: &[u8]) -> Result<SendQueue, Errno> {
    fill(socket, payload)?;
    send_queue(socket)
}

/// What the clients found when they let go.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// Ended as intended.
    pub completed: u64,
    /// Reset before: by the kernel, which had killed the orphan at a limit, or by an abort.
    pub resets: u64,
    pub failed: Failures,
}

/// Lets go of the orphans' other ends.
pub(super) fn release(clients: Vec<OwnedFd>, how: Release) -> Released {
    let mut released = Released::default();
    let mut to_read = Vec::new();
    for client in clients {
        match (socket_error(&client), how) {
            // Unread data turns the close into a RST. Each is closed as soon as it was asked, as
            // the kernel may go on killing meanwhile.
            (Ok(Ok(())), Release::Reset) => {
                drop(client);
                released.completed += 1;
            }
            (Ok(Ok(())), Release::Read) => to_read.push(client),
            (Ok(Err(Errno::CONNRESET)), _) => released.resets += 1,
            (Ok(Err(error)) | Err(error), _) => note(&mut released.failed, error),
        }
    }
    read_all(to_read, &mut released);
    released
}

/// Reads all clients by turns: each takes several round trips with pauses in between.
fn read_all(mut alive: Vec<OwnedFd>, released: &mut Released) {
    let started = Instant::now();
    let mut scratch = vec![0u8; 1 << 16];
    while !alive.is_empty() && started.elapsed() < READ_WITHIN {
        alive.retain(|client| match drain(client, &mut scratch) {
            Ok(End::Open) => true,
            Ok(End::Fin) => {
                released.completed += 1;
                false
            }
            Ok(End::Reset) => {
                released.resets += 1;
                false
            }
            Err(error) => {
                note(&mut released.failed, error);
                false
            }
        });
        std::thread::sleep(Duration::from_millis(2));
    }
    for _ in alive {
        note(&mut released.failed, Errno::TIMEDOUT);
    }
}
