//! The list of checks, one small type each.

use super::check::Check;
use super::{
    accept_queue, conntrack, drift, ephemeral_ports, fds, file_max, held, lost, memcg, orphans,
    setting_changed, softnet, syn_queue, sysctl_lint, tcp_mem, time_wait, udp_mem,
};

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

/// Checks that have a row only where there is something to say.
pub const OTHERS: [&dyn Check; 6] = [
    &held::CloseWait,
    &held::FinWait2,
    &held::ClosedFds,
    &setting_changed::SettingChanged,
    &drift::Drift,
    &lost::Lost,
];
