//! Arbitrary bytes as a trace file.
#![no_main]

mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::reader(data));
