//! A tracer: started, waited for until it traces, measured, ended, and asked what it lost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::at_exit::AtExit;
use super::figures::number;
use super::storm::{self, PORT};
use super::{Setup, output};

/// State changes of one connection with both ends on this machine.
pub(super) const EVENTS: u64 = 10;

/// How long a tracer may take to be ready, and to catch up.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A kind of tracer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `sockflow top --json`, everything on the host.
    Top,
    /// The same, for the port of the storm.
    TopPort,
    /// `sockflow trace --json` into a file: each event is a line.
    Trace,
    /// libbpf-tools' `tcpstates` into a file: the same.
    Tcpstates,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Top => "sockflow top",
            Self::TopPort => "sockflow top --port",
            Self::Trace => "sockflow trace --json",
            Self::Tcpstates => "tcpstates",
        }
    }

    fn command(self, sockflow: &Path) -> Command {
        let mut command = Command::new(sockflow);
        match self {
            Self::Top => command.args(["top", "--json"]),
            Self::TopPort => command.args(["top", "--json", &format!("--port={PORT}")]),
            Self::Trace => command.args(["trace", "--json"]),
            Self::Tcpstates => {
                command = Command::new("unshare");
                // It needs tracefs, which not every host has mounted; in a mount namespace of its
                // own the host does not get it either. Each program replaces the one before it, so
                // the process id stays.
                command.args(["--mount", "sh", "-c"]).arg(
                    "test -d /sys/kernel/tracing/events \
                     || mount -t tracefs nodev /sys/kernel/tracing; \
                     PATH=$PATH:/usr/sbin:/usr/bin; exec tcpstates",
                )
            }
        };
        command
    }
}

/// What a tracer cost and saw.
pub(super) struct Outcome {
    /// Its CPU time since it was ready, s.
    pub(super) cpu_s: f64,
    /// Most memory of its process, bytes.
    pub(super) rss: f64,
    /// Memory of its BPF maps, bytes.
    pub(super) maps: f64,
    /// State changes of the storm that it showed; of `top`, those that its totals stand for.
    pub(super) seen: f64,
    /// Losses it told itself.
    pub(super) told: f64,
}

/// A running tracer.
pub(super) struct Tracer {
    kind: Kind,
    child: Child,
    /// Ends it, also when this process is interrupted.
    end: Option<AtExit>,
    out: PathBuf,
    err: PathBuf,
    cpu_at_start: f64,
}

impl Tracer {
    /// Starts it and returns once it traces.
    pub(super) fn start(setup: &Setup, kind: Kind, sockflow: &Path) -> Result<Self> {
        let out = output(&setup.folder, &format!("{}.out", kind.name()));
        let err = output(&setup.folder, &format!("{}.err", kind.name()));
        let child = kind
            .command(sockflow)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .with_context(|| format!("cannot run {}", kind.name()))?;
        // SIGINT is the one that each of them ends by in good order.
        let end = AtExit::new(&format!("kill -INT {}", child.id()))?;
        let mut tracer = Self { kind, child, end: Some(end), out, err, cpu_at_start: 0.0 };
        tracer.wait_until_ready(&setup.sockflow)?;
        Ok(tracer)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `top` prints its first snapshot when all is attached. The others print when there is
    /// something to print (tcpstates holds even its header back until a buffer is full), so a few
    /// connections are made until that shows.
    fn wait_until_ready(&mut self, sockflow: &Path) -> Result<()> {
        let start = Instant::now();
        while fs::metadata(&self.out)?.len() == 0 {
            if let Some(status) = self.child.try_wait()? {
                let why = fs::read_to_string(&self.err).unwrap_or_default();
                bail!("{} ended at once ({status})\n{}", self.kind.name(), why.trim());
            }
            ensure!(start.elapsed() < PATIENCE, "{} does not get ready", self.kind.name());
            if matches!(self.kind, Kind::Trace | Kind::Tcpstates) {
                storm::poke(sockflow)?;
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// What it uses from here on counts.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.catch_up()?;
        self.cpu_at_start = self.cpu_s()?;
        Ok(())
    }

    /// Waits until it has read what there is, takes its measure, ends it and reads what it said.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        self.catch_up()?;
        let cpu_s = self.cpu_s()? - self.cpu_at_start;
        let rss = self.rss()?;
        let maps = self.maps()?;
        drop(self.end.take());
        let status = self.child.wait()?;
        let err = fs::read_to_string(&self.err)?;
        // Without a handler for it, SIGINT would have cut off the last lines.
        ensure!(status.code().is_some(), "{} was killed ({status})\n{err}", self.kind.name());
        let (seen, told) = self.kind.account(&fs::read_to_string(&self.out)?, &err)?;
        fs::remove_file(&self.out)?;
        Ok(Outcome { cpu_s, rss, maps, seen, told })
    }

    /// Until it uses less than a tenth of a CPU.
    fn catch_up(&self) -> Result<()> {
        const WINDOW: Duration = Duration::from_millis(100);
        let start = Instant::now();
        let mut before = self.cpu_s()?;
        while start.elapsed() < PATIENCE {
            sleep(WINDOW);
            let now = self.cpu_s()?;
            if now - before < WINDOW.as_secs_f64() / 10.0 {
                return Ok(());
            }
            before = now;
        }
        bail!("{} does not catch up", self.kind.name())
    }

    /// CPU time of all its threads; the scheduler's own account is in nanoseconds.
    fn cpu_s(&self) -> Result<f64> {
        let mut ns = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let account = fs::read_to_string(task?.path().join("schedstat"))?;
            ns += account.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(ns / 1e9)
    }

    fn rss(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kib = field(&status, "VmHWM:").context("no VmHWM")?;
        Ok(kib * 1024.0)
    }

    fn maps(&self) -> Result<f64> {
        let fds = descriptors(self.pid())?;
        let maps = fds.iter().filter(|info| info.contains("map_type:"));
        Ok(maps.filter_map(|info| field(info, "memlock:")).sum())
    }
}

/// What `/proc` tells of each of a process's descriptors.
pub(super) fn descriptors(pid: u32) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // It may have closed one meanwhile.
        if let Ok(text) = fs::read_to_string(entry?.path()) {
            all.push(text);
        }
    }
    Ok(all)
}

/// The number on the line of a `/proc` file that begins with `name`.
pub(super) fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Kind {
    /// State changes of the storm in the tracer's output, and the losses it owns up to.
    fn account(self, out: &str, err: &str) -> Result<(f64, f64)> {
        Ok(match self {
            Self::Top | Self::TopPort => {
                let last = out.lines().next_back().context("top printed nothing")?;
                let names = ["detail", "untracked", "missed"];
                let (_, lost) = last.split_once("\"lost\":").context("top tells no losses")?;
                let told = names.iter().filter_map(|name| number(lost, name)).sum();
                (of_snapshot(last), told)
            }
            Self::Trace => {
                let port = format!("\"port\":{PORT}}}");
                let of_storm =
                    |line: &&str| line.contains("\"kind\":\"state\"") && line.contains(&port);
                (out.lines().filter(of_storm).count() as f64, told(err))
            }
            Self::Tcpstates => {
                let port = PORT.to_string();
                // From the end, for a name may have spaces: ms, new, ->, old, port, address, port.
                let of_storm = |line: &&str| {
                    let mut fields = line.split_whitespace().rev().skip(4).step_by(2);
                    fields.next() == Some(&port) || fields.next() == Some(&port)
                };
                (out.lines().filter(of_storm).count() as f64, told(err))
            }
        })
    }
}

/// The changes that a snapshot's rows of the storm's port stand for: a connection opened and closed
/// on one side is half of its events.
fn of_snapshot(json: &str) -> f64 {
    let row = format!("\"port\":{PORT},\"direction\":");
    let sides: f64 = json
        .split(&row)
        .skip(1)
        .filter_map(|row| {
            let (_, totals) = row.split_once("\"totals\":")?;
            Some(number(totals, "opened")?.min(number(totals, "closed")?))
        })
        .sum();
    sides * EVENTS as f64 / 2.0
}

/// The sum over all "lost N events".
fn told(err: &str) -> f64 {
    let after = err.split("lost ").skip(1);
    after.filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_storm_are_told_from_others() {
        let out = "SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS\n\
                   ffff88 12 a b 127.0.0.1 9981 127.0.0.2 44219 FIN_WAIT2 -> CLOSE 0.009\n\
                   ffff88 12 a b 127.0.0.2 44219 127.0.0.1 9981 LAST_ACK -> CLOSE 0.009\n\
                   ffff88 12 a b 127.0.0.2 44219 127.0.0.1 9980 LAST_ACK -> CLOSE 0.009\n";
        let err = "lost 7 events on CPU #1!\nlost 5 events on CPU #0!\n";
        assert_eq!(Kind::Tcpstates.account(out, err).unwrap(), (2.0, 12.0));
    }

    #[test]
    fn totals_of_both_sides_make_all_events() {
        let totals = r#""totals":{"opened":4,"closed":4,"standing":0}"#;
        let row = |port: u16| format!(r#"{{"port":{port},"direction":"in",{totals}}}"#);
        let json = format!("{{\"ports\":[{},{},{}]}}", row(9981), row(9981), row(80));
        assert_eq!(of_snapshot(&json), 40.0);
    }
}
