//! Each check driven to warn and crit and back by facts alone, and the whole on odd hosts.

mod applications;
mod orphans;
mod queues;
mod resources;

use std::collections::BTreeMap;

use super::fixture::*;
use super::*;
use crate::facts::*;
use crate::filter::Filter;
use crate::gauges::*;
use crate::time::Wall;

fn report(watch: &Watch) -> Report {
    examine(watch, About { time: Wall(1_795_365_730_000_000_000), host: "web-17".into() })
}

fn finding(watch: &Watch, id: &str) -> CheckRow {
    report(watch).checks.into_iter().find(|finding| finding.id == id).unwrap()
}

/// What a check finds in a steady host.
fn steady(id: &str, change: impl Fn(&mut Facts)) -> CheckRow {
    let mut facts = healthy();
    change(&mut facts);
    finding(&watched(facts, |_, _| {}), id)
}

fn gauges(facts: &mut Facts) -> &mut Gauges {
    facts.gauges.as_mut().unwrap()
}

fn sockets(facts: &mut Facts) -> &mut Sockets {
    facts.sockets.as_mut().unwrap()
}

#[test]
fn a_host_that_is_well() {
    let report = report(&watched(healthy(), |_, _| {}));
    assert_eq!(report.verdict, State::Ok);
    assert_eq!(report.sentence, "Nothing is about to run out.");
    assert_eq!(report.first_to_run_out, None);
    for finding in &report.checks {
        assert_eq!(finding.state, State::Ok, "{finding:?}");
        assert!(finding.set.is_empty() && finding.undo.is_empty(), "{finding:?}");
    }
    let mut ids: Vec<&str> = report.checks.iter().map(|finding| finding.id).collect();
    ids.sort_unstable();
    let contract = "accept_queue conntrack ephemeral_ports fds file_max memcg orphans softnet \
                    syn_queue sysctl_lint tcp_mem time_wait udp_mem";
    assert_eq!(ids.join(" "), contract);
}

#[test]
fn the_story_names_orphans_first_and_when() {
    let report = report(&story_watched());
    assert_eq!(report.verdict, State::Crit);
    assert_eq!(
        report.sentence,
        "Orphans 118,204 of 131,072 (90%) +297/s, limit reached in 43 s; most on :9981; 99% unanswered."
    );
    let order: Vec<(&str, State)> =
        report.checks.iter().take(4).map(|it| (it.id, it.state)).collect();
    // A full queue is one server's; it comes after what the host dies of.
    assert_eq!(
        order,
        [
            ("orphans", State::Crit),
            ("tcp_mem", State::Crit),
            ("accept_queue", State::Crit),
            // The article would lower the orphan limit below what stands.
            ("sysctl_lint", State::Crit)
        ]
    );
    assert_eq!(report.checks[1].follows, Some("orphans"));
    let first = report.first_to_run_out.unwrap();
    assert_eq!(first.check, "orphans");
    assert!((first.in_s - 43.3).abs() < 1.0, "{first:?}");
}

#[test]
fn no_trend_is_invented() {
    // Noise.
    let noisy = finding(
        &watched(healthy(), |facts, back| {
            gauges(facts).sockets.orphan = Some(90 + back % 2 * 12);
        }),
        "orphans",
    );
    assert_eq!((noisy.state, noisy.in_s), (State::Ok, None));
    // A slow growth is not projected for days from three seconds.
    let mut slow = healthy();
    gauges(&mut slow).sockets.orphan = Some(70_000);
    let slow = finding(
        &watched(slow, |facts, back| gauges(facts).sockets.orphan = Some(70_000 - back)),
        "orphans",
    );
    assert_eq!((slow.state, slow.in_s), (State::Warn, None));
    // One look is no trend.
    let once = finding(&Watch::new(Vec::new(), story()), "orphans");
    assert_eq!((once.state, once.in_s), (State::Warn, None));
}

#[test]
fn what_is_not_seen_is_unknown_and_never_ok() {
    let why = || Unknown::because("no right to look");
    let blind = Facts {
        memory: Err(why()),
        gauges: Err(why()),
        sysctls: BTreeMap::new(),
        first_netns: None,
        files: Err(why()),
        processes: Err(why()),
        listeners: Err(why()),
        sockets: Err(why()),
        udp: Err(why()),
        conntrack: Err(why()),
        softnet: Err(why()),
        cgroups: Err(why()),
        settings: Err(why()),
        ..healthy()
    };
    let all = report(&watched(blind, |_, _| {}));
    assert_eq!(all.verdict, State::Unknown);
    assert_eq!(all.sentence, "Nothing could be measured.");
    assert!(!all.is_founded());
    for finding in &all.checks {
        assert_eq!(finding.state, State::Unknown, "{finding:?}");
        assert_eq!((finding.now, finding.limit, finding.used), (None, None, None));
        assert_eq!(finding.why, "no right to look");
    }
    // A container: the host's limits do not show, the rest does.
    let mut inside = healthy();
    inside.first_netns = Some(false);
    gauges(&mut inside).limits.max_orphans = None;
    gauges(&mut inside).limits.tcp_mem = None;
    inside.sysctls.remove("net.ipv4.udp_mem");
    let inside = report(&watched(inside, |_, _| {}));
    let unknown: Vec<&str> = inside
        .checks
        .iter()
        .filter(|finding| finding.state == State::Unknown)
        .map(|finding| finding.id)
        .collect();
    assert_eq!(unknown, ["orphans", "tcp_mem", "udp_mem"]);
    assert_eq!(inside.verdict, State::Ok);
    assert!(inside.is_founded());
    assert!(inside.sentence.contains("3 checks could not be made"), "{}", inside.sentence);
}

#[test]
fn absurd_values_are_survived() {
    for number in [0, 1, u64::MAX / 2, u64::MAX] {
        let mut facts = story();
        let short = u32::try_from(number).unwrap_or(u32::MAX);
        let all = gauges(&mut facts);
        all.sockets.orphan = Some(number);
        all.sockets.tw = Some(number);
        all.sockets.mem = Some(Pages(number));
        all.limits.max_orphans = Some(number);
        all.limits.max_tw_buckets = Some(number);
        for counter in all.tcp_ext.values_mut() {
            *counter = number;
        }
        for name in facts.sysctls.keys().cloned().collect::<Vec<_>>() {
            let words = facts.sysctls[&name].split(' ').count();
            facts.sysctls.insert(name, vec![number.to_string(); words].join(" "));
        }
        facts.files = Ok(FileNr { allocated: number, max: number });
        facts.processes.as_mut().unwrap().worst = vec![ProcessFds {
            pid: short,
            comm: "\u{1b}[2J".into(),
            open: number,
            soft: number,
            hard: number,
            watched: false,
        }];
        facts.listeners = Ok(vec![Listener { drops: Some(short), ..listener(1, short, short) }]);
        let seen = sockets(&mut facts);
        seen.orphans.count = number;
        seen.orphans.bytes = number;
        seen.destinations = Ok(vec![destination("192.0.2.7:80", number, number)]);
        facts.udp = Ok(Udp { mem: Pages(number), mem_errors: Some(number), ..Udp::default() });
        facts.conntrack = Ok(Conntrack { count: number, max: number, dropped: Some(number) });
        for limit in [0, 1, number] {
            let mut facts = facts.clone();
            gauges(&mut facts).limits.tcp_mem =
                Some(MemLimits { low: Pages(limit), pressure: Pages(limit), high: Pages(limit) });
            facts.memory = Ok(Bytes(limit));
            let report = report(&watched(facts, |facts, _| {
                facts.udp.as_mut().unwrap().mem_errors = Some(0);
            }));
            serde_json::to_string(&report).unwrap();
        }
    }
}

#[test]
fn the_json_is_the_contracts() {
    let value = serde_json::to_value(report(&story_watched())).unwrap();
    assert_eq!(value["schema"], "sockflow.doctor/1");
    assert_eq!(value["time"], "2026-11-22T16:42:10.000Z");
    assert_eq!(value["verdict"], "crit");
    assert_eq!(value["first_to_run_out"]["check"], "orphans");
    let first = &value["checks"][0];
    let words = ["id", "state", "unit", "scope", "why", "gain", "risk", "undo", "evidence"];
    for word in words {
        assert!(first[word].is_string(), "{word}: {first}");
    }
    assert_eq!(first["now"], 118_204);
    assert_eq!(first["limit"], 131_072);
    assert!((first["use"].as_f64().unwrap() - 0.9018).abs() < 0.001);
    assert_eq!(first["set"][0]["sysctl"], "net.ipv4.tcp_orphan_retries");
    assert_eq!((&first["set"][0]["from"], &first["set"][0]["to"]), (&"0".into(), &"3".into()));
}
