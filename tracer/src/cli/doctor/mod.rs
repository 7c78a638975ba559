//! `sockflow doctor`: watches for a few seconds, then says what runs out first. It changes nothing.
//!
//! - [`text`]: the report for people
//! - [`sysctl_file`]: the advice as a file for sysctl.d
//! - `trace`: the same over a recording, and for the screen of `replay`

pub mod sysctl_file;
pub mod text;
pub(in crate::cli) mod trace;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::filter::{self, FilterArgs};
use super::units::parse_duration;
use super::zone;
use crate::diagnose::{About, Report, State, Watch, examine};
use crate::error::Failure;
use crate::filter::Filter;
use crate::format::nothing_matches;
use crate::playback::goto::Goto;
use crate::recording::Trace;
use crate::recording::narrow::Narrowing;
use crate::source::facts::descriptors::Wanted;
use crate::source::facts::{Depth, FactReader};
use crate::source::namespaces;
use crate::source::workloads::{self, Workloads};
use crate::stdio;
use crate::time::Wall;
use crate::tui;

const EXAMPLES: &str = "\
Examples:
  What runs out first on this host?
      sudo sockflow doctor
  The service on port 9981, watched for longer, which makes trends surer:
      sudo sockflow doctor --port 9981 --watch 30s
  From cron: exit 11 where something is critical, 0 otherwise:
      sockflow doctor --fail-on crit >/dev/null
  The advice as a file, to read before it is used:
      sudo sockflow doctor --print-sysctl >90-sockflow.conf
  A recording at its worst moment, then half a minute before its end; needs no privilege:
      sockflow doctor --trace incident.sockflow
      sockflow doctor --trace incident.sockflow --at -30s";

/// Tell which limit of this host is reached first, and what to set
///
/// Every limit against its use, what runs out first and when, what to set and why, what that may
/// break and how to take it back. Changes nothing. Works without privilege as far as /proc shows;
/// what it could not see it says. Exits 0 where all is well, 10 on a warning, 11 where something is
/// critical, 3 where too little can be measured to tell.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES, mut_args(filter::briefly))]
pub struct DoctorArgs {
    /// How long to watch for trends, 0s to 60s
    #[arg(long, value_name = "D", default_value = "3s", value_parser = parse_watch)]
    watch: Duration,
    /// Look at this trace instead, as it was at its worst moment; trends are those of the half
    /// minute before
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "root"])]
    trace: Option<PathBuf>,
    /// At which moment of the trace: 16:41:52, +30s (from the start), -5m (from the end), @EVENT,
    /// !ANOMALY, max
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true, requires = "trace")]
    at: Option<Goto>,
    /// Print one sockflow.doctor/1 object
    #[arg(long)]
    json: bool,
    /// From which verdict on to exit with 10 or 11: warn, crit, never
    /// [default: warn; with --print-sysctl: never]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    fail_on: Option<FailOn>,
    /// Print the settings advised as a sysctl.d file
    #[arg(long, conflicts_with = "json")]
    print_sysctl: bool,
    /// Look for etc/sysctl.conf and sysctl.d below this folder
    #[arg(long, value_name = "DIR", default_value = "/", hide_short_help = true)]
    root: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Warn,
    Crit,
    Never,
}

fn parse_watch(text: &str) -> Result<Duration, String> {
    // The units' parser refuses 0, which here means: look once.
    let watch = match text.trim() {
        "0" | "0s" | "0ms" => Duration::ZERO,
        other => parse_duration(other)?,
    };
    if watch <= Duration::from_secs(60) { Ok(watch) } else { Err("watch for 60s at most".into()) }
}

impl DoctorArgs {
    /// Watches, reports, and returns the verdict's exit code.
    ///
    /// # Errors
    ///
    /// Too little can be measured to call the host well (what was is printed), or the output cannot be written.
    pub fn run(self) -> Result<ExitCode> {
        let report = match &self.trace {
            Some(path) => self.of_trace(path)?,
            None => self.of_host()?,
        };
        let code = self.exit_code(report.verdict);
        let mut out = stdio::out();
        let text = if self.json {
            serde_json::to_string(&report).context("cannot write JSON")? + "\n"
        } else if self.print_sysctl {
            sysctl_file::render(&report)
        } else {
            text::render(&report, &style(code))
        };
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write to stdout")?;
        if !report.is_founded() {
            let unknown = report.checks.iter().filter(|it| it.state == State::Unknown).count();
            let all = report.checks.len();
            let what = format!("{unknown} of {all} checks could not be made: too little to tell");
            let hint = match &self.trace {
                Some(_) => {
                    "older traces have few facts: record a new one, or look \
                            at the host: `sockflow doctor`"
                }
                None => "see whether the kernel's counters are there: `cat /proc/net/sockstat`",
            };
            return Err(Failure::environment(what).hint(hint).into());
        }
        Ok(ExitCode::from(code))
    }

    fn of_trace(&self, path: &Path) -> Result<Report> {
        let trace = Trace::open(path)?;
        let filter = self.filter.of_trace(&trace)?;
        if filter.netns.is_some() {
            return Err(Failure::usage(
                "--netns cannot be applied here: what the doctor looks at is recorded of one \
                 network namespace",
            )
            .hint(format!(
                "the events of a namespace: `sockflow export {} --format csv --netns …`",
                path.display()
            ))
            .into());
        }
        let narrowing = Narrowing::new(filter.clone(), &trace)?;
        if !filter.is_empty() {
            for note in filter::notes(&narrowing, &trace) {
                stdio::note(note);
            }
            if !trace::matches(&trace, &filter)? {
                stdio::note(nothing_matches(&filter.describe()));
            }
        }
        let (report, notes) = trace::report(trace, path, self.at.as_ref(), &narrowing)?;
        for note in notes {
            stdio::note(note);
        }
        Ok(report)
    }

    fn of_host(&self) -> Result<Report> {
        let filter = self.filter.resolve()?;
        let look = || observe(&self.root, self.watch, &filter);
        let watch = match &filter.netns {
            Some((path, _)) => namespaces::inside(Path::new(path), || Ok(look()))?,
            None => look(),
        }
        .about(filter.clone());
        let watch = match filter.workload {
            Some(_) => watch.with_workloads(workloads::all()?),
            None => watch,
        };
        if watch.matches() == Some(false) {
            stdio::note(nothing_matches(&filter.describe()));
        }
        let mut report = examine(&watch, self.about()).with_files();
        // Whose workloads are asked for is known already.
        let mut workloads = Workloads::default();
        for finding in report.findings.iter_mut().filter(|it| it.workload.is_none()) {
            finding.workload = finding.owner.as_ref().and_then(|it| workloads.of_pid(it.pid));
        }
        Ok(report)
    }

    fn about(&self) -> About {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        About {
            time: Wall(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    fn exit_code(&self, verdict: State) -> u8 {
        let default = if self.print_sysctl { FailOn::Never } else { FailOn::Warn };
        match (self.fail_on.unwrap_or(default), verdict) {
            (FailOn::Warn | FailOn::Crit, State::Crit) => 11,
            (FailOn::Warn, State::Warn) => 10,
            _ => 0,
        }
    }
}

/// Samples over `duration`: brief ones, or thorough ones where that costs little.
fn observe(root: &Path, duration: Duration, filter: &Filter) -> Watch {
    let wanted = Wanted { pid: filter.pid, comm: filter.comm.clone() };
    let asks_owners = filter.pid.is_some() || filter.comm.is_some();
    let mut reader = FactReader::open(root).keeping(wanted);
    if filter.netns.is_none() {
        reader = reader.looking_elsewhere();
    }
    let began = Instant::now();
    let mut before = Vec::new();
    if !duration.is_zero() {
        before.push(reader.sample(Depth::Thorough));
        let cost = began.elapsed();
        // A dozen points make a trend; more often than ten times a second the kernel's own
        // counters do not move.
        let step = (duration / 12).max(Duration::from_millis(100));
        let depth = if cost * 5 < step { Depth::Thorough } else { Depth::Brief };
        loop {
            let next = step * u32::try_from(before.len()).unwrap_or(u32::MAX);
            std::thread::sleep(next.min(duration).saturating_sub(began.elapsed()));
            if next >= duration {
                break;
            }
            before.push(reader.sample(depth));
        }
    }
    let mut last = reader.sample(Depth::Thorough);
    if asks_owners {
        reader.name_owners(&mut last);
    }
    Watch::new(before, last)
}

/// How this terminal, or pipe, takes text.
fn style(exit_code: u8) -> text::Style {
    let terminal = stdio::out_is_terminal();
    let columns = match rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok()).unwrap_or(80),
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    text::Style {
        width: columns.clamp(72, 160),
        ascii: !tui::shows_utf8(),
        color: terminal && !no_color && !dumb,
        zone: zone::reader(),
        exit_code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_verdict_as_far_as_asked_for() {
        let code = |fail_on, print_sysctl, verdict| {
            DoctorArgs {
                watch: Duration::ZERO,
                trace: None,
                at: None,
                json: false,
                fail_on,
                print_sysctl,
                root: PathBuf::new(),
                filter: FilterArgs::default(),
            }
            .exit_code(verdict)
        };
        assert_eq!(code(None, false, State::Ok), 0);
        assert_eq!(code(None, false, State::Warn), 10);
        assert_eq!(code(None, false, State::Crit), 11);
        assert_eq!(code(Some(FailOn::Crit), false, State::Warn), 0);
        assert_eq!(code(Some(FailOn::Crit), false, State::Crit), 11);
        assert_eq!(code(Some(FailOn::Never), false, State::Crit), 0);
        assert_eq!(code(None, true, State::Crit), 0);
        assert_eq!(code(Some(FailOn::Warn), true, State::Crit), 11);
    }

    #[test]
    fn a_watch_is_bounded() {
        assert_eq!(parse_watch("0"), Ok(Duration::ZERO));
        assert_eq!(parse_watch("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_watch("2m").is_err());
        assert!(parse_watch("soon").is_err());
    }
}
