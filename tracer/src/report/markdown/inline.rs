//! What stands within a line: names that strangers chose, and series as blocks.

use crate::sanitize::sanitize;

/// What somebody chose, as text: neither markup nor HTML, and harmless in a terminal. Only what
/// would be markup where it stands is escaped, so that it can be read as it is, too.
pub(super) fn text(chosen: &str) -> String {
    let clean = sanitize(chosen);
    let characters: Vec<char> = clean.chars().collect();
    let mut out = String::with_capacity(clean.len());
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| characters.get(at));
        let after = characters.get(index + 1);
        let is_word = |it: Option<&char>| it.is_some_and(|it| it.is_alphanumeric());
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Links of themselves.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '|' | '~' => out.extend(['\\', *character]),
            '_' if !(is_word(before) && is_word(after)) => out.push_str("\\_"),
            // What makes a link of brackets.
            '(' | '[' | ':' if before == Some(&']') => out.extend(['\\', *character]),
            '#' | '+' | '-' | '=' if index == 0 && after.is_some() => {
                out.extend(['\\', *character]);
            }
            other => out.push(*other),
        }
    }
    // `www.` and `scheme://` are links without any markup.
    out.replace("://", ":&#47;/").replace("www.", "www&#46;")
}

/// In a code span: a fence longer than what is in it.
pub(super) fn code(chosen: &str) -> String {
    let clean = sanitize(chosen);
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    // A bar would end the cell of a table, also in a code span.
    format!("{fence}{pad}{}{pad}{fence}", clean.replace('|', "\\|"))
}

/// A series as a line of blocks: a point that is not 0 always shows.
pub(super) fn blocks(values: impl Iterator<Item = f64> + Clone) -> String {
    const BLOCK: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.clone().fold(0.0, f64::max);
    values
        .map(|value| {
            if value <= 0.0 || most <= 0.0 {
                '·'
            } else {
                BLOCK[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_chose_is_text() {
        assert_eq!(text("<script>a|b</script>"), "&lt;script&gt;a\\|b&lt;/script&gt;");
        assert_eq!(text("]]> ![x](http://e)"), "]]&gt; ![x]\\(http:&#47;/e)");
        assert_eq!(text("# _x_ a_b *c*"), "\\# \\_x\\_ a_b \\*c\\*");
        assert_eq!(text("\u{1b}]0;x\n- y"), "\\\\x1b]0;x\\\\x0a- y");
        assert_eq!(text("at 1,234 (httpdns[4121]): 99%"), "at 1,234 (httpdns[4121]): 99%");
        assert_eq!(code("a`b|c"), "`` a`b\\|c ``");
    }

    #[test]
    fn little_shows_beside_much() {
        assert_eq!(blocks([0.0, 1.0, 1e9, 5e8].into_iter()), "·▁█▄");
        assert_eq!(blocks([0.0, 0.0].into_iter()), "··");
    }
}
