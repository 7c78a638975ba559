//! `sockflow export`: what DuckDB and pyarrow read is what the trace holds, in every format, from
//! whole traces and from damaged ones; and partial output never passes for whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod contents;
mod damage;
mod fleet;
#[path = "../../benches/support/measured.rs"]
mod measured;
mod output;
#[path = "../python/mod.rs"]
mod python;
mod support;
#[path = "../../benches/support/traffic.rs"]
mod traffic;
