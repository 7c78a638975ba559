//! Every glyph, as a pair: what UTF-8 has and what ASCII makes of it.

use std::borrow::Cow;

use ratatui::symbols::border;

use crate::aggregate::snapshot::{Fidelity, Severity};
use crate::sanitize::{sanitize, sanitize_ascii, truncate};

/// Which characters the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SymbolChoice {
    /// From `LC_ALL`, `LC_CTYPE`, `LANG` and `TERM`.
    #[default]
    Auto,
    /// Box drawing and braille.
    Utf8,
    /// Nothing above `~`.
    Ascii,
}

/// The set in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbols {
    utf8: bool,
}

impl Symbols {
    pub(crate) const UTF8: Self = Self { utf8: true };
    pub(crate) const ASCII: Self = Self { utf8: false };

    /// The set for `choice`; `variable` reads the environment, `client` says whether the program that
    /// stands between this one and the terminal takes UTF-8, if there is one.
    pub(crate) fn choose(
        choice: SymbolChoice,
        variable: impl Fn(&str) -> Option<String>,
        client: impl FnOnce() -> Option<bool>,
    ) -> Self {
        let utf8 = match choice {
            SymbolChoice::Utf8 => true,
            SymbolChoice::Ascii => false,
            SymbolChoice::Auto => {
                // POSIX: the first that is set and not empty decides.
                let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
                    .into_iter()
                    .find_map(|name| variable(name).filter(|value| !value.is_empty()))
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                let terminal = variable("TERM").unwrap_or_default();
                (locale.contains("utf-8") || locale.contains("utf8"))
                    && terminal != "linux"
                    && terminal != "dumb"
                    && client() != Some(false)
            }
        };
        if utf8 { Self::UTF8 } else { Self::ASCII }
    }

    const fn pick<T: Copy>(self, utf8: T, ascii: T) -> T {
        if self.utf8 { utf8 } else { ascii }
    }

    pub(crate) const fn is_utf8(self) -> bool {
        self.utf8
    }

    /// A stranger's string, harmless and within the set.
    pub(crate) fn clean(self, text: &str) -> Cow<'_, str> {
        if self.utf8 { sanitize(text) } else { sanitize_ascii(text) }
    }

    /// `text` in at most `cells`.
    pub(crate) fn cut(self, text: &str, cells: usize) -> String {
        truncate(text, cells, self.ellipsis()).into_owned()
    }

    pub(crate) const fn ellipsis(self) -> &'static str {
        self.pick("…", "..")
    }
    pub(crate) const fn borders(self) -> border::Set<'static> {
        self.pick(border::ROUNDED, ASCII_BORDER)
    }
    /// The line after a title.
    pub(crate) const fn rule(self) -> &'static str {
        self.pick("─", "-")
    }
    pub(crate) const fn column(self) -> &'static str {
        self.pick("│", "|")
    }
    /// Before the selected row.
    pub(crate) const fn selected(self) -> &'static str {
        self.pick("▸", "*")
    }
    pub(crate) const fn descending(self) -> &'static str {
        self.pick("▼", "v")
    }
    pub(crate) const fn ascending(self) -> &'static str {
        self.pick("▲", "^")
    }
    /// From one state to the next.
    pub(crate) const fn next_state(self) -> &'static str {
        self.pick("→", ">")
    }
    pub(crate) const fn down(self) -> &'static str {
        self.pick("▼", "v")
    }
    /// Before the port of a service we connect to.
    pub(crate) const fn outward(self) -> &'static str {
        self.pick("→", ">")
    }
    pub(crate) const fn crumb(self) -> &'static str {
        self.pick(" › ", " > ")
    }
    pub(crate) const fn cursor(self) -> &'static str {
        self.pick("▏", "_")
    }
    pub(crate) const fn bar_full(self) -> &'static str {
        self.pick("█", "#")
    }
    pub(crate) const fn bar_empty(self) -> &'static str {
        self.pick("░", ".")
    }
    pub(crate) const fn bar_ends(self) -> (&'static str, &'static str) {
        self.pick(("▕", "▏"), ("[", "]"))
    }
    pub(crate) const fn limit(self) -> &'static str {
        self.pick("╌", "=")
    }
    pub(crate) const fn projection(self) -> &'static str {
        self.pick("⋰", "/")
    }
    /// Where the projection reaches the limit, or leaves the picture.
    pub(crate) const fn projection_end(self) -> &'static str {
        self.pick("▲", "^")
    }
    pub(crate) const fn area_top(self) -> &'static str {
        self.pick("⠒", "*")
    }
    pub(crate) const fn area(self) -> &'static str {
        self.pick("⣿", ":")
    }
    pub(crate) const fn area_part(self) -> &'static str {
        self.pick("⣿", "#")
    }

    /// The moment on screen, on the ruler.
    pub(crate) const fn here(self) -> &'static str {
        self.pick("◆", "O")
    }
    /// The ruler's line for ok, WARN, CRIT, and what is not read yet.
    pub(crate) const fn tracks(self) -> &'static str {
        self.pick("─ ═ ━ ┈", "- = # .")
    }
    pub(crate) const fn track(self, severity: Severity) -> &'static str {
        match severity {
            Severity::Ok | Severity::Note => self.pick("─", "-"),
            Severity::Warn => self.pick("═", "="),
            Severity::Crit => self.pick("━", "#"),
        }
    }
    pub(crate) const fn track_unread(self) -> &'static str {
        self.pick("┈", ".")
    }
    /// The ruler's ends; the second right one is that of what still grows.
    pub(crate) const fn track_ends(self) -> (&'static str, &'static str, &'static str) {
        self.pick(("├", "┤", "▶"), ("|", "|", ">"))
    }

    /// What stands beside the severity word.
    pub(crate) const fn severity(self, severity: Severity) -> &'static str {
        match severity {
            Severity::Ok => self.pick("✓", "+"),
            Severity::Note => self.pick("•", "-"),
            Severity::Warn => self.pick("▲", "!"),
            Severity::Crit => self.pick("✖", "X"),
        }
    }

    /// What stands before a number that is not exact.
    pub(crate) const fn fidelity(self, fidelity: Fidelity) -> &'static str {
        match fidelity {
            Fidelity::Exact | Fidelity::Absent => "",
            Fidelity::Derived => "~",
            Fidelity::Sampled => self.pick("≈", "@"),
        }
    }
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)]) -> bool {
        auto_under(variables, None)
    }

    fn auto_under(variables: &[(&str, &str)], client: Option<bool>) -> bool {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Symbols::choose(SymbolChoice::Auto, variable, || client).is_utf8()
    }

    #[test]
    fn a_client_without_utf8_overrules_the_locale() {
        let utf8 = [("LANG", "C.UTF-8"), ("TERM", "tmux-256color")];
        assert!(auto_under(&utf8, Some(true)));
        assert!(!auto_under(&utf8, Some(false)));
        assert!(!auto_under(&[("LANG", "C"), ("TERM", "tmux-256color")], Some(true)));
        let asked = Symbols::choose(SymbolChoice::Utf8, |_| None, || Some(false));
        assert!(asked.is_utf8(), "who asks for it gets it");
    }

    #[test]
    fn the_locale_decides() {
        assert!(auto(&[("LANG", "en_US.UTF-8"), ("TERM", "xterm-256color")]));
        assert!(auto(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!auto(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(!auto(&[]));
    }

    #[test]
    fn poor_terminals_get_ascii() {
        assert!(!auto(&[("LANG", "en_US.UTF-8"), ("TERM", "linux")]));
        assert!(!auto(&[("LANG", "en_US.UTF-8"), ("TERM", "dumb")]));
    }
}
