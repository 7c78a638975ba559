//! `sockflow storm`, to its end or held.

use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use serde_json::Value;

use super::{Guarded, Namespace, PATIENCE, sockflow};

/// A storm that stands: held connections, or orphans.
pub(crate) struct Standing {
    process: Guarded,
}

impl Standing {
    /// Starts a storm (in `namespace`, if one) and waits until `count` connections stand.
    pub(crate) fn start(namespace: Option<&Namespace>, arguments: &[&str], count: u64) -> Self {
        let mut process = Guarded::start(storm_command(namespace, arguments));
        let line = process.line(PATIENCE);
        if line.as_deref() != Some(format!("holding {count}").as_str()) {
            panic!("{line:?} instead of {count}: {}", process.end(PATIENCE).2);
        }
        Self { process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets go of what stands, and returns the report.
    pub(crate) fn release(mut self) -> Value {
        self.process.signal(Signal::TERM);
        report(self.process.end(PATIENCE))
    }
}

/// Runs a storm (in `namespace`, if one) to its end and returns its report.
pub(crate) fn storm(namespace: Option<&Namespace>, arguments: &[&str]) -> Value {
    let mut process = Guarded::start(storm_command(namespace, arguments));
    report(process.end(3 * PATIENCE))
}

fn storm_command(namespace: Option<&Namespace>, arguments: &[&str]) -> Command {
    let mut command = sockflow(&["storm", "--json"]);
    command.args(arguments);
    match namespace {
        Some(namespace) => namespace.enter(&command),
        None => command,
    }
}

fn report((lines, status, talk): (Vec<String>, ExitStatus, String)) -> Value {
    assert!(status.success(), "{status}: {talk}");
    serde_json::from_str(lines.last().expect("a report")).expect("JSON")
}
