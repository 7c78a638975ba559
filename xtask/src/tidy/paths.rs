//! Reading paths out of Rust code: `crate::a::{b, c::d}` names `a::b` and `a::c::d`.
//!
//! A small reader of use-trees rather than a parser: it works on inline paths as well, and needs
//! no macro expansion and no dependency.

use super::source::{is_identifier, line_of, words};

/// A path below some root, and the line it begins in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) parts: Vec<String>,
}

/// All paths in blanked code that begin with `root::`, without that root.
pub(super) fn below(code: &str, root: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    for at in words(code, root) {
        // `a::std::b` begins with something else, `$crate` is a macro's own business.
        let before = code[..at].trim_end();
        let absolute =
            before.ends_with("::") && !before[..before.len() - 2].ends_with(is_identifier);
        if (before.ends_with("::") && !absolute) || before.ends_with('$') {
            continue;
        }
        let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        let mut found = Vec::new();
        tree(rest, &mut Vec::new(), &mut found);
        let line = line_of(code, at);
        paths.extend(found.into_iter().map(|parts| Path { line, parts }));
    }
    paths
}

/// Reads one use-tree from the start of `text`, adds what it names, gives what follows it.
fn tree<'a>(text: &'a str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let before = rest.len();
            rest = tree(rest, prefix, found).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.len() == before {
                return rest; // No use-tree after all; do not loop for ever.
            }
        }
    }
    let length = text.find(|c: char| !is_identifier(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(length);
    if name.is_empty() {
        // A glob, or turbofish: the path so far is what is named.
        found.push(prefix.clone());
        return text.strip_prefix('*').unwrap_or(text);
    }
    let named = name != "self";
    if named {
        prefix.push(name.to_owned());
    }
    if let Some(next) = rest.trim_start().strip_prefix("::") {
        rest = tree(next, prefix, found);
    } else {
        found.push(prefix.clone());
        if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
            rest = renamed.trim_start().trim_start_matches(is_identifier);
        }
    }
    if named {
        prefix.pop();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str, root: &str) -> Vec<String> {
        below(code, root).iter().map(|path| path.parts.join("::")).collect()
    }

    #[test]
    fn use_trees_are_unfolded() {
        assert_eq!(
            names("use crate::{a::{self, b}, c::*, d as e, f};", "crate"),
            ["a", "a::b", "c", "d", "f"]
        );
        assert_eq!(
            names("use std::{\n    fs,\n    time::{Duration, Instant},\n};", "std"),
            ["fs", "time::Duration", "time::Instant"]
        );
    }

    #[test]
    fn inline_paths_are_seen() {
        assert_eq!(names("let x = crate::a::b::<u8>(1) + ::std::c;", "crate"), ["a::b"]);
        assert_eq!(names("let x = ::std::c;", "std"), ["c"]);
    }

    #[test]
    fn other_roots_are_not() {
        assert!(names("my::std::fs; $crate::a; mycrate::b; std", "std").is_empty());
        assert!(names("my::std::fs; $crate::a; mycrate::b", "crate").is_empty());
        assert!(names("pub(crate) fn f() {}", "crate").is_empty());
    }

    #[test]
    fn the_line_is_the_one_of_the_root() {
        assert_eq!(below("\n\nuse crate::a;", "crate")[0].line, 3);
    }

    #[test]
    fn broken_code_ends() {
        names("use crate::{a, ;;", "crate");
        names("use crate::{", "crate");
    }
}
