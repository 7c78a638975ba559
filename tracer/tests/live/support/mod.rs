//! What the live tests share: the real binary as a guarded child process, network namespaces that
//! keep a test's sockets apart, second opinions from the kernel, and guards that put everything
//! back, also while a panic unwinds.
//!
//! Every wait is bounded. No test sleeps to let tracing begin: `top` prints its first snapshot as
//! soon as it traces, and that line is awaited.

pub(crate) mod books;
pub(crate) mod doctor;
pub(crate) mod edge;
mod kernel;
mod namespace;
pub(crate) mod pairs;
mod rows;
pub(crate) mod shared;
mod storm;
pub(crate) mod sys;
mod top;
mod watched;

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) use self::{
    kernel::{host_orphans, sockstat, tcp_ext, tcp_ext_in, under_pressure},
    namespace::{Namespace, enter},
    rows::{assert_balanced, assert_complete, ended, ends, find_row, live, number, row},
    storm::{Standing, storm},
    top::{SMALL, Top},
    watched::Watched,
};

/// The service's port, unless a test needs more than one.
pub(crate) const PORT: u16 = 9981;
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sockflow"))
}

/// How many connections a large run makes: the full number takes an optimised build and a CPU
/// that is not emulated (`cargo xtask vm` sets by how much less it shall be).
pub(crate) fn large(full: u64) -> u64 {
    if cfg!(debug_assertions) { full / 10 } else { full / emulated().unwrap_or(1) }
}

/// Whether `connect()` picks ports at random, as kernels before 5.12 do: now and then the one of a
/// connection that is in TIME_WAIT at the server, whose minisocket makes way without being counted.
pub(crate) fn ports_are_random() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split('.').map(|word| word.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(5), Some(12))
}

/// By how much fewer connections an emulated machine shall make; `None` on a real one.
pub(crate) fn emulated() -> Option<u64> {
    let scale = std::env::var("SOCKFLOW_LIVE_SCALE").ok()?;
    Some(scale.parse().expect("SOCKFLOW_LIVE_SCALE is a number"))
}

/// One test at a time on this host, whatever `--test-threads` says and whoever else runs these
/// tests: orphans and limits are the host's.
pub(crate) fn turn() -> (MutexGuard<'static, ()>, File) {
    static TURN: Mutex<()> = Mutex::new(());
    let of_process = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::env::temp_dir().join("sockflow-live-tests.lock");
    let of_host = File::create(path).expect("a file to lock");
    of_host.lock().expect("the lock");
    (of_process, of_host)
}

/// A child process that does not outlive its test.
pub(crate) struct Guarded {
    pub(crate) child: Child,
    lines: Receiver<String>,
    talk: Receiver<String>,
}

impl Guarded {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        let mut stderr = child.stderr.take().expect("a pipe");
        let (sender, talk) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        });
        Self { child, lines, talk }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its stdout, if one comes.
    pub(crate) fn line_within(&mut self, within: Duration) -> Option<String> {
        self.lines.recv_timeout(within).ok()
    }

    /// The next line of its stdout; `None` at the end.
    pub(crate) fn line(&mut self, within: Duration) -> Option<String> {
        next_of(&self.lines, within)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("kill");
    }

    /// Waits for its end: what was left on stdout, the status, and stderr.
    pub(crate) fn end(&mut self, within: Duration) -> (Vec<String>, ExitStatus, String) {
        let until = Instant::now() + within;
        let left = || until.saturating_duration_since(Instant::now());
        let mut rest = Vec::new();
        while let Some(line) = self.line(left()) {
            rest.push(line);
        }
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(!left().is_zero(), "it did not end within {within:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let talk = self.talk.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        (rest, status, talk)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Asked first: storm puts settings back when told to end.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(Signal::TERM);
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(5)
                && self.child.try_wait().is_ok_and(|status| status.is_none())
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The next line; `None` at the end.
fn next_of(lines: &Receiver<String>, within: Duration) -> Option<String> {
    match lines.recv_timeout(within) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no line within {within:?}"),
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// Runs a command to its end, which must come within [`PATIENCE`].
pub(crate) fn output(command: Command) -> Output {
    let mut command = command;
    command.stdin(Stdio::null());
    let mut process = Guarded::start(command);
    let (lines, status, stderr) = process.end(PATIENCE);
    Output { status, stdout: lines.join("\n").into_bytes(), stderr: stderr.into_bytes() }
}

/// `sockflow` with arguments.
pub(crate) fn sockflow(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Waits until that is what is seen.
#[track_caller]
pub(crate) fn eventually_is<T: PartialEq + Debug>(what: &str, expected: &T, seen: impl Fn() -> T) {
    let began = Instant::now();
    loop {
        let seen = seen();
        if seen == *expected {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {seen:?} instead of {expected:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until that is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder that is gone after the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a setting of the host back when dropped. Storm does so itself; this is for when it cannot.
pub(crate) struct Keep {
    path: PathBuf,
    value: String,
    keeper: Child,
}

impl Keep {
    /// Restores it when its input ends: with the test, also one that was killed.
    const KEEPER: &str = "trap '' HUP INT TERM; echo ready; cat >/dev/null
        [ \"$(cat \"$1\")\" = \"$2\" ] || echo \"$2\" >\"$1\"";

    pub(crate) fn setting(dotted: &str) -> Self {
        let path = PathBuf::from(format!("/proc/sys/{}", dotted.replace('.', "/")));
        let value = fs::read_to_string(&path).expect("a setting").trim().to_owned();
        // In a session of its own: what kills the test's process group does not reach it.
        let mut keeper = Command::new("setsid");
        keeper.args(["sh", "-c", Self::KEEPER, "keeper"]).arg(&path).arg(&value);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut keeper = keeper.expect("a keeper");
        // Until then it has our sockets open, and may be the last to close one.
        let said = keeper.stdout.take().map(BufReader::new).and_then(|said| said.lines().next());
        assert_eq!(said.expect("a line").expect("text"), "ready");
        Self { path, value, keeper }
    }

    /// Whether it reads as it did.
    pub(crate) fn is_as_before(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|now| now.trim() == self.value)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        // `wait` ends its input first.
        let _ = self.keeper.wait();
    }
}
