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

A value that is not known is absent, not 0.
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
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {} | {} | {} |",
            family.series(),
            labels.join(", "),
            family.help,
            family.source
        );
    }
    text
}
