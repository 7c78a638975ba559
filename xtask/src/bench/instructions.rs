//! `cargo xtask bench instructions`: what user space does for an event, in instructions.
//!
//! Valgrind's callgrind counts them on a CPU of its own, so that the figures do not depend on what
//! else the machine does. They are held against a file that is checked in, and a regression of more
//! than 15 % fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::figures::table;
use crate::test::live;
use crate::workspace::Workspace;
use crate::{deps, shell};

/// Instructions an item, by workload.
const BASELINE: &str = "tracer/benches/instructions.tsv";
/// So much more is a regression.
const TOLERANCE: f64 = 0.15;

#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Make what is counted the baseline
    #[arg(long)]
    accept: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let counted = count(workspace)?;
    if args.accept {
        let lines = counted.iter().map(|(name, each)| format!("{name}\t{each:.1}\n"));
        fs::write(workspace.path(BASELINE), lines.collect::<String>())?;
        println!("{BASELINE} written");
        return Ok(());
    }
    let text = fs::read_to_string(workspace.path(BASELINE))
        .with_context(|| format!("no baseline ({BASELINE}): {ACCEPT}"))?;
    let (rows, wrong) = compare(&counted, &baseline(&text));
    print!("{}", table(&["workload", "instructions/item", "baseline", "ratio"], &rows));
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}\nIf it has to be so: {ACCEPT}", wrong.join("\n"))
    }
}

const ACCEPT: &str = "`cargo xtask bench instructions --accept`, and commit the file";

/// The table, and what is wrong.
fn compare(
    counted: &[(String, f64)],
    baseline: &BTreeMap<String, f64>,
) -> (Vec<Vec<String>>, Vec<String>) {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (name, each) in counted {
        let known = baseline.get(name);
        rows.push(vec![
            name.clone(),
            format!("{each:.1}"),
            known.map_or_else(|| "–".to_owned(), |known| format!("{known:.1}")),
            known.map_or_else(|| "–".to_owned(), |known| format!("{:.2}", each / known)),
        ]);
        match known {
            None => wrong.push(format!("{name} has no baseline")),
            Some(known) if each / known > 1.0 + TOLERANCE => wrong.push(format!(
                "{name} takes {each:.1} instructions an item, {:.0} % more than {known:.1}",
                (each / known - 1.0) * 100.0
            )),
            Some(_) => {}
        }
    }
    (rows, wrong)
}

fn baseline(text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (name, each) = line.split_once('\t')?;
        Some((name.to_owned(), each.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Instructions an item of each workload, in their order.
fn count(workspace: &Workspace) -> Result<Vec<(String, f64)>> {
    deps::require("valgrind")?;
    let program = live::build_example(workspace, "instructions")?;
    let file = workspace.path("target/callgrind.out");
    let mut counted = Vec::new();
    for line in shell::read(&mut Command::new(&program))?.lines() {
        let (name, items) = line.split_once('\t').context("a line without a tab")?;
        shell::run(
            Command::new("valgrind")
                .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
                .arg("--toggle-collect=*sockflow_counted*")
                .arg(format!("--callgrind-out-file={}", file.display()))
                .arg(&program)
                .arg(name),
        )?;
        let total = total(&file)?;
        ensure!(total > 0.0, "callgrind counted nothing of {name}");
        counted.push((name.to_owned(), total / items.parse::<f64>()?));
    }
    ensure!(!counted.is_empty(), "no workload ran");
    Ok(counted)
}

/// The sum in one of callgrind's files.
fn total(file: &Path) -> Result<f64> {
    let text = fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    Ok(line.context("callgrind tells no sum")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regression_and_a_stranger_are_wrong() {
        let known = baseline("fold\t100.0\ndraw\t50.0\n");
        let counted = |fold, draw| vec![("fold".to_owned(), fold), ("draw".to_owned(), draw)];
        assert!(compare(&counted(114.0, 20.0), &known).1.is_empty());
        assert_eq!(compare(&counted(116.0, 58.0), &known).1.len(), 2);
        let stranger = vec![("new".to_owned(), 1.0)];
        assert_eq!(compare(&stranger, &known).1, ["new has no baseline"]);
    }
}
