//! The live engine: source into aggregator, one snapshot an interval. It owns the loop; whoever
//! drives it decides where the snapshots go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::config::{DETAIL_ALL, DETAIL_ENDS, DETAIL_ORPHANS};

use super::filter::FilterArgs;
use super::units::parse_size;
use crate::aggregate::snapshot::{Host, Snapshot, SourceKind};
use crate::aggregate::{Aggregator, Settings};
use crate::bpf::btf::VMLINUX;
use crate::bpf::load::Options;
use crate::filter::Filter;
use crate::source::live::{self, DRAIN_EVERY, Live};

/// Events taken from the ring at once, so that a flood of them cannot hold up a snapshot.
const DRAIN_AT_ONCE: usize = 65_536;

/// Options of everything that traces live.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Tracing")]
pub struct TracingArgs {
    /// Room for detail events that wait to be read; totals never depend on it
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = parse_size, hide_short_help = true)]
    pub ring_size: u32,
    /// Sockets followed at once
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..=16_777_216), hide_short_help = true)]
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
            btf: self.btf.clone(),
            verbose: self.verbose,
        }
    }
}

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
    const fn level(self) -> u32 {
        match self {
            Self::Ends => DETAIL_ENDS,
            Self::Orphans => DETAIL_ORPHANS,
            Self::All => DETAIL_ALL,
        }
    }
}

/// Source and aggregator, running.
pub struct Engine {
    live: Live,
    aggregator: Aggregator,
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
        let aggregator = Aggregator::new(Settings {
            source: SourceKind::Live,
            host: host(),
            anchor: live::anchor(),
            began: live.began(),
            fidelity: live.fidelity(),
            filter: filter.describe(),
            filtered: !filter.is_empty(),
            interval_s: interval.as_secs_f64(),
        });
        let began = Instant::now();
        Ok(Self {
            live,
            aggregator,
            interval,
            // The first snapshot at once: what stood before is known.
            next: began,
            end: duration.map(|duration| began + duration),
            finished: false,
        })
    }

    /// What is worth saying about how it started.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.live.notes
    }

    /// Waits for the next interval and returns its snapshot; `None` after the last, which comes
    /// when the duration is over or `stop` is set.
    ///
    /// # Errors
    ///
    /// See [`Live::sample`].
    pub fn next(&mut self, stop: &AtomicBool) -> Result<Option<Arc<Snapshot>>> {
        if self.finished {
            return Ok(None);
        }
        loop {
            let Self { live, aggregator, .. } = self;
            live.drain(DRAIN_AT_ONCE, |event| aggregator.event(&event));
            let now = Instant::now();
            let over = stop.load(Ordering::Relaxed) || self.end.is_some_and(|end| now >= end);
            if over || now >= self.next {
                self.finished = over;
                break;
            }
            let until = self.end.map_or(self.next, |end| end.min(self.next));
            std::thread::sleep((until - now).min(DRAIN_EVERY));
        }
        for input in self.live.sample(self.finished)? {
            self.aggregator.apply(input);
        }
        let now = Instant::now();
        while self.next <= now {
            self.next += self.interval;
        }
        Ok(Some(self.aggregator.snapshot()))
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
