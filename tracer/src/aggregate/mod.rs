//! The core: a pure fold from inputs to a [`snapshot::Snapshot`].

pub mod snapshot;
