//! Rows about the watching: what is watched and by what, whether to believe it, what it costs.

use super::{
    Family, SELF, Sample, TOTALS, Value, counter, gauge, info, labelled, maybe, maybe_whole,
    one_labelled, real, whole,
};
use crate::aggregate::snapshot::Severity;
use crate::serve::ledger::Found;

/// What is watched, and by what.
pub(super) const WATCHED: &[Family] = &[
    info("sockflow_build", &["version"], "The sockflow that serves this", SELF, |_| {
        one_labelled(&[env!("CARGO_PKG_VERSION")])
    }),
    info(
        "sockflow_host",
        &["nodename", "release", "boot_id"],
        "The host watched: its name, kernel release and boot",
        "uname(2), /proc/sys/kernel/random/boot_id",
        |e| {
            let host = &e.snapshot.host;
            one_labelled(&[&host.name, &host.kernel, &host.boot_id])
        },
    ),
    info(
        "sockflow_filter",
        &["filter"],
        "The filter as typed; empty without one. What is called host-wide disregards it",
        SELF,
        |e| one_labelled(&[&e.snapshot.filter]),
    ),
    gauge(
        "sockflow_signal_fidelity",
        &["signal", "fidelity"],
        "1 for how far each signal can be trusted on this kernel: exact, derived, sampled, absent",
        "sockflow probes",
        |e| {
            let table = e.snapshot.fidelity.iter();
            table.flat_map(|(signal, fidelity)| one_labelled(&[*signal, fidelity.name()])).collect()
        },
    ),
    gauge(
        "sockflow_snapshot_timestamp_seconds",
        &[],
        "When the values of this scrape were taken, seconds since 1970",
        SELF,
        |e| real(e.snapshot.time.0 as f64 / 1e9),
    ),
    gauge(
        "sockflow_tracing_duration_seconds",
        &[],
        "Time since tracing began; counters count from there",
        SELF,
        |e| real(e.snapshot.elapsed_s),
    ),
    gauge(
        "sockflow_severity",
        &[],
        "The verdict of sockflow top: 0 ok, 1 note, 2 warn, 3 crit",
        SELF,
        |e| {
            whole(match e.snapshot.verdict.severity {
                Severity::Ok => 0,
                Severity::Note => 1,
                Severity::Warn => 2,
                Severity::Crit => 3,
            })
        },
    ),
    gauge(
        "sockflow_finding",
        &["check", "severity", "cause", "port", "netns"],
        "1 for each thing that is wrong now, as in `findings` of sockflow top --json; cause and port are \
         empty where they are not known, port is other where more services are named than may have rows; netns is \
         empty in the network namespace watched",
        "all that sockflow observes",
        |e| e.findings.iter().map(finding).collect(),
    ),
];

fn finding(found: &Found) -> Sample {
    let Found { check, severity, cause, port, netns } = found;
    let labels = [*check, severity.name(), *cause, port.as_str(), netns.as_str()];
    Sample(labels.map(str::to_owned).into(), Value::Whole(1))
}

/// Whether to believe all this, and what it costs.
pub(super) const BELIEF: &[Family] = &[
    counter(
        "sockflow_lost",
        &["kind"],
        "What was lost: detail events the ring had no room for (totals stay exact), untracked \
         sockets the table had no room for, missed program runs, ungrouped sockets counted in other",
        "BPF",
        |e| {
            let lost = &e.snapshot.lost;
            labelled(
                &[],
                [
                    ("detail", lost.detail),
                    ("untracked", lost.untracked),
                    ("missed", lost.missed),
                    ("ungrouped", lost.ungrouped),
                ],
            )
        },
    )
    .rests_on(&["state"]),
    counter(
        "sockflow_state_changes",
        &[],
        "State changes counted in the kernel",
        TOTALS,
        |e| whole(e.snapshot.state_changes),
    )
    .rests_on(&["state"]),
    gauge(
        "sockflow_state_changes_per_second",
        &[],
        "Deprecated, use rate(sockflow_state_changes_total[1m]): state changes a second over the last \
         interval",
        TOTALS,
        |e| real(e.snapshot.own_cost.events_per_s),
    )
    .rests_on(&["state"]),
    gauge(
        "sockflow_own_cpu_ratio",
        &[],
        "Deprecated, use rate(process_cpu_seconds_total[1m]): CPU of the sockflow process over the \
         last interval; 1 is one CPU",
        "clock_gettime(2)",
        |e| real(e.snapshot.own_cost.cpu_percent / 100.0),
    ),
    gauge(
        "sockflow_own_resident_memory_bytes",
        &[],
        "Deprecated, use process_resident_memory_bytes: resident memory of the sockflow process",
        "/proc/self/statm",
        |e| whole(e.snapshot.own_cost.rss_bytes),
    ),
];

/// The process that serves, under the names that every exporter uses.
pub(super) const PROCESS: &[Family] = &[
    counter(
        "process_cpu_seconds",
        &[],
        "CPU time of this process, user and system, seconds",
        "clock_gettime(2)",
        |e| maybe(e.process.cpu_s),
    ),
    gauge(
        "process_start_time_seconds",
        &[],
        "When this process began, seconds since 1970",
        "/proc/self/stat and /proc/stat",
        |e| maybe(e.process.began_s),
    ),
    gauge(
        "process_resident_memory_bytes",
        &[],
        "Resident memory of this process",
        "/proc/self/stat",
        |e| maybe_whole(e.process.resident_bytes),
    ),
    gauge(
        "process_virtual_memory_bytes",
        &[],
        "Virtual memory of this process",
        "/proc/self/stat",
        |e| maybe_whole(e.process.virtual_bytes),
    ),
    gauge("process_threads", &[], "Threads of this process", "/proc/self/stat", |e| {
        maybe_whole(e.process.threads)
    }),
    gauge("process_open_fds", &[], "Open file descriptors of this process", "/proc/self/fd", |e| {
        maybe_whole(e.process.open_fds)
    }),
    gauge(
        "process_max_fds",
        &[],
        "The most file descriptors that this process may open",
        "getrlimit(2)",
        |e| maybe_whole(e.process.max_fds),
    ),
];
