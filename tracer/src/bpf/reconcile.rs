//! After missed runs: records of sockets that are gone.
//!
//! The kernel skips a program that is already running on the CPU (`recursion_misses`), which can be
//! the run that would have told the end of a socket; and there are hosts whose kernel runs no
//! tracing program at all, and counts none as missed, while certain tasks are current (seen on a
//! virtual machine whose host keeps an agent in it, at softirqs on top of that agent). The record
//! would stay, and with it a population of one too many. So when runs were missed, or there keep
//! being more orphans than the kernel has, the table is held against sock_diag, twice: a socket that
//! has a record, is in neither dump, and whose record did not change in between, is gone. One that
//! left a minisocket of its cookie behind ended in TIME_WAIT.

use std::collections::HashSet;

use anyhow::Result;
use aya::maps::MapError;
use tracer_common::abi::{
    FLAG_DESTROYED, FLAG_OPENED, FLAG_ORPHAN, FLAG_STANDING, GROUP_OUTSIDE, MiniRecord, SockRecord,
};
use tracer_common::counters::{Counter, MiniCounter, MiniEnd, OrphanEnd, orphans_in};
use tracer_common::state::TcpState;

use super::maps::{Maps, is_missing};
use super::standing::{Base, mini_population, service_of};

/// The full sockets there are, as far as could be seen.
#[derive(Debug, Default)]
pub struct Living {
    /// Their cookies.
    pub cookies: HashSet<u64>,
    /// The cookies of the minisockets there are: of all where they are counted one by one, else of
    /// those that have taken a suspect's place.
    pub minisockets: HashSet<u64>,
    /// The network namespaces that were asked. One that only orphans keep alive cannot be: what
    /// is in it is no suspect.
    pub namespaces: HashSet<u32>,
    /// The kernel says that the whole host has no orphan, wherever it may be.
    pub no_orphans: bool,
}

impl Living {
    fn lacks(&self, cookie: u64, record: &SockRecord) -> bool {
        let sought = self.namespaces.contains(&record.netns)
            || (self.no_orphans && record.flags & FLAG_ORPHAN != 0);
        sought && !self.cookies.contains(&cookie)
    }

    /// One known by its address cannot be looked for.
    fn lacks_minisocket(&self, cookie: u64, record: &MiniRecord) -> bool {
        const ADDRESSES: u64 = 1 << 63;
        cookie < ADDRESSES
            && self.namespaces.contains(&record.netns)
            && !self.minisockets.contains(&cookie)
    }
}

/// Records that count something and whose socket is not among the living.
///
/// # Errors
///
/// The kernel refuses to walk the table.
pub fn suspects(maps: &Maps, alive: &Living) -> Result<Vec<(u64, SockRecord)>, MapError> {
    let mut found = Vec::new();
    let sockets = maps.sockets.iter();
    for entry in sockets {
        match entry {
            Ok((cookie, record)) if counts(&record) && alive.lacks(cookie, &record) => {
                found.push((cookie, record));
            }
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Minisockets with a record that are not among the living.
///
/// # Errors
///
/// The kernel refuses to walk the table.
pub fn mini_suspects(maps: &Maps, alive: &Living) -> Result<Vec<(u64, MiniRecord)>, MapError> {
    let mut found = Vec::new();
    for entry in &maps.minisockets {
        match entry {
            Ok((cookie, record)) if alive.lacks_minisocket(cookie, &record) => {
                found.push((cookie, record));
            }
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Takes out those minisockets that are not among the living at a second look either; returns how
/// many.
pub fn take_out_minisockets(
    maps: &mut Maps,
    base: &mut Base,
    suspects: &[(u64, MiniRecord)],
    alive: &Living,
) -> u64 {
    let mut taken = 0;
    for (cookie, record) in suspects {
        if alive.lacks_minisocket(*cookie, record) && maps.minisockets.remove(cookie).is_ok() {
            let words = &mut base.minisockets.entry(service_of(record)).or_default().counters.words;
            let population = &mut words[mini_population(record.substate) as usize];
            *population = population.wrapping_sub(1);
            words[MiniCounter::Ends as usize + MiniEnd::Expired as usize] += 1;
            taken += 1;
        }
    }
    taken
}

/// Takes out those suspects that are not among the living at a second look either, and whose
/// record is as it was; returns how many.
///
/// # Errors
///
/// The kernel refuses an access to the table.
pub fn take_out(
    maps: &mut Maps,
    base: &mut Base,
    suspects: &[(u64, SockRecord)],
    alive: &Living,
) -> Result<u64> {
    let mut taken = 0;
    for (cookie, record) in suspects {
        let unchanged = maps.sockets.get(cookie, 0).is_ok_and(|now| now == *record);
        if unchanged && alive.lacks(*cookie, record) && maps.sockets.remove(cookie).is_ok() {
            uncount(base, record, alive.minisockets.contains(cookie));
            taken += 1;
        }
    }
    Ok(taken)
}

/// A socket in CLOSE is in no dump, alive or not; it counts only as an orphan.
fn counts(record: &SockRecord) -> bool {
    record.flags & FLAG_DESTROYED == 0
        && (record.flags & FLAG_ORPHAN != 0 || in_population(record.state))
}

fn in_population(state: u8) -> bool {
    state != 0 && state != TcpState::Close.number()
}

/// What the missed run would have counted.
fn uncount(base: &mut Base, record: &SockRecord, replaced: bool) {
    if replaced && record.group != GROUP_OUTSIDE {
        base.add(record.group, Counter::TimeWait as usize);
    }
    if record.group != GROUP_OUTSIDE && in_population(record.state) {
        base.subtract(record.group, usize::from(record.state));
        if record.flags & (FLAG_OPENED | FLAG_STANDING) != 0 {
            base.add(record.group, Counter::Closed as usize);
        }
    }
    if record.flags & FLAG_ORPHAN != 0 {
        base.subtract(record.group, Counter::Orphans as usize);
        let end = if replaced { OrphanEnd::TimeWait } else { OrphanEnd::Other };
        base.add(record.group, Counter::OrphanEnds as usize + end as usize);
        if let Some(word) = orphans_in(record.state) {
            base.subtract(record.group, word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_went_unseen_leaves_every_count() {
        let record = SockRecord {
            group: 5,
            state: TcpState::FinWait1.number(),
            flags: FLAG_OPENED | FLAG_ORPHAN,
            ..SockRecord::default()
        };
        let mut base = Base::default();
        // As the programs had counted it.
        base.add(5, usize::from(record.state));
        base.add(5, Counter::Opened as usize);
        base.add(5, Counter::Orphaned as usize);
        base.add(5, Counter::Orphans as usize);
        base.add(5, Counter::OrphansFinWait1 as usize);
        uncount(&mut base, &record, false);
        let counters = &base.groups[&5];
        assert_eq!(counters.in_state(TcpState::FinWait1), 0);
        assert_eq!(counters.population(Counter::Orphans), 0);
        assert_eq!(counters.population(Counter::OrphansFinWait1), 0);
        assert_eq!(counters.total(Counter::Opened), counters.total(Counter::Closed));
        assert_eq!(counters.ended(OrphanEnd::Other), 1);
        assert_eq!(counters.total(Counter::TimeWait), 0);
    }

    #[test]
    fn one_whose_minisocket_was_found_ended_in_time_wait() {
        let record = SockRecord {
            group: 5,
            state: TcpState::FinWait1.number(),
            flags: FLAG_OPENED | FLAG_ORPHAN,
            ..SockRecord::default()
        };
        let mut base = Base::default();
        uncount(&mut base, &record, true);
        let counters = &base.groups[&5];
        assert_eq!(counters.ended(OrphanEnd::TimeWait), 1);
        assert_eq!(counters.ended(OrphanEnd::Other), 0);
        assert_eq!(counters.total(Counter::TimeWait), 1);
    }

    #[test]
    fn only_what_was_looked_for_can_be_missing() {
        let alive = Living {
            cookies: HashSet::from([7]),
            minisockets: HashSet::from([9]),
            namespaces: HashSet::from([1]),
            no_orphans: true,
        };
        let here = SockRecord { netns: 1, ..SockRecord::default() };
        let elsewhere = SockRecord { netns: 2, ..SockRecord::default() };
        assert!(alive.lacks(8, &here));
        assert!(!alive.lacks(7, &here));
        assert!(!alive.lacks(8, &elsewhere));
        assert!(alive.lacks(8, &SockRecord { flags: FLAG_ORPHAN, ..elsewhere }), "there is none");
        let mini = |netns| MiniRecord { netns, substate: 6, ..MiniRecord::default() };
        assert!(alive.lacks_minisocket(8, &mini(1)));
        assert!(!alive.lacks_minisocket(9, &mini(1)));
        assert!(!alive.lacks_minisocket(8, &mini(2)), "its namespace was not asked");
        assert!(!alive.lacks_minisocket(0xffff_8880_0000_0000, &mini(1)), "it has no cookie");
    }

    #[test]
    fn what_counts_nothing_is_left_alone() {
        let record = |state: u8, flags| SockRecord { state, flags, ..SockRecord::default() };
        let closed = TcpState::Close.number();
        assert!(!counts(&record(0, 0)), "a close() under way");
        assert!(!counts(&record(closed, 0)), "an application may hold it");
        assert!(!counts(&record(1, FLAG_DESTROYED)));
        assert!(counts(&record(1, 0)));
        assert!(counts(&record(closed, FLAG_ORPHAN)), "nobody can hold an orphan");
    }
}
