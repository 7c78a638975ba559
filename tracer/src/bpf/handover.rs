//! Sockets brought to the process that holds them, by a program that the kernel walks through its
//! sockets: no other way leads to a record whose socket is locked, and does nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::programs::Iter;
use tracer_common::abi::{
    FLAG_OPENED, GROUP_OTHER, GROUP_OUTSIDE, HANDOVERS, Handover, SockRecord,
};
use tracer_common::state::TcpState;

use super::maps::{Maps, is_missing};
use super::probes::OWNER_WALK;
use super::standing::{StandingOwner, group_of};
use crate::filter::Filter;

/// A socket and who holds it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its cookie.
    pub cookie: u64,
    /// Its record when it was looked for.
    pub record: SockRecord,
    /// The process.
    pub holder: StandingOwner,
    /// A way to its network namespace; `None`: our own.
    pub namespace: Option<PathBuf>,
}

/// Hands sockets over to who holds them; those that are gone or in other hands by now are left.
/// Returns the group that each connection came to which is counted as opened there.
///
/// # Errors
///
/// The kernel refuses an access to a map, or the walk.
pub fn hand_over(
    ebpf: &mut Ebpf,
    maps: &mut Maps,
    filter: &Filter,
    held: &[Held],
    enter: impl Fn(&Path, &mut Ebpf) -> Result<File>,
) -> Result<Vec<u32>> {
    let mut moved = Vec::new();
    for held in held.chunks(HANDOVERS as usize) {
        let mut left = Vec::with_capacity(held.len());
        let mut namespaces = BTreeSet::new();
        for socket in held {
            let (record, holder) = (&socket.record, &socket.holder);
            let to = group_of(maps, filter, record.service_port, record.direction, Some(holder))?;
            if to == GROUP_OTHER || to == record.group {
                continue;
            }
            let handover = Handover { from: record.group, to, tgid: holder.pid, pad: 0 };
            maps.handovers.insert(socket.cookie, handover, 0)?;
            left.push((socket.cookie, record, to));
            namespaces.insert(socket.namespace.clone());
        }
        let mut outcome = Ok(());
        for namespace in namespaces {
            let walk = match &namespace {
                None => begin(ebpf),
                // One that is gone has nothing left to hand over.
                Some(path) => match enter(path, ebpf) {
                    Ok(walk) => Ok(walk),
                    Err(_) => continue,
                },
            };
            let walked = walk.and_then(|mut walk| {
                io::copy(&mut walk, &mut io::sink()).context("cannot walk through the sockets")
            });
            outcome = outcome.and(walked.map(drop));
        }
        for (cookie, record, to) in left {
            match maps.handovers.remove(&cookie) {
                Ok(()) => {}
                // The program has taken it out.
                Err(error) if is_missing(&error) => {
                    let comes_in = record.group == GROUP_OUTSIDE
                        && TcpState::from_number(record.state).is_some_and(TcpState::is_connection);
                    if comes_in || record.flags & FLAG_OPENED != 0 {
                        moved.push(to);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        outcome?;
    }
    Ok(moved)
}

/// Begins a walk through the sockets of the network namespace that the calling thread is in. Reading
/// from it walks, on whatever thread.
///
/// # Errors
///
/// The kernel refuses.
pub fn begin(ebpf: &mut Ebpf) -> Result<File> {
    let program = ebpf.program_mut(OWNER_WALK).ok_or_else(|| anyhow!("not in the object"))?;
    let program: &mut Iter = program.try_into()?;
    let link = program.attach()?;
    Ok(program.take_link(link)?.into_file()?)
}
