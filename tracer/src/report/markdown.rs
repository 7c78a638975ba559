//! The report as Markdown: to paste into a ticket or a chat, and to read in a terminal.
//!
//! Names that strangers chose become text: see `text`.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::model::{Phased, Point, Report};
use super::words;
use crate::diagnose::State;
use crate::format::{bytes, count, duration, percent, short};
use crate::sanitize::sanitize;

/// Rows of a chart's table.
const ROWS: usize = 12;
/// Characters of a chart drawn as a line of blocks.
const BLOCKS: usize = 60;
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

/// What somebody chose, as text: neither markup nor HTML, and harmless in a terminal. Only what
/// would be markup where it stands is escaped, so that it can be read as it is, too.
fn text(chosen: &str) -> String {
    let clean = sanitize(chosen);
    let characters: Vec<char> = clean.chars().collect();
    let mut out = String::with_capacity(clean.len());
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| characters.get(at));
        let after = characters.get(index + 1);
        let is_word = |it: Option<&char>| it.is_some_and(|it| it.is_alphanumeric());
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Links of themselves.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '|' | '~' => out.extend(['\\', *character]),
            '_' if !(is_word(before) && is_word(after)) => out.push_str("\\_"),
            // What makes a link of brackets.
            '(' | '[' | ':' if before == Some(&']') => out.extend(['\\', *character]),
            '#' | '+' | '-' | '=' if index == 0 && after.is_some() => {
                out.extend(['\\', *character]);
            }
            other => out.push(*other),
        }
    }
    // `www.` and `scheme://` are links without any markup.
    out.replace("://", ":&#47;/").replace("www.", "www&#46;")
}

/// In a code span: a fence longer than what is in it.
fn code(chosen: &str) -> String {
    let clean = sanitize(chosen);
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    // A bar would end the cell of a table, also in a code span.
    format!("{fence}{pad}{}{pad}{fence}", clean.replace('|', "\\|"))
}

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

/// Ends a line; writing to a string cannot fail.
macro_rules! line {
    ($page:expr) => { $page.out.push('\n') };
    ($page:expr, $($word:tt)*) => {{
        let _ = writeln!($page.out, $($word)*);
    }};
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
            crate::format::offset(range.from, self.zone)
        );
        if let Some(port) = self.report.port {
            line!(self, "Only port {port}, where a number is not the host's.");
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

    fn charts(&mut self) {
        self.section("Over time");
        let points = words::merged(&self.report.series.points, BLOCKS);
        let bar = |value: fn(&Point) -> f64| blocks(points.iter().map(value));
        line!(self, "```text");
        for (name, value) in [
            ("orphans", (|point| point.orphans as f64) as fn(&Point) -> f64),
            ("FIN_WAIT1", |point| point.states.fin_wait1 as f64),
            ("opened/s", |point| point.opened_per_s),
            ("closed/s", |point| point.closed_per_s),
            ("killed/s", |point| point.killed_per_s),
            ("tcp_mem", |point| point.tcp_mem_pages as f64),
            ("dropped/s", |point| point.listen_drops_per_s),
        ] {
            let most = points.iter().map(value).fold(0.0, f64::max);
            line!(self, "{name:<10}{}  at most {}", bar(value), short(most));
        }
        line!(self, "```\n");
        self.table(&[
            ("time", 'l'),
            ("orphans", 'r'),
            ("limit", 'r'),
            ("estab", 'r'),
            ("fin-wait-1", 'r'),
            ("time-wait", 'r'),
            ("opened/s", 'r'),
            ("closed/s", 'r'),
            ("resets/s", 'r'),
            ("killed/s", 'r'),
            ("tcp_mem pages", 'r'),
            ("memory", 'l'),
            ("dropped/s", 'r'),
        ]);
        for point in words::merged(&self.report.series.points, ROWS) {
            self.row(&[
                point.time.clock(self.zone),
                count(point.orphans),
                count(point.limit),
                count(point.states.established),
                count(point.states.fin_wait1),
                count(point.states.time_wait),
                short(point.opened_per_s),
                short(point.closed_per_s),
                short(point.resets_per_s),
                short(point.killed_per_s),
                count(point.tcp_mem_pages),
                point.tcp_mem_state.name().to_owned(),
                short(point.listen_drops_per_s),
            ]);
        }
        let map = &self.report.fin_wait1;
        line!(self, "\nTime in FIN_WAIT1 of the {} that left it:\n", count(map.total));
        if map.total > 0 {
            self.table(&[("time", 'l'), ("sockets", 'r'), ("share", 'r')]);
        }
        for row in 0..=map.up_to_ms.len() {
            let all: u64 = map.columns.iter().filter_map(|column| column.counts.get(row)).sum();
            if all > 0 {
                self.row(&[words::row(&map.up_to_ms, row), count(all), percent(all, map.total)]);
            }
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
        line!(self, "\n{}", words::peers_told(peers));
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

/// A series as a line of blocks: a point that is not 0 always shows.
fn blocks(values: impl Iterator<Item = f64> + Clone) -> String {
    const BLOCK: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.clone().fold(0.0, f64::max);
    values
        .map(|value| {
            if value <= 0.0 || most <= 0.0 {
                '·'
            } else {
                BLOCK[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_chose_is_text() {
        assert_eq!(text("<script>a|b</script>"), "&lt;script&gt;a\\|b&lt;/script&gt;");
        assert_eq!(text("]]> ![x](http://e)"), "]]&gt; ![x]\\(http:&#47;/e)");
        assert_eq!(text("# _x_ a_b *c*"), "\\# \\_x\\_ a_b \\*c\\*");
        assert_eq!(text("\u{1b}]0;x\n- y"), "\\\\x1b]0;x\\\\x0a- y");
        assert_eq!(text("at 1,234 (httpdns[4121]): 99%"), "at 1,234 (httpdns[4121]): 99%");
        assert_eq!(code("a`b|c"), "`` a`b\\|c ``");
    }

    #[test]
    fn little_shows_beside_much() {
        assert_eq!(blocks([0.0, 1.0, 1e9, 5e8].into_iter()), "·▁█▄");
        assert_eq!(blocks([0.0, 0.0].into_iter()), "··");
    }
}
