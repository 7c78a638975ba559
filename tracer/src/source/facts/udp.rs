//! UDP sockets that drop datagrams.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::super::sock_diag::Entry;
use super::holders::Holders;
use crate::facts::causes::{MOST_ROWS, UdpSocket};

/// Sockets whose drops are remembered; drops of further ones do not count.
const MOST: usize = 1 << 14;

/// What UDP sockets dropped since the first sample.
#[derive(Debug, Default)]
pub(super) struct UdpDrops {
    /// By cookie.
    sockets: FxHashMap<u64, Dropped>,
    sample: u32,
    rows: Vec<(u64, UdpSocket)>,
}

#[derive(Clone, Copy, Debug)]
struct Dropped {
    /// The socket's own count when it was seen last.
    last: u32,
    /// Of those, how many since the first sample.
    drops: u64,
    /// The sample it was seen in last.
    sample: u32,
}

impl UdpDrops {
    /// A sample begins.
    pub(super) fn begin(&mut self) {
        self.sample = self.sample.wrapping_add(1);
        self.rows.clear();
    }

    /// A socket of this sample.
    pub(super) fn see(&mut self, netns: u32, entry: &Entry) {
        let Some(memory) = entry.memory.filter(|memory| memory.drops > 0) else { return };
        let sample = self.sample;
        if self.sockets.len() >= MOST && !self.sockets.contains_key(&entry.cookie) {
            return;
        }
        // What it had dropped when watching began does not count. One that was not there then, or
        // had dropped nothing, dropped all of it since.
        let before = if sample == 1 { memory.drops } else { 0 };
        let dropped =
            self.sockets.entry(entry.cookie).or_insert(Dropped { last: before, drops: 0, sample });
        dropped.drops += u64::from(memory.drops.wrapping_sub(dropped.last));
        dropped.last = memory.drops;
        dropped.sample = sample;
        let socket = UdpSocket {
            netns,
            local: entry.local,
            owner: None,
            drops: dropped.drops,
            drops_ever: memory.drops,
            receive: memory.rmem_alloc,
            limit: memory.rcvbuf,
        };
        self.rows.push((entry.inode, socket));
        if self.rows.len() >= 4 * MOST_ROWS {
            self.keep_most();
        }
    }

    /// The sample is complete; returns the inodes of those that are told, ascending.
    pub(super) fn end(&mut self) -> Vec<u64> {
        let sample = self.sample;
        // A namespace may not let itself be asked once.
        self.sockets.retain(|_, dropped| sample.wrapping_sub(dropped.sample) <= 2);
        self.keep_most();
        let mut inodes: Vec<u64> = self.rows.iter().map(|(inode, _)| *inode).collect();
        inodes.sort_unstable();
        inodes
    }

    fn keep_most(&mut self) {
        self.rows.sort_by_key(|(inode, socket)| {
            (Reverse(socket.drops), Reverse(socket.drops_ever), *inode)
        });
        self.rows.truncate(MOST_ROWS);
    }

    /// Those that dropped most, with their owners.
    pub(super) fn take(&mut self, holders: &mut Holders) -> Vec<UdpSocket> {
        let rows = std::mem::take(&mut self.rows).into_iter();
        rows.map(|(inode, socket)| UdpSocket { owner: holders.of_listener(inode), ..socket })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::state::TcpState;

    use super::super::super::sock_diag::{Kind, SocketMemory};
    use super::super::tests::entry;
    use super::*;

    #[test]
    fn drops_count_from_the_first_sample_on() {
        let mut udp = UdpDrops::default();
        let mut sample = |sockets: &[(u64, u32)]| -> Vec<(u16, u64, u32)> {
            udp.begin();
            for (cookie, drops) in sockets {
                let memory = SocketMemory { drops: *drops, ..SocketMemory::default() };
                let entry = entry(Kind::Full, TcpState::Close, *cookie as u16, "0.0.0.0:0");
                let (inode, cookie) = (*cookie, *cookie);
                udp.see(7, &Entry { cookie, inode, memory: Some(memory), ..entry });
            }
            assert!(udp.end().len() <= MOST_ROWS);
            let rows = udp.take(&mut Holders::default());
            rows.iter().map(|it| (it.local.port(), it.drops, it.drops_ever)).collect()
        };
        assert_eq!(sample(&[(1, 1_000), (2, 0)]), [(1, 0, 1_000)], "they were before");
        assert_eq!(sample(&[(1, 1_000), (2, 5), (3, 6)]), [(3, 6, 6), (2, 5, 5), (1, 0, 1_000)]);
        // 3 cannot be asked once; the kernel's count of 1 wraps.
        assert_eq!(sample(&[(1, u32::MAX), (2, 5)])[0].1, u64::from(u32::MAX - 1_000));
        let rows = sample(&[(1, 1), (2, 5), (3, 8)]);
        assert_eq!(rows[0], (1, u64::from(u32::MAX - 1_000) + 2, 1));
        assert_eq!(rows[1..], [(3, 8, 8), (2, 5, 5)]);
        let many: Vec<(u64, u32)> = (10..500).map(|cookie| (cookie, cookie as u32)).collect();
        let rows = sample(&many);
        assert_eq!(rows.len(), MOST_ROWS);
        assert_eq!(rows[0], (499, 499, 499));
    }
}
