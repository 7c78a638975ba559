//! `cargo xtask bench overhead`: rounds of storms, untraced and under each tracer in turn.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::figures::{median, range, table};
use super::kind::Kind;
use super::tracer::{Outcome, Tracer};
use super::{Setup, print_header, storm};
use crate::deps;

/// After a run its network namespace is taken down in the background.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds: each has one untraced run and one under each tracer
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Connections of each run
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    connections: u64,
    /// Threads of the storm; each number is a series of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<u32>,
    /// Other tools to compare with
    #[arg(long, value_delimiter = ',', default_value = "all")]
    peers: Vec<Peer>,
    /// Leave out the floors: programs of the benchmark's own, which take the BPF toolchain
    #[arg(long)]
    no_floors: bool,
}

impl Args {
    pub(super) const fn floors(&self) -> bool {
        !self.no_floors
    }

    /// Everything, in so many rounds.
    pub(super) fn all(pairs: u32) -> Self {
        let (workers, peers) = (vec![1, 2], vec![Peer::All]);
        Self { pairs, connections: 40_000, workers, peers, no_floors: false }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    None,
    All,
    Tcpstates,
    Tcplife,
    Bpftrace,
    Perf,
}

impl Peer {
    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::None => &[],
            Self::All => &[
                Kind::Tcpstates,
                Kind::Tcplife,
                Kind::BpftracePrint,
                Kind::BpftraceCount,
                Kind::PerfRecord,
            ],
            Self::Tcpstates => &[Kind::Tcpstates],
            Self::Tcplife => &[Kind::Tcplife],
            Self::Bpftrace => &[Kind::BpftracePrint, Kind::BpftraceCount],
            Self::Perf => &[Kind::PerfRecord],
        }
    }
}

/// One run.
struct Run {
    per_s: f64,
    cpu_us: f64,
    traced: Option<Outcome>,
}

/// All runs of one series: by round, then by tracer; the first is untraced.
struct Series {
    workers: u32,
    rounds: Vec<Vec<Run>>,
}

pub(super) fn run(setup: &Setup, args: &Args) -> Result<()> {
    let ours = [Kind::Top, Kind::TopPort, Kind::Record, Kind::Trace];
    let mut tracers: Vec<Option<Kind>> = vec![None];
    tracers.extend(ours.map(Some));
    if args.floors() {
        tracers.extend(Kind::FLOORS.map(Some));
    }
    let mut refused = Vec::new();
    for &kind in args.peers.iter().flat_map(|peer| peer.kinds()) {
        match try_out(setup, kind) {
            Ok(()) => tracers.push(Some(kind)),
            Err(error) => refused.push(format!("{} cannot run here: {error:#}", kind.name())),
        }
    }
    let mut all = Vec::new();
    for &workers in &args.workers {
        let mut rounds = Vec::new();
        for round in 1..=args.pairs {
            let mut runs = Vec::new();
            for &tracer in &tracers {
                let run = one(setup, tracer, args.connections, workers)?;
                let name = tracer.map_or("untraced", Kind::name);
                eprintln!("workers {workers}, round {round}: {name}: {:.0}/s", run.per_s);
                runs.push(run);
                sleep(PAUSE);
            }
            rounds.push(runs);
        }
        all.push(Series { workers, rounds });
    }
    let workers: Vec<String> = args.workers.iter().map(ToString::to_string).collect();
    print_header(&format!(
        "cargo xtask bench overhead --pairs {} --connections {} --workers {}",
        args.pairs,
        args.connections,
        workers.join(",")
    ))?;
    print(&tracers, args.connections, &all);
    for refusal in refused {
        println!("{refusal}");
    }
    Ok(())
}

/// Whether a peer installs and runs on this machine.
fn try_out(setup: &Setup, kind: Kind) -> Result<()> {
    if let Some(package) = kind.package() {
        deps::require(package)?;
    }
    let mut tracer = Tracer::start(setup, kind, &setup.sockflow)?;
    tracer.begin()?;
    storm::poke(&setup.sockflow)?;
    tracer.finish(setup).map(drop)
}

fn one(setup: &Setup, tracer: Option<Kind>, connections: u64, workers: u32) -> Result<Run> {
    let mut tracer = tracer.map(|kind| Tracer::start(setup, kind, &setup.sockflow)).transpose()?;
    storm::warm_up(&setup.sockflow, workers)?;
    if let Some(tracer) = &mut tracer {
        tracer.begin()?;
    }
    let storm = storm::run(&setup.sockflow, connections, workers)?;
    let traced = tracer.map(|tracer| tracer.finish(setup)).transpose()?;
    Ok(Run { per_s: storm.per_s, cpu_us: storm.cpu_us, traced })
}

const HEADS: [&str; 11] = [
    "workers, tracer",
    "throughput / untraced",
    "(min–max)",
    "added CPU µs/conn",
    "/ tcpstates",
    "of it the tool",
    "events lost",
    "it told",
    "bytes/event",
    "RSS + maps MB",
    "start ms",
];

fn print(tracers: &[Option<Kind>], connections: u64, all: &[Series]) {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for series in all {
        let per_s = median(series.rounds.iter().map(|runs| runs[0].per_s));
        let cpu = median(series.rounds.iter().map(|runs| runs[0].cpu_us));
        let workers = series.workers;
        notes.push(format!(
            "untraced, {workers} worker(s): {per_s:.0} connections/s, {cpu:.1} µs CPU a connection"
        ));
        for (index, tracer) in tracers.iter().enumerate() {
            if let Some(kind) = tracer {
                let peer = tracers.iter().position(|other| *other == Some(Kind::Tcpstates));
                rows.push(row(series, index, *kind, peer, connections));
            }
        }
    }
    print!("{}", table(&HEADS, &rows));
    println!();
    for note in notes {
        println!("{note}");
    }
    println!("medians of {} rounds", all.first().map_or(0, |series| series.rounds.len()));
}

fn row(
    series: &Series,
    index: usize,
    kind: Kind,
    peer: Option<usize>,
    connections: u64,
) -> Vec<String> {
    let rounds = &series.rounds;
    let connections = connections as f64;
    let tool = |run: &Run| run.traced.as_ref().map_or(0.0, |t| t.cpu_s * 1e6 / connections);
    let added =
        |runs: &Vec<Run>, index: usize| runs[index].cpu_us + tool(&runs[index]) - runs[0].cpu_us;
    let speeds = || rounds.iter().map(|runs| runs[index].per_s / runs[0].per_s);
    let (low, high) = range(speeds());
    let outcomes = || rounds.iter().filter_map(|runs| runs[index].traced.as_ref());
    let expected = kind.expected(connections);
    // A floor tells nothing of what it saw.
    let lost = median(outcomes().map(|t| 1.0 - t.seen / expected));
    let told = median(outcomes().map(|t| t.told / expected));
    let bytes: Vec<f64> = outcomes().filter_map(|t| t.event_bytes).collect();
    let bytes = (!bytes.is_empty()).then(|| median(bytes));
    let mb = |bytes: f64| bytes / 1e6;
    let against = peer.map_or_else(
        || "–".to_owned(),
        |peer| format!("{:.3}", median(rounds.iter().map(|r| added(r, index) / added(r, peer)))),
    );
    vec![
        format!("{}, {}", series.workers, kind.name()),
        format!("{:.2}", median(speeds())),
        format!("{low:.2}–{high:.2}"),
        format!("{:.1}", median(rounds.iter().map(|runs| added(runs, index)))),
        against,
        format!("{:.2}", median(rounds.iter().map(|runs| tool(&runs[index])))),
        percent(lost),
        percent(told),
        bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.1}")),
        format!(
            "{:.0} + {:.0}",
            mb(median(outcomes().map(|t| t.rss))),
            mb(median(outcomes().map(|t| t.maps)))
        ),
        format!("{:.0}", 1e3 * median(outcomes().map(|t| t.start_s))),
    ]
}

fn percent(share: f64) -> String {
    if share.is_nan() {
        "–".to_owned()
    } else if share <= 0.0 {
        "0".to_owned()
    } else {
        format!("{:.2} %", share * 100.0)
    }
}
