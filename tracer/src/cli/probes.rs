//! `sockflow probes`: which hook each signal uses on this kernel.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::bpf::btf::VMLINUX;
use crate::bpf::load::{Kernel, Options};
use crate::bpf::plan::ProbeReport;
use crate::bpf::probes::PROBES;
use crate::bpf::verifier;
use crate::stdio;
use tracer_common::config::DETAIL_ALL;

const EXAMPLES: &str = "\
Examples:
  Can this host be traced, and how well?
      sudo sockflow probes
  The signals that are not exact here:
      sudo sockflow probes --json | jq '.signals[] | select(.fidelity != \"exact\")'";

/// Show which hook each signal uses here, and what can't be seen
///
/// Attaches everything once and lets go again.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ProbesArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print every rung there is, whatever this kernel offers, as one JSON array
    #[arg(long, hide = true)]
    ladder: bool,
    /// Print how many instructions of each program the kernel's verifier walks, as a JSON object
    #[arg(long, hide = true)]
    verifier: bool,
    /// The kernel's type information
    #[arg(long, value_name = "FILE", default_value = VMLINUX)]
    btf: PathBuf,
}

impl ProbesArgs {
    /// Attaches everything once, tells what was accepted, and lets go.
    ///
    /// # Errors
    ///
    /// This host cannot be traced at all.
    pub fn run(self) -> Result<()> {
        if self.ladder {
            writeln!(stdio::out(), "{}", ladder())?;
            return Ok(());
        }
        let options = Options {
            filter: tracer_common::config::Filter::default(),
            detail: DETAIL_ALL,
            ring_bytes: 1 << 16,
            max_sockets: 1024,
            max_minisockets: 1024,
            btf: self.btf,
            verbose: false,
        };
        if self.verifier {
            let instructions = verifier::instructions(&options)?;
            let object = serde_json::json!({ "instructions": instructions });
            writeln!(stdio::out(), "{object}")?;
            return Ok(());
        }
        let (plan, forbidden) = Kernel::survey(&options)?;
        let report = plan.report();
        let mut out = stdio::out();
        if self.json {
            let object = serde_json::json!({ "schema": "sockflow.probes/1", "signals": report });
            writeln!(out, "{object}")?;
        } else {
            write!(out, "{}", table(&report))?;
        }
        // As every command that traces ends here; what the table says stays.
        forbidden.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// Every rung of the table, best first within its signal.
fn ladder() -> serde_json::Value {
    PROBES
        .iter()
        .map(|rung| {
            serde_json::json!({
                "signal": rung.signal.name(),
                "hook": rung.hook.to_string(),
                "program": rung.program.map(|_| {
                    let programs: Vec<&str> = rung.parts().map(|(_, program)| program).collect();
                    programs.join(" ")
                }),
                "fidelity": rung.fidelity.name(),
                "blind": rung.blind,
            })
        })
        .collect()
}

/// The table for people.
#[must_use]
pub fn table(report: &[ProbeReport]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let _ = writeln!(out, "{:<15} {:<9} HOOK", "SIGNAL", "FIDELITY");
    for row in report {
        let hook = row.hook.as_deref().unwrap_or("none");
        let _ = writeln!(out, "{:<15} {:<9} {hook}", row.signal, row.fidelity.name());
        for refusal in &row.refused {
            let _ = writeln!(out, "{:<25} refused: {}: {}", "", refusal.hook, refusal.reason);
        }
        if !row.blind.is_empty() {
            let _ = writeln!(out, "{:<25} not seen: {}", "", row.blind);
        }
    }
    out
}
