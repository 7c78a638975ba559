//! Rules about single files.

use super::Finding;
use super::source::{Source, line_of, words};

/// Above this many lines a file is refused; above that many without its tests it is remarked on.
const MOST_LINES: usize = 700;
const MOST_TEST_LINES: usize = 1_000;
const MANY_LINES: usize = 400;

/// Where `unsafe` may stand: what talks to the kernel, and the layouts both sides share.
const UNSAFE_HOMES: &[&str] = &[
    "tracer-ebpf/src/",
    "tracer-common/src/abi.rs",
    "tracer-common/src/counters.rs",
    "tracer-common/src/config.rs",
    "tracer/src/bpf/",
    // storm's three system calls that no crate wraps.
    "tracer/src/storm/sys.rs",
    // A socket option that only tests need.
    "tracer/tests/live/support/sys.rs",
];

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
    let mut findings = Vec::new();
    findings.extend(module_doc(source));
    findings.extend(length(source));
    findings.extend(unsafe_code(source));
    findings.extend(reasons(source));
    findings
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

fn unsafe_code(source: &Source<'_>) -> Vec<Finding> {
    if UNSAFE_HOMES.iter().any(|home| source.file.starts_with(home)) {
        return Vec::new();
    }
    words(&source.code, "unsafe")
        .map(|at| {
            let message = "`unsafe` belongs at the kernel's border only: see UNSAFE_HOMES";
            Finding::error(source.file, line_of(&source.code, at), message)
        })
        .collect()
}

/// `allow` and `expect` in attributes must carry a `reason`.
fn reasons(source: &Source<'_>) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    for (start, attribute) in attributes(code) {
        for lint in ["allow", "expect"] {
            for at in words(attribute, lint) {
                let arguments = &attribute[at + lint.len()..];
                let Some(arguments) = balanced(arguments, '(', ')') else {
                    continue;
                };
                if words(arguments, "reason").next().is_none() {
                    let message = format!("`{lint}` without `reason = \"…\"`");
                    let line = line_of(code, start + at);
                    findings.push(Finding::error(source.file, line, message));
                }
            }
        }
    }
    findings
}

/// The insides of all `#[…]` and `#![…]`, each with its offset.
fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices('#').filter_map(|(at, _)| {
        let rest = &code[at + 1..];
        let rest = rest.strip_prefix('!').unwrap_or(rest);
        let inside = balanced(rest, '[', ']')?;
        Some((code.len() - rest.len(), inside))
    })
}

/// If `text` starts with `open`: the text from there to its partner, both included.
fn balanced(text: &str, open: char, close: char) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
        }
        if depth == 0 {
            return (at > 0).then(|| &text[..at + c.len_utf8()]);
        }
    }
    None
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
    fn unsafe_has_its_homes() {
        let text = "//! Doc.\nfn f() { unsafe { g() } }\n";
        assert!(check("tracer-ebpf/src/sock.rs", text).is_empty());
        assert!(check("tracer/src/bpf/maps.rs", text).is_empty());
        assert!(check("tracer-common/src/abi.rs", text).is_empty());
        assert_eq!(check("tracer-common/src/state.rs", text).len(), 1);
        assert!(check("tracer/src/tui/mod.rs", text)[0].starts_with("2: "));
    }

    #[test]
    fn talking_about_unsafe_is_safe() {
        let text = "//! No unsafe.\n#![forbid(unsafe_code)]\nconst A: &str = \"unsafe\";\n";
        assert!(check("tracer/src/tui/mod.rs", text).is_empty());
    }

    #[test]
    fn exceptions_from_lints_have_reasons() {
        for good in [
            "#[allow(dead_code, reason = \"read by the kernel\")]",
            "#![expect(clippy::a,\n reason = \"b\")]",
            "#[cfg_attr(test, allow(c, reason = \"d\"))]",
            "let x = y.expect(\"z\");",
            "// #[allow(dead_code)]",
            "#[deny(dead_code)]",
        ] {
            assert!(check("a.rs", &format!("//! Doc.\n{good}")).is_empty(), "{good}");
        }
        for bad in [
            "#[allow(dead_code)]",
            "#![allow(dead_code)] // reason: none",
            "#[cfg_attr(test, expect(c))]",
            "#[allow(dead_code)] const reason: u8 = 1;",
        ] {
            assert_eq!(check("a.rs", &format!("//! Doc.\n{bad}")).len(), 1, "{bad}");
        }
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
