//! `sockflow record`: everything that is seen, into a trace file.

mod command;
mod facts;
mod progress;
mod signals;
mod stream;

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;

use super::engine::{Detail, Engine, Tap, TracingArgs};
use super::filter::{FilterArgs, Unmatched};
use super::signals::INTERRUPTED;
use super::units::{parse_bytes, parse_duration, parse_interval};
use crate::aggregate::{Aggregator, checkpoint};
use crate::event::{Event, Input};
use crate::recording::{Checkpoint, Options, Why, Writer};
use crate::stdio;
use command::Running;
use progress::Line;
use signals::Signals;

const EXAMPLES: &str = "\
Examples:
  One server, until Ctrl-C:
      sudo sockflow record --port 9981 -o incident.sockflow
  Always the newest 2 GiB, for the day it happens again:
      sudo sockflow record -o /var/lib/sockflow/flight.sockflow --max-size 2G
  While a test runs; the exit status is the test's:
      sudo sockflow record -o test.sockflow -- ./load-test.sh
  Then look at it, anywhere and without privilege:
      sockflow replay incident.sockflow";

/// Write a trace that survives the crash it records
///
/// Everything is on disk at most --sync after it happened, and every part of the file can be read
/// whatever became of the rest. SIGHUP begins a new file and keeps the old one as FILE.1.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES, disable_version_flag = true)]
pub struct RecordArgs {
    /// Record while this runs, and exit with its status
    #[arg(last = true, value_name = "COMMAND", hide_short_help = true)]
    command: Vec<OsString>,
    /// The trace file; it must not exist yet. `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Stop after this time
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Keep the newest: FILE, FILE.1 … FILE.7 together take no more
    #[arg(long, value_name = "SIZE", value_parser = parse_max_size)]
    max_size: Option<u64>,
    /// What a crash may cost: fdatasync this often
    #[arg(long, value_name = "D", default_value = "1s", value_parser = parse_sync)]
    sync: Duration,
    /// Overwrite FILE
    #[arg(long)]
    force: bool,
    /// Time between samples of totals and gauges, 100ms to 60s
    #[arg(
        long,
        value_name = "D",
        default_value = "1s",
        value_parser = parse_interval,
        hide_short_help = true
    )]
    interval: Duration,
    /// Events beside totals: ends (bad ones), orphans, all
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "all",
        value_enum,
        hide_possible_values = true
    )]
    detail: Detail,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    tracing: TracingArgs,
}

fn parse_sync(text: &str) -> Result<Duration, String> {
    let sync = parse_duration(text)?;
    if (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&sync) {
        Ok(sync)
    } else {
        Err("--sync is between 10ms and 60s".into())
    }
}

fn parse_max_size(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if bytes >= MIN_MAX_SIZE { Ok(bytes) } else { Err("--max-size is at least 1M".into()) }
}

/// Eight pieces of it, each with what lets it stand alone.
const MIN_MAX_SIZE: u64 = 1 << 20;

impl RecordArgs {
    /// Records until the end of `--duration` or of the command, or a signal.
    ///
    /// # Errors
    ///
    /// See [`Engine::start`] and [`Writer`].
    pub fn run(self) -> Result<ExitCode> {
        let target = stream::open(&self.output, self.force)?;
        if matches!(target, stream::Output::Stopped) {
            stdio::last_words("sockflow: stopped: nothing was recorded");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let to_stdout = stream::is_stdout(&self.output);
        match self.record(target) {
            // As everywhere on stdout: who reads has read enough. A FIFO's reader is another matter.
            Err(error) if to_stdout && has_lost_its_reader(&error) => {
                stdio::last_words("sockflow: stopped: the reader of stdout has gone");
                Ok(ExitCode::SUCCESS)
            }
            result => result,
        }
    }

    fn record(self, target: stream::Output) -> Result<ExitCode> {
        let options = Options {
            path: if stream::is_stdout(&self.output) {
                "stdout".into()
            } else {
                self.output.clone()
            },
            force: self.force,
            max_bytes: self.max_size,
            sync: self.sync,
        };
        let signals = Signals::install(!self.command.is_empty())?;
        let mut engine =
            Engine::start(&self.filter, &self.tracing, self.detail, self.interval, self.duration)?;
        engine.watch_facts();
        for note in engine.notes() {
            stdio::note(note);
        }
        let run = facts::run(&engine, self.detail);
        let (writer, is_file) = match target {
            stream::Output::Stream(stream) => (Writer::into_stream(stream, options, run)?, false),
            _ => (Writer::create(options, run)?, true),
        };
        let mut command = match Running::start(&self.command) {
            Ok(command) => command,
            Err(error) => {
                writer.discard();
                return Err(error);
            }
        };
        let mut recorder = Recorder { writer, signals: &signals, command: command.as_mut() };
        let mut line = Line::new();
        let mut last = None;
        let mut unmatched = Unmatched::default();
        while let Some(snapshot) = engine.next_tapped(&signals.stop, &mut recorder)? {
            let notes = recorder.writer.take_notes().into_iter();
            for note in notes.chain(unmatched.note(&snapshot)) {
                line.clear();
                stdio::note(note);
            }
            line.show(&snapshot, &recorder.writer.progress());
            last = Some(snapshot);
        }
        let summary = recorder.writer.finish(Why::Finished)?;
        line.clear();
        for note in &summary.notes {
            stdio::note(note);
        }
        if let Some(last) = last {
            stdio::lines(&progress::summary(
                is_file.then_some(&*self.output),
                &last,
                &summary.progress,
            ));
        }
        Ok(command
            .and_then(|command| command.exit_code())
            .map_or(ExitCode::SUCCESS, ExitCode::from))
    }
}

fn has_lost_its_reader(error: &anyhow::Error) -> bool {
    let is_it = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_it))
}

/// Takes everything to the file, and heeds the signals in between.
struct Recorder<'a> {
    writer: Writer,
    signals: &'a Signals,
    command: Option<&'a mut Running>,
}

impl Tap for Recorder<'_> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.writer.event(event)
    }

    fn sample(&mut self, inputs: &[Input]) -> Result<()> {
        self.writer.sample(inputs)
    }

    fn ticked(&mut self, fold: &Aggregator) -> Result<()> {
        self.writer.sampled(|| state(fold))
    }

    fn is_behind(&self) -> bool {
        self.writer.is_behind()
    }

    fn drained(&mut self, fold: &Aggregator) -> Result<()> {
        if self.signals.take_hang_up() {
            self.writer.rotate();
        }
        if let Some(command) = &mut self.command {
            if self.signals.take_terminate() {
                command.terminate();
            }
            if command.has_ended()? {
                self.signals.stop.store(true, Ordering::Relaxed);
            }
        }
        self.writer.checkpoint_if_due(|| state(fold))?;
        self.writer.seal_if_due()
    }
}

fn state(fold: &Aggregator) -> Checkpoint {
    Checkpoint { version: checkpoint::VERSION, bytes: fold.save() }
}
