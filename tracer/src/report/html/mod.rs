//! The report as one HTML file: nothing is fetched, nothing is run.
//!
//! Everything is in the file, and its own policy (CSP) forbids the rest. Text goes through maud,
//! which escapes it, and through [`sanitize`], for a name can also hold what turns the direction
//! of reading. It follows the reader's choice of light or dark, prints in black and white, and
//! says nothing by colour alone: lines have styles, areas have patterns, severities have words.
//!
//! * `style.css`: looks; `plot`: axes and shapes of a chart; `charts`, `heat`: the charts;
//! * `story`: verdict to timeline; `tables`: who, and how it ended; `rest`: doctor to environment.

mod charts;
mod heat;
mod plot;
mod rest;
mod story;
mod tables;

use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;
use super::words;
use crate::aggregate::snapshot::Severity;
use crate::sanitize::sanitize;

/// Nothing may be loaded, run, framed or sent; styles are in the file.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page.
#[must_use]
pub fn render(report: &Report, zone: &TimeZone) -> String {
    let page = Page { report, zone };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content=(format!("sockflow {}", report.environment.reported_by));
                title { (clean(&words::title(report, zone))) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (plot::patterns())
                (page.header())
                (page.contents())
                main {
                    (page.impact())
                    (page.timeline())
                    (page.charts())
                    (page.who())
                    (page.ends())
                    (page.doctor())
                    (page.trust())
                    (page.environment())
                }
                footer {
                    p {
                        "Made by sockflow " (report.environment.reported_by) " from "
                        code { (clean(&report.trace.file)) }
                        ". This file is whole: it loads nothing and runs nothing."
                    }
                }
            }
        }
    }
    .into_string()
}

/// What the sections are made of.
struct Page<'a> {
    report: &'a Report,
    zone: &'a TimeZone,
}

/// The sections: their anchors and headings.
const SECTIONS: [(&str, &str); 8] = [
    ("impact", "Impact"),
    ("timeline", "Timeline"),
    ("charts", "Over time"),
    ("who", "Who"),
    ("ends", "How orphans ended"),
    ("doctor", "Doctor"),
    ("trust", "Trust"),
    ("environment", "Environment"),
];

impl Page<'_> {
    fn contents(&self) -> Markup {
        html! {
            nav aria-label="Contents" {
                @for (anchor, name) in SECTIONS {
                    a href=(format!("#{anchor}")) { (name) }
                }
            }
        }
    }
}

/// A section with its heading.
fn section(anchor: &str, title: &str, body: &Markup) -> Markup {
    html! {
        section id=(anchor) aria-labelledby=(format!("{anchor}-h")) {
            h2 id=(format!("{anchor}-h")) { (title) }
            (body)
        }
    }
}

/// What somebody chose, without what would change how the rest is read.
fn clean(text: &str) -> String {
    sanitize(text).into_owned()
}

/// A severity as glyph, word and colour.
fn chip(severity: Severity) -> Markup {
    let class = match severity {
        Severity::Ok => "chip ok",
        Severity::Note => "chip note",
        Severity::Warn => "chip warn",
        Severity::Crit => "chip crit",
    };
    html! {
        span class=(class) {
            span aria-hidden="true" { (words::glyph(severity)) } " " (severity.word())
        }
    }
}

/// A table that scrolls by itself where the page is too narrow. Columns of numbers are `true`.
fn table(label: &str, columns: &[(&str, bool)], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(label) {
            table {
                thead {
                    tr {
                        @for (name, number) in columns {
                            th scope="col" class=[number.then_some("n")] { (name) }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (cell, (_, number)) in row.iter().zip(columns) {
                                td class=[number.then_some("n")] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A cell of text.
fn cell(text: impl AsRef<str>) -> Markup {
    html! { (clean(text.as_ref())) }
}
