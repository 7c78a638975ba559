//! The two standard streams: stdout is data, stderr is talk. The only place that writes to them
//! (clippy refuses `println!`, `eprintln!`, `std::io::stdout` and `std::io::stderr` elsewhere).
//!
//! Nobody may be there to read either. On stderr that loses a message, never the work it was about:
//! [`note`] and [`say`] drop what cannot be written and count it. On stdout it ends the command:
//! [`Out`] remembers why, and `cli` turns that into an exit code.

mod stderr;
mod stdout;

pub use stderr::{
    Line, dropped, is_terminal, last_words, lines, note, print_panics, say, tell_dropped,
};
pub use stdout::{Out, out, out_failure, out_is_terminal, screen};
