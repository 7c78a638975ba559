//! The page's beginning: the verdict, what it did, what happened when.

use maud::{Markup, html};

use super::{Page, cell, chip, clean, section, table};
use crate::aggregate::snapshot::Severity;
use crate::format::{count, duration};
use crate::report::model::Mark;
use crate::report::words;

impl Page<'_> {
    pub(super) fn header(&self) -> Markup {
        let report = self.report;
        let range = &report.range;
        let host = &report.environment.host;
        let class = match report.verdict.severity {
            Severity::Crit => "crit",
            Severity::Warn => "warn",
            Severity::Note | Severity::Ok => "ok",
        };
        html! {
            header class=(class) {
                p class="kicker" {
                    "sockflow report · " b { (clean(words::host(self.report))) }
                    @if !host.kernel.is_empty() { " · Linux " (clean(&host.kernel)) }
                }
                p class="badge" { (chip(report.verdict.severity)) }
                h1 { (clean(&report.verdict.sentence)) }
                p class="meta" {
                    (words::moment(range.from, self.zone)) " to " (range.to.clock(self.zone))
                    " (" (duration(range.seconds)) ", " (count(range.moments as u64)) " samples"
                    @if !range.whole { ", part of the trace" }
                    ") · times are " (words::offsets(range, self.zone))
                    @if !report.filter.is_empty() { " · only " (clean(&report.filter)) }
                }
                @if report.redacted { p class="meta" { (words::REDACTED) } }
            }
        }
    }

    pub(super) fn impact(&self) -> Markup {
        let impact = &self.report.impact;
        let rows: Vec<Vec<Markup>> = impact
            .episodes
            .iter()
            .enumerate()
            .map(|(index, episode)| {
                vec![
                    html! {
                        (episode.from.clock(self.zone))
                        @if impact.main_episode == Some(index) && impact.episodes.len() > 1 { " (the worst)" }
                    },
                    cell(words::until(episode, self.zone)),
                    cell(duration(episode.seconds)),
                    cell(count(episode.orphans)),
                    cell(count(episode.killed)),
                    cell(count(episode.dropped)),
                    cell(episode.why.join(", ")),
                ]
            })
            .collect();
        let columns = [
            ("wrong from", false),
            ("to", false),
            ("for", true),
            ("most orphans", true),
            ("killed", true),
            ("dropped", true),
            ("what", false),
        ];
        let body = html! {
            dl class="tiles" {
                @for (what, number) in words::impact(self.report) {
                    div { dt { (clean(&what)) } dd { (clean(&number)) } }
                }
            }
            @if rows.is_empty() {
                p { "At no moment was a limit near." }
            } @else {
                (table("Times when something was wrong", &columns, &rows))
            }
            @if impact.more_episodes > 0 { p { "and " (count(impact.more_episodes)) " more such times" } }
        };
        section("impact", "Impact", &body)
    }

    pub(super) fn timeline(&self) -> Markup {
        let timeline = &self.report.timeline;
        let body = html! {
            p class="lead" {
                "Each command opens the trace at that moment; the numbers stand in the charts too."
            }
            ol class="marks" {
                @for mark in &timeline.marks { (self.mark(mark)) }
            }
            @if timeline.left_out > 0 { p { (count(timeline.left_out)) " of less weight are left out" } }
        };
        section("timeline", "Timeline", &body)
    }

    fn mark(&self, mark: &Mark) -> Markup {
        let class = match mark.severity {
            Severity::Crit => "crit",
            Severity::Warn => "warn",
            Severity::Note => "note",
            Severity::Ok => "ok",
        };
        html! {
            li class=(class) {
                span class="number" { (mark.number) }
                div {
                    p class="when" {
                        time datetime=(mark.time.rfc3339()) { (mark.time.clock(self.zone)) }
                        span class="since" { " +" (duration(mark.elapsed_s)) }
                        " " (chip(mark.severity))
                    }
                    p class="what" {
                        (clean(&mark.text))
                        @if let Some(port) = mark.port { " (:" (port) ")" }
                    }
                    code class="command" { (clean(&mark.replay)) }
                }
            }
        }
    }
}
