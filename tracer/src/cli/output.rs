//! Where a command writes a document: stdout, or a file that is whole or not there.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::signals;
use crate::error::{Failure, Kind};
use crate::place::{self, There, folder};
use crate::stdio;

/// Between two looks whether a FIFO has a reader.
const READER_PAUSE: Duration = Duration::from_millis(20);

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
    /// that nobody waits for what must fail. `example` is a file's name for a hint.
    ///
    /// # Errors
    ///
    /// It is there already, or is a folder, or its folder is not there.
    pub(super) fn new(path: Option<&Path>, force: bool, example: &str) -> Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Stdout);
        };
        match place::there(path, force, example)? {
            There::File if !force => return Err(is_there(path)),
            There::Nothing if !folder(path).is_dir() => {
                return Err(cannot_create(path, Errno::NOENT.into()));
            }
            There::Nothing | There::File | There::Stream => {}
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

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// It cannot be written; then nothing of it is left.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        // A signal is not asked after: what is there is whole in a moment, and a second one ends us.
        let open = self.open()?;
        let mut stream = open.stream()?;
        let written = stream.write_all(bytes).and_then(|()| stream.flush());
        written.map_err(|error| open.cannot_write(error))?;
        open.commit().map(|_| ())
    }

    /// Begins to write. A file gets its name when it is whole and on the disk, by [`Open::commit`];
    /// before, it has another one beside it, and the first SIGINT, SIGTERM or SIGHUP ends nothing
    /// but is told by [`Open::is_stopped`], so that it can be taken away.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or not be made.
    pub(super) fn open(&self) -> Result<Open<'_>> {
        let Self::File { path, force } = self else {
            return Ok(Open { place: Place::Stdout, bytes: Arc::default() });
        };
        let place = if matches!(place::there(path, *force, "report.html")?, There::Stream) {
            // Nothing was written yet: a signal ends us as it ends anybody.
            let file = loop {
                match place::open_stream(path).map_err(|error| cannot_stream(path, error))? {
                    Some(file) => break file,
                    None => std::thread::sleep(READER_PAUSE),
                }
            };
            Place::Stream { file, path }
        } else {
            let target = path.clone();
            // Before there is anything that a signal could leave behind.
            let stop = Arc::default();
            signals::stop_first(&stop, &[SIGINT, SIGTERM, SIGHUP])
                .context("cannot handle signals")?;
            let temporary = Temporary::beside(&target)?;
            Place::Temporary { temporary, target, path, force: *force, stop }
        };
        Ok(Open { place, bytes: Arc::default() })
    }
}

/// An output that is being written. What is not committed is taken away again.
pub(super) struct Open<'a> {
    place: Place<'a>,
    /// Bytes written.
    bytes: Arc<AtomicU64>,
}

enum Place<'a> {
    Stdout,
    /// A fifo or a device: it has its name already.
    Stream {
        path: &'a Path,
        file: File,
    },
    Temporary {
        temporary: Temporary,
        target: PathBuf,
        /// As typed.
        path: &'a Path,
        force: bool,
        stop: Arc<AtomicBool>,
    },
}

impl Open<'_> {
    /// Whether a signal asks to take away what is there. Never, where nothing would be left behind:
    /// a signal ends us then as it ends anybody, and who reads has what was written.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(&self.place, Place::Temporary { stop, .. } if stop.load(Ordering::Relaxed))
    }

    /// Takes the bytes; they are not buffered.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub(super) fn stream(&self) -> Result<Stream> {
        let out: Box<dyn Write + Send> = match &self.place {
            Place::Stdout => Box::new(stdio::out()),
            Place::Stream { file, .. }
            | Place::Temporary { temporary: Temporary { file, .. }, .. } => {
                Box::new(file.try_clone().context("cannot open the output again")?)
            }
        };
        Ok(Stream { out, bytes: Arc::clone(&self.bytes) })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// An error of writing, with what it concerns.
    pub(super) fn cannot_write(&self, error: io::Error) -> anyhow::Error {
        match &self.place {
            Place::Stdout => anyhow::Error::new(error).context("cannot write to stdout"),
            Place::Stream { path, .. } => cannot_stream(path, error),
            Place::Temporary { path, .. } => cannot_write(path, error),
        }
    }

    /// Brings it to the disk and gives it its name; where it is and how long, if it is a file.
    ///
    /// # Errors
    ///
    /// The disk has no room after all, or somebody else has taken the name.
    pub(super) fn commit(self) -> Result<Option<(PathBuf, u64)>> {
        let bytes = self.bytes();
        let Place::Temporary { temporary, target, path, force, .. } = self.place else {
            return Ok(None);
        };
        let committed = temporary.file.sync_all().and_then(|()| temporary.rename(&target, force));
        committed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => is_there(path),
            _ => cannot_write(path, error),
        })?;
        // The name must survive a crash as well as the content; not every file system can say so.
        let _ = File::open(folder(&target)).and_then(|folder| folder.sync_all());
        Ok(Some((path.to_owned(), bytes)))
    }
}

/// Counts what goes through.
pub(super) struct Stream {
    out: Box<dyn Write + Send>,
    bytes: Arc<AtomicU64>,
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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
    failed(format!("cannot create {}", path.display()), place::hint(path, &error), error)
}

fn cannot_stream(path: &Path, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "name another file after -o".to_owned(),
        _ => place::hint(path, &error),
    };
    failed(format!("cannot write {}", path.display()), hint, error)
}

fn cannot_write(path: &Path, error: io::Error) -> anyhow::Error {
    let what = format!("cannot write {}; nothing of it is left", path.display());
    failed(what, place::hint(path, &error), error)
}
