#!/usr/bin/env python3
"""Reads a sockflow trace by docs/FORMAT.md alone: host, frames, gaps, totals of the last sample.

Of what the doctor looks at: what was told last. Usage: read_trace.py FILE, prints one JSON object. Needs the package `zstandard`.
"""

import glob
import json
import re
import struct
import sys

import zstandard

MAGIC, MARKER = b"\x89SFL\r\n\x1a\n", b"\xf5SF\x01"
FILE_HEADER = struct.Struct("<8sHHIQII")
FRAME_HEADER = struct.Struct("<4sBBHQIIQQQIIII")
KINDS = {1: "host", 2: "events", 3: "sample", 4: "checkpoint", 5: "end"}

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Frame:
    """A frame whose header is valid and whose payload lies within the file."""

    def __init__(self, data, at):
        (marker, self.kind, self.flags, _, self.trace, self.sequence, self.events, self.before,
         self.first, self.last, self.stored, self.raw, self.crc,
         crc) = FRAME_HEADER.unpack_from(data, at)
        self.end = at + FRAME_HEADER.size + self.stored
        if (marker != MARKER or crc != crc32c(data[at:at + 60]) or self.stored > 16 << 20
                or self.raw > 64 << 20 or self.end > len(data)):
            raise ValueError("no frame")
        self.bytes = data[at + FRAME_HEADER.size:self.end]

    def payload(self):
        """The payload; None if it is damaged."""
        if crc32c(self.bytes) != self.crc or self.flags & ~3:
            return None
        if not self.flags & 1:
            return self.bytes
        try:
            raw = zstandard.ZstdDecompressor().decompress(self.bytes, max_output_size=self.raw)
        except zstandard.ZstdError:
            return None
        return raw if len(raw) == self.raw else None


def walk(data):
    """The trace id of a piece and its valid frames, whatever lies between them."""
    trace, at, frames = None, 0, []
    if len(data) >= FILE_HEADER.size:
        magic, major, _, length, id, _, crc = FILE_HEADER.unpack_from(data)
        if magic == MAGIC and crc == crc32c(data[:28]):
            if major != 1:
                sys.exit(f"format {major} is not known here")
            trace, at = id, length
    while at >= 0:
        try:
            frames.append(Frame(data, at))
            at = frames[-1].end
        except (ValueError, struct.error):
            at = data.find(MARKER, at + 1)
    return frames[0].trace if trace is None and frames else trace, frames


def main(path):
    trace, frames = walk(open(path, "rb").read())
    pieces = [frames]
    for older in glob.glob(glob.escape(path) + ".*"):
        if re.fullmatch(r"[1-9][0-9]*", older[len(path) + 1:]):
            other, frames = walk(open(older, "rb").read())
            pieces += [frames] if other == trace else []
    pieces = sorted(filter(None, pieces), key=lambda frames: frames[0].sequence)

    told = {"trace": trace, "host": None, "frames": {}, "events": 0, "missing": 0, "end": None,
            "totals": {}, "facts": {}}
    expected = before = None
    for frame in (frame for frames in pieces for frame in frames):
        if frame.trace != trace or (expected is not None and frame.sequence < expected):
            continue
        told["missing"] += frame.before - (frame.before if before is None else before)
        expected, before = frame.sequence + 1, frame.before + frame.events
        payload, name = frame.payload(), KINDS.get(frame.kind, "unknown")
        told["end"] = None
        if payload is None:
            told["missing"] += frame.events
            continue
        told["frames"][name] = told["frames"].get(name, 0) + 1
        told["events"] += frame.events
        if name == "host":
            told["host"] = told["host"] or json.loads(payload)["host"]
        elif name == "sample":
            told["totals"], sample = {}, json.loads(payload)
            told["facts"].update(sample.get("facts", {}))
            for group in sample.get("totals", {}).get("groups", []):
                for counter, value in group["counters"].items():
                    told["totals"][counter] = told["totals"].get(counter, 0) + value
        elif name == "end":
            told["end"] = json.loads(payload)["why"]
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
