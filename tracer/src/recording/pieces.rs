//! The files of one trace: `FILE` is the newest, `FILE.1` the one before it, and so on. Finding
//! those that belong together, and telling what is no trace.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;

use super::frame::{FILE_HEADER, FileHeader, MAGIC, MAJOR};
use super::walk::{self, Piece};
use crate::error::{Failure, Kind};

/// Most pieces read as one: each is an open file.
const MOST_PIECES: usize = 256;

/// The name of an older piece.
pub(super) fn older(path: &Path, age: u32) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

/// The ages of the older pieces' names that are there, ascending, whatever the files are.
pub(super) fn ages(path: &Path) -> io::Result<Vec<u32>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let mut prefix = name.to_owned();
    prefix.push(".");
    let mut ages = Vec::new();
    for entry in std::fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        let age = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let age = age.and_then(|age| std::str::from_utf8(age).ok());
        // Only as the writer spells it: no sign, no leading zero.
        let age = age.filter(|age| age.starts_with(|first: char| matches!(first, '1'..='9')));
        ages.extend(age.and_then(|age| age.parse::<u32>().ok()));
    }
    ages.sort_unstable();
    ages.dedup();
    Ok(ages)
}

/// The folder a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether two descriptions are of the same file.
pub(super) fn same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether somebody writes to the file: the writer holds a lock on it.
pub(super) fn is_written(file: &File) -> bool {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
            false
        }
        Err(errno) => errno == rustix::io::Errno::WOULDBLOCK,
    }
}

/// A file of a trace and which.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) piece: Piece,
    pub(super) trace: u64,
    /// Whether it is the first of the trace.
    pub(super) is_first: bool,
    /// The number of its first frame: orders the pieces.
    pub(super) sequence: u32,
    pub(super) metadata: Metadata,
    /// Whether the file's own header is damaged.
    pub(super) headless: bool,
}

/// Opens one file and finds out whether it is a trace.
pub(super) fn open(path: &Path) -> Result<Found> {
    let shown = path.display();
    // Not blocking: a fifo would wait for somebody to write.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| cannot_open(path, error))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {shown}"))?;
    if metadata.is_dir() {
        return Err(refuse(format!("{shown} is a folder, not a trace"), format!("ls {shown}")));
    }
    if !metadata.is_file() {
        return Err(refuse(
            format!("{shown} is not a regular file: a trace is read back and forth"),
            format!("cp -n {shown} incident.sockflow"),
        ));
    }
    let len = metadata.len();
    if len == 0 {
        return Err(refuse(
            format!("{shown} is empty: nothing was recorded"),
            format!("ls -l {shown}*"),
        ));
    }
    let mut bytes = [0; FILE_HEADER];
    let cannot_read = || format!("cannot read {shown}");
    let got = walk::read_some(&file, &mut bytes, 0).with_context(cannot_read)?;
    let header = FileHeader::decode(&bytes);
    if let Some(header) = header.filter(|header| header.major != MAJOR) {
        return Err(refuse(
            format!(
                "{shown} has format {}.{}; this sockflow reads {MAJOR}.x",
                header.major, header.minor
            ),
            "replay it with the version of sockflow that recorded it, or a later one".to_owned(),
        ));
    }
    let start = header.map_or(0, |header| u64::from(header.length));
    let first = match walk::header_at(&file, start, len).with_context(cannot_read)? {
        Some(first) => Some((start, first)),
        None => walk::find(&file, start, len)
            .with_context(cannot_read)?
            .and_then(|found| Some((found, walk::header_at(&file, found, len).ok().flatten()?))),
    };
    let Some((_, first)) = first else { return Err(no_frames(path, &bytes[..got], header)) };
    Ok(Found {
        trace: header.map_or(first.trace, |header| header.trace),
        is_first: header.map_or(first.sequence == 0, |header| header.piece == 0),
        sequence: first.sequence,
        metadata,
        headless: header.is_none(),
        piece: Piece { file: Some(file), path: path.to_owned(), start, len },
    })
}

/// The pieces of a trace that lie beside its newest and that `wanted` takes, oldest first. What
/// is no trace or another's is passed over.
pub(super) fn siblings(
    path: &Path,
    trace: u64,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Vec<Found>> {
    let ages = ages(path).with_context(|| format!("cannot read {}", folder(path).display()))?;
    let mut found: Vec<Found> = ages
        .into_iter()
        .take(MOST_PIECES - 1)
        .filter_map(|age| open(&older(path, age)).ok())
        .filter(|piece| piece.trace == trace && wanted(piece))
        .collect();
    found.sort_by_key(|piece| piece.sequence);
    found.dedup_by_key(|piece| piece.sequence);
    Ok(found)
}

fn refuse(what: String, hint: String) -> anyhow::Error {
    Failure { kind: Kind::Failed, what, hint: Some(hint) }.into()
}

fn cannot_open(path: &Path, error: io::Error) -> anyhow::Error {
    let shown = path.display();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            let older = older(path, 1);
            if older.exists() {
                format!("an older piece of it is there: sockflow replay {}", older.display())
            } else if folder(path).is_dir() {
                let traces = folder(path).join("*.sockflow");
                format!("see which traces are there: ls -t {}", traces.display())
            } else {
                format!("ls -ld {}", folder(path).display())
            }
        }
        io::ErrorKind::PermissionDenied => {
            format!("a trace is readable by who recorded it only: sudo sockflow replay {shown}")
        }
        _ => format!("ls -l {shown}"),
    };
    anyhow::Error::new(error).context(Failure {
        kind: Kind::Failed,
        what: format!("cannot open {shown}"),
        hint: Some(hint),
    })
}

/// Why a file without a single frame is not a trace.
fn no_frames(path: &Path, begin: &[u8], header: Option<FileHeader>) -> anyhow::Error {
    let shown = path.display();
    if header.is_some() || MAGIC.starts_with(&begin[..begin.len().min(MAGIC.len())]) {
        return refuse(
            format!("{shown} ends before its first frame: nothing was recorded"),
            format!("ls -l {shown}*"),
        );
    }
    if begin.starts_with(&MAGIC[..4]) {
        return refuse(
            format!("{shown} was a trace, but a transfer in text mode has changed it"),
            "transfer it again in binary mode".to_owned(),
        );
    }
    refuse(
        format!("{shown} is not a trace"),
        "record one: sudo sockflow record -o incident.sockflow".to_owned(),
    )
}
