//! The trace file: what was seen, so that it survives the crash it recorded.
//!
//! `docs/FORMAT.md` describes the bytes. Nothing here knows the kernel's records or the
//! aggregator: events and samples go in, the same events and samples come out.

pub mod events;
