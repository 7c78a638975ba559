//! A picture of dots: eight to a cell in braille, one in ASCII.

/// A grid of dots, row 0 at the bottom.
pub(crate) struct Raster {
    columns: usize,
    rows: usize,
    dots: Vec<bool>,
}

/// Dots a cell has, across and up.
pub(crate) const BRAILLE: (usize, usize) = (2, 4);

/// Unicode numbers the dots of a braille cell column by column, the fourth row last.
const BITS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];

impl Raster {
    /// Room for `columns` x `rows` cells.
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let columns = usize::from(columns) * BRAILLE.0;
        let rows = usize::from(rows) * BRAILLE.1;
        Self { columns, rows, dots: vec![false; columns * rows] }
    }

    /// Sets a dot; one outside is ignored.
    pub(crate) fn set(&mut self, x: usize, y: usize) {
        if x < self.columns && y < self.rows {
            self.dots[y * self.columns + x] = true;
        }
    }

    /// The braille character of a cell, `None` where it has no dot. Cell row 0 is at the bottom.
    pub(crate) fn braille(&self, column: u16, row: u16) -> Option<char> {
        let (left, bottom) = (usize::from(column) * BRAILLE.0, usize::from(row) * BRAILLE.1);
        let mut pattern = 0;
        for (x, bits) in BITS.iter().enumerate() {
            for (y, bit) in bits.iter().enumerate() {
                let at = (bottom + y) * self.columns + left + x;
                if self.dots.get(at).copied().unwrap_or(false) {
                    pattern |= bit;
                }
            }
        }
        char::from_u32(0x2800 + pattern).filter(|_| pattern > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_become_braille() {
        let mut raster = Raster::new(1, 1);
        assert_eq!(raster.braille(0, 0), None);
        raster.set(0, 0);
        assert_eq!(raster.braille(0, 0), Some('⡀'), "lower left");
        raster.set(1, 3);
        assert_eq!(raster.braille(0, 0), Some('⡈'), "and upper right");
        raster.set(9, 9);
        assert_eq!(raster.braille(7, 7), None, "outside is empty");
    }
}
