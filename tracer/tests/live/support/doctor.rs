//! What the doctor's live tests share: its report, and what they hold against it.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Namespace, output, sockflow};

/// A folder without sysctl files: what this machine has in its own is not the test's.
pub(crate) const NO_FILES: &str = "/proc/self/fdinfo";

pub(crate) fn doctor(arguments: &[&str]) -> Command {
    let mut command = sockflow(&["doctor", "--root", NO_FILES]);
    command.args(arguments);
    command
}

/// The report, from inside a namespace or from the host.
pub(crate) fn report(namespace: Option<&Namespace>, arguments: &[&str]) -> Value {
    let mut command = doctor(&["--json", "--fail-on", "never"]);
    command.args(arguments);
    let command = match namespace {
        Some(namespace) => namespace.enter(&command),
        None => {
            // Whatever else listens on this machine is not the test's.
            if !arguments.contains(&"--port") {
                command.args(["--port", "9981"]);
            }
            command
        }
    };
    let done = output(command);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(report["schema"], "sockflow.doctor/1");
    report
}

pub(crate) fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["id"] == id).expect("the check")
}

/// That state, and, where it is a bad one, first of all.
pub(crate) fn assert_state(report: &Value, id: &str, state: &str) {
    let found = check(report, id);
    assert_eq!(found["state"], state, "{found}");
    if state != "ok" {
        assert_eq!(report["checks"][0]["id"], id, "first: {}", report["checks"][0]);
        assert_eq!(report["verdict"], state, "{found}");
    }
}

pub(crate) fn skip(id: &str, why: &str) {
    eprintln!("skipped: {id} is not driven to its limit here: {why}; its facts are, in diagnose");
}

pub(crate) fn write(dotted: &str, value: &str) {
    let path = format!("/proc/sys/{}", dotted.replace('.', "/"));
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Sets what a check advises.
pub(crate) fn apply(check: &Value) {
    let set = check["set"].as_array().expect("settings");
    assert!(!set.is_empty(), "no advice: {check}");
    for setting in set {
        let text = |name: &str| setting[name].as_str().expect("text");
        write(text("sysctl"), text("to"));
    }
}
