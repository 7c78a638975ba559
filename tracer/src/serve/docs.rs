//! The table of metrics as `docs/METRICS.md`, which `cargo xtask docs` writes.

use std::fmt::Write as _;

use super::table::{Kind, families};

const INTRODUCTION: &str = "\
# Metrics

What `sockflow serve` exposes at `/metrics`. This file is made by `cargo xtask docs` from the table
in `tracer/src/serve/table`.

The format is OpenMetrics 1.0, or Prometheus text 0.0.4 where the `Accept` header likes `text/plain`
better. Counters count from the moment tracing began. Host-wide values disregard the filter.

Labels are bounded. `port` is a service: the listening side's port, never an ephemeral one; with
`direction` `in` (we accept) or `out` (we connect). There are rows for at most `--max-services` (200)
services, those with the most orphans, then sockets; the rest is summed in `port=\"other\"`. A service
keeps its row until one needs it clearly more; then what it had counted goes over to `other`, so that
the sum over all rows never goes down. Peers, process ids and ephemeral ports are never labels. A
process's name is one of an info metric only, and changes at most once a minute.

A value that is not known is absent, not 0: a limit that could not be read, a time without a trend, and
whatever this kernel has no hook to count (`sockflow_signal_fidelity` says which signals those are).

## The table
";

const ABOUT: &str = "
## Times in FIN_WAIT1

`sockflow_service_fin_wait1_duration_seconds` is a classic histogram, so quantiles are of any window and
of any set of services and hosts:

    histogram_quantile(0.99, sum by (port, le) (
        rate(sockflow_service_fin_wait1_duration_seconds_bucket[5m])))

The counts are the kernel side's own and exact; buckets end one nanosecond before a power of two, from
16 us to 550 s, so a quantile is within a factor of two above a millisecond. It has no `_sum`, since
nobody keeps one, and so OpenMetrics allows no `_count` either: it is the bucket `le=\"+Inf\"`. The older
text format has the `_count`.

## Which host names are answered

Requests are answered whose `Host` is an IP address, `localhost`, this host's own name (`uname -n`), or
what `--allow-host` gives; others get a 421 that says so. That keeps web pages from reading the metrics
through the browser of whoever looks at them (DNS rebinding). The port in `Host` does not matter.

| who scrapes | what to do |
|---|---|
| Prometheus with `static_configs` of addresses, or Kubernetes discovery of pods, endpoints or nodes | nothing: it asks by address |
| by a DNS name: `web-17.example.com:9982` | `--allow-host web-17.example.com`, or `--allow-host .example.com` for the whole fleet |
| through a Kubernetes Service: `sockflow.monitoring.svc:9982` | `--allow-host sockflow.monitoring.svc` as it is typed in the target; `.svc.cluster.local` for all full names |
| a reverse proxy that keeps `Host` | `--allow-host` with its public name, or `'*'` where it checks names itself |

## How many may ask at once

64 connections are served at a time, 1,984 more wait for their turn, whoever comes after them gets a
503 with `Retry-After`. None of them fills the listen queue, which has room for 4,096 or
`net.core.somaxconn`, whichever is less; `sockflow serve` says so when it starts where that is less than
1,024. With few file descriptors (`ulimit -Hn`) fewer wait.

## Alerts

[`dist/prometheus/alerts.yml`](../dist/prometheus/alerts.yml) is made for a scrape and an evaluation every
15 s and a `group_wait` of 30 s. From a limit that comes nearer steadily there is a warning at the
receiver 13 minutes ahead, and a critical alert 3.5 minutes ahead; `alerts_test.yml` has the ramps.

### When sockflow itself is in trouble

- `SockflowLosing`: sockets or changes found no room: counts are too low until it is started anew, with
  a larger `--max-sockets` if `sockflow_lost_total{kind=\"untracked\"}` grows.
- `SockflowDrifting`: sockflow and its kernel have disagreed about the number of orphans for long. Restart
  it; `sockflow probes` says which hook each signal uses.
- `SockflowStuck`: it answers with old numbers. Look at `systemctl status sockflow`, and at the clocks of
  both hosts (`timedatectl`).
- `SockflowAbsent`: it does not answer. `systemctl status sockflow`, then `sockflow doctor`. A 421 in
  Prometheus's list of targets means `--allow-host`, see above.

## Names that changed

| was | is | until |
|---|---|---|
| `sockflow_service_fin_wait1_median_seconds` | `histogram_quantile(0.5, …)` over `sockflow_service_fin_wait1_duration_seconds_bucket` | gone: it was of all time since tracing began |
| `sockflow_service_fin_wait1_p99_seconds` | `histogram_quantile(0.99, …)` over the same | gone likewise |
| `sockflow_own_cpu_ratio` | `rate(process_cpu_seconds_total[1m])` | both for one release |
| `sockflow_own_resident_memory_bytes` | `process_resident_memory_bytes` | both for one release |
| `sockflow_state_changes_per_second` | `rate(sockflow_state_changes_total[1m])` | both for one release |
";

/// The whole file.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n| metric | kind | labels | meaning | source |\n|---|---|---|---|---|\n");
    for family in families() {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        // A histogram is known by the name that its series have in common.
        let name = match family.kind {
            Kind::Histogram => family.name.to_owned(),
            Kind::Counter | Kind::Gauge | Kind::Info => family.series(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {} | {} | {} |",
            name,
            labels.join(", "),
            family.help,
            family.source
        );
    }
    text.push_str(ABOUT);
    text
}
