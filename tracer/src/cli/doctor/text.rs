//! The doctor's report as text: a table, then what to do about each row that needs it. A pure
//! function of the report; every string in it passes [`sanitize`].

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::diagnose::{CheckRow, Report, State};
use crate::sanitize::{sanitize, sanitize_ascii, truncate, width};

/// How to draw it.
#[derive(Clone, Debug)]
pub struct Style {
    /// Cells a line.
    pub width: usize,
    /// Nothing but ASCII.
    pub ascii: bool,
    /// With colours.
    pub color: bool,
    /// The reader's time zone.
    pub zone: TimeZone,
    /// What the process will exit with.
    pub exit_code: u8,
}

/// The report.
#[must_use]
pub fn render(report: &Report, style: &Style) -> String {
    let mut page = Page { out: String::new(), style };
    page.header(report);
    page.table(report);
    for (at, finding) in report.checks.iter().enumerate() {
        if matches!(finding.state, State::Warn | State::Crit) {
            page.details(at + 1, finding);
        }
    }
    page.harmless(report);
    page.lint(report);
    page.unseen(report);
    page.out
}

struct Page<'a> {
    out: String,
    style: &'a Style,
}

impl Page<'_> {
    fn header(&mut self, report: &Report) {
        let host = self.clean(&report.host);
        let _ = writeln!(
            self.out,
            "sockflow doctor   {}   {}   {}   exit code {}",
            truncate(&host, 20, "~"),
            report.time.distinct_clock(&self.style.zone),
            report.counts().join("  "),
            self.style.exit_code
        );
        let state = self.state(report.verdict, report.verdict.word());
        let (begins, word) = (self.out.len(), report.verdict.word());
        self.wrapped(&format!("{word}  "), "      ", &report.sentence);
        self.out.replace_range(begins..begins + word.len(), &state);
        for note in &report.notes {
            self.wrapped("", "  ", &format!("({note})"));
        }
    }

    /// Cells of a bar.
    fn bar_cells(&self) -> usize {
        // Eight in a narrow window, a third of what is beyond 80 more.
        6 + self.style.width.saturating_sub(80) / 3
    }

    fn table(&mut self, report: &Report) {
        let cells = self.bar_cells();
        let _ = writeln!(
            self.out,
            " #  STATE CHECK         {:<19} {:<w$} ADVICE",
            "NOW / LIMIT",
            "USE",
            w = cells + 7
        );
        for (at, finding) in report.checks.iter().enumerate() {
            let word = finding.word();
            let mut line = format!(
                "{:>2}  {} {:<13} {:<19} {}",
                at + 1,
                self.state(finding.state, &format!("{word:<5}")),
                finding.title,
                finding.amounts(),
                self.usage(finding, cells)
            );
            let used = 2 + 2 + 5 + 1 + 13 + 1 + 19 + 1 + cells + 7;
            let room = self.style.width.saturating_sub(used + 1);
            let advice = self.clean(&finding.advice());
            let advice = truncate(&advice, room, self.ellipsis());
            if !advice.is_empty() {
                line.push(' ');
                line.push_str(&advice);
            }
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    fn usage(&self, finding: &CheckRow, cells: usize) -> String {
        let (Some(used), Some(percent)) = (finding.used, finding.percent()) else {
            return " ".repeat(cells + 7);
        };
        let share = (used.clamp(0.0, 1.0) * cells as f64).round() as usize;
        let (full, empty) = if self.style.ascii { ("#", ".") } else { ("█", "·") };
        format!("[{}{}]{percent:>5}", full.repeat(share), empty.repeat(cells - share))
    }

    fn details(&mut self, number: usize, finding: &CheckRow) {
        let title = format!("{number} {} {}", finding.state.word(), finding.heading());
        self.out.push('\n');
        let title = self.clean(&title);
        let title = self.state(finding.state, &truncate(&title, self.style.width, "~"));
        let _ = writeln!(self.out, "{title}");
        for (label, text) in finding.paragraphs() {
            self.labelled(label, &text);
        }
    }

    fn harmless(&mut self, report: &Report) {
        let harmless: Vec<&CheckRow> = report.harmless().collect();
        if harmless.is_empty() {
            return;
        }
        self.out.push_str("\nok* = near its limit, and harmless\n");
        for finding in harmless {
            self.labelled("", &format!("{}: {}", finding.title, finding.why));
        }
    }

    fn lint(&mut self, report: &Report) {
        if report.lint.is_empty() {
            return;
        }
        self.out.push_str("\nsysctl files\n");
        for remark in &report.lint {
            let text = format!(
                "{}={}: {}: {}",
                remark.place(),
                remark.value,
                remark.word.text(),
                remark.text
            );
            self.wrapped("  ", "      ", &text);
        }
    }

    fn unseen(&mut self, report: &Report) {
        let unseen: Vec<&CheckRow> = report.unseen().collect();
        if unseen.is_empty() {
            return;
        }
        self.out.push_str("\nnot measured\n");
        for finding in unseen {
            self.wrapped("  ", "      ", &format!("{}: {}", finding.title, finding.why));
        }
    }

    fn labelled(&mut self, label: &str, text: &str) {
        self.wrapped(&format!("  {label:<6} "), "         ", text);
    }

    /// Words put on lines, as many as fit.
    fn wrapped(&mut self, first: &str, other: &str, text: &str) {
        let text = self.clean(text);
        let mut line = first.to_owned();
        let mut is_empty = true;
        for word in text.split(' ') {
            if !is_empty && width(&line) + 1 + width(word) > self.style.width {
                let _ = writeln!(self.out, "{}", line.trim_end());
                line = other.to_owned();
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    fn clean(&self, text: &str) -> String {
        if self.style.ascii { sanitize_ascii(text) } else { sanitize(text) }.into_owned()
    }

    fn ellipsis(&self) -> &'static str {
        if self.style.ascii { "~" } else { "…" }
    }

    /// Words say it; colour only helps.
    fn state(&self, state: State, text: &str) -> String {
        let code = match state {
            State::Crit => "1;31",
            State::Warn => "33",
            State::Ok | State::Unknown => return text.to_owned(),
        };
        if self.style.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests;
