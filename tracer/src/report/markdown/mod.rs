//! The report as Markdown: to paste into a ticket or a chat, and to read in a terminal.
//!
//! Names that strangers chose become text: see `inline`.

/// Ends a line; writing to a string cannot fail. Before the modules, which use it too.
macro_rules! line {
    ($page:expr) => { $page.out.push('\n') };
    ($page:expr, $($word:tt)*) => {{
        let _ = writeln!($page.out, $($word)*);
    }};
}

mod charts;
mod inline;

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use self::inline::{code, text};
use super::model::{Phased, Report};
use super::words;
use crate::diagnose::State;
use crate::format::{bytes, count, duration, percent, short};

/// The settings that limits of TCP hang on most; JSON and HTML have all of them.
const SETTINGS: [&str; 14] = [
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rto_max_ms",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
];

/// The report.
#[must_use]
pub fn render(report: &Report, zone: &TimeZone) -> String {
    let mut page = Page { out: String::new(), report, zone };
    page.head();
    page.impact();
    page.timeline();
    page.charts();
    page.tables();
    page.doctor();
    page.trust();
    page.environment();
    page.out
}

struct Page<'a> {
    out: String,
    report: &'a Report,
    zone: &'a TimeZone,
}

impl Page<'_> {
    fn section(&mut self, title: &str) {
        line!(self, "\n## {title}\n");
    }

    /// The head of a table; `r` is a column of numbers.
    fn table(&mut self, columns: &[(&str, char)]) {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let rules = columns.iter().map(|(_, side)| if *side == 'r' { "---:" } else { "---" });
        line!(self, "| {} |", names.join(" | "));
        line!(self, "|{}|", rules.collect::<Vec<_>>().join("|"));
    }

    fn row(&mut self, cells: &[String]) {
        line!(self, "| {} |", cells.join(" | "));
    }

    fn head(&mut self) {
        let Report { range, verdict, trace, .. } = self.report;
        let host = text(words::host(self.report));
        line!(self, "# sockflow report: {host}, {}\n", words::moment(range.from, self.zone));
        let glyph = words::glyph(verdict.severity);
        let sentence = text(&verdict.sentence);
        line!(self, "**{glyph} {}** {sentence}\n", verdict.severity.word());
        line!(
            self,
            "{}, {}, from {} to {}{}. Times are {}.",
            code(&trace.file),
            duration(range.seconds),
            range.from.clock(self.zone),
            range.to.clock(self.zone),
            if range.whole { "" } else { " (part of the trace)" },
            words::offsets(range, self.zone)
        );
        if !self.report.filter.is_empty() {
            let filter = code(&self.report.filter);
            line!(self, "Only {filter}, where a number is not the host's.");
        }
        if self.report.redacted {
            line!(self, "{}", words::REDACTED);
        }
    }

    fn impact(&mut self) {
        self.section("Impact");
        for (what, number) in words::impact(self.report) {
            line!(self, "- **{number}** {what}");
        }
        let impact = &self.report.impact;
        if !impact.episodes.is_empty() {
            line!(self);
            self.table(&[
                ("wrong from", 'l'),
                ("to", 'l'),
                ("for", 'r'),
                ("most orphans", 'r'),
                ("killed", 'r'),
                ("dropped", 'r'),
                ("what", 'l'),
            ]);
        }
        for episode in &impact.episodes {
            self.row(&[
                episode.from.clock(self.zone),
                words::until(episode, self.zone),
                duration(episode.seconds),
                count(episode.orphans),
                count(episode.killed),
                count(episode.dropped),
                episode.why.join(", "),
            ]);
        }
        if impact.more_episodes > 0 {
            line!(self, "\nand {} more such times", count(impact.more_episodes));
        }
    }

    fn timeline(&mut self) {
        self.section("Timeline");
        self.table(&[
            ("#", 'r'),
            ("time", 'l'),
            ("since start", 'r'),
            ("", 'l'),
            ("what", 'l'),
            ("look at it", 'l'),
        ]);
        for mark in &self.report.timeline.marks {
            let port = mark.port.map(|port| format!(" (:{port})")).unwrap_or_default();
            self.row(&[
                mark.number.to_string(),
                mark.time.clock(self.zone),
                format!("+{}", duration(mark.elapsed_s)),
                format!("{} {}", words::glyph(mark.severity), mark.severity.word()),
                format!("{}{port}", text(&mark.text)),
                code(&mark.replay),
            ]);
        }
        if self.report.timeline.left_out > 0 {
            line!(self, "\n{} of less weight are left out", count(self.report.timeline.left_out));
        }
    }

    fn tables(&mut self) {
        self.section("Who: before, at the worst, after");
        let [before, worst, after] = words::phases(self.report);
        line!(self, "{}\n", words::phases_told(self.report, self.zone));
        let three = |it: Phased<u64>| {
            format!("{} / {} / {}", count(it.before), count(it.during), count(it.after))
        };
        let rates = |it: Phased<f64>| {
            format!("{} / {} / {}", short(it.before), short(it.during), short(it.after))
        };
        let head = format!("orphans {before} / {worst} / {after}");
        self.table(&[
            ("port", 'l'),
            ("process", 'l'),
            (&head, 'r'),
            ("held", 'r'),
            ("estab", 'r'),
            ("opened/s", 'r'),
            ("killed", 'r'),
        ]);
        for row in &self.report.ports {
            let more =
                if row.more_owners > 0 { format!(" +{}", row.more_owners) } else { String::new() };
            self.row(&[
                words::service(row.port, row.direction),
                text(&words::owner(row.owner.as_ref())) + &more,
                three(row.orphans),
                bytes(row.orphan_bytes),
                three(row.established),
                rates(row.opened_per_s),
                count(row.killed),
            ]);
        }
        self.more(self.report.more.ports, "ports");
        line!(self);
        self.table(&[
            ("process", 'l'),
            ("cgroup", 'l'),
            ("ports", 'l'),
            (&head, 'r'),
            ("sockets", 'r'),
            ("opened/s", 'r'),
            ("killed", 'r'),
        ]);
        for row in &self.report.processes {
            self.row(&[
                text(&words::process(row)),
                row.cgroup.as_deref().map_or_else(|| "-".to_owned(), text),
                row.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
                three(row.orphans),
                three(row.sockets),
                rates(row.opened_per_s),
                count(row.killed),
            ]);
        }
        self.more(self.report.more.processes, "processes");
        line!(self);
        let peers = &self.report.peers;
        if peers.networks.is_empty() {
            line!(self, "No peer of an orphan was seen.");
        } else {
            self.table(&[
                ("peers", 'l'),
                (&head, 'r'),
                ("held", 'r'),
                ("killed", 'r'),
                ("timed out", 'r'),
                ("reset", 'r'),
            ]);
        }
        for row in &peers.networks {
            self.row(&[
                text(&row.network),
                three(row.orphans),
                bytes(row.orphan_bytes),
                count(row.killed),
                count(row.timed_out),
                count(row.peer_reset),
            ]);
        }
        self.more(peers.more, "networks");
        line!(self, "\n{}", words::peers_told(self.report));
        self.section("How orphans ended");
        let ends = words::ends(&self.report.orphan_ends);
        let all: u64 = ends.iter().map(|(_, _, count)| count).sum();
        self.table(&[("end", 'l'), ("orphans", 'r'), ("share", 'r'), ("what it means", 'l')]);
        for (name, meaning, number) in ends {
            self.row(&[name.to_owned(), count(number), percent(number, all), meaning.to_owned()]);
        }
        line!(self, "\n{} had not ended yet at the end.", count(self.report.orphans_left));
    }

    fn more(&mut self, more: u64, what: &str) {
        if more > 0 {
            line!(self, "\nand {} more {what}", count(more));
        }
    }

    fn doctor(&mut self) {
        let doctor = &self.report.doctor;
        let at = self.report.impact.worst.time.clock(self.zone);
        self.section(&format!("The doctor at the worst moment, {at}"));
        if let Some(report) = &doctor.report {
            line!(self, "**{}** {}\n", report.verdict.word(), text(&report.sentence));
            let known = || report.checks.iter().filter(|check| check.state != State::Unknown);
            self.table(&[
                ("", 'l'),
                ("check", 'l'),
                ("now / limit", 'r'),
                ("use", 'r'),
                ("why", 'l'),
            ]);
            for check in known() {
                self.row(&[
                    check.state.word().to_owned(),
                    check.title.to_owned(),
                    words::now_of_limit(check),
                    check
                        .used
                        .map_or_else(|| "-".to_owned(), |used| format!("{:.0}%", used * 100.0)),
                    text(&check.why),
                ]);
            }
            for check in known().filter(|check| check.state > State::Ok) {
                line!(self, "\n**{}**\n", check.title);
                for set in &check.set {
                    let set = format!("sysctl -w {}=\"{}\"", set.sysctl, set.to);
                    line!(self, "- {}", code(&set));
                }
                for (what, said) in words::advice(check) {
                    line!(self, "- {what}: {}", text(said));
                }
            }
            for note in &report.notes {
                line!(self, "\n{}.", text(note));
            }
            let unknown: Vec<&str> = report
                .checks
                .iter()
                .filter(|it| it.state == State::Unknown)
                .map(|it| it.title)
                .collect();
            if !unknown.is_empty() {
                line!(self, "\nNot in a trace: {}.", unknown.join(", "));
            }
        }
        if !doctor.note.is_empty() {
            line!(self, "\n{}", text(&doctor.note));
        }
    }

    fn trust(&mut self) {
        self.section("How far these numbers can be trusted");
        let trust = &self.report.trust;
        line!(self, "{}\n", text(&trust.sentence));
        for (what, number) in words::trust(self.report, self.zone) {
            line!(self, "- {what}: {}", text(&number));
        }
        for gap in &trust.gaps {
            line!(self, "- missing: {}", text(gap));
        }
        if trust.more_gaps > 0 {
            line!(self, "- and {} more such places", count(trust.more_gaps));
        }
        for note in &trust.notes {
            line!(self, "- note of the recording: {}", text(note));
        }
        for limit in &trust.limits {
            line!(self, "- {}", text(limit));
        }
        line!(self);
        self.table(&[("signal", 'l'), ("fidelity", 'l'), ("hook", 'l')]);
        for signal in &trust.signals {
            self.row(&[text(&signal.signal), signal.fidelity.to_owned(), text(&signal.hook)]);
        }
    }

    fn environment(&mut self) {
        self.section("Environment");
        for (what, said) in words::environment(self.report) {
            line!(self, "- {what}: {}", text(&said));
        }
        for piece in &self.report.trace.pieces {
            let name = text(&piece.name);
            line!(self, "- {name}: {} bytes, SHA-256 {}", count(piece.bytes), code(&piece.sha256));
        }
        let sysctls = &self.report.environment.sysctls;
        let told = SETTINGS.iter().filter_map(|name| Some((*name, sysctls.get(*name)?)));
        line!(self);
        self.table(&[("setting", 'l'), ("value when recording began", 'l')]);
        for (name, value) in told {
            self.row(&[code(name), code(value)]);
        }
    }
}
