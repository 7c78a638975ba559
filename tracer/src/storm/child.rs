//! Starting this program again for a part of a run. A fresh `exec` and not a `fork`, which would
//! copy one thread out of several. A child lives no longer than its pipe from the parent: stdin
//! closed tells it to finish, so a killed parent leaves nothing behind.

use std::process::{Child, Command, Stdio};

use anyhow::Context;
use clap::ValueEnum;

use super::plan::{Plan, Role};

/// Starts the program with the plan's role. It joins the calling thread's network namespace.
pub(super) fn start(plan: &Plan) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Command::new(&program)
        .args(arguments(plan))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The command line that says what `plan` says, as far as a child needs it.
fn arguments(plan: &Plan) -> Vec<String> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let ports: Vec<String> = plan.ports.iter().map(ToString::to_string).collect();
    let mut arguments = vec!["storm".to_owned(), "--json".to_owned()];
    for (option, value) in [
        ("--role", name(plan.role.to_possible_value())),
        ("--mode", name(plan.mode.to_possible_value())),
        ("--addr", plan.address.to_string()),
        ("--ports", ports.join(",")),
        ("--connections", plan.connections.to_string()),
        ("--rate", plan.rate().to_string()),
        // Rounded up: nothing left is refused as a duration.
        ("--duration", format!("{}ms", plan.duration.as_millis() + 1)),
        ("--sndbuf", plan.send_buffer.to_string()),
        ("--first", plan.first.to_string()),
    ] {
        arguments.push(option.to_owned());
        arguments.push(value);
    }
    // A share holds until told: the starter keeps the time.
    debug_assert!(plan.role != Role::Whole);
    arguments
}
