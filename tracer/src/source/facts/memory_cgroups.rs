//! Memory of the cgroups that sockets belong to (cgroup2 only; what cgroup1 counts is a relic).

use rustc_hash::FxHashSet;
use std::fs;
use std::path::Path;

use super::super::cgroups::Cgroups;
use super::parse::keyed;
use crate::facts::{CgroupMemory, Known, Unknown};

/// Cgroups looked at; a host with more has them in slices with limits of their own.
const MOST: usize = 512;

/// Reads those with these numbers.
///
/// # Errors
/// No cgroup2, or one without the memory controller.
pub fn read(cgroups: &mut Cgroups, ids: &FxHashSet<u64>) -> Known<Vec<CgroupMemory>> {
    let Some(mount) = cgroups.mount().map(Path::to_owned) else {
        return Err(Unknown::because("cgroup2 is not mounted"));
    };
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.split_ascii_whitespace().any(|controller| controller == "memory") {
        return Err(Unknown::because(
            "cgroup2 has no memory controller here (cgroup1 has it, or it is off)",
        ));
    }
    let mut paths: Vec<String> = ids.iter().take(MOST).filter_map(|id| cgroups.path(*id)).collect();
    paths.sort();
    paths.dedup();
    Ok(paths.iter().filter_map(|path| of(&mount, path)).collect())
}

/// One cgroup; `None` for the root, which has no limit.
fn of(mount: &Path, path: &str) -> Option<CgroupMemory> {
    let folder = mount.join(path.trim_start_matches('/'));
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let events = text("memory.events").unwrap_or_default();
    Some(CgroupMemory {
        path: path.to_owned(),
        sock: keyed(&text("memory.stat")?, "sock")?,
        current: text("memory.current")?.trim().parse().ok()?,
        max: tightest(mount, &folder),
        max_events: keyed(&events, "max").unwrap_or(0),
        oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
    })
}

/// The lowest `memory.max` on the way up.
fn tightest(mount: &Path, folder: &Path) -> Option<u64> {
    folder
        .ancestors()
        .take_while(|above| above.starts_with(mount) && *above != mount)
        .filter_map(|above| {
            // "max" is none.
            fs::read_to_string(above.join("memory.max")).ok()?.trim().parse().ok()
        })
        .min()
}
