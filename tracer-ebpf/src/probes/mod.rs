//! One file a signal.

mod close;
mod destroy;
mod reset;
mod state;
