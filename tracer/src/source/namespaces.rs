//! The host's network namespaces: which there are, and how to get something done inside one.
//!
//! The orphan limit is the host's while most counters are a namespace's, so whoever explains a
//! host has to look into all of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::own_cost::CpuTimer;

/// Where `ip netns` and Docker keep names of namespaces: files with the namespace mounted on them.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// `NSFS_MAGIC` (include/uapi/linux/magic.h): the filesystem all namespaces are files of.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetNamespace {
    /// Its number: what `readlink /proc/self/ns/net` shows, the kernel's `net->ns.inum`.
    pub inum: u32,
    /// A way to it: the file that names it where there is one (it lasts), else the lowest
    /// process's in it.
    pub path: PathBuf,
    /// Its name, if one was given.
    pub name: Option<OsString>,
    /// The lowest pid in it; `None` where no visible process is.
    pub pid: Option<u32>,
}

/// What [`list`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// By number, ascending.
    pub found: Vec<NetNamespace>,
    /// Processes whose namespace we may not see.
    pub denied: usize,
}

/// The number of the namespace this process is in.
///
/// # Errors
/// Without /proc.
pub fn own_inum() -> io::Result<u32> {
    inum_of(Path::new("/proc/self/ns/net"))
}

/// The number of the namespace the calling thread is in: inside of [`inside`] another one.
///
/// # Errors
/// Without /proc.
pub fn thread_inum() -> io::Result<u32> {
    inum_of(Path::new("/proc/thread-self/ns/net"))
}

/// The number of the namespace at `path`.
///
/// # Errors
/// Where there is no such file, we may not look at it, or it is no namespace.
pub fn inum_of(path: &Path) -> io::Result<u32> {
    // The type only shows through the filesystem: the name of a namespace that was taken away is
    // left behind as an ordinary, empty file.
    let file = rustix::fs::statfs(path)?;
    if u64::try_from(file.f_type).ok() != Some(NSFS_MAGIC) {
        // One that may not be looked at reads as empty and leads nowhere on 5.10, where others
        // refuse.
        if fs::read_link(path).is_ok_and(|target| target.as_os_str().is_empty()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a namespace", path.display()),
        ));
    }
    u32::try_from(fs::metadata(path)?.ino())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "namespace number too large"))
}

/// All network namespaces that have a name or a process. One that is held only by an open file or
/// socket is not found.
///
/// # Errors
/// Without /proc.
pub fn list() -> io::Result<Namespaces> {
    let mut denied = 0;
    let mut found: BTreeMap<u32, NetNamespace> = BTreeMap::new();
    for pid in super::processes::pids()? {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        // The type need not be checked here, which saves a call a process.
        match fs::metadata(&path).map(|meta| u32::try_from(meta.ino())) {
            Ok(Ok(inum)) => {
                found.entry(inum).or_insert_with(|| NetNamespace {
                    inum,
                    path,
                    name: None,
                    pid: Some(pid),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied += 1,
            // Gone, or only its entry is left, which has none.
            _ => {}
        }
    }
    for folder in NAMED {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(inum) = inum_of(&path) else { continue };
            let namespace = found.entry(inum).or_insert_with(|| NetNamespace {
                inum,
                path: path.clone(),
                name: None,
                pid: None,
            });
            if namespace.name.is_none() {
                namespace.name = Some(entry.file_name());
                namespace.path = path;
            }
        }
    }
    Ok(Namespaces { found: found.into_values().collect(), denied })
}

/// Runs `work` on a thread of its own inside the network namespace at `path`. Sockets and files
/// of /proc that it opens belong to that namespace for good and may be used from anywhere; this
/// thread never leaves its own.
///
/// # Errors
/// Where `path` is no network namespace or may not be entered (`CAP_SYS_ADMIN`), and what `work`
/// fails with.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = File::open(path)
        .with_context(|| format!("cannot open the network namespace {}", path.display()))?;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| {
                        format!("cannot enter the network namespace {}", path.display())
                    })?;
                work()
            })
            .context("cannot start a thread")?
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread inside {} panicked", path.display())))
    })
}

/// Runs `work` inside each of these namespaces, one after the other, on one thread of its own: what it
/// gave, and the CPU time that all of it took. Those that may not be entered are left out.
///
/// Nothing that `work` opens should outlive it: it would keep the namespace alive.
pub(super) fn inside_each<T: Send>(
    all: &[NetNamespace],
    work: impl Fn(&NetNamespace) -> Option<T> + Send,
) -> (Vec<T>, Duration) {
    if all.is_empty() {
        return (Vec::new(), Duration::ZERO);
    }
    let enter_each = move || {
        let timer = CpuTimer::start();
        let enter = |namespace: &NetNamespace| {
            let file = File::open(&namespace.path).ok()?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
            work(namespace)
        };
        let done = all.iter().filter_map(enter).collect();
        (done, timer.used())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let thread = thread.spawn_scoped(scope, enter_each).ok();
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::InNetns;
    use super::*;

    #[test]
    fn ours_is_found_by_number() {
        let own = own_inum().unwrap();
        let link = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(link, PathBuf::from(format!("net:[{own}]")));
        let all = list().unwrap();
        assert!(all.found.iter().any(|namespace| namespace.inum == own));
        assert!(all.found.is_sorted_by_key(|namespace| namespace.inum));
    }

    #[test]
    fn a_fresh_one_is_found_and_entered() {
        let Some(other) = InNetns::start() else {
            return;
        };
        let path = PathBuf::from(other.path());
        let inum = inum_of(&path).unwrap();
        assert_ne!(inum, own_inum().unwrap());
        let all = list().unwrap();
        let found = all.found.iter().find(|found| found.inum == inum).unwrap();
        assert_eq!(found.path, path);
        assert_eq!((found.pid, &found.name), (Some(other.pid()), &None));

        let seen = inside(&path, || Ok(inum_of(Path::new("/proc/thread-self/ns/net"))?));
        assert_eq!(seen.unwrap(), inum);
        // We have not moved.
        assert_ne!(inum_of(Path::new("/proc/thread-self/ns/net")).unwrap(), inum);
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        let error = inum_of(Path::new("/proc/self/stat")).unwrap_err();
        assert!(error.to_string().contains("is not a namespace"), "{error}");
        assert!(inum_of(Path::new("/nowhere")).is_err());
        let error = inside(Path::new("/proc/self/stat"), || Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("/proc/self/stat"), "{error:#}");
    }
}
