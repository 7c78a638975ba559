//! One file a signal.

mod close;
mod destroy;
mod name;
mod reset;
mod state;
