//! Options of everything that has a screen.

use std::io::IsTerminal as _;

use super::zone;
use crate::sanitize::sanitize;
use crate::{stdio, tui};

/// How the screen looks.
#[derive(clap::Args, Debug)]
pub struct ScreenArgs {
    /// Colours: auto (heeds NO_COLOR), always, never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        value_enum,
        hide_possible_values = true
    )]
    color: ColorWhen,
    /// Glyphs: auto (by the locale), utf8, ascii
    #[arg(
        long,
        value_name = "SET",
        default_value = "auto",
        value_enum,
        hide_possible_values = true,
        hide_short_help = true
    )]
    symbols: Symbols,
    /// Leave the mouse to the terminal, to select text; `m` on the screen changes it
    #[arg(long, hide_short_help = true)]
    no_mouse: bool,
}

/// Whether the screen is to be shown: stdin and stdout are a terminal that can. Says so where it is a
/// terminal that cannot.
#[must_use]
pub fn is_possible() -> bool {
    if !std::io::stdin().is_terminal() || !stdio::out_is_terminal() {
        return false;
    }
    let term = std::env::var("TERM").unwrap_or_default();
    let is_able = !matches!(term.as_str(), "" | "dumb" | "unknown");
    if !is_able {
        let term = sanitize(&term);
        stdio::note(format!(
            "this terminal (TERM={term}) cannot show the screen: a line an interval instead"
        ));
    }
    is_able
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ColorWhen {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Symbols {
    Auto,
    Utf8,
    Ascii,
}

impl ScreenArgs {
    /// The screen's options; `title` is what line 1 begins with.
    #[must_use]
    pub fn options(&self, title: impl Into<String>) -> tui::Options {
        tui::Options {
            title: title.into(),
            color: match self.color {
                ColorWhen::Auto => tui::ColorChoice::Auto,
                ColorWhen::Always => tui::ColorChoice::Always,
                ColorWhen::Never => tui::ColorChoice::Never,
            },
            symbols: match self.symbols {
                Symbols::Auto => tui::SymbolChoice::Auto,
                Symbols::Utf8 => tui::SymbolChoice::Utf8,
                Symbols::Ascii => tui::SymbolChoice::Ascii,
            },
            mouse: !self.no_mouse,
            zone: zone::reader(),
            ..tui::Options::default()
        }
    }
}
