//! The border to the kernel: loads the programs, attaches them, reads their maps.
//!
//! * [`requirements`]: what the host must have, checked first; `forbidden`: who can have refused it;
//! * [`btf`], [`offsets`], [`known`]: where the kernel's fields are, and what else its types tell;
//! * [`probes`]: the table of signals and hooks; [`plan`]: which of them this kernel gets;
//! * [`cgroup2`]: the root of cgroup2, for programs that are attached there;
//! * [`load`]: makes it so, and holds it while tracing runs; `assume`: what the programs take for
//!   granted meanwhile;
//! * [`maps`]: the totals and losses; [`decode`]: the ring buffer's bytes as events;
//!   [`standing`]: sockets that stood before; [`reconcile`]: sockets
//!   whose end was missed; [`handover`]: sockets that another process holds; [`log`]: what the programs say;
//! * [`verifier`]: what they cost to load.

mod assume;
pub mod btf;
pub mod cgroup2;
pub mod decode;
mod forbidden;
pub mod handover;
pub mod known;
mod limits;
pub mod load;
pub mod log;
pub mod maps;
pub mod offsets;
pub mod plan;
pub mod probes;
pub mod reconcile;
pub mod requirements;
pub mod standing;
pub mod verifier;
