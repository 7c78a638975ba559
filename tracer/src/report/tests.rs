//! From moments made by hand to the report, and what strangers' names become in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tracer_common::counters::{EndDetail, OrphanEnd};

use super::collect::Rest;
use super::model::{Environment, TraceFile};
use super::redact::Redactor;
use super::{Begin, Collector, Report, html, json, markdown};
use crate::aggregate::snapshot::{MemState, OrphansByCause, PortRow, Severity, Snapshot};
use crate::event::{Direction, Event, EventKind, Service};
use crate::filter::Filter;
use crate::time::{Monotonic, Wall};
use crate::tui::tests::fixture;

const SECOND: i64 = 1_000_000_000;

fn begin(moments: usize) -> Begin {
    Begin {
        filter: Filter::default(),
        moments,
        before: None,
        beheaded: false,
        replay: "sockflow replay t".to_owned(),
        zone: TimeZone::UTC,
    }
}

fn rest(moments: usize) -> Rest {
    let trace = TraceFile { ended_cleanly: true, ..TraceFile::default() };
    Rest { trace, all_moments: moments, ..Rest::default() }
}

/// A moment without trouble.
fn calm(second: i64) -> Snapshot {
    let mut snapshot = fixture::empty();
    snapshot.time = Wall(1_795_365_730 * SECOND + second * SECOND);
    snapshot.orphans.limit = Some(1_000);
    snapshot.orphans.host = 10;
    snapshot.orphans.killed = 0;
    snapshot.orphans.limit_in_s = None;
    snapshot.orphans.drift = 0;
    snapshot.tcp_mem.high = Some(100_000);
    snapshot.tcp_mem.pages = 50;
    snapshot.tcp_mem.state = MemState::Ok;
    snapshot.counters = BTreeMap::new();
    snapshot.findings.clear();
    snapshot.verdict = Default::default();
    snapshot.anomalies.clear();
    snapshot.history = Arc::default();
    snapshot
}

/// Something is wrong at this moment.
fn wrong(it: &mut Snapshot, severity: Severity, what: &'static str, used: f64) {
    let text = format!("{what}: {:.0}%", used * 100.0);
    let finding = crate::aggregate::snapshot::Finding {
        severity,
        what,
        used: Some(used),
        text: text.clone(),
        ..fixture::finding()
    };
    it.findings.push(finding);
    it.verdict = crate::aggregate::snapshot::Verdict { severity, text };
}

/// A report of `seconds` moments, each changed by `change`.
fn report(seconds: i64, change: impl Fn(i64, &mut Snapshot)) -> Report {
    let moments = usize::try_from(seconds).unwrap();
    let mut collector = Collector::new(begin(moments));
    for second in 0..seconds {
        let mut snapshot = calm(second);
        change(second, &mut snapshot);
        collector.moment(&Arc::new(snapshot));
    }
    collector.finish(rest(moments)).unwrap()
}

#[test]
fn nothing_wrong_is_said_so() {
    let report = report(30, |second, it| it.orphans.host = 10 + second.unsigned_abs());
    assert_eq!(report.verdict.severity, Severity::Ok);
    assert_eq!(
        report.verdict.sentence,
        "Nothing ran out in 29 s: at most 39 orphans of 1,000 (4%), and TCP's memory at <1% of its limit."
    );
    assert!(report.impact.episodes.is_empty() && !report.phases.incident);
    assert_eq!(report.phases.worst, report.range.to);
}

#[test]
fn the_sentence_is_the_worst_findings_with_what_was_lost() {
    let report = report(30, |second, it| {
        it.orphans.killed = if second >= 20 { 44 } else { 0 };
        let drops = second.clamp(10, 20).unsigned_abs() - 10;
        it.counters = BTreeMap::from([("ListenOverflows", drops * 5), ("ListenDrops", drops * 6)]);
        match second {
            15..19 => wrong(it, Severity::Warn, "orphan limit near", 0.9),
            19 => wrong(it, Severity::Crit, "orphan limit near", 0.99),
            20..25 => wrong(it, Severity::Crit, "orphans killed", 0.01),
            _ => {}
        }
    });
    assert_eq!(report.verdict.severity, Severity::Crit);
    assert_eq!(
        report.verdict.sentence,
        "At 16:42:29: orphan limit near: 99%. In all the kernel killed 44 orphans, dropped 60 \
         handshakes."
    );
    assert_eq!(report.findings.len(), 1);
    let episode = &report.impact.episodes[0];
    assert_eq!(episode.why, ["orphan limit near", "orphans killed"]);
    assert_eq!((episode.seconds, episode.killed, episode.dropped), (9.0, 44, 36));
    assert_eq!((report.impact.listen_overflows, report.impact.listen_drops), (50, 60));
    let worst = report.timeline.marks.iter().find(|mark| mark.kind == "worst").unwrap();
    assert_eq!(
        (worst.severity, worst.text.as_str()),
        (Severity::Crit, "the worst moment: orphan limit near: 99%")
    );
}

#[test]
fn notes_are_no_episodes() {
    let report = report(30, |second, it| {
        if second == 7 {
            wrong(it, Severity::Note, "setting changed", 0.0);
        }
    });
    assert!(report.impact.episodes.is_empty());
    assert!(report.verdict.sentence.starts_with("Nothing ran out"), "{}", report.verdict.sentence);
    assert_eq!(report.verdict.severity, Severity::Note, "the worst there was");
}

#[test]
fn two_times_far_apart_are_two_and_the_worse_is_compared() {
    let report = report(400, |second, it| match second {
        20..30 => wrong(it, Severity::Warn, "orphan limit near", 0.85),
        300..320 => wrong(it, Severity::Warn, "orphan limit near", 0.99),
        _ => {}
    });
    let lengths: Vec<f64> = report.impact.episodes.iter().map(|it| it.seconds).collect();
    assert_eq!(lengths, [9.0, 19.0]);
    assert_eq!(report.impact.main_episode, Some(1));
    assert!(report.impact.episodes.iter().all(|it| !it.open));
    let second = |wall: Wall| (wall.0 - report.range.from.0) / SECOND;
    let phases = &report.phases;
    assert_eq!([phases.before, phases.worst, phases.over].map(second), [299, 300, 319]);
    let calm = report.timeline.marks.iter().find(|mark| mark.kind == "calm").unwrap();
    assert_eq!(second(calm.time), 320);
}

#[test]
fn a_trouble_that_lasts_to_the_end_is_open() {
    let report = report(60, |second, it| {
        if second >= 50 {
            wrong(it, Severity::Warn, "orphan limit near", 0.9);
        }
    });
    assert!(report.impact.episodes[0].open);
    assert!(report.timeline.marks.iter().all(|mark| mark.kind != "calm"));
}

#[test]
fn many_samples_become_few_points_that_keep_the_extremes() {
    let report = report(10_000, |second, it| {
        it.orphans.host = if second == 7_777 { 777 } else { 10 };
        it.tcp_mem.pages = if second == 3_333 { 3_333 } else { 50 };
        it.totals_per_s.opened = if second == 4_444 { 4_444.0 } else { 1.0 };
        it.orphans.killed = if second >= 5_555 { 55 } else { 0 };
    });
    let points = &report.series.points;
    assert!(points.len() <= 240, "{}", points.len());
    assert_eq!(points.iter().map(|it| it.orphans).max(), Some(777));
    assert_eq!(points.iter().map(|it| it.orphans_min).max(), Some(10));
    assert_eq!(points.iter().map(|it| it.tcp_mem_pages).max(), Some(3_333));
    let most =
        |value: fn(&super::model::Point) -> f64| points.iter().map(value).fold(0.0, f64::max);
    assert_eq!((most(|it| it.opened_per_s), most(|it| it.killed_per_s)), (4_444.0, 55.0));
    let peak = points.iter().find(|it| it.orphans == 777).unwrap();
    assert!(
        (peak.elapsed_s - 7_777.0).abs() < f64::EPSILON,
        "it is a moment that can be looked at"
    );
    let joined = |pair: &[super::model::Point]| {
        (pair[1].end_s - pair[1].seconds - pair[0].end_s).abs() < 1e-6
    };
    assert!(points.windows(2).all(joined), "no time is left out between two points");
    let all: f64 = points.iter().map(|it| it.seconds).sum();
    assert!((all - 9_999.0).abs() < 1e-6, "{all}");
}

/// Every five seconds somebody looks; what was not observed is no 0.
#[test]
fn orphans_are_charted_by_cause_where_it_was_observed() {
    let with = |observed: Option<u64>| {
        report(20, |second, it| {
            it.sockets_age_s = Some(0.0);
            let mut row = fixture::crisis().ports.remove(0);
            row.orphans = 200;
            row.orphans_by_cause = observed.filter(|_| second >= 5).map(|count| OrphansByCause {
                closed_window: count,
                unanswered: 3,
                in_flight: 0,
            });
            it.ports =
                vec![row.clone(), PortRow { port: 443, orphans: 0, orphans_by_cause: None, ..row }];
        })
    };
    let seen = with(Some(197));
    let points = &seen.series.points;
    assert_eq!(points[4].orphans_by_cause, None);
    let all = OrphansByCause { closed_window: 197, unanswered: 3, in_flight: 0 };
    assert_eq!(points[5].orphans_by_cause, Some(all));
    let page = |report: &Report| html::render(report, &TimeZone::UTC);
    let (text, unseen) = (markdown::render(&seen, &TimeZone::UTC), with(None));
    let (seen, unseen) = (page(&seen), page(&unseen));
    for name in ["closed window", "unanswered"] {
        assert!(seen.contains(name) && text.contains(name), "{name}");
    }
    assert!(seen.contains("causes-chart") && !text.contains("in flight"));
    assert!(!unseen.contains("causes-chart"));
}

#[test]
fn anomalies_that_the_log_forgot_stay_and_the_worst_are_kept() {
    let report = report(2_000, |second, it| {
        // The log keeps the last few only.
        it.anomalies = (second.saturating_sub(3).max(0)..second)
            .filter(|at| at % 10 == 0)
            .map(|at| crate::aggregate::snapshot::Anomaly {
                time: calm(at).time,
                severity: if at == 500 { Severity::Crit } else { Severity::Note },
                kind: "listen-overflow",
                port: None,
                text: format!("no. {at}"),
            })
            .collect();
    });
    let marks = &report.timeline.marks;
    assert_eq!(marks.len(), 40);
    assert!(marks.iter().any(|mark| mark.text == "no. 500"));
    assert_eq!(report.timeline.left_out, 200 + 3 - 40);
    assert!(marks.is_sorted_by_key(|mark| mark.time));
    assert!(marks.iter().zip(1..).all(|(mark, number)| mark.number == number));
}

#[test]
fn what_was_counted_before_the_range_is_not_in_it() {
    let mut before = calm(-1);
    before.orphans.killed = 1_000;
    before.totals.opened = 500;
    before.counters = BTreeMap::from([("ListenDrops", 7)]);
    let mut collector = Collector::new(Begin { before: Some(Arc::new(before)), ..begin(10) });
    let service = Service { port: 9981, direction: Direction::In };
    collector.fin_wait1(&BTreeMap::from([(service, vec![(100, 40)])]));
    collector.begins_here();
    for second in 0..10 {
        let mut snapshot = calm(second);
        snapshot.orphans.killed = 1_003;
        snapshot.totals.opened = 510;
        snapshot.counters = BTreeMap::from([("ListenDrops", 9)]);
        collector.fin_wait1(&BTreeMap::from([(service, vec![(100, 42), (u32::MAX, 9)])]));
        collector.moment(&Arc::new(snapshot));
    }
    let report = collector.finish(rest(100)).unwrap();
    assert_eq!(
        (report.impact.killed, report.impact.opened, report.impact.listen_drops),
        (3, 10, 2)
    );
    assert_eq!(report.fin_wait1.total, 2);
    assert!(!report.range.whole);
}

#[test]
fn a_trace_without_its_beginning_counts_from_its_first_moment() {
    let mut collector = Collector::new(Begin { beheaded: true, ..begin(2) });
    for second in 0..2 {
        let mut snapshot = calm(second);
        snapshot.orphans.killed = 70 + second.unsigned_abs();
        collector.moment(&Arc::new(snapshot));
    }
    assert_eq!(collector.finish(rest(2)).unwrap().impact.killed, 1);
}

#[test]
fn peers_are_bounded_and_the_rest_is_counted() {
    let mut collector = Collector::new(begin(1));
    let event = |number: u32, reason| Event {
        at: Monotonic(1),
        kind: EventKind::OrphanEnd { reason, detail: EndDetail::None, cause: None },
        socket: 1,
        local: ([127, 0, 0, 1].into(), 9981),
        peer: (std::net::Ipv4Addr::from(number << 8).into(), 40_000),
        owner: None,
        netns: 1,
        born: None,
    };
    for number in 0..10_000 {
        collector.event(&event(number, OrphanEnd::Killed));
    }
    for _ in 0..5 {
        collector.event(&event(7, OrphanEnd::TimedOut));
        collector.event(&event(8, OrphanEnd::Acked));
    }
    collector.moment(&Arc::new(calm(0)));
    let peers = collector.finish(rest(1)).unwrap().peers;
    assert_eq!(peers.uncounted, 10_000 - 8_192);
    let first = &peers.networks[0];
    assert_eq!((first.network.as_str(), first.killed, first.timed_out), ("0.0.7.0/24", 1, 5));
    assert_eq!(peers.more + peers.networks.len() as u64, 8_192);
}

/// Everything that somebody else may choose is this.
const EVIL: &str = "<script>alert(1)</script>]]>\x1b]0;x\u{202e}|`";

fn evil() -> Report {
    let name = || EVIL.to_owned();
    let mut collector = Collector::new(begin(3));
    for second in 0..3 {
        let mut snapshot = fixture::hostile();
        snapshot.time = calm(second).time;
        snapshot.orphans.killed = second.unsigned_abs();
        for row in &mut snapshot.ports {
            row.owner = Some(crate::event::Owner { pid: 7, comm: name() });
        }
        for row in &mut snapshot.processes {
            (row.comm, row.cgroup) = (Some(name()), Some(name()));
        }
        collector.moment(&Arc::new(snapshot));
    }
    let mut rest = rest(3);
    rest.trace.file = name();
    rest.trace.pieces =
        vec![super::model::Piece { name: name(), bytes: 1, sha256: "00".to_owned() }];
    rest.gaps = vec![(None, name())];
    rest.notes = vec![name()];
    rest.signals = vec![super::model::Signal { signal: name(), hook: name(), fidelity: "exact" }];
    rest.environment = Environment {
        host: crate::aggregate::snapshot::Host { name: name(), kernel: name(), boot_id: name() },
        filter: name(),
        recorded_by: name(),
        detail: name(),
        command: vec![name()],
        sysctls: BTreeMap::from([(name(), name()), ("net.ipv4.tcp_mem".to_owned(), name())]),
        ..Environment::default()
    };
    let mut report = collector.finish(rest).unwrap();
    report.doctor.note = name();
    report
}

#[test]
fn names_that_strangers_chose_are_text_everywhere() {
    let report = evil();
    let page = html::render(&report, &TimeZone::UTC);
    assert_eq!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;]]&gt;").count(),
        page.matches("alert(1)").count()
    );
    assert!(page.matches("alert(1)").count() > 20);
    let text = markdown::render(&report, &TimeZone::UTC);
    // Outside of code spans there is no tag; inside there is no markup.
    for line in text.lines().filter(|line| line.contains("<script")) {
        let outside: Vec<&str> = line.split("``").step_by(2).collect();
        assert!(!outside.concat().contains("<script"), "{line}");
    }
    for (what, text) in [("HTML", &page), ("Markdown", &text)] {
        for bad in ['\x1b', '\u{202e}'] {
            assert!(!text.contains(bad), "{what} holds {bad:?}");
        }
    }
    // Every table has as many cells in each row as in its head.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut columns = None;
    for line in text.lines() {
        if line.starts_with('|') {
            assert_eq!(*columns.get_or_insert(cells(line)), cells(line), "{line}");
        } else {
            columns = None;
        }
    }
    let object: serde_json::Value = serde_json::from_str(&json::render(&report).unwrap()).unwrap();
    assert_eq!(object["environment"]["host"]["name"], EVIL);
}

#[test]
fn a_page_holds_nothing_that_loads_or_runs() {
    let page = html::render(&evil(), &TimeZone::UTC);
    for bad in [
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "@import",
        "src=",
        " style=",
        " on",
        "javascript:",
        "xlink",
    ] {
        let found = page.match_indices(bad).find(|(at, _)| {
            // Words of the text are no attributes: those stand within a tag.
            let before = &page[..*at];
            bad.starts_with('<') || bad == "@import" || before.rfind('<') > before.rfind('>')
        });
        assert_eq!(found.map(|(at, _)| &page[at.saturating_sub(40)..at + 20]), None, "{bad}");
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(#").count());
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
}

#[test]
fn ten_minutes_of_storm_are_below_500_kib() {
    let report = report(600, |second, it| {
        let crisis = fixture::later(second);
        let time = it.time;
        *it = crisis;
        it.time = time;
        // Every number long and different from its neighbours.
        it.orphans.host = 100_000 + (second * 7_919 % 90_000).unsigned_abs();
        it.states.established = 1_000_000 + (second * 104_729 % 900_000).unsigned_abs();
        it.totals_per_s.opened = 48_000.0 + (second * 15_485_863 % 9_000) as f64;
        it.orphans.killed = second.unsigned_abs() * 3;
        it.counters = BTreeMap::from([("ListenDrops", second.unsigned_abs() * 11)]);
    });
    let page = html::render(&report, &TimeZone::UTC);
    assert!(page.len() < 500 << 10, "{} bytes", page.len());
    assert_eq!(report.series.points.len(), 200);
}

#[test]
fn a_redacted_report_names_no_address_and_no_host() {
    let mut report = report(3, |_, it| {
        let time = it.time;
        *it = fixture::crisis();
        it.time = time;
    });
    report.environment.host.name = "web-17".to_owned();
    report.environment.command = vec!["sockflow".to_owned(), "/home/ann/x".to_owned()];
    report.environment.filter = "peer in 10.4.0.0/16".to_owned();
    report.trust.notes = vec!["web-17 talks to 10.4.9.9".to_owned()];
    let peers = report.peers.networks.len();
    assert!(peers > 0 && report.peers.networks[0].network.starts_with("10."));
    Redactor::new([1; 32], "web-17").redact(&mut report);
    assert!(report.redacted);
    for text in [
        html::render(&report, &TimeZone::UTC),
        markdown::render(&report, &TimeZone::UTC),
        json::render(&report).unwrap(),
    ] {
        for bad in ["web-17", "10.4.", "/home/ann", "httpdns.service"] {
            assert!(!text.contains(bad), "{bad}");
        }
        assert!(text.contains("v4-") && text.contains("host-") && text.contains("httpdns"));
    }
    assert_eq!(report.peers.networks.len(), peers);
}

#[test]
fn times_have_the_offset_that_held_then() {
    // The clock is set back from 03:00 +02:00 to 02:00 +01:00 half an hour after the begin.
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let begin = 1_792_890_000 - 1_800;
    let report = report(3_600, |second, snapshot| {
        snapshot.time = Wall((begin + second) * SECOND);
    });
    let said = "2026-10-25 02:30:00 +02:00";
    let offsets = "+02:00, and +01:00 from 2026-10-25 02:00:00 on";
    let page = markdown::render(&report, &berlin);
    assert!(page.contains(said) && page.contains(&format!("Times are {offsets}.")), "{page}");
    let page = html::render(&report, &berlin);
    assert!(page.contains(said) && page.contains(&format!("times are {offsets}")), "{page}");
    let page = markdown::render(&report, &TimeZone::UTC);
    assert!(page.contains("Times are +00:00."), "{page}");
}
