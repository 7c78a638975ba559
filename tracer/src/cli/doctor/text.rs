//! The doctor's report as text: a table, then what to do about each row that needs it. A pure
//! function of the report; every string in it passes [`sanitize`].

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::diagnose::{Finding, Report, Scope, State};
use crate::format::{bytes, count, duration};
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
        let number = |state: State| report.checks.iter().filter(|it| it.state == state).count();
        let mut counts = Vec::new();
        for (state, word) in [
            (State::Crit, "CRIT"),
            (State::Warn, "WARN"),
            (State::Ok, "ok"),
            (State::Unknown, "not measured"),
        ] {
            if number(state) > 0 {
                counts.push(format!("{} {word}", number(state)));
            }
        }
        let host = self.clean(&report.host);
        let _ = writeln!(
            self.out,
            "sockflow doctor   {}   {}   {}   exit code {}",
            truncate(&host, 20, "~"),
            report.time.clock(&self.style.zone),
            counts.join("  "),
            self.style.exit_code
        );
        let state = self.state(report.verdict, report.verdict.word());
        let text = self.clean(&report.sentence);
        let _ = writeln!(self.out, "{state}  {text}");
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
            let word = match (finding.state, finding.harmless && finding.used >= Some(0.8)) {
                (State::Ok, true) => "ok*",
                (state, _) => state.word(),
            };
            let mut line = format!(
                "{:>2}  {} {:<13} {:<19} {}",
                at + 1,
                self.state(finding.state, &format!("{word:<5}")),
                finding.title,
                numbers(finding),
                self.usage(finding, cells)
            );
            let used = 2 + 2 + 5 + 1 + 13 + 1 + 19 + 1 + cells + 7;
            let room = self.style.width.saturating_sub(used + 1);
            let advice = self.clean(&short_advice(finding));
            let advice = truncate(&advice, room, self.ellipsis());
            if !advice.is_empty() {
                line.push(' ');
                line.push_str(&advice);
            }
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    fn usage(&self, finding: &Finding, cells: usize) -> String {
        let Some(used) = finding.used else {
            return " ".repeat(cells + 7);
        };
        let share = (used.clamp(0.0, 1.0) * cells as f64).round() as usize;
        let (full, empty) = if self.style.ascii { ("#", ".") } else { ("█", "·") };
        let percent = match used * 100.0 {
            little if used > 0.0 && little < 1.0 => "<1%".to_owned(),
            much if much > 999.0 => ">999%".to_owned(),
            value => format!("{:.0}%", value.floor()),
        };
        format!("[{}{}]{percent:>5}", full.repeat(share), empty.repeat(cells - share))
    }

    fn details(&mut self, number: usize, finding: &Finding) {
        let mut title = format!("{number} {} {}", finding.state.word(), finding.title);
        if let Some(subject) = &finding.subject {
            title.push_str(&format!(" {subject}"));
        }
        title.push_str(&match finding.in_s {
            Some(left) if left > 0.0 => format!(": limit in {}", duration(left)),
            Some(_) => ": at its limit now".to_owned(),
            None if finding.limit.is_some() => ": no trend to project".to_owned(),
            None => String::new(),
        });
        title.push_str(match finding.scope {
            Scope::Host => "   (the host's)",
            Scope::Netns => "   (this network namespace's)",
            Scope::Process => "   (one process's)",
            Scope::Cgroup => "   (one cgroup's)",
        });
        self.out.push('\n');
        let title = self.clean(&title);
        let title = self.state(finding.state, &truncate(&title, self.style.width, "~"));
        let _ = writeln!(self.out, "{title}");
        self.labelled("why", &finding.why);
        if let Some(other) = finding.follows {
            self.labelled("", &format!("It follows from `{other}`: see there first."));
        }
        for set in &finding.set {
            let value = match set.to.contains(' ') {
                true => format!("\"{}\"", set.to),
                false => set.to.clone(),
            };
            self.labelled("set", &format!("sysctl -w {}={value}   (now {})", set.sysctl, set.from));
        }
        for (label, text) in [
            ("do", &finding.action),
            ("gain", &finding.gain),
            ("risk", &finding.risk),
            ("undo", &finding.undo),
            ("proof", &finding.evidence),
        ] {
            if !text.is_empty() {
                self.labelled(label, text);
            }
        }
    }

    fn harmless(&mut self, report: &Report) {
        let harmless: Vec<&Finding> =
            report.checks.iter().filter(|it| it.harmless && it.used >= Some(0.8)).collect();
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
        let unseen: Vec<&Finding> =
            report.checks.iter().filter(|it| it.state == State::Unknown).collect();
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

/// `118,204/131,072`, in the unit that suits it.
fn numbers(finding: &Finding) -> String {
    let Some(now) = finding.now else { return "not measured".to_owned() };
    let show = |number: u64| match finding.unit {
        "bytes" => bytes(number),
        // fs.file-max may be as good as infinite.
        _ if number > 1 << 50 => "no limit".to_owned(),
        _ if number >= 10_000_000 => crate::format::short(number as f64),
        _ => count(number),
    };
    match finding.limit {
        Some(limit) => format!("{}/{}", show(now), show(limit)),
        None => show(now),
    }
}

/// What to do, in a few words.
fn short_advice(finding: &Finding) -> String {
    match (finding.state, finding.follows, finding.set.first()) {
        (State::Unknown, ..) => "see below".to_owned(),
        (State::Ok, ..) if finding.harmless && finding.used >= Some(0.8) => {
            "none: harmless here".to_owned()
        }
        (State::Ok, ..) => String::new(),
        (_, Some(other), _) => format!("follows {other}: see there"),
        (_, None, Some(set)) => {
            let name = set.sysctl.rsplit('.').next().unwrap_or(&set.sysctl);
            format!("{name}={}", set.to)
        }
        (_, None, None) => finding.subject.clone().unwrap_or_else(|| "see below".to_owned()),
    }
}

#[cfg(test)]
mod tests;
