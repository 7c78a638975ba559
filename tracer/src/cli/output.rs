//! Where a command writes a whole document: stdout, or a file that is whole or not there.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{Failure, Kind};

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// stdout.
    Stdout,
    /// A file; it is replaced where `force` says so.
    File {
        /// Its name as typed.
        path: PathBuf,
        /// Whether it may replace another.
        force: bool,
    },
}

impl Output {
    /// What `-o` says: nothing and `-` are stdout. Looks early whether the file can be written, so
    /// that nobody waits for what must fail.
    ///
    /// # Errors
    ///
    /// It is there already, or is a folder, or its folder is not there.
    pub(super) fn new(path: Option<&Path>, force: bool) -> Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Stdout);
        };
        let shown = path.display();
        match path.metadata() {
            Ok(there) if there.is_dir() => {
                return Err(Failure::usage(format!("{shown} is a folder"))
                    .hint(format!("name a file in it: -o {}", path.join("report.html").display()))
                    .into());
            }
            Ok(there) if there.is_file() && !force => return Err(is_there(path)),
            Ok(_) => {}
            Err(_) if path.symlink_metadata().is_ok() => {
                return Err(Failure::usage(format!("{shown} is a link to nothing"))
                    .hint(format!("name another file, or: rm {shown}"))
                    .into());
            }
            Err(_) => {
                let folder = folder(path);
                if !folder.is_dir() {
                    return Err(cannot_create(path, Errno::NOENT.into()));
                }
            }
        }
        Ok(Self::File { path: path.to_owned(), force })
    }

    /// Refuses to replace what is read.
    ///
    /// # Errors
    ///
    /// It is one of those files.
    pub(super) fn is_not_among<'a>(&self, inputs: impl Iterator<Item = &'a Path>) -> Result<()> {
        let Self::File { path, .. } = self else { return Ok(()) };
        let Ok(there) = path.metadata() else { return Ok(()) };
        let same = |it: &Metadata| (it.dev(), it.ino()) == (there.dev(), there.ino());
        for input in inputs {
            if input.metadata().is_ok_and(|input| same(&input)) {
                return Err(Failure::usage(format!("{} is what is read", path.display()))
                    .hint("name another file after -o")
                    .into());
            }
        }
        Ok(())
    }

    /// Writes all of it. A file gets its name when it is whole and on the disk; before, it has
    /// another one beside it.
    ///
    /// # Errors
    ///
    /// It cannot be written; then nothing of it is left.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        let Self::File { path, force } = self else {
            let mut out = io::stdout().lock();
            return out
                .write_all(bytes)
                .and_then(|()| out.flush())
                .context("cannot write to stdout");
        };
        let kind = path.metadata().ok().map(|there| there.file_type());
        if kind.is_some_and(|it| it.is_char_device() || it.is_fifo() || it.is_socket()) {
            let shown = path.display();
            let file = OpenOptions::new().write(true).open(path);
            let written = file.and_then(|mut file| file.write_all(bytes));
            return written.map_err(|error| {
                let hint = "name another file after -o".to_owned();
                failed(format!("cannot write {shown}"), hint, error)
            });
        }
        // Through a link, what it points to is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.clone());
        let temporary = Temporary::beside(&target)?;
        temporary.fill(bytes).map_err(|error| cannot_write(path, error))?;
        temporary.rename(&target, *force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => is_there(path),
            _ => cannot_write(path, error),
        })
    }
}

/// A file on its way; gone unless it got its name.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    fn beside(target: &Path) -> Result<Self> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let path = folder(target).join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            // As the trace: addresses of peers are nobody else's business.
            .mode(0o600)
            .open(&path)
            .map_err(|error| cannot_create(target, error))?;
        Ok(Self { path, file, renamed: false })
    }

    fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)?;
        self.file.sync_all()
    }

    fn rename(mut self, target: &Path, force: bool) -> io::Result<()> {
        let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(CWD, &self.path, CWD, target, flags) {
            // Not every file system can refuse; a link can be made only where there is nothing.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::hard_link(&self.path, target)?;
                return Ok(());
            }
            result => result?,
        }
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_there(path: &Path) -> anyhow::Error {
    let shown = path.display();
    Failure::usage(format!("{shown} is there already"))
        .hint(format!("name another file, or replace it: --force -o {shown}"))
        .into()
}

fn failed(what: String, hint: String, error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(Failure { kind: Kind::Failed, what, hint: Some(hint) })
}

fn cannot_create(path: &Path, error: io::Error) -> anyhow::Error {
    let folder = folder(path).display();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => format!("mkdir -p {folder}"),
        io::ErrorKind::PermissionDenied => format!("ls -ld {folder}"),
        _ => format!("df -h {folder}"),
    };
    failed(format!("cannot create {}", path.display()), hint, error)
}

fn cannot_write(path: &Path, error: io::Error) -> anyhow::Error {
    let hint = format!("df -h {}", folder(path).display());
    failed(format!("cannot write {}; nothing of it is left", path.display()), hint, error)
}
