//! What sockflow itself uses: a tool for hosts in trouble has to show that it is not one more.
//!
//! What its programs cost inside the kernel is not in here; that is charged to whatever runs.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::proc_file::read_whole;
use crate::event::OwnCost;
use crate::gauges::{Bytes, Pages};

/// What this process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its threads since it began, in user and kernel mode.
    pub cpu: Duration,
    /// Resident memory now. The kernel sums it lazily: off by up to 64 pages a thread and CPU.
    pub rss: Option<Bytes>,
}

impl Usage {
    /// CPU used between `earlier` and this, which are `elapsed` apart, in per cent of one CPU.
    #[must_use]
    pub fn cpu_percent_since(&self, earlier: &Self, elapsed: Duration) -> f64 {
        if elapsed.is_zero() {
            return 0.0;
        }
        let used = self.cpu.saturating_sub(earlier.cpu);
        used.as_secs_f64() / elapsed.as_secs_f64() * 100.0
    }
}

/// What the current thread uses of a CPU from now on. Budgets are of that: a look that others kept from the
/// CPU took long, but cost nobody anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTimer(Duration);

impl CpuTimer {
    pub(super) fn start() -> Self {
        Self(thread_cpu())
    }

    /// CPU time used since; on the thread that started it.
    pub(super) fn used(self) -> Duration {
        thread_cpu().saturating_sub(self.0)
    }
}

fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Reads [`Usage`] again and again.
#[derive(Debug)]
pub struct UsageReader {
    statm: File,
    page: Bytes,
    buffer: Vec<u8>,
}

impl UsageReader {
    /// Opens `/proc/self/statm`.
    ///
    /// # Errors
    /// Without /proc.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            statm: File::open("/proc/self/statm")?,
            page: Bytes(rustix::param::page_size() as u64),
            buffer: Vec::new(),
        })
    }

    /// What was used until now. `CLOCK_PROCESS_CPUTIME_ID` counts nanoseconds, where
    /// `/proc/self/stat` would count whole ticks of 10 ms: too coarse for what we hope to use.
    pub fn sample(&mut self) -> Usage {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let rss = read_whole(&self.statm, &mut self.buffer)
            .ok()
            .and_then(|len| parse_statm(std::str::from_utf8(&self.buffer[..len]).ok()?));
        Usage {
            cpu: cpu.try_into().unwrap_or_default(),
            rss: rss.map(|pages| pages.bytes(self.page)),
        }
    }
}

/// Tells what was used from one time it is asked to the next.
#[derive(Debug)]
pub struct Meter {
    reader: UsageReader,
    last: (Instant, Usage),
}

impl Meter {
    /// Begins now.
    ///
    /// # Errors
    /// Without /proc.
    pub fn start() -> io::Result<Self> {
        let mut reader = UsageReader::open()?;
        let last = (Instant::now(), reader.sample());
        Ok(Self { reader, last })
    }

    /// What was used since the last time.
    pub fn cost(&mut self) -> OwnCost {
        let (at, usage) = (Instant::now(), self.reader.sample());
        let elapsed = at.duration_since(self.last.0);
        let cpu_percent = usage.cpu_percent_since(&self.last.1, elapsed);
        self.last = (at, usage);
        OwnCost {
            cpu_percent,
            rss_bytes: usage.rss.map_or(0, |bytes| bytes.0),
            ..OwnCost::default()
        }
    }
}

/// The second number of `/proc/self/statm`.
fn parse_statm(text: &str) -> Option<Pages> {
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Pages)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_costs_time_and_memory() {
        let mut reader = UsageReader::open().unwrap();
        let first = reader.sample();
        let start = Instant::now();
        let mut memory = vec![1u8; 32 << 20];
        while start.elapsed() < Duration::from_millis(30) {
            memory.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(7));
        }
        let second = reader.sample();
        assert!(memory.iter().any(|&byte| byte > 0));
        assert!(second.cpu > first.cpu);
        assert!(second.cpu_percent_since(&first, start.elapsed()) > 1.0);
        let grown = second.rss.unwrap().0.saturating_sub(first.rss.unwrap().0);
        assert!(grown > 16 << 20, "{grown}");
    }

    #[test]
    fn percent_is_of_one_cpu() {
        let at = |ms| Usage { cpu: Duration::from_millis(ms), rss: None };
        let second = Duration::from_secs(1);
        assert!((at(600).cpu_percent_since(&at(100), second) - 50.0).abs() < 1e-9);
        assert!(at(100).cpu_percent_since(&at(600), second).abs() < 1e-9);
        assert!(at(600).cpu_percent_since(&at(100), Duration::ZERO).abs() < 1e-9);
    }

    #[test]
    fn statm_of_any_kind() {
        assert_eq!(parse_statm("583 331 300 200 0 50 0\n"), Some(Pages(331)));
        assert_eq!(parse_statm("583"), None);
        assert_eq!(parse_statm("583 x"), None);
    }
}
