//! What the tests of this module share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tracer_common::counters::{Counter, EndDetail, GroupCounters, OrphanEnd};

use super::events::EventsEncoder;
use super::frame::{FileHeader, FrameHeader, Kind};
use super::payload::{EndRecord, encode_checkpoint};
use super::sample::SampleRecord;
use super::{Checkpoint, Cursor, Gap, Machine, Probe, Run, Sink, Trace, Want, Why};
use crate::event::{
    Direction, Event, EventKind, Fidelity, Group, Input, OwnCost, Owner, Service, Totals,
};
use crate::facts::{SettingLine, Settings};
use crate::gauges::Gauges;
use crate::time::{ClockAnchor, Monotonic, Wall};

/// A run with something in every field.
pub(super) fn run() -> Run {
    Run {
        sockflow: "0.1.0".to_owned(),
        host: Machine {
            name: "web-17".to_owned(),
            kernel: "6.18.44".to_owned(),
            boot_id: "0d8b3c0e-8b5b-4f6c-9f5e-1d2c3b4a5f60".to_owned(),
        },
        anchor: ClockAnchor {
            monotonic: Monotonic(5_000_000_000),
            wall: Wall(1_795_365_730_000_000_000),
        },
        began: Monotonic(5_000_000_001),
        fidelity: BTreeMap::from([("state", Fidelity::Exact), ("time_wait", Fidelity::Derived)]),
        probes: vec![Probe {
            signal: "state".to_owned(),
            hook: "tp_btf inet_sock_set_state".to_owned(),
            fidelity: Fidelity::Exact,
        }],
        filter: "port = 9981".to_owned(),
        filtered: true,
        interval_s: 0.1,
        detail: "all".to_owned(),
        sysctls: BTreeMap::from([("net.ipv4.tcp_orphan_retries".to_owned(), "0".to_owned())]),
        settings: Ok(Settings {
            lines: vec![SettingLine {
                file: "/etc/sysctl.conf".to_owned(),
                line: 7,
                key: "net.ipv4.tcp_tw_recycle".to_owned(),
                value: Some("1".to_owned()),
            }],
            absent: ["net.ipv4.tcp_tw_recycle".to_owned()].into(),
            unreadable: vec!["/etc/sysctl.d/9.conf".to_owned()],
        }),
        first_netns: Some(true),
        memory_bytes: 24 << 30,
        page_bytes: 4096,
        cpus: 2,
        notes: vec!["said".to_owned()],
        command: vec!["sockflow".to_owned(), "record".to_owned()],
        baseline: Some(Gauges {
            tcp_ext: BTreeMap::from([("TCPAbortOnMemory", 7)]),
            ..Gauges::default()
        }),
        piece: 3,
        began_for: Why::Size,
    }
}

/// A folder of its own; deleted with all that is in it when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("sockflow-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The event of this number, so that one can tell that it is the right one.
pub(super) fn event(number: u64) -> Event {
    Event {
        at: Monotonic(6_000_000_000 + number * 1000),
        kind: EventKind::OrphanEnd {
            reason: OrphanEnd::Acked,
            detail: EndDetail::None,
            cause: None,
        },
        socket: number,
        local: (IpAddr::from([127, 0, 0, 1]), 9981),
        peer: (IpAddr::from([10, 4, 11, 7]), 40_000),
        owner: None,
        netns: 4_026_531_840,
        born: None,
    }
}

/// What is said in the interval of this number.
pub(super) fn interval(number: u64) -> Vec<Input> {
    let mut counters = GroupCounters::default();
    counters.words[Counter::Opened as usize] = number;
    counters.words[Counter::Orphans as usize] = 3_u64.wrapping_sub(number);
    let group = Group {
        service: Service { port: 9981, direction: Direction::In },
        owner: Some(Owner { pid: 4121, comm: "httpdns".to_owned() }),
        owner_start_ticks: 77,
        cgroup: Some("/system.slice/httpdns.service".to_owned()),
        workload: None,
        alive: true,
        unchecked: 0,
        counters,
    };
    let gauges =
        Gauges { tcp_ext: BTreeMap::from([("TCPAbortOnMemory", 7 + number)]), ..Gauges::default() };
    vec![
        Input::Gauges(gauges),
        Input::Totals(Totals { groups: vec![group], ..Totals::default() }),
        Input::OwnCost(OwnCost { cpu_percent: 0.1, rss_bytes: 1 << 20, events_per_s: 1.0 / 3.0 }),
        Input::Tick(tick(number)),
    ]
}

/// When the interval of this number ends.
pub(super) fn tick(number: u64) -> Monotonic {
    Monotonic(6_000_000_000 + (number + 1) * 1_000_000_000)
}

/// The state after the interval of this number.
pub(super) fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint { version: 1, bytes: format!("state {number}").into_bytes() }
}

/// Puts frames together, right or wrong.
pub(super) struct Frames {
    pub(super) trace: u64,
    pub(super) sequence: u32,
    pub(super) events: u64,
    pub(super) frames: Vec<Vec<u8>>,
}

impl Frames {
    pub(super) const fn new(trace: u64) -> Self {
        Self { trace, sequence: 0, events: 0, frames: Vec::new() }
    }

    /// One frame, numbered as the next.
    pub(super) fn push(&mut self, kind: Kind, events: u32, at: u64, raw: &[u8]) {
        let packed = zstd::bulk::compress(raw, 3).unwrap();
        let stored = if packed.len() < raw.len() { &packed } else { raw };
        let header = FrameHeader {
            kind,
            flags: u8::from(packed.len() < raw.len()),
            trace: self.trace,
            sequence: self.sequence,
            events,
            events_before: self.events,
            first_ns: at,
            last_ns: at,
            stored_len: stored.len() as u32,
            raw_len: raw.len() as u32,
            payload_crc: crc32c::crc32c(stored),
        };
        self.frames.push([&header.encode()[..], stored].concat());
        self.sequence += 1;
        self.events += u64::from(events);
    }

    /// An interval of `events` events, and a checkpoint after every other.
    pub(super) fn interval(&mut self, number: u64, events: u32) {
        let mut encoder = EventsEncoder::new();
        for event in self.events..self.events + u64::from(events) {
            encoder.push(&super::testing::event(event));
        }
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        self.push(Kind::Events, events, tick(number).0 - 1, &payload);
        let sample = SampleRecord::of(&interval(number), Wall(1), self.events);
        self.push(Kind::Sample, 0, tick(number).0, &serde_json::to_vec(&sample).unwrap());
        if number % 2 == 1 {
            let payload = encode_checkpoint(&checkpoint(number), self.events);
            self.push(Kind::Checkpoint, 0, tick(number).0, &payload);
        }
    }

    /// The file.
    pub(super) fn file(&self) -> Vec<u8> {
        [&FileHeader::new(self.trace, 0).encode()[..], &self.frames.concat()].concat()
    }
}

/// A small whole trace: five intervals of three events.
pub(super) fn small() -> Frames {
    let mut frames = Frames::new(0x5eed);
    let run = Run { piece: 0, began_for: Why::Start, ..run() };
    frames.push(Kind::Host, 0, 6_000_000_000, &run.encode().unwrap());
    for number in 0..5 {
        frames.interval(number, 3);
    }
    let end = EndRecord { why: Why::Finished, ..EndRecord::default() };
    frames.push(Kind::End, 0, tick(4).0, &serde_json::to_vec(&end).unwrap());
    frames
}

/// All that reading a trace says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) events: Vec<(u64, Event)>,
    pub(super) inputs: Vec<String>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) gaps: Vec<Gap>,
}

impl Sink for Said {
    fn event(&mut self, number: u64, event: &Event) {
        self.events.push((number, event.clone()));
    }

    fn input(&mut self, input: Input) {
        self.inputs.push(format!("{input:?}"));
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoints.push(checkpoint);
    }

    fn gap(&mut self, gap: &Gap) {
        self.gaps.push(gap.clone());
    }
}

impl Said {
    /// Events that gaps told missing.
    pub(super) fn missing(&self) -> u64 {
        self.gaps.iter().filter_map(|gap| gap.events).sum()
    }

    /// The numbers of the events; each is the event of that number.
    pub(super) fn numbers(&self) -> Vec<u64> {
        for (number, event) in &self.events {
            assert_eq!(*event, super::testing::event(*number));
        }
        self.events.iter().map(|(number, _)| *number).collect()
    }
}

/// Reads from a cursor to the end.
pub(super) fn read_from(trace: &Trace, mut cursor: Cursor) -> Said {
    let mut said = Said::default();
    while trace.read(&mut cursor, Want::Everything, &mut said).unwrap() {}
    said
}

/// Reads all of it.
pub(super) fn read(trace: &Trace) -> Said {
    read_from(trace, trace.start())
}
