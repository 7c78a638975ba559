//! Where frames go: how a piece ends, which is dropped, and what is done when there is no room or
//! no file any more.

use anyhow::{Context, Result};

use super::super::Why;
use super::super::frame::{FILE_HEADER, Kind};
use super::super::target::{self, MOST_OLDER, Whereabouts};
use super::{Disk, END_RESERVE, failure_of, pieces};

/// The smallest piece worth going on with on a full disk.
const LEAST_PIECE: u64 = 16 << 10;

impl Disk {
    /// Sees whether the file is still where people will look for it.
    pub(super) fn look_after(&mut self) -> Result<()> {
        let shown = self.target.path.display().to_string();
        match self.target.whereabouts().with_context(|| format!("cannot look at {shown}"))? {
            Whereabouts::There => self.is_moved = false,
            Whereabouts::Deleted => {
                self.note(format!("{shown} was deleted: going on in a new file of that name"));
                self.next_piece(Why::Deleted)?;
            }
            Whereabouts::Homeless => return Err(self.rescue(&shown)),
            Whereabouts::Usurped | Whereabouts::Moved => {
                if !std::mem::replace(&mut self.is_moved, true) {
                    self.note(format!(
                        "{shown} was moved away: recording goes on in it; SIGHUP begins a new one"
                    ));
                }
            }
        }
        Ok(())
    }

    fn rescue(&self, shown: &str) -> anyhow::Error {
        let folder = pieces::folder(&self.target.path).display().to_string();
        let what = if std::path::Path::new(&folder).is_dir() {
            format!("{shown} was deleted, and somebody else's file is there now")
        } else {
            format!("the folder of {shown} is gone")
        };
        match self.target.rescue(self.trace) {
            Ok(copy) => failure(
                what,
                format!("what was recorded last is safe: sockflow replay {}", copy.display()),
            ),
            Err(error) => error.context(failure_of(what, format!("ls -ld {folder}"))),
        }
    }

    /// Ends the piece and begins the next, if there is a file that can be moved.
    pub(super) fn rotate(&mut self, why: Why) -> Result<()> {
        if !self.target.is_regular {
            return Ok(());
        }
        let shown = self.target.path.display().to_string();
        match self.target.whereabouts().with_context(|| format!("cannot look at {shown}"))? {
            Whereabouts::There => {
                self.end(why)?;
                self.sync()?;
                self.shift().with_context(|| format!("cannot move {shown}"))?;
            }
            Whereabouts::Moved => {
                self.end(why)?;
                self.sync()?;
            }
            Whereabouts::Deleted => {}
            Whereabouts::Homeless => return Err(self.rescue(&shown)),
            Whereabouts::Usurped => {
                self.note(format!("somebody else's file is at {shown}: no new piece is begun"));
                return Ok(());
            }
        }
        self.next_piece(why)
    }

    /// Moves the pieces up by one name.
    fn shift(&mut self) -> std::io::Result<()> {
        if self.options.max_bytes.is_none() {
            let ages = pieces::ages(&self.target.path)?;
            // Up to the first name that is free.
            let count = ages.iter().zip(1..).take_while(|(age, free)| *age == free).count();
            return target::shift(&self.target.path, u32::try_from(count).unwrap_or(u32::MAX - 1));
        }
        while self.older.len() >= MOST_OLDER as usize {
            self.drop_oldest();
        }
        let count = u32::try_from(self.older.len()).unwrap_or(MOST_OLDER);
        target::shift(&self.target.path, count)?;
        self.older.push_front(self.target.bytes);
        Ok(())
    }

    /// Deletes the oldest piece; whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let age = u32::try_from(self.older.len()).unwrap_or(MOST_OLDER);
        if self.older.pop_back().is_none() {
            return false;
        }
        // Gone already is as good. If it cannot be deleted, writing fails and says why.
        let _ = std::fs::remove_file(pieces::older(&self.target.path, age));
        self.shared.lock().progress.dropped_pieces += 1;
        true
    }

    /// Keeps piece and trace within their limits; whether the frame fits.
    pub(super) fn make_room(&mut self, kind: Kind, size: u64) -> Result<bool> {
        let Some(most) = self.options.max_bytes else { return Ok(true) };
        if kind == Kind::End {
            return Ok(true); // Room is kept for it.
        }
        let has_content = !self.is_preamble && self.target.bytes > self.preamble;
        if has_content && self.target.bytes + size + END_RESERVE > self.piece_limit {
            self.rotate(Why::Size)?;
        }
        loop {
            let taken = self.target.bytes + self.older.iter().sum::<u64>();
            if taken + size + END_RESERVE + FILE_HEADER as u64 <= most {
                return Ok(true);
            }
            if !self.drop_oldest() {
                return Ok(false);
            }
        }
    }

    /// The disk is full: under a limit the oldest makes room; without one that is the end.
    pub(super) fn relieve(&mut self, kind: Kind, error: std::io::Error) -> Result<()> {
        if self.options.max_bytes.is_some() {
            if self.drop_oldest() {
                return Ok(());
            }
            let smaller = self.target.bytes / 4;
            let may_rotate = !self.is_preamble && kind != Kind::End;
            if may_rotate && smaller >= LEAST_PIECE && self.target.bytes > self.preamble {
                self.piece_limit = self.piece_limit.min(smaller);
                self.note(format!(
                    "the disk is full: going on in pieces of {} KiB",
                    self.piece_limit >> 10
                ));
                return self.rotate(Why::DiskFull);
            }
        }
        Err(self.cannot_write(error))
    }
}

fn failure(what: String, hint: String) -> anyhow::Error {
    failure_of(what, hint).into()
}
