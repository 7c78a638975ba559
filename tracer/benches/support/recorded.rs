//! A trace of simulated traffic, through the recorder's own path: events, samples, checkpoints.

use std::path::Path;
use std::time::{Duration, Instant};

use sockflow::aggregate::{Aggregator, Settings, checkpoint};
use sockflow::cli::fold::settings;
use sockflow::event::{Event, Input, OwnCost, Totals};
use sockflow::gauges::Gauges;
use sockflow::recording::{Checkpoint, Machine, Options, Run, Why, Writer};
use sockflow::time::{ClockAnchor, Monotonic, Wall};

use crate::traffic::Traffic;

const SECOND: u64 = 1_000_000_000;
/// Events a recorder takes from the ring at once.
const DRAIN: usize = 65_536;
/// Events of traffic that are made; more repeat them.
const MADE: usize = 10_000_000;

/// Writes so many events; the time in the writer, without that of making traffic.
pub(crate) fn write(path: &Path, events: usize) -> Duration {
    let run = Run {
        host: Machine {
            name: "web-17".to_owned(),
            kernel: "6.12.0".to_owned(),
            boot_id: "5a0e1c9e-6f6b-4d0e-8a55-0d2f7c1b9e33".to_owned(),
        },
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
