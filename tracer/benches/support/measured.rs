//! A program's time, its most memory, and how much it writes to stdout.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a run took.
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// Bytes on stdout.
    pub(crate) bytes: u64,
    /// The most memory it had at once, bytes.
    pub(crate) peak: u64,
}

/// Runs a program to its end, reading all it writes.
pub(crate) fn run(mut command: Command) -> Measured {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0;
        loop {
            match out.read(&mut buffer).unwrap() {
                0 => return bytes,
                more => bytes += more as u64,
            }
        }
    });
    let peak = peak(&mut child);
    let time = began.elapsed();
    Measured { time, bytes: reader.join().unwrap(), peak }
}

/// Waits for its end. The kernel keeps the most there was until then, so looking often enough to
/// see the last of it is all it takes.
fn peak(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = kib.map_or(peak, |kib| peak.max(kib << 10));
        if let Some(end) = child.try_wait().unwrap() {
            assert!(end.success(), "{end}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
