//! Debian packages: asking dpkg what is there, and apt for the rest.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::workspace::is_root;

/// Other programs (unattended upgrades, another checkout's xtask) may hold apt's locks a while.
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_secs(10);

/// Those of `names` that dpkg does not list as installed, in the given order.
pub(super) fn missing(names: impl Iterator<Item = &'static str>) -> Result<Vec<&'static str>> {
    let names: Vec<&str> = names.collect();
    // dpkg-query exits with 1 when it does not know a package, which is no error here.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(&names)
        .stderr(Stdio::null())
        .output()
        .context("cannot run dpkg-query")?;
    let installed = installed(&String::from_utf8_lossy(&output.stdout));
    Ok(names.into_iter().filter(|name| !installed.contains(*name)).collect())
}

/// The packages that dpkg-query's answer calls fully installed.
fn installed(answer: &str) -> BTreeSet<String> {
    answer.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect()
}

/// Installs `names`. The package lists are fetched only when the ones at hand do not do.
pub(super) fn install(names: &[&str]) -> Result<()> {
    if !is_root() {
        bail!(
            "packages are missing and only root may install them; run as root: apt-get install {}",
            names.join(" ")
        );
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(names);
    if apt_get(&install).is_ok() {
        return Ok(());
    }
    println!("the package lists at hand do not do; fetching them");
    apt_get(&["update"])?;
    apt_get(&install)
}

/// Runs apt-get and waits while somebody else holds its locks.
fn apt_get(arguments: &[&str]) -> Result<()> {
    for _ in 0..LOCK_TRIES {
        println!("    $ apt-get {}", arguments.join(" "));
        let output = Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            // Waits for dpkg's lock; the lock on the lists is never waited for, hence the loop.
            .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-get")?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !is_locked(&complaint) {
            bail!("apt-get {} failed:\n{}", arguments[0], complaint.trim());
        }
        println!("apt is busy, trying again in {} s", LOCK_PAUSE.as_secs());
        thread::sleep(LOCK_PAUSE);
    }
    bail!("another program kept apt's lock all the time");
}

fn is_locked(complaint: &str) -> bool {
    complaint.contains("Could not get lock") || complaint.contains("Unable to lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fully_installed_packages_count() {
        let answer = "installed tmux\nconfig-files clang\nhalf-installed llvm-22\n";
        assert_eq!(installed(answer), BTreeSet::from(["tmux".to_owned()]));
    }

    #[test]
    fn a_held_lock_is_told_from_other_failures() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 12"
        ));
        assert!(!is_locked("E: Unable to locate package tmuxx"));
    }
}
