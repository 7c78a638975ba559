//! A command, with limits of time and memory.

use std::fmt;
use std::fs;
use std::io::{Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Seconds of the CPU, and MiB, that a command may take; an optimised build takes a tenth.
const MOST_CPU_S: f64 = 30.0;
const MOST_MIB: u64 = 512;
/// However busy the machine is.
const MOST_WALL: Duration = Duration::from_secs(240);
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// Bytes of stdout kept: an export is long, and where it says something is at its end.
const KEPT: usize = 1 << 20;

/// What became of it.
pub(crate) struct Outcome {
    /// `None`: it was killed, for `why`.
    pub(crate) code: Option<i32>,
    pub(crate) why: &'static str,
    pub(crate) cpu_s: f64,
    pub(crate) mib: u64,
    pub(crate) out: u64,
    /// Share of the time that it ran or waited for a CPU, while there was nothing to do.
    pub(crate) busy: f64,
    /// All that was said on stderr, and on a terminal.
    pub(crate) talk: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit {code}")?,
            None => write!(f, "{}", self.why)?,
        }
        write!(f, ", {:.1} s, {} MiB", self.cpu_s, self.mib)?;
        if self.out > 10 << 20 {
            write!(f, ", {} MiB written", self.out >> 20)?;
        }
        if self.busy > 0.0 {
            write!(f, ", {:.0} % busy", self.busy * 100.0)?;
        }
        Ok(())
    }
}

fn sockflow() -> String {
    std::env::var("SOCKFLOW_UNDER_TEST").unwrap_or_else(|_| env!("CARGO_BIN_EXE_sockflow").into())
}

/// Reads to the end: how much it was, and its first [`KEPT`] bytes as they come.
fn drain(mut from: impl Read + Send + 'static) -> Receiver<(u64, Vec<u8>)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut all = 0;
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            all += read as u64;
            let kept = if all < KEPT as u64 { buffer[..read].to_vec() } else { Vec::new() };
            if sender.send((read as u64, kept)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Runs it with its output in pipes.
pub(crate) fn piped(arguments: &[String]) -> Outcome {
    let mut child = Command::new(sockflow())
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = drain(child.stdout.take().expect("stdout"));
    let talk = drain(child.stderr.take().expect("stderr"));
    let pid = child.id();
    let mut outcome = watched(&mut child, pid);
    outcome.out = out.iter().map(|(read, _)| read).sum();
    outcome.talk = text(&talk.iter().flat_map(|(_, kept)| kept).collect::<Vec<u8>>());
    outcome
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for its end, or ends it.
fn watched(child: &mut Child, pid: u32) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome {
        code: None,
        why: "killed by a signal",
        cpu_s: 0.0,
        mib: 0,
        out: 0,
        busy: 0.0,
        talk: String::new(),
    };
    loop {
        outcome.mib = outcome.mib.max(peak_mib(pid));
        outcome.cpu_s = outcome.cpu_s.max(cpu_s(pid));
        if let Some(status) = child.try_wait().expect("its status") {
            outcome.code = ExitStatus::code(&status);
            return outcome;
        }
        if outcome.cpu_s > MOST_CPU_S || began.elapsed() > MOST_WALL {
            outcome.why = "never ended";
        } else if outcome.mib > MOST_MIB {
            outcome.why = "took too much memory";
        } else {
            std::thread::sleep(LOOK_AGAIN);
            continue;
        }
        let _ = child.kill();
        let _ = child.wait();
        return outcome;
    }
}

/// The most memory it ever had.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // User and system time, in ticks of 10 ms.
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Nanoseconds that all its threads ran or waited for a CPU.
fn wanted_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split_whitespace().take(2).filter_map(|ns| ns.parse::<u64>().ok()).sum::<u64>()
    };
    threads.map(|thread| of(thread.path())).sum()
}

/// Runs it in a terminal that `script` makes: until it draws, then for two seconds, then with `q`.
pub(crate) fn on_terminal(arguments: &[String]) -> Outcome {
    let command = format!("stty rows 30 cols 120; exec {} {}", sockflow(), arguments.join(" "));
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let keys = child.stdin.take().expect("stdin");
    let seen = drain(child.stdout.take().expect("stdout"));
    let (talk, busy, pid) = looked_at(&mut child, keys, &seen);
    let pid = pid.unwrap_or_else(|| child.id());
    let mut outcome = watched(&mut child, pid);
    outcome.talk = talk + &text(&seen.iter().flat_map(|(_, kept)| kept).collect::<Vec<u8>>());
    outcome.busy = busy;
    outcome
}

fn looked_at(
    child: &mut Child,
    mut keys: ChildStdin,
    seen: &Receiver<(u64, Vec<u8>)>,
) -> (String, f64, Option<u32>) {
    let mut talk = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let Ok((_, kept)) = seen.recv_timeout(Duration::from_millis(200)) else {
            if child.try_wait().ok().flatten().is_some() {
                break;
            }
            continue;
        };
        talk.extend(kept);
        // Its first line.
        if String::from_utf8_lossy(&talk).contains("PAUSED") {
            break;
        }
    }
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let pid = fs::read_to_string(children).unwrap_or_default();
    let pid = pid.split_whitespace().next().and_then(|pid| pid.parse().ok());
    // The rest of the file is read within a moment; then there is nothing to do.
    let settle = Instant::now() + Duration::from_secs(3);
    while Instant::now() < settle {
        if let Ok((_, kept)) = seen.recv_timeout(Duration::from_millis(50)) {
            talk.extend(kept);
        }
    }
    let (before, began) = (pid.map_or(0, wanted_ns), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let wanted = pid.map_or(0, wanted_ns).saturating_sub(before);
    let busy = wanted as f64 / began.elapsed().as_nanos() as f64;
    let _ = keys.write_all(b"q");
    let _ = keys.flush();
    // Held until it has ended: the end of its input would be a hang-up.
    std::thread::sleep(Duration::from_millis(300));
    drop(keys);
    (text(&talk), busy, pid)
}
