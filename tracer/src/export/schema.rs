//! THE table of columns, and the words an event is told in.
//!
//! All three formats have these columns, with these names and units. The writers fill them in this order; `docs/ANALYSIS.md` is made from it. A column may be added
//! at the end at any time; none of these may vanish or change its meaning.

use std::fmt::Write as _;
use std::net::IpAddr;

use tracer_common::counters::OrphanCause;
use tracer_common::reset::ResetReason;
use tracer_common::state::TcpState;

use super::Context;
use super::jsonl::pressure_name;
use super::sides::service_port;
use crate::event::{Direction, Event, EventKind};
use crate::time::{ClockAnchor, Wall};

/// The name and version of this table.
pub const SCHEMA: &str = "sockflow.events/1";

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type in Parquet, physical and logical, as Parquet's own notation has it.
    pub parquet: &'static str,
    /// Whether it can be null: empty in CSV.
    pub nullable: bool,
    /// What it means.
    pub what: &'static str,
}

/// How many columns there are.
pub const WIDTH: usize = 23;

const TEXT: &str = "BYTE_ARRAY (STRING)";

/// All columns.
pub const COLUMNS: [Column; WIDTH] = [
    always("time", "INT64 (TIMESTAMP(NANOS,true))", "when, UTC"),
    always(
        "ts_ns",
        "INT64",
        "the same moment on the host's `CLOCK_MONOTONIC`, ns since boot: differences are right \
         whatever was done to the wall clock",
    ),
    always("host", TEXT, "the machine's name"),
    always(
        "boot_id",
        TEXT,
        "the kernel's id of this boot: `socket` and `ts_ns` compare within one only",
    ),
    always(
        "kind",
        TEXT,
        "`state`, `close`, `orphan_begin`, `orphan_end`, `time_wait_begin`, `time_wait_end`, \
         `reset_in`, `reset_out`; `pressure` is of no socket: its `socket` is 0, its ends 0.0.0.0:0",
    ),
    always(
        "socket",
        "INT64 (INTEGER(64,false))",
        "the socket's cookie, as `ss -e` shows it (`sk:`)",
    ),
    always("family", "INT32 (INTEGER(8,false))", "the socket's: 4 or 6; 6 may have IPv4 ends"),
    always("local_addr", TEXT, "IPv4 mapped into IPv6 is spelt as IPv4"),
    always("local_port", "INT32 (INTEGER(16,false))", ""),
    always("peer_addr", TEXT, "as `local_addr`; `0.0.0.0` or `::` for a listening socket"),
    always("peer_port", "INT32 (INTEGER(16,false))", ""),
    maybe(
        "old",
        TEXT,
        "of `state`: the state left, by the kernel's name; `CLOSE` for a new socket; of \
         `time_wait_end`: the minisocket's, `TIME_WAIT` or `FIN_WAIT2`",
    ),
    maybe(
        "new",
        TEXT,
        "of `state`: the state entered; of `orphan_begin` and `time_wait_begin`: the state it is in",
    ),
    maybe(
        "reason",
        TEXT,
        "of `orphan_end`: `acked`, `time_wait`, `peer_reset`, `timed_out`, `killed`, `other`; of \
         `time_wait_end`: `expired`, `reused`, `killed`; of `reset_out`: the kernel's own, such as \
         `TCP_ABORT_ON_CLOSE` (6.10 and later); of `pressure`: `begins`, `ends`",
    ),
    maybe("owner_pid", "INT32", "the process that opened, accepted or, better, closed it"),
    maybe("owner_comm", TEXT, "its name, which anybody can choose"),
    always("netns", "INT64", "its network namespace: the inode number, as `lsns -t net` shows it"),
    maybe(
        "age_ns",
        "INT64",
        "since the socket was first seen, ns; null if it stood before tracing began",
    ),
    maybe(
        "detail",
        TEXT,
        "what more is known of `reason`: of `killed` `limit` or `memory`, of `other` `linger2` or \
         `overflow`",
    ),
    maybe(
        "direction",
        TEXT,
        "the side of the connection: `in` accepted it, or listens; `out` connected; null where the \
         trace does not tell: the socket stood before recording began, or its beginning was lost, and \
         its ports fit both sides",
    ),
    maybe(
        "service_port",
        "INT32 (INTEGER(16,false))",
        "the listening side's port: `local_port` of `in`, `peer_port` of `out`; null with `direction`",
    ),
    maybe(
        "workload",
        TEXT,
        "the owner's container, pod or systemd unit: `docker:3f4c1a9b0d2e`, `pod:shop/web-0`, \
         `nginx.service`; null where it is not known, or changed while the owner lived",
    ),
    maybe(
        "cause",
        TEXT,
        "of `orphan_end`: what it waited for, where not all was acknowledged: `closed_window`, \
         `unanswered`, `in_flight`; null where that is not known",
    ),
];

const fn always(name: &'static str, parquet: &'static str, what: &'static str) -> Column {
    Column { name, parquet, nullable: false, what }
}

const fn maybe(name: &'static str, parquet: &'static str, what: &'static str) -> Column {
    Column { name, parquet, nullable: true, what }
}

/// The table in Parquet's notation.
#[must_use]
pub fn message() -> String {
    let mut text = String::from("message sockflow {\n");
    for Column { name, parquet, nullable, .. } in COLUMNS {
        let repetition = if nullable { "OPTIONAL" } else { "REQUIRED" };
        let (physical, logical) = parquet.split_once(' ').unwrap_or((parquet, ""));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {repetition} {physical} {name} {logical};");
    }
    text.push('}');
    text
}

/// The table for people.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| column | Parquet type | null | meaning |\n|---|---|---|---|\n");
    for Column { name, parquet, nullable, what } in COLUMNS {
        let null = if nullable { "yes" } else { "" };
        let _ = writeln!(text, "| `{name}` | {parquet} | {null} | {what} |");
    }
    text
}

/// An event in the words of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What has no other words here.
    pub event: &'a Event,
    /// When, on the wall clock.
    pub time: Wall,
    /// What happened.
    pub kind: &'static str,
    /// 4 or 6.
    pub family: u8,
    /// The local end's address.
    pub local: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// The state left.
    pub old: Option<&'static str>,
    /// The state entered, or in which an orphan begins.
    pub new: Option<&'static str>,
    /// Why.
    pub reason: Option<&'static str>,
    /// What more is known of that.
    pub detail: Option<&'static str>,
    /// What an orphan that ended waited for.
    pub cause: Option<&'static str>,
    /// Nanoseconds since it was first seen.
    pub age_ns: Option<u64>,
    /// Which side of its connection it is on: `in` or `out`.
    pub direction: Option<&'static str>,
    /// The listening side's port.
    pub service_port: Option<u16>,
    /// The owner's container, pod or systemd unit. Anybody who may make cgroups can choose it.
    pub workload: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// The row of an event, of whose socket so much is known.
    #[must_use]
    pub fn of(event: &'a Event, context: Context<'a>, anchor: ClockAnchor) -> Self {
        let Context { side, workload } = context;
        let (kind, old, new, reason) = match event.kind {
            EventKind::State { old, new } => {
                ("state", Some(old.kernel_name()), Some(new.kernel_name()), None)
            }
            EventKind::Close => ("close", None, None, None),
            EventKind::OrphanBegin { state } => {
                ("orphan_begin", None, Some(state.kernel_name()), None)
            }
            EventKind::OrphanEnd { reason, .. } => ("orphan_end", None, None, Some(reason.name())),
            EventKind::TimeWaitBegin { substate } => {
                ("time_wait_begin", None, substate.map(TcpState::kernel_name), None)
            }
            EventKind::TimeWaitEnd { substate, reason } => {
                ("time_wait_end", Some(substate.kernel_name()), None, Some(reason.name()))
            }
            EventKind::ResetIn => ("reset_in", None, None, None),
            EventKind::ResetOut { reason } => {
                ("reset_out", None, None, reason.map(ResetReason::name))
            }
            EventKind::Pressure { began } => {
                ("pressure", None, None, Some(pressure_name(Some(began))))
            }
        };
        let (detail, cause) = match event.kind {
            EventKind::OrphanEnd { detail, cause, .. } => {
                (detail.name(), cause.map(OrphanCause::name))
            }
            _ => (None, None),
        };
        Self {
            event,
            time: anchor.wall(event.at),
            kind,
            family: if event.peer.0.is_ipv4() { 4 } else { 6 },
            local: event.local.0.to_canonical(),
            peer: event.peer.0.to_canonical(),
            old,
            new,
            reason,
            detail,
            cause,
            age_ns: event.born.map(|born| event.at.0.saturating_sub(born.0)),
            direction: side.map(|side| match side {
                Direction::In => "in",
                Direction::Out => "out",
            }),
            service_port: service_port(event, side),
            workload,
        }
    }
}
