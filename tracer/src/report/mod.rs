//! The postmortem: what a trace says about an incident, as one document.
//!
//! Pure: [`Collector`] is fed with the moments and events of a trace and gives a [`Report`], plain
//! data that three renderers turn into text. It opens no file and reads no clock; who feeds it is
//! `cli/report`. Memory is bounded however long the trace is: charts are merged into a few hundred
//! points that keep the extremes, tables keep the largest rows, and what is left out is counted.
//!
//! * [`model`]: the report; serialised it is `sockflow.report/1`, see `docs/REPORT.md`;
//! * [`collect`]: from moments to the report; `verdict`: its sentence;
//! * [`redact`]: addresses and names of hosts taken out;
//! * [`html`], [`markdown`], [`json`]: as text; `words`: what they share.
#![forbid(unsafe_code)]

pub mod collect;
pub mod html;
pub mod json;
pub mod markdown;
pub mod model;
pub mod redact;
mod verdict;
mod words;

pub use collect::{Begin, Collector};
pub use model::Report;

#[cfg(test)]
mod tests;
