//! What a Debian machine needs before it can build, check and test sockflow, and getting it.
//!
//! Nothing here runs for `cargo build`: the BPF object is checked in. Only developers, CI and the
//! live tests need these.

mod apt;
pub(crate) mod auditors;
mod built;
pub(crate) mod fuzzer;
pub(crate) mod linker;
pub(crate) mod typos;

use anyhow::Result;

use crate::workspace::find_program;

/// A Debian package and what would not work without it.
struct Package {
    name: &'static str,
    why: &'static str,
}

/// Everything that the test command takes from Debian. One row per package, each with its reason.
const PACKAGES: &[Package] = &[
    Package {
        name: "rustc-web",
        why: "a second compiler, installed beside rustup, that the BPF core library belongs to",
    },
    Package { name: "cargo-web", why: "the cargo of that compiler" },
    Package {
        name: "libstd-rust-web-dev-bpf",
        why: "core compiled for bpfel-unknown-none: no nightly, no build-std",
    },
    Package {
        name: "rust-web-clippy",
        why: "the clippy of that compiler: lints the programs for the target they run on",
    },
    Package {
        name: "llvm-22",
        why: "llvm-objcopy, which strips DWARF from the object and keeps BTF",
    },
    Package { name: "llvm-22-dev", why: "bpf-linker links against this LLVM" },
    Package {
        name: "libpolly-22-dev",
        why: "bpf-linker: part of what llvm-config tells it to link",
    },
    Package { name: "libzstd-dev", why: "bpf-linker: the same" },
    Package {
        name: "build-essential",
        why: "the C linker and C library that rustc itself and bpf-linker link with",
    },
    Package {
        name: "iproute2",
        why: "live tests: namespaces, and `ss` as a second opinion on socket states",
    },
    Package { name: "nftables", why: "tests: a rule that has connections tracked" },
    Package { name: "qemu-system-x86", why: "vm: boots other kernels" },
    Package { name: "cpio", why: "vm: packs the guests' file system" },
    Package { name: "busybox-static", why: "vm: shell and tools in the guests" },
    Package {
        name: "tmux",
        why: "live tests: a real terminal around the screen, to see that it is restored",
    },
    Package {
        name: "prometheus",
        why: "live tests: a real Prometheus scrapes `serve`, promtool checks metrics and rules",
    },
    Package {
        name: "chromium",
        why: "live tests: opens the page that `report` writes, as a reader would",
    },
    Package {
        name: "valgrind",
        why: "instructions: counts what user space does, whatever else the machine does",
    },
];

/// What only `cargo xtask bench` takes, and installs when it is run.
const PEERS: &[Package] = &[
    Package { name: "libbpf-tools", why: "tools of the same kind, to compare the overhead with" },
    Package { name: "bpftrace", why: "the one-liners that people type instead" },
    Package { name: "linux-perf", why: "recording the tracepoint, to compare with" },
];

/// All of them.
fn listed() -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().chain(PEERS)
}

/// Installs what is missing of what tests need, and says so in one line when nothing is.
///
/// Elsewhere than on Debian it only tells what the packages are for: the steps that need one say so
/// themselves.
pub(crate) fn install() -> Result<()> {
    if find_program("dpkg-query").is_none() {
        println!("this is not Debian; the following, or their like, are for you to install");
        for package in PACKAGES {
            println!("  {}: {}", package.name, package.why);
        }
        return Ok(());
    }
    let missing: Vec<&Package> = apt::missing(PACKAGES.iter().map(|package| package.name))?
        .into_iter()
        .filter_map(|name| PACKAGES.iter().find(|package| package.name == name))
        .collect();
    if missing.is_empty() {
        println!("all {} Debian packages are installed", PACKAGES.len());
    } else {
        for package in &missing {
            println!("missing {}: {}", package.name, package.why);
        }
        let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
        apt::install(&names)?;
    }
    let linker = linker::install()?;
    println!("bpf-linker {} is at {}", linker::VERSION, linker.display());
    Ok(())
}

/// Installs one package of the tables if it is missing, and nothing else.
pub(crate) fn require(name: &'static str) -> Result<()> {
    require_all(&[name])
}

/// Installs those of the tables' packages that are missing, and nothing else.
pub(crate) fn require_all(names: &[&'static str]) -> Result<()> {
    for name in names {
        debug_assert!(listed().any(|package| package.name == *name), "{name} is not in the tables");
    }
    if find_program("dpkg-query").is_none() {
        return Ok(());
    }
    let missing = apt::missing(names.iter().copied())?;
    if missing.is_empty() { Ok(()) } else { apt::install(&missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_listed_once_with_a_reason() {
        for (i, package) in listed().enumerate() {
            assert!(!package.why.is_empty(), "{} has no reason", package.name);
            assert!(
                listed().take(i).all(|other| other.name != package.name),
                "{} is listed twice",
                package.name
            );
        }
    }
}
