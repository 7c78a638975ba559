//! Options of everything that has a screen.

use super::zone;
use crate::tui;

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
        hide_possible_values = true
    )]
    symbols: Symbols,
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
            zone: zone::reader(),
            ..tui::Options::default()
        }
    }
}
