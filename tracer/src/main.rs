//! The `sockflow` binary.
fn main() {}
