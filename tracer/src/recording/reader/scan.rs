//! What opening a trace looks at: its headers, and the run.

use std::fs::File;

use anyhow::{Context, Result};

use super::super::frame::{CARRIED, FILE_HEADER, FrameHeader, Kind};
use super::super::payload::EndRecord;
use super::super::pieces::{self, Found};
use super::super::run::{Run, is_credible};
use super::super::sample::SampleRecord;
use super::super::sink::Gap;
use super::super::walk::{Item, Position};
use super::{Cursor, Trace};
use crate::time::{ClockAnchor, Monotonic, Wall};

/// Most ticks: 97 days at one a second, 128 MB. What comes after them in a longer trace is a gap.
const MOST_TICKS: usize = if cfg!(test) { 1 << 12 } else { 1 << 23 };
/// Why that is not read.
const TOO_LONG: &str =
    "a reader takes 8,388,608 moments, and there are more; name the newer files alone";
/// Most places with a checkpoint; when there are more, every other is forgotten.
const MOST_CHECKPOINTS: usize = 16_384;

impl Trace {
    pub(super) fn add(&mut self, found: Found) {
        if found.headless {
            self.push_gap(&Gap {
                piece: found.piece.path.clone(),
                offset: 0,
                bytes: FILE_HEADER as u64,
                events: Some(0),
                moments: 0,
                after: None,
                before: None,
                why: "the file's header is damaged",
            });
        }
        self.pieces.push(found.piece);
    }

    /// Looks at the headers of what was not looked at yet.
    pub(super) fn scan(&mut self) -> Result<()> {
        loop {
            if self.ticks.len() >= MOST_TICKS {
                self.cut();
                break;
            }
            let next = self.scanned.next(&self.pieces, self.trace);
            match next.with_context(|| self.cannot_read(&self.scanned))? {
                None => break,
                Some(Item::Gap(gap)) => self.push_gap(&gap),
                Some(Item::Frame { header, at }) => self.note(&header, at)?,
            }
        }
        let newest: Option<&File> = self.pieces.last().and_then(|piece| piece.file.as_ref());
        self.is_written = newest.is_some_and(pieces::is_written);
        Ok(())
    }

    /// Marks that the rest of a trace that is too long is not read.
    fn cut(&mut self) {
        let Position { piece, offset, .. } = self.scanned;
        let lens = self.pieces.iter().map(|piece| piece.len).skip(piece);
        let bytes = lens.fold(0, u64::saturating_add).saturating_sub(offset);
        let Some(at) = self.pieces.get(piece).filter(|_| bytes > 0) else { return };
        if let Some(cut) = self.gaps.last_mut().filter(|gap| gap.why == TOO_LONG) {
            cut.bytes = bytes;
            return;
        }
        let after = self.ticks.last().copied();
        self.push_gap(&Gap {
            piece: at.path.clone(),
            offset,
            bytes,
            events: None,
            moments: 0,
            after,
            before: None,
            why: TOO_LONG,
        });
    }

    fn note(&mut self, header: &FrameHeader, at: Position) -> Result<()> {
        self.first_event.get_or_insert(header.events_before);
        self.closed = None;
        match header.kind {
            Kind::Sample => {
                self.ticks.push(Monotonic(header.last_ns));
                self.events_at.push(header.events_before);
            }
            Kind::Checkpoint if header.flags & CARRIED == 0 => {
                self.checkpoints.push(Cursor {
                    position: at,
                    ticks: self.ticks.len(),
                    is_fresh: true,
                });
                if self.checkpoints.len() > MOST_CHECKPOINTS {
                    let mut index = 0;
                    self.checkpoints.retain(|_| {
                        index += 1;
                        index % 2 == 0
                    });
                }
            }
            Kind::End => {
                if let Ok(payload) = self.payload(header, &at)? {
                    let end = serde_json::from_slice::<EndRecord>(&payload);
                    self.closed = end.ok().map(|end| end.why);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push_gap(&mut self, gap: &Gap) {
        Gap::keep(&mut self.gaps, gap);
    }

    /// The run of the first host frame that can be read. Without one the moments are still right:
    /// each sample tells both clocks.
    pub(super) fn read_run(&mut self) -> Result<()> {
        let mut position = self.start.clone();
        let mut clocks = None;
        while let Ok(Some(item)) = position.next(&self.pieces, self.trace) {
            let Item::Frame { header, at } = item else { continue };
            match header.kind {
                Kind::Host => {
                    let payload = self.payload(&header, &at)?.ok();
                    if let Some(run) = payload.and_then(|payload| Run::decode(&payload).ok()) {
                        self.run = run;
                        return Ok(());
                    }
                    self.push_gap(&self.gap_at(
                        &header,
                        &at,
                        0,
                        "the frame that describes the host and the run is damaged",
                    ));
                }
                Kind::Sample if clocks.is_none() => {
                    let payload = self.payload(&header, &at)?.ok();
                    let sample = payload
                        .and_then(|payload| serde_json::from_slice::<SampleRecord>(&payload).ok());
                    let clock = sample.map(|sample| ClockAnchor {
                        monotonic: Monotonic(sample.at_ns),
                        wall: Wall(sample.wall_ns),
                    });
                    clocks = clock.filter(is_credible);
                }
                _ => {}
            }
        }
        self.run.anchor = clocks.unwrap_or_default();
        self.run.began = self.ticks.first().copied().unwrap_or_default();
        Ok(())
    }
}
