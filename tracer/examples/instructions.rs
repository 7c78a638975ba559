//! What `cargo xtask bench instructions` counts under valgrind's callgrind, within
//! [`sockflow_counted`] only.
//!
//! Without an argument it prints a line for each workload: its name, a tab, and how many items it is
//! about. With a name it does that one, once for practice and once to be counted.

#[path = "../benches/support/traffic.rs"]
mod traffic;
#[path = "../benches/support/workloads.rs"]
mod workloads;

use std::hint::black_box;
use std::process::ExitCode;

const EVENTS: usize = 65_536;
const SERVICES: u16 = 2_000;

fn main() -> ExitCode {
    let mut workloads = workloads::all(EVENTS, SERVICES);
    let Some(name) = std::env::args().nth(1) else {
        for workload in &workloads {
            println!("{}\t{}", workload.name, workload.items);
        }
        return ExitCode::SUCCESS;
    };
    let Some(workload) = workloads.iter_mut().find(|it| it.name == name) else {
        eprintln!("no workload is named {name}");
        return ExitCode::FAILURE;
    };
    black_box((workload.run)());
    sockflow_counted(&mut *workload.run);
    ExitCode::SUCCESS
}

/// Never inlined, so that there is something to count within.
#[inline(never)]
fn sockflow_counted(run: &mut dyn FnMut() -> u64) {
    black_box(run());
}
