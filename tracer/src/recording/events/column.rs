//! A column of numbers: what they have in common first, then the bytes in which they differ.
//!
//! All lowest bytes come first, then all second bytes, and so on: planes. Low bytes are mostly
//! noise, high bytes mostly alike; apart from each other they compress and decode faster than
//! variable-length numbers. A column of equal numbers has no planes at all.

use super::Malformed;
use super::wire::{Bytes, put_signed};

/// A column being written.
#[derive(Default)]
pub(super) struct ColumnWriter(Vec<u64>);

impl ColumnWriter {
    pub(super) fn push(&mut self, number: u64) {
        self.0.push(number);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes the column with at least `least_width` planes and empties it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, least_width: usize) {
        // As signed numbers: steps back and forth lie close around 0.
        let lowest = self.0.iter().map(|&number| number as i64).min();
        let highest = self.0.iter().map(|&number| number as i64).max();
        let (Some(lowest), Some(highest)) = (lowest, highest) else { return };
        let base = lowest as u64;
        let width = bytes_of((highest as u64).wrapping_sub(base)).max(least_width);
        out.push(width as u8);
        put_signed(out, base);
        for plane in 0..width {
            let shift = 8 * plane;
            out.extend(self.0.iter().map(|number| (number.wrapping_sub(base) >> shift) as u8));
        }
        self.0.clear();
    }
}

/// How many bytes `number` needs.
fn bytes_of(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()).div_ceil(8) as usize
}

/// A column in a payload.
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    length: usize,
    base: u64,
    planes: &'a [u8],
}

impl<'a> Column<'a> {
    /// The next column, of `length` numbers.
    pub(super) fn read(
        bytes: &mut Bytes<'a>,
        length: usize,
        least_width: usize,
    ) -> Result<Self, Malformed> {
        if length == 0 {
            return Ok(Self { length, base: 0, planes: &[] });
        }
        let width = usize::from(bytes.byte()?);
        if !(least_width..=8).contains(&width) {
            return Err(Malformed("a column is too narrow or too wide"));
        }
        let base = bytes.signed()?;
        let size = width.checked_mul(length).ok_or(Malformed("a column is beyond all memory"))?;
        Ok(Self { length, base, planes: bytes.take(size)? })
    }

    /// Its numbers, one after the other.
    pub(super) fn numbers(self) -> Numbers<'a> {
        Numbers { column: self, next: 0, chunk: [self.base; CHUNK] }
    }

    /// Puts the numbers from `start` on into `chunk`, as many as there are.
    fn fill(&self, start: usize, chunk: &mut [u64; CHUNK]) {
        chunk.fill(self.base);
        if self.length == 0 {
            return;
        }
        for (place, plane) in self.planes.chunks_exact(self.length).enumerate() {
            let bytes = plane.get(start..).unwrap_or_default();
            for (number, &byte) in chunk.iter_mut().zip(bytes) {
                *number = number.wrapping_add(u64::from(byte) << (8 * place));
            }
        }
    }
}

/// Small enough for a dozen columns to stay in the nearest cache.
const CHUNK: usize = 64;

/// Goes through a [`Column`], putting the planes together some numbers at a time.
pub(super) struct Numbers<'a> {
    column: Column<'a>,
    next: usize,
    chunk: [u64; CHUNK],
}

impl Numbers<'_> {
    /// The next number. Who asks knows the length; beyond it the numbers mean nothing.
    #[inline]
    pub(super) fn next(&mut self) -> u64 {
        let place = self.next % CHUNK;
        if place == 0 {
            self.column.fill(self.next, &mut self.chunk);
        }
        self.next += 1;
        self.chunk[place]
    }
}
