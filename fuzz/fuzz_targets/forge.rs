//! A recording changed as the bytes of an input say: frames flipped, cut, repeated, reordered,
//! spliced, and content exchanged under checksums that are right. A few bytes reach what no random
//! bytes would, and every input is short.

use sockflow::recording::frame::{FILE_HEADER, FRAME_HEADER, FrameHeader, Kind, ZSTD};

const STORY: &[u8] = include_bytes!("../../tracer/tests/recordings/v1.0-story.sockflow");
/// Most changes of one input.
const MOST_STEPS: usize = 24;
/// Most frames that repeating makes.
const MOST_FRAMES: usize = 400;
/// Most bytes of a payload, unpacked, that a change makes.
const MOST_RAW: usize = 4 << 20;
/// Numbers that are seldom thought of.
const NUMBERS: [u64; 12] = [
    0,
    1,
    255,
    65_535,
    1 << 20,
    1 << 31,
    u32::MAX as u64,
    1 << 48,
    1 << 61,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];
/// What stands in JSON in the place of a number.
const WORDS: [&[u8]; 16] = [
    b"null",
    b"-1",
    b"0",
    b"1e308",
    b"-1e308",
    b"1e999",
    b"9223372036854775807",
    b"18446744073709551615",
    b"340282366920938463463374607431768211455",
    b"0.0000001",
    b"\"\"",
    b"\"\\u0000\\u202e<b>|`\"",
    b"{}",
    b"[[[[[[]]]]]]",
    b"\"\xff\xfe\"",
    b"true",
];

#[derive(Clone)]
struct Frame {
    header: FrameHeader,
    stored: Vec<u8>,
}

impl Frame {
    fn raw(&self) -> Vec<u8> {
        self.header.open(self.stored.clone()).unwrap_or_default()
    }

    fn set(&mut self, raw: &[u8]) {
        if let Ok(stored) = zstd::bulk::compress(raw, 1) {
            self.stored = stored;
            self.header.flags = ZSTD;
            self.header.raw_len = raw.len() as u32;
            self.seal();
        }
    }

    fn seal(&mut self) {
        self.header.stored_len = self.stored.len() as u32;
        self.header.payload_crc = crc32c::crc32c(&self.stored);
    }
}

/// The frames of the story; few of them, where that is enough.
fn story(few: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = FILE_HEADER;
    while let Some(header) = STORY.get(at..at + FRAME_HEADER) {
        let Some(header) = header.try_into().ok().and_then(FrameHeader::decode) else { break };
        let end = at + header.size() as usize;
        frames.push(Frame { header, stored: STORY[at + FRAME_HEADER..end].to_vec() });
        at = end;
    }
    if few {
        // The beginning, some of its worst seconds with a checkpoint among them, and the end.
        let all = frames.len();
        let mut index = 0;
        frames.retain(|frame| {
            index += 1;
            let is_rare = !matches!(frame.header.kind, Kind::Sample | Kind::Events);
            is_rare || index < 6 || index + 8 > all
        });
        renumber(&mut frames);
    }
    frames
}

/// Numbers the frames as if nothing were missing.
fn renumber(frames: &mut [Frame]) {
    let mut events = 0_u64;
    for (sequence, frame) in frames.iter_mut().enumerate() {
        frame.header.sequence = sequence as u32;
        frame.header.events_before = events;
        events = events.saturating_add(u64::from(frame.header.events));
    }
}

struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn word(&mut self) -> usize {
        self.byte() << 8 | self.byte()
    }

    fn number(&mut self) -> u64 {
        let at = self.byte();
        NUMBERS.get(at).copied().unwrap_or(at as u64)
    }
}

/// Where numbers begin and end in JSON.
fn numbers(json: &[u8]) -> Vec<(usize, usize)> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"-.eE+".contains(byte);
    let mut found = Vec::new();
    let mut at = 0;
    let mut in_string = false;
    while let Some(byte) = json.get(at) {
        if *byte == b'"' {
            in_string = !in_string;
        } else if !in_string && (byte.is_ascii_digit() || *byte == b'-') {
            let end = json[at..].iter().position(|it| !is_of_number(it));
            let end = end.map_or(json.len(), |length| at + length.max(1));
            found.push((at, end));
            at = end;
            continue;
        }
        at += 1;
    }
    found
}

/// The trace that an input describes.
pub(crate) fn forge(input: &[u8]) -> Vec<u8> {
    let steps = &mut Steps(input);
    let mode = steps.byte();
    let mut frames = story(mode % 8 != 7);
    let mut head = STORY[..FILE_HEADER].to_vec();
    let mut cut = None;
    for _ in 0..MOST_STEPS {
        if steps.0.is_empty() || frames.is_empty() {
            break;
        }
        let what = steps.byte() % 18;
        let at = steps.byte() % frames.len();
        match what {
            5 => {
                let other = steps.byte() % frames.len();
                frames.swap(at, other);
            }
            4 => {
                let to = steps.byte() % (frames.len() + 1);
                let times = (1 << (steps.byte() % 8)).min(MOST_FRAMES.saturating_sub(frames.len()));
                let again = frames[at].clone();
                frames.splice(to..to, std::iter::repeat_n(again, times));
            }
            6 => drop(frames.remove(at)),
            3 => cut = Some(steps.word()),
            15 => renumber(&mut frames),
            16 => head[steps.byte() % FILE_HEADER] ^= 1 << (at % 8),
            17 => {
                // Each a little later than the one before, so that they are taken.
                let by = 1_000_000 << (steps.byte() % 40);
                let mut time = frames[at].header.last_ns;
                for frame in &mut frames[at..] {
                    time = time.saturating_add(by);
                    let raw = frame.raw();
                    if frame.header.kind == Kind::Sample
                        && let Some((from, to)) = numbers(&raw).first().copied()
                    {
                        let time = time.to_string();
                        frame.set(&[&raw[..from], time.as_bytes(), &raw[to..]].concat());
                    }
                    (frame.header.first_ns, frame.header.last_ns) = (time, time);
                }
            }
            _ => change(&mut frames[at], what, steps),
        }
    }
    let mut file = head;
    for frame in &frames {
        file.extend_from_slice(&frame.header.encode());
        file.extend_from_slice(&frame.stored);
    }
    if let Some(cut) = cut {
        file.truncate(file.len() * cut / 65_536);
    }
    file
}

/// A change within one frame.
fn change(frame: &mut Frame, what: usize, steps: &mut Steps<'_>) {
    match what {
        // A flipped byte, as a disk flips it; and under a checksum that is right.
        0 | 1 => {
            let at = steps.word() % frame.stored.len().max(1);
            let by = steps.byte() as u8;
            if let Some(byte) = frame.stored.get_mut(at) {
                *byte ^= by;
            }
            if what == 1 {
                frame.seal();
            }
        }
        2 => {
            let mut raw = frame.raw();
            let at = steps.word() % raw.len().max(1);
            let value = steps.byte() as u8;
            if let Some(byte) = raw.get_mut(at) {
                *byte = value;
            }
            frame.set(&raw);
        }
        7 => {
            let field = steps.byte() % 9;
            let value = steps.number();
            let header = &mut frame.header;
            match field {
                0 => header.kind = Kind::from_number(value as u8),
                1 => header.flags ^= value as u8,
                2 => header.sequence = value as u32,
                3 => header.events = value as u32,
                4 => header.events_before = value,
                5 => header.first_ns = value,
                6 => header.last_ns = value,
                7 => header.raw_len = value as u32,
                _ => header.trace ^= value,
            }
        }
        // Other words in the place of numbers, one or each from there on.
        8 | 9 => {
            let raw = frame.raw();
            let found = numbers(&raw);
            let first = steps.word() % found.len().max(1);
            let word = WORDS[steps.byte() % WORDS.len()];
            let many = if what == 8 { 1 } else { 1 + steps.byte() };
            let mut text = Vec::new();
            let mut before = 0;
            for (from, to) in found.into_iter().skip(first).take(many) {
                text.extend_from_slice(&raw[before..from]);
                text.extend_from_slice(word);
                before = to;
            }
            text.extend_from_slice(&raw[before..]);
            frame.set(&text);
        }
        // A part of it many times.
        10 => {
            let raw = frame.raw();
            let from = steps.word() % raw.len().max(1);
            let part = &raw[from..raw.len().min(from + 1 + steps.byte())];
            let times = (1 << (steps.byte() % 20)).min(MOST_RAW / part.len().max(1));
            let text = [&raw[..from], &part.repeat(times), &raw[from..]].concat();
            frame.set(&text);
        }
        // An element of a list many times: from one brace to the next that is its own.
        11 => {
            let raw = frame.raw();
            let braces: Vec<usize> = (0..raw.len()).filter(|at| raw[*at] == b'{').skip(1).collect();
            let Some(&from) = braces.get(steps.word() % braces.len().max(1)) else { return };
            let Some(length) = raw[from..].iter().position(|byte| *byte == b'}') else { return };
            let part = [&raw[from..=from + length], b","].concat();
            let times = (1 << (steps.byte() % 18)).min(MOST_RAW / part.len());
            let text = [&raw[..from], &part.repeat(times), &raw[from..]].concat();
            frame.set(&text);
        }
        12 => {
            let length = (1 << (steps.byte() % 23)).min(MOST_RAW);
            frame.set(&vec![steps.byte() as u8; length]);
        }
        13 => {
            let noise = steps.0.len().min(steps.byte());
            let (noise, rest) = steps.0.split_at(noise.min(steps.0.len()));
            frame.stored.extend_from_slice(noise);
            steps.0 = rest;
        }
        _ => frame.header.events = frame.header.events.wrapping_add(steps.byte() as u32),
    }
}
