//! What a trace says about its run.

use super::super::engine::{Detail, Engine};
use crate::facts::Unknown;
use crate::recording::{Machine, Probe, Run};
use crate::source::sysctls;

/// The run that `engine` has begun.
pub(super) fn run(engine: &Engine, detail: Detail) -> Run {
    let settings = engine.settings();
    let facts = engine.facts();
    let probes = engine.plan().report().into_iter().map(|row| Probe {
        signal: row.signal.to_owned(),
        hook: row.hook.unwrap_or_default(),
        fidelity: row.fidelity,
    });
    Run {
        sockflow: env!("CARGO_PKG_VERSION").to_owned(),
        host: Machine {
            name: settings.host.name.clone(),
            kernel: settings.host.kernel.clone(),
            boot_id: settings.host.boot_id.clone(),
        },
        anchor: settings.anchor,
        began: settings.began,
        fidelity: settings.fidelity.clone(),
        probes: probes.collect(),
        filter: settings.filter.clone(),
        filtered: settings.filtered,
        interval_s: settings.interval_s,
        detail: detail.name().to_owned(),
        sysctls: facts.map_or_else(sysctls::read, |facts| facts.sysctls.clone()),
        settings: facts
            .map_or_else(|| Err(Unknown::because("not looked at")), |facts| facts.settings.clone()),
        first_netns: facts.and_then(|facts| facts.first_netns),
        memory_bytes: facts
            .and_then(|facts| facts.memory.as_ref().ok())
            .map_or(0, |memory| memory.0),
        page_bytes: rustix::param::page_size() as u64,
        cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u32),
        notes: engine.notes().to_vec(),
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        ..Run::default()
    }
}
