//! The one judge: what is wrong at a moment, why, and what to do about it.
//!
//! Pure: it takes [`Watch`]ed facts and what was counted, and draws conclusions; it asks nobody and
//! changes nothing. Everything that is concluded anywhere (first line, anomalies, doctor, report,
//! metrics) is a [`Finding`] made here.
//!
//! * [`check`]: the trait; [`checks`]: the list; one file a resource;
//! * `look`: what a check says; [`Finding`] and [`CheckRow`] are made of it;
//! * [`severity`]: how bad; [`trend`]: growth and time left;
//! * [`watch`]: the half minute before a moment; [`counted`]: what hooks counted at it;
//! * [`judge`]: what goes on from moment to moment; `report`: the doctor's report of a moment;
//! * `elsewhere`: the checks of a namespace, for each other one;
//! * `sysctls`: what is known about settings, and the lint; `words`: what text and screens share.
//!
//! What a check cannot see is [`State::Unknown`] with the reason: never a false ok.

mod accept_queue;
pub mod check;
pub mod checks;
mod conntrack;
pub mod counted;
mod drift;
mod elsewhere;
mod ephemeral_ports;
mod fds;
mod file_max;
mod finding;
mod held;
pub mod judge;
mod look;
mod lost;
mod memcg;
mod orphans;
mod report;
mod row;
mod setting_changed;
pub mod severity;
mod softnet;
mod syn_queue;
mod sysctl_lint;
pub mod sysctls;
mod tcp_mem;
mod time_wait;
pub mod trend;
mod udp_mem;
pub mod watch;
mod words;

pub use self::check::Check;
pub use self::checks::CHECKS;
pub use self::counted::Counted;
pub use self::finding::{Anomaly, Badness, Finding, Scope, Verdict};
pub use self::judge::Judge;
pub use self::look::Look;
pub use self::report::{About, Report, RunsOut, SCHEMA, examine};
pub use self::row::{CheckRow, Set, State};
pub use self::setting_changed::Change;
pub use self::severity::Severity;
pub use self::watch::{WINDOW_S, Watch};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
