//! What a report says of the trace's files and of the run.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::aggregate::snapshot::Host;
use crate::format::count;
use crate::recording::frame::{FILE_HEADER, FileHeader};
use crate::recording::{Ended, MOST_SEARCHED, Run, Trace, Why};
use crate::report::collect::Rest;
use crate::report::model::{Environment, Piece, Signal, TraceFile};
use crate::time::Wall;

/// All that is not told by moments.
pub(super) fn rest(
    trace: &Trace,
    file: &str,
    gaps: Vec<(Option<Wall>, String)>,
    missing_events: u64,
) -> Result<Rest> {
    let run = trace.run();
    let mut pieces = Vec::new();
    let hashed = match trace.ended() {
        Ended::NotClosed { tail } if tail > MOST_SEARCHED => trace.pieces().count() - 1,
        _ => trace.pieces().count(),
    };
    for (path, len) in trace.pieces().take(hashed) {
        pieces.push(piece(path, len)?);
    }
    // Whatever it is that follows the trace in its file: hashing that says nothing of the trace.
    if let (Ended::NotClosed { tail }, Some((path, len))) = (trace.ended(), trace.pieces().last())
        && tail > MOST_SEARCHED
    {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = format!("not computed: {} bytes follow the trace", count(tail));
        pieces.push(Piece { name, bytes: len, sha256 });
    }
    let (ended, ended_cleanly) = ended(trace.ended());
    Ok(Rest {
        trace: TraceFile {
            file: file.to_owned(),
            format: trace
                .pieces()
                .last()
                .and_then(|(path, _)| format(path))
                .unwrap_or_else(|| "unknown".to_owned()),
            pieces,
            ended,
            ended_cleanly,
            events: trace.events().saturating_sub(trace.first_event()),
        },
        environment: environment(run),
        gaps,
        missing_events,
        signals: signals(run),
        notes: run.notes.clone(),
        all_moments: trace.ticks().len(),
    })
}

/// A file's length and hash, of what was looked at.
fn piece(path: &Path, len: u64) -> Result<Piece> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut hash = Sha256::new();
    let mut bytes = 0;
    match File::open(path) {
        Ok(file) => {
            let mut file = file.take(len);
            let mut buffer = vec![0; 1 << 18];
            loop {
                let read = match file.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    result => result.with_context(|| format!("cannot read {}", path.display()))?,
                };
                if read == 0 {
                    break;
                }
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
        // A recorder with a limit drops its oldest.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Piece { name, bytes: len, sha256: "dropped meanwhile".to_owned() });
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Piece { name, bytes, sha256 })
}

/// `1.0`.
fn format(path: &Path) -> Option<String> {
    let mut bytes = [0; FILE_HEADER];
    File::open(path).ok()?.read_exact_at(&mut bytes, 0).ok()?;
    let header = FileHeader::decode(&bytes)?;
    Some(format!("{}.{}", header.major, header.minor))
}

/// In words, and whether nothing is missing at the end.
fn ended(ended: Ended) -> (String, bool) {
    match ended {
        Ended::Cleanly { why: Why::Failed } => ("broke off with an error".to_owned(), true),
        Ended::Cleanly { why: Why::DiskFull } => {
            ("was closed when the disk was full".to_owned(), true)
        }
        Ended::Cleanly { .. } => ("was closed when recording was over".to_owned(), true),
        Ended::Continued { .. } => ("goes on in a later file that is not here".to_owned(), false),
        Ended::Growing => ("is still being written".to_owned(), false),
        Ended::NotClosed { tail: 0 } => ("was not closed".to_owned(), false),
        Ended::NotClosed { tail } => {
            (format!("was not closed; its last {} bytes are no whole frame", count(tail)), false)
        }
    }
}

fn signals(run: &Run) -> Vec<Signal> {
    let mut signals: Vec<Signal> = run
        .probes
        .iter()
        .map(|probe| Signal {
            signal: probe.signal.clone(),
            hook: probe.hook.clone(),
            fidelity: probe.fidelity.name(),
        })
        .collect();
    for (signal, fidelity) in &run.fidelity {
        if !signals.iter().any(|it| it.signal == *signal) {
            signals.push(Signal {
                signal: (*signal).to_owned(),
                hook: String::new(),
                fidelity: fidelity.name(),
            });
        }
    }
    signals
}

fn environment(run: &Run) -> Environment {
    Environment {
        host: Host {
            name: run.host.name.clone(),
            kernel: run.host.kernel.clone(),
            boot_id: run.host.boot_id.clone(),
        },
        cpus: run.cpus,
        page_bytes: run.page_bytes,
        recorded_by: run.sockflow.clone(),
        reported_by: env!("CARGO_PKG_VERSION"),
        filter: run.filter.clone(),
        detail: run.detail.clone(),
        interval_s: run.interval_s,
        command: run.command.clone(),
        sysctls: run.sysctls.clone(),
    }
}
