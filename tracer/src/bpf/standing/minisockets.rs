//! Minisockets that stood before tracing began.

use std::collections::HashSet;

use anyhow::Result;
use tracer_common::abi::{DIRECTION_IN, DIRECTION_OUT, GROUP_OTHER, MiniRecord};
use tracer_common::counters::MiniCounter;
use tracer_common::state::TcpState;

use super::super::maps::{Maps, direction, is_missing};
use super::{Base, NOEXIST, is_full, is_there, was_accepted};
use crate::event::Service;
use crate::filter::{Filter, SocketIdentity};

/// A minisocket that the dump found.
#[derive(Clone, Debug)]
pub struct StandingMinisocket {
    /// Its cookie.
    pub cookie: u64,
    /// TIME_WAIT or FIN_WAIT2.
    pub substate: TcpState,
    /// Ports, peer, family, namespace.
    pub identity: SocketIdentity,
}

/// Merges the minisockets of a dump into their table; whose they were nobody knows any more.
///
/// # Errors
///
/// The kernel refuses an access to a map for another reason than that it is full.
pub fn merge_minisockets(
    maps: &mut Maps,
    base: &mut Base,
    filter: &Filter,
    minisockets: &[StandingMinisocket],
) -> Result<()> {
    if !filter.passes_owner(None, "", 0) {
        return Ok(());
    }
    let mut listening = HashSet::new();
    for entry in &maps.services {
        match entry {
            Ok((key, _)) => listening.insert((key.netns, key.port)),
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
    }
    for minisocket in minisockets {
        let identity = &minisocket.identity;
        if !filter.passes_socket(identity) {
            continue;
        }
        let accepted = was_accepted(&listening, identity);
        let record = MiniRecord {
            group: GROUP_OTHER,
            netns: identity.netns,
            service_port: if accepted { identity.local_port } else { identity.peer_port },
            direction: if accepted { DIRECTION_IN } else { DIRECTION_OUT },
            substate: minisocket.substate.number(),
            ..MiniRecord::default()
        };
        match maps.minisockets.insert(minisocket.cookie, record, NOEXIST) {
            Ok(()) => {
                let seen = base.minisockets.entry(service_of(&record)).or_default();
                seen.standing += 1;
                seen.counters.words[mini_population(record.substate) as usize] += 1;
            }
            Err(error) if is_there(&error) => {}
            Err(error) if is_full(&error) => base.untracked += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The service that a minisocket is counted for.
pub(in crate::bpf) fn service_of(record: &MiniRecord) -> Service {
    Service { port: record.service_port, direction: direction(record.direction) }
}

/// The population of minisockets in a substate.
pub(in crate::bpf) const fn mini_population(substate: u8) -> MiniCounter {
    if substate == TcpState::TimeWait.number() {
        MiniCounter::TimeWait
    } else {
        MiniCounter::FinWait2
    }
}
