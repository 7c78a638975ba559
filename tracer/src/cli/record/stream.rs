//! Where a recording goes that is no file: stdout (`-o -`), a FIFO, a device.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::error::Failure;
use crate::place::{self, There};
use crate::stdio;

/// Between two looks whether a FIFO has a reader.
const READER_PAUSE: Duration = Duration::from_millis(20);

/// What the option names.
pub(super) enum Output {
    /// A file, which is made when all else is ready.
    File,
    /// Something else, open.
    Stream(File),
    /// A FIFO nobody reads from: a signal came first.
    Stopped,
}

/// Whether the option says stdout.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Opens what `path` names, if it is no file. Waits for the reader of a FIFO until a signal comes.
pub(super) fn open(path: &Path, force: bool) -> Result<Output> {
    let file = if is_stdout(path) {
        // Its own descriptor: frames pass by the buffer of stdout.
        let stdout = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3);
        File::from(stdout.context("cannot write to stdout")?)
    } else {
        match place::there(path, force, "incident.sockflow")? {
            There::Nothing | There::File => return Ok(Output::File),
            There::Stream => match wait_for_reader(path)? {
                Some(file) => file,
                None => return Ok(Output::Stopped),
            },
        }
    };
    if file.is_terminal() {
        return Err(Failure::usage("a trace is nothing for a terminal")
            .hint("name a file: `sudo sockflow record -o incident.sockflow`")
            .into());
    }
    Ok(Output::Stream(file))
}

fn wait_for_reader(path: &Path) -> Result<Option<File>> {
    let cannot_open = |error: std::io::Error| {
        let hint = place::hint(path, &error);
        let what = format!("cannot write {}", path.display());
        anyhow::Error::new(error).context(Failure::failed(what).hint(hint))
    };
    if let Some(file) = place::open_stream(path).map_err(cannot_open)? {
        return Ok(Some(file));
    }
    // Also where the shell had these ignored.
    let stop = Arc::new(AtomicBool::new(false));
    let mut handlers = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let handler = flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
        handlers.push(handler);
    }
    stdio::note(format_args!("waiting for a reader of {}", path.display()));
    let mut file = None;
    while file.is_none() && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(READER_PAUSE);
        file = place::open_stream(path).map_err(cannot_open)?;
    }
    for handler in handlers {
        low_level::unregister(handler);
    }
    Ok(file)
}
