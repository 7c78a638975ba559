//! The table of dependencies in CONTRIBUTING.md has each crate that a `Cargo.toml` names, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;
use crate::workspace::Workspace;

const FILE: &str = "CONTRIBUTING.md";
const HEADING: &str = "## Dependencies";

/// Who uses a crate, and so what stands behind its name in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Product,
    Tests,
    Xtask,
    Fuzz,
}

impl Use {
    const fn mark(self) -> &'static str {
        match self {
            Self::Product => "",
            Self::Tests => "*(tests)*",
            Self::Xtask => "*(xtask)*",
            Self::Fuzz => "*(fuzz)*",
        }
    }
}

/// The packages, and what becomes of their `dependencies`.
const PACKAGES: [(&str, Use); 5] = [
    ("tracer", Use::Product),
    ("tracer-common", Use::Product),
    ("tracer-ebpf", Use::Product),
    ("xtask", Use::Xtask),
    ("fuzz", Use::Fuzz),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let found = || -> Result<Vec<String>> {
        let read = |file: &str| {
            fs::read_to_string(workspace.path(file)).with_context(|| format!("cannot read {file}"))
        };
        let mut used = BTreeMap::new();
        let members: Value = toml::from_str(&read("Cargo.toml")?)?;
        add(&mut used, members["workspace"].as_table(), "dependencies", None);
        for (package, by) in PACKAGES {
            let manifest: Table = toml::from_str(&read(&format!("{package}/Cargo.toml"))?)?;
            add(&mut used, Some(&manifest), "dependencies", Some(by));
            add(&mut used, Some(&manifest), "dev-dependencies", Some(Use::Tests));
        }
        Ok(differences(&used, &table(&read(FILE)?)))
    };
    let findings = found().unwrap_or_else(|error| vec![format!("{error:#}")]);
    findings.into_iter().map(|message| Finding::error(FILE, 0, message)).collect()
}

/// Adds what a section names, but for our own packages. A crate of several uses has the first.
fn add(
    used: &mut BTreeMap<String, Option<Use>>,
    manifest: Option<&Table>,
    section: &str,
    by: Option<Use>,
) {
    let section = manifest.and_then(|manifest| manifest.get(section)).and_then(Value::as_table);
    let ours = |name: &str| PACKAGES.iter().any(|(package, _)| *package == name);
    for name in section.into_iter().flat_map(Table::keys).filter(|name| !ours(name)) {
        let known = used.entry(name.clone()).or_insert(by);
        *known = match (*known, by) {
            (Some(known), Some(by)) => Some(known.min(by)),
            (known, by) => known.or(by),
        };
    }
}

/// The crates in the table's first column, each with its mark.
fn table(text: &str) -> BTreeSet<(String, String)> {
    let chapter = text.split_once(HEADING).map_or("", |(_, chapter)| chapter);
    let rows = chapter.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| {
            let (names, mark) = cell.split_once("*(").unwrap_or((cell, ""));
            let mark = if mark.is_empty() { String::new() } else { format!("*({}", mark.trim()) };
            names.split(',').map(move |name| (name.trim().to_owned(), mark.clone()))
        })
        .collect()
}

fn differences(
    used: &BTreeMap<String, Option<Use>>,
    table: &BTreeSet<(String, String)>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, by) in used {
        let Some(by) = by else {
            found
                .push(format!("{name} stands in [workspace.dependencies], and no package uses it"));
            continue;
        };
        match table.iter().find(|(row, _)| row == name) {
            None => found.push(format!("{name} has no row in the table of dependencies")),
            Some((_, mark)) if mark != by.mark() => {
                let should = Some(by.mark()).filter(|mark| !mark.is_empty()).unwrap_or("no mark");
                found.push(format!("the row of {name} should have {should}"));
            }
            Some(_) => {}
        }
    }
    let gone = table.iter().filter(|(name, _)| !used.contains_key(name));
    found.extend(gone.map(|(name, _)| format!("{name} has a row, and no Cargo.toml names it")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(manifests: &[(&str, Option<Use>)]) -> BTreeMap<String, Option<Use>> {
        let mut used = BTreeMap::new();
        for (text, by) in manifests {
            let manifest: Table = toml::from_str(text).unwrap();
            add(&mut used, Some(&manifest), "dependencies", *by);
        }
        used
    }

    #[test]
    fn a_table_that_names_what_is_used_has_no_difference() {
        let used = used(&[
            ("[dependencies]\na = '1'\nb = '1'\nc = '1'\ntracer-common = '0'", None),
            ("[dependencies]\na.workspace = true\nb.workspace = true", Some(Use::Xtask)),
            ("[dependencies]\na.workspace = true", Some(Use::Product)),
            ("[dependencies]\nc.workspace = true", Some(Use::Tests)),
        ]);
        let text = "# X\n| z |\n## Dependencies\n\n| crate | why |\n|---|---|\n\
                    | a | so |\n| b *(xtask)* | so |\n| c *(tests)* | so |\n\n| y | z |\n";
        assert_eq!(differences(&used, &table(text)), [""; 0]);
    }

    #[test]
    fn what_lacks_a_row_a_mark_or_a_use_is_found() {
        let used = used(&[
            ("[dependencies]\nunused = '1'", None),
            ("[dependencies]\nno-row = '1'\nno-mark = '1'", Some(Use::Fuzz)),
        ]);
        let rows = BTreeSet::from(["no-mark", "gone"].map(|name| (name.to_owned(), String::new())));
        let found = differences(&used, &rows);
        assert_eq!(found.len(), 4, "{found:?}");
        for (name, line) in ["no-mark", "no-row", "unused", "gone"].iter().zip(&found) {
            assert!(line.contains(name), "{line}");
        }
    }
}
