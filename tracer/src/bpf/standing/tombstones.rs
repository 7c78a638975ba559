//! What sockets left behind that died while those that stood before were merged.

use aya::maps::MapError;
use tracer_common::abi::FLAG_DESTROYED;

use super::super::maps::{Maps, is_missing};

/// Removes the tombstones, after merging has ended. Cookies are never used twice, so this may
/// take its time.
///
/// # Errors
///
/// The kernel refuses to walk the table.
pub fn sweep_tombstones(maps: &mut Maps) -> Result<usize, MapError> {
    let mut dead = Vec::new();
    let sockets = maps.sockets.iter();
    for entry in sockets {
        match entry {
            Ok((cookie, record)) if record.flags & FLAG_DESTROYED != 0 => dead.push(cookie),
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    for cookie in &dead {
        let _ = maps.sockets.remove(cookie);
    }
    let mut swept = dead.len();
    dead.clear();
    for entry in &maps.minisockets {
        match entry {
            Ok((cookie, record)) if record.substate == 0 => dead.push(cookie),
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    for cookie in &dead {
        let _ = maps.minisockets.remove(cookie);
    }
    swept += dead.len();
    Ok(swept)
}
