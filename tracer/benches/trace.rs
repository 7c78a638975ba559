//! A whole trace file: writing, opening, seeking, reading.
//!
//!     cargo bench -p tracer --bench trace [EVENTS]
//!
//! Simulated traffic goes through the recorder's own path (`Writer`, samples, checkpoints) into a
//! file in the temporary folder; then it is opened, entered at moments spread over it, and read
//! from beginning to end. 217 million events make about 1 GB.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic, as a test may")]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/traffic.rs"]
mod traffic;

use std::time::{Duration, Instant};

use sockflow::cli::fold::Fold;
use sockflow::event::{Event, Input};
use sockflow::recording::narrow::Narrowing;
use sockflow::recording::{Sink, Trace, Want};

/// Moments that are gone to.
const SEEKS: usize = 200;

fn main() {
    let events = arguments::events();
    let folder = std::env::temp_dir().join(format!("sockflow-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("bench.sockflow");
    let written = recorded::write(&path, events);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{events} events, {bytes} bytes: {:.2} an event", bytes as f64 / events as f64);
    println!(
        "write   {:>8.1} M events/s with checkpoints, checksums and the disk (traffic made beforehand)",
        rate(events, written)
    );

    let began = Instant::now();
    let trace = Trace::open(&path).unwrap();
    let opened = began.elapsed();
    let began = Instant::now();
    Fold::before(&trace, 0, &Narrowing::default())
        .unwrap()
        .next(&trace, Want::Everything)
        .unwrap()
        .unwrap();
    println!(
        "start   {:>8.1} ms to open, {:.1} ms to the first snapshot",
        ms(opened),
        ms(began.elapsed())
    );

    let moments = trace.ticks().len();
    let mut seeks: Vec<f64> = (0..SEEKS)
        .map(|seek| {
            // Spread over the whole, in no order.
            let moment = (seek * 7919 + 13) % moments;
            let began = Instant::now();
            let mut fold = Fold::before(&trace, moment, &Narrowing::default()).unwrap();
            fold.next(&trace, Want::Everything).unwrap().unwrap();
            ms(began.elapsed())
        })
        .collect();
    seeks.sort_by(f64::total_cmp);
    println!(
        "seek    {:>8.1} ms median, {:.1} ms worst of {SEEKS}, over {moments} moments",
        seeks[SEEKS / 2],
        seeks[SEEKS - 1]
    );

    let began = Instant::now();
    let mut counter = Counter(0);
    let mut cursor = trace.start();
    while trace.read(&mut cursor, Want::Everything, &mut counter).unwrap() {}
    assert_eq!(counter.0, events as u64);
    println!("read    {:>8.1} M events/s", rate(events, began.elapsed()));
    std::fs::remove_dir_all(&folder).unwrap();
}

struct Counter(u64);

impl Sink for Counter {
    fn event(&mut self, _: u64, event: &Event) {
        std::hint::black_box(event);
        self.0 += 1;
    }

    fn input(&mut self, _: Input) {}
}

fn rate(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64() / 1e6
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
