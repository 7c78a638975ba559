//! The tracers there are: sockflow's commands, other tools, and the floors; how each is run, and
//! what it says it saw.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::storm::{PORT, WARM_UP};
use super::{Setup, output};
use crate::shell;

/// State changes of one connection with both ends on this machine.
pub(super) const EVENTS: u64 = 10;

/// A kind of tracer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `sockflow top --json`, everything on the host.
    Top,
    /// The same, for the port of the storm.
    TopPort,
    /// `sockflow record`: every event into a trace file.
    Record,
    /// `sockflow trace --json` into a file: each event is a line.
    Trace,
    /// libbpf-tools' `tcpstates` into a file: the same.
    Tcpstates,
    /// libbpf-tools' `tcplife` into a file: a line for each socket that is gone.
    Tcplife,
    /// bpftrace, a line for each event.
    BpftracePrint,
    /// bpftrace, counting in a map.
    BpftraceCount,
    /// perf, recording the tracepoint.
    PerfRecord,
    /// A program that does nothing.
    FloorEmpty,
    /// A program that counts in a per-CPU hash.
    FloorCount,
    /// A program that also has an entry for each socket.
    FloorFollow,
    /// The same, in the kernel's socket storage.
    FloorStorage,
    /// The same, in an array at the low bits of the socket's cookie.
    FloorSlot,
    /// A program that also puts 32 bytes on a ring.
    FloorRecord,
}

/// One line for each event; `%d` of the ports first.
const PRINT: &str = r#"BEGIN { printf("ready\n"); }
tracepoint:sock:inet_sock_set_state {
    printf("%d %d %d %d %d %s\n", args->sport, args->dport, args->oldstate, args->newstate,
           pid, comm); }"#;
const COUNT: &str = r#"BEGIN { printf("ready\n"); }
tracepoint:sock:inet_sock_set_state { @[args->newstate] = count(); }"#;

impl Kind {
    /// From the least on.
    pub(super) const FLOORS: [Self; 4] =
        [Self::FloorEmpty, Self::FloorCount, Self::FloorFollow, Self::FloorRecord];
    /// Other ways to have an entry a socket.
    pub(super) const WAYS_TO_FOLLOW: [Self; 2] = [Self::FloorStorage, Self::FloorSlot];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Top => "sockflow top",
            Self::TopPort => "sockflow top --port",
            Self::Record => "sockflow record",
            Self::Trace => "sockflow trace --json",
            Self::Tcpstates => "tcpstates",
            Self::Tcplife => "tcplife",
            Self::BpftracePrint => "bpftrace, printing",
            Self::BpftraceCount => "bpftrace, counting",
            Self::PerfRecord => "perf record",
            Self::FloorEmpty => "floor: empty program",
            Self::FloorCount => "floor: per-CPU hash",
            Self::FloorFollow => "floor: with an entry a socket",
            Self::FloorStorage => "floor: with socket storage",
            Self::FloorSlot => "floor: with a slot a socket",
            Self::FloorRecord => "floor: with a ring record",
        }
    }

    /// The Debian package it comes from.
    pub(super) const fn package(self) -> Option<&'static str> {
        match self {
            Self::Tcpstates | Self::Tcplife => Some("libbpf-tools"),
            Self::BpftracePrint | Self::BpftraceCount => Some("bpftrace"),
            Self::PerfRecord => Some("linux-perf"),
            _ => None,
        }
    }

    pub(super) fn command(self, setup: &Setup, sockflow: &Path) -> Command {
        let mut command = Command::new(sockflow);
        match self {
            Self::Top => command.args(["top", "--json"]),
            Self::TopPort => command.args(["top", "--json", &format!("--port={PORT}")]),
            Self::Record => {
                command.args(["record", "--force", "-o"]).arg(self.file(setup).unwrap_or_default())
            }
            Self::Trace => command.args(["trace", "--json"]),
            Self::Tcpstates => return with_tracefs(&["tcpstates"]),
            Self::Tcplife => return with_tracefs(&["tcplife"]),
            Self::BpftracePrint => return with_tracefs(&["bpftrace", "-e", PRINT]),
            Self::BpftraceCount => return with_tracefs(&["bpftrace", "-e", COUNT]),
            Self::PerfRecord => {
                let mut command =
                    with_tracefs(&["perf", "record", "-q", "-a", "-e", "sock:inet_sock_set_state"]);
                command.arg("-o").arg(self.file(setup).unwrap_or_default());
                return command;
            }
            Self::FloorEmpty => return floor(setup, "floor_empty"),
            Self::FloorCount => return floor(setup, "floor_count"),
            Self::FloorFollow => return floor(setup, "floor_follow"),
            Self::FloorStorage => return floor(setup, "floor_storage"),
            Self::FloorSlot => return floor(setup, "floor_slot"),
            Self::FloorRecord => return floor(setup, "floor_record"),
        };
        command
    }

    /// Where it writes, if not to stdout.
    pub(super) fn file(self, setup: &Setup) -> Option<PathBuf> {
        matches!(self, Self::Record | Self::PerfRecord)
            .then(|| output(&setup.folder, &format!("{}.data", self.name())))
    }

    /// Whether what it writes is its events.
    pub(super) const fn keeps_events(self) -> bool {
        matches!(
            self,
            Self::Record
                | Self::Trace
                | Self::Tcpstates
                | Self::Tcplife
                | Self::BpftracePrint
                | Self::PerfRecord
        )
    }

    /// Whether it says nothing before there are events; then a few are made.
    pub(super) const fn is_mute(self) -> bool {
        matches!(self, Self::Trace | Self::Tcpstates | Self::Tcplife)
    }

    /// Events of the storm that it is asked for. With a filter on the server's port, only the
    /// accepted sockets are followed: half of all events. `sockflow trace` begins an accepted socket
    /// with SYN_RECV to ESTABLISHED: at the change before, it has no cookie of its own on every
    /// kernel. `record` keeps more than changes: close(), orphans' begin and end, TIME_WAIT. Those
    /// that cannot tell ports have counted the warm-up too.
    pub(super) fn expected(self, connections: f64) -> f64 {
        let with_warm_up = connections + WARM_UP as f64;
        match self {
            Self::TopPort => connections * 5.0,
            Self::Trace => connections * 9.0,
            Self::Tcplife => connections * 2.0,
            Self::Record => with_warm_up * 16.0,
            Self::BpftraceCount | Self::PerfRecord => with_warm_up * EVENTS as f64,
            _ => connections * EVENTS as f64,
        }
    }

    /// Events in the tracer's output, of the storm or as [`Self::expected`] says, and the losses
    /// it owns up to.
    pub(super) fn account(self, setup: &Setup, out: &str, err: &str) -> Result<(f64, f64)> {
        Ok(match self {
            Self::Top | Self::TopPort => {
                let last = out.lines().next_back().context("top printed nothing")?;
                let last: Value = serde_json::from_str(last)?;
                let names = ["detail", "untracked", "missed"];
                let told = names.iter().filter_map(|name| last["lost"][name].as_f64()).sum();
                (of_snapshot(&last).context("top tells no totals")?, told)
            }
            Self::Record => {
                let summary = err.lines().find(|line| line.contains(": recorded ")).unwrap_or("");
                let count = |from: &str, to: &str| -> Option<f64> {
                    let (_, rest) = summary.split_once(from)?;
                    let digits = rest.split(to).next()?.replace(',', "");
                    digits.trim().rsplit(' ').next()?.parse().ok()
                };
                let events = count(": recorded ", " events").context("record tells no events")?;
                (events, count(", lost ", "\n").context("record tells no losses")?)
            }
            Self::Trace => {
                let port = format!("\"port\":{PORT}}}");
                let of_storm =
                    |line: &&str| line.contains("\"kind\":\"state\"") && line.contains(&port);
                (out.lines().filter(of_storm).count() as f64, told(err))
            }
            // From the end, for a name may have spaces: ms, new, ->, old, port, address, port.
            Self::Tcpstates => (of_port(out, 4), told(err)),
            // ms, received, sent, port, address, port.
            Self::Tcplife => (of_port(out, 3), told(err)),
            Self::BpftracePrint => {
                let port = PORT.to_string();
                let of_storm = |line: &&str| line.split(' ').take(2).any(|word| word == port);
                (out.lines().filter(of_storm).count() as f64, told(&format!("{out}{err}")))
            }
            Self::BpftraceCount => {
                let counts =
                    out.lines().filter_map(|line| line.strip_prefix("@[")?.split_once("]: "));
                (counts.filter_map(|(_, count)| count.trim().parse::<f64>().ok()).sum(), told(err))
            }
            Self::PerfRecord => {
                let file = self.file(setup).unwrap_or_default();
                let stats =
                    shell::read(Command::new("perf").args(["report", "--stats", "-i"]).arg(file))?;
                let count = |name: &str| {
                    let line = stats.lines().find(|line| line.trim_start().starts_with(name))?;
                    line.split_whitespace().find_map(|word| word.parse::<f64>().ok())
                };
                (count("SAMPLE events:").unwrap_or(0.0), count("LOST events:").unwrap_or(0.0))
            }
            Self::FloorEmpty
            | Self::FloorCount
            | Self::FloorFollow
            | Self::FloorStorage
            | Self::FloorSlot
            | Self::FloorRecord => (f64::NAN, f64::NAN),
        })
    }

    /// Takes away what it left.
    pub(super) fn clean(self, setup: &Setup) -> Result<()> {
        self.file(setup).map_or(Ok(()), |file| Ok(fs::remove_file(file)?))
    }
}

/// A tool that needs tracefs, which not every host has mounted; in a mount namespace of its own the
/// host does not get it either. Each program replaces the one before it, so the process id stays.
fn with_tracefs(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "test -d /sys/kernel/tracing/events \
             || mount -t tracefs nodev /sys/kernel/tracing; \
             PATH=$PATH:/usr/sbin:/usr/bin; exec \"$@\"",
        )
        .arg("sh")
        .args(words);
    command
}

fn floor(setup: &Setup, program: &str) -> Command {
    let mut command = Command::new(&setup.floors);
    command.arg(setup.folder.join(super::FLOORS_OBJECT)).arg(program);
    command
}

/// The changes that a snapshot's rows of the storm's port stand for: a connection opened and closed
/// on one side is half of its events.
fn of_snapshot(snapshot: &Value) -> Option<f64> {
    let mut sides = 0.0;
    for row in snapshot["ports"].as_array()? {
        if row["port"] == PORT {
            let total = |name: &str| row["totals"][name].as_f64();
            sides += total("opened")?.min(total("closed")?);
        }
    }
    Some(sides * EVENTS as f64 / 2.0)
}

/// Lines about the storm's port, which is the field so far from the end, or the one two before.
fn of_port(out: &str, from_end: usize) -> f64 {
    let port = PORT.to_string();
    let of_storm = |line: &&str| {
        let mut fields = line.split_whitespace().rev().skip(from_end).step_by(2);
        fields.next() == Some(&port) || fields.next() == Some(&port)
    };
    out.lines().filter(of_storm).count() as f64
}

/// The sum over all "lost N events".
fn told(err: &str) -> f64 {
    let err = err.to_lowercase();
    let after = err.split("lost ").skip(1);
    after.filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(kind: Kind, out: &str, err: &str) -> (f64, f64) {
        let setup = Setup {
            sockflow: PathBuf::new(),
            floors: PathBuf::new(),
            folder: PathBuf::from("/nowhere"),
        };
        kind.account(&setup, out, err).unwrap()
    }

    #[test]
    fn events_of_the_storm_are_told_from_others() {
        let out = "SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS\n\
                   ffff88 12 a b 127.0.0.1 9981 127.0.0.2 44219 FIN_WAIT2 -> CLOSE 0.009\n\
                   ffff88 12 a b 127.0.0.2 44219 127.0.0.1 9981 LAST_ACK -> CLOSE 0.009\n\
                   ffff88 12 a b 127.0.0.2 44219 127.0.0.1 9980 LAST_ACK -> CLOSE 0.009\n";
        let err = "lost 7 events on CPU #1!\nlost 5 events on CPU #0!\n";
        assert_eq!(account(Kind::Tcpstates, out, err), (2.0, 12.0));
        let out = "PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS\n\
                   12 a b 127.0.0.1 9981 127.0.0.2 44219 0 0 0.1\n\
                   12 a b 127.0.0.2 44219 127.0.0.1 9981 0 0 0.1\n";
        assert_eq!(account(Kind::Tcplife, out, ""), (2.0, 0.0));
        let out = "Attaching 2 probes...\nready\n9981 44219 1 4 12 a b\n44219 9980 1 4 12 a b\n";
        assert_eq!(account(Kind::BpftracePrint, out, "Lost 3 events\n"), (1.0, 3.0));
        assert_eq!(account(Kind::BpftraceCount, "ready\n\n@[7]: 12\n@[1]: 3\n", ""), (15.0, 0.0));
    }

    #[test]
    fn totals_of_both_sides_make_all_events() {
        let totals = json!({"closed": 4, "opened": 4, "standing": 0});
        let row = |port: u16| json!({"direction": "in", "port": port, "totals": totals});
        let snapshot = json!({"ports": [row(PORT), row(PORT), row(80)]});
        assert_eq!(of_snapshot(&snapshot), Some(40.0));
        assert_eq!(of_snapshot(&json!({"ports": [{"port": PORT}]})), None);
    }

    #[test]
    fn a_recordings_summary_is_read() {
        let err = "sockflow: recorded 4.1 s: 1,632,000 events, 2.1 MiB (1.3 bytes an event), lost 1,204\n\
                   look at it: sockflow replay x\n";
        assert_eq!(account(Kind::Record, "", err), (1_632_000.0, 1204.0));
    }
}
