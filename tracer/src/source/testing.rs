//! What the tests of several sources need.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process in a fresh network namespace; killed when dropped.
pub(super) struct InNetns(Child);

impl InNetns {
    /// `None`, with a word on stderr, where we may not make one.
    pub(super) fn start() -> Option<Self> {
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; exec sleep 60"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut ready = [0; 6];
        let entered = child.stdout.as_mut()?.read_exact(&mut ready).is_ok();
        let this = Self(child);
        if !entered {
            eprintln!("skipped: cannot make a network namespace");
        }
        entered.then_some(this)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The file of its namespace.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }
}

impl Drop for InNetns {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again and again until there is something to see.
///
/// # Panics
/// After five seconds.
pub(super) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
