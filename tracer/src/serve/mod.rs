//! The exporter: the latest snapshot as OpenMetrics, over HTTP.
//!
//! * [`ledger`]: makes of each snapshot an [`ledger::Exposed`]: services within a cap, counters
//!   that never go down;
//! * [`table`]: THE table of metrics: name, kind, labels, help, source, and where the value is;
//! * [`text`]: that table filled in, as OpenMetrics and as Prometheus text;
//! * [`times`]: the FIN_WAIT1 times as a histogram;
//! * [`page`]: what is served: the texts of one snapshot, made once, and when it came;
//! * [`http`]: how many may ask, how long, and what they get; [`hosts`]: by which names;
//! * [`docs`]: the table as `docs/METRICS.md`.
//!
//! A scrape formats what is there and goes no further: it neither reads the kernel nor waits for
//! it, and however many scrapers come, a snapshot is formatted once a format.

pub mod docs;
pub mod hosts;
pub mod http;
pub mod ledger;
pub mod page;
pub mod table;
pub mod text;
pub mod times;

#[cfg(test)]
mod tests;
