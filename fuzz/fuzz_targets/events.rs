//! Arbitrary bytes as the payload of an events frame.
#![no_main]

mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::events(data));
