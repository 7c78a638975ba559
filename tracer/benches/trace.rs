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
#[path = "support/traffic.rs"]
mod traffic;

use std::path::Path;
use std::time::{Duration, Instant};

use sockflow::aggregate::{Aggregator, Settings, checkpoint};
use sockflow::cli::fold::{Fold, settings};
use sockflow::event::{Event, Input, OwnCost, Totals};
use sockflow::gauges::Gauges;
use sockflow::recording::{Checkpoint, Options, Run, Sink, Trace, Want, Why, Writer};
use sockflow::time::{ClockAnchor, Monotonic, Wall};
use traffic::Traffic;

const SECOND: u64 = 1_000_000_000;
/// Moments that are gone to.
const SEEKS: usize = 200;
/// Events a recorder takes from the ring at once.
const DRAIN: usize = 65_536;
/// Events of traffic that are made; more repeat them.
const MADE: usize = 10_000_000;

fn main() {
    let events = arguments::events();
    let folder = std::env::temp_dir().join(format!("sockflow-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("bench.sockflow");
    let written = write(&path, events);
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
    Fold::before(&trace, 0).unwrap().next(&trace, Want::Everything).unwrap().unwrap();
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
            let mut fold = Fold::before(&trace, moment).unwrap();
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

/// Time in the writer, without that of making traffic.
fn write(path: &Path, events: usize) -> Duration {
    let run = Run {
        anchor: ClockAnchor { monotonic: Monotonic(0), wall: Wall(1_795_365_730 * SECOND as i64) },
        interval_s: 1.0,
        detail: "all".to_owned(),
        baseline: Some(Gauges::default()),
        ..Run::default()
    };
    let mut fold = Aggregator::new(Settings { ..settings(&run) });
    let sync = Duration::from_secs(1);
    let options = Options { path: path.to_owned(), force: true, max_bytes: None, sync };
    let mut writer = Writer::create(options, run).unwrap();
    let mut traffic: Vec<Event> = Traffic::new(1).take(events.min(MADE)).collect();
    let began = Instant::now();
    let (first, last) = (traffic[0].at.0, traffic[traffic.len() - 1].at.0);
    let mut tick = Monotonic(first + SECOND);
    let mut written = 0;
    'writing: loop {
        for event in &traffic {
            while event.at >= tick {
                sample(&mut writer, &mut fold, tick);
                tick.0 += SECOND;
            }
            fold.event(event);
            writer.event(event).unwrap();
            written += 1;
            if written % DRAIN == 0 {
                writer.checkpoint_if_due(|| state(&fold)).unwrap();
            }
            if written == events {
                break 'writing;
            }
        }
        // The same traffic again, later and with sockets of its own.
        for event in &mut traffic {
            event.at.0 += last - first;
            event.born = event.born.map(|born| Monotonic(born.0 + last - first));
            event.socket += 1 << 40;
        }
    }
    sample(&mut writer, &mut fold, tick);
    writer.finish(Why::Finished).unwrap();
    began.elapsed()
}

fn sample(writer: &mut Writer, fold: &mut Aggregator, at: Monotonic) {
    let inputs = [
        Input::Gauges(Gauges::default()),
        Input::Totals(Totals::default()),
        Input::OwnCost(OwnCost::default()),
        Input::Tick(at),
    ];
    for input in inputs.clone() {
        fold.apply(input);
    }
    writer.sample(&inputs).unwrap();
    writer.sampled(|| state(fold)).unwrap();
}

fn state(fold: &Aggregator) -> Checkpoint {
    Checkpoint { version: checkpoint::VERSION, bytes: fold.save() }
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
