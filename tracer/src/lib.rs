//! sockflow follows every TCP socket of a Linux host into orphanhood and TIME_WAIT.
//!
//! Data flows one way, and the modules stand in its order:
//!
//! ```text
//! kernel ─► bpf ─┐
//! /proc, netlink ┴► source ┬► event::Input ─► aggregate ─► Snapshot ─► tui, JSON, lines
//! trace file ◄─► recording ┴► export
//! ```
//!
//! `aggregate` is a pure fold without clock or I/O; a view sees only the snapshot. What must stay
//! true is in `ARCHITECTURE.md`.

// The streams have one door each.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

// Plain data, words and numbers.
pub mod error;
pub mod event;
pub mod facts;
pub mod filter;
pub mod format;
pub mod gauges;
pub mod place;
pub mod sanitize;
pub mod stdio;
pub mod time;
pub mod workload;

// Where data comes from.
pub mod bpf;
pub mod recording;
pub mod source;

// The core.
pub mod aggregate;
pub mod diagnose;
pub mod playback;

// Where it goes.
pub mod export;
pub mod report;
pub mod serve;
pub mod tui;

// Makes trouble on loopback, for tests and demos.
pub mod storm;

// Puts the parts together.
pub mod cli;
