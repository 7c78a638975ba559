//! Sources: where data comes from. The edge of the crate: everything here talks to the kernel
//! and nothing here draws conclusions.
//!
//! - [`gauges`]: the kernel's own numbers in /proc
//! - [`sock_diag`]: all TCP sockets that stand now
//! - [`owners`]: which process holds a socket
//! - [`cgroups`]: paths of cgroups
//! - [`namespaces`]: network namespaces of the host
//! - [`processes`]: what they are called and whether they still run
//! - [`own_cost`]: what we use ourselves

pub mod cgroups;
pub mod gauges;
pub mod namespaces;
pub mod own_cost;
pub mod owners;
pub mod processes;
pub mod sock_diag;
#[cfg(test)]
mod testing;
