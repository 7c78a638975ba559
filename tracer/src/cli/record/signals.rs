//! What signals mean to a recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::signals::stop_first;

/// Flags that handlers raise.
pub(super) struct Signals {
    /// SIGINT or SIGTERM: finish the file. A second one leaves at once; the file can be read as it
    /// is.
    pub(super) stop: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

impl Signals {
    /// `for_a_command`: a terminal sends its SIGINT to the command as well, whose end then ends
    /// the recording.
    pub(super) fn install(for_a_command: bool) -> Result<Self> {
        let new = Self { stop: lowered(), hang_up: lowered(), terminate: lowered() };
        let install = || -> std::io::Result<()> {
            flag::register(SIGHUP, Arc::clone(&new.hang_up))?;
            if for_a_command {
                flag::register(SIGINT, lowered())?;
                flag::register(SIGTERM, Arc::clone(&new.terminate))?;
            } else {
                stop_first(&new.stop, &[SIGINT, SIGTERM])?;
            }
            Ok(())
        };
        install().context("cannot handle signals")?;
        Ok(new)
    }

    /// Whether SIGHUP came since this was last asked.
    pub(super) fn take_hang_up(&self) -> bool {
        self.hang_up.swap(false, Ordering::Relaxed)
    }

    /// Whether SIGTERM came for the command since this was last asked.
    pub(super) fn take_terminate(&self) -> bool {
        self.terminate.swap(false, Ordering::Relaxed)
    }
}

fn lowered() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}
