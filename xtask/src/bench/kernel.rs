//! `cargo xtask bench kernel`: how long each BPF program runs, by the kernel's own account.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::at_exit::AtExit;
use super::figures::{median, table};
use super::tracer::{Kind, Tracer, descriptors, field};
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
    /// Which command is looked at
    #[arg(long, value_enum, default_value_t = Under::Top)]
    under: Under,
    /// Another sockflow binary, run in alternation with the one built here
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Under {
    Top,
    TopPort,
    Trace,
}

/// Time in ns and runs of each program, by the hook it is attached to.
type Account = BTreeMap<String, (f64, f64)>;

pub(super) fn run(setup: &Setup, args: &Args) -> Result<()> {
    let before = fs::read_to_string(SWITCH).context("this kernel keeps no time of programs")?;
    let _restore = AtExit::new(&format!("echo {} > {SWITCH}", before.trim()))?;
    fs::write(SWITCH, "1")?;

    let kind = match args.under {
        Under::Top => Kind::Top,
        Under::TopPort => Kind::TopPort,
        Under::Trace => Kind::Trace,
    };
    let mut binaries = vec![setup.sockflow.as_path()];
    binaries.extend(args.against.as_deref());
    let mut accounts: Vec<Vec<Account>> = binaries.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.pairs {
        for (&binary, accounts) in binaries.iter().zip(&mut accounts) {
            let account = one(setup, kind, binary, args)?;
            let total: f64 = account.values().map(|(ns, _)| ns).sum();
            let each = total / args.connections as f64;
            eprintln!("round {round}: {}: {each:.0} ns a connection", binary.display());
            accounts.push(account);
        }
    }
    print_header(&format!(
        "cargo xtask bench kernel --pairs {} --connections {} --workers {}, under {}",
        args.pairs,
        args.connections,
        args.workers,
        kind.name()
    ))?;
    print(&accounts, args.connections as f64);
    Ok(())
}

/// One storm under one binary's tracer; the storm itself is always of the binary built here.
fn one(setup: &Setup, kind: Kind, binary: &Path, args: &Args) -> Result<Account> {
    let mut tracer = Tracer::start(setup, kind, binary)?;
    storm::warm_up(&setup.sockflow, args.workers)?;
    tracer.begin()?;
    let before = account(tracer.pid())?;
    storm::run(&setup.sockflow, args.connections, args.workers)?;
    let mut after = account(tracer.pid())?;
    tracer.finish()?;
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
    let programs = descriptors.iter().filter_map(|info| {
        let id = field(info, "prog_id:")? as u64;
        let account = (field(info, "run_time_ns:")?, field(info, "run_cnt:")?);
        Some((hooks.get(&id).cloned().unwrap_or_else(|| format!("program {id}")), account))
    });
    Ok(programs.collect())
}

/// What a link is attached to.
fn hook(info: &str) -> String {
    let word = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    word("tp_name:").or_else(|| word("link_type:")).unwrap_or_default().to_owned()
}

fn print(accounts: &[Vec<Account>], connections: f64) {
    let mut hooks: Vec<&String> = accounts.iter().flatten().flat_map(BTreeMap::keys).collect();
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
