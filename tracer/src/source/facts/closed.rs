//! TCP sockets that are in no hash table though somebody has their descriptor: sockets of
//! `/proc/PID/fd` that no dump showed, and that say they are TCP.
//!
//! A descriptor counts when it was so in two samples, or, in the first one, when a second dump does
//! not show its socket either: one that was opened after the first dump is in the second.

use std::collections::HashSet;

use rustc_hash::FxHashMap;

use super::ages::Ages;
use super::holders::{Holders, Stranger};
use crate::facts::causes::{ClosedFds, ClosedFdsOf, MOST_ROWS};
use crate::time::Monotonic;

/// As few are not looked for: a busy host always has some that are just being made or unmade.
const FEW: u64 = 16;
/// Descriptors that are asked for their protocol in one sample, some 2 µs each.
const MOST_ASKED: usize = 1 << 12;
/// Sockets of other protocols that are remembered.
const MOST_OTHERS: usize = 1 << 16;

/// Remembers which sockets are such.
#[derive(Debug)]
pub(super) struct Closed {
    ages: Ages,
    /// Sockets of other protocols, and the sample they were met in last.
    others: FxHashMap<u64, u32>,
    sample: u32,
}

impl Closed {
    pub(super) fn new() -> Self {
        Self { ages: Ages::forgetting_after(0), others: FxHashMap::default(), sample: 0 }
    }

    /// Counts them. `host`: how many there are on the host. `is_tcp`: what a descriptor says of
    /// its protocol, `None` if it is gone. `shown`: the inodes that a second dump shows.
    pub(super) fn count(
        &mut self,
        now: Monotonic,
        host: u64,
        holders: &mut Holders,
        mut is_tcp: impl FnMut(u32, u32) -> Option<bool>,
        shown: impl FnOnce() -> Option<HashSet<u64>>,
    ) -> ClosedFds {
        let strangers = std::mem::take(&mut holders.strangers);
        self.ages.begin(now);
        self.sample = self.sample.wrapping_add(1);
        let mut found = ClosedFds { host, processes: Vec::new(), unchecked: 0 };
        if host < FEW {
            self.ages.end();
            return found;
        }
        let mut unchecked = holders.more_strangers;
        let mut asked = 0;
        // Those seen to be so before, and those seen for the first time.
        let (mut closed, mut fresh) = (Vec::new(), Vec::new());
        for stranger in most_first(strangers) {
            if let Some(last) = self.others.get_mut(&stranger.inode) {
                *last = self.sample;
                continue;
            }
            if self.ages.is_known(stranger.inode) {
                closed.push((stranger, self.ages.of(stranger.inode)));
                continue;
            }
            if asked == MOST_ASKED {
                unchecked += 1;
                continue;
            }
            asked += 1;
            let Some(pid) = holders.pid(stranger.process) else { continue };
            match is_tcp(pid, stranger.fd) {
                Some(true) => {
                    self.ages.of(stranger.inode);
                    fresh.push(stranger);
                }
                Some(false) if self.others.len() < MOST_OTHERS => {
                    self.others.insert(stranger.inode, self.sample);
                }
                _ => {}
            }
        }
        if self.ages.is_first()
            && !fresh.is_empty()
            && let Some(shown) = shown()
        {
            closed.extend(
                fresh.into_iter().filter(|it| !shown.contains(&it.inode)).map(|it| (it, 0)),
            );
        }
        self.ages.end();
        let sample = self.sample;
        self.others.retain(|_, last| *last == sample);
        found.unchecked = unchecked;
        let mut processes: FxHashMap<u32, (u64, u64)> = FxHashMap::default();
        for (stranger, age) in closed {
            let (count, oldest) = processes.entry(stranger.process).or_default();
            *count += 1;
            *oldest = (*oldest).max(age);
        }
        let mut processes: Vec<(u32, (u64, u64))> = processes.into_iter().collect();
        processes.sort_unstable_by_key(|(process, (count, _))| (u64::MAX - count, *process));
        processes.truncate(MOST_ROWS);
        found.processes = processes
            .into_iter()
            .filter_map(|(process, (count, oldest_ms))| {
                Some(ClosedFdsOf { owner: holders.owner(process)?, count, oldest_ms })
            })
            .collect();
        found
    }
}

/// Each socket once, at the first process that holds it; the process with most first.
fn most_first(mut strangers: Vec<Stranger>) -> Vec<Stranger> {
    strangers.sort_unstable_by_key(|it| (it.inode, it.process, it.fd));
    strangers.dedup_by_key(|it| it.inode);
    let mut counts: FxHashMap<u32, u32> = FxHashMap::default();
    for stranger in &strangers {
        *counts.entry(stranger.process).or_default() += 1;
    }
    let count = |it: &Stranger| counts.get(&it.process).copied().unwrap_or(0);
    strangers.sort_unstable_by_key(|it| (u32::MAX - count(it), it.process, it.inode));
    strangers
}

/// What a descriptor says of its protocol: `TCP`, `TCPv6`, `UDP`, `UNIX` … (`sockfs_xattr_get`,
/// net/socket.c).
pub(super) fn is_tcp(pid: u32, fd: u32) -> Option<bool> {
    let mut name = [0; 32];
    let path = format!("/proc/{pid}/fd/{fd}");
    let len = rustix::fs::getxattr(path, "system.sockprotoname", &mut name[..]).ok()?;
    let name = name.get(..len)?;
    Some(matches!(name.strip_suffix(b"\0").unwrap_or(name), b"TCP" | b"TCPv6"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;

    use super::*;

    fn at(second: u64) -> Monotonic {
        Monotonic(second * 1_000_000_000)
    }

    /// Process 0 (pid 70) has the descriptors `tcp` and `other`, process 1 (pid 80) one more.
    fn holders(tcp: std::ops::Range<u64>, other: std::ops::Range<u64>) -> Holders {
        let mut holders = Holders::default();
        let (first, second) = (holders.add(70), holders.add(80));
        let of = |inode: u64| Stranger { process: first, fd: inode as u32, inode };
        holders.strangers = tcp.chain(other).map(of).collect();
        holders.strangers.push(Stranger { process: second, fd: 5, inode: 9_999 });
        // Shared by both, and a second descriptor of the same.
        holders.strangers.push(Stranger { process: second, fd: 6, inode: 1 });
        holders.strangers.push(Stranger { process: first, fd: 77, inode: 1 });
        holders
    }

    #[test]
    fn a_descriptor_counts_when_it_was_seen_twice() {
        let mut closed = Closed::new();
        let mut count = |second, holders: Holders, shown: Option<&[u64]>| {
            let mut holders = holders;
            let mut asked = 0;
            let is_tcp = |_, fd: u32| {
                asked += 1;
                (fd != 66).then_some(fd < 500)
            };
            let shown = shown.map(|shown| shown.iter().copied().collect());
            let found = closed.count(at(second), 40, &mut holders, is_tcp, || shown);
            let rows: Vec<(u32, u64, u64)> =
                found.processes.iter().map(|it| (it.owner.0, it.count, it.oldest_ms)).collect();
            assert_eq!((found.host, found.unchecked), (40, 0));
            (rows, asked)
        };
        // In the first sample a second dump decides: it shows inode 3, opened meanwhile. 66 is gone.
        let (rows, asked) = count(10, holders(1..100, 500..600), Some(&[3]));
        assert_eq!((rows, asked), (vec![(70, 97, 0), (80, 1, 0)], 200));
        // Nobody is asked again; 100 and 101 are new and count next time.
        let (rows, asked) = count(15, holders(1..102, 500..600), None);
        assert_eq!((rows, asked), (vec![(70, 98, 5_000), (80, 1, 5_000)], 3));
        let (rows, _) = count(20, holders(90..102, 500..600), None);
        assert_eq!(rows, [(70, 13, 10_000), (80, 1, 10_000)]);
    }

    #[test]
    fn few_are_not_looked_for_and_too_many_are_said_to_be() {
        let mut found = Holders::default();
        let process = found.add(70);
        found.strangers =
            (0..5_000).map(|inode| Stranger { process, fd: 1, inode: inode + 1 }).collect();
        found.more_strangers = 7;
        let strangers = found.strangers.clone();
        let mut closed = Closed::new();
        let never = |_, _| panic!("asked for few");
        let few = closed.count(at(1), FEW - 1, &mut found, never, || None);
        assert_eq!((few.host, few.processes.len()), (FEW - 1, 0));
        found.strangers = strangers;
        let many = closed.count(at(2), 5_000, &mut found, |_, _| Some(true), || None);
        assert_eq!(many.unchecked, 5_000 - MOST_ASKED as u64 + 7);
        assert!(many.processes.is_empty(), "seen once");
    }

    #[test]
    fn descriptors_say_their_protocol() {
        let pid = std::process::id();
        let is_tcp = |fd: i32| is_tcp(pid, fd as u32);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert_eq!(is_tcp(stream.as_raw_fd()), Some(true));
        assert_eq!(is_tcp(datagrams.as_raw_fd()), Some(false));
        assert_eq!(is_tcp(file.as_raw_fd()), None);
        if let Ok(listener) = TcpListener::bind("[::1]:0") {
            assert_eq!(is_tcp(listener.as_raw_fd()), Some(true));
        }
    }
}
