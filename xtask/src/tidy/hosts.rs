//! Names of the package registries this machine uses must stand in no file.
//!
//! A mirror's name is of no use to anybody else and may tell what it should not. Which names those
//! are is read from the machine's own configuration at run time; they are not written here either.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use super::Finding;
use crate::workspace::cargo_home;

/// Hosts that docs link to and that `Cargo.lock` names, whatever the machine's configuration.
const PUBLIC: &[&str] = &["github.com"];

/// The hosts not to be named.
pub(super) struct Hosts(BTreeSet<String>);

impl Hosts {
    pub(super) fn of_this_machine() -> Self {
        let mut hosts = BTreeSet::new();
        for file in configuration() {
            if let Ok(text) = fs::read_to_string(file) {
                hosts.extend(in_text(&text));
            }
        }
        for (name, value) in env::vars() {
            if is_about_registries(&name) {
                hosts.extend(in_text(&value));
            }
        }
        Self(hosts)
    }

    /// Where a file, of text or not, names one of them. The message does not repeat the name: it
    /// would end up in a log.
    pub(super) fn check(&self, file: &str, bytes: &[u8]) -> Vec<Finding> {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let is_named = |line: &str| self.0.iter().any(|host| names(line, host));
        text.lines()
            .enumerate()
            .filter(|(_, line)| is_named(line))
            .map(|(index, _)| {
                let message = "names a package registry's host; read it from the machine instead";
                Finding::error(file, index + 1, message)
            })
            .collect()
    }
}

/// Whether the host stands in a line by itself, not as the end or start of a longer word. A dash
/// may follow: cargo's folders are called by the host, a dash and a hash.
fn names(line: &str, host: &str) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric();
    line.match_indices(host).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + host.len()..].chars().next();
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

/// The files in which apt and cargo are told where to download from.
fn configuration() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    for folder in ["/etc/apt/sources.list.d", "/etc/apt/apt.conf.d"] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()));
    }
    if let Ok(home) = cargo_home() {
        files.extend([home.join("config.toml"), home.join("config")]);
    }
    files
}

fn is_about_registries(variable: &str) -> bool {
    variable.to_ascii_lowercase().ends_with("_proxy")
        || variable.starts_with("CARGO_REGISTRIES_")
        || variable.starts_with("CARGO_SOURCE_")
        || variable.starts_with("RUSTUP_DIST_")
        || variable.starts_with("RUSTUP_UPDATE_")
}

/// The hosts of all addresses (`scheme://host…`) in a text, but for whole lines of comment: what
/// links to a manual or a licence is no registry. Names without a dot and loopback
/// addresses mean nothing elsewhere and would be found in any file about networks.
fn in_text(text: &str) -> BTreeSet<String> {
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('#') || line.starts_with("//")
    };
    text.lines()
        .filter(|line| !is_comment(line))
        .flat_map(|line| line.split("://").skip(1))
        .filter_map(|rest| {
            let end = rest.find(|c: char| c.is_whitespace() || "/\"',;]".contains(c));
            let authority = &rest[..end.unwrap_or(rest.len())];
            let host = authority.rsplit('@').next()?.split(':').next()?;
            let host = host.to_ascii_lowercase();
            let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            let known = PUBLIC.contains(&host.as_str());
            (host.contains('.') && !is_loopback && !known).then_some(host)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Hosts {
        Hosts(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn hosts_are_read_from_addresses() {
        let text = "deb http://mirror.example.org/debian stable main\n\
                    registry = \"sparse+https://user:secret@crates.example.net:8443/index/\"\n\
                    # see https://www.example.com/manual\n\
                    proxy = http://localhost:3128 http://127.0.0.1:1\n\
                    see https://github.com/somebody";
        let found = in_text(text);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["crates.example.net", "mirror.example.org"]);
    }

    #[test]
    fn a_named_host_is_found_in_text_and_in_binaries() {
        let hosts = hosts(&["mirror.example.org"]);
        for bytes in [
            b"\nget it at Mirror.Example.org!".as_slice(),
            b"\xff\0/x/mirror.example.org/a\0",
            b"\xff\0/x/mirror.example.org-1f/a\0",
        ] {
            assert_eq!(hosts.check("a", bytes).len(), 1, "{bytes:?}");
        }
        for bytes in [b"\nget it".as_slice(), b"mirror.example.organic"] {
            assert!(hosts.check("a", bytes).is_empty(), "{bytes:?}");
        }
    }

    #[test]
    fn a_finding_does_not_repeat_the_name() {
        let findings = hosts(&["mirror.example.org"]).check("a.md", b"mirror.example.org");
        assert!(!findings[0].message.contains("mirror"));
    }
}
