//! Rows about the host as a whole, and about all that the filter lets through.

use super::{
    DIAG, Family, SOCKSTAT, SYSCTL, TOTALS, TREND, counter, gauge, known, labelled, maybe,
    maybe_whole, orphan_states, real, resets, states, whole,
};
use crate::aggregate::snapshot::MemState;

/// Orphans and their limit.
pub(super) const ORPHANS: &[Family] = &[
    gauge(
        "sockflow_host_orphans",
        &[],
        "Orphaned sockets of the whole host, as the kernel counts them",
        SOCKSTAT,
        |e| whole(e.snapshot.orphans.host),
    ),
    gauge(
        "sockflow_host_orphans_limit",
        &[],
        "Above it the kernel kills orphans (tcp_max_orphans), host-wide. Orphans whose \
         peers do not answer count double or fourfold, so killing can begin at a quarter of it",
        SYSCTL,
        |e| maybe_whole(e.snapshot.orphans.limit),
    ),
    gauge(
        "sockflow_host_orphans_growth_per_second",
        &[],
        "Growth of the host's orphans, sockets a second; absent while it is not known",
        TREND,
        |e| maybe(e.snapshot.orphans.growth_per_s),
    ),
    gauge(
        "sockflow_host_orphans_limit_eta_seconds",
        &[],
        "Time until the limit of orphans at the present growth; absent without a credible trend",
        TREND,
        |e| maybe(e.snapshot.orphans.limit_in_s),
    ),
    gauge(
        "sockflow_host_orphans_drift",
        &[],
        "sockflow's count of the host's orphans minus the kernel's; 0 at rest",
        "BPF against /proc/net/sockstat",
        |e| real(e.snapshot.orphans.drift as f64),
    ),
    gauge(
        "sockflow_orphans",
        &["state"],
        "Orphaned sockets that the filter lets through, by state",
        TOTALS,
        |e| orphan_states(&[], &e.snapshot.orphans.by_state),
    ),
    gauge(
        "sockflow_orphan_memory_bytes",
        &[],
        "Memory that those orphans hold: send queue, receive queue and reserve",
        DIAG,
        |e| whole(e.snapshot.orphans.bytes),
    ),
    counter(
        "sockflow_orphans_begun",
        &[],
        "Sockets that became orphans and outlived their close()",
        TOTALS,
        |e| whole(e.sums.orphaned()),
    )
    .rests_on(&["orphan_begin"]),
    counter(
        "sockflow_orphans_ended",
        &["reason"],
        "Orphans that are gone, by reason: acked and time_wait are the good ends; killed is what \
         the kernel does at a limit",
        TOTALS,
        |e| labelled(&[], e.sums.ends()),
    )
    .rests_on(&["orphan_end"]),
];

/// The funnel.
pub(super) const CONNECTIONS: &[Family] = &[
    gauge(
        "sockflow_sockets",
        &["state"],
        "TCP sockets that the filter lets through, by state; time_wait and part of fin_wait2 are \
         minisockets",
        "BPF, exact; minisockets too where a hook counts them, else /proc/net/sockstat and sock_diag",
        |e| states(&[], &e.snapshot.states),
    ),
    gauge(
        "sockflow_connections_standing",
        &[],
        "Connections that stood when tracing began: opened + standing = closed + live",
        TOTALS,
        |e| whole(e.snapshot.totals.standing),
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_connections_opened",
        &[],
        "Sockets that reached ESTABLISHED. A connection within the host is two",
        TOTALS,
        |e| whole(e.sums.opened()),
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_connections_closed",
        &[],
        "Connections that left for good: the full socket reached CLOSE",
        TOTALS,
        |e| whole(e.sums.closed()),
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_time_wait_begun",
        &[],
        "Full sockets replaced by a minisocket: TIME_WAIT, or FIN_WAIT2 on its way there",
        TOTALS,
        |e| whole(e.sums.time_wait()),
    )
    .rests_on(&["time_wait"]),
    counter(
        "sockflow_resets",
        &["way"],
        "RST segments, received and sent; absent where no hook counts them",
        TOTALS,
        |e| resets(e, &[], &e.sums),
    ),
];

/// What else runs out.
pub(super) const LIMITS: &[Family] = &[
    gauge("sockflow_tcp_memory_bytes", &[], "Memory charged to TCP, host-wide", SOCKSTAT, |e| {
        whole(e.snapshot.tcp_mem.pages.saturating_mul(e.snapshot.tcp_mem.page_bytes))
    }),
    gauge(
        "sockflow_tcp_memory_threshold_bytes",
        &["threshold"],
        "tcp_mem: pressure begins above `pressure` and ends below `low`; above `high` allocations \
         are refused and orphans with data killed",
        SYSCTL,
        |e| {
            let memory = &e.snapshot.tcp_mem;
            [("low", memory.low), ("pressure", memory.pressure), ("high", memory.high)]
                .into_iter()
                .filter_map(|(name, pages)| Some((name, pages?)))
                .flat_map(|(name, pages)| {
                    labelled(&[], [(name, pages.saturating_mul(memory.page_bytes))])
                })
                .collect()
        },
    ),
    gauge(
        "sockflow_tcp_memory_pressure",
        &[],
        "1 while the kernel's memory pressure flag for TCP is up, or memory above high",
        "/proc/net/protocols",
        |e| whole(u64::from(e.snapshot.tcp_mem.state >= MemState::Pressure)),
    ),
    counter(
        "sockflow_tcp_memory_pressures",
        &[],
        "Times that memory pressure began",
        "TCPMemoryPressures of /proc/net/netstat",
        |e| whole(e.snapshot.tcp_mem.entered),
    ),
    gauge(
        "sockflow_tcp_memory_growth_bytes_per_second",
        &[],
        "Growth of TCP's memory, bytes a second; absent while it is not known",
        TREND,
        |e| {
            let memory = &e.snapshot.tcp_mem;
            maybe(memory.growth_per_s.map(|pages| pages * memory.page_bytes as f64))
        },
    ),
    gauge(
        "sockflow_tcp_memory_limit_eta_seconds",
        &[],
        "Time until `high` at the present growth; absent without a credible trend",
        TREND,
        |e| maybe(e.snapshot.tcp_mem.limit_in_s),
    ),
    gauge(
        "sockflow_time_wait_buckets",
        &[],
        "Minisockets of the namespace watched: TIME_WAIT, and FIN_WAIT2 on its way there",
        SOCKSTAT,
        |e| whole(e.snapshot.tw_buckets.now),
    ),
    gauge(
        "sockflow_time_wait_buckets_limit",
        &[],
        "Above it connections skip TIME_WAIT (tcp_max_tw_buckets), in that namespace",
        SYSCTL,
        |e| known(e.snapshot.tw_buckets.limit),
    ),
    gauge(
        "sockflow_time_wait_buckets_fin_wait2",
        &[],
        "Those of them in FIN_WAIT2; absent where not sampled",
        DIAG,
        |e| e.snapshot.tw_buckets.fin_wait2.map(whole).unwrap_or_default(),
    ),
    counter(
        "sockflow_tcpext",
        &["name"],
        "The kernel's own counters (TcpExt) of the namespace watched, since tracing began; \
         TCPAbortOnMemory are the orphans killed",
        "/proc/net/netstat",
        |e| labelled(&[], e.snapshot.counters.iter().map(|(name, count)| (*name, *count))),
    ),
];
