//! Processes as /proc shows them: who they are and whether they still run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use super::clock;
use super::proc_file::read_whole;

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name: the main thread's `comm`, at most 15 bytes, chosen by itself.
    pub comm: String,
    /// When it started: see [`ticks`].
    pub start_ticks: u64,
    /// Whether it runs: not when only its entry is left for its parent to read.
    pub running: bool,
    /// State of its main thread: `R`, `S`, `D`, `T` (stopped by a signal), `t` (by a debugger),
    /// `Z` …
    pub state: char,
}

/// All processes we can see, ascending, as pids of the namespace that /proc was mounted in.
///
/// # Errors
/// Where /proc cannot be read.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // The kernel lists them so, but does not promise it.
    pids.sort_unstable();
    Ok(pids)
}

/// The folder of descriptors of the first thread that has any; `None` where the process has one
/// thread only. A main thread that ends before the others leaves its descriptors to them, and its own
/// folder, which is the process's, is empty.
pub(super) fn descriptors_of_other_thread(pid: u32) -> Option<String> {
    let tasks = format!("/proc/{pid}/task");
    // A folder for each thread, beside "." and "..": most have one, and need not be listed.
    if fs::metadata(&tasks).ok()?.nlink() <= 3 {
        return None;
    }
    let folders = fs::read_dir(&tasks).ok()?.flatten().filter_map(|task| {
        let thread = task.file_name();
        Some(format!("{tasks}/{}/fd", thread.to_str()?))
    });
    folders
        .into_iter()
        .find(|folder| fs::read_dir(folder).is_ok_and(|mut held| held.next().is_some()))
}

/// The process `pid` now.
///
/// # Errors
/// `NotFound` where there is none; `InvalidData` where the kernel's line is not understood.
pub fn process(pid: u32) -> io::Result<Process> {
    let mut buffer = Vec::new();
    let file = File::open(format!("/proc/{pid}/stat"))?;
    let len = read_whole(&file, &mut buffer)?;
    let shown = parse_stat(&buffer[..len]).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("cannot understand /proc/{pid}/stat"))
    })?;
    Ok(Process { start_ticks: clock::host_ticks(shown.start_ticks), ..shown })
}

/// Whether the process that had `pid` and started at `start_ticks` still runs; so a pid in use
/// again is not mistaken for it.
#[must_use]
pub fn alive(pid: u32, start_ticks: u64) -> bool {
    process(pid).is_ok_and(|process| process.running && process.start_ticks == start_ticks)
}

/// A process's start as `/proc/PID/stat` has it (field 22), from the kernel's own
/// `task->group_leader->start_boottime` in nanoseconds: whole ticks of `USER_HZ` (100 a second on
/// every architecture but alpha and ia64) since boot, rounded down (`nsec_to_clock_t`,
/// kernel/time/time.c). The way back is only good to 10 ms, so starts are compared in ticks. In a
/// time namespace /proc adds that namespace's offset, which [`process`] takes back.
#[must_use]
pub fn ticks(start_boottime_ns: u64) -> u64 {
    start_boottime_ns / (1_000_000_000 / rustix::param::clock_ticks_per_second()).max(1)
}

/// Reads `/proc/PID/stat` (`do_task_stat`, fs/proc/array.c). The name stands in parentheses and
/// may itself have blanks and parentheses, so the last one counts.
fn parse_stat(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let comm = stat.get(open + 1..close)?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    // The first word is field 3.
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
    let threads: u64 = field(20)?.parse().ok()?;
    Some(Process {
        comm: String::from_utf8_lossy(comm).into_owned(),
        start_ticks: field(22)?.parse().ok()?,
        // A main thread may end before the others do.
        running: !matches!(field(3)?, "Z" | "X") || threads > 1,
        state: field(3)?.chars().next()?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::super::testing::eventually;
    use super::*;

    #[test]
    fn stat_of_every_kernel() {
        for (stat, ticks) in [
            (&include_bytes!("../../tests/proc/5.10/stat")[..], None),
            (include_bytes!("../../tests/proc/6.1/stat"), None),
            (include_bytes!("../../tests/proc/6.12/stat"), None),
            (include_bytes!("../../tests/proc/6.18/stat"), None),
            (include_bytes!("../../tests/proc/7.3/stat"), Some(429)),
        ] {
            let process = parse_stat(stat).unwrap();
            assert_eq!(process.comm, "cat");
            assert!(process.running);
            assert_eq!(process.start_ticks, ticks.unwrap_or(process.start_ticks));
        }
    }

    #[test]
    fn names_may_have_anything_in_them() {
        let stat = b"7 (a) R 1 (b\xff) Z 1 0 0 0 -1 4 5 0 0 0 0 0 0 0 20 0 1 0 429 23";
        let process = parse_stat(stat).unwrap();
        assert_eq!(process.comm, "a) R 1 (b\u{fffd}");
        assert_eq!(process.start_ticks, 429);
        assert_eq!((process.running, process.state), (false, 'Z'));
    }

    proptest! {
        #[test]
        fn any_stat_is_survived(stat: Vec<u8>) {
            let _ = parse_stat(&stat);
        }

        #[test]
        fn any_line_like_one_is_survived(stat in "[0-9]{0,2} ?[()]{0,3}[ 0-9ZR()-]{0,60}") {
            let _ = parse_stat(stat.as_bytes());
        }
    }

    #[test]
    fn we_are_alive_and_nobody_else_is_us() {
        let pid = std::process::id();
        let own = process(pid).unwrap();
        assert!(alive(pid, own.start_ticks));
        assert!(!alive(pid, own.start_ticks + 1));
        assert!(pids().unwrap().contains(&pid));
    }

    #[test]
    fn a_process_that_ended_is_not_alive_even_unreaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let start = process(child.id()).unwrap().start_ticks;
        assert!(alive(child.id(), start));
        drop(child.stdin.take());
        eventually(|| (!alive(child.id(), start)).then_some(()));
        // Its entry is still there for us to read.
        assert!(!process(child.id()).unwrap().running);
        child.wait().unwrap();
        assert!(!alive(child.id(), start));
        assert!(process(child.id()).is_err());
    }

    #[test]
    fn ticks_are_rounded_down() {
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(ticks(tick * 5 - 1), 4);
        assert_eq!(ticks(tick * 5), 5);
    }
}
