//! `sockflow top --json`, its snapshots awaited.

use std::fs;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{Guarded, PATIENCE, emulated, next_of, shared, sockflow};

/// The CPU time that a process used so far, in user mode and in the kernel.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("ticks")).sum();
    // `USER_HZ` is 100 wherever this runs.
    Duration::from_millis(ticks * 10)
}

/// Room for the sockets of a test: what is allocated beforehand takes an emulated CPU a while.
pub(crate) const SMALL: [&str; 2] = ["--max-sockets", "4096"];

/// `sockflow top --json`, tracing.
pub(crate) struct Top {
    from: From,
    /// Every snapshot so far.
    pub(crate) snapshots: Vec<Value>,
    /// The CPU time it took until its first snapshot.
    pub(crate) started_with: Duration,
}

/// Whose lines they are.
enum From {
    Own(Guarded),
    Shared(Receiver<String>),
}

impl From {
    fn lines(&self) -> &Receiver<String> {
        match self {
            Self::Own(process) => &process.lines,
            Self::Shared(lines) => lines,
        }
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        if matches!(self.from, From::Shared(_)) && std::thread::panicking() {
            shared::end();
        }
    }
}

impl Top {
    /// Starts and waits until it traces.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = sockflow(&["top", "--json"]);
        command.args(arguments);
        if emulated().is_some() && !arguments.contains(&"--sampled") {
            command.args(SMALL);
        }
        Self::run(command)
    }

    pub(crate) fn run(command: Command) -> Self {
        if emulated().is_some() {
            shared::end();
        }
        let mut process = Guarded::start(command);
        let Some(first) = process.line(PATIENCE) else {
            panic!("top did not start: {}", process.end(PATIENCE).2);
        };
        let started_with = cpu_time(process.pid());
        let mut top = Self { from: From::Own(process), snapshots: Vec::new(), started_with };
        top.take(&first);
        top
    }

    /// Follows the one that tests share, from now on.
    pub(crate) fn shared() -> Self {
        let follow = || {
            let from = From::Shared(shared::follow());
            let mut top = Self { from, snapshots: Vec::new(), started_with: Duration::ZERO };
            assert!(top.read(PATIENCE), "the shared top says nothing");
            top
        };
        let top = follow();
        if top.snapshots[0]["lost"]["missed"] == 0 {
            return top;
        }
        shared::end();
        follow()
    }

    fn read(&mut self, within: Duration) -> bool {
        let Some(line) = next_of(self.from.lines(), within) else { return false };
        self.take(&line);
        true
    }

    /// Takes a snapshot in. Whoever runs the tests reads what is printed here: an exact number can
    /// fail by runs that the kernel skipped, and then the test is tried again.
    fn take(&mut self, line: &str) {
        let snapshot: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(snapshot["schema"], "sockflow.snapshot/1");
        // Null where no program runs: `--sampled`.
        let missed = |snapshot: &Value| snapshot["lost"]["missed"].as_u64().unwrap_or(0);
        let (before, missed) = (self.snapshots.last().map_or(0, missed), missed(&snapshot));
        if before < missed {
            println!("the kernel skipped runs: {missed}");
        }
        self.snapshots.push(snapshot);
    }

    /// Waits for a snapshot like that; the last one read may be it.
    pub(crate) fn until(&mut self, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let last = self.snapshots.last().expect("a snapshot");
            if like(last) {
                return last.clone();
            }
            assert!(Instant::now() < until, "never {what}: {last}");
            assert!(self.read(PATIENCE), "top ended before {what}");
        }
    }

    /// Waits for the next snapshot.
    pub(crate) fn next(&mut self) -> &Value {
        assert!(self.read(PATIENCE), "top ended");
        self.snapshots.last().expect("a snapshot")
    }

    /// Reads until it has a snapshot of now: everything that happened before is in it.
    pub(crate) fn now(&mut self) -> &Value {
        while let Ok(line) = self.from.lines().try_recv() {
            self.take(&line);
        }
        // One may have been on its way.
        self.next();
        self.next()
    }

    /// Ends it, or leaves the shared one; the last snapshot is of after that.
    pub(crate) fn stop(mut self) -> Vec<Value> {
        let From::Own(process) = &mut self.from else {
            self.now();
            return std::mem::take(&mut self.snapshots);
        };
        process.signal(Signal::TERM);
        let (lines, status, talk) = process.end(PATIENCE);
        assert!(status.success(), "{status}: {talk}");
        lines.iter().for_each(|line| self.take(line));
        std::mem::take(&mut self.snapshots)
    }

    /// Ends it and returns the last snapshot.
    pub(crate) fn last(self) -> Value {
        self.stop().pop().expect("a snapshot")
    }
}
