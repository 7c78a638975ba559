//! Attaches one program of the benchmark's own object, and waits for a signal: how `cargo xtask
//! bench` measures what the least that a tool can do costs.
//!
//!     floors OBJECT PROGRAM

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let object = arguments.next().context("which object?")?;
    let name = arguments.next().context("which program?")?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut ebpf = Ebpf::load_file(&object).with_context(|| format!("cannot load {object}"))?;
    let program: &mut BtfTracePoint =
        ebpf.program_mut(&name).with_context(|| format!("no program {name}"))?.try_into()?;
    program.load("inet_sock_set_state", &Btf::from_sys_fs()?)?;
    program.attach()?;
    println!("ready");
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
