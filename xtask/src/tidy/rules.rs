//! Rules about single files.

use super::Finding;
use super::source::{Source, line_of, words};

/// Above this many lines a file is refused; above that many without its tests it is remarked on.
const MOST_LINES: usize = 700;
const MOST_TEST_LINES: usize = 1_000;
const MANY_LINES: usize = 400;

/// Words for work put off. Joined here, for this file is checked as well.
const PROMISES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Rules for any text file.
pub(super) fn check_text(file: &str, text: &str) -> Vec<Finding> {
    if file.ends_with(".lock") {
        return Vec::new();
    }
    PROMISES
        .iter()
        .flat_map(|promise| {
            words(text, promise).filter(|at| !has_number(&text[at + promise.len()..])).map(
                move |at| {
                    let message = format!("{promise} names no issue, as `{promise}(#12)` would");
                    Finding::error(file, line_of(text, at), message)
                },
            )
        })
        .collect()
}

/// Whether a text goes on as `(#12)`.
fn has_number(rest: &str) -> bool {
    rest.strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Rules for Rust files.
pub(super) fn check_source(source: &Source<'_>) -> Vec<Finding> {
    module_doc(source).into_iter().chain(length(source)).collect()
}

fn module_doc(source: &Source<'_>) -> Option<Finding> {
    let first = source.text.lines().find(|line| !line.trim().is_empty());
    let documented = first.is_some_and(|line| line.starts_with("//!"));
    (!documented).then(|| {
        let message = "starts with no `//!`: say what this module owns and what it must not do";
        Finding::error(source.file, 1, message)
    })
}

fn length(source: &Source<'_>) -> Option<Finding> {
    let lines = source.text.lines().count();
    let most = if source.is_test_file() { MOST_TEST_LINES } else { MOST_LINES };
    if lines > most {
        let message = format!("{lines} lines, {most} are the most: which noun is missing?");
        return Some(Finding::error(source.file, 0, message));
    }
    let product = source.product_code().lines().count();
    (product > MANY_LINES).then(|| {
        let message = format!("{product} lines without tests, more than {MANY_LINES} are many");
        Finding::warning(source.file, 0, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Severity;

    fn check(file: &str, text: &str) -> Vec<String> {
        let source = Source::new(file, text);
        check_source(&source)
            .iter()
            .map(|finding| format!("{}: {}", finding.line, finding.message))
            .collect()
    }

    #[test]
    fn the_module_doc_comes_first() {
        assert!(check("a.rs", "//! What it owns.\n").is_empty());
        assert!(check("a.rs", "\n//! What it owns.\nuse b;\n").is_empty());
        for text in ["", "use b;\n//! Late.\n", "// A comment.\n", "#![no_std]\n//! Late.\n"] {
            assert_eq!(check("a.rs", text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_long_file_is_refused_and_a_longish_one_remarked_on() {
        let text = |lines: usize| format!("//! Long.\n{}", "x\n".repeat(lines - 1));
        let severity = |file, lines| {
            let text = text(lines);
            length(&Source::new(file, &text)).map(|finding| finding.severity)
        };
        assert_eq!(severity("a.rs", 400), None);
        assert_eq!(severity("a.rs", 401), Some(Severity::Warning));
        assert_eq!(severity("a.rs", 701), Some(Severity::Error));
        assert_eq!(severity("a/tests.rs", 1_000), None);
        assert_eq!(severity("a/tests.rs", 1_001), Some(Severity::Error));
    }

    #[test]
    fn tests_do_not_make_a_file_longish() {
        let tests = "#[cfg(test)]\nmod tests {\n";
        let text = format!("//! Doc.\n{tests}{}", "x\n".repeat(600));
        assert_eq!(length(&Source::new("a.rs", &text)), None);
    }

    #[test]
    fn promises_carry_a_number() {
        let word = PROMISES[0];
        for good in [format!("// {word}(#12): later"), format!("{word}S of others")] {
            assert!(check_text("a.md", &good).is_empty(), "{good}");
        }
        for bad in [format!("// {word}: later"), format!("{word}(#): x"), format!("{word}(me)")] {
            assert_eq!(check_text("a.md", &bad).len(), 1, "{bad}");
        }
    }
}
