//! `sockflow export` over many events: speed, memory, and how much it writes.
//!
//!     cargo bench -p tracer --bench export [-- EVENTS]
//!
//! Simulated traffic is recorded into the temporary folder (`TMPDIR`; 5 bytes an event for the trace,
//! 15 for the Parquet file) and exported by the real binary. CSV and JSON lines, which are long, of
//! the first five million only.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic, as a test may")]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/measured.rs"]
mod measured;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/traffic.rs"]
mod traffic;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use measured::{Measured, run};

/// Events for the formats that are long.
const FEW: usize = 5_000_000;

fn main() {
    let events = arguments::events();
    let folder = std::env::temp_dir().join(format!("sockflow-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (all, few) = (folder.join("all.sockflow"), folder.join("few.sockflow"));
    recorded::write(&all, events);
    println!("trace: {:.2} bytes an event", size(&all) / events as f64);
    parquet(&all, events);
    let some = events.min(FEW);
    recorded::write(&few, some);
    if some < events {
        parquet(&few, some);
    }
    let file = few.display();
    let binary = env!("CARGO_BIN_EXE_sockflow");
    for (name, command) in [
        ("jsonl", format!("exec {binary} export {file} --format jsonl")),
        ("csv", format!("exec {binary} export {file} --format csv")),
        ("csv | gzip", format!("{binary} export {file} --format csv | gzip")),
        ("csv | zstd", format!("{binary} export {file} --format csv | zstd -q")),
    ] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]);
        let mut measured = run(shell);
        if command.contains('|') {
            // The shell's own, which only waits.
            (measured.cpu, measured.peak) = (Duration::ZERO, 0);
        }
        tell(name, some, &measured);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn parquet(trace: &Path, events: usize) {
    let file = trace.with_extension("parquet");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockflow"));
    command.arg("export").arg(trace).arg("-o").arg(&file).stderr(std::process::Stdio::null());
    let mut measured = run(command);
    measured.bytes = size(&file) as u64;
    tell("parquet", events, &measured);
}

fn size(path: &Path) -> f64 {
    std::fs::metadata(path).unwrap().len() as f64
}

fn tell(name: &str, events: usize, Measured { time, cpu, bytes, peak }: &Measured) {
    let rate = |time: &Duration| events as f64 / time.as_secs_f64() / 1e6;
    print!(
        "{name:<12} {events:>10} events: {:>7.2} bytes an event, {:>6.2} M a second",
        *bytes as f64 / events as f64,
        rate(time),
    );
    if *cpu > Duration::ZERO {
        print!(", {:.2} M a CPU second, at most {} MiB", rate(cpu), peak >> 20);
    }
    println!();
}
