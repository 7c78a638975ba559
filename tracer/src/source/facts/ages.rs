//! Since when sockets are known to be as they are: nothing tells when a connection got into
//! CLOSE_WAIT or lost its owner, so what is known is when it was first seen so. Of some the kernel tells
//! more, see [`Ages::learn`]. Pure.

use rustc_hash::FxHashMap;

use crate::time::Monotonic;

/// Sockets whose age is kept; further ones are of age 0, which is a lower bound as well.
const MOST: usize = 1 << 17;
/// How a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// In CLOSE_WAIT.
    CloseWait = 0,
    /// An orphan.
    Orphan = 1,
    /// In FIN_WAIT2, with a file.
    KeptOpen = 2,
    /// Not accepted yet.
    Waiting = 3,
}

/// First times.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// When it was seen first, and the sample it was seen in last.
    first: FxHashMap<u64, (u64, u32)>,
    now: u64,
    sample: u32,
    /// Samples a socket may be missing in (its namespace could not be asked) without being
    /// forgotten.
    missing: u32,
}

impl Ages {
    pub(super) fn forgetting_after(missing: u32) -> Self {
        Self { missing, ..Self::default() }
    }

    /// A sample begins.
    pub(super) const fn begin(&mut self, now: Monotonic) {
        self.now = now.0;
        self.sample = self.sample.wrapping_add(1);
    }

    /// Milliseconds since the socket with this cookie was first seen like that.
    pub(super) fn of_socket(&mut self, cookie: u64, how: As) -> u64 {
        // Cookies count sockets since boot: the highest bits are never used.
        self.of(cookie << 2 | how as u64)
    }

    /// It is known to have been like that for so many milliseconds.
    pub(super) fn learn(&mut self, cookie: u64, how: As, ms: u32) {
        if self.first.len() < MOST {
            let since = self.now.saturating_sub(u64::from(ms) * 1_000_000);
            self.first.insert(cookie << 2 | how as u64, (since, self.sample));
        }
    }

    /// Milliseconds since this key was first asked for.
    pub(super) fn of(&mut self, key: u64) -> u64 {
        if let Some((first, last)) = self.first.get_mut(&key) {
            *last = self.sample;
            return self.now.saturating_sub(*first) / 1_000_000;
        }
        if self.first.len() < MOST {
            self.first.insert(key, (self.now, self.sample));
        }
        0
    }

    /// Whether a sample before this one had this key.
    pub(super) fn is_known(&self, key: u64) -> bool {
        self.first.get(&key).is_some_and(|(first, _)| *first < self.now)
    }

    /// Whether this is the first sample.
    pub(super) const fn is_first(&self) -> bool {
        self.sample == 1
    }

    /// The sample is complete: who was not seen for a while is forgotten.
    pub(super) fn end(&mut self) {
        let (now, missing) = (self.sample, self.missing);
        self.first.retain(|_, (_, last)| now.wrapping_sub(*last) <= missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_as_old_as_our_knowledge_of_it() {
        let mut ages = Ages::forgetting_after(2);
        let mut sample = |second: u64, cookies: &[u64]| -> Vec<u64> {
            ages.begin(Monotonic(second * 1_000_000_000));
            let seen =
                cookies.iter().map(|cookie| ages.of_socket(*cookie, As::CloseWait)).collect();
            ages.end();
            seen
        };
        assert_eq!(sample(10, &[7]), [0]);
        assert_eq!(sample(15, &[7, 8]), [5_000, 0]);
        // 7 is missing twice and then there again: its namespace could not be asked.
        assert_eq!(sample(20, &[8]), [5_000]);
        assert_eq!(sample(25, &[8]), [10_000]);
        assert_eq!(sample(30, &[7]), [20_000]);
        for second in 31..34 {
            assert_eq!(sample(second, &[]), [0; 0]);
        }
        assert_eq!(sample(35, &[7]), [0], "gone for long");
        // The kernel may tell more than was seen.
        ages.begin(Monotonic(36_000_000_000));
        ages.learn(9, As::CloseWait, 30_000);
        assert_eq!(ages.of_socket(9, As::CloseWait), 30_000);
        // Another state is another age.
        ages.begin(Monotonic(40_000_000_000));
        assert_eq!(ages.of_socket(7, As::Orphan), 0);
        assert!(ages.is_known(7 << 2) && !ages.is_known(7 << 2 | 1));
    }
}
