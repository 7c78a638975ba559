//! A program's time, its most memory, and how much it writes to stdout.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a run took.
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// CPU time of the program itself: says the same on a machine that has other things to do.
    pub(crate) cpu: Duration,
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
    let (peak, cpu) = watch(&mut child);
    let time = began.elapsed();
    Measured { time, cpu, bytes: reader.join().unwrap(), peak }
}

/// Waits for its end: the most memory, and CPU time. The kernel keeps both, so looking often enough
/// to see the last of it is all it takes.
fn watch(child: &mut Child) -> (u64, Duration) {
    let process = format!("/proc/{}", child.id());
    let read =
        |name: &str| std::fs::read_to_string(format!("{process}/{name}")).unwrap_or_default();
    let (mut peak, mut ticks) = (0, 0);
    loop {
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = kib.map_or(peak, |kib| peak.max(kib << 10));
        // utime and stime are the 14th and 15th field; the 2nd, a name, may have blanks.
        let stat = read("stat");
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        let used = after.split(' ').skip(11).take(2).filter_map(|tick| tick.parse::<u64>().ok());
        ticks = ticks.max(used.sum());
        if let Some(end) = child.try_wait().unwrap() {
            assert!(end.success(), "{end}");
            let rate = rustix::param::clock_ticks_per_second();
            return (peak, Duration::from_secs_f64(ticks as f64 / rate as f64));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
