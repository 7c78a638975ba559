//! `sockflow export`: a trace's events for other tools.

mod progress;
mod select;

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use super::filter::{self, FilterArgs};
use super::gaps;
use super::output::{Open, Output, Stream};
use super::signals::INTERRUPTED;
use super::zone;
use crate::error::Failure;
use crate::export::{About, Account, Writer, csv::Csv, jsonl::Jsonl, parquet::Parquet};
use crate::playback::goto::Goto;
use crate::recording::narrow::Narrowing;
use crate::recording::{Gap, Trace};
use crate::stdio;
use progress::Line;
use select::{Selection, Window};

const EXAMPLES: &str = "\
Examples:
  A row an event, for DuckDB, pandas, ClickHouse or Spark:
      sockflow export incident.sockflow -o incident.parquet
  What docs/ANALYSIS.md asks of such a file, for one:
      duckdb -c \"select reason, count(*) from 'incident.parquet'
                 where kind = 'orphan_end' group by all\"
  Ten minutes of one port, for a spreadsheet:
      sockflow export incident.sockflow -o storm.csv --port 9981 --from 16:40 --to 16:50
  Resets from one network, as JSON lines:
      sockflow export incident.sockflow --format jsonl --addr 10.4.0.0/16 |
          jq -c 'select(.kind == \"reset_in\")'";

/// Write a trace's events for other tools: Parquet, CSV, JSON lines
///
/// A row an event, with the host's name in it, so that the files of many hosts can be asked at once.
/// Needs no privilege but to read the trace, and little memory whatever its length. The file appears
/// under its name when it is whole.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES, mut_args(filter::briefly))]
pub struct ExportArgs {
    /// The trace; FILE.1, FILE.2 … that belong to it are read too
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to write [default: from the name of --output]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "parquet|jsonl|csv")]
    format: Option<Format>,
    /// Where to; stdout without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only from here on: 16:41:52, +30s, -5m, @EVENT, !ANOMALY, max
    ///
    /// As for `replay --at`: a time or a day and a time in your zone, so long after the start (+) or
    /// before the end (-). What is no time stands for the interval that ends with it.
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    from: Option<Goto>,
    /// Only what was before this
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    to: Option<Goto>,
    /// Replace --output if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What a file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns, compressed.
    Parquet,
    /// One object a line.
    Jsonl,
    /// With a header.
    Csv,
}

impl Format {
    fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Some(Self::Parquet),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

impl ExportArgs {
    /// Writes the file.
    ///
    /// # Errors
    ///
    /// See [`Trace::open`]; the options cannot be; or the output cannot be written.
    pub fn run(self) -> Result<ExitCode> {
        let format = self.format()?;
        let output = Output::new(self.output.as_deref(), self.force, "incident.parquet")?;
        if format == Format::Parquet && output == Output::Stdout && stdio::out_is_terminal() {
            let name = self.file.with_extension("parquet");
            return Err(Failure::usage("a Parquet file is nothing for a terminal")
                .hint(format!("sockflow export {} -o {}", self.file.display(), name.display()))
                .into());
        }
        let trace = Trace::open(&self.file)?;
        output.is_not_among(trace.pieces().map(|(path, _)| path))?;
        if trace.ticks().is_empty() && trace.events() <= trace.first_event() {
            return Err(gaps::no_moment(&trace));
        }
        let narrowing = Narrowing::new(self.filter.of_trace(&trace)?, &trace)?;
        let notes = filter::notes(&narrowing, &trace);
        let zone = zone::reader();
        let (window, trace) = Window::resolve(trace, self.from.as_ref(), self.to.as_ref(), &zone)?;
        let open = output.open()?;
        let mut line = Line::new(&trace);
        let mut selection = Selection::new(window, narrowing, &trace);
        let result = write(&trace, &open, format, &mut selection, &mut line);
        line.clear();
        let Some((account, gaps)) = result? else {
            stdio::last_words("sockflow: stopped: nothing was written");
            return Ok(ExitCode::from(INTERRUPTED));
        };
        let written = open.commit()?;
        progress::tell(&account, notes, selection.filter(), &gaps, &trace, &zone, written.as_ref());
        Ok(ExitCode::SUCCESS)
    }

    fn format(&self) -> Result<Format> {
        let named = self.output.as_deref().and_then(Format::of_name);
        self.format.or(named).ok_or_else(|| {
            let file = self.file.display();
            let what = match &self.output {
                Some(output) => format!("{} names no format", output.display()),
                None => "no format is named".to_owned(),
            };
            Failure::usage(what)
                .hint(format!("name one: sockflow export {file} --format parquet|jsonl|csv, or -o NAME.parquet"))
                .into()
        })
    }
}

/// Reads the trace into the output; what there is to tell of it, `None` where a signal stopped it.
fn write(
    trace: &Trace,
    output: &Open<'_>,
    format: Format,
    selection: &mut Selection,
    line: &mut Line,
) -> Result<Option<(Account, Vec<Gap>)>> {
    let cannot_write = |error| output.cannot_write(error);
    let mut writer = writer(format, output.stream()?, &about(trace)).map_err(cannot_write)?;
    selection.begin(trace)?;
    let mut cursor = trace.start();
    loop {
        if output.is_stopped() {
            return Ok(None);
        }
        let more = selection.read(trace, &mut cursor, &mut *writer)?.map_err(cannot_write)?;
        line.show(cursor.next_event(), output.bytes());
        if !more {
            break;
        }
    }
    let gaps = selection.gaps(trace);
    let account = selection.account(&gaps, trace);
    writer.finish(&account).map_err(cannot_write)?;
    Ok(Some((account, gaps)))
}

fn writer(format: Format, out: Stream, about: &About) -> io::Result<Box<dyn Writer>> {
    let buffered = |out| BufWriter::with_capacity(1 << 18, out);
    Ok(match format {
        Format::Parquet => Box::new(Parquet::new(out, about)?),
        Format::Jsonl => Box::new(Jsonl::new(buffered(out), about)),
        Format::Csv => Box::new(Csv::new(buffered(out), about)?),
    })
}

fn about(trace: &Trace) -> About {
    let run = trace.run();
    About {
        anchor: run.anchor,
        host: run.host.name.clone(),
        kernel: run.host.kernel.clone(),
        boot_id: run.host.boot_id.clone(),
        recorded_by: run.sockflow.clone(),
        trace: trace.id(),
        filter: run.filter.clone(),
        detail: run.detail.clone(),
    }
}
