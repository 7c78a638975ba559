//! More held connections than one process may have descriptors for: several processes, each
//! holding a share, one after the other on the same ports.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, bail};

use super::child;
use super::control::{Control, Ended};
use super::held::Held;
use super::plan::{Plan, Role, Usage};
use super::report::{Report, announce};
use super::short::Tally;
use super::socket::{self, Failures};

/// Most processes; past that the limit of descriptors is absurd.
const MAX_SHARES: u64 = 32;

struct Share {
    process: Child,
    stdout: BufReader<ChildStdout>,
}

/// Holds the plan's connections in processes of at most `room` each.
pub(super) fn run(plan: &Plan, control: &Control, room: u64) -> anyhow::Result<Held> {
    if plan.role == Role::Share || room * MAX_SHARES < plan.connections {
        return Err(Usage(format!(
            "holding {} connections takes {} descriptors and the hard limit leaves room for {}; \
             raise it (ulimit -Hn) or lower --connections",
            plan.connections,
            2 * plan.connections,
            2 * room
        ))
        .into());
    }
    let mut shares = Vec::new();
    let mut stood = 0;
    let mut given = 0;
    while given < plan.connections && control.ended().is_none() {
        let mut share = plan.clone();
        share.role = Role::Share;
        share.first = plan.first + given;
        share.connections = room.min(plan.connections - given);
        share.duration = control.left();
        given += share.connections;
        let mut share = start(&share)?;
        stood += standing(&mut share)?;
        control.done.store(stood, Ordering::Relaxed);
        shares.push(share);
    }
    // The shares stopped listening; whoever looks at the ports should find a service there.
    let listeners = socket::listeners(plan.address, &plan.ports, None)?;
    let opened = Instant::now();
    announce(stood);
    let ended = control.sleep(plan.hold());
    let holders = shares.iter().map(|share| share.process.id()).collect();
    // Closing a share's stdin tells it to let go: all at once, then they are waited for in turn.
    for share in &mut shares {
        drop(share.process.stdin.take());
    }
    let mut tally = Tally { completed: 0, failed: Failures::new(), ended: Ended::Complete };
    for share in shares {
        let report = finish(share)?;
        tally.completed += report.completed;
        for (name, count) in report.failed {
            *tally.failed.entry(name).or_default() += count;
        }
    }
    drop(listeners);
    if stood < plan.connections {
        tally.ended = ended.unwrap_or(Ended::Failing);
    }
    Ok(Held { tally, stood, holders, opened })
}

fn start(plan: &Plan) -> anyhow::Result<Share> {
    let mut process = child::start(plan)?;
    let stdout = process.stdout.take().context("no pipe from the share")?;
    Ok(Share { process, stdout: BufReader::new(stdout) })
}

/// Waits for a share's announcement.
fn standing(share: &mut Share) -> anyhow::Result<u64> {
    let mut line = String::new();
    share.stdout.read_line(&mut line)?;
    match line.trim_end().strip_prefix("holding ").map(str::parse) {
        Some(Ok(count)) => Ok(count),
        _ => bail!("a share of the connections could not be held; its reason is above"),
    }
}

fn finish(mut share: Share) -> anyhow::Result<Report> {
    let mut line = String::new();
    share.stdout.read_line(&mut line)?;
    share.process.wait()?;
    serde_json::from_str(&line).context("a share of the connections ended without a report")
}
