//! The file as a whole: what is written comes back, and nothing else ever does.

mod damage;
mod roundtrip;
mod writing;
