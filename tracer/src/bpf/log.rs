//! What the programs themselves have to say: rare warnings, such as a table without room.
//!
//! Off unless asked for (`--verbose`): the level is a constant of the object, so the verifier
//! drops the formatting code and nothing is paid for it.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};

use crate::stdio;

/// The level as the programs take it: what is less important is not logged.
#[must_use]
pub const fn level(verbose: bool) -> u8 {
    if verbose { Level::Warn as u8 } else { 0 }
}

/// Reads the programs' log.
pub struct ProgramLog(EbpfLogger<Stderr>);

impl ProgramLog {
    /// Takes the log's buffer out of the loaded object.
    ///
    /// # Errors
    ///
    /// The object has none.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let logger = EbpfLogger::init_with_logger(ebpf, Stderr)
            .context("cannot read the log of the BPF programs")?;
        Ok(Self(logger))
    }

    /// Writes what has come to stderr.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// stderr is where sockflow talks.
#[derive(Clone, Copy)]
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        stdio::say(format_args!("sockflow: kernel side: {}", record.args()));
    }

    fn flush(&self) {}
}
