//! JSON lines: `sockflow.event/1`, which `trace --json` prints, and the columns of
//! [`schema`], which `export` writes: there names, types and units are those of the other
//! formats, nulls are written, and every line has host and boot.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;

use super::schema::{self, Row};
use super::stamp::Stamp;
use super::{About, Account, Context, Writer};
use crate::event::{Event, EventKind, Owner};
use crate::time::{ClockAnchor, Monotonic};

const SCHEMA: &str = "sockflow.event/1";

#[derive(Serialize)]
struct EventJson<'a> {
    schema: &'static str,
    time: &'a str,
    ts_ns: u64,
    kind: &'static str,
    socket: String,
    family: u8,
    local: EndJson,
    peer: EndJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'static str>,
    owner: Option<&'a Owner>,
    netns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What more is known of `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    /// What an orphan that ended waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
}

#[derive(Serialize)]
struct EndJson {
    addr: IpAddr,
    port: u16,
}

/// What is no socket's event: `tcp_mem` comes under pressure, or out of it.
#[derive(Serialize)]
struct PressureJson<'a> {
    schema: &'static str,
    time: &'a str,
    ts_ns: u64,
    kind: &'static str,
    reason: &'static str,
}

/// Makes lines of events.
#[derive(Debug)]
pub struct Lines {
    anchor: ClockAnchor,
    stamp: Stamp,
    line: Vec<u8>,
}

impl Lines {
    /// `anchor` gives events their wall time.
    #[must_use]
    pub fn new(anchor: ClockAnchor) -> Self {
        Self { anchor, stamp: Stamp::default(), line: Vec::with_capacity(512) }
    }

    /// The line of an event, with its end.
    ///
    /// # Errors
    ///
    /// None that can be: the type has nothing that JSON lacks.
    pub fn event(&mut self, event: &Event) -> serde_json::Result<&[u8]> {
        if let EventKind::Pressure { began } = event.kind {
            return self.pressure(event.at, Some(began));
        }
        let row = Row::of(event, Context::default(), self.anchor);
        let object = EventJson {
            schema: SCHEMA,
            time: self.stamp.millis(row.time),
            ts_ns: event.at.0,
            kind: row.kind,
            socket: event.socket.to_string(),
            family: row.family,
            local: EndJson { addr: row.local, port: event.local.1 },
            peer: EndJson { addr: row.peer, port: event.peer.1 },
            old: row.old,
            new: row.new,
            owner: event.owner.as_deref(),
            netns: event.netns,
            age_ms: row.age_ns.map(|age| age as f64 / 1e6),
            reason: row.reason,
            detail: row.detail,
            cause: row.cause,
        };
        line(&mut self.line, &object)
    }

    /// The line of a change of `tcp_mem`'s pressure, with its end; `None` where it cannot be known
    /// any more.
    ///
    /// # Errors
    ///
    /// As [`Lines::event`].
    pub fn pressure(&mut self, at: Monotonic, on: Option<bool>) -> serde_json::Result<&[u8]> {
        let object = PressureJson {
            schema: SCHEMA,
            time: self.stamp.millis(self.anchor.wall(at)),
            ts_ns: at.0,
            kind: "pressure",
            reason: pressure_name(on),
        };
        line(&mut self.line, &object)
    }
}

/// `begins`, `ends` or `unknown`.
#[must_use]
pub const fn pressure_name(on: Option<bool>) -> &'static str {
    match on {
        Some(true) => "begins",
        Some(false) => "ends",
        None => "unknown",
    }
}

fn line<'a>(buffer: &'a mut Vec<u8>, object: &impl Serialize) -> serde_json::Result<&'a [u8]> {
    buffer.clear();
    serde_json::to_writer(&mut *buffer, object)?;
    buffer.push(b'\n');
    Ok(buffer)
}

/// The columns, in the order of the table.
#[derive(Serialize)]
struct RowJson<'a> {
    schema: &'static str,
    time: &'a str,
    ts_ns: u64,
    host: &'a str,
    boot_id: &'a str,
    kind: &'static str,
    socket: u64,
    family: u8,
    local_addr: IpAddr,
    local_port: u16,
    peer_addr: IpAddr,
    peer_port: u16,
    old: Option<&'static str>,
    new: Option<&'static str>,
    reason: Option<&'static str>,
    owner_pid: Option<u32>,
    owner_comm: Option<&'a str>,
    netns: u32,
    age_ns: Option<u64>,
    detail: Option<&'static str>,
    direction: Option<&'static str>,
    service_port: Option<u16>,
    workload: Option<&'a str>,
    cause: Option<&'static str>,
}

/// Writes the columns as lines.
#[derive(Debug)]
pub struct Jsonl<W> {
    out: W,
    anchor: ClockAnchor,
    host: String,
    boot_id: String,
    stamp: Stamp,
    line: Vec<u8>,
}

impl<W: Write> Jsonl<W> {
    /// Lines to `out`, which should have a buffer.
    pub fn new(out: W, about: &About) -> Self {
        Self {
            out,
            anchor: about.anchor,
            host: about.host.clone(),
            boot_id: about.boot_id.clone(),
            stamp: Stamp::default(),
            line: Vec::with_capacity(1024),
        }
    }
}

impl<W: Write> Writer for Jsonl<W> {
    fn event(&mut self, event: &Event, context: Context<'_>) -> io::Result<()> {
        let row = Row::of(event, context, self.anchor);
        let owner = event.owner.as_deref();
        let object = RowJson {
            schema: schema::SCHEMA,
            time: self.stamp.nanos(row.time),
            ts_ns: event.at.0,
            host: &self.host,
            boot_id: &self.boot_id,
            kind: row.kind,
            socket: event.socket,
            family: row.family,
            local_addr: row.local,
            local_port: event.local.1,
            peer_addr: row.peer,
            peer_port: event.peer.1,
            old: row.old,
            new: row.new,
            reason: row.reason,
            owner_pid: owner.map(|owner| owner.pid),
            owner_comm: owner.map(|owner| owner.comm.as_str()),
            netns: event.netns,
            age_ns: row.age_ns,
            detail: row.detail,
            direction: row.direction,
            service_port: row.service_port,
            workload: row.workload,
            cause: row.cause,
        };
        self.out.write_all(line(&mut self.line, &object)?)
    }

    fn finish(mut self: Box<Self>, _: &Account) -> io::Result<()> {
        self.out.flush()
    }
}
