//! What a name given after `-o` stands for, before anything is written there, and what helps where
//! the disk refuses.
//!
//! A folder that everybody may write to (`/tmp`) can hold what others planted: a link to a file of
//! ours, or a FIFO of theirs under the name we are about to write.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Result;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Failure;

/// What is there.
#[derive(Debug)]
pub enum There {
    /// Nothing: the name is free.
    Nothing,
    /// A regular file.
    File,
    /// A FIFO or a device, which takes bytes and keeps none.
    Stream,
}

/// What is at `path`. `example` is a file's name for a hint.
///
/// # Errors
///
/// What is there cannot be written to, or is a link to a file (a file is named by its own name), or,
/// without `force`, may have been planted there.
pub fn there(path: &Path, force: bool, example: &str) -> Result<There> {
    let shown = path.display();
    let Ok(named) = path.symlink_metadata() else { return Ok(There::Nothing) };
    let Ok(there) = path.metadata() else {
        return Err(usage(
            format!("{shown} is a link to nothing"),
            format!("name another file, or see where it leads: ls -l {shown}"),
        ));
    };
    let kind = there.file_type();
    if kind.is_dir() {
        let inside = path.join(example);
        let hint = format!("name a file in it: -o {}", inside.display());
        return Err(usage(format!("{shown} is a folder"), hint));
    }
    if kind.is_file() {
        if named.is_symlink() {
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            return Err(usage(
                format!("{shown} is a link, and what it leads to would be replaced"),
                format!("name the file itself: -o {}", real.display()),
            ));
        }
        return Ok(There::File);
    }
    if !kind.is_fifo() && !kind.is_char_device() {
        return Err(usage(
            format!("{shown} is no file that can be written"),
            format!("name another: -o {example}"),
        ));
    }
    if !force && (may_be_planted(path, &named) || (kind.is_fifo() && may_be_planted(path, &there)))
    {
        return Err(usage(
            format!("{shown} is somebody else's, in a folder where anybody can put one"),
            format!("name another file, or write to it all the same: --force -o {shown}"),
        ));
    }
    Ok(There::Stream)
}

/// Whether another user may have put `what` into the folder of `path`: as the kernel has it for
/// files that are created there (fs.protected_fifos).
fn may_be_planted(path: &Path, what: &Metadata) -> bool {
    const STICKY: u32 = 0o1000;
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let Ok(folder) = folder(path).metadata() else { return true };
    let anybody = folder.mode() & STICKY != 0 && folder.mode() & WRITABLE_BY_OTHERS != 0;
    let ours = rustix::process::geteuid().as_raw();
    anybody && what.uid() != ours && what.uid() != folder.uid()
}

/// Opens a FIFO or a device; `None` while a FIFO has no reader. Never waits.
///
/// # Errors
///
/// It cannot be opened, or is something else by now.
pub fn open_stream(path: &Path) -> io::Result<Option<File>> {
    // Without the flag, opening a FIFO waits for a reader, and signals do not end that.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Ok(None),
        opened => opened?,
    };
    let kind = file.metadata()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is another file by now"));
    }
    // A slow reader is waited for.
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(Some(file))
}

/// The folder that `path` is in.
#[must_use]
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The command that shows why a file at `path` cannot be made or written.
#[must_use]
pub fn hint(path: &Path, error: &io::Error) -> String {
    let place = folder(path).display();
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => format!("mkdir -p {place}"),
        Some(Errno::NOSPC) if has_no_inodes(path) => {
            format!("the disk has room, but no inodes are left: df -i {place}")
        }
        Some(Errno::NOSPC) => format!("df -h {place}"),
        Some(Errno::DQUOT) => "your quota is used up: quota -s".to_owned(),
        Some(Errno::FBIG) => "a limit of file sizes: ulimit -f".to_owned(),
        Some(Errno::ROFS) => format!("it is mounted read-only: findmnt -T {place}"),
        Some(Errno::IO) => "the disk fails: dmesg | tail".to_owned(),
        Some(Errno::MFILE) => "a limit of open files: ulimit -n".to_owned(),
        Some(Errno::NFILE) => "the host's limit of open files: sysctl fs.file-nr".to_owned(),
        Some(Errno::PIPE) => "its reader has gone: start one that reads to the end".to_owned(),
        _ => format!("ls -ld {place}"),
    }
}

fn has_no_inodes(path: &Path) -> bool {
    // f_files is 0 where a file system has no fixed number of them.
    rustix::fs::statvfs(folder(path)).is_ok_and(|it| it.f_files > 0 && it.f_favail == 0)
}

fn usage(what: String, hint: String) -> anyhow::Error {
    Failure::usage(what).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_about_the_error() {
        let of = |errno: Errno| hint(Path::new("/proc/x"), &io::Error::from(errno));
        assert_eq!(of(Errno::DQUOT), "your quota is used up: quota -s");
        assert_eq!(of(Errno::FBIG), "a limit of file sizes: ulimit -f");
        assert_eq!(of(Errno::ROFS), "it is mounted read-only: findmnt -T /proc");
        assert_eq!(of(Errno::MFILE), "a limit of open files: ulimit -n");
        assert_eq!(of(Errno::ACCESS), "ls -ld /proc");
    }
}
