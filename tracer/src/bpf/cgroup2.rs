//! The root of cgroup2: programs that are attached there see the whole host.
//!
//! What is mounted need not be it. In a cgroup namespace (most containers) a mount begins at the
//! namespace's own cgroup, a mount can be bound from further below, and where `/sys` was mounted anew
//! (`ip netns exec`) or the host uses cgroup1 alone nothing is mounted. So the root is told by its
//! number, and where no mount has it, one is made that has no place in the file system and goes with
//! its descriptor.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The number of the hierarchy's root: the first that kernfs gives. A cgroup namespace's root keeps
/// the number it has outside.
const ROOT: u64 = 1;

/// Mounts that are looked at.
const MOST_MOUNTS: usize = 64;

/// A folder of cgroup2.
#[derive(Debug)]
pub struct Cgroup2 {
    folder: OwnedFd,
    /// Where it is mounted; `None` for a mount of our own.
    mounted: Option<PathBuf>,
    is_root: bool,
}

impl Cgroup2 {
    /// The root of the hierarchy, or what there is instead; `None` where this kernel or this process
    /// has none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mut part = None;
        for path in parse(&mounts).take(MOST_MOUNTS) {
            let Some(found) = Self::at(path) else { continue };
            if found.is_root {
                return Some(found);
            }
            part.get_or_insert(found);
        }
        Self::own().filter(|own| own.is_root).or_else(Self::of_first_process).or(part)
    }

    fn at(path: PathBuf) -> Option<Self> {
        let folder = rustix::fs::open(&path, FOLDER, Mode::empty()).ok()?;
        Self::new(folder, Some(path)).ok()
    }

    fn new(folder: OwnedFd, mounted: Option<PathBuf>) -> io::Result<Self> {
        let is_root = fstat(&folder)?.st_ino == ROOT;
        Ok(Self { folder, mounted, is_root })
    }

    /// A mount of our own. In a cgroup namespace it begins at the namespace's cgroup.
    fn own() -> Option<Self> {
        let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
        fsconfig_create(context.as_fd()).ok()?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).ok()?;
        let folder = openat(mount, ".", FOLDER, Mode::empty()).ok()?;
        Self::new(folder, None).ok()
    }

    /// The same as the host's first process has it, if that is the first process here.
    fn of_first_process() -> Option<Self> {
        let namespace = fs::File::open("/proc/1/ns/cgroup").ok()?;
        // A namespace is a thread's; this one ends with what it came for.
        let inside = move || {
            let kind = Some(LinkNameSpaceType::ControlGroup);
            move_into_link_name_space(namespace.as_fd(), kind).ok()?;
            Self::own()
        };
        let found = std::thread::Builder::new().spawn(inside).ok()?.join().ok()??;
        Some(found).filter(|found| found.is_root)
    }

    /// Whether it is the root of the hierarchy.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.is_root
    }

    /// A path to it, for as long as this lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let by_descriptor = || format!("/proc/self/fd/{}", self.folder.as_raw_fd()).into();
        self.mounted.clone().unwrap_or_else(by_descriptor)
    }

    /// Where it is mounted for everybody.
    #[must_use]
    pub fn mounted(&self) -> Option<&Path> {
        self.mounted.as_deref()
    }
}

impl AsFd for Cgroup2 {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Where cgroup2 is mounted, by the text of `/proc/self/mountinfo`.
fn parse(mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let path = words.nth(4)?;
        // Optional fields end with a hyphen.
        words.find(|word| *word == b"-")?;
        (words.next()? == b"cgroup2").then(|| unescape(path))
    })
}

/// Blanks, tabs, line ends and backslashes stand there in octal: `\040`.
fn unescape(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mounts: &str) -> Vec<PathBuf> {
        parse(mounts.as_bytes()).collect()
    }

    #[test]
    fn it_is_found_alone_and_beside_cgroup1() {
        let alone = "22 1 0:20 / /proc rw - proc proc rw\n\
                     30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(found(alone), [PathBuf::from("/sys/fs/cgroup")]);
        let beside = "32 31 0:29 / /sys/fs/cgroup/cpu rw shared:5 master:1 - cgroup cgroup rw,cpu\n\
                      41 31 0:38 /a /mnt/with\\040blank\\134 rw - cgroup2 none rw\n\
                      42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let expected = [PathBuf::from("/mnt/with blank\\"), "/sys/fs/cgroup/unified".into()];
        assert_eq!(found(beside), expected);
        for nothing in
            ["", "\n", "1 2 3", "1 2 3 / /x rw cgroup2", "1 2 3 / /x rw - tmpfs cgroup2 -"]
        {
            assert!(found(nothing).is_empty(), "{nothing:?}");
        }
        assert_eq!(unescape(b"\\9\\04"), PathBuf::from("\\9\\04"));
    }

    #[test]
    fn the_running_kernels_root_has_its_number() {
        let Some(found) = Cgroup2::find() else {
            eprintln!("skipped: no cgroup2");
            return;
        };
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let is_ours = text.lines().any(|line| line.contains(" / ") && line.contains("- cgroup2 "));
        assert!(found.is_root() || !is_ours, "{found:?}");
        assert!(fs::metadata(found.path()).is_ok());
    }
}
