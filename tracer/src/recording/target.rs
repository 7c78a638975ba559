//! The file that is written: making it, locking it, moving it out of the way.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::frame::{FILE_HEADER, FileHeader};
use super::pieces::{folder, older, same};
use super::writer::Options;
use crate::error::{Failure, Kind};
use crate::place::{self, There};

/// Older pieces kept under a limit: with the newest, eight, so that dropping one drops an eighth.
pub(super) const MOST_OLDER: u32 = 7;

/// What is opened is no link, and no FIFO that somebody put there just now.
const NO_LINK: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// A reader that looks whether a file is written holds the lock for a moment.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The file that is written.
#[derive(Debug)]
pub(super) struct Target {
    file: File,
    pub(super) path: PathBuf,
    /// Bytes written; all of them whole frames.
    pub(super) bytes: u64,
    /// Whether it can be cut, synced and moved: not so `/dev/null` or a fifo.
    pub(super) is_regular: bool,
}

/// Where our file is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Where we made it.
    There,
    /// It has another name now, and ours is free.
    Moved,
    /// It was deleted.
    Deleted,
    /// It was deleted, and no other can be made: its folder is gone too, or its name is taken.
    Homeless,
    /// It has another name now, and somebody else's file has ours.
    Usurped,
}

impl Target {
    /// What is open already, and keeps nothing.
    pub(super) fn stream(file: File, path: &Path) -> Self {
        Self { file, path: path.to_owned(), bytes: 0, is_regular: false }
    }

    /// Makes the first file of a recording.
    pub(super) fn create(options: &Options) -> Result<Self> {
        let Options { path, force, max_bytes, .. } = options;
        let limited = max_bytes.is_some();
        match place::there(path, *force, "incident.sockflow")? {
            There::Nothing => {
                Self::refuse_older(path, *force, limited)?;
                return Self::create_new(path);
            }
            There::Stream => {
                let file = place::open_stream(path).map_err(|error| cannot_create(path, error))?;
                let file = file.ok_or_else(|| no_reader(path))?;
                return Ok(Self::stream(file, path));
            }
            There::File => {}
        }
        let shown = path.display();
        // Its lock is held until the new file has one: two that replace it cannot both go on.
        let old = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path);
        let old = old.with_context(|| format!("cannot open {shown}"))?;
        lock(&old, path)?;
        // What a run left that could not begin, or what `mktemp` made, is nothing to lose.
        if is_ours_and_empty(&old) {
            Self::refuse_older(path, *force, limited)?;
            drop(old);
            return Self::create_new(path);
        }
        if !force {
            return Err(usage(
                format!("{shown} is there already"),
                format!("name another file, or replace it: --force -o {shown}"),
            ));
        }
        Self::refuse_older(path, *force, limited)?;
        std::fs::remove_file(path).with_context(|| format!("cannot replace {shown}"))?;
        Self::create_new(path)
    }

    /// Makes a new file at a path that must be free, or hold an empty file nobody writes to.
    pub(super) fn create_new(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let file = options.clone().create_new(true).open(path).or_else(|error| {
            // logrotate's `create` leaves an empty file in our place.
            if error.kind() == io::ErrorKind::AlreadyExists
                && let Ok(there) = options.clone().custom_flags(NO_LINK).open(path)
                && is_ours_and_empty(&there)
            {
                return Ok(there);
            }
            Err(error)
        });
        let file = file.map_err(|error| cannot_create(path, error))?;
        lock(&file, path)?;
        // The name must survive a crash as well as the content; not every file system can say so.
        let _ = File::open(folder(path)).and_then(|folder| folder.sync_all());
        Ok(Self { file, path: path.to_owned(), bytes: 0, is_regular: true })
    }

    /// Takes the file away again: nothing worth keeping was recorded.
    pub(super) fn discard(&self) {
        if self.is_regular && matches!(self.whereabouts(), Ok(Whereabouts::There)) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Under a limit the older pieces' names are ours to drop: nobody else's files may have them.
    fn refuse_older(path: &Path, force: bool, limited: bool) -> Result<()> {
        if !limited {
            return Ok(());
        }
        for age in 1..=MOST_OLDER {
            let older = older(path, age);
            if older.symlink_metadata().is_err() {
                continue;
            }
            if !force {
                return Err(usage(
                    format!("{} is there already", older.display()),
                    format!("name another file, or replace them: --force -o {}", path.display()),
                ));
            }
            let mut bytes = [0; FILE_HEADER];
            let is_trace = File::open(&older)
                .and_then(|file| file.read_exact_at(&mut bytes, 0))
                .is_ok_and(|()| FileHeader::decode(&bytes).is_some());
            if !is_trace {
                return Err(usage(
                    format!("{} is in the way and is not a trace", older.display()),
                    format!("mv -n {0} {0}.kept", older.display()),
                ));
            }
            std::fs::remove_file(&older)
                .with_context(|| format!("cannot replace {}", older.display()))?;
        }
        Ok(())
    }

    /// Appends whole frames; cut back to what was there if not all of them could be written.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_regular {
            self.file.write_all(bytes)?;
        } else if let Err(error) = self.file.write_all_at(bytes, self.bytes) {
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fdatasync(&self.file) {
            // What is no disk cannot be synced.
            Err(Errno::INVAL | Errno::ROFS | Errno::NOTSUP) if !self.is_regular => Ok(()),
            result => result.map_err(io::Error::from),
        }
    }

    /// Where our file is now.
    pub(super) fn whereabouts(&self) -> io::Result<Whereabouts> {
        if !self.is_regular {
            return Ok(Whereabouts::There);
        }
        let ours = self.file.metadata()?;
        let is_linked = ours.nlink() > 0;
        // An empty file is no obstacle, see `create_new`.
        let is_free = match self.path.symlink_metadata() {
            Ok(there) if same(&there, &ours) => return Ok(Whereabouts::There),
            Ok(there) => there.is_file() && there.len() == 0,
            Err(_) => is_linked || folder(&self.path).is_dir(),
        };
        Ok(match (is_linked, is_free) {
            (true, true) => Whereabouts::Moved,
            (true, false) => Whereabouts::Usurped,
            (false, true) => Whereabouts::Deleted,
            (false, false) => Whereabouts::Homeless,
        })
    }

    /// Copies it to the folder for temporary files, when its own is gone; where to.
    pub(super) fn rescue(&self, trace: u64) -> Result<PathBuf> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let path = std::env::temp_dir().join(format!("{name}.{trace:016x}"));
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let mut from = self.file.try_clone().context("cannot read what was recorded")?;
        io::Seek::rewind(&mut from).context("cannot read what was recorded")?;
        io::copy(&mut from, &mut copy)
            .and_then(|_| copy.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Moves the file and its `count` older pieces up by one; those somebody took away are no matter.
pub(super) fn shift(path: &Path, count: u32) -> io::Result<()> {
    for age in (0..=count).rev() {
        let from = if age == 0 { path.to_owned() } else { older(path, age) };
        match std::fs::rename(from, older(path, age + 1)) {
            Err(error) if age > 0 && error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Whether there is no room on the disk, or for us.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn usage(what: String, hint: String) -> anyhow::Error {
    Failure::usage(what).hint(hint).into()
}

fn lock(file: &File, path: &Path) -> Result<()> {
    let shown = path.display();
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            // Some network file systems have no locks; then there is none to respect.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => return Ok(()),
            Err(errno) => {
                return Err(io::Error::from(errno)).with_context(|| format!("cannot lock {shown}"));
            }
        }
    }
    Err(usage(
        format!("another sockflow writes to {shown}"),
        format!("name another file, or find it: fuser -v {shown}"),
    ))
}

/// Whether nothing is in it and nobody else can have put it there.
fn is_ours_and_empty(file: &File) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    file.metadata()
        .is_ok_and(|it| it.is_file() && it.len() == 0 && it.nlink() == 1 && it.uid() == ours)
}

fn no_reader(path: &Path) -> anyhow::Error {
    let shown = path.display();
    Failure::failed(format!("nobody reads from {shown}"))
        .hint(format!("start its reader first: zstd <{shown} >incident.zst"))
        .into()
}

fn cannot_create(path: &Path, error: io::Error) -> anyhow::Error {
    let shown = path.display();
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("name another file, or: mv -n {shown} {shown}.kept")
        }
        _ => place::hint(path, &error),
    };
    let kind = Kind::Failed;
    let what = format!("cannot create {shown}");
    anyhow::Error::new(error).context(Failure { kind, what, hint: Some(hint) })
}
