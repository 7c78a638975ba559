//! `sockflow report`: the postmortem of a trace.
//!
//! * `gather`: reads the trace once and has [`crate::report`] make the report;
//! * `facts`: what a report says of the trace's files and run.

#[cfg(test)]
mod agreement;
mod facts;
mod gather;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::filter::{FilterArgs, briefly};
use super::gaps;
use super::output::Output;
use super::replay::tape::FileTape;
use super::zone;
use crate::error::Failure;
use crate::playback::goto::Goto;
use crate::recording::Trace;
use crate::recording::narrow::Narrowing;
use crate::report::redact::Redactor;
use crate::report::{Report, html, json, markdown};
use crate::stdio;
use gather::Part;

const EXAMPLES: &str = "\
Examples:
  The page to attach to the ticket, one file that loads nothing:
      sockflow report incident.sockflow -o incident.html
  The same to read here, or to paste into a chat:
      sockflow report incident.sockflow | less
  Ten minutes of it, of one service, for people who may not know the peers:
      sockflow report incident.sockflow --from 16:35 --to 16:45 --port 9981 --redact -o part.html
  One number of it, for a script:
      sockflow report incident.sockflow --format json | jq .impact.killed";

/// Write the postmortem of a trace: what happened, when, who it was, what to change
///
/// The verdict in one sentence, what was killed and dropped, a timeline whose marks open the trace
/// at that moment, charts, the ports, processes and peers before, during and after, the doctor at
/// the worst moment, and how far all of it can be trusted. HTML is one file that loads nothing.
/// Needs no privilege.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES, mut_args(briefly))]
pub struct ReportArgs {
    /// The trace; FILE.1, FILE.2 … that belong to it are read too
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write; its extension is the format: .html, .md, .json [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// html, md (the default on stdout) or json
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    format: Option<Format>,
    /// Begin here: 16:41:52, +30s (from the start), -5m (from the end), @EVENT, !ANOMALY, max
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    from: Option<Goto>,
    /// End here, said likewise
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    to: Option<Goto>,
    /// Take addresses and the host's name out; leave out command line, cgroups and file names
    #[arg(long)]
    redact: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Html,
    #[value(alias = "markdown")]
    Md,
    Json,
}

impl Format {
    /// What the extension says.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "html" | "htm" => Some(Self::Html),
            "md" | "markdown" => Some(Self::Md),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl ReportArgs {
    /// Reads the trace and writes the report.
    ///
    /// # Errors
    ///
    /// See [`Trace::open`]; there is nothing to tell of; the output cannot be written.
    pub fn run(self) -> Result<()> {
        let output = Output::new(self.output.as_deref(), self.force, "report.html")?;
        let format = self.format(&output)?;
        let trace = Trace::open(&self.file)?;
        output.is_not_among(trace.pieces().map(|(path, _)| path))?;
        if trace.ticks().is_empty() {
            return Err(gaps::no_moment(&trace));
        }
        let narrowing = Narrowing::new(self.filter.of_totals(&trace, &self.file)?, &trace)?;
        let zone = zone::reader();
        let (trace, from, to) = self.range(trace, &zone)?;
        let file = self.file.to_string_lossy().into_owned();
        let part = Part { from, to, narrowing, redact: self.redact, file, zone };
        let mut gathered = gather::gather(&trace, &part)?;
        for note in &gathered.notes {
            stdio::note(note);
        }
        if self.redact {
            let host = gathered.report.environment.host.name.clone();
            Redactor::new(key()?, host).redact(&mut gathered.report);
        }
        let text = render(&gathered.report, format, &part.zone)?;
        output.write(text.as_bytes())
    }

    fn format(&self, output: &Output) -> Result<Format> {
        let format = match (self.format, output) {
            (Some(format), _) => format,
            (None, Output::Stdout) => Format::Md,
            (None, Output::File { path, .. }) => Format::of(path).ok_or_else(|| {
                let shown = path.display();
                Failure::usage(format!("cannot tell a format from the name {shown}"))
                    .hint(format!("name it .html, .md or .json, or say: --format html -o {shown}"))
            })?,
        };
        if format == Format::Html && *output == Output::Stdout && stdio::out_is_terminal() {
            let name = self.file.with_extension("html");
            return Err(Failure::usage("a terminal does not show HTML")
                .hint(format!("sockflow report {} -o {}", self.file.display(), name.display()))
                .into());
        }
        Ok(format)
    }

    /// The indexes of the first and the last moment.
    fn range(&self, trace: Trace, zone: &TimeZone) -> Result<(Trace, usize, usize)> {
        let last = trace.ticks().len() - 1;
        let mut tape = FileTape::new(trace, zone.clone());
        let from = self.from.as_ref().map_or(Ok(0), |place| tape.find(place, "--from"))?;
        let to = self.to.as_ref().map_or(Ok(last), |place| tape.find(place, "--to"))?;
        let (trace, _) = tape.into_parts();
        if from > to {
            return Err(Failure::usage("--from is later than --to")
                .hint("exchange them, or leave one out")
                .into());
        }
        Ok((trace, from, to))
    }
}

fn render(report: &Report, format: Format, zone: &TimeZone) -> Result<String> {
    Ok(match format {
        Format::Html => html::render(report, zone),
        Format::Md => markdown::render(report, zone),
        Format::Json => json::render(report).context("cannot write JSON")?,
    })
}

/// A key that nobody has.
fn key() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    let got = rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .context("the kernel gives no random key to redact with")?;
    anyhow::ensure!(got == key.len(), "the kernel gives too short a key to redact with");
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_formats() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("a/b.HTML"), Some(Format::Html));
        assert_eq!(of("b.htm"), Some(Format::Html));
        assert_eq!(of("b.md"), Some(Format::Md));
        assert_eq!(of("b.json"), Some(Format::Json));
        assert_eq!(of("b.pdf"), None);
        assert_eq!(of("html"), None);
    }
}
