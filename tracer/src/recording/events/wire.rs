//! Bytes and LEB128 numbers, taken from the front of a payload with every bound checked.

use super::Malformed;

/// What is left of a payload.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// A LEB128 number.
    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number has more than 64 bits"))
    }

    /// A LEB128 number that counts things in memory.
    pub(super) fn size(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed("a count is beyond all memory"))
    }

    /// A zigzag LEB128 number, as two's complement.
    pub(super) fn signed(&mut self) -> Result<u64, Malformed> {
        let zigzag = self.number()?;
        Ok((zigzag >> 1) ^ (zigzag & 1).wrapping_neg())
    }
}

/// Writes `number` as LEB128: seven bits a byte, the lowest first, the top bit says that more come.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes `number`, two's complement, as zigzag LEB128: small whatever its sign.
pub(super) fn put_signed(out: &mut Vec<u8>, number: u64) {
    put_number(out, (number << 1) ^ (number >> 63).wrapping_neg());
}
