//! One file a signal.

mod close;
mod destroy;
mod killed;
mod listen;
mod memory;
mod name;
mod owner;
mod reset;
mod state;
mod timewait;
