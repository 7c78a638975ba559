//! The trace file: what was seen, so that it survives the crash it recorded.
//!
//! `docs/FORMAT.md` describes the bytes. Nothing here knows the kernel's records or the
//! aggregator: events and samples go in, the same events and samples come out.
//!
//! * [`writer`]: takes events and samples in; `disk`: the thread that writes them, and when a piece
//!   ends; `target`: the file that is written;
//! * `reader`: the whole of a trace; `pieces`: the files of it; `walk`: from frame to frame, over
//!   whatever is damaged; [`sink`]: what is told;
//! * [`lookback`]: what a doctor would have seen at a moment of a trace; [`narrow`]: what a filter
//!   lets through of one;
//! * [`frame`]: the bytes around a payload; `bounds`: what is taken of it at most; [`run`], `sample`, [`events`], `payload`: payloads.
#![forbid(unsafe_code)]

mod bounds;
mod disk;
pub mod events;
pub mod frame;
pub mod lookback;
mod names;
pub mod narrow;
mod payload;
mod pieces;
pub mod queue;
mod reader;
pub mod run;
mod sample;
pub mod sink;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod walk;
pub mod writer;

pub use reader::{Cursor, Trace};
pub use run::{Machine, Probe, Run, Why};
pub use sink::{Ended, Gap, Sink, Want};
pub use walk::MOST_SEARCHED;
pub use writer::{Options, Progress, Summary, Writer};

/// The state of who folds the inputs, at one moment: opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The version of its encoding: who reads it ignores those it does not know.
    pub version: u32,
    /// The state.
    pub bytes: Vec<u8>,
}
