//! Live tests must be declared: cargo finds the files by itself, and would then run them in every
//! `cargo test`, without root and on whatever kernel is there.

use std::fs;

use super::Finding;
use crate::test::live_tests;
use crate::workspace::Workspace;

const MANIFEST: &str = "tracer/Cargo.toml";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let manifest = fs::read_to_string(workspace.path(MANIFEST)).unwrap_or_default();
    live_tests(workspace)
        .iter()
        .filter(|name| !is_declared(&manifest, name))
        .map(|name| {
            let message = format!(
                "tests/{name}.rs is not declared: add a [[test]] with name = \"{name}\" and \
                 required-features = [\"live\"]"
            );
            Finding::error(MANIFEST, 0, message)
        })
        .collect()
}

/// Whether the manifest has a `[[test]]` of that name which needs the feature `live`.
fn is_declared(manifest: &str, name: &str) -> bool {
    manifest.split("[[test]]").skip(1).any(|section| {
        let section = section.split("\n[").next().unwrap_or_default();
        let has = |wanted: String| section.lines().any(|line| line.replace(' ', "") == wanted);
        has(format!("name=\"{name}\"")) && has("required-features=[\"live\"]".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_needs_name_and_feature_in_one_section() {
        let manifest = "[package]\nname = \"x\"\n\
                        [[test]]\nname = \"live_a\"\nrequired-features = [\"live\"]\n\
                        [[test]]\nname = \"live_b\"\n\
                        [[test]]\nname = \"other\"\nrequired-features = [\"live\"]\n\
                        [lints]\nworkspace = true\n";
        assert!(is_declared(manifest, "live_a"));
        assert!(!is_declared(manifest, "live_b"));
        assert!(!is_declared(manifest, "live_c"));
        assert!(!is_declared(manifest, "x"));
    }
}
