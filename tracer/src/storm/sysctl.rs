//! Kernel settings changed for the length of a run: an allow-list, and a guard that puts every one
//! back when it is dropped, be it at the end, on an error or while a panic unwinds.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::stdio::say;

/// A setting to change: `net.ipv4.tcp_max_orphans=64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    key: String,
    value: String,
}

/// What became of one setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its dotted name.
    pub key: String,
    /// The value found, and put back.
    pub from: String,
    /// The value during the run.
    pub to: String,
    /// Whether it reads as before again.
    pub restored: bool,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("expected KEY=VALUE, such as net.ipv4.tcp_max_orphans=64")?;
        let (key, value) = (key.trim(), value.trim());
        // Besides naming what may change, this keeps dots and slashes out of the path.
        let allowed = ["net.core.somaxconn", "net.ipv4.ip_local_port_range"].contains(&key)
            || key.strip_prefix("net.ipv4.tcp_").is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            });
        if !allowed {
            return Err(
                "only net.ipv4.tcp_*, net.ipv4.ip_local_port_range and net.core.somaxconn may \
                        be changed"
                    .into(),
            );
        }
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit() || b" \t-".contains(&b)) {
            return Err(format!("`{value}` is not a number, or numbers with blanks between them"));
        }
        Ok(Self { key: key.into(), value: value.into() })
    }
}

impl Setting {
    /// Its dotted name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it belongs to the host and not to a network namespace; such a one is not even
    /// visible from a namespace other than the first.
    #[must_use]
    pub fn is_of_the_host(&self) -> bool {
        matches!(self.key.as_str(), "net.ipv4.tcp_max_orphans" | "net.ipv4.tcp_mem")
    }
}

fn path(key: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/{}", key.replace('.', "/")))
}

/// Values as the kernel prints them, tabs made blanks, to compare and to show.
fn read(key: &str) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path(key))?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The settings changed so far. Restoring needs the network namespace it was made in, so it must
/// be dropped by the thread that made it.
#[derive(Default)]
pub(super) struct Guard {
    changed: Vec<Changed>,
    over: bool,
}

impl Guard {
    /// Changes `settings` in order; if one fails the earlier ones are put back.
    pub(super) fn apply<'a>(settings: impl Iterator<Item = &'a Setting>) -> anyhow::Result<Self> {
        let mut guard = Self::default();
        for Setting { key, value } in settings {
            let from = read(key).with_context(|| {
                format!("cannot read {key}; it is not there on this kernel, or not in this network namespace")
            })?;
            // Noted before it is written: an error or a panic in between restores once too often.
            guard.changed.push(Changed {
                key: key.clone(),
                from: from.clone(),
                to: value.clone(),
                restored: false,
            });
            if let Err(error) = std::fs::write(path(key), value) {
                if read(key).is_ok_and(|now| now == from) {
                    // What was refused is not there to be put back.
                    guard.changed.pop();
                }
                return Err(refused(error, key, value));
            }
            // Should the process be killed outright, this line says how to undo it.
            say(format_args!(
                "storm: {key}: {from} -> {value} until the end; to undo by hand: sysctl -w {key}='{from}'"
            ));
        }
        Ok(guard)
    }

    /// Puts everything back and reports it.
    pub(super) fn restore(mut self) -> Vec<Changed> {
        self.put_back();
        std::mem::take(&mut self.changed)
    }

    fn put_back(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        for changed in self.changed.iter_mut().rev() {
            let Changed { key, from, restored, .. } = changed;
            let outcome = std::fs::write(path(key), &*from).and_then(|()| read(key));
            *restored = matches!(&outcome, Ok(now) if now == from);
            match outcome {
                Ok(now) if now == *from => say(format_args!("storm: {key}: restored to {from}")),
                Ok(now) => say(format_args!("storm: {key}: NOT restored, reads {now}, was {from}")),
                Err(error) => say(format_args!(
                    "storm: {key}: NOT restored ({error}); run: sysctl -w {key}='{from}'"
                )),
            }
        }
    }
}

/// Why a setting could not be changed.
fn refused(error: std::io::Error, key: &str, value: &str) -> anyhow::Error {
    let what = format!("cannot set {key} to {value}");
    let failure = if error.kind() == std::io::ErrorKind::PermissionDenied {
        Failure::environment(what).hint("run it as root: `sudo sockflow storm …`")
    } else {
        Failure::usage(what).hint(format!("see what it is now: `sysctl {key}`"))
    };
    anyhow::Error::new(error).context(failure)
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.put_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_allow_list_passes() {
        assert!("net.ipv4.tcp_max_orphans=64".parse::<Setting>().is_ok());
        assert!("net.core.somaxconn = 128".parse::<Setting>().is_ok());
        assert!("net.ipv4.tcp_mem=1 2 3".parse::<Setting>().is_ok());
        for bad in [
            "net.ipv4.ip_forward=1",
            "kernel.panic=1",
            "net.ipv4.tcp_=1",
            "net.ipv4.tcp_/../ip_forward=1",
            "net.ipv4.tcp_mem",
            "net.ipv4.tcp_mem=",
            "net.ipv4.tcp_congestion_control=reno",
            "net.core.rmem_max=1",
        ] {
            assert!(bad.parse::<Setting>().is_err(), "{bad}");
        }
    }
}
