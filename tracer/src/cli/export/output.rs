//! Where an export goes: a file that has its name only when it is whole, or a stream.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::Format;
use crate::error::{Failure, Kind};
use crate::recording::Trace;

/// Where an export goes. What is not committed is taken away again.
pub(super) struct Output {
    place: Place,
    /// Bytes written.
    bytes: Arc<AtomicU64>,
}

enum Place {
    Stdout,
    /// A fifo or a device: it has its name already.
    Stream {
        path: PathBuf,
        file: File,
    },
    Temporary {
        path: PathBuf,
        file: File,
        target: PathBuf,
        force: bool,
        is_done: bool,
    },
}

impl Output {
    /// Makes what will be written to.
    ///
    /// # Errors
    ///
    /// It is there already, must not be overwritten, or cannot be made.
    pub(super) fn create(
        path: Option<&Path>,
        format: Format,
        force: bool,
        trace: &Trace,
    ) -> Result<Self> {
        let place = match path.filter(|path| *path != Path::new("-")) {
            Some(path) => Place::at(path, force, trace)?,
            None if format == Format::Parquet && io::stdout().is_terminal() => {
                return Err(Failure::usage("a Parquet file is nothing for a terminal")
                    .hint("name a file: -o incident.parquet")
                    .into());
            }
            None => Place::Stdout,
        };
        Ok(Self { place, bytes: Arc::default() })
    }

    /// Whether something is left behind if nobody takes it away.
    pub(super) const fn is_temporary(&self) -> bool {
        matches!(self.place, Place::Temporary { .. })
    }

    /// Takes bytes.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub(super) fn writer(&self) -> Result<Tap> {
        let out: Box<dyn Write + Send> = match &self.place {
            Place::Stdout => Box::new(io::stdout()),
            Place::Stream { file, .. } | Place::Temporary { file, .. } => {
                Box::new(file.try_clone().context("cannot open it again")?)
            }
        };
        Ok(Tap { out, bytes: Arc::clone(&self.bytes) })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// An error of writing, with what it concerns; others stay as they are.
    pub(super) fn cannot_write(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(cause) = error.downcast_ref::<io::Error>() else { return error };
        let (shown, folder) = match &self.place {
            Place::Stdout => ("to stdout".to_owned(), None),
            Place::Stream { path, .. } => (path.display().to_string(), None),
            Place::Temporary { target, .. } => {
                (target.display().to_string(), Some(folder(target).display().to_string()))
            }
        };
        let is_full = matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let hint = folder.map(|folder| {
            if is_full {
                format!("nothing of it is left; make room: df -h {folder}")
            } else {
                format!("ls -ld {folder}")
            }
        });
        error.context(Failure { kind: Kind::Failed, what: format!("cannot write {shown}"), hint })
    }

    /// Brings it to the disk and gives it its name; where it is and how long, if it is a file.
    ///
    /// # Errors
    ///
    /// The disk has no room after all, or somebody else has taken the name.
    pub(super) fn commit(mut self) -> Result<Option<(PathBuf, u64)>> {
        let synced = match &self.place {
            Place::Temporary { file, .. } => file.sync_all(),
            Place::Stdout | Place::Stream { .. } => return Ok(None),
        };
        synced.map_err(|error| self.cannot_write(error.into()))?;
        let Place::Temporary { path, target, force, is_done, .. } = &mut self.place else {
            return Ok(None);
        };
        if *force {
            fs::rename(&*path, &*target)
                .with_context(|| format!("cannot replace {}", target.display()))?;
        } else {
            give_name(path, target)?;
        }
        *is_done = true;
        // The name must survive a crash as well as the content; not every file system can say so.
        let _ = File::open(folder(target)).and_then(|folder| folder.sync_all());
        let target = std::mem::take(target);
        Ok(Some((target, self.bytes.load(Ordering::Relaxed))))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Place::Temporary { path, is_done: false, .. } = &self.place {
            let _ = fs::remove_file(path);
        }
    }
}

impl Place {
    fn at(path: &Path, force: bool, trace: &Trace) -> Result<Self> {
        let shown = path.display();
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(_) if path.symlink_metadata().is_ok() => {
                return Err(usage(
                    format!("{shown} is a link to nothing"),
                    format!("name another file, or: rm {shown}"),
                ));
            }
            Err(_) => return Self::temporary(path.to_owned(), force),
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            let inside = path.join("incident.parquet");
            return Err(usage(
                format!("{shown} is a folder"),
                format!("name a file: -o {}", inside.display()),
            ));
        }
        if kind.is_char_device() || kind.is_fifo() {
            let file = OpenOptions::new().write(true).open(path);
            let file = file.with_context(|| format!("cannot open {shown}"))?;
            return Ok(Self::Stream { path: path.to_owned(), file });
        }
        if !kind.is_file() {
            return Err(usage(
                format!("{shown} is no file that can be written to"),
                "name another: -o incident.parquet".to_owned(),
            ));
        }
        if trace.has_piece(&metadata) {
            return Err(usage(
                format!("{shown} is the trace itself"),
                "name another file: -o incident.parquet".to_owned(),
            ));
        }
        if !force {
            return Err(usage(
                format!("{shown} is there already"),
                format!("name another file, or replace it: --force -o {shown}"),
            ));
        }
        // A link stays one.
        let target = path.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        Self::temporary(target, force)
    }

    /// Beside the target, so that giving it its name moves no bytes.
    fn temporary(target: PathBuf, force: bool) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(usage(
                format!("{} names no file", target.display()),
                "name a file: -o incident.parquet".to_owned(),
            ));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(hidden);
        // As the trace: addresses of peers are nobody else's business.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| cannot_create(&target, error))?;
        Ok(Self::Temporary { path, file, target, force, is_done: false })
    }
}

/// Renames without replacing, also where the file system cannot.
fn give_name(path: &Path, target: &Path) -> Result<()> {
    let renamed = match rustix::fs::renameat_with(CWD, path, CWD, target, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) if target.symlink_metadata().is_err() => {
            fs::rename(path, target)
        }
        Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST.into()),
        result => result.map_err(io::Error::from),
    };
    renamed.map_err(|error| {
        let shown = target.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            usage(
                format!("{shown} was made by somebody else in the meantime"),
                format!("name another file, or replace it: --force -o {shown}"),
            )
        } else {
            anyhow::Error::new(error).context(format!("cannot name it {shown}"))
        }
    })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn usage(what: String, hint: String) -> anyhow::Error {
    Failure::usage(what).hint(hint).into()
}

fn cannot_create(target: &Path, error: io::Error) -> anyhow::Error {
    let place = folder(target).display();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => format!("mkdir -p {place}"),
        io::ErrorKind::PermissionDenied => format!("ls -ld {place}"),
        _ => format!("df -h {place}"),
    };
    let what = format!("cannot create {}", target.display());
    anyhow::Error::new(error).context(Failure { kind: Kind::Failed, what, hint: Some(hint) })
}

/// Counts what goes through.
pub(super) struct Tap {
    out: Box<dyn Write + Send>,
    bytes: Arc<AtomicU64>,
}

impl Write for Tap {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
