//! What the kernel side and the user side of sockflow agree on.
//!
//! Only plain data and pure functions live here: no I/O, no allocation, no clock. The same code
//! runs inside the BPF programs and in the user-side tests.
//!
//! * [`state`]: the kernel's TCP states;
//! * [`lifecycle`]: what a change of state means (opened, closed, orphaned, why it ended);
//! * [`counters`]: the exact totals a group of sockets keeps, and the losses;
//! * [`reset`]: the kernel's names for why it sent a RST;
//! * [`histogram`]: the buckets of the FIN_WAIT1 times;
//! * [`abi`]: the records that cross the kernel border in maps and in the ring buffer;
//! * [`config`]: what user space tells the programs before they load (filter, field offsets).
//!
//! Nothing here is a disk format: the layouts may change with every commit.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod config;
// Here, since lines of that file are part of the BPF object.
#[cfg_attr(feature = "user", expect(unsafe_code, reason = "a promise to aya about the layout"))]
pub mod counters;
pub mod histogram;
pub mod lifecycle;
pub mod reset;
pub mod state;
