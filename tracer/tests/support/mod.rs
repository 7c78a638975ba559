//! What the live tests share: the real binary as a guarded child process, network namespaces that
//! keep a test's sockets apart, second opinions from the kernel, and guards that put everything
//! back, also while a panic unwinds.
//!
//! Every wait is bounded. No test sleeps to let tracing begin: `top` prints its first snapshot as
//! soon as it traces, and that line is awaited.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

pub(crate) mod books;
pub(crate) mod doctor;
pub(crate) mod edge;
pub(crate) mod pairs;
pub(crate) mod shared;
pub(crate) mod sys;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

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

/// Waits until that is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A network namespace with its loopback up, as long as this value lives.
pub(crate) struct Namespace {
    keeper: Guarded,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 600"])
            .stdin(Stdio::null());
        let mut keeper = Guarded::start(command);
        let ready = keeper.line(PATIENCE);
        if ready.as_deref() != Some("ready") {
            panic!("no network namespace: {}", keeper.end(PATIENCE).2);
        }
        Self { keeper }
    }

    /// What `--netns` takes.
    pub(crate) fn name(&self) -> String {
        self.keeper.pid().to_string()
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.keeper.pid()).into()
    }

    /// The same command, inside. The process id stays the child's.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .arg(format!("--net={}", self.path().display()))
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        inside
    }

    /// Runs `body` inside, on a thread of its own.
    pub(crate) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = File::open(path).expect("the namespace");
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    Some(LinkNameSpaceType::Network),
                )
                .expect("setns");
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Its `/proc/net`.
    pub(crate) fn folder(&self) -> String {
        format!("/proc/{}/net", self.keeper.pid())
    }

    /// A number of this namespace's `/proc/net/sockstat`, row TCP.
    pub(crate) fn sockstat(&self, name: &str) -> u64 {
        sockstat(&self.folder(), name)
    }

    /// Itself, when all of its connections have ended but for TIME_WAIT. The last of a storm may not
    /// have when the storm has: on a busy CPU a segment waits for `ksoftirqd`.
    pub(crate) fn settled(&self) -> &Self {
        let under_way = || self.ss(&["-tan", "state", "connected", "exclude", "time-wait"]);
        eventually("all connections have ended", || under_way().is_empty());
        self
    }

    /// A counter of this namespace's group TcpExt; a namespace begins with 0.
    pub(crate) fn tcp_ext(&self, name: &str) -> u64 {
        tcp_ext_in(&self.folder(), name)
    }

    /// Changes a setting that is the namespace's own.
    pub(crate) fn set(&self, dotted: &str, value: &str) {
        let path = format!("/proc/sys/{}", dotted.replace('.', "/"));
        self.inside(|| fs::write(path, value).expect("a setting"));
    }

    /// `ss` inside, without its header.
    pub(crate) fn ss(&self, arguments: &[&str]) -> Vec<String> {
        let mut ss = Command::new("ss");
        ss.arg("-H").args(arguments);
        let done = output(self.enter(&ss));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
    }
}

/// A number of the row TCP of `sockstat` in a folder such as `/proc/net`.
pub(crate) fn sockstat(folder: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("{folder}/sockstat")).expect("sockstat");
    let row = text.lines().find_map(|line| line.strip_prefix("TCP:")).expect("a row TCP");
    let words: Vec<&str> = row.split_whitespace().collect();
    let at = words.iter().position(|word| *word == name).expect("the column");
    words[at + 1].parse().expect("a number")
}

/// Orphans of the whole host, by the kernel.
pub(crate) fn host_orphans() -> u64 {
    sockstat("/proc/self/net", "orphan")
}

/// A counter of the group TcpExt of the host's namespace.
pub(crate) fn tcp_ext(name: &str) -> u64 {
    tcp_ext_in("/proc/self/net", name)
}

fn tcp_ext_in(folder: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("{folder}/netstat")).expect("netstat");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let at = names.split_whitespace().position(|word| word == name).expect("the counter");
    values.split_whitespace().nth(at).expect("its value").parse().expect("a number")
}

/// The kernel's memory pressure flag for TCP.
pub(crate) fn under_pressure() -> bool {
    let text = fs::read_to_string("/proc/net/protocols").expect("protocols");
    let header: Vec<&str> = text.lines().next().expect("a header").split_whitespace().collect();
    let column = header.iter().position(|word| *word == "press").expect("a column press");
    let row: Vec<&str> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row.first() == Some(&"TCP"))
        .expect("a row TCP");
    row[column] == "yes"
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
pub(crate) const SMALL: [&str; 2] = ["--max-sockets", "16384"];

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

/// A storm that stands: held connections, or orphans.
pub(crate) struct Standing {
    process: Guarded,
}

impl Standing {
    /// Starts a storm (in `namespace`, if one) and waits until `count` connections stand.
    pub(crate) fn start(namespace: Option<&Namespace>, arguments: &[&str], count: u64) -> Self {
        let mut process = Guarded::start(storm_command(namespace, arguments));
        let line = process.line(PATIENCE);
        if line.as_deref() != Some(format!("holding {count}").as_str()) {
            panic!("{line:?} instead of {count}: {}", process.end(PATIENCE).2);
        }
        Self { process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets go of what stands, and returns the report.
    pub(crate) fn release(mut self) -> Value {
        self.process.signal(Signal::TERM);
        report(self.process.end(PATIENCE))
    }
}

/// Runs a storm (in `namespace`, if one) to its end and returns its report.
pub(crate) fn storm(namespace: Option<&Namespace>, arguments: &[&str]) -> Value {
    let mut process = Guarded::start(storm_command(namespace, arguments));
    report(process.end(3 * PATIENCE))
}

fn storm_command(namespace: Option<&Namespace>, arguments: &[&str]) -> Command {
    let mut command = sockflow(&["storm", "--json"]);
    command.args(arguments);
    match namespace {
        Some(namespace) => namespace.enter(&command),
        None => command,
    }
}

fn report((lines, status, talk): (Vec<String>, ExitStatus, String)) -> Value {
    assert!(status.success(), "{status}: {talk}");
    serde_json::from_str(lines.last().expect("a report")).expect("JSON")
}

/// The number at a path such as `/totals/opened`.
pub(crate) fn number(value: &Value, path: &str) -> u64 {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {path} of {value}"))
}

/// The row of a service, if it has one.
pub(crate) fn find_row<'a>(snapshot: &'a Value, port: u16, direction: &str) -> Option<&'a Value> {
    let rows = snapshot["ports"].as_array().expect("ports");
    rows.iter().find(|row| row["port"] == port && row["direction"] == direction)
}

/// The row of a service.
pub(crate) fn row<'a>(snapshot: &'a Value, port: u16, direction: &str) -> &'a Value {
    find_row(snapshot, port, direction)
        .unwrap_or_else(|| panic!("no row {port} {direction} in {snapshot}"))
}

/// Full sockets of a row that are connections.
pub(crate) fn live(row: &Value) -> u64 {
    ["established", "fin_wait1", "fin_wait2", "close_wait", "last_ack", "closing"]
        .iter()
        .map(|state| number(&row["states"], &format!("/{state}")))
        .sum()
}

/// `opened + standing = closed + live`, for a row without FIN_WAIT2 minisockets.
pub(crate) fn assert_balanced(row: &Value) {
    let total = |name: &str| number(row, &format!("/totals/{name}"));
    assert_eq!(total("opened") + total("standing"), total("closed") + live(row), "{row}");
}

/// The reasons why a row's orphans ended, those that occurred.
pub(crate) fn ends(row: &Value) -> Vec<(String, u64)> {
    let ends = row["orphan_ends"].as_object().expect("orphan_ends");
    ends.iter()
        .map(|(reason, count)| (reason.clone(), count.as_u64().expect("a count")))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// [`ends`], as it is expected.
pub(crate) fn ended(reason: &str, count: u64) -> Vec<(String, u64)> {
    vec![(reason.to_owned(), count)]
}

/// Nothing was lost that the exact numbers depend on.
pub(crate) fn assert_complete(snapshot: &Value) {
    assert_eq!(number(snapshot, "/lost/untracked"), 0, "{snapshot}");
    assert_eq!(number(snapshot, "/lost/missed"), 0, "{snapshot}");
    assert_eq!(number(snapshot, "/lost/ungrouped"), 0, "{snapshot}");
}
