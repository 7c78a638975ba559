//! Who holds which socket: one walk through `/proc/PID/fd` of every process, for all that a sample
//! wants to know of it. About 1 µs a descriptor.

use std::mem::MaybeUninit;

use rustc_hash::FxHashMap;
use rustix::io::Errno;

use super::super::{owners, processes};
use super::causes::{Claim, Tally};
use crate::facts::causes::{Owner, OwnerSearch};

/// Descriptors looked at in one walk.
const MOST_DESCRIPTORS: u64 = 1 << 20;
/// Processes kept of each listener.
const MOST_HOLDERS: usize = 1 << 10;
/// Descriptors kept of sockets that no dump showed.
const MOST_STRANGERS: usize = 1 << 16;

/// A descriptor of a socket that no dump showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// Index of the process.
    pub(super) process: u32,
    /// Its descriptor.
    pub(super) fd: u32,
    pub(super) inode: u64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Processes that hold a socket, ascending.
    pids: Vec<u32>,
    /// Names, as far as they were asked for.
    names: FxHashMap<u32, String>,
    /// Processes by the inode of a listener, or of another socket that was asked for; ascending.
    by_inode: FxHashMap<u64, Vec<u32>>,
    /// Sockets that no dump showed.
    pub(super) strangers: Vec<Stranger>,
    /// How many there were no room for.
    pub(super) more_strangers: u64,
    denied: u64,
    cut: bool,
}

impl Holders {
    /// Walks; tells `tally` whose its sockets are. `others`: further inodes whose holders are
    /// wanted, ascending.
    pub(super) fn walk(tally: &mut Tally<'_>, others: &[u64]) -> Self {
        let mut this = Self::default();
        let Ok(pids) = processes::pids() else {
            this.cut = true;
            return this;
        };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut descriptors = 0;
        for pid in pids {
            if descriptors >= MOST_DESCRIPTORS {
                this.cut = true;
                break;
            }
            let mut process = None;
            let walked = owners::each_socket(pid, &mut buffer, |fd, inode| {
                let process = *process.get_or_insert_with(|| this.add(pid));
                match tally.claim(inode, process) {
                    Claim::Known => {}
                    Claim::Listener => this.hold(inode, process),
                    Claim::Stranger if others.binary_search(&inode).is_ok() => {
                        this.hold(inode, process);
                    }
                    Claim::Stranger => this.meet(process, fd.to_str().unwrap_or_default(), inode),
                }
            });
            match walked {
                Ok(walked) => descriptors += walked,
                Err(Errno::ACCESS | Errno::PERM) => this.denied += 1,
                // It ended meanwhile.
                Err(_) => {}
            }
        }
        this
    }

    pub(super) fn add(&mut self, pid: u32) -> u32 {
        self.pids.push(pid);
        u32::try_from(self.pids.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn hold(&mut self, inode: u64, process: u32) {
        let holders = self.by_inode.entry(inode).or_default();
        if holders.len() < MOST_HOLDERS && holders.last() != Some(&process) {
            holders.push(process);
        }
    }

    fn meet(&mut self, process: u32, fd: &str, inode: u64) {
        let Ok(fd) = fd.parse() else { return };
        if self.strangers.len() < MOST_STRANGERS {
            self.strangers.push(Stranger { process, fd, inode });
        } else {
            self.more_strangers += 1;
        }
    }

    /// Processes that hold a socket.
    pub(super) const fn len(&self) -> usize {
        self.pids.len()
    }

    /// The process id behind an index.
    pub(super) fn pid(&self, process: u32) -> Option<u32> {
        self.pids.get(process as usize).copied()
    }

    /// The process behind an index; its name is empty where it has ended.
    pub(super) fn owner(&mut self, process: u32) -> Option<Owner> {
        let pid = self.pid(process)?;
        let name = self.names.entry(process).or_insert_with(|| {
            processes::process(pid).map(|process| process.comm).unwrap_or_default()
        });
        Some((pid, name.clone()))
    }

    /// The first process that holds this listener, or another socket that was asked for.
    pub(super) fn of_listener(&mut self, inode: u64) -> Option<Owner> {
        let first = *self.by_inode.get(&inode)?.first()?;
        self.owner(first)
    }

    /// Process ids of all that hold it.
    pub(super) fn all_of(&self, inode: u64) -> impl Iterator<Item = u32> + '_ {
        self.by_inode.get(&inode).into_iter().flatten().filter_map(|process| self.pid(*process))
    }

    /// How it went; `cut`: whether sockets were left out before.
    pub(super) const fn outcome(&self, cut: bool) -> OwnerSearch {
        OwnerSearch { denied: self.denied, cut: self.cut || cut }
    }
}
