//! The house rules that neither rustc nor clippy can see, checked on the text of the files.
//!
//! * [`rules`]: module docs, length, promises without a number;
//! * [`imports`]: which top module of `tracer` may name which;
//! * [`dependencies`]: each crate has a row in CONTRIBUTING.md, with the reason for it;
//! * [`hosts`]: names of this machine's package registries, which belong in no file;
//! * [`live`]: live tests are where a plain `cargo test` leaves them out;
//! * [`source`]: a file as the rules see it, with comments and strings blanked.

mod dependencies;
mod hosts;
mod imports;
mod live;
mod paths;
mod rules;
mod source;

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use self::source::Source;
use crate::docs::tuning;
use crate::shell;
use crate::workspace::Workspace;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// Counted from one; zero means the file as a whole.
    line: usize,
    message: String,
    severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    /// Printed, but the run does not fail.
    Warning,
}

impl Finding {
    fn error(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into(), severity: Severity::Error }
    }

    fn warning(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, line, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.severity == Severity::Warning {
            write!(f, ": warning")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// `cargo xtask tidy`: prints all findings and fails if one is an error.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let hosts = hosts::Hosts::of_this_machine();
    let files = files(workspace)?;
    let mut findings = live::check(workspace, &files);
    findings.extend(dependencies::check(workspace));
    findings.extend(stale_docs(workspace));
    for file in &files {
        // Listed but deleted in the checkout: nothing to check.
        let Ok(bytes) = fs::read(workspace.path(file)) else {
            continue;
        };
        findings.extend(hosts.check(file, &bytes));
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(rules::check_text(file, &text));
        if file.ends_with(".rs") {
            let source = Source::new(file, &text);
            findings.extend(rules::check_source(&source));
            findings.extend(imports::check(&source));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors > 0 {
        bail!("{errors} finding(s) by tidy");
    }
    println!("{} files are tidy", files.len());
    Ok(())
}

/// Documents whose generated parts are not what the sources give.
fn stale_docs(workspace: &Workspace) -> Vec<Finding> {
    match tuning::stale(workspace) {
        Ok(lines) => lines
            .into_iter()
            .map(|line| Finding::error(tuning::FILE, line, "not current: run `cargo xtask docs`"))
            .collect(),
        Err(error) => vec![Finding::error(tuning::FILE, 0, format!("{error:#}"))],
    }
}

/// All files that are, or could be, checked in: what git tracks and what it does not ignore.
fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let list = shell::read(
        Command::new("git")
            .current_dir(&workspace.root)
            .args(["-c", "core.quotePath=off", "ls-files"])
            .args(["--cached", "--others", "--exclude-standard"]),
    )?;
    let mut files: Vec<String> = list.lines().map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}
