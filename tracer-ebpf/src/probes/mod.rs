//! One file a signal.

mod close;
mod destroy;
mod killed;
mod listen;
mod memory;
mod name;
mod reset;
mod state;
mod timewait;
