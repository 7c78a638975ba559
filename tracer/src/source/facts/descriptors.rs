//! Open descriptors of processes against their limit.

use std::fs;
use std::io;

use super::super::processes;
use super::parse;
use crate::facts::{Known, ProcessFds, Processes, Unknown};

/// How many of the worst are kept.
const KEPT: usize = 8;

/// Looks at every process.
///
/// # Errors
/// Without /proc.
pub fn all() -> Known<Processes> {
    let pids = processes::pids().map_err(|error| Unknown(format!("cannot read /proc: {error}")))?;
    let mut found = Processes::default();
    for pid in pids {
        match fds(pid) {
            Ok(Some(process)) => {
                found.seen += 1;
                found.worst.push(process);
                if found.worst.len() >= 4 * KEPT {
                    keep_worst(&mut found.worst);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found.denied += 1,
            // It ended meanwhile, or has no descriptors to speak of.
            Ok(None) | Err(_) => {}
        }
    }
    if found.seen == 0 {
        return Err(Unknown::because("no process lets us look at its descriptors"));
    }
    keep_worst(&mut found.worst);
    for process in &mut found.worst {
        process.comm = processes::process(process.pid).map(|it| it.comm).unwrap_or_default();
    }
    Ok(found)
}

/// Looks at those of a former look again.
#[must_use]
pub fn again(worst: &[ProcessFds]) -> Processes {
    let mut found = Processes::default();
    for former in worst {
        if let Ok(Some(process)) = fds(former.pid) {
            found.seen += 1;
            found.worst.push(ProcessFds { comm: former.comm.clone(), ..process });
        }
    }
    keep_worst(&mut found.worst);
    found
}

/// The highest share of the limit first.
fn keep_worst(processes: &mut Vec<ProcessFds>) {
    processes.sort_by(ProcessFds::worse_first);
    processes.truncate(KEPT);
}

fn fds(pid: u32) -> io::Result<Option<ProcessFds>> {
    let folder = format!("/proc/{pid}/fd");
    // Since 6.2 the folder's size is the number of descriptors (`proc_fd_getattr`, fs/proc/fd.c);
    // before, it is 0 and they have to be counted.
    let open = match fs::metadata(&folder)?.len() {
        0 => fs::read_dir(&folder)?.count() as u64,
        count => count,
    };
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    Ok(parse::open_files_limit(&limits).filter(|_| open > 0).map(|(soft, hard)| ProcessFds {
        pid,
        comm: String::new(),
        open,
        soft,
        hard,
    }))
}
