//! Open descriptors of processes against their limit.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::super::processes;
use super::parse;
use crate::facts::{Known, ProcessFds, Processes, Sockets, Unknown};

/// How many of the worst are kept.
const KEPT: usize = 8;
/// How many are kept beside those because of the sockets they hold.
const HOLDING: usize = 8;

/// Processes that are asked about by name or id: they are kept however far from their limit.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The process id.
    pub pid: Option<u32>,
    /// The name, as in /proc/PID/comm.
    pub comm: Option<String>,
}

impl Wanted {
    const fn is_empty(&self) -> bool {
        self.pid.is_none() && self.comm.is_none()
    }

    /// Whether a process is asked about; its name is filled in where that decides.
    fn has(&self, process: &mut ProcessFds) -> bool {
        if self.is_empty() || self.pid.is_some_and(|pid| pid != process.pid) {
            return false;
        }
        let Some(wanted) = &self.comm else { return true };
        process.comm = processes::process(process.pid).map(|it| it.comm).unwrap_or_default();
        process.comm == *wanted
    }
}

/// The processes that hold most sockets which their peers have closed, or which are closed: those
/// whose descriptors run out. Without doubles; a few.
#[must_use]
pub fn holding(sockets: &Sockets) -> Vec<u32> {
    let Ok(causes) = &sockets.causes else { return Vec::new() };
    let waits = causes.close_waits.iter().filter_map(|it| Some((it.owner.as_ref()?.0, it.count())));
    let kept =
        causes.fin_wait2s.iter().filter_map(|it| Some((it.owner.as_ref()?.0, it.part.count)));
    let closed = causes.closed_fds.iter().flat_map(|it| &it.processes);
    let closed = closed.map(|it| (it.owner.0, it.count));
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for (pid, count) in waits.chain(kept).chain(closed) {
        let sum = counts.entry(pid).or_default();
        *sum = sum.saturating_add(count);
    }
    let mut pids: Vec<(u32, u64)> = counts.into_iter().collect();
    pids.sort_by_key(|(pid, count)| (Reverse(*count), *pid));
    pids.into_iter().take(HOLDING).map(|(pid, _)| pid).collect()
}

/// Looks at every process. `holding`: process ids of those that are kept whatever they use.
///
/// # Errors
/// Without /proc.
pub fn all(wanted: &Wanted, holding: &[u32]) -> Known<Processes> {
    let pids = processes::pids().map_err(|error| Unknown(format!("cannot read /proc: {error}")))?;
    let mut found = Processes::default();
    let mut asked = Vec::new();
    let mut kept = Vec::new();
    for pid in pids {
        match fds(pid) {
            Ok(Some(mut process)) => {
                found.seen += 1;
                if holding.contains(&pid) {
                    process.watched = true;
                    kept.push(process);
                    continue;
                }
                if wanted.has(&mut process) {
                    process.watched = true;
                    asked.push(process);
                    if asked.len() >= 4 * KEPT {
                        keep_worst(&mut asked);
                    }
                    continue;
                }
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
    keep_worst(&mut asked);
    keep_worst(&mut found.worst);
    // Whoever is asked about is among those kept.
    found.worst.truncate(KEPT - asked.len().min(KEPT));
    found.worst.append(&mut asked);
    found.worst.append(&mut kept);
    found.worst.sort_by(ProcessFds::worse_first);
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
            found.worst.push(ProcessFds {
                comm: former.comm.clone(),
                watched: former.watched,
                ..process
            });
        }
    }
    found.worst.sort_by(ProcessFds::worse_first);
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
    let count = |folder: &str| -> io::Result<u64> {
        Ok(match fs::metadata(folder)?.len() {
            0 => fs::read_dir(folder)?.count() as u64,
            count => count,
        })
    };
    let open = match count(&folder)? {
        0 => match processes::descriptors_of_other_thread(pid) {
            Some(folder) => count(&folder).unwrap_or(0),
            None => 0,
        },
        open => open,
    };
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    Ok(parse::open_files_limit(&limits).filter(|_| open > 0).map(|(soft, hard)| ProcessFds {
        pid,
        comm: String::new(),
        open,
        soft,
        hard,
        watched: false,
    }))
}
