//! What tracing needs of the host, checked before anything is loaded, so that the answer names
//! the missing thing rather than an errno.

use std::path::Path;

use anyhow::Result;

use super::forbidden::Confinement;
use crate::error::Failure;

/// Capability numbers (`include/uapi/linux/capability.h`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The command that grants what is missing.
const GRANT: &str = "run it as root: `sudo sockflow …`";

/// Checks whose privileges these are, then which, then BTF.
///
/// # Errors
///
/// A [`Failure`] of the environment that names what is missing and how to get it.
pub fn check(btf: &Path) -> Result<()> {
    if let Some(failure) = Confinement::read().user_namespace() {
        return Err(failure.into());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(effective(&status));
    if !missing.is_empty() {
        return Err(Failure::environment(format!(
            "tracing needs {}, which this process does not have",
            missing.join(" and ")
        ))
        .hint(GRANT)
        .into());
    }
    if !btf.exists() {
        return Err(Failure::environment(format!(
            "this kernel has no type information (BTF) at {}",
            btf.display()
        ))
        .hint("boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, or name a file: `--btf FILE`")
        .into());
    }
    Ok(())
}

/// The effective capabilities in the text of `/proc/self/status`.
fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn missing_capabilities(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective >> capability & 1 == 1;
    if has(CAP_SYS_ADMIN) {
        // It stands for both (`bpf_capable`, `perfmon_capable`).
        return Vec::new();
    }
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(
            missing_capabilities(effective("Name:\tx\nCapEff:\t0000000000000000\n")),
            ["CAP_BPF", "CAP_PERFMON"]
        );
        assert_eq!(missing_capabilities(1 << 39), ["CAP_PERFMON"]);
        assert!(missing_capabilities(1 << 39 | 1 << 38).is_empty());
        assert!(missing_capabilities(effective("CapEff:\t000001fffeffffff\n")).is_empty());
    }
}
