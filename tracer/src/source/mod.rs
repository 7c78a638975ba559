//! Sources: where data comes from. The edge of the crate: everything here talks to the kernel
//! and nothing here draws conclusions.
//!
//! - [`live`]: the running kernel: the programs' maps, gauges and sock_diag, put together
//! - [`sampled`]: the same without BPF: sock_diag and /proc, looked at once an interval
//! - [`groups`]: the groups of the counters, read and given back
//! - [`diag_sampler`]: sock_diag asked now and then, at a bounded cost
//! - [`facts`]: what the doctor looks at
//! - [`gauges`]: the kernel's own numbers in /proc
//! - [`sock_diag`]: all TCP sockets that stand now
//! - [`owners`]: which process holds a socket; [`owner_checks`]: the same again and again, for sockets
//!   that have changed hands
//! - [`cgroups`]: paths of cgroups; [`workloads`]: what those do not say of a container or pod
//! - [`clock`]: the host's clocks, from within a time namespace too
//! - [`namespaces`]: network namespaces of the host
//! - [`processes`]: what they are called and whether they still run
//! - [`own_cost`]: what we use ourselves; [`own_process`]: the same for process metrics
//! - [`sysctls`]: the settings that limits depend on

pub mod cgroups;
pub mod clock;
pub mod diag_sampler;
pub mod facts;
pub mod gauges;
pub mod groups;
pub mod live;
pub mod namespaces;
pub mod own_cost;
pub mod own_process;
pub mod owner_checks;
pub mod owners;
mod proc_file;
pub mod processes;
pub mod sampled;
pub mod sock_diag;
pub mod sysctls;
#[cfg(test)]
mod testing;
pub mod workloads;

use anyhow::Result;

use crate::event::{Event, FidelityTable, Input};
use crate::time::Monotonic;

/// What an engine is driven by: a running kernel, seen one way or another.
pub trait Source {
    /// When it began to look.
    fn began(&self) -> Monotonic;

    /// How far each signal can be trusted.
    fn fidelity(&self) -> FidelityTable;

    /// What can't be seen at all, a sentence each; empty where `fidelity` says it all.
    fn unseen(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is worth saying about how it started, once.
    fn take_notes(&mut self) -> Vec<String>;

    /// One interval's inputs, ending in a tick. `thorough`: spare no cost, it is the last of a run.
    ///
    /// # Errors
    ///
    /// What it looks at cannot be read any more.
    fn sample(&mut self, thorough: bool) -> Result<Vec<Input>>;

    /// Hands over the events that wait, at most `most`; returns how many.
    fn drain(&mut self, most: usize, sink: &mut dyn FnMut(Event)) -> usize;
}
