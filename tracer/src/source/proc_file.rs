//! Reading a file of /proc again and again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Reads `file` from its beginning to its end; returns how many bytes of `buffer` that is. Files
/// of /proc are formatted anew by a read at 0, and have no size to go by.
pub(super) fn read_whole(file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut len = 0;
    loop {
        if buffer.len() - len < 4096 {
            buffer.resize(len + 8192, 0);
        }
        match file.read_at(&mut buffer[len..], len as u64) {
            Ok(0) => return Ok(len),
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
