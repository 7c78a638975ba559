//! Names for the folders that differ between machines, so that the object does not.
//!
//! The line information in BTF carries source paths. rustc replaces each given prefix; where
//! several fit, the last one given wins, so the list goes from the widest to the narrowest.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::cargo_home;

/// The `--remap-path-prefix` options for one build.
pub(super) fn remap(root: &Path, target_dir: &Path, sysroot: &Path) -> Result<Vec<String>> {
    let home = cargo_home()?;
    let mut table: Vec<(PathBuf, &str)> = vec![
        (home.clone(), "/cargo"),
        (sysroot.join("lib/rustlib/src/rust"), "/rust"),
        (root.to_owned(), "/sockflow"),
        (target_dir.to_owned(), "/target"),
    ];
    // Their names hold the registry's host and a hash of its address.
    for registry in registries(&home) {
        table.push((registry, "/registry"));
    }
    table
        .into_iter()
        .map(|(from, to)| {
            let from = from.to_str().with_context(|| format!("{} is not UTF-8", from.display()))?;
            Ok(format!("--remap-path-prefix={from}={to}"))
        })
        .collect()
}

/// Paths of this machine that the object must not contain. A home as short as `/` would be found
/// in anything and says nothing.
pub(super) fn private(root: &Path) -> Result<Vec<String>> {
    let home = cargo_home()?;
    let paths = [root, home.as_path()];
    Ok(paths
        .iter()
        .filter_map(|path| path.to_str())
        .filter(|path| path.len() > 4)
        .map(str::to_owned)
        .collect())
}

/// The folders of unpacked crates, one per registry this machine ever used.
fn registries(cargo_home: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cargo_home.join("registry/src")) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name() != Some(OsStr::new(".")))
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrower_prefixes_come_after_wider_ones() {
        let flags =
            remap(Path::new("/src/flow"), Path::new("/src/flow/target/bpf"), Path::new("/usr"))
                .unwrap();
        let place = |what: &str| flags.iter().position(|flag| flag.contains(what)).unwrap();
        assert!(place("=/src/flow=/sockflow") < place("=/src/flow/target/bpf=/target"));
    }

    #[test]
    fn the_checkout_is_private() {
        let paths = private(Path::new("/home/somebody/flow")).unwrap();
        assert!(paths.iter().any(|path| path == "/home/somebody/flow"));
    }
}
