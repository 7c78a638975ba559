//! Which process holds a socket now: the search through `/proc/PID/fd`, for the sockets that
//! stood before tracing began. Done once; from then on the kernel tells who opens and closes.
//!
//! A process's descriptors are those of its main thread, or, when that has ended before the others, of
//! the first that has any. The few programs that give threads tables of their own
//! (`unshare(CLONE_FILES)`) are not seen through.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;

use super::processes;

/// How far to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Until each socket has a holder; whether others hold it too is then known only as far as
    /// they came before.
    FirstHolder,
    /// Through all processes, so that [`Holder::shared`] is certain.
    EveryHolder,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid; where several processes hold the socket the lowest: of a server that forks, the
    /// one that was there first, unless pids have wrapped around.
    pub pid: u32,
    /// Its name, at most 15 bytes, chosen by itself.
    pub comm: String,
    /// When it started; see [`processes::ticks`].
    pub start_ticks: u64,
    /// Whether another process was seen to hold it as well.
    pub shared: bool,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Holders by the socket's inode. What is missing nobody holds, or one of [`Self::denied`].
    pub by_inode: HashMap<u64, Holder>,
    /// Processes whose descriptors we may not see (`CAP_SYS_PTRACE`).
    pub denied: usize,
    /// Processes that ended while we looked.
    pub vanished: usize,
    /// Descriptors looked at.
    pub descriptors: u64,
}

/// Finds who holds the sockets with these inodes (never 0: that is no inode). One `readlink` a
/// descriptor of every process, in the order of pids.
///
/// # Errors
/// Where /proc cannot be read. What happens to single processes is counted instead.
pub fn find(inodes: &HashSet<u64>, search: Search) -> io::Result<Holders> {
    let mut found = Holders::default();
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    for pid in processes::pids()? {
        if search == Search::FirstHolder && found.by_inode.len() == inodes.len() {
            break;
        }
        let held = match held_by(pid, inodes, &mut buffer, &mut found.descriptors) {
            Ok(held) => held,
            Err(Errno::ACCESS | Errno::PERM) => {
                found.denied += 1;
                continue;
            }
            Err(_) => {
                found.vanished += 1;
                continue;
            }
        };
        if held.is_empty() {
            continue;
        }
        let Ok(process) = processes::process(pid) else {
            found.vanished += 1;
            continue;
        };
        for inode in held {
            match found.by_inode.entry(inode) {
                Entry::Occupied(mut first) => first.get_mut().shared = true,
                Entry::Vacant(vacant) => {
                    vacant.insert(Holder {
                        pid,
                        comm: process.comm.clone(),
                        start_ticks: process.start_ticks,
                        shared: false,
                    });
                }
            }
        }
    }
    Ok(found)
}

/// Those of `inodes` that `pid` holds, each once.
fn held_by(
    pid: u32,
    inodes: &HashSet<u64>,
    buffer: &mut [MaybeUninit<u8>],
    descriptors: &mut u64,
) -> Result<HashSet<u64>, Errno> {
    let mut held = HashSet::new();
    *descriptors += each_socket(pid, buffer, |_, inode| {
        if inodes.contains(&inode) {
            held.insert(inode);
        }
    })?;
    Ok(held)
}

/// Hands every socket that `pid` holds to `sink`: its descriptor and its inode. Returns how many
/// descriptors were looked at.
pub(super) fn each_socket(
    pid: u32,
    buffer: &mut [MaybeUninit<u8>],
    mut sink: impl FnMut(&CStr, u64),
) -> Result<u64, Errno> {
    let of_main_thread = each_socket_in(&format!("/proc/{pid}/fd"), buffer, &mut sink)?;
    if of_main_thread > 0 {
        return Ok(of_main_thread);
    }
    let Some(folder) = processes::descriptors_of_other_thread(pid) else { return Ok(0) };
    each_socket_in(&folder, buffer, &mut sink)
}

fn each_socket_in(
    folder: &str,
    buffer: &mut [MaybeUninit<u8>],
    sink: &mut impl FnMut(&CStr, u64),
) -> Result<u64, Errno> {
    let folder: OwnedFd =
        openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut descriptors = 0;
    let mut entries = RawDir::new(&folder, buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        // Longer names than a socket's can be are cut off, and are no socket's.
        let mut link = [0; 32];
        let len = match readlinkat_raw(&folder, entry.file_name(), &mut link[..]) {
            Ok(len) => len,
            // "." and "..", and descriptors closed since.
            Err(_) => continue,
        };
        descriptors += 1;
        if let Some(inode) = socket_inode(&link[..len]) {
            sink(entry.file_name(), inode);
        }
    }
    Ok(descriptors)
}

/// The inode in `socket:[4242]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::super::testing::eventually;
    use super::*;

    fn inode(listener: &TcpListener) -> u64 {
        let file = std::fs::File::from(OwnedFd::from(listener.try_clone().unwrap()));
        file.metadata().unwrap().ino()
    }

    #[test]
    fn we_hold_our_own_sockets() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = HashSet::from([inode(&first), inode(&second), u64::MAX]);
        let found = find(&wanted, Search::EveryHolder).unwrap();
        assert!(!found.by_inode.contains_key(&u64::MAX));
        assert_eq!(found.by_inode.len(), 2);
        assert!(found.descriptors > 2);
        let own = processes::process(std::process::id()).unwrap();
        let holder = &found.by_inode[&inode(&first)];
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.comm, own.comm);
        assert!(processes::alive(holder.pid, holder.start_ticks));
    }

    #[test]
    fn another_process_and_a_shared_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = HashSet::from([inode(&listener)]);
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .unwrap();
        let alone = eventually(|| {
            let found = find(&wanted, Search::FirstHolder).unwrap();
            let holder = found.by_inode.into_values().next()?;
            (holder.comm == "sleep").then_some(holder)
        });
        assert_eq!((alone.pid, alone.shared), (child.id(), false));

        child.kill().unwrap();
        child.wait().unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = HashSet::from([inode(&listener)]);
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .spawn()
            .unwrap();
        let both = eventually(|| {
            let found = find(&wanted, Search::EveryHolder).unwrap();
            let holder = found.by_inode.into_values().next()?;
            holder.shared.then_some(holder)
        });
        assert_eq!(both.pid, child.id().min(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(listener);
    }

    #[test]
    fn nothing_asked_for_is_found_at_once() {
        let found = find(&HashSet::new(), Search::FirstHolder).unwrap();
        assert_eq!(found, Holders::default());
    }

    #[test]
    fn only_sockets_have_a_sockets_inode() {
        assert_eq!(socket_inode(b"socket:[4242]"), Some(4242));
        for other in [
            &b"pipe:[4242]"[..],
            b"socket:[4242",
            b"socket:[]",
            b"socket:[99999999999999999999]",
            b"/tmp/socket:[1]",
            b"",
        ] {
            assert_eq!(socket_inode(other), None);
        }
    }
}
