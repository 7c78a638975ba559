//! What the payloads of frames say.

use serde::{Deserialize, Serialize};

use super::bounds;
use super::frame::{FrameHeader, Kind};
use super::sample::{FactsOnly, SampleRecord};
use super::sink::{Sink, Want};
use super::{Checkpoint, Run, Why, events};
use crate::event::Input;

/// The payload of a frame that ends a piece.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct EndRecord {
    pub(super) why: Why,
    /// Frames of the trace before this one, over all pieces.
    pub(super) frames: u64,
    /// Events of the trace, over all pieces.
    pub(super) events: u64,
    /// Pieces dropped for room.
    pub(super) dropped_pieces: u32,
}

/// Tells what a payload says; where something is missing then, how many events, and why.
pub(super) fn deliver(
    header: &FrameHeader,
    payload: &[u8],
    want: Want,
    sink: &mut dyn Sink,
) -> Result<(), (u64, &'static str)> {
    const MALFORMED: &str = "a frame's content is malformed";
    const TOO_MANY: &str = "it has more values than a reader takes";
    const OTHER_TIME: &str = "a frame's content is of another time than its header";
    let expected = u64::from(header.events);
    if matches!(header.kind, Kind::Sample | Kind::Host) && !bounds::values(payload) {
        return Err((0, TOO_MANY));
    }
    match header.kind {
        Kind::Events => {
            if events::count(payload) != Ok(expected) {
                return Err((expected, MALFORMED));
            }
            let mut delivered = 0;
            let decoded = events::decode(payload, |event| {
                sink.event(header.events_before.saturating_add(delivered), event);
                delivered += 1;
            });
            decoded.map_err(|_| (expected.saturating_sub(delivered), MALFORMED))?;
        }
        Kind::Sample if want == Want::Facts => {
            let facts: FactsOnly = serde_json::from_slice(payload).map_err(|_| (0, MALFORMED))?;
            if facts.at_ns != header.last_ns {
                return Err((0, OTHER_TIME));
            }
            facts.check().map_err(|why| (0, why))?;
            facts.into_inputs(|input| sink.input(input));
        }
        Kind::Sample => {
            let sample: SampleRecord =
                serde_json::from_slice(payload).map_err(|_| (0, MALFORMED))?;
            // Whoever looks for a moment goes by the headers.
            if sample.at_ns != header.last_ns {
                return Err((0, OTHER_TIME));
            }
            sample.check().map_err(|why| (0, why))?;
            sample.into_inputs(|input| sink.input(input));
        }
        Kind::Host => {
            let run = Run::decode(payload).map_err(|_| (0, MALFORMED))?;
            if let Some(gauges) = run.baseline {
                sink.input(Input::Gauges(gauges));
            }
        }
        Kind::Checkpoint => {
            let (of_event, checkpoint) = decode_checkpoint(payload).ok_or((0, MALFORMED))?;
            sink.checkpoint(checkpoint);
            // Carried over from a piece that is gone: what was between is gone too.
            let missing = header.events_before.saturating_sub(of_event);
            if missing > 0 {
                return Err((missing, "older pieces were dropped for room"));
            }
        }
        Kind::End | Kind::Unknown(_) => {}
    }
    Ok(())
}

/// The payload of a checkpoint frame: the state after so many events of the trace.
pub(super) fn encode_checkpoint(checkpoint: &Checkpoint, of_event: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(12 + checkpoint.bytes.len());
    payload.extend_from_slice(&checkpoint.version.to_le_bytes());
    payload.extend_from_slice(&of_event.to_le_bytes());
    payload.extend_from_slice(&checkpoint.bytes);
    payload
}

fn decode_checkpoint(payload: &[u8]) -> Option<(u64, Checkpoint)> {
    let (version, rest) = payload.split_first_chunk()?;
    let (of_event, bytes) = rest.split_first_chunk()?;
    let checkpoint = Checkpoint { version: u32::from_le_bytes(*version), bytes: bytes.to_vec() };
    Some((u64::from_le_bytes(*of_event), checkpoint))
}
