//! Where things are: the workspace, cargo's home, the cache of tools built from source.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout this xtask belongs to.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// Cargo tells where xtask's manifest is when it runs it; the root is one folder up.
    pub(crate) fn locate() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies in no workspace")?;
        let root =
            root.canonicalize().with_context(|| format!("cannot enter {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path below the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

/// `$CARGO_HOME`, else `~/.cargo`.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Ok(PathBuf::from(home)),
        None => Ok(home()?.join(".cargo")),
    }
}

/// The folder for tools that xtask builds itself: `$SOCKFLOW_CACHE`, else
/// `$XDG_CACHE_HOME/sockflow`, else `~/.cache/sockflow`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(cache) = non_empty("SOCKFLOW_CACHE") {
        return Ok(cache);
    }
    match non_empty("XDG_CACHE_HOME") {
        Some(cache) => Ok(cache.join("sockflow")),
        None => Ok(home()?.join(".cache/sockflow")),
    }
}

fn home() -> Result<PathBuf> {
    non_empty("HOME").context("HOME is not set")
}

fn non_empty(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable)?;
    (!value.is_empty()).then(|| PathBuf::from(value))
}

/// The program of that name in `$PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether this process may do what only root may.
///
/// The owner of `/proc/self` is the effective user, which saves a dependency and an `unsafe`.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}
