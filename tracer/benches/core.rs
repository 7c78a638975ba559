//! What user space does for each event and each snapshot.
//!
//!     cargo bench -p tracer --bench core [NAME]
//!
//! A million events of the simulated storm, and 10,000 services.

#[path = "support/traffic.rs"]
mod traffic;
#[path = "support/workloads.rs"]
mod workloads;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const EVENTS: usize = 1_000_000;
const SERVICES: u16 = 10_000;

fn main() {
    divan::main();
}

const NAMES: [&str; 6] = [
    "fold events",
    "read records of the ring",
    "encode events",
    "decode events",
    "snapshot",
    "draw 200x50",
];

#[divan::bench(args = NAMES, sample_count = 20)]
fn user_space(bencher: Bencher, name: &str) {
    let workload = workloads::all(EVENTS, SERVICES).into_iter().find(|it| it.name == name);
    let Some(mut workload) = workload else { return };
    // The cost of a snapshot and of a frame is told for one, that of events for each.
    let per_event = workload.items == EVENTS as u64;
    let items = if per_event { workload.items } else { 1 };
    bencher.counter(ItemsCount::new(items)).bench_local(|| black_box((workload.run)()));
}
