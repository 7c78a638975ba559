//! The live engine: source into aggregator, one snapshot an interval. It owns the loop; whoever
//! drives it decides where the snapshots go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::config::{DETAIL_ALL, DETAIL_ENDS, DETAIL_ORPHANS};

use super::filter::FilterArgs;
use super::units::{parse_size, whole};
use crate::aggregate::snapshot::{Host, Snapshot, SourceKind};
use crate::aggregate::{Aggregator, Settings};
use crate::bpf::btf::VMLINUX;
use crate::bpf::load::Options;
use crate::bpf::plan::Plan;
use crate::diagnose::Report;
use crate::event::{Event, Input};
use crate::facts::observer::Observer;
use crate::facts::{Facts, Unknown};
use crate::filter::Filter;
use crate::source::Source;
use crate::source::clock;
use crate::source::facts::watcher::FactWatcher;
use crate::source::live::{DRAIN_EVERY, Live};
use crate::source::sampled::Sampled;

/// Events taken from the ring at once: a flood of them cannot hold up a snapshot, and a recorder that has
/// little room begins a piece between two such lots.
const DRAIN_AT_ONCE: usize = 4096;
/// How long the ring is emptied for after the last sample, where events keep coming.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// Options of everything that traces live.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Tracing")]
pub struct TracingArgs {
    /// Room for detail events that wait to be read; totals never depend on it
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = parse_size, hide_short_help = true)]
    pub ring_size: u32,
    /// Sockets followed at once
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = whole(1..=16_777_216_u32), hide_short_help = true)]
    pub max_sockets: u32,
    /// The kernel's type information
    #[arg(long, value_name = "FILE", default_value = VMLINUX, hide_short_help = true)]
    pub btf: PathBuf,
    /// Print what the BPF programs have to say, on stderr
    #[arg(long, hide_short_help = true)]
    pub verbose: bool,
}

impl TracingArgs {
    /// What the kernel side is asked for.
    #[must_use]
    pub fn options(&self, filter: &Filter, detail: u32) -> Options {
        let page = rustix::param::page_size() as u32;
        Options {
            filter: filter.to_kernel(),
            detail,
            // The kernel wants a power of two of whole pages.
            ring_bytes: self.ring_size.clamp(page, 1 << 30).next_power_of_two(),
            max_sockets: self.max_sockets,
            max_minisockets: most_minisockets(),
            btf: self.btf.clone(),
            verbose: self.verbose,
        }
    }
}

/// How many minisockets there can be in the network namespace we are in: what its limit says. Others
/// have limits of their own, and what finds no room is counted as lost.
fn most_minisockets() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_max_tw_buckets").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u32>().ok());
    limit.unwrap_or(MINISOCKETS).clamp(1024, 1 << 20)
}

/// [`most_minisockets`] where the limit cannot be read.
const MINISOCKETS: u32 = 1 << 16;

/// Which single events are put on the ring.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Detail {
    /// Orphans that ended badly: reset, timed out, killed
    Ends,
    /// Begin and end of every orphan
    Orphans,
    /// Every event
    All,
}

impl Detail {
    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::Orphans => "orphans",
            Self::All => "all",
        }
    }

    const fn level(self) -> u32 {
        match self {
            Self::Ends => DETAIL_ENDS,
            Self::Orphans => DETAIL_ORPHANS,
            Self::All => DETAIL_ALL,
        }
    }
}

/// Somebody who takes a copy of everything that goes from the source to the aggregator.
pub trait Tap {
    /// An event.
    ///
    /// # Errors
    ///
    /// What it is taken for cannot go on; so with all of them.
    fn event(&mut self, event: &Event) -> Result<()>;

    /// An interval's inputs, ending in a tick.
    ///
    /// # Errors
    ///
    /// See [`Tap::event`].
    fn sample(&mut self, inputs: &[Input]) -> Result<()>;

    /// The fold has taken that tick in.
    ///
    /// # Errors
    ///
    /// See [`Tap::event`].
    fn ticked(&mut self, fold: &Aggregator) -> Result<()>;

    /// The fold has taken in all events told so far; called often.
    ///
    /// # Errors
    ///
    /// See [`Tap::event`].
    fn drained(&mut self, fold: &Aggregator) -> Result<()>;

    /// Whether events are better left in the kernel's ring for now; samples are told all the same.
    fn is_behind(&self) -> bool {
        false
    }
}

/// Nobody.
struct NoTap;

impl Tap for NoTap {
    fn event(&mut self, _: &Event) -> Result<()> {
        Ok(())
    }

    fn sample(&mut self, _: &[Input]) -> Result<()> {
        Ok(())
    }

    fn ticked(&mut self, _: &Aggregator) -> Result<()> {
        Ok(())
    }

    fn drained(&mut self, _: &Aggregator) -> Result<()> {
        Ok(())
    }
}

/// Source and aggregator, running.
pub struct Engine<S = Live> {
    source: S,
    /// What is worth saying about how it started.
    notes: Vec<String>,
    filter: Filter,
    facts: Option<FactWatcher>,
    aggregator: Aggregator,
    settings: Settings,
    interval: Duration,
    next: Instant,
    end: Option<Instant>,
    finished: bool,
}

impl Engine {
    /// Starts tracing.
    ///
    /// # Errors
    ///
    /// See [`Live::start`] and [`FilterArgs::resolve`].
    pub fn start(
        filter: &FilterArgs,
        tracing: &TracingArgs,
        detail: Detail,
        interval: Duration,
        duration: Option<Duration>,
    ) -> Result<Self> {
        let filter = filter.resolve()?;
        let live = Live::start(&tracing.options(&filter, detail.level()), &filter)?;
        Ok(Self::over(live, &filter, !filter.is_empty(), interval, duration))
    }

    /// Which hook each signal got.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        self.source.plan()
    }
}

impl Engine<Sampled> {
    /// Starts to look, without BPF.
    ///
    /// # Errors
    ///
    /// See [`Sampled::start`] and [`FilterArgs::resolve`].
    pub fn sampled(
        filter: &FilterArgs,
        interval: Duration,
        duration: Option<Duration>,
    ) -> Result<Self> {
        let filter = filter.resolve()?;
        // All sockets are seen at one look, so minisockets are those of the rows, filter or not.
        Ok(Self::over(Sampled::start(&filter)?, &filter, true, interval, duration))
    }
}

impl<S: Source> Engine<S> {
    /// `filtered`: see [`Settings::filtered`].
    fn over(
        mut source: S,
        filter: &Filter,
        filtered: bool,
        interval: Duration,
        duration: Option<Duration>,
    ) -> Self {
        let settings = Settings {
            source: SourceKind::Live,
            host: host(),
            anchor: clock::anchor(),
            began: source.began(),
            fidelity: source.fidelity(),
            unseen: source.unseen(),
            filter: filter.describe(),
            filtered,
            interval_s: interval.as_secs_f64(),
            observer: Observer::blind(&Unknown::because("not observed")),
            about: filter.clone(),
        };
        let began = Instant::now();
        Self {
            notes: source.take_notes(),
            source,
            filter: filter.clone(),
            facts: None,
            aggregator: Aggregator::new(settings.clone()),
            settings,
            interval,
            // The first snapshot at once: what stood before is known.
            next: began,
            end: duration.map(|duration| began + duration),
            finished: false,
        }
    }

    /// From now on also observes what the judge needs beside counts, on a thread of its own that takes
    /// at most a fiftieth of a CPU, and hands it on with the interval it falls into. Whoever shows
    /// findings begins with this. Where it cannot be, a note says so.
    pub fn watch_facts(&mut self) {
        let netns = self.filter.netns.as_ref().map(|(path, _)| Path::new(path));
        match FactWatcher::start(netns, self.interval) {
            Ok(watcher) => {
                let never = Unknown::because("not observed yet");
                self.settings.observer = Observer::new(watcher.run().clone(), never);
                self.aggregator = Aggregator::new(self.settings.clone());
                self.facts = Some(watcher);
            }
            Err(error) => self.notes.push(format!("the doctor sees nothing here: {error:#}")),
        }
    }

    /// What the doctor knows of the whole run, where it looks.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref().map(FactWatcher::run)
    }

    /// The doctor's report of the last interval; `None` before the first.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.aggregator.report()
    }

    /// Which sockets are asked for.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What holds for the whole run.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is worth saying about how it started.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waits for the next interval and returns its snapshot; `None` after the last, which comes
    /// when the duration is over or `stop` is set.
    ///
    /// # Errors
    ///
    /// See [`Source::sample`].
    pub fn next(&mut self, stop: &AtomicBool) -> Result<Option<Arc<Snapshot>>> {
        self.next_tapped(stop, &mut NoTap)
    }

    /// As [`Self::next`], and `tap` gets everything.
    ///
    /// # Errors
    ///
    /// See [`Source::sample`] and [`Tap`].
    pub fn next_tapped(
        &mut self,
        stop: &AtomicBool,
        tap: &mut impl Tap,
    ) -> Result<Option<Arc<Snapshot>>> {
        if self.finished {
            return Ok(None);
        }
        loop {
            let taken = if tap.is_behind() { 0 } else { self.drain(tap)? };
            tap.drained(&self.aggregator)?;
            let now = Instant::now();
            let over = stop.load(Ordering::Relaxed) || self.end.is_some_and(|end| now >= end);
            if over || now >= self.next {
                self.finished = over;
                break;
            }
            if taken < DRAIN_AT_ONCE {
                let until = self.end.map_or(self.next, |end| end.min(self.next));
                std::thread::sleep(until.saturating_duration_since(now).min(DRAIN_EVERY));
            }
        }
        let mut inputs = self.source.sample(self.finished)?;
        if let Some(facts) = self.facts.as_ref().and_then(FactWatcher::take) {
            // The tick stays the last.
            inputs.insert(inputs.len().saturating_sub(1), Input::Facts(Box::new(facts)));
        }
        if self.finished {
            // What the totals of the last sample count is on the ring by now.
            let began = Instant::now();
            while self.drain(tap)? == DRAIN_AT_ONCE && began.elapsed() < LAST_DRAIN {
                tap.drained(&self.aggregator)?;
            }
        }
        tap.sample(&inputs)?;
        for input in inputs {
            self.aggregator.apply(input);
        }
        tap.ticked(&self.aggregator)?;
        let now = Instant::now();
        while self.next <= now {
            self.next += self.interval;
        }
        Ok(Some(self.aggregator.snapshot()))
    }

    /// Takes what waits on the ring, at most [`DRAIN_AT_ONCE`]; returns how many.
    fn drain(&mut self, tap: &mut impl Tap) -> Result<usize> {
        let Self { source, aggregator, .. } = self;
        let mut failed = None;
        let taken = source.drain(DRAIN_AT_ONCE, &mut |event| {
            aggregator.event(&event);
            if failed.is_none() {
                failed = tap.event(&event).err();
            }
        });
        failed.map_or(Ok(taken), Err)
    }
}

fn host() -> Host {
    let uname = rustix::system::uname();
    Host {
        name: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}
