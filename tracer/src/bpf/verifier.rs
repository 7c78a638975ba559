//! How much work each program is for the kernel's verifier: for the budget in `verifier.toml`.
//!
//! The verifier tells the number of instructions it walked at the end of its log, on every kernel
//! (`verified_insns` of the program's info came with 5.16). A log is handed over with a failure
//! only, so the load is made to fail after the verifier is through: where the new program should
//! become a descriptor, and no descriptor is allowed (`bpf_prog_load` in kernel/bpf/syscall.c:
//! `bpf_check`, then `bpf_prog_new_fd`).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::VerifierLogLevel;
use aya::programs::ProgramError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::known::Known;
use super::load::{self, Kernel, Options};
use super::probes::PROBES;

/// Instructions walked, by program; `None` where this kernel refuses the program.
pub type Instructions = BTreeMap<&'static str, Option<u64>>;

/// Has every program of the object verified, those of lower rungs too, with the assumptions that
/// this kernel allows.
///
/// # Errors
///
/// See [`Kernel::load`].
pub fn instructions(options: &Options) -> Result<Instructions> {
    let config = Kernel::best(options)?.config;
    let btf = Known::read(&options.btf)?.hooks()?;
    let mut ebpf = load::open(options, &btf, &config, VerifierLogLevel::STATS)?;
    let cgroup2 = load::root_of_cgroup2();
    let cgroup2 = cgroup2.as_ref().map_err(String::as_str);
    let mut walked = Instructions::new();
    for rung in PROBES {
        for (hook, name) in rung.parts() {
            let outcome = no_descriptors(|| load::attach(&mut ebpf, &btf, hook, name, cgroup2))?;
            walked.insert(name, outcome.err().and_then(|error| in_log_of(&error)));
        }
    }
    for name in load::NAMING {
        let outcome = no_descriptors(|| load::attach_naming(&mut ebpf, name, cgroup2))?;
        walked.insert(name, outcome.err().and_then(|error| in_log_of(&error)));
    }
    Ok(walked)
}

/// Runs `work` while this process can open nothing.
fn no_descriptors<T>(work: impl FnOnce() -> T) -> Result<T> {
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit { current: Some(0), maximum: before.maximum };
    setrlimit(Resource::Nofile, none).context("cannot lower the limit of descriptors")?;
    let outcome = work();
    setrlimit(Resource::Nofile, before).context("cannot restore the limit of descriptors")?;
    Ok(outcome)
}

/// What the verifier said of a program that it accepted.
fn in_log_of(error: &anyhow::Error) -> Option<u64> {
    let ProgramError::LoadError { io_error, verifier_log } = error.downcast_ref()? else {
        return None;
    };
    if io_error.raw_os_error() != Some(libc::EMFILE) {
        return None;
    }
    processed(&verifier_log.to_string())
}

/// The number in `processed 1234 insns (limit 1000000) …`, the last of them.
fn processed(log: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("processed "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_at_the_end_of_the_log() {
        let log = "0: (bf) r6 = r1\nverification time 12 usec\nstack depth 0+360\n\
                   processed 9012 insns (limit 1000000) max_states_per_insn 4\n";
        assert_eq!(processed(log), Some(9012));
        assert_eq!(processed("R1 invalid mem access"), None);
    }
}
