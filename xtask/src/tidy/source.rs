//! A Rust file as the rules see it.

/// The text of a file, and the same text with comments and the insides of strings blanked, so
/// that a rule about code is not misled by prose. Both have the same lines.
pub(super) struct Source<'a> {
    /// Path from the root of the workspace.
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) code: String,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, code: blank(text) }
    }

    /// A file of nothing but tests: `tests.rs`, or anything below a `tests` or `benches` folder.
    pub(super) fn is_test_file(&self) -> bool {
        let mut parts = self.file.split('/');
        let name = parts.next_back();
        name == Some("tests.rs") || parts.any(|folder| folder == "tests" || folder == "benches")
    }

    /// The code without the tests at its end: up to the first `#[cfg(test)]` on a module.
    pub(super) fn product_code(&self) -> &str {
        if self.is_test_file() {
            return "";
        }
        let mut offset = 0;
        while let Some(found) = self.code[offset..].find("#[cfg(test)]") {
            let at = offset + found;
            let after = self.code[at + "#[cfg(test)]".len()..].trim_start();
            // `mod tests;` has its tests elsewhere, and code may follow it.
            let is_body = after
                .strip_prefix("mod ")
                .is_some_and(|rest| rest.find('{') < rest.find(';').or(Some(usize::MAX)));
            if is_body && after.contains('{') {
                return &self.code[..at];
            }
            offset = at + 1;
        }
        &self.code
    }
}

/// The line, counted from one, that a byte offset lies in.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Offsets at which `word` stands by itself, not as part of a longer identifier.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
    })
}

pub(super) fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces comments and the insides of string and character literals by spaces.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = out.chars().next_back();
        let (taken, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), 0)
        } else if rest.starts_with("/*") {
            (block_comment(rest), 0)
        } else if let Some(length) = raw_string(rest, before) {
            (length, 0)
        } else if c == '"' {
            (string(rest), 0)
        } else if let Some(length) = character(rest) {
            (length, 0)
        } else {
            (c.len_utf8(), c.len_utf8())
        };
        out.push_str(&rest[..kept]);
        for c in rest[kept..taken].chars() {
            if c == '\n' {
                out.push('\n');
            } else {
                // As many bytes as before, so that offsets are the same in both texts.
                out.extend(std::iter::repeat_n(' ', c.len_utf8()));
            }
        }
        rest = &rest[taken..];
    }
    out
}

/// The length of a block comment, with those nested in it.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of `r"…"`, `br#"…"#` and the like, if `text` starts with one.
fn raw_string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_identifier) {
        return None;
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.starts_with(&format!("{prefix}\"")) || text.starts_with(&format!("{prefix}#"))
    })?;
    let hashes = text[prefix.len()..].bytes().take_while(|&b| b == b'#').count();
    let open = prefix.len() + hashes;
    if !text[open..].starts_with('"') {
        return None; // A raw identifier.
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let end = text[open + 1..].find(&close)?;
    Some(open + 1 + end + close.len())
}

/// The length of a string that starts at `text`, with its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal at the start of `text`; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        let end = inside[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let c = inside.chars().next()?;
    let close = 1 + c.len_utf8();
    text[close..].starts_with('\'').then_some(close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_code_is_kept() {
        for (text, code) in [
            ("a // unsafe\nb", "a          \nb"),
            ("a /* x /* y */ z */ b", "a                   b"),
            (r#"f("a \" b", c)"#, "f(        , c)"),
            ("f(r#\"a \" b\"#, c)", "f(          , c)"),
            ("'\"' + '\\'' + 'x'", "    +      +    "),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("r#type + bar", "r#type + bar"),
            ("\"é\" é", "     é"),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn words_are_whole() {
        let code = "unsafe { } unsafe_code x.unsafe";
        assert_eq!(words(code, "unsafe").collect::<Vec<_>>(), [0, 25]);
    }

    #[test]
    fn tests_at_the_end_are_no_product_code() {
        let source = Source::new("a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(source.product_code(), "fn f() {}\n");
    }

    #[test]
    fn a_declared_test_module_does_not_end_the_product_code() {
        let text = "#[cfg(test)]\nmod tests;\nfn f() {}\n";
        assert_eq!(Source::new("a.rs", text).product_code(), text);
        let text = "#[cfg(test)]\nuse a::b;\nfn f() {}\n";
        assert_eq!(Source::new("a.rs", text).product_code(), text);
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for file in ["tracer/src/tui/tests.rs", "tracer/tests/cli.rs", "tracer/tests/common/mod.rs"]
        {
            assert!(Source::new(file, "").is_test_file(), "{file}");
        }
        assert!(!Source::new("xtask/src/test/mod.rs", "").is_test_file());
    }
}
