//! `verifier.toml`: how many instructions the verifier walks of each program on each kernel, and
//! that this does not grow unnoticed. The verifier gives up at a million, and what it walks is what
//! the start of tracing takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::Workspace;

/// The file, below the workspace's root.
const FILE: &str = "verifier.toml";

/// Growth beyond this fails, in percent.
const GROWTH: u64 = 10;

const HEAD: &str = "\
# Instructions that the kernel's verifier walks, by program and kernel. The test command fails where
# one has grown by more than a tenth, and where a program has no number or a number no program:
#     cargo xtask vm --accept-budget
# measures and writes them.
";

/// Instructions by program.
pub(super) type Instructions = BTreeMap<String, u64>;

/// The numbers in the file: by program, by kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Budget(BTreeMap<String, BTreeMap<String, u64>>);

/// What `sockflow probes --verifier` printed. A program that this kernel refuses has no number.
pub(super) fn instructions(answer: &str) -> Result<Instructions> {
    let answer: Value = serde_json::from_str(answer).context("sockflow probes --verifier")?;
    let programs = answer["instructions"].as_object();
    let programs = programs.context("sockflow probes --verifier has no instructions")?;
    Ok(programs.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
}

impl Budget {
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let text = fs::read_to_string(workspace.path(FILE)).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map(Self).with_context(|| format!("cannot read {FILE}"))
    }

    /// Takes these numbers for a kernel's.
    pub(super) fn accept(&mut self, kernel: &str, measured: &Instructions) {
        for numbers in self.0.values_mut() {
            numbers.remove(kernel);
        }
        for (program, count) in measured {
            self.0.entry(program.clone()).or_default().insert(kernel.to_owned(), *count);
        }
        self.0.retain(|_, numbers| !numbers.is_empty());
    }

    pub(super) fn write(&self, workspace: &Workspace) -> Result<()> {
        fs::write(workspace.path(FILE), self.to_text())
            .with_context(|| format!("cannot write {FILE}"))
    }

    fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (program, numbers) in &self.0 {
            let _ = writeln!(text, "\n[{program}]");
            for (kernel, count) in numbers {
                let _ = writeln!(text, "\"{kernel}\" = {count}");
            }
        }
        text
    }

    /// What a kernel's verifier does that the file does not allow; empty when nothing.
    pub(super) fn exceeded(&self, kernel: &str, measured: &Instructions) -> Vec<String> {
        const ACCEPT: &str = "if it must be so: `cargo xtask vm --accept-budget`";
        let budget = |program: &str| self.0.get(program)?.get(kernel).copied();
        let mut found = Vec::new();
        for (program, &now) in measured {
            match budget(program) {
                None => found.push(format!(
                    "{program}: the verifier walks {now} instructions, and {FILE} has no number \
                     for it; {ACCEPT}"
                )),
                Some(before) if now * 100 > before * (100 + GROWTH) => found.push(format!(
                    "{program}: the verifier walks {now} instructions instead of {before}; {ACCEPT}"
                )),
                Some(_) => {}
            }
        }
        for (program, numbers) in &self.0 {
            if numbers.contains_key(kernel) && !measured.contains_key(program) {
                found.push(format!(
                    "{program}: {FILE} has a number for it, and this kernel did not take it; {ACCEPT}"
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[(&str, u64)]) -> Instructions {
        numbers.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_tenth_more_is_allowed_and_no_more() {
        let mut budget = Budget::default();
        budget.accept("6.1", &of(&[("sf_state", 1000)]));
        for (now, allowed) in [(900, true), (1000, true), (1100, true), (1101, false)] {
            let found = budget.exceeded("6.1", &of(&[("sf_state", now)]));
            assert_eq!(found.is_empty(), allowed, "{now}: {found:?}");
        }
    }

    #[test]
    fn programs_without_a_number_and_numbers_without_a_program_are_told() {
        let mut budget = Budget::default();
        budget.accept("6.1", &of(&[("sf_old", 10)]));
        budget.accept("6.12", &of(&[("sf_other", 10)]));
        let found = budget.exceeded("6.1", &of(&[("sf_new", 10)]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|text| text.contains("--accept-budget")), "{found:?}");
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_gone_goes() {
        let mut budget = Budget::default();
        budget.accept("6.1", &of(&[("sf_a", 1), ("sf_gone", 2)]));
        budget.accept("6.12", &of(&[("sf_a", 3)]));
        budget.accept("6.1", &of(&[("sf_a", 4)]));
        let text = budget.to_text();
        assert!(!text.contains("sf_gone"), "{text}");
        assert_eq!(Budget::parse(&text).unwrap(), budget);
    }

    #[test]
    fn a_refused_program_has_no_number() {
        let answer = r#"{"instructions":{"sf_a":12,"sf_b":null}}"#;
        assert_eq!(instructions(answer).unwrap(), of(&[("sf_a", 12)]));
    }
}
