//! Every colour, by what it means.
//!
//! The palette is Okabe and Ito's, which people with any colour vision tell apart, in the 256
//! colours that every terminal of the last decades has. No colour is ever the only sign: `mono`
//! has none and loses nothing.

use ratatui::style::{Color, Modifier, Style};

use crate::aggregate::snapshot::{MemState, Severity};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Unless `NO_COLOR` is set or the terminal is dumb; `CLICOLOR_FORCE` overrules both.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

const ORANGE: Color = Color::Indexed(214);
const SKY_BLUE: Color = Color::Indexed(74);
const YELLOW: Color = Color::Indexed(227);
const BLUE: Color = Color::Indexed(32);
const VERMILLION: Color = Color::Indexed(202);
const PURPLE: Color = Color::Indexed(175);
const GREY: Color = Color::Indexed(245);
const BLACK: Color = Color::Indexed(16);

const fn badge(color: Color) -> Style {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    bold.fg(BLACK).bg(color)
}

/// A style for every meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) text: Style,
    /// What may be overlooked.
    pub(crate) dim: Style,
    /// What must not.
    pub(crate) strong: Style,
    pub(crate) title: Style,
    pub(crate) border: Style,
    /// The border of the pane that has the focus.
    pub(crate) focus: Style,
    pub(crate) column_head: Style,
    /// The head of the column that rows are sorted by.
    pub(crate) sorted_head: Style,
    pub(crate) selected: Style,
    /// The selected row of a pane without the focus.
    pub(crate) selected_elsewhere: Style,
    pub(crate) key: Style,
    pub(crate) prompt: Style,
    pub(crate) invalid: Style,
    pub(crate) live: Style,
    pub(crate) paused: Style,
    pub(crate) lost: Style,
    pub(crate) ok: Style,
    pub(crate) note: Style,
    pub(crate) warn: Style,
    pub(crate) crit: Style,
    /// The severity word on line 2.
    pub(crate) badge_ok: Style,
    pub(crate) badge_note: Style,
    pub(crate) badge_warn: Style,
    pub(crate) badge_crit: Style,
    pub(crate) chart_area: Style,
    /// The filter's share of the area.
    pub(crate) chart_part: Style,
    pub(crate) chart_limit: Style,
    pub(crate) chart_projection: Style,
    pub(crate) bar_fill: Style,
    pub(crate) bar_empty: Style,
    pub(crate) bar_tick: Style,
}

impl Theme {
    /// The theme for `choice`; `variable` reads the environment.
    pub(crate) fn choose(choice: ColorChoice, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let colors = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                set("CLICOLOR_FORCE").is_some_and(|value| value != "0")
                    || set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
            }
        };
        if colors { Self::color() } else { Self::mono() }
    }

    /// Okabe and Ito's palette. Text keeps the terminal's own colour: it suits its background.
    pub(crate) const fn color() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            text: plain,
            dim: plain.fg(GREY),
            strong: bold,
            title: bold,
            border: plain.fg(GREY),
            focus: plain.fg(SKY_BLUE),
            column_head: plain.fg(GREY),
            sorted_head: bold.fg(SKY_BLUE),
            selected: bold.add_modifier(Modifier::REVERSED),
            selected_elsewhere: bold,
            key: bold.fg(SKY_BLUE),
            prompt: bold.fg(YELLOW),
            invalid: bold.fg(VERMILLION),
            live: plain.fg(SKY_BLUE),
            paused: bold.fg(BLACK).bg(YELLOW),
            lost: bold.fg(ORANGE),
            ok: plain.fg(SKY_BLUE),
            note: plain.fg(YELLOW),
            warn: plain.fg(ORANGE),
            crit: bold.fg(VERMILLION),
            badge_ok: badge(SKY_BLUE),
            badge_note: badge(YELLOW),
            badge_warn: badge(ORANGE),
            badge_crit: badge(VERMILLION),
            chart_area: plain.fg(SKY_BLUE),
            chart_part: plain.fg(BLUE),
            chart_limit: plain.fg(VERMILLION),
            chart_projection: plain.fg(PURPLE),
            bar_fill: plain.fg(SKY_BLUE),
            bar_empty: plain.fg(GREY),
            bar_tick: bold,
        }
    }

    /// Bold and reverse only.
    pub(crate) const fn mono() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let reverse = plain.add_modifier(Modifier::REVERSED);
        let loud = bold.add_modifier(Modifier::REVERSED);
        Self {
            text: plain,
            dim: plain,
            strong: bold,
            title: bold,
            border: plain,
            focus: bold,
            column_head: plain,
            sorted_head: bold,
            selected: reverse,
            selected_elsewhere: bold,
            key: bold,
            prompt: bold,
            invalid: loud,
            live: plain,
            paused: reverse,
            lost: bold,
            ok: plain,
            note: plain,
            warn: bold,
            crit: bold,
            badge_ok: plain,
            badge_note: bold,
            badge_warn: reverse,
            badge_crit: loud,
            chart_area: plain,
            chart_part: bold,
            chart_limit: bold,
            chart_projection: plain,
            bar_fill: plain,
            bar_empty: plain,
            bar_tick: bold,
        }
    }

    pub(crate) const fn severity(&self, severity: Severity) -> Style {
        match severity {
            Severity::Ok => self.ok,
            Severity::Note => self.note,
            Severity::Warn => self.warn,
            Severity::Crit => self.crit,
        }
    }

    pub(crate) const fn badge(&self, severity: Severity) -> Style {
        match severity {
            Severity::Ok => self.badge_ok,
            Severity::Note => self.badge_note,
            Severity::Warn => self.badge_warn,
            Severity::Crit => self.badge_crit,
        }
    }

    pub(crate) const fn memory(&self, state: MemState) -> Style {
        match state {
            MemState::Ok => self.bar_fill,
            MemState::Rising => self.note,
            MemState::Pressure => self.warn,
            MemState::Exhausted => self.crit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)]) -> Theme {
        Theme::choose(ColorChoice::Auto, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_decides() {
        assert_eq!(auto(&[]), Theme::color());
        assert_eq!(auto(&[("NO_COLOR", "")]), Theme::color(), "empty is unset");
        assert_eq!(auto(&[("NO_COLOR", "1")]), Theme::mono());
        assert_eq!(auto(&[("TERM", "dumb")]), Theme::mono());
        assert_eq!(auto(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]), Theme::color());
        assert_eq!(auto(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "0")]), Theme::mono());
    }

    #[test]
    fn mono_has_no_colour() {
        let theme = format!("{:?}", Theme::mono());
        assert!(!theme.contains("Indexed"), "{theme}");
    }
}
