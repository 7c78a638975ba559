//! The result of a run: exact numbers, as JSON for scripts and as a few lines for people.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::control::Ended;
use super::plan::{Mode, Release};
use super::socket::Failures;
use super::sysctl::Changed;
use crate::stdio;

/// The JSON object's schema.
pub const SCHEMA: &str = "sockflow.storm/1";

/// The process whose sockets the server's were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its pid.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub comm: String,
}

impl Server {
    pub(super) fn this_process() -> Self {
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        Self { pid: std::process::id(), comm: comm.trim_end().to_owned() }
    }
}

/// The orphans of a zero-window run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// Sockets closed with unsent data against a zero window.
    pub left: u64,
    /// Bytes in their send queues at that moment.
    pub bytes: u64,
    /// Those of them the kernel reset before their clients let go.
    pub killed: u64,
    /// How clients let go of the others.
    pub release: Release,
}

/// The kernel's own account, from `/proc/net/sockstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockstat {
    /// Orphans of the whole host.
    pub orphan: u64,
    /// TIME_WAIT and FIN_WAIT2 minisockets of the network namespace.
    pub tw: u64,
    /// Pages of TCP memory of the whole host.
    pub mem: u64,
}

impl Sockstat {
    pub(super) fn read() -> Option<Self> {
        // `thread-self`: /proc/net is that of the main thread, which may be in another namespace.
        let text = std::fs::read_to_string("/proc/thread-self/net/sockstat").ok()?;
        let words: Vec<&str> =
            text.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_whitespace().collect();
        let value = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse().ok()
        };
        Some(Self { orphan: value("orphan")?, tw: value("tw")?, mem: value("mem")? })
    }
}

/// The kernel's account before, in the middle and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Before the first connection.
    pub before: Option<Sockstat>,
    /// While orphans stood.
    pub standing: Option<Sockstat>,
    /// After the last close.
    pub after: Option<Sockstat>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Who ended the connections, and how.
    pub mode: Mode,
    /// 4 or 6.
    pub family: u8,
    /// Where the server listened.
    pub ports: Vec<u16>,
    /// Connections asked for.
    pub requested: u64,
    /// Connections whose both ends are closed, in the way the mode says.
    pub completed: u64,
    /// Failures by errno.
    pub failed: Failures,
    /// Connections that stood open together (hold).
    pub held: Option<u64>,
    /// The processes that held them, where one alone could not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<u32>,
    /// Zero-window only.
    pub orphans: Option<Orphans>,
    /// Settings changed, and whether they are as before.
    pub sysctls: Vec<Changed>,
    /// Whether it ran in a network namespace of its own.
    pub netns: bool,
    /// The kernel's view.
    pub sockstat: Account,
    /// Whose the server sockets were.
    pub server: Server,
    /// Why it came to its end.
    pub ended: Ended,
    /// Seconds until all connections were made (and, unless they were to stay, closed).
    pub busy_s: f64,
    /// Seconds in all.
    pub elapsed_s: f64,
    /// Connections made in each second of `busy_s`.
    pub per_s: f64,
}

impl Report {
    /// What went wrong, if anything did. Stopping early when told to is not wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if let Some(stuck) = self.sysctls.iter().find(|change| !change.restored) {
            return Some(format!("{} was not restored to {}", stuck.key, stuck.from));
        }
        // Without a port left, early-bind has come to what it is for.
        let is_the_fault = |name: &str| self.mode == Mode::EarlyBind && name == "EADDRINUSE";
        let failed = self.failed.iter().filter(|(name, _)| !is_the_fault(name));
        let failed: u64 = failed.map(|(_, count)| count).sum();
        (failed > 0 || self.ended == Ended::Failing)
            .then(|| format!("{failed} of {} connections failed", self.requested))
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            "storm: {} of {} connections completed on port {} (IPv{}), {:.0}/s, {:.2} s in all",
            self.completed,
            self.requested,
            ports.join(","),
            self.family,
            self.per_s,
            self.elapsed_s
        )?;
        writeln!(f, "  server   {} ({})", self.server.pid, self.server.comm)?;
        if let Some(held) = self.held {
            writeln!(f, "  held     {held} at a time")?;
        }
        if let Some(orphans) = &self.orphans {
            writeln!(
                f,
                "  orphans  {} left with {} bytes unsent, {} of them killed by the kernel",
                orphans.left, orphans.bytes, orphans.killed
            )?;
        }
        for (name, count) in &self.failed {
            writeln!(f, "  failed   {count} with {name}")?;
        }
        if self.failed.contains_key("EADDRNOTAVAIL") {
            writeln!(
                f,
                "  hint     every source port was in TIME_WAIT; add listeners with --ports, or see \
                 net.ipv4.tcp_tw_reuse"
            )?;
        }
        for change in &self.sysctls {
            let Changed { key, from, to, .. } = change;
            let outcome = if change.restored { "restored" } else { "NOT restored" };
            writeln!(f, "  sysctl   {key}: {from} -> {to}, {outcome}")?;
        }
        if let (Some(before), Some(after)) = (self.sockstat.before, self.sockstat.after) {
            let middle = self
                .sockstat
                .standing
                .map_or(String::new(), |standing| format!(" -> {}", standing.orphan));
            writeln!(
                f,
                "  kernel   orphans {}{middle} -> {}, time_wait {} -> {}",
                before.orphan, after.orphan, before.tw, after.tw
            )?;
        }
        match self.ended {
            Ended::Complete => Ok(()),
            Ended::Duration => writeln!(f, "  stopped  by --duration"),
            Ended::Signal => writeln!(f, "  stopped  by a signal"),
            Ended::Hangup => writeln!(f, "  stopped  by the end of stdin"),
            Ended::Failing => writeln!(f, "  stopped  because connections kept failing"),
        }
    }
}

/// Says that what was asked for stands: the line that scripts wait for. On a terminal the progress shows it.
pub(super) fn announce(count: u64) {
    if rustix::termios::isatty(rustix::stdio::stdout()) {
        return;
    }
    let mut stdout = stdio::out();
    let _ = writeln!(stdout, "holding {count}").and_then(|()| stdout.flush());
}
