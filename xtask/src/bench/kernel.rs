//! `cargo xtask bench kernel`: how long each BPF program runs, by the kernel's own account.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::at_exit::AtExit;
use super::figures::{median, table};
use super::kind::{EVENTS, Kind};
use super::tracer::{Tracer, descriptors, field};
use super::{Setup, print_header, storm};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Connections of each run
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    connections: u64,
    /// Threads of the storm
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Which commands are looked at
    #[arg(long, value_enum, value_delimiter = ',', default_value = "top,record")]
    under: Vec<Under>,
    /// Leave out the floors: programs of the benchmark's own, which take the BPF toolchain
    #[arg(long)]
    no_floors: bool,
    /// Another sockflow binary, run in alternation with the one built here
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl Args {
    pub(super) const fn floors(&self) -> bool {
        !self.no_floors
    }

    /// Everything, in so many rounds.
    pub(super) fn all(pairs: u32) -> Self {
        Self {
            pairs,
            connections: 100_000,
            workers: 1,
            under: vec![Under::Top, Under::Record],
            no_floors: false,
            against: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Under {
    Top,
    TopPort,
    Record,
    Trace,
}

impl Under {
    const fn kind(self) -> Kind {
        match self {
            Self::Top => Kind::Top,
            Self::TopPort => Kind::TopPort,
            Self::Record => Kind::Record,
            Self::Trace => Kind::Trace,
        }
    }
}

/// Time in ns and runs of each program, by the hook it is attached to.
type Account = BTreeMap<String, (f64, f64)>;

pub(super) fn run(setup: &Setup, args: &Args) -> Result<()> {
    let before = fs::read_to_string(SWITCH).context("this kernel keeps no time of programs")?;
    let _restore = AtExit::new(&format!("echo {} > {SWITCH}", before.trim()))?;
    fs::write(SWITCH, "1")?;

    let mut subjects = Vec::new();
    if args.floors() {
        for kind in Kind::FLOORS.into_iter().chain(Kind::WAYS_TO_FOLLOW) {
            subjects.push(Subject::new(kind, &setup.sockflow, false));
        }
    }
    for under in &args.under {
        subjects.push(Subject::new(under.kind(), &setup.sockflow, false));
        if let Some(other) = &args.against {
            subjects.push(Subject::new(under.kind(), other, true));
        }
    }
    for round in 1..=args.pairs {
        for subject in &mut subjects {
            let account = one(setup, subject.kind, &subject.binary, args)?;
            let total: f64 = account.values().map(|(ns, _)| ns).sum();
            let each = total / args.connections as f64;
            eprintln!("round {round}: {}: {each:.0} ns a connection", subject.name());
            subject.accounts.push(account);
        }
    }
    print_header(&format!(
        "cargo xtask bench kernel --pairs {} --connections {} --workers {}",
        args.pairs, args.connections, args.workers,
    ))?;
    let connections = args.connections as f64;
    print_summary(&subjects, connections);
    for subject in subjects.iter().filter(|subject| !subject.is_floor() && !subject.other) {
        let other = subjects.iter().find(|other| other.other && other.kind == subject.kind);
        println!("\nunder {}:\n", subject.kind.name());
        let mut accounts = vec![&subject.accounts[..]];
        accounts.extend(other.map(|other| &other.accounts[..]));
        print(&accounts, connections);
    }
    Ok(())
}

/// What is measured, and all that was.
struct Subject {
    kind: Kind,
    binary: PathBuf,
    other: bool,
    accounts: Vec<Account>,
}

impl Subject {
    fn new(kind: Kind, binary: &Path, other: bool) -> Self {
        Self { kind, binary: binary.to_owned(), other, accounts: Vec::new() }
    }

    fn name(&self) -> String {
        let which = if self.other { " (other)" } else { "" };
        format!("{}{which}", self.kind.name())
    }

    fn is_floor(&self) -> bool {
        Kind::FLOORS.contains(&self.kind) || Kind::WAYS_TO_FOLLOW.contains(&self.kind)
    }
}

/// The hook of the changes of state.
const STATE: &str = "inet_sock_set_state";

/// Nanoseconds a run of the program on that hook.
fn state_ns(account: &Account) -> f64 {
    account.get(STATE).map_or(f64::NAN, |(ns, runs)| ns / runs)
}

/// Each subject in ns an event, above the empty program of the same round.
fn print_summary(subjects: &[Subject], connections: f64) {
    let of = |kind: Kind| subjects.iter().find(|subject| subject.kind == kind);
    let Some(empty) = of(Kind::FloorEmpty) else { return };
    let floor = |kind: Kind| match kind {
        Kind::Top | Kind::TopPort => of(Kind::FloorCount),
        Kind::Record | Kind::Trace => of(Kind::FloorRecord),
        _ => None,
    };
    // Of the program on changes of state; and of all programs, for each change of state.
    let state = |subject: &Subject| -> Vec<f64> {
        let pairs = subject.accounts.iter().zip(&empty.accounts);
        pairs.map(|(account, empty)| state_ns(account) - state_ns(empty)).collect()
    };
    let all = |subject: &Subject| -> Vec<f64> {
        let pairs = subject.accounts.iter().zip(&empty.accounts);
        let net = |(account, empty): (&Account, &Account)| {
            let net = account.values().map(|(ns, runs)| ns - runs * state_ns(empty));
            net.sum::<f64>() / connections / EVENTS as f64
        };
        pairs.map(net).collect()
    };
    let ratio =
        |a: &[f64], b: &[f64]| format!("{:.2}", median(a.iter().zip(b).map(|(a, b)| a / b)));
    let rows: Vec<Vec<String>> = subjects
        .iter()
        .map(|subject| {
            let (own_state, own_all) = (state(subject), all(subject));
            let against = floor(subject.kind).map(state);
            let dash = || "–".to_owned();
            vec![
                subject.name(),
                format!("{:.0}", median(subject.accounts.iter().map(state_ns))),
                format!("{:.0}", median(own_state.iter().copied())),
                against.as_ref().map_or_else(dash, |floor| ratio(&own_state, floor)),
                format!("{:.0}", median(own_all.iter().copied())),
                against.as_ref().map_or_else(dash, |floor| ratio(&own_all, floor)),
            ]
        })
        .collect();
    let heads = [
        "under",
        "ns/run on changes of state",
        "above empty",
        "/ floor",
        "all programs, ns/event above empty",
        "/ floor",
    ];
    print!("{}", table(&heads, &rows));
}

/// One storm under one binary's tracer; the storm itself is always of the binary built here.
fn one(setup: &Setup, kind: Kind, binary: &Path, args: &Args) -> Result<Account> {
    let mut tracer = Tracer::start(setup, kind, binary)?;
    storm::warm_up(&setup.sockflow, args.workers)?;
    tracer.begin()?;
    let before = account(tracer.pid())?;
    storm::run(&setup.sockflow, args.connections, args.workers)?;
    let mut after = account(tracer.pid())?;
    tracer.finish(setup)?;
    for (hook, (ns, runs)) in &mut after {
        let (ns_before, runs_before) = before.get(hook).copied().unwrap_or_default();
        *ns -= ns_before;
        *runs -= runs_before;
    }
    // A stray reset of somebody else's connection is not the storm's.
    let few = args.connections as f64 / 100.0;
    after.retain(|_, (_, runs)| *runs > few);
    ensure!(!after.is_empty(), "no program of {} ran", binary.display());
    Ok(after)
}

/// Reads what `/proc` tells of a process's programs and links. A program has no name there; the
/// link that attaches it has one, or at least a kind.
fn account(pid: u32) -> Result<Account> {
    let descriptors = descriptors(pid)?;
    let hooks: BTreeMap<u64, String> = descriptors
        .iter()
        .filter(|info| info.contains("link_type:"))
        .filter_map(|info| Some((field(info, "prog_id:")? as u64, hook(info))))
        .collect();
    let programs: BTreeMap<u64, (f64, f64)> = descriptors
        .iter()
        .filter_map(|info| {
            let time_and_runs = (field(info, "run_time_ns:")?, field(info, "run_cnt:")?);
            Some((field(info, "prog_id:")? as u64, time_and_runs))
        })
        .collect();
    let mut account = Account::new();
    for (id, time_and_runs) in programs {
        let mut hook = hooks.get(&id).cloned().unwrap_or_else(|| format!("program {id}"));
        // Loaded after the first on its hook: the one that makes up for its skipped runs.
        if account.contains_key(&hook) {
            hook.push_str(TWIN);
        }
        account.insert(hook, time_and_runs);
    }
    Ok(account)
}

/// Behind the hook of a program's twin.
const TWIN: &str = " (twin)";

/// What a link is attached to.
fn hook(info: &str) -> String {
    let word = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    word("tp_name:").or_else(|| word("link_type:")).unwrap_or_default().to_owned()
}

fn print(accounts: &[&[Account]], connections: f64) {
    let all = accounts.iter().copied().flatten();
    let mut hooks: Vec<&String> = all.flat_map(BTreeMap::keys).collect();
    hooks.sort();
    hooks.dedup();
    let of = |account: &Account, hook: &String| account.get(hook).copied().unwrap_or_default();
    let mut heads = vec!["hook", "runs/conn", "ns/run", "ns/conn"];
    if accounts.len() > 1 {
        heads.extend(["other ns/run", "ratio (this / other)"]);
    }
    let mut rows = Vec::new();
    for hook in hooks {
        let each = |which: usize| {
            accounts[which].iter().map(move |account| of(account, hook)).map(|(ns, n)| ns / n)
        };
        let runs = median(accounts[0].iter().map(|account| of(account, hook).1 / connections));
        let conn = median(accounts[0].iter().map(|account| of(account, hook).0 / connections));
        let mut row = vec![
            hook.clone(),
            format!("{runs:.2}"),
            format!("{:.0}", median(each(0))),
            format!("{conn:.0}"),
        ];
        if accounts.len() > 1 {
            row.push(format!("{:.0}", median(each(1))));
            row.push(format!("{:.2}", median(each(0).zip(each(1)).map(|(a, b)| a / b))));
        }
        rows.push(row);
    }
    let total = |which: usize| {
        let sum = |account: &Account| account.values().map(|(ns, _)| ns).sum::<f64>();
        accounts[which].iter().map(sum).map(move |ns| ns / connections)
    };
    let mut row = vec!["all, per connection".to_owned(), String::new(), String::new()];
    row.push(format!("{:.0}", median(total(0))));
    if accounts.len() > 1 {
        row.push(format!("{:.0}", median(total(1))));
        row.push(format!("{:.2}", median(total(0).zip(total(1)).map(|(a, b)| a / b))));
    }
    rows.push(row);
    print!("{}", table(&heads, &rows));
}
