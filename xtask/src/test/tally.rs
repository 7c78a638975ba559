//! What test programs print: the outcome of each test, and the `test result:` lines, added up.

use std::fmt;

/// How many tests passed, failed and were skipped, over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Takes one line of output into account; most lines count nothing.
    ///
    /// The line is `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; …`.
    /// Filtered out is what nobody asked for and is no skip.
    pub(crate) fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((count, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl Tally {
    /// Adds another one's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// The name and the outcome (`ok`, `FAILED`, `ignored`) in a line `test NAME ... OUTCOME`.
pub(crate) fn outcome(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // `ignored, REASON`
    let word = outcome.split_once(',').map_or(outcome, |(word, _)| word);
    matches!(word, "ok" | "FAILED" | "ignored").then_some((name, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_outcome_is_told_from_talk() {
        assert_eq!(outcome("test a::b ... ok"), Some(("a::b", "ok")));
        assert_eq!(outcome("test b ... FAILED"), Some(("b", "FAILED")));
        assert_eq!(outcome("test c ... ignored, needs tmux"), Some(("c", "ignored")));
        for talk in ["test result: ok. 1 passed", "test d ... well", "a test d ... ok"] {
            assert_eq!(outcome(talk), None, "{talk}");
        }
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 6 tests",
            "test state::tests::names ... ok",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally.to_string(), "8 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn skipped_is_said_only_when_something_was() {
        assert_eq!(Tally::default().to_string(), "0 passed, 0 failed");
    }

    #[test]
    fn a_line_that_only_resembles_a_result_counts_nothing() {
        let mut tally = Tally::default();
        tally.add("said: test result: ok. 5 passed; 0 failed");
        tally.add("test result: ok");
        assert_eq!(tally, Tally::default());
    }
}
