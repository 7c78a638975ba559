//! Signals as flags, also where the shell had them ignored (it does so for what it starts in the
//! background).

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of what a signal ended before anything was finished: that of a process that SIGINT
/// ended.
pub(super) const INTERRUPTED: u8 = 130;

/// A flag that SIGINT, SIGTERM and SIGHUP raise.
///
/// # Errors
///
/// The handlers cannot be installed.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    Ok(stop)
}

/// Has the first of these signals raise `stop`, so that what is not whole can be put away; a second one
/// ends the process at once.
///
/// # Errors
///
/// The handlers cannot be installed.
pub(super) fn stop_first(stop: &Arc<AtomicBool>, signals: &[i32]) -> io::Result<()> {
    for signal in signals {
        // In this order: the first one finds the flag down.
        flag::register_conditional_shutdown(*signal, INTERRUPTED.into(), Arc::clone(stop))?;
        flag::register(*signal, Arc::clone(stop))?;
    }
    Ok(())
}
