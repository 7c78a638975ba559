//! The report at two widths, in UTF-8 and ASCII, of the story's host and of odd ones.

use jiff::tz::TimeZone;

use super::*;
use crate::cli::doctor::sysctl_file;
use crate::diagnose::fixture::{healthy, process, story_watched, watched};
use crate::diagnose::{About, Watch, examine};
use crate::facts::Unknown;
use crate::time::Wall;

fn report(watch: &Watch) -> Report {
    let about = About { time: Wall(1_795_365_730_000_000_000), host: "web-17".into() };
    examine(watch, about).with_files()
}

fn style(width: usize, ascii: bool) -> Style {
    Style { width, ascii, color: false, zone: TimeZone::UTC, exit_code: 11 }
}

fn fits(text: &str, cells: usize) {
    for line in text.lines() {
        // A word of a path can be longer than a line.
        assert!(width(line) <= cells || !line.trim().contains(' '), "{line}");
    }
}

#[test]
fn the_story_at_80_columns_in_ascii() {
    let text = render(&report(&story_watched()), &style(80, true));
    fits(&text, 80);
    assert!(text.is_ascii());
    insta::assert_snapshot!(text);
}

#[test]
fn the_story_at_120_columns() {
    let text = render(&report(&story_watched()), &style(120, false));
    fits(&text, 120);
    insta::assert_snapshot!(text);
}

#[test]
fn the_story_as_a_sysctl_file() {
    insta::assert_snapshot!(sysctl_file::render(&report(&story_watched())));
}

#[test]
fn a_host_that_is_well_at_80_columns() {
    let text = render(&report(&watched(healthy(), |_, _| {})), &style(80, false));
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn what_could_not_be_seen_is_told() {
    let mut facts = healthy();
    facts.sockets = Err(Unknown::because("sock_diag: Operation not permitted (os error 1)"));
    facts.conntrack = Err(Unknown::because("nf_conntrack is not loaded"));
    facts.first_netns = Some(false);
    facts.gauges.as_mut().unwrap().limits.tcp_mem = None;
    let text = render(&report(&watched(facts, |_, _| {})), &style(80, true));
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_of_a_strangers_reaches_the_terminal() {
    let mut facts = healthy();
    let evil = "a\u{1b}[2J\u{202e}\n#b";
    facts.processes.as_mut().unwrap().worst = vec![process(7, evil, 100, 100)];
    facts.kernel = evil.into();
    let report = report(&watched(facts, |_, _| {}));
    let styles = [style(80, true), style(80, false)];
    let mut texts: Vec<String> = styles.iter().map(|style| render(&report, style)).collect();
    texts.push(sysctl_file::render(&report));
    for text in texts {
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(bad), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("#b")), "{text}");
    }
}

#[test]
fn colour_is_only_ever_added() {
    let report = report(&story_watched());
    let plain = render(&report, &style(80, true));
    let coloured = render(&report, &Style { color: true, ..style(80, true) });
    assert!(coloured.contains("\x1b[1;31mCRIT"));
    let mut stripped = coloured;
    for code in ["\x1b[1;31m", "\x1b[33m", "\x1b[0m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

/// Each check where it is critical, alone: what it says and advises.
#[test]
fn every_check_in_a_critical_state() {
    use crate::diagnose::fixture::{destination, lines, listener};
    use crate::facts::Facts;
    use crate::gauges::Pages;

    type Change = fn(&mut Facts);
    let bad: [(&str, Change); 13] = [
        ("orphans", |facts| facts.gauges.as_mut().unwrap().sockets.orphan = Some(131_072)),
        ("tcp_mem", |facts| facts.gauges.as_mut().unwrap().sockets.mem = Some(Pages(575_796))),
        ("fds", |facts| {
            facts.processes.as_mut().unwrap().worst = vec![process(4_121, "httpdns", 1024, 1024)];
        }),
        ("file_max", |facts| facts.files.as_mut().unwrap().allocated = 2_466_170),
        ("accept_queue", |facts| facts.listeners = Ok(vec![listener(9_981, 129, 128)])),
        ("syn_queue", |facts| {
            facts.sockets.as_mut().unwrap().half_open = Ok([(9_981, 4_096)].into());
        }),
        ("time_wait", |facts| {
            facts.gauges.as_mut().unwrap().sockets.tw = Some(131_072);
            facts.sockets.as_mut().unwrap().minisockets.as_mut().unwrap().connecting = 131_000;
        }),
        ("ephemeral_ports", |facts| {
            facts.sockets.as_mut().unwrap().destinations =
                Ok(vec![destination("192.0.2.7:5432", 28_232, 28_000)]);
        }),
        ("udp_mem", |facts| facts.udp.as_mut().unwrap().mem = Pages(575_799)),
        ("conntrack", |facts| facts.conntrack.as_mut().unwrap().count = 262_144),
        ("softnet", |facts| facts.softnet.as_mut().unwrap().dropped = 90_000),
        ("memcg", |facts| {
            let cgroup = &mut facts.cgroups.as_mut().unwrap()[0];
            (cgroup.sock, cgroup.current) = (7 << 30, 8 << 30);
        }),
        ("sysctl_lint", |facts| {
            facts.settings.as_mut().unwrap().lines = lines("net.ipv4.tcp_max_orphans = 90");
        }),
    ];
    let mut shown = String::new();
    for (id, change) in bad {
        let mut facts = healthy();
        change(&mut facts);
        let report = report(&watched(facts, |facts, _| {
            facts.softnet.as_mut().unwrap().dropped = 0;
        }));
        let first = &report.checks[0];
        assert_eq!((first.id, first.state), (id, State::Crit));
        let style = style(100, true);
        let mut page = Page { out: String::new(), style: &style };
        page.wrapped("", "", &report.sentence);
        page.details(1, first);
        let _ = write!(shown, "\n{}", page.out);
    }
    fits(&shown, 100);
    insta::assert_snapshot!(shown);
}
