//! The file as a whole: what is written comes back, and nothing else ever does.

mod damage;
mod lookback;
mod roundtrip;
mod stall;
mod writing;
