//! What a reader takes at most of one frame, so that no file costs more memory or time than what it
//! can usefully say. What is beyond is a gap with its reason: never cut short, never untold.
//!
//! Each bound is several times what a recorder writes.

use super::frame::{FrameHeader, Kind};

/// Most bytes of the JSON of a sample, of the run and of the end, uncompressed.
const MOST_JSON: u32 = 8 << 20;
/// Most bytes of a checkpoint, uncompressed.
const MOST_STATE: u32 = 16 << 20;
/// Most bytes of events, uncompressed.
const MOST_EVENT_BYTES: u32 = 32 << 20;
/// Most events of a frame; a recorder seals it at a quarter of that.
const MOST_EVENTS: u32 = 1 << 18;
/// Events that every frame may have, and events a byte: a time in nanoseconds alone takes more than
/// a byte of what is stored.
const EVENTS_FREE: u64 = 256;
const EVENTS_A_BYTE: u64 = 8;
/// Bytes that every frame may unpack to, and to how many a stored byte may.
const RAW_FREE: u64 = 64 << 10;
const RAW_A_BYTE: u64 = 1024;
/// Most values in the JSON of one frame.
const MOST_VALUES: usize = 1 << 18;
/// Most groups of sockets: the kernel side has room for half as many.
pub(super) const MOST_GROUPS: usize = 4096;
/// Most services of one sample.
pub(super) const MOST_SERVICES: usize = 16_384;
/// The largest number that counts sockets, bytes or nanoseconds. Sums of as many as one frame has
/// room for stay below what 64 bits can say.
pub(super) const MOST_NUMBER: u64 = 1 << 48;
/// Most bytes of a name: a process, a control group, a host.
pub(super) const MOST_NAME: usize = 4096;

/// Most bytes of an owner's name in an event: some are kept by name.
pub(super) const MOST_TEXT: usize = 1 << 16;

/// Whether the payload of a frame is worth unpacking; why not, for people.
pub(super) fn header(header: &FrameHeader) -> Result<(), &'static str> {
    let (stored, raw) = (u64::from(header.stored_len), header.raw_len);
    let most = match header.kind {
        Kind::Host | Kind::Sample | Kind::End => MOST_JSON,
        Kind::Checkpoint => MOST_STATE,
        Kind::Events => MOST_EVENT_BYTES,
        Kind::Unknown(_) => u32::MAX,
    };
    if raw > most || u64::from(raw) > RAW_FREE + RAW_A_BYTE * stored {
        return Err("a frame unpacks to more than a reader takes");
    }
    let is_dense = u64::from(header.events) > EVENTS_FREE + EVENTS_A_BYTE * stored;
    if header.kind == Kind::Events && (header.events > MOST_EVENTS || is_dense) {
        return Err("a frame claims more events than its bytes can hold");
    }
    Ok(())
}

/// Whether JSON has no more values than a reader takes: each takes memory, however short it is.
pub(super) fn values(json: &[u8]) -> bool {
    let opens = memchr::memchr3_iter(b',', b'[', b'{', json);
    opens.take(MOST_VALUES + 1).count() <= MOST_VALUES
}

/// Whether something can be a name.
pub(super) const fn is_name(name: &str) -> bool {
    name.len() <= MOST_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, events: u32, stored_len: u32, raw_len: u32) -> FrameHeader {
        FrameHeader {
            kind,
            flags: 0,
            trace: 0,
            sequence: 0,
            events,
            events_before: 0,
            first_ns: 0,
            last_ns: 0,
            stored_len,
            raw_len,
            payload_crc: 0,
        }
    }

    #[test]
    fn what_a_recorder_writes_is_far_within_and_what_nobody_wrote_is_not() {
        let is_taken = |it: FrameHeader| header(&it).is_ok();
        // A full frame as a storm gives it, and a second without many events.
        assert!(is_taken(frame(Kind::Events, 65_536, 200_000, 1 << 20)));
        assert!(is_taken(frame(Kind::Events, 3, 60, 120)));
        assert!(is_taken(frame(Kind::Sample, 0, 60_000, 2 << 20)));
        assert!(is_taken(frame(Kind::Checkpoint, 0, 100_000, 5 << 20)));
        // 60 million events in 110 KB; a bomb; a sample for nobody.
        assert!(!is_taken(frame(Kind::Events, 60_000_000, 110_000, 60 << 20)));
        assert!(!is_taken(frame(Kind::Events, 65_536, 1_000, 100_000)));
        assert!(!is_taken(frame(Kind::Checkpoint, 0, 2_000, 16 << 20)));
        assert!(!is_taken(frame(Kind::Sample, 0, 1 << 20, 64 << 20)));
        // A later version's frames are passed over unread.
        assert!(is_taken(frame(Kind::Unknown(9), 0, 1 << 20, 64 << 20)));
    }

    #[test]
    fn values_are_counted_without_parsing() {
        assert!(values(br#"{"groups":[{"port":1},{"port":2}]}"#));
        assert!(!values(&[b'['; MOST_VALUES + 1]));
        assert!(!values(&b"{},".repeat(MOST_VALUES)));
    }
}
