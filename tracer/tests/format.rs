//! The description of the trace file is enough to read it: a reader in another language that knows
//! nothing but `docs/FORMAT.md` agrees with ours, on whole traces and on damaged ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod python;

use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sockflow::event::{Direction, Event, EventKind, Group, Input, Service, Totals};
use sockflow::facts::keeper::Keeper;
use sockflow::facts::{Facts, FileNr, Udp, Unknown};
use sockflow::gauges::Pages;
use sockflow::recording::frame::{FILE_HEADER, FRAME_HEADER};
use sockflow::recording::{Checkpoint, Gap, Machine, Options, Run, Sink, Trace, Want, Why, Writer};
use sockflow::time::Monotonic;
use tracer_common::counters::{Counter, GroupCounters};

fn event(number: u64) -> Event {
    Event {
        at: Monotonic(1_000_000 + number),
        kind: EventKind::Close,
        socket: number * 77,
        local: (IpAddr::from([127, 0, 0, 1]), 9981),
        peer: (IpAddr::from([10, 0, 0, 1]), 40_000),
        owner: None,
        netns: 1,
        born: None,
    }
}

fn interval(number: u64) -> Vec<Input> {
    let mut counters = GroupCounters::default();
    counters.words[Counter::Opened as usize] = 1000 + number;
    counters.words[Counter::Orphans as usize] = 0_u64.wrapping_sub(1);
    let group = |port| Group {
        service: Service { port, direction: Direction::In },
        owner: None,
        owner_start_ticks: 0,
        cgroup: None,
        workload: None,
        alive: true,
        unchecked: 0,
        counters,
    };
    let totals = Totals { groups: vec![group(80), group(443)], ..Totals::default() };
    let at = Monotonic(2_000_000 + number);
    // Every other look leaves out what the one before told.
    let mut facts = Facts::unseen(at, &Unknown::not_looked_at());
    facts.files = Ok(FileNr { allocated: 100 + number, max: u64::MAX });
    facts.conntrack = Err(Unknown::because("not loaded"));
    if number.is_multiple_of(2) {
        facts.detail_at = Some(at);
        facts.udp = Ok(Udp { mem: Pages(number), ..Udp::default() });
    }
    vec![Input::Totals(totals), Input::Facts(Box::new(facts)), Input::Tick(at)]
}

/// Three pieces of three intervals of twenty events.
fn record(path: &Path) {
    let options = Options {
        path: path.to_owned(),
        force: true,
        max_bytes: None,
        sync: Duration::from_secs(60),
    };
    let host = Machine { name: "web-17".to_owned(), ..Machine::default() };
    let mut writer = Writer::create(options, Run { host, ..Run::default() }).unwrap();
    for number in 0..9 {
        if number % 3 == 2 && number < 8 {
            writer.rotate();
        }
        for event_number in number * 20..(number + 1) * 20 {
            writer.event(&event(event_number)).unwrap();
        }
        let state = Checkpoint { version: 1, bytes: vec![7; 300] };
        writer.sample(&interval(number)).unwrap();
        writer.sampled(|| state.clone()).unwrap();
    }
    writer.finish(Why::Finished).unwrap();
}

#[derive(Default)]
struct Counted {
    events: u64,
    missing: u64,
    opened: u64,
    orphans: i64,
    facts: Option<Keeper>,
}

impl Sink for Counted {
    fn event(&mut self, _number: u64, _event: &Event) {
        self.events += 1;
    }

    fn input(&mut self, input: Input) {
        if let Input::Facts(facts) = input {
            let unseen = || Facts::unseen(Monotonic(0), &Unknown::because("never"));
            let keeper = || Keeper::new(unseen(), Unknown::because("never"));
            self.facts.get_or_insert_with(keeper).look(*facts);
        } else if let Input::Totals(totals) = input {
            let counted = |counter: Counter| {
                totals.groups.iter().map(move |group| group.counters.words[counter as usize])
            };
            self.opened = counted(Counter::Opened).sum();
            self.orphans = counted(Counter::Orphans).map(u64::cast_signed).sum();
        }
    }

    fn gap(&mut self, gap: &Gap) {
        self.missing += gap.events.unwrap();
    }
}

/// What the other reader says is what ours says.
fn agree(python: &Path, path: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/read_trace.py");
    let output = Command::new(python).arg(script).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();

    let trace = Trace::open(path).unwrap();
    let mut ours = Counted::default();
    let mut cursor = trace.start();
    while trace.read(&mut cursor, Want::Everything, &mut ours).unwrap() {}
    assert_eq!(theirs["events"], ours.events, "{theirs}");
    assert_eq!(theirs["missing"], ours.missing, "{theirs}");
    assert_eq!(theirs["frames"]["sample"], trace.ticks().len(), "{theirs}");
    assert_eq!(theirs["totals"]["opened"], ours.opened, "{theirs}");
    assert_eq!(theirs["totals"]["orphans"], ours.orphans, "{theirs}");
    let facts = ours.facts.unwrap().tick(trace.last().unwrap());
    let (files, udp) = (facts.files.unwrap(), facts.udp.unwrap());
    assert_eq!(theirs["facts"]["files"]["allocated"], files.allocated, "{theirs}");
    assert_eq!(theirs["facts"]["files"]["max"], u64::MAX, "{theirs}");
    assert_eq!(theirs["facts"]["udp"]["mem_pages"], udp.mem.0, "{theirs}");
    assert_eq!(theirs["facts"]["unknown"]["conntrack"], "not loaded", "{theirs}");
    assert_eq!(theirs["host"]["name"], trace.run().host.name.as_str(), "{theirs}");
    theirs
}

#[test]
fn a_reader_written_from_the_description_agrees() {
    let Some(python) = python::with("read-trace-venv", &["zstandard"]) else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("read-trace");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("t.sft");
    record(&path);
    let theirs = agree(&python, &path);
    assert_eq!(theirs["events"], 180);
    assert_eq!(theirs["end"], "finished");
    assert_eq!(theirs["frames"]["host"], 3);
    assert_eq!(theirs["totals"]["opened"], 2 * 1008);

    // The middle piece loses an events frame by its payload, and another by its header.
    let middle = folder.join("t.sft.1");
    let bytes = std::fs::read(&middle).unwrap();
    let frames = frames(&bytes);
    let events: Vec<usize> = frames.into_iter().filter(|at| bytes[at + 4] == 2).collect();
    let file = OpenOptions::new().write(true).open(&middle).unwrap();
    for at in [events[0] + FRAME_HEADER + 5, events[1] + 20] {
        file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
    }
    let theirs = agree(&python, &path);
    assert_eq!((&theirs["missing"], &theirs["events"]), (&40.into(), &140.into()));

    // The newest is cut off, its own header is damaged, and the oldest is gone.
    let len = path.metadata().unwrap().len();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(len - 20).unwrap();
    file.write_all_at(&[0], 17).unwrap();
    std::fs::remove_file(folder.join("t.sft.2")).unwrap();
    let theirs = agree(&python, &path);
    assert_eq!(theirs["end"], Value::Null);
}

/// Where the frames of a whole file begin.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut at = FILE_HEADER;
    let mut frames = Vec::new();
    while at < bytes.len() {
        frames.push(at);
        let stored = u32::from_le_bytes(bytes[at + 48..at + 52].try_into().unwrap());
        at += FRAME_HEADER + stored as usize;
    }
    frames
}
