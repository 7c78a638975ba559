//! The parts of docs/ that are written from the sources, between markers, so that prose and code
//! cannot disagree. [`crate::tidy`] asks whether they are current.

#[path = "../../../tracer/src/diagnose/sysctls/table.rs"]
#[allow(dead_code, unreachable_pub, reason = "the product's table, of which this reads a part")]
mod table;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail};

use self::table::{Chapter, Life, Sysctl, TABLE, Where};
use crate::workspace::Workspace;

/// The document.
pub(crate) const FILE: &str = "docs/TUNING.md";

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// What a marker names.
const CHAPTERS: [(&str, Chapter); 7] = [
    ("orphans", Chapter::Orphans),
    ("memory", Chapter::Memory),
    ("time-wait", Chapter::TimeWait),
    ("ports", Chapter::Ports),
    ("queues", Chapter::Queues),
    ("files", Chapter::Files),
    ("others", Chapter::Others),
];

/// `cargo xtask docs`.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let path = workspace.path(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let current = current(&text)?;
    if current == text {
        println!("{FILE} is current");
        return Ok(());
    }
    fs::write(&path, current).with_context(|| format!("cannot write {FILE}"))?;
    println!("{FILE} written");
    Ok(())
}

/// The first line that is not as the sources give it, if one.
pub(crate) fn stale(workspace: &Workspace) -> Result<Option<usize>> {
    let text =
        fs::read_to_string(workspace.path(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let current = current(&text)?;
    if current == text {
        return Ok(None);
    }
    let differs = text.lines().zip(current.lines()).position(|(is, should)| is != should);
    Ok(Some(differs.map_or(0, |at| at + 1)))
}

/// The document with its generated parts made anew.
fn current(text: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut missing: Vec<&str> = CHAPTERS.iter().map(|(name, _)| *name).collect();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").context("a marker does not end")?;
        let Some((_, chapter)) = CHAPTERS.iter().find(|(known, _)| *known == name) else {
            bail!("no part is called `{name}`");
        };
        let (_, after) = after.split_once(END).with_context(|| format!("`{name}` has no end"))?;
        missing.retain(|other| *other != name);
        let _ = write!(out, "{before}{BEGIN}{name} -->\n{}{END}", chapter_table(*chapter));
        rest = after;
    }
    if let [first, ..] = missing[..] {
        bail!("the part `{first}` is nowhere in it");
    }
    Ok(out + rest)
}

fn chapter_table(chapter: Chapter) -> String {
    let entries: Vec<&Sysctl> = TABLE.iter().filter(|entry| entry.chapter == chapter).collect();
    let mut out = String::from(
        "\n| setting | counts | whose | what it does | what else follows | where it says so |\n\
         |---|---|---|---|---|---|\n",
    );
    for entry in &entries {
        let whose = match entry.scope {
            Where::Host => "the host's",
            Where::Netns => "a namespace's",
        };
        let life = match entry.life {
            Life::Always => String::new(),
            Life::Since(version) => format!(" (since {version})"),
            Life::Until(version) => format!(" (**gone** since {version})"),
            Life::Inert(version) => format!(" (**inert** since {version})"),
            Life::Vendor => " (**never upstream**)".to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}`{life} | {} | {whose} | {} | {} | {} |",
            short(entry.name),
            entry.unit,
            entry.does,
            entry.beware,
            entry.source
        );
    }
    let myths: Vec<&&Sysctl> = entries.iter().filter(|entry| entry.myth.is_some()).collect();
    if !myths.is_empty() {
        out.push_str("\nSaid, and not so:\n\n");
        for entry in myths {
            let myth = entry.myth.unwrap_or_default();
            let _ = writeln!(out, "- of `{}`: {myth}.", short(entry.name));
        }
    }
    out.push('\n');
    out
}

fn short(name: &str) -> &str {
    name.strip_prefix("net.ipv4.").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> String {
        CHAPTERS
            .iter()
            .map(|(name, _)| format!("# a\n{BEGIN}{name} -->\nOUTDATED\n{END}\nb\n"))
            .collect()
    }

    #[test]
    fn what_is_generated_is_replaced_and_the_rest_is_kept() {
        let once = current(&document()).unwrap();
        assert!(!once.contains("OUTDATED"));
        assert_eq!(once.matches("# a\n").count(), CHAPTERS.len());
        assert_eq!(current(&once).unwrap(), once);
        for entry in TABLE {
            assert!(once.contains(&format!("| `{}`", short(entry.name))), "{}", entry.name);
        }
    }

    #[test]
    fn a_marker_that_is_wrong_is_refused() {
        for (from, to) in [
            ("generated: orphans", "generated: orphan"),
            ("<!-- generated: others -->", ""),
            (END, ""),
        ] {
            assert!(current(&document().replace(from, to)).is_err(), "{to}");
        }
    }
}
