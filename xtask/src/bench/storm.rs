//! The load: `sockflow storm`, in a network namespace of its own, and what it cost.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::figures::number;
use crate::shell;

/// Where the storm that counts goes to; the tracers' output is searched for it.
pub(super) const PORT: u16 = 9981;
/// Where the warm-up goes to, so that it can be told from what counts.
const WARM_UP_PORT: u16 = 9980;
pub(super) const WARM_UP: u64 = 2_000;
/// Clock ticks a second as `/proc` shows them, on every architecture but alpha.
const TICKS: f64 = 100.0;

/// What a storm reports.
pub(super) struct Storm {
    /// Connections a second in its busy time.
    pub(super) per_s: f64,
    /// CPU time of the process, µs a connection.
    pub(super) cpu_us: f64,
}

/// Runs the storm that counts.
pub(super) fn run(sockflow: &Path, connections: u64, workers: u32) -> Result<Storm> {
    let before = children_cpu_s()?;
    let json = storm(sockflow, PORT, connections, workers)?;
    let cpu_s = children_cpu_s()? - before;
    let per_s = number(&json, "per_s").context("storm tells no per_s")?;
    Ok(Storm { per_s, cpu_us: cpu_s * 1e6 / connections as f64 })
}

/// Runs a short one before: it fills caches, and whatever a tracer sets up at the first event.
pub(super) fn warm_up(sockflow: &Path, workers: u32) -> Result<()> {
    storm(sockflow, WARM_UP_PORT, WARM_UP, workers).map(drop)
}

/// A few connections, to make a tracer say something.
pub(super) fn poke(sockflow: &Path) -> Result<()> {
    storm(sockflow, WARM_UP_PORT, 10, 1).map(drop)
}

fn storm(sockflow: &Path, port: u16, connections: u64, workers: u32) -> Result<String> {
    shell::read(Command::new(sockflow).args(["storm", "--json", "--netns"]).args([
        format!("--port={port}"),
        format!("--connections={connections}"),
        format!("--workers={workers}"),
    ]))
}

/// CPU time of all children that ended so far, in steps of 10 ms.
fn children_cpu_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything, field 3 comes first; 16 and 17 are wanted.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has no name")?;
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(13).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}
