//! Paths of cgroups: the kernel names a socket's cgroup by number only.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, openat};

use crate::bpf::cgroup2::Cgroup2;

/// How long an unknown number stays unknown before the tree is walked again.
const REFRESH: Duration = Duration::from_secs(3);

/// How many paths are remembered: more than a host has cgroups. Beyond it those of cgroups that
/// have gone are forgotten.
const REMEMBERED: usize = 1 << 16;

/// Turns a cgroup2's number into its path. The number is the inode of its folder
/// (`cgroup_id`, include/linux/cgroup.h: `kn->id`, which on 64-bit machines is the inode whole),
/// so nothing but a walk of the tree finds it; the walk is done when an unknown number is asked
/// for, at most every 3 s. Paths are remembered after a cgroup has gone.
#[derive(Debug)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    /// A mount of our own lasts as long as this.
    #[expect(dead_code, reason = "held, not read")]
    folder: Option<Cgroup2>,
    paths: HashMap<u64, String>,
    walked: Option<Instant>,
}

impl Default for Cgroups {
    fn default() -> Self {
        Self::new()
    }
}

impl Cgroups {
    /// Finds the root of cgroup2, or what of it is mounted here. Where there is none, every path is
    /// unknown.
    #[must_use]
    pub fn new() -> Self {
        let folder = Cgroup2::find();
        Self { mount: folder.as_ref().map(Cgroup2::path), folder, ..Self::at(None) }
    }

    fn at(mount: Option<PathBuf>) -> Self {
        Self { mount, folder: None, paths: HashMap::new(), walked: None }
    }

    /// Where cgroup2 is mounted.
    #[must_use]
    pub fn mount(&self) -> Option<&Path> {
        self.mount.as_deref()
    }

    /// The path of the cgroup with this number, from the mount down: `/` or
    /// `/system.slice/nginx.service`. `None` for one that was gone before it was asked for, is
    /// younger than the last walk, or is outside of what a container sees.
    pub fn path(&mut self, id: u64) -> Option<String> {
        self.path_at(id, Instant::now())
    }

    fn path_at(&mut self, id: u64, now: Instant) -> Option<String> {
        let fresh = self.walked.is_some_and(|walked| now - walked < REFRESH);
        if !self.paths.contains_key(&id) && !fresh {
            self.walked = Some(now);
            self.walk();
        }
        self.paths.get(&id).cloned()
    }

    /// Looks at every cgroup there is.
    fn walk(&mut self) {
        let Some(mount) = self.mount.clone() else {
            return;
        };
        if self.paths.len() >= REMEMBERED {
            self.paths.clear();
        }
        if let Ok(root) = fs::metadata(&mount) {
            self.paths.insert(root.ino(), "/".to_owned());
        }
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut todo = vec![PathBuf::new()];
        while let Some(below) = todo.pop() {
            // One that has gone meanwhile has no children either.
            let Ok(folder) = openfolder(&mount.join(&below)) else {
                continue;
            };
            let mut entries = RawDir::new(&folder, &mut buffer);
            while let Some(Ok(entry)) = entries.next() {
                let name = entry.file_name().to_bytes();
                if entry.file_type() != FileType::Directory || name == b"." || name == b".." {
                    continue;
                }
                let child = below.join(std::ffi::OsStr::from_bytes(name));
                self.paths.insert(entry.ino(), format!("/{}", child.display()));
                todo.push(child);
            }
        }
    }
}

fn openfolder(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_walked_and_walked_again_only_later() {
        let root = std::env::temp_dir().join(format!("sockflow-cgroups-{}", std::process::id()));
        fs::create_dir_all(root.join("system.slice/nginx.service")).unwrap();
        fs::write(root.join("cgroup.procs"), "").unwrap();
        let ino = |path: &str| fs::metadata(root.join(path)).unwrap().ino();

        let mut cgroups = Cgroups::at(Some(root.clone()));
        let start = Instant::now();
        let nginx = ino("system.slice/nginx.service");
        let found = cgroups.path_at(nginx, start);
        assert_eq!(found.as_deref(), Some("/system.slice/nginx.service"));
        assert_eq!(cgroups.path_at(ino("."), start).as_deref(), Some("/"));
        assert_eq!(cgroups.path_at(ino("cgroup.procs"), start), None);

        fs::create_dir(root.join("new.slice")).unwrap();
        let new = ino("new.slice");
        assert_eq!(cgroups.path_at(new, start + REFRESH / 2), None);
        let found = cgroups.path_at(new, start + REFRESH);
        assert_eq!(found.as_deref(), Some("/new.slice"));

        // What has gone is still known.
        fs::remove_dir_all(&root).unwrap();
        let found = cgroups.path_at(nginx, start + 10 * REFRESH);
        assert_eq!(found.as_deref(), Some("/system.slice/nginx.service"));
    }

    #[test]
    fn without_cgroup2_nothing_is_known() {
        let mut cgroups = Cgroups::at(None);
        assert_eq!(cgroups.path(1), None);
        assert_eq!(cgroups.mount(), None);
    }

    #[test]
    fn the_running_kernels_numbers_are_those_sock_diag_shows() {
        let mut cgroups = Cgroups::new();
        let Some(mount) = cgroups.mount() else {
            eprintln!("skipped: no cgroup2");
            return;
        };
        let root = fs::metadata(mount).unwrap().ino();
        assert_eq!(cgroups.path(root).as_deref(), Some("/"));

        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = _listener.local_addr().unwrap().port();
        let mut id = None;
        super::super::sock_diag::SockDiag::open()
            .unwrap()
            .dump(super::super::sock_diag::StateMask::ALL, false, |entry| {
                if entry.local.port() == port {
                    id = entry.cgroup_id;
                }
            })
            .unwrap();
        assert_eq!(cgroups.path(id.unwrap()).as_deref(), Some(own));
    }
}
