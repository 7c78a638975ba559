//! Whole commands on recordings that are damaged, or forged under checksums that are right.
#![no_main]

mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::commands(data));
