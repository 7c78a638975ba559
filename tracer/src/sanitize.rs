//! Strings that strangers chose, made harmless for a terminal.
//!
//! A process picks its own name, a container its cgroup path, a machine its host name. Printed as
//! they are, they could move the cursor, retitle the window, reverse the reading order or hide
//! characters. Here every such character becomes visible instead.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `text` with everything that a terminal would act on, or not show, spelt out: `\x1b`,
/// `\u{202e}`.
///
/// Backslashes stay single (systemd's unit names are full of them), so the result is for reading
/// and cannot be turned back.
#[must_use]
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmless(character) {
            shown.push(character);
        } else {
            escape(character, &mut shown);
        }
    }
    Cow::Owned(shown)
}

/// As [`sanitize`], and in ASCII only, for terminals that have nothing else.
#[must_use]
pub fn sanitize_ascii(text: &str) -> Cow<'_, str> {
    let is_plain = |character: char| matches!(character, ' '..='~');
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_plain(character) {
            shown.push(character);
        } else if character == 'µ' {
            // As people type it: 40 us.
            shown.push('u');
        } else {
            escape(character, &mut shown);
        }
    }
    Cow::Owned(shown)
}

/// How many terminal cells `text` takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` cut to at most `cells` terminal cells, with `ellipsis` at the end where it was cut.
///
/// A double-width character is never halved, so the result can be one cell short.
#[must_use]
pub fn truncate<'a>(text: &'a str, cells: usize, ellipsis: &str) -> Cow<'a, str> {
    if text.width() <= cells {
        return Cow::Borrowed(text);
    }
    // An ellipsis with nothing before it says less than the first characters do.
    let tail = if ellipsis.width() < cells { ellipsis } else { "" };
    let mut kept = String::from(prefix(text, cells.saturating_sub(tail.width())));
    kept.push_str(tail);
    Cow::Owned(kept)
}

/// The longest start of `text` that takes at most `cells` terminal cells.
#[must_use]
pub fn prefix(text: &str, cells: usize) -> &str {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > cells {
            return &text[..at];
        }
    }
    text
}

/// Whether a terminal shows `character` as itself, in at least one cell, without side effects.
///
/// Width 0 covers joiners, combining marks, variation selectors and most format characters; the
/// rest are format characters and line separators that width tables count as a cell.
fn is_harmless(character: char) -> bool {
    character.width().is_some_and(|width| width > 0)
        && !matches!(
            character,
            '\u{00ad}'
                | '\u{061c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn escape(character: char, into: &mut String) {
    let code = u32::from(character);
    // Writing to a String cannot fail.
    let _ =
        if code < 0x80 { write!(into, "\\x{code:02x}") } else { write!(into, "\\u{{{code:x}}}") };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_are_spelt_out() {
        assert_eq!(sanitize("\x1b]0;evil\x07"), "\\x1b]0;evil\\x07", "setting the window title");
        assert_eq!(sanitize("a\nb\r\t\x7f"), "a\\x0ab\\x0d\\x09\\x7f");
        assert_eq!(sanitize("\u{9b}31m"), "\\u{9b}31m", "8-bit CSI");
    }

    #[test]
    fn what_hides_or_reorders_is_spelt_out() {
        assert_eq!(sanitize("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(sanitize("ss\u{200b}hd"), "ss\\u{200b}hd");
        assert_eq!(sanitize("s\u{301}"), "s\\u{301}", "combining accent");
        assert_eq!(sanitize("\u{e0041}"), "\\u{e0041}", "tag character");
    }

    #[test]
    fn ordinary_names_are_not_copied() {
        for name in ["httpdns", "système", "数据库", "a\\x2db", "kworker/0:1"] {
            assert!(matches!(sanitize(name), Cow::Borrowed(same) if same == name));
        }
    }

    #[test]
    fn ascii_spells_out_the_rest() {
        assert_eq!(sanitize_ascii("数"), "\\u{6570}");
        assert_eq!(sanitize_ascii("nginx"), "nginx");
    }

    #[test]
    fn truncation_counts_cells() {
        assert_eq!(truncate("httpdns", 7, "…"), "httpdns");
        assert_eq!(truncate("httpdns", 6, "…"), "httpd…");
        assert_eq!(truncate("数据库", 4, "…"), "数…");
        assert_eq!(truncate("数据库", 5, "…"), "数据…");
        assert_eq!(truncate("httpdns", 2, ".."), "ht");
        assert_eq!(truncate("httpdns", 0, "…"), "");
    }

    proptest! {
        #[test]
        fn nothing_a_terminal_acts_on_survives(text in any::<String>()) {
            let shown = sanitize(&text);
            prop_assert!(shown.chars().all(is_harmless));
            prop_assert_eq!(sanitize(&shown), shown.clone());
            prop_assert!(sanitize_ascii(&text).chars().all(|character| matches!(character, ' '..='~')));
        }

        #[test]
        fn truncation_never_exceeds_the_room(text in any::<String>(), cells in 0usize..40) {
            prop_assert!(width(&truncate(&text, cells, "…")) <= cells.max(width(&text).min(cells)));
        }
    }
}
