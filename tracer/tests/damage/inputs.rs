//! The story's recording, damaged or forged.

use std::fs::{self, OpenOptions};
use std::path::Path;

use serde_json::{Value, json};
use sockflow::recording::events::EventsEncoder;
use sockflow::recording::frame::{FILE_HEADER, FRAME_HEADER, FrameHeader, Kind, ZSTD};

/// A frame as it lies in a file.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) stored: Vec<u8>,
}

impl Frame {
    fn raw(&self) -> Vec<u8> {
        self.header.open(self.stored.clone()).expect("the recording is whole")
    }

    /// Other content, with a checksum that is right.
    pub(crate) fn set(&mut self, raw: &[u8]) {
        self.stored = zstd::bulk::compress(raw, 3).expect("it can be compressed");
        self.header.flags = ZSTD;
        self.header.raw_len = u32::try_from(raw.len()).expect("short");
        self.seal();
    }

    fn seal(&mut self) {
        self.header.stored_len = u32::try_from(self.stored.len()).expect("short");
        self.header.payload_crc = crc32c::crc32c(&self.stored);
    }

    fn json(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&self.raw()).expect("JSON");
        change(&mut value);
        self.set(&serde_json::to_vec(&value).expect("JSON"));
    }
}

/// A file's frames.
pub(crate) struct Trace {
    head: Vec<u8>,
    pub(crate) frames: Vec<Frame>,
}

impl Trace {
    pub(crate) fn story() -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.0-story.sockflow");
        let bytes = fs::read(path).expect("the story");
        let mut frames = Vec::new();
        let mut at = FILE_HEADER;
        while let Some(header) = bytes.get(at..at + FRAME_HEADER) {
            let header = header.try_into().expect("so long");
            let header = FrameHeader::decode(header).expect("it is whole");
            let end = at + usize::try_from(header.size()).expect("short");
            frames.push(Frame { header, stored: bytes[at + FRAME_HEADER..end].to_vec() });
            at = end;
        }
        Self { head: bytes[..FILE_HEADER].to_vec(), frames }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        for frame in &self.frames {
            bytes.extend_from_slice(&frame.header.encode());
            bytes.extend_from_slice(&frame.stored);
        }
        bytes
    }

    /// Where the payload of its checkpoint lies.
    pub(crate) fn checkpoint(&self) -> std::ops::Range<usize> {
        let is_before = |frame: &&Frame| frame.header.kind != Kind::Checkpoint;
        let size = |frame: &Frame| FRAME_HEADER + frame.stored.len();
        let at = FILE_HEADER + self.frames.iter().take_while(is_before).map(size).sum::<usize>();
        let frame = self.frames.iter().find(|it| !is_before(it)).expect("a checkpoint");
        at + FRAME_HEADER - 3..at + size(frame)
    }

    fn of(&mut self, kind: Kind) -> Vec<&mut Frame> {
        self.frames.iter_mut().filter(|frame| frame.header.kind == kind).collect()
    }

    fn samples(&mut self) -> Vec<&mut Frame> {
        self.of(Kind::Sample)
    }
}

/// What is made of the recording, and in which words that must be said.
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) said: &'static str,
    make: fn(&mut Trace),
}

impl Input {
    /// Writes it.
    pub(crate) fn write(&self, path: &Path) {
        let mut trace = Trace::story();
        (self.make)(&mut trace);
        fs::write(path, trace.bytes()).expect("the input");
        if self.name == SPARSE {
            let file = OpenOptions::new().write(true).open(path).expect("the input");
            file.set_len(20 << 30).expect("a sparse file");
        }
    }
}

pub(crate) const SPARSE: &str = "20 GB of zeros at the end";
pub(crate) const ALL: &str = "every sample: checksum";

/// Of all commands' inputs; only the first few go through the screen.
pub(crate) const INPUTS: &[Input] = &[
    Input {
        name: "a sample: checksum",
        said: "1 moment",
        make: |trace| trace.samples()[17].stored[9] ^= 0xff,
    },
    Input {
        name: "the last sample: JSON",
        said: "1 moment",
        make: |trace| trace.samples().last_mut().expect("one").set(b"{\"at_ns\":"),
    },
    Input {
        name: "a sample: flags",
        said: "1 moment",
        make: |trace| trace.samples()[17].header.flags |= 0x40,
    },
    Input {
        name: "the first sample: raw length",
        said: "1 moment",
        make: |trace| trace.samples()[0].header.raw_len += 1,
    },
    Input {
        name: ALL,
        said: "1 moment|moments of the trace",
        make: |trace| trace.samples().into_iter().for_each(|frame| frame.stored[9] ^= 0xff),
    },
    Input {
        name: "the last sample: at_ns = 0",
        said: "1 moment",
        make: |trace| {
            let samples = trace.samples();
            let last = samples.into_iter().next_back().expect("one");
            last.json(|sample| sample["at_ns"] = json!(0));
        },
    },
    Input {
        name: "the last sample: at_ns = 0, header too",
        said: "not later than the one before",
        make: |trace| {
            let samples = trace.samples();
            let last = samples.into_iter().next_back().expect("one");
            last.json(|sample| sample["at_ns"] = json!(0));
            (last.header.first_ns, last.header.last_ns) = (0, 0);
        },
    },
    Input {
        name: "clock.wall_ns = 2^63 - 1",
        said: "the host and the run is damaged",
        make: |trace| {
            trace.of(Kind::Host)[0].json(|run| run["clock"]["wall_ns"] = json!(i64::MAX));
        },
    },
    Input {
        name: "a sample of 700,000 groups",
        said: "1 moment",
        make: |trace| {
            trace.samples()[17].json(|sample| {
                sample["totals"]["groups"] = json!("HERE");
            });
            let frame = &mut trace.samples()[17];
            let group = |pid: u32| {
                format!("{{\"port\":9981,\"direction\":\"in\",\"owner\":{{\"pid\":{pid}}}}}")
            };
            let groups = (0..700_000).map(group).collect::<Vec<_>>().join(",");
            let text = String::from_utf8(frame.raw()).expect("JSON");
            frame.set(text.replace("\"HERE\"", &format!("[{groups}]")).as_bytes());
        },
    },
    Input {
        name: "a frame of 60 million events",
        said: "60,000,000 events",
        make: |trace| {
            const MANY: u32 = 60_000_000;
            let event = sockflow::event::Event {
                at: sockflow::time::Monotonic(1),
                kind: sockflow::event::EventKind::Close,
                socket: 1,
                local: ([127, 0, 0, 1].into(), 1),
                peer: ([127, 0, 0, 1].into(), 2),
                owner: None,
                netns: 1,
                born: None,
            };
            let mut encoder = EventsEncoder::new();
            for _ in 0..3 {
                encoder.push(&event);
            }
            let mut three = Vec::new();
            encoder.finish(&mut three);
            // The column of codes: a byte an event, the first another than all that follow.
            let codes = [1, 0, 0, 1, 1];
            let at = three.windows(5).position(|it| it == codes).expect("codes") + 3;
            let mut payload = vec![0x80, 0x8e, 0xce, 0x1c];
            payload.extend_from_slice(&three[1..at]);
            payload.resize(payload.len() + MANY as usize - 1, 1);
            payload.extend_from_slice(&three[at + 2..]);
            let before = trace.frames.iter().rposition(|it| it.header.kind == Kind::Sample);
            let before = before.expect("a sample");
            let mut frame = trace.frames[before].clone();
            frame.header.kind = Kind::Events;
            frame.header.events = MANY;
            frame.set(&payload);
            for later in &mut trace.frames[before..] {
                later.header.sequence += 1;
                later.header.events_before += u64::from(MANY);
            }
            trace.frames.insert(before, frame);
        },
    },
    Input {
        name: "70 damaged places",
        said: "more damaged places; in all 70",
        make: |trace| {
            let again = trace.frames.clone();
            // Frames that were there before.
            for frame in again.iter().cycle().take(70) {
                let end = trace.frames.len() - 1;
                trace.frames.insert(end, frame.clone());
            }
        },
    },
    Input {
        name: SPARSE,
        said: "were searched for more|bytes are no whole frame",
        make: |trace| drop(trace.frames.pop()),
    },
    Input {
        name: "a sample: counters of 2^64 - 1",
        said: "1 moment",
        make: |trace| {
            trace.samples()[17].json(|sample| {
                let groups = sample["totals"]["groups"].as_array_mut().expect("groups");
                for group in groups {
                    group["counters"] = json!({"opened": u64::MAX, "changes": u64::MAX});
                }
            });
        },
    },
    Input {
        name: "a sample: deep JSON",
        said: "1 moment",
        make: |trace| trace.samples()[17].set("[".repeat(1 << 20).as_bytes()),
    },
    Input {
        name: "a sample: a name that is no UTF-8",
        said: "1 moment",
        make: |trace| {
            let frame = &mut trace.samples()[17];
            let mut raw = frame.raw();
            let name = raw.windows(7).position(|it| it == b"\"comm\":").expect("a name") + 8;
            raw[name] = 0xff;
            frame.set(&raw);
        },
    },
    Input {
        name: "every sample: a bomb of 64 MiB",
        said: "1 moment|moments of the trace",
        make: |trace| {
            let bomb = vec![b' '; 64 << 20];
            let mut packed = trace.samples()[0].clone();
            packed.set(&bomb);
            for frame in trace.samples() {
                frame.stored.clone_from(&packed.stored);
                (frame.header.raw_len, frame.header.flags) = (64 << 20, ZSTD);
                frame.seal();
            }
        },
    },
    Input {
        name: "samples in reverse",
        said: "damaged places; in all",
        make: |trace| {
            let samples: Vec<Frame> = trace.samples().into_iter().map(|it| it.clone()).collect();
            for (frame, other) in trace.samples().into_iter().zip(samples.into_iter().rev()) {
                let sequence = frame.header.sequence;
                let events_before = frame.header.events_before;
                *frame = other;
                (frame.header.sequence, frame.header.events_before) = (sequence, events_before);
            }
        },
    },
    Input {
        name: "a frame from the year 2500",
        said: "later than any host has been up",
        make: |trace| {
            let frame = &mut trace.samples()[17];
            frame.json(|sample| sample["at_ns"] = json!(u64::MAX));
            (frame.header.first_ns, frame.header.last_ns) = (u64::MAX, u64::MAX);
        },
    },
];
