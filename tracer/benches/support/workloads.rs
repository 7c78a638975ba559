//! What is measured of user space: in time (`benches/core.rs`), and in instructions
//! (`examples/instructions.rs`).

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::Arc;

use sockflow::aggregate::snapshot::{Host, Snapshot, SourceKind};
use sockflow::aggregate::{Aggregator, Settings};
use sockflow::bpf::decode::{event, record};
use sockflow::bpf::known::ResetReasons;
use sockflow::event::{Direction, Event, Group, Input, Owner, Service, Totals};
use sockflow::facts::Unknown;
use sockflow::facts::observer::Observer;
use sockflow::filter::Filter;
use sockflow::recording::events::{EventsEncoder, decode};
use sockflow::time::{ClockAnchor, Monotonic, Wall};
use sockflow::tui::Canvas;
use tracer_common::abi::{EventKind, EventRecord};
use tracer_common::counters::{Counter, GroupCounters};
use tracer_common::state::TcpState;

use crate::traffic::Traffic;

const SECOND: u64 = 1_000_000_000;

/// Something to be measured: `run` does it once, for so many `items`.
pub(crate) struct Workload {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many of what it is about.
    pub(crate) items: u64,
    /// Does it.
    pub(crate) run: Box<dyn FnMut() -> u64>,
}

/// All of them, with `count` events and `services` services.
pub(crate) fn all(count: usize, services: u16) -> Vec<Workload> {
    let traffic: Arc<Vec<Event>> = Arc::new(Traffic::new(1).skip(10_000).take(count).collect());
    let items = count as u64;
    vec![
        Workload { name: "fold events", items, run: fold_events(Arc::clone(&traffic)) },
        Workload { name: "read records of the ring", items, run: read_ring(count) },
        Workload { name: "encode events", items, run: encode_events(Arc::clone(&traffic)) },
        Workload { name: "decode events", items, run: decode_events(&traffic) },
        Workload { name: "snapshot", items: u64::from(services), run: take_snapshot(services) },
        Workload { name: "draw 200x50", items: u64::from(services), run: draw(services) },
    ]
}

fn aggregator() -> Aggregator {
    Aggregator::new(Settings {
        source: SourceKind::Live,
        host: Host { name: "web-17".into(), kernel: "6.12.0".into(), boot_id: String::new() },
        anchor: ClockAnchor { monotonic: Monotonic(0), wall: Wall(1_795_365_730 * SECOND as i64) },
        began: Monotonic(0),
        fidelity: BTreeMap::new(),
        filter: String::new(),
        filtered: false,
        interval_s: 1.0,
        observer: Observer::blind(&Unknown::because("not observed")),
        about: Filter::default(),
        unseen: Vec::new(),
    })
}

fn fold_events(traffic: Arc<Vec<Event>>) -> Box<dyn FnMut() -> u64> {
    let mut fold = aggregator();
    Box::new(move || {
        for event in traffic.iter() {
            fold.event(event);
        }
        traffic.len() as u64
    })
}

/// Records as the programs write them.
fn read_ring(count: usize) -> Box<dyn FnMut() -> u64> {
    let mut bytes = [0_u8; size_of::<EventRecord>()];
    for (place, byte) in [
        (offset_of!(EventRecord, kind), EventKind::State as u8),
        (offset_of!(EventRecord, old), TcpState::Established.number()),
        (offset_of!(EventRecord, new), TcpState::FinWait1.number()),
        (offset_of!(EventRecord, family), 4),
    ] {
        bytes[place] = byte;
    }
    let records = vec![bytes; count];
    let owner = Arc::new(Owner { pid: 7, comm: "httpdns".into() });
    let names = ResetReasons::default();
    Box::new(move || {
        let mut told = 0;
        for bytes in &records {
            if let Some(raw) = record(bytes)
                && let Some(event) = event(&raw, Some(&owner), &names)
            {
                std::hint::black_box(event);
                told += 1;
            }
        }
        told
    })
}

const PAYLOAD: usize = 65_536;

fn encode_events(traffic: Arc<Vec<Event>>) -> Box<dyn FnMut() -> u64> {
    let mut encoder = EventsEncoder::new();
    let mut payload = Vec::new();
    Box::new(move || {
        let mut bytes = 0;
        for events in traffic.chunks(PAYLOAD) {
            payload.clear();
            for event in events {
                encoder.push(event);
            }
            encoder.finish(&mut payload);
            bytes += payload.len() as u64;
        }
        bytes
    })
}

fn decode_events(traffic: &[Event]) -> Box<dyn FnMut() -> u64> {
    let mut encoder = EventsEncoder::new();
    let payloads: Vec<Vec<u8>> = traffic
        .chunks(PAYLOAD)
        .map(|events| {
            let mut payload = Vec::new();
            for event in events {
                encoder.push(event);
            }
            encoder.finish(&mut payload);
            payload
        })
        .collect();
    Box::new(move || {
        let mut count = 0;
        for payload in &payloads {
            let result = decode(payload, |event| {
                std::hint::black_box(event);
                count += 1;
            });
            assert!(result.is_ok(), "what was encoded is decoded");
        }
        count
    })
}

/// The totals of so many services, each with an owner of its own.
fn totals(services: u16, age: u64) -> Totals {
    let group = |port: u16| {
        let mut counters = GroupCounters::default();
        let opened = u64::from(port) * age;
        for (word, value) in [
            (Counter::Opened as usize, opened),
            (Counter::Closed as usize, opened / 2),
            (Counter::Orphaned as usize, opened / 2),
            (Counter::Orphans as usize, u64::from(port % 97)),
            (Counter::Changes as usize, opened * 4),
            (usize::from(TcpState::Established.number()), opened - opened / 2),
        ] {
            counters.words[word] = value;
        }
        Group {
            service: Service { port, direction: Direction::In },
            owner: Some(Owner { pid: u32::from(port), comm: format!("service{port}") }),
            owner_start_ticks: 1,
            cgroup: None,
            workload: None,
            alive: true,
            unchecked: 0,
            counters,
        }
    };
    Totals { groups: (1..=services).map(group).collect(), ..Totals::default() }
}

fn take_snapshot(services: u16) -> Box<dyn FnMut() -> u64> {
    let mut fold = aggregator();
    let mut age = 0;
    let prepared = totals(services, 1);
    Box::new(move || {
        age += 1;
        fold.apply(Input::Totals(prepared.clone()));
        fold.apply(Input::Tick(Monotonic(age * SECOND)));
        fold.snapshot().ports.len() as u64
    })
}

fn draw(services: u16) -> Box<dyn FnMut() -> u64> {
    let mut fold = aggregator();
    for age in 1..=3 {
        fold.apply(Input::Totals(totals(services, age)));
        fold.apply(Input::Tick(Monotonic(age * SECOND)));
    }
    let snapshot: Arc<Snapshot> = fold.snapshot();
    let mut canvas = Canvas::new(200, 50);
    Box::new(move || canvas.draw(&snapshot) as u64)
}
