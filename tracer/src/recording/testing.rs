//! What the tests of this module share.

use std::collections::BTreeMap;

use super::{Machine, Probe, Run, Why};
use crate::event::Fidelity;
use crate::gauges::Gauges;
use crate::time::{ClockAnchor, Monotonic, Wall};

/// A run with something in every field.
pub(super) fn run() -> Run {
    Run {
        sockflow: "0.1.0".to_owned(),
        host: Machine {
            name: "web-17".to_owned(),
            kernel: "6.18.44".to_owned(),
            boot_id: "0d8b3c0e-8b5b-4f6c-9f5e-1d2c3b4a5f60".to_owned(),
        },
        anchor: ClockAnchor {
            monotonic: Monotonic(5_000_000_000),
            wall: Wall(1_795_365_730_000_000_000),
        },
        began: Monotonic(5_000_000_001),
        fidelity: BTreeMap::from([("state", Fidelity::Exact), ("time_wait", Fidelity::Derived)]),
        probes: vec![Probe {
            signal: "state".to_owned(),
            hook: "tp_btf inet_sock_set_state".to_owned(),
            fidelity: Fidelity::Exact,
        }],
        filter: "port = 9981".to_owned(),
        filtered: true,
        interval_s: 0.1,
        detail: "all".to_owned(),
        sysctls: BTreeMap::from([("net.ipv4.tcp_orphan_retries".to_owned(), "0".to_owned())]),
        page_bytes: 4096,
        cpus: 2,
        notes: vec!["said".to_owned()],
        command: vec!["sockflow".to_owned(), "record".to_owned()],
        baseline: Some(Gauges {
            tcp_ext: BTreeMap::from([("TCPAbortOnMemory", 7)]),
            ..Gauges::default()
        }),
        piece: 3,
        began_for: Why::Size,
    }
}
