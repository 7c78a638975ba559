//! The live tests: they load the programs into the running kernel, make real connections and hold
//! what sockflow says against the kernel's own numbers. Root only, one test at a time.
//!
//! One program, so that it is compiled, linked and carried into guests once. A file below is a theme;
//! a test in it is a scenario, `totals::client_closes`, by which `kernels.toml` and the tables of
//! `cargo xtask vm` name it.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

#[expect(dead_code, reason = "a file of two programs, each of which uses a part of it")]
#[path = "../damage/inputs.rs"]
mod inputs;
#[expect(dead_code, reason = "a file of two programs, each of which uses a part of it")]
#[path = "../damage/run.rs"]
mod run;
mod support;
#[expect(dead_code, reason = "a file of two programs, each of which uses a part of it")]
#[path = "../terminal/tmux.rs"]
mod tmux;

mod commands;
mod degraded;
mod doctor;
mod doctor_cgroup;
mod doctor_memory;
mod doctor_queues;
mod doctor_trace;
mod edges;
mod elsewhere;
mod field;
mod findings;
mod groups;
mod hands;
mod kinds;
mod limits;
mod listeners;
mod memory;
mod namespaces;
mod orphans;
mod owners;
mod readme;
mod reasons;
mod record;
mod refusals;
mod report;
mod sampled;
mod sandboxes;
mod serve;
mod standing;
mod streams;
mod terminal;
mod time_wait;
mod totals;
mod workloads;
