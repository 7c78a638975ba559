//! Events as columns: the payload of an events frame.
//!
//! A socket's identity is written once, when it first appears in a payload; afterwards an event is
//! one small code, the time since the event before, and now and then a reference. Things of a kind
//! lie side by side in columns of bytes, so that the frame's compressor sees like beside like.
//! `docs/FORMAT.md` has every byte.
//!
//! Nothing here does I/O or compresses, and every payload stands alone.

#![forbid(unsafe_code)]

mod code;
mod column;
mod decode;
mod dictionary;
mod encode;
mod recent;
#[cfg(test)]
mod tests;
mod wire;

pub use decode::{Decoded, count, decode};
pub use encode::EventsEncoder;

use std::fmt;

/// A payload that no encoder wrote, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed events: {}", self.0)
    }
}

impl std::error::Error for Malformed {}
