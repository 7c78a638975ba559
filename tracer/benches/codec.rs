//! What an event costs in the trace file: bytes, and time to write and to read.
//!
//!     cargo bench -p tracer --bench codec [EVENTS]
//!
//! Contenders take turns on the same million events, so that a noisy machine is noisy for all;
//! figures are medians over the rounds. `ours` is what a recording does: payloads of 65,536 events,
//! zstd -1, in seconds of this thread. The others are the kernel's fixed records of 64 bytes.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic, as a test may")]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/traffic.rs"]
mod traffic;

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use sockflow::event::Event;
use sockflow::recording::events::{EventsEncoder, decode};
use traffic::Traffic;

/// Events a payload.
const PAYLOAD: usize = 65_536;
/// Payloads a round.
const ROUND: usize = 16;

/// A layout of events with a level of zstd; 0: not compressed. Memory is kept over the rounds, as
/// a recording keeps it.
struct Contender {
    name: &'static str,
    layout: Layout,
    level: i32,
    encoder: EventsEncoder,
    payload: Vec<u8>,
    frames: Vec<Frame>,
    bytes: usize,
    encode_seconds: Vec<f64>,
    decode_seconds: Vec<f64>,
}

/// What would be on disk, and how long its payload is.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
    payload: usize,
}

#[derive(Clone, Copy)]
enum Layout {
    Columns,
    Raw,
}

fn main() {
    let events = arguments::events();
    let mut contenders = [
        contender("ours: columns by flow, zstd -1", Layout::Columns, 1),
        contender("columns by flow, zstd -3", Layout::Columns, 3),
        contender("columns by flow", Layout::Columns, 0),
        contender("records of 64 bytes", Layout::Raw, 0),
        contender("records of 64 bytes, zstd -1", Layout::Raw, 1),
        contender("records of 64 bytes, zstd -3", Layout::Raw, 3),
    ];
    // The first second has no old connections yet.
    let warm_up = if events > PAYLOAD { 2_000_000 } else { 0 };
    let mut traffic = Traffic::new(1).skip(warm_up);
    let rounds = events.div_ceil(PAYLOAD * ROUND);
    let a_round = events / rounds;
    for round in 0..rounds {
        let events: Vec<Event> = traffic.by_ref().take(a_round).collect();
        for turn in 0..contenders.len() {
            let turn = (turn + round) % contenders.len();
            contenders[turn].measure(&events);
        }
    }
    print(&contenders, a_round * rounds, a_round);
}

fn contender(name: &'static str, layout: Layout, level: i32) -> Contender {
    Contender {
        name,
        layout,
        level,
        encoder: EventsEncoder::new(),
        payload: Vec::new(),
        frames: Vec::new(),
        bytes: 0,
        encode_seconds: Vec::new(),
        decode_seconds: Vec::new(),
    }
}

impl Contender {
    fn measure(&mut self, events: &[Event]) {
        self.frames.resize_with(events.len().div_ceil(PAYLOAD), Frame::default);
        let begun = cpu_seconds();
        self.encode(events);
        self.encode_seconds.push(cpu_seconds() - begun);
        self.bytes += self.frames.iter().map(|frame| frame.bytes.len()).sum::<usize>();

        let begun = cpu_seconds();
        let decoded = self.decode();
        self.decode_seconds.push(cpu_seconds() - begun);
        assert_eq!(decoded, events.len() as u64, "{}", self.name);
    }

    fn encode(&mut self, events: &[Event]) {
        let Self { encoder, payload, .. } = self;
        let mut zstd = (self.level != 0).then(|| zstd::bulk::Compressor::new(self.level).unwrap());
        for (events, frame) in events.chunks(PAYLOAD).zip(&mut self.frames) {
            frame.bytes.clear();
            let out = if zstd.is_some() { &mut *payload } else { &mut frame.bytes };
            out.clear();
            match self.layout {
                Layout::Columns => {
                    events.iter().for_each(|event| encoder.push(event));
                    encoder.finish(out);
                }
                Layout::Raw => events.iter().for_each(|event| raw::put(out, event)),
            }
            frame.payload = out.len();
            if let Some(zstd) = &mut zstd {
                frame.bytes.reserve(zstd::zstd_safe::compress_bound(payload.len()));
                zstd.compress_to_buffer(payload, &mut frame.bytes).unwrap();
            }
        }
    }

    fn decode(&mut self) -> u64 {
        let mut zstd = (self.level != 0).then(|| zstd::bulk::Decompressor::new().unwrap());
        let mut decoded = 0;
        for frame in &self.frames {
            let payload = match &mut zstd {
                Some(zstd) => {
                    self.payload.clear();
                    self.payload.reserve(frame.payload);
                    zstd.decompress_to_buffer(&frame.bytes, &mut self.payload).unwrap();
                    &self.payload
                }
                None => &frame.bytes,
            };
            let sink = |event: &Event| {
                black_box(event);
            };
            decoded += match self.layout {
                Layout::Columns => decode(payload, sink).unwrap().events,
                Layout::Raw => raw::read(payload, sink),
            };
        }
        decoded
    }
}

/// Seconds this thread has run: what others do on the machine is not in it.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a table is what a benchmark is for")]
fn print(contenders: &[Contender], events: usize, a_round: usize) {
    let millions = |seconds: &[f64]| a_round as f64 / median(seconds) / 1e6;
    let figures = |contender: &Contender| {
        let bytes = contender.bytes as f64 / events as f64;
        (bytes, millions(&contender.encode_seconds), millions(&contender.decode_seconds))
    };
    println!("{events} events in payloads of {PAYLOAD}; in brackets: against the first row");
    println!();
    println!(
        "| layout                         |  bytes an event | encode, M/s     | decode, M/s     |"
    );
    println!(
        "|--------------------------------|----------------:|----------------:|----------------:|"
    );
    let ours = figures(&contenders[0]);
    for contender in contenders {
        let (bytes, encode, decode) = figures(contender);
        println!(
            "| {:<30} | {bytes:>6.2} ({:>5.2}×) | {encode:>6.1} ({:>5.2}×) | {decode:>6.1} ({:>5.2}×) |",
            contender.name,
            bytes / ours.0,
            encode / ours.1,
            decode / ours.2,
        );
    }
}
