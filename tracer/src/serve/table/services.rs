//! Rows by service.

use super::{
    DIAG, Family, SELF, Sample, Service, TOTALS, TREND, Value, counter, direction, gauge,
    histogram, info, labelled, labels, one_labelled, orphan_states, per_service, resets, states,
    whole,
};

const SERVICE: &[&str] = &["port", "direction"];

/// Services within the cap, and the rest as `other`.
pub(super) const TABLE: &[Family] = &[
    gauge(
        "sockflow_services",
        &[],
        "Services seen: listening ports by direction; those beyond the cap are summed in other",
        SELF,
        |e| whole(e.seen as u64),
    ),
    gauge(
        "sockflow_services_folded",
        &[],
        "Services summed in the row other because of --max-services",
        SELF,
        |e| whole(e.folded as u64),
    ),
    info(
        "sockflow_service_owner",
        &["port", "direction", "comm"],
        "The process that owns most of a service's sockets, by name",
        "BPF, at accept, connect and close()",
        |e| {
            let owners = e.services.iter().filter_map(|s| Some((s, s.comm.as_ref()?)));
            owners
                .flat_map(|(s, comm)| one_labelled(&[s.port.as_str(), direction(s), comm.as_str()]))
                .collect()
        },
    ),
    info(
        "sockflow_service_workload",
        &["port", "direction", "workload"],
        "The container, pod or systemd unit of a service's owners, with --workload-label; absent where \
         they are in several, or not known. Join it by port and direction",
        "cgroup paths, /proc/PID/cgroup, names of folders in /var/log/pods",
        |e| {
            let workloads = e.services.iter().filter_map(|s| Some((s, s.workload.as_ref()?)));
            workloads
                .flat_map(|(s, it)| one_labelled(&[s.port.as_str(), direction(s), it.as_str()]))
                .collect()
        },
    ),
    gauge(
        "sockflow_service_sockets",
        &["port", "direction", "state"],
        "Sockets by service and state",
        "BPF, exact; minisockets from sock_diag, sampled",
        |e| e.services.iter().flat_map(|s| states(&labels(s), &s.states)).collect(),
    ),
    gauge(
        "sockflow_service_orphans",
        &["port", "direction", "state"],
        "Orphaned sockets by service and state",
        TOTALS,
        |e| e.services.iter().flat_map(|s| orphan_states(&labels(s), &s.orphans)).collect(),
    ),
    gauge(
        "sockflow_service_orphan_memory_bytes",
        SERVICE,
        "Memory that a service's orphans hold",
        DIAG,
        |e| per_service(e, |s| Some(Value::Whole(s.orphan_bytes))),
    ),
    gauge(
        "sockflow_service_orphans_growth_per_second",
        SERVICE,
        "Growth of a service's orphans, sockets a second; absent while it is not known",
        TREND,
        |e| per_service(e, |s| s.growth_per_s.map(Value::Real)),
    ),
    counter(
        "sockflow_service_orphans_begun",
        SERVICE,
        "Sockets of a service that became orphans",
        TOTALS,
        |e| per_service(e, |s| Some(Value::Whole(s.counted.orphaned()))),
    )
    .rests_on(&["orphan_begin"]),
    counter(
        "sockflow_service_orphans_ended",
        &["port", "direction", "reason"],
        "Orphans of a service that are gone, by reason",
        TOTALS,
        |e| e.services.iter().flat_map(|s| labelled(&labels(s), s.counted.ends())).collect(),
    )
    .rests_on(&["orphan_end"]),
    gauge(
        "sockflow_service_connections_standing",
        SERVICE,
        "Connections of a service that stood when tracing began",
        TOTALS,
        |e| per_service(e, |s| Some(Value::Whole(s.standing))),
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_service_connections_opened",
        SERVICE,
        "Sockets of a service that reached ESTABLISHED",
        TOTALS,
        |e| per_service(e, |s| Some(Value::Whole(s.counted.opened()))),
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_service_connections_closed",
        SERVICE,
        "Connections of a service that left for good",
        TOTALS,
        |e| per_service(e, |s| Some(Value::Whole(s.counted.closed()))),
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_service_time_wait_begun",
        SERVICE,
        "Sockets of a service replaced by a minisocket",
        TOTALS,
        |e| per_service(e, |s| Some(Value::Whole(s.counted.time_wait()))),
    )
    .rests_on(&["time_wait"]),
    counter(
        "sockflow_service_resets",
        &["port", "direction", "way"],
        "RST segments of a service, received and sent; absent where no hook counts them",
        TOTALS,
        |e| e.services.iter().flat_map(|s| resets(e, &labels(s), &s.counted)).collect(),
    ),
    histogram(
        "sockflow_service_fin_wait1_duration_seconds",
        SERVICE,
        "Time from FIN_WAIT1 to what came next, of those that left it since tracing began; without a \
         sum, which nobody keeps",
        "BPF, exact counts kept in the kernel",
        |e| {
            let of = |s: &Service| s.counted.fin_wait1();
            let some = e.services.iter().filter(|s| of(s).iter().any(|count| *count > 0));
            some.map(|s| Sample(labels(s).map(str::to_owned).into(), Value::Times(of(s)))).collect()
        },
    )
    .rests_on(&["state"]),
    gauge(
        "sockflow_service_fin_wait1_max_seconds",
        SERVICE,
        "Longest time in FIN_WAIT1 since tracing began; absent until one ended, and for other",
        "BPF, exact",
        |e| per_service(e, |s| s.fin_wait1_max_s.map(Value::Real)),
    )
    .rests_on(&["state"]),
];
