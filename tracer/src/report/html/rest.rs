//! The page's end: the doctor, how far all of it can be trusted, and the environment.

use maud::{Markup, html};

use super::{Page, cell, clean, section, table};
use crate::diagnose::{CheckRow, State};
use crate::format::count;
use crate::report::words;

fn state(state: State) -> Markup {
    let (class, glyph) = match state {
        State::Unknown => ("chip", "?"),
        State::Ok => ("chip ok", "✔"),
        State::Warn => ("chip warn", "▲"),
        State::Crit => ("chip crit", "✖"),
    };
    let word = if state == State::Unknown { "not seen" } else { state.word() };
    html! { span class=(class) { span aria-hidden="true" { (glyph) } " " (word) } }
}

fn advice(check: &CheckRow) -> Markup {
    html! {
        article class="advice" {
            h3 { (state(check.state)) " " (check.title)
                @if let Some(subject) = &check.subject { " " (clean(subject)) } }
            p { (clean(&check.why)) }
            @if !check.set.is_empty() {
                ul class="commands" {
                    @for set in &check.set {
                        li {
                            code class="command" {
                                "sysctl -w " (clean(&set.sysctl)) "=\"" (clean(&set.to)) "\""
                            }
                            span class="small" { " now " (clean(&set.from)) }
                        }
                    }
                }
            }
            dl class="pairs" {
                @for (what, said) in words::advice(check) { dt { (what) } dd { (clean(said)) } }
            }
        }
    }
}

impl Page<'_> {
    pub(super) fn doctor(&self) -> Markup {
        let doctor = &self.report.doctor;
        let worst = &self.report.impact.worst;
        let body = html! {
            p class="lead" {
                "As " code { "sockflow doctor" } " would have judged at " (worst.time.clock(self.zone)) ". "
                code class="command" { (clean(&worst.replay)) }
            }
            @if let Some(report) = &doctor.report {
                p class="verdict" { (state(report.verdict)) " " (clean(&report.sentence)) }
                @for check in report.checks.iter().filter(|check| check.state > State::Ok) {
                    (advice(check))
                }
                (self.checks(report.checks.iter().filter(|check| check.state == State::Ok)))
                @for note in &report.notes { p class="small" { (clean(note)) "." } }
                @let unknown: Vec<&str> = report
                    .checks
                    .iter()
                    .filter(|check| check.state == State::Unknown)
                    .map(|check| check.title)
                    .collect();
                @if !unknown.is_empty() {
                    p class="small" { "Not in a trace: " (unknown.join(", ")) "." }
                }
            }
            @if !doctor.note.is_empty() { p class="small" { (clean(&doctor.note)) } }
        };
        section("doctor", "The doctor at the worst moment", &body)
    }

    fn checks<'b>(&self, checks: impl Iterator<Item = &'b CheckRow>) -> Markup {
        let rows: Vec<Vec<Markup>> = checks
            .map(|check| {
                let used = check
                    .used
                    .map_or_else(|| "-".to_owned(), |used| format!("{:.0}%", used * 100.0));
                vec![
                    state(check.state),
                    cell(check.title),
                    cell(words::now_of_limit(check)),
                    cell(used),
                    cell(&check.why),
                ]
            })
            .collect();
        let columns =
            [("", false), ("check", false), ("now of limit", true), ("use", true), ("why", false)];
        html! {
            @if !rows.is_empty() {
                h3 { "What was well" }
                (table("What was well", &columns, &rows))
            }
        }
    }

    pub(super) fn trust(&self) -> Markup {
        let trust = &self.report.trust;
        let signals: Vec<Vec<Markup>> = trust
            .signals
            .iter()
            .map(|it| {
                vec![cell(&it.signal), cell(it.fidelity), html! { code { (clean(&it.hook)) } }]
            })
            .collect();
        let body = html! {
            p class="verdict" { (clean(&trust.sentence)) }
            dl class="pairs" {
                @for (what, said) in words::trust(self.report, self.zone) {
                    dt { (what) } dd { (clean(&said)) }
                }
            }
            @if !trust.gaps.is_empty() {
                h3 { "Missing" }
                ul { @for gap in &trust.gaps { li { (clean(gap)) } } }
                @if trust.more_gaps > 0 { p { "and " (count(trust.more_gaps)) " more such places" } }
            }
            @if !trust.notes.is_empty() {
                h3 { "Notes of the recording" }
                ul { @for note in &trust.notes { li { (clean(note)) } } }
            }
            h3 { "What a trace cannot tell" }
            ul { @for limit in &trust.limits { li { (clean(limit)) } } }
            @if !signals.is_empty() {
                h3 { "How each signal was had" }
                (table("Signals", &[("signal", false), ("fidelity", false), ("hook", false)], &signals))
            }
        };
        section("trust", "How far these numbers can be trusted", &body)
    }

    pub(super) fn environment(&self) -> Markup {
        let environment = &self.report.environment;
        let sysctls: Vec<Vec<Markup>> = environment
            .sysctls
            .iter()
            .map(|(name, value)| {
                vec![html! { code { (clean(name)) } }, html! { code { (clean(value)) } }]
            })
            .collect();
        let pieces: Vec<Vec<Markup>> = self
            .report
            .trace
            .pieces
            .iter()
            .map(|piece| {
                let hash = html! { code class="hash" { (clean(&piece.sha256)) } };
                vec![cell(&piece.name), cell(count(piece.bytes)), hash]
            })
            .collect();
        let body = html! {
            dl class="pairs" {
                @for (what, said) in words::environment(self.report) { dt { (what) } dd { (clean(&said)) } }
            }
            (table("The trace's files", &[("file", false), ("bytes", true), ("SHA-256", false)], &pieces))
            @if !sysctls.is_empty() {
                details class="data" {
                    summary { (sysctls.len()) " settings of the kernel when recording began" }
                    (table("Settings", &[("setting", false), ("value", false)], &sysctls))
                }
            }
        };
        section("environment", "Environment", &body)
    }
}
