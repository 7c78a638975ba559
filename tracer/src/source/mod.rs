//! Sources: where data comes from. The edge of the crate: everything here talks to the kernel
//! and nothing here draws conclusions.
//!
//! - [`live`]: the running kernel: the programs' maps, gauges and sock_diag, put together
//! - [`groups`]: the groups of the counters, read and given back
//! - [`diag_sampler`]: sock_diag asked now and then, at a bounded cost
//! - [`facts`]: what the doctor looks at
//! - [`gauges`]: the kernel's own numbers in /proc
//! - [`sock_diag`]: all TCP sockets that stand now
//! - [`owners`]: which process holds a socket
//! - [`cgroups`]: paths of cgroups
//! - [`namespaces`]: network namespaces of the host
//! - [`processes`]: what they are called and whether they still run
//! - [`own_cost`]: what we use ourselves
//! - [`sysctls`]: the settings that limits depend on

pub mod cgroups;
pub mod diag_sampler;
pub mod facts;
pub mod gauges;
pub mod groups;
pub mod live;
pub mod namespaces;
pub mod own_cost;
pub mod owners;
mod proc_file;
pub mod processes;
pub mod sock_diag;
pub mod sysctls;
#[cfg(test)]
mod testing;
