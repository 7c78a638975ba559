//! Which top module of `tracer/src` may name which other: the direction of the data flow.
//!
//! Tests are free: they may open files and join modules that the product keeps apart.

use super::Finding;
use super::paths::{Path, below};
use super::source::Source;

/// One row of the table.
struct Row {
    module: &'static str,
    /// Modules of the crate it may name, besides itself. A path means only what is below it.
    may: &'static [&'static str],
    /// What it may not name of other crates.
    never: &'static [&'static str],
}

/// What would give the pure part of the program a clock, a file, a thread or a screen.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "aya",
    "clap",
    "crossterm",
    "libc",
    "ratatui",
    "socket2",
    "tokio",
];

/// Who writes whatever it is given, and finds nothing by itself.
const IMPURE_BUT_WRITING: &[&str] = &[
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "aya",
    "clap",
    "crossterm",
    "libc",
    "ratatui",
    "socket2",
    "tokio",
];

/// The kernel side is behind `source`; what shows data never sees it.
const KERNEL: &[&str] = &["aya", "socket2"];

const SCREEN: &[&str] = &["clap", "crossterm", "ratatui"];

const NOTHING: &[&str] = &[];

/// A module without a row is refused, so that each new one is thought about once. `main`, `lib`
/// and `cli` put the program together and may name everything.
const TABLE: &[Row] = &[
    // Plain data: they may name each other, and nothing else.
    row("event", &["facts", "gauges", "time", "workload"], IMPURE),
    row("gauges", &["time"], IMPURE),
    row("facts", &["event", "gauges", "time"], IMPURE),
    row("time", NOTHING, &["tokio", "aya", "clap", "crossterm", "ratatui"]),
    row("filter", &["workload"], IMPURE),
    row("workload", NOTHING, IMPURE),
    row("sanitize", NOTHING, IMPURE),
    row("format", &["time"], IMPURE),
    row("error", &["sanitize"], SCREEN),
    row("stdio", &["sanitize"], SCREEN),
    row("place", &["error"], SCREEN),
    // The core.
    row("aggregate", &["diagnose", "event", "facts", "filter", "format", "gauges", "time"], IMPURE),
    // The one judge: the fold asks it at each tick.
    row("diagnose", &["event", "facts", "filter", "format", "gauges", "sanitize", "time"], IMPURE),
    row("playback", &["aggregate::snapshot", "diagnose", "event", "time"], IMPURE),
    // Where data comes from.
    row("bpf", &["error", "event", "filter", "stdio", "time"], SCREEN),
    row(
        "source",
        &["bpf", "error", "event", "facts", "filter", "gauges", "recording", "time", "workload"],
        SCREEN,
    ),
    row("recording", &["error", "event", "facts", "filter", "gauges", "place", "time"], SCREEN),
    // Where it goes.
    row("tui", SCREEN_VIEWS, KERNEL),
    // Also counts single events and looks at facts, which no snapshot keeps.
    row(
        "report",
        &[
            "aggregate::snapshot",
            "diagnose",
            "error",
            "event",
            "facts",
            "filter",
            "format",
            "sanitize",
            "time",
        ],
        IMPURE,
    ),
    row("export", &["event", "sanitize", "time"], IMPURE_BUT_WRITING),
    row("serve", VIEWS, KERNEL),
    // Makes trouble on the loopback interface, and knows nothing of who watches.
    row("storm", &["error", "sanitize", "stdio", "time"], &["aya", "ratatui"]),
];

const VIEWS: &[&str] = &["aggregate::snapshot", "diagnose", "error", "format", "sanitize", "time"];

/// The screen can also go back in time.
const SCREEN_VIEWS: &[&str] = &[
    "aggregate::snapshot",
    "diagnose",
    "error",
    "event",
    "format",
    "playback",
    "sanitize",
    "stdio",
    "time",
];

const FREE: &[&str] = &["main", "lib", "cli"];

const fn row(
    module: &'static str,
    may: &'static [&'static str],
    never: &'static [&'static str],
) -> Row {
    Row { module, may, never }
}

/// Checks one file; those outside `tracer/src` have no row.
pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let Some(module) = top_module(source.file) else {
        return Vec::new();
    };
    if FREE.contains(&module) {
        return Vec::new();
    }
    let Some(row) = TABLE.iter().find(|row| row.module == module) else {
        let message =
            format!("module `{module}` has no row in the table of xtask/src/tidy/imports.rs");
        return vec![Finding::error(source.file, 0, message)];
    };
    let code = source.product_code();
    let mut findings = Vec::new();
    for path in below(code, "crate") {
        if !may(row, &path) {
            let message = format!("`{module}` may not name `crate::{}`", path.parts.join("::"));
            findings.push(Finding::error(source.file, path.line, message));
        }
    }
    for never in row.never {
        let (root, rest) = never.split_once("::").unwrap_or((never, ""));
        for path in below(code, root) {
            if names(&path, rest) {
                let message = format!("`{module}` may not name `{never}`");
                findings.push(Finding::error(source.file, path.line, message));
            }
        }
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// The module directly below the crate that a file of `tracer/src` belongs to.
fn top_module(file: &str) -> Option<&str> {
    let first = file.strip_prefix("tracer/src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

fn may(row: &Row, path: &Path) -> bool {
    let Some(top) = path.parts.first() else {
        return false; // `crate::*` names everything.
    };
    top == row.module
        || row.may.iter().any(|allowed| {
            let allowed: Vec<&str> = allowed.split("::").collect();
            starts_with(&path.parts, &allowed)
        })
}

/// Whether a path (without its root) is the forbidden one, is below it, or hands out a module that
/// holds it: after `use std::time;` the code may say `time::Instant`.
fn names(path: &Path, forbidden: &str) -> bool {
    if forbidden.is_empty() {
        return true;
    }
    let forbidden: Vec<&str> = forbidden.split("::").collect();
    starts_with(&path.parts, &forbidden) || forbidden.iter().zip(&path.parts).all(|(a, b)| a == b)
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, text: &str) -> Vec<String> {
        check(&Source::new(file, text))
            .iter()
            .map(|finding| format!("{}: {}", finding.line, finding.message))
            .collect()
    }

    #[test]
    fn the_core_has_neither_clock_nor_files() {
        let file = "tracer/src/aggregate/sockets.rs";
        for good in [
            "use std::time::Duration;",
            "use crate::aggregate::snapshot::Snapshot;",
            "use crate::{event::Event, time::Timestamp};",
            "use tracer_common::state::TcpState;",
            "// never std::fs::read",
            "const A: &str = \"std::fs::read\";",
        ] {
            assert_eq!(findings(file, good), [""; 0], "{good}");
        }
        for bad in [
            "let t = std::time::Instant::now();",
            "use std::{collections::BTreeMap, time::{Duration, SystemTime}};",
            "use std::time;",
            "use std::fs;",
            "use tokio::time::sleep;",
            "use crate::tui::run;",
            "use crate::{time::Timestamp, bpf};",
            "use crate::*;",
        ] {
            assert!(!findings(file, bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn a_view_sees_only_the_snapshot() {
        let file = "tracer/src/tui/view/ports.rs";
        assert!(findings(file, "use crate::aggregate::snapshot::Row;").is_empty());
        assert!(findings(file, "use crate::aggregate::snapshot;").is_empty());
        assert_eq!(
            findings(file, "\nuse crate::aggregate::{Aggregator, snapshot};"),
            ["2: `tui` may not name `crate::aggregate::Aggregator`"]
        );
        assert_eq!(findings(file, "use crate::source::Live;").len(), 1);
    }

    #[test]
    fn tests_may_name_what_they_like() {
        let text = "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert!(findings("tracer/src/aggregate/mod.rs", text).is_empty());
        assert!(findings("tracer/src/aggregate/tests.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn a_module_nobody_thought_about_is_refused() {
        assert_eq!(findings("tracer/src/utils.rs", "//! Odds and ends.").len(), 1);
    }

    #[test]
    fn the_composition_root_is_free() {
        let text = "use crate::{bpf, tui, source};";
        for file in ["tracer/src/main.rs", "tracer/src/cli/top.rs", "xtask/src/tidy/mod.rs"] {
            assert!(findings(file, text).is_empty(), "{file}");
        }
    }

    #[test]
    fn the_table_allows_only_modules_it_has() {
        for row in TABLE {
            for allowed in row.may {
                let top = allowed.split("::").next().unwrap();
                assert!(
                    TABLE.iter().any(|row| row.module == top),
                    "{} may name {top}, which has no row",
                    row.module
                );
            }
        }
    }
}
