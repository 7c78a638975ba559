//! The report as plain data: what all three formats say, and no more.
//!
//! Serialised it is `sockflow.report/1`; `docs/REPORT.md` explains each name. Fields may be added,
//! none may vanish or change its meaning without a new schema number.

mod course;
mod tables;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::aggregate::snapshot::{Finding, Host, Lost, OrphanEnds, Severity};
use crate::diagnose;
use crate::time::Wall;

pub use self::course::{AcceptQueue, Mark, Point, Series, TimeColumn, TimeMap, Timeline};
pub use self::tables::{More, PeerRow, Peers, Phased, Phases, PortRow, ProcessRow};

/// The schema's name in JSON.
pub const SCHEMA: &str = "sockflow.report/1";

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Whether addresses and names of hosts were taken out.
    pub redacted: bool,
    /// What was read.
    pub trace: TraceFile,
    /// Which time is told of.
    pub range: Range,
    /// The service that is told of; `null`: all, or several.
    pub port: Option<u16>,
    /// What the report is limited to, in words, beside what the recording was; empty: nothing.
    pub filter: String,
    /// The answer.
    pub verdict: Verdict,
    /// What was wrong at the worst moment, worst first: as in the snapshot of it.
    pub findings: Vec<Finding>,
    /// What it did.
    pub impact: Impact,
    /// What happened, in order.
    pub timeline: Timeline,
    /// The charts' data.
    pub series: Series,
    /// Times in FIN_WAIT1 over time.
    pub fin_wait1: TimeMap,
    /// What the rows below compare.
    pub phases: Phases,
    /// The services that matter most.
    pub ports: Vec<PortRow>,
    /// The processes that matter most.
    pub processes: Vec<ProcessRow>,
    /// The peers that matter most.
    pub peers: Peers,
    /// Services and processes beyond those listed.
    pub more: More,
    /// Why orphans ended, in the range.
    pub orphan_ends: OrphanEnds,
    /// Orphans that had not ended at the end of the range.
    pub orphans_left: u64,
    /// The doctor at the worst moment.
    pub doctor: Doctor,
    /// How far the numbers can be trusted.
    pub trust: Trust,
    /// The host, and how it was traced.
    pub environment: Environment,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TraceFile {
    /// As it was named on the command line.
    pub file: String,
    /// Version of the file format.
    pub format: String,
    /// Its files, oldest first.
    pub pieces: Vec<Piece>,
    /// How it ends, in words.
    pub ended: String,
    /// Whether it was closed: nothing is missing at its end.
    pub ended_cleanly: bool,
    /// Single events in it, of those the recording asked for.
    pub events: u64,
}

/// One file of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Piece {
    /// Its name, without the folder.
    pub name: String,
    /// Its length when it was read.
    pub bytes: u64,
    /// SHA-256 of that, hexadecimal.
    pub sha256: String,
}

/// A time that is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Range {
    /// Its first moment.
    pub from: Wall,
    /// Its last moment.
    pub to: Wall,
    /// How long.
    pub seconds: f64,
    /// Moments (samples) in it.
    pub moments: usize,
    /// Whether it is all of the trace.
    pub whole: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// How bad it got.
    pub severity: Severity,
    /// In one sentence.
    pub sentence: String,
}

/// What it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Impact {
    /// Orphans the kernel killed (`TCPAbortOnMemory`), on the host.
    pub killed: u64,
    /// Handshakes dropped because an accept queue was full (`ListenOverflows`).
    pub listen_overflows: u64,
    /// Handshakes dropped for any reason (`ListenDrops`), the former included.
    pub listen_drops: u64,
    /// Closed without TIME_WAIT because its table was full (`TCPTimeWaitOverflow`).
    pub time_wait_overflows: u64,
    /// Connections given up because the peer never answered (`TCPAbortOnTimeout`).
    pub timed_out: u64,
    /// Seconds under memory pressure, as seen at the samples.
    pub pressure_s: f64,
    /// Connections opened in the range, as far as the filter lets them through.
    pub opened: u64,
    /// The worst moment: whose worst finding is worst; without any, the one nearest to a limit.
    pub worst: Worst,
    /// Times when something was wrong, in order; bounded.
    pub episodes: Vec<Episode>,
    /// Which of [`Self::episodes`] has the worst moment; `null` without any.
    pub main_episode: Option<usize>,
    /// Episodes beyond those listed.
    pub more_episodes: u64,
    /// All counters of the kernel that moved, by its own names.
    pub counters: BTreeMap<&'static str, u64>,
}

/// The worst moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Worst {
    /// When.
    pub time: Wall,
    /// The command that shows it.
    pub replay: String,
    /// The host's orphans then.
    pub orphans: u64,
    /// Their limit then; `null` where it was not to be seen.
    pub limit: Option<u64>,
    /// Memory that the orphans held, bytes (sampled).
    pub orphan_bytes: u64,
    /// TCP's memory then, pages.
    pub tcp_mem_pages: u64,
    /// `tcp_mem`'s third number then.
    pub tcp_mem_high: Option<u64>,
    /// Bytes a page.
    pub page_bytes: u64,
    /// What the screen's verdict was.
    pub verdict: String,
}

/// A time when something was wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Episode {
    /// Its first moment.
    pub from: Wall,
    /// Its last.
    pub to: Wall,
    /// How long.
    pub seconds: f64,
    /// Whether it was still going on at the end of the range.
    pub open: bool,
    /// Most orphans in it.
    pub orphans: u64,
    /// Orphans killed in it.
    pub killed: u64,
    /// Handshakes dropped in it (`ListenDrops`).
    pub dropped: u64,
    /// What was wrong, in a few words, the worst first.
    pub why: Vec<&'static str>,
}

/// The doctor at the worst moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Doctor {
    /// What it found: a `sockflow.doctor/1` object; `null` where it could not look.
    pub report: Option<diagnose::Report>,
    /// What it could not see, or why it could not look.
    pub note: String,
}

/// How far the numbers can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trust {
    /// In one sentence.
    pub sentence: String,
    /// What was lost in the range.
    pub lost: Lost,
    /// Places of the trace that are damaged or missing; bounded.
    pub gaps: Vec<String>,
    /// Such places beyond those listed.
    pub more_gaps: u64,
    /// Our count of orphans minus the kernel's, where it was furthest from 0.
    pub largest_drift: i64,
    /// When.
    pub largest_drift_time: Wall,
    /// The same at the end.
    pub last_drift: i64,
    /// Which hook each signal had.
    pub signals: Vec<Signal>,
    /// Most CPU that sockflow took, per cent of one.
    pub own_cpu_percent: f64,
    /// Most memory that sockflow took, bytes.
    pub own_rss_bytes: u64,
    /// What the recording itself had to say.
    pub notes: Vec<String>,
    /// What a trace cannot tell.
    pub limits: Vec<String>,
}

/// How a signal was had.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Signal {
    /// Which.
    pub signal: String,
    /// The hook; empty where none could be had.
    pub hook: String,
    /// `exact`, `derived`, `sampled`, `absent`.
    pub fidelity: &'static str,
}

/// The host, and how it was traced.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Environment {
    /// The machine.
    pub host: Host,
    /// Its CPUs.
    pub cpus: u32,
    /// Bytes a page.
    pub page_bytes: u64,
    /// The version of sockflow that recorded.
    pub recorded_by: String,
    /// The version of sockflow that wrote this.
    pub reported_by: &'static str,
    /// The filter of the recording, in words; empty without one.
    pub filter: String,
    /// Which single events it asked for.
    pub detail: String,
    /// Seconds between its samples.
    pub interval_s: f64,
    /// Its command line.
    pub command: Vec<String>,
    /// The kernel's settings by name, when recording began.
    pub sysctls: BTreeMap<String, String>,
}
