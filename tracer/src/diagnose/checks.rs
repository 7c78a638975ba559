//! The checks, one type each, and their list.

use super::finding::{Look, Scope};
use super::watch::Watch;
use super::{
    accept_queue, conntrack, ephemeral_ports, fds, file_max, memcg, orphans, softnet, syn_queue,
    sysctl_lint, tcp_mem, time_wait, udp_mem,
};
use crate::facts::{Facts, Known, Unknown};

/// Looks at one resource.
pub trait Check: Sync {
    /// Its name in JSON.
    fn id(&self) -> &'static str;
    /// Its name in a table: at most 13 cells.
    fn title(&self) -> &'static str;
    /// What it counts, in a sentence after "out of".
    fn noun(&self) -> &'static str;
    /// What it counts, as a unit.
    fn unit(&self) -> &'static str;
    /// Whose resource it is.
    fn scope(&self) -> Scope;
    /// What it says; advice is heeded only where something is wrong.
    ///
    /// # Errors
    ///
    /// What it would have to see is not known.
    fn look(&self, watch: &Watch) -> Known<Look>;
}

/// Every check, in the order of the contract.
pub const CHECKS: [&dyn Check; 13] = [
    &orphans::Orphans,
    &tcp_mem::TcpMem,
    &fds::Fds,
    &file_max::FileMax,
    &accept_queue::AcceptQueue,
    &syn_queue::SynQueue,
    &time_wait::TimeWait,
    &ephemeral_ports::EphemeralPorts,
    &udp_mem::UdpMem,
    &conntrack::Conntrack,
    &softnet::Softnet,
    &memcg::Memcg,
    &sysctl_lint::SysctlLint,
];

/// Why a limit of the host is not known, though what it limits is.
pub(super) fn hidden(facts: &Facts, seen: &str, name: &str) -> Unknown {
    Unknown(match facts.first_netns {
        Some(true) => format!("{seen}, but {name} cannot be read"),
        _ => format!("{seen}, but {name} shows in its first network namespace only"),
    })
}

/// The five words of a check, as one line each.
macro_rules! describe {
    ($id:literal, $title:literal, $noun:literal, $unit:literal, $scope:ident) => {
        fn id(&self) -> &'static str {
            $id
        }
        fn title(&self) -> &'static str {
            $title
        }
        fn noun(&self) -> &'static str {
            $noun
        }
        fn unit(&self) -> &'static str {
            $unit
        }
        fn scope(&self) -> $crate::diagnose::Scope {
            $crate::diagnose::Scope::$scope
        }
    };
}
pub(super) use describe;
