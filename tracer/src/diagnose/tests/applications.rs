//! What applications leave undone, and settings that changed.

use super::*;

/// A process with this many sockets held, of which the oldest has been so for 20 s.
pub(super) fn with_causes(change: impl Fn(&mut causes::Causes, u64)) -> Watch {
    let mut last = healthy();
    last.processes.as_mut().unwrap().worst = vec![process(7, "leak", 900, 4_096)];
    let at = |facts: &mut Facts, second: u64| {
        facts.at = crate::time::Monotonic(second * 1_000_000_000);
        // A thorough observation every five seconds.
        facts.detail_at = Some(crate::time::Monotonic(second / 5 * 5_000_000_000));
        let causes = sockets(facts).causes.as_mut().unwrap();
        change(causes, second / 5 * 5);
    };
    let before = (0..30)
        .map(|second| {
            let mut facts = last.clone();
            at(&mut facts, second);
            facts
        })
        .collect();
    at(&mut last, 30);
    Watch::new(before, last)
}

fn part(count: u64, oldest_ms: u64) -> causes::Part {
    causes::Part { count, bytes: count * 1_000, oldest_ms }
}

const SERVICE: causes::ServiceAt = causes::ServiceAt { netns: 1, port: 9_981, accepted: true };

fn leak() -> Option<causes::Owner> {
    Some((7, "leak".into()))
}

#[test]
fn connections_that_are_not_closed_are_named_with_cause_process_and_time_left() {
    let watch = with_causes(|causes, second| {
        causes.close_waits = vec![causes::CloseWait {
            service: SERVICE,
            owner: leak(),
            not_closed: part(300 + 20 * second, 20_000),
            unread_data: part(3, 20_000),
            ..Default::default()
        }];
    });
    let report = report(&watch);
    let worst = &report.findings[0];
    assert_eq!((worst.check, worst.cause), ("close_wait", Some("not_closed")));
    assert_eq!((worst.port, worst.owner.as_ref().map(|it| it.pid)), (Some(9_981), Some(7)));
    assert_eq!(worst.severity, Severity::Warn);
    let left = worst.limit_in_s.unwrap();
    assert!((left - (4_096.0 - 900.0) / 20.0).abs() < 5.0, "{left}");
    assert!(worst.text.contains(":9981 leak[7]") && worst.text.contains("does not close"));
    let row = report.checks.iter().find(|row| row.id == "close_wait").unwrap();
    assert!(row.set.is_empty() && row.action.contains("close()"), "{row:?}");
    // Those that pass through the state are no finding, however many.
    let passing = with_causes(|causes, _| {
        causes.close_waits = vec![causes::CloseWait {
            service: SERVICE,
            owner: leak(),
            not_closed: part(5_000, 900),
            ..Default::default()
        }];
    });
    assert!(self::report(&passing).findings.is_empty(), "{:?}", self::report(&passing).findings);
}

#[test]
fn each_cause_of_close_wait_is_told_from_the_others() {
    let cause = |fill: fn(&mut causes::CloseWait)| {
        let watch = with_causes(move |causes, _| {
            let mut row =
                causes::CloseWait { service: SERVICE, owner: leak(), ..Default::default() };
            fill(&mut row);
            causes.close_waits = vec![row];
        });
        report(&watch).findings[0].cause
    };
    assert_eq!(cause(|row| row.never_accepted = part(150, 12_000)), Some("never_accepted"));
    assert_eq!(cause(|row| row.unread_data = part(150, 12_000)), Some("unread_data"));
    assert_eq!(cause(|row| row.eof_unread = part(150, 12_000)), Some("eof_unread"));
    assert_eq!(cause(|row| row.not_closed = part(150, 12_000)), Some("not_closed"));
}

#[test]
fn sockets_kept_in_fin_wait2_and_in_close_are_named() {
    let watch = with_causes(|causes, _| {
        let part = part(150, 70_000);
        causes.fin_wait2s = vec![causes::KeptOpen { service: SERVICE, owner: leak(), part }];
        causes.closed_fds = Ok(causes::ClosedFds {
            processes: vec![causes::ClosedFdsOf {
                owner: leak().unwrap(),
                count: 2_000,
                oldest_ms: 15_000,
            }],
            ..Default::default()
        });
    });
    let found: Vec<_> =
        report(&watch).findings.into_iter().map(|it| (it.check, it.cause, it.now)).collect();
    assert_eq!(
        found,
        [("closed_fds", None, Some(2_000)), ("fin_wait2", Some("kept_open"), Some(150))]
    );
}

#[test]
fn a_limit_that_was_lowered_is_the_cause_and_set_back_first() {
    let mut low = healthy();
    gauges(&mut low).limits.max_orphans = Some(100);
    low.sysctls.insert("net.ipv4.tcp_max_orphans".into(), "100".into());
    let mut watch = watched(low, |_, _| {});
    assert!(!report(&watch).findings.is_empty());
    watch.changes = vec![Change {
        at: crate::time::Monotonic(0),
        time: Wall(0),
        name: "net.ipv4.tcp_max_orphans".into(),
        from: "131072".into(),
        to: "100".into(),
    }];
    let report = report(&watch);
    let checks: Vec<&str> = report.findings.iter().map(|it| it.check).collect();
    assert_eq!(checks, ["orphans", "setting_changed"]);
    let text = &report.findings[0].text;
    assert!(text.contains("tcp_max_orphans was lowered from 131,072 to 100 3 s ago"), "{text}");
    let first = &report.checks[0].set[0];
    assert_eq!((first.sysctl.as_str(), first.to.as_str()), ("net.ipv4.tcp_max_orphans", "131072"));
}
