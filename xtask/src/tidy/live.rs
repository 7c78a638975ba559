//! Live tests are in `tracer/tests/live`, one program of cargo's. A file beside that folder would be a
//! program of its own, which each `cargo test` runs, without root and on whatever kernel is there; a
//! file in the folder that no `mod` names would run nowhere.

use std::fs;

use super::Finding;
use crate::workspace::Workspace;

const FOLDER: &str = "tracer/tests/live/";
const MAIN: &str = "tracer/tests/live/main.rs";

pub(super) fn check(workspace: &Workspace, files: &[String]) -> Vec<Finding> {
    let main = fs::read_to_string(workspace.path(MAIN)).unwrap_or_default();
    files
        .iter()
        // Listed but deleted in the checkout: nothing to check.
        .filter(|file| workspace.path(file).exists())
        .filter_map(|file| Some(Finding::error(file, 0, misplaced(file, &main)?)))
        .collect()
}

/// What is wrong about where a file is, if it is a live test's.
fn misplaced(file: &str, main: &str) -> Option<String> {
    if let Some(name) = file.strip_prefix("tracer/tests/live_") {
        return Some(format!("a live test: move it to {FOLDER}{name}, with its `mod` in main.rs"));
    }
    let name = file.strip_prefix(FOLDER)?.strip_suffix(".rs")?;
    let is_module = name != "main" && !name.contains('/');
    let is_declared = main.lines().any(|line| line == format!("mod {name};"));
    (is_module && !is_declared)
        .then(|| format!("not part of the live tests: `mod {name};` in {MAIN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_test_has_one_place_and_a_declaration() {
        let main = "mod support;\nmod totals;\n";
        let complains = |file: &str| misplaced(&format!("tracer/tests/{file}"), main).is_some();
        assert!(complains("live_totals.rs"));
        assert!(complains("live/edges.rs"));
        for fine in ["live/totals.rs", "live/main.rs", "live/support/top.rs", "report.rs"] {
            assert!(!complains(fine), "{fine}");
        }
    }
}
