//! The story on loopback, bounded in count and time: connections by the thousand that end in a
//! chosen way, orphans on demand, connections that stay. It reports exactly what it did, so that
//! what a tracer saw can be compared with what there was.
//!
//! [`plan`] says what to do and refuses what must not be done, [`run`] does it, [`report`] tells.
//! All work happens on a thread of its own, which may move into a new network namespace; the main
//! thread takes the signals and shows the progress.

pub mod plan;
pub mod report;
pub mod sysctl;
pub mod units;

mod child;
mod control;
mod held;
mod kept;
mod netns;
mod orphans;
mod pace;
mod route;
mod shares;
mod short;
mod socket;
mod sys;
#[cfg(test)]
mod tests;
mod zero_window;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use control::Control;
pub use control::Ended;
use plan::{Mode, Plan, Role};
use report::{Account, Report, SCHEMA, Server, Sockstat};
use sysctl::{Guard, Setting};

use crate::stdio;

/// Between two looks of the progress line.
const TICK: Duration = Duration::from_millis(200);

/// Does what the plan says. A server process has nothing to report here.
pub fn run(plan: &Plan) -> anyhow::Result<Option<Report>> {
    plan.check()?;
    let mut control = Control::until(plan.duration).on_signals()?;
    if plan.mode == Mode::Hold || plan.mode.is_fault() {
        control = control.on_hangup();
    }
    let control = control;
    // From inside a new namespace the host's settings cannot be seen.
    let outside = |setting: &&Setting| plan.netns && setting.is_of_the_host();
    let guard = Guard::apply(plan.sysctls.iter().filter(outside))?;
    let main = std::thread::current();
    let mut line = stdio::Line::default();
    let report = std::thread::scope(|scope| {
        let engine = scope.spawn(|| {
            let report = inside(plan, &control);
            main.unpark();
            report
        });
        while !engine.is_finished() {
            std::thread::park_timeout(TICK);
            show_progress(plan, &control, &mut line);
        }
        // A panic goes on here, and the guards are dropped on its way.
        engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    line.clear();
    let mut report = report?;
    if let Some(report) = &mut report {
        report.sysctls.extend(guard.restore());
    }
    Ok(report)
}

fn show_progress(plan: &Plan, control: &Control, line: &mut stdio::Line) {
    if plan.progress {
        let done = control.done.load(Ordering::Relaxed);
        line.show(&format!("storm: {done} of {}", plan.connections));
    }
}

/// The run itself, in the network namespace it belongs to.
fn inside(plan: &Plan, control: &Control) -> anyhow::Result<Option<Report>> {
    if plan.role == Role::Server {
        return orphans::serve(plan, control).map(|()| None);
    }
    if plan.netns {
        netns::enter_new()?;
    }
    let here = |setting: &&Setting| !(plan.netns && setting.is_of_the_host());
    let guard = Guard::apply(plan.sysctls.iter().filter(here))?;
    let mut report = Report {
        schema: SCHEMA.into(),
        mode: plan.mode,
        family: if plan.address.is_ipv4() { 4 } else { 6 },
        ports: plan.ports.clone(),
        requested: plan.connections,
        completed: 0,
        failed: socket::Failures::new(),
        held: None,
        holders: Vec::new(),
        orphans: None,
        sysctls: Vec::new(),
        netns: plan.netns,
        sockstat: Account { before: Sockstat::read(), ..Account::default() },
        server: Server::this_process(),
        ended: Ended::Complete,
        busy_s: 0.0,
        elapsed_s: 0.0,
        per_s: 0.0,
    };
    let started = Instant::now();
    let (tally, made, opened) = match plan.mode {
        Mode::Hold => {
            let held = held::run(plan, control)?;
            report.held = Some(held.stood);
            report.holders = held.holders;
            (held.tally, held.stood, held.opened)
        }
        mode if mode.is_fault() => {
            let kept = kept::run(plan, control)?;
            report.held = Some(kept.stood);
            (kept.tally, kept.stood, kept.opened)
        }
        Mode::ZeroWindow => {
            let outcome = orphans::run(plan, control)?;
            let made = outcome.orphans.left;
            report.orphans = Some(outcome.orphans);
            report.server = outcome.server;
            report.sockstat.standing = outcome.standing;
            (outcome.tally, made, outcome.opened)
        }
        _ => {
            let tally = short::run(plan, control)?;
            let completed = tally.completed;
            (tally, completed, Instant::now())
        }
    };
    report.elapsed_s = started.elapsed().as_secs_f64();
    report.busy_s = opened.duration_since(started).as_secs_f64();
    report.per_s = made as f64 / report.busy_s.max(1e-9);
    report.sockstat.after = Sockstat::read();
    report.completed = tally.completed;
    report.failed = tally.failed;
    report.ended = tally.ended;
    report.sysctls = guard.restore();
    Ok(Some(report))
}
