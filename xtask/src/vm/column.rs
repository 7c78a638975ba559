//! What one kernel's guests said, judged: a column of the tables.

use std::collections::BTreeMap;
use std::time::Duration;

use super::budget::{self, Instructions};
use super::expect::{self, Rung};
use super::guest::Step;
use super::matrix::Kernel;
use super::plan;
use crate::test::live::Ran;
use crate::test::tally::Tally;

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// It held; how often it was tried until the kernel skipped no runs.
    Ok(u32),
    Failed,
    /// The kernel has no such thing, and why.
    NotThere(String),
}

/// One kernel.
#[derive(Debug, Default)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) stated: BTreeMap<String, Rung>,
    pub(super) got: BTreeMap<String, Rung>,
    /// By the scenario's name.
    pub(super) cells: BTreeMap<String, Cell>,
    pub(super) seconds: BTreeMap<String, f64>,
    pub(super) instructions: Instructions,
    /// What is wrong, for people to read.
    pub(super) failures: Vec<String>,
    /// Guests that the emulator crashed, and that were booted again.
    pub(super) crashes: u32,
    pub(super) took: Duration,
    /// CPU time of the emulator.
    pub(super) cpu: Duration,
}

/// In the output of a test that found nothing to test, followed by why.
const NOT_THERE: &str = "n/a: ";

impl Column {
    /// What the running kernel is known to give, and what the live tests said on it.
    pub(super) fn native(kernel: Option<&Kernel>, release: &str, ran: &[Ran]) -> Self {
        let stated = kernel.map(expect::stated).unwrap_or_default();
        let name = kernel.map_or(release, |kernel| &kernel.name);
        let mut column = Self { name: format!("{name} (here)"), stated, ..Self::default() };
        for ran in ran {
            let cell = match ran.word.as_str() {
                "ok" => Cell::Ok(ran.tries),
                "ignored" => Cell::NotThere("ignored".to_owned()),
                _ => Cell::Failed,
            };
            column.seconds.insert(ran.scenario.clone(), ran.took.as_secs_f64());
            column.cells.insert(ran.scenario.clone(), cell);
        }
        column
    }

    /// Takes in what was heard of another part of its scenarios.
    pub(super) fn join(&mut self, part: Self) {
        self.got.extend(part.got);
        self.cells.extend(part.cells);
        self.seconds.extend(part.seconds);
        self.instructions.extend(part.instructions);
        self.failures.extend(part.failures);
        self.crashes += part.crashes;
        self.took += part.took;
        self.cpu += part.cpu;
    }

    /// Takes a step of a guest in.
    pub(super) fn step(&mut self, kernel: &Kernel, step: &Step) {
        let output = step.output.join("\n");
        if step.code != Some(0) {
            let code = step.code.map_or("none".into(), |code| code.to_string());
            self.failures.push(format!("{} (exit code {code})\n{output}", step.name));
        }
        match step.name.as_str() {
            plan::PROBES => match expect::rungs(&output) {
                Ok(got) => self.got = got,
                Err(error) => self.failures.push(format!("{error:#}")),
            },
            plan::VERIFIER => match budget::instructions(&output) {
                Ok(instructions) => self.instructions = instructions,
                Err(error) => self.failures.push(format!("{error:#}")),
            },
            name => {
                let cell = self.judge(kernel, step);
                self.cells.insert(name.to_owned(), cell);
                self.seconds.insert(name.to_owned(), step.seconds);
            }
        }
    }

    /// A scenario's outcome. Its program saying that all is well is not enough: it must have run
    /// one test, and there is nothing to test only where `kernels.toml` says so.
    fn judge(&mut self, kernel: &Kernel, step: &Step) -> Cell {
        if step.code != Some(0) {
            return Cell::Failed;
        }
        let mut tally = Tally::default();
        step.output.iter().for_each(|line| tally.add(line));
        if (tally.passed, tally.failed) != (1, 0) {
            self.failures.push(format!("{}: not one test ran, but {tally}", step.name));
            return Cell::Failed;
        }
        let said = step.output.iter().find_map(|line| line.strip_prefix(NOT_THERE));
        match (said, kernel.absent.get(&step.name)) {
            (None, None) => Cell::Ok(step.tries),
            (Some(_), Some(why)) => Cell::NotThere(why.clone()),
            (Some(said), None) => {
                let name = &step.name;
                self.failures.push(format!("{name}: n/a: {said}; kernels.toml does not say so"));
                Cell::Failed
            }
            (None, Some(_)) => {
                let name = &step.name;
                self.failures.push(format!("{name}: it ran, and kernels.toml says that it cannot"));
                Cell::Failed
            }
        }
    }

    /// Every scenario must have come to its end.
    pub(super) fn complete(&mut self, scenarios: &[String], last_words: &str) {
        let missing: Vec<&String> =
            scenarios.iter().filter(|name| !self.cells.contains_key(*name)).collect();
        if let Some(first) = missing.first() {
            let count = missing.len();
            self.failures.push(format!(
                "the guest did not come to its end: {count} scenarios from {first} on did not \
                 run\n{last_words}"
            ));
        }
        for name in missing.into_iter().cloned().collect::<Vec<_>>() {
            self.cells.insert(name, Cell::Failed);
        }
    }

    /// Signals and budgets that are not what is stated.
    pub(super) fn hold_against(&mut self, budget: &budget::Budget, kernel: &Kernel) {
        self.failures.extend(expect::differences(&self.stated, &self.got));
        self.failures.extend(budget.exceeded(&kernel.name, &self.instructions));
    }

    /// Scenarios that passed, failed, and were not there. Something wrong beside them counts as a
    /// failure.
    pub(super) fn tally(&self) -> Tally {
        let count = |is: fn(&Cell) -> bool| self.cells.values().filter(|cell| is(cell)).count();
        let failed = count(|cell| *cell == Cell::Failed);
        Tally {
            passed: count(|cell| matches!(cell, Cell::Ok(_))) as u64,
            failed: if failed == 0 { u64::from(!self.failures.is_empty()) } else { failed as u64 },
            skipped: count(|cell| matches!(cell, Cell::NotThere(_))) as u64,
        }
    }

    /// Scenarios that needed more than one try because the kernel skipped runs.
    pub(super) fn tried_again(&self) -> usize {
        self.cells.values().filter(|cell| matches!(cell, Cell::Ok(tries) if *tries > 1)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(absent: &[(&str, &str)]) -> Kernel {
        Kernel {
            name: "5.10".into(),
            debian: None,
            release: "5.10.".into(),
            signals: BTreeMap::new(),
            absent: absent
                .iter()
                .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
                .collect(),
        }
    }

    fn step(name: &str, code: Option<i32>, output: &[&str]) -> Step {
        let output = output.iter().map(|line| (*line).to_owned()).collect();
        Step { name: name.into(), output, code, seconds: 1.0, tries: 2 }
    }

    const PASSED: &str = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered";
    const NONE: &str = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered";

    fn cell(kernel: &Kernel, step: &Step) -> (Cell, usize) {
        let mut column = Column::default();
        column.step(kernel, step);
        (column.cells[&step.name].clone(), column.failures.len())
    }

    #[test]
    fn a_scenario_is_ok_only_if_one_test_ran_and_held() {
        let kernel = kernel(&[]);
        assert_eq!(cell(&kernel, &step("a", Some(0), &[PASSED])), (Cell::Ok(2), 0));
        assert_eq!(cell(&kernel, &step("a", Some(0), &[NONE])), (Cell::Failed, 1));
        assert_eq!(cell(&kernel, &step("a", Some(101), &[PASSED])), (Cell::Failed, 1));
        assert_eq!(cell(&kernel, &step("a", None, &[])), (Cell::Failed, 1));
    }

    #[test]
    fn nothing_to_test_must_be_stated_and_what_is_stated_must_be_so() {
        let stated = kernel(&[("mptcp", "built without MPTCP")]);
        let not_there = step("mptcp", Some(0), &["n/a: no MPTCP", PASSED]);
        let expected = Cell::NotThere("built without MPTCP".into());
        assert_eq!(cell(&stated, &not_there), (expected, 0));
        assert_eq!(cell(&kernel(&[]), &not_there), (Cell::Failed, 1));
        assert_eq!(cell(&stated, &step("mptcp", Some(0), &[PASSED])), (Cell::Failed, 1));
    }

    #[test]
    fn a_scenario_that_never_ran_has_failed() {
        let mut column = Column::default();
        column.step(&kernel(&[]), &step("a", Some(0), &[PASSED]));
        column.complete(&["a".into(), "b".into()], "Kernel panic");
        assert_eq!(column.cells["b"], Cell::Failed);
        assert!(column.failures[0].contains("Kernel panic"), "{:?}", column.failures);
        assert_eq!(column.tally(), Tally { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(column.tried_again(), 1);
    }
}
