//! Each check driven to warn and crit and back by facts alone, and the whole on odd hosts.

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
fn orphans() {
    let at = |count: u64| steady("orphans", |facts| gauges(facts).sockets.orphan = Some(count));
    assert_eq!(at(65_536).state, State::Ok);
    assert_eq!(at(65_537).state, State::Warn);
    assert_eq!(at(131_072).state, State::Crit);
    assert_eq!(at(131_072).in_s, Some(0.0));
    let killing = finding(
        &watched(healthy(), |facts, _| {
            gauges(facts).sockets.orphan = Some(30_000);
            *gauges(facts).tcp_ext.get_mut("TCPAbortOnMemory").unwrap() = 0;
        }),
        "orphans",
    );
    assert_eq!(killing.state, State::Ok);
    let mut now = healthy();
    *gauges(&mut now).tcp_ext.get_mut("TCPAbortOnMemory").unwrap() = 238;
    let killing = finding(
        &watched(now, |facts, _| {
            *gauges(facts).tcp_ext.get_mut("TCPAbortOnMemory").unwrap() = 0;
        }),
        "orphans",
    );
    assert_eq!((killing.state, killing.in_s), (State::Crit, Some(0.0)));
    assert!(killing.why.contains("238"), "{}", killing.why);
}

#[test]
fn the_advice_on_orphans_depends_on_why_they_stand_and_on_memory() {
    let set = |finding: &CheckRow| -> Vec<String> {
        finding
            .set
            .iter()
            .map(|set| format!("{}: {} -> {}", &set.sysctl[9..], set.from, set.to))
            .collect()
    };
    let silent = finding(&story_watched(), "orphans");
    assert_eq!(
        set(&silent),
        ["tcp_orphan_retries: 0 -> 3"],
        "16 KiB each: tcp_mem ends at {}",
        silent.risk
    );
    assert!(silent.risk.contains("would not help"), "{}", silent.risk);
    // With memory to spare, more of them may stand.
    let mut roomy = story();
    gauges(&mut roomy).sockets.mem = Some(Pages(40_000));
    sockets(&mut roomy).orphans.bytes = 118_204 << 11;
    let roomy = finding(&watched(roomy, |_, _| {}), "orphans");
    assert_eq!(set(&roomy), ["tcp_orphan_retries: 0 -> 3", "tcp_max_orphans: 131072 -> 262144"]);
    assert_eq!(
        roomy.undo,
        "sysctl -w net.ipv4.tcp_orphan_retries=0; sysctl -w net.ipv4.tcp_max_orphans=131072"
    );
    // Peers that answer and do not read: retries do not end those.
    let mut probing = story();
    sockets(&mut probing).orphans.waits.as_mut().unwrap().probing = 118_000;
    sockets(&mut probing).orphans.bytes = 118_204 << 11;
    let probing = finding(&watched(probing, |_, _| {}), "orphans");
    assert!(!set(&probing).iter().any(|set| set.contains("retries")), "{:?}", probing.set);
    assert!(probing.action.contains("TCP_USER_TIMEOUT"), "{}", probing.action);
    // No memory for more of them: they have to go sooner, on kernels that can do that.
    let mut dear = story();
    sockets(&mut dear).orphans.waits.as_mut().unwrap().probing = 118_000;
    let before = finding(&watched(dear.clone(), |_, _| {}), "orphans");
    assert!(before.set.is_empty(), "{:?}", before.set);
    dear.sysctls.insert("net.ipv4.tcp_rto_max_ms".into(), "120000".into());
    let dear = finding(&watched(dear, |_, _| {}), "orphans");
    assert_eq!(set(&dear), ["tcp_rto_max_ms: 120000 -> 10000"]);
    assert!(dear.gain.contains("after about 23 s, not 5 m 25 s"), "{}", dear.gain);
}

#[test]
fn tcp_mem() {
    let at = |pages: u64, pressure: bool| {
        steady("tcp_mem", |facts| {
            gauges(facts).sockets.mem = Some(Pages(pages));
            gauges(facts).memory.pressure = Some(pressure);
        })
    };
    assert_eq!(at(300_000, false).state, State::Ok);
    // The flag stays up on the way down.
    assert_eq!(at(300_000, true).state, State::Warn);
    assert_eq!(at(400_000, true).state, State::Warn);
    let out = at(575_796, true);
    assert_eq!(out.state, State::Crit);
    assert_eq!(out.set[0].to, "575796 767734 1151592");
    // Half of memory is the most that is advised, and what is above is not raised.
    let mut small = healthy();
    small.memory = Ok(Bytes(4 << 30));
    gauges(&mut small).sockets.mem = Some(Pages(575_796));
    let small = finding(&watched(small, |_, _| {}), "tcp_mem");
    assert!(small.set.is_empty(), "{:?}", small.set);
    assert!(small.risk.contains("half of this host"), "{}", small.risk);
    // Above a quarter of the orphan limit it may have been that.
    let mut both = healthy();
    gauges(&mut both).sockets.mem = Some(Pages(560_000));
    gauges(&mut both).sockets.orphan = Some(40_000);
    gauges(&mut both).tcp_ext.insert("TCPAbortOnMemory", 32);
    let watch = watched(both, |facts, _| {
        gauges(facts).tcp_ext.insert("TCPAbortOnMemory", 0);
    });
    assert_eq!(finding(&watch, "orphans").state, State::Crit);
    // What is killed with few orphans and high memory is killed for memory.
    let mut killed = healthy();
    gauges(&mut killed).sockets.mem = Some(Pages(560_000));
    gauges(&mut killed).tcp_ext.insert("TCPAbortOnMemory", 32);
    let watch = watched(killed, |facts, _| {
        gauges(facts).tcp_ext.insert("TCPAbortOnMemory", 0);
    });
    assert_eq!(finding(&watch, "tcp_mem").state, State::Crit);
    assert_eq!(finding(&watch, "orphans").state, State::Ok);
    assert_eq!(report(&watch).checks[0].id, "tcp_mem");
    // There are few now, because those at their limit were killed.
    let mut after = healthy();
    gauges(&mut after).sockets.mem = Some(Pages(560_000));
    gauges(&mut after).tcp_ext.insert("TCPAbortOnMemory", 274);
    let watch = watched(after, |facts, back| {
        if back > 2 {
            gauges(facts).sockets.orphan = Some(131_072 - back);
            gauges(facts).tcp_ext.insert("TCPAbortOnMemory", 0);
        }
    });
    let killed = finding(&watch, "orphans");
    assert_eq!((killed.state, killed.in_s), (State::Crit, Some(0.0)));
    assert!(killed.why.contains("274"), "{}", killed.why);
    assert_ne!(finding(&watch, "tcp_mem").state, State::Crit);
}

#[test]
fn few_large_orphans_use_memory_up_long_before_their_limit() {
    let mut facts = healthy();
    gauges(&mut facts).sockets.orphan = Some(580);
    gauges(&mut facts).sockets.mem = Some(Pages(560_000));
    let orphans = &mut sockets(&mut facts).orphans;
    (orphans.count, orphans.bytes) = (580, 580 * 3_800_000);
    orphans.waits = Some(Waits { probing: 580, ..Waits::default() });
    let watch = watched(facts, |facts, back| {
        gauges(facts).sockets.mem = Some(Pages(560_000 - back * 1_000));
    });
    let report = report(&watch);
    let first = &report.checks[0];
    assert_eq!((first.id, first.state), ("tcp_mem", State::Crit));
    assert_eq!(report.first_to_run_out.as_ref().map(|it| it.check), Some("tcp_mem"));
    assert!(first.why.contains("Orphans hold 96% of it"), "{}", first.why);
    assert!(first.action.contains("TCP_USER_TIMEOUT"), "{}", first.action);
    // The orphans' own limit is far: it is not pointed at.
    assert_eq!((first.follows, finding(&watch, "orphans").state), (None, State::Ok));
}

#[test]
fn fds_and_file_max() {
    let fds = |open: u64| {
        steady("fds", |facts| {
            facts.processes.as_mut().unwrap().worst = vec![process(4_121, "httpdns", open, 1_000)];
        })
    };
    assert_eq!(fds(799).state, State::Ok);
    assert_eq!(fds(800).state, State::Warn);
    assert_eq!(fds(1_000).state, State::Crit);
    assert_eq!(fds(1_000).subject.as_deref(), Some("httpdns[4121]"));
    let files = |allocated: u64| {
        steady("file_max", |facts| facts.files = Ok(FileNr { allocated, max: 10_000 }))
    };
    assert_eq!(files(7_999).state, State::Ok);
    assert_eq!(files(8_000).state, State::Warn);
    assert_eq!(files(10_000).state, State::Crit);
}

#[test]
fn accept_queue() {
    let queue = |length: u32| {
        steady("accept_queue", |facts| facts.listeners = Ok(vec![listener(9_981, length, 128)]))
    };
    assert_eq!(queue(100).state, State::Ok);
    assert_eq!(queue(104).state, State::Warn);
    let full = queue(129);
    assert_eq!((full.state, full.limit), (State::Crit, Some(129)));
    // Why it is full is not known: nothing is advised but what would tell.
    assert!(full.set.is_empty() && full.cause.is_none(), "{:?}", full.set);
    assert!(full.action.contains("trace=accept"), "{}", full.action);
    // Bursts: full once, and it dropped some.
    let bursts = |backlog: u32| {
        let mut facts = healthy();
        facts.listeners =
            Ok(vec![Listener { drops: Some(40), ..listener(9_981, backlog + 1, backlog) }]);
        let watch = watched(facts, move |facts, _| {
            facts.listeners = Ok(vec![listener(9_981, 5, backlog)]);
        });
        finding(&watch, "accept_queue")
    };
    assert_eq!(bursts(128).cause, Some("too_short"));
    // The listener asked for less than the setting allows: the setting is not the cure.
    assert!(bursts(128).set.is_empty(), "{:?}", bursts(128).set);
    assert!(bursts(128).action.contains("listen()"), "{}", bursts(128).action);
    assert_eq!(bursts(4_096).set[0].to, "32768");
    // A burst that is over, and one that is not.
    let burst = |queue_before: u32| {
        let mut facts = healthy();
        facts.listeners = Ok(vec![Listener { drops: Some(40), ..listener(9_981, 5, 128) }]);
        let before = move |facts: &mut Facts, _| {
            facts.listeners = Ok(vec![listener(9_981, queue_before, 128)]);
        };
        finding(&watched(facts, before), "accept_queue")
    };
    assert_eq!(burst(5).state, State::Warn);
    assert_eq!(burst(129).state, State::Crit);
    assert!(burst(129).evidence.ends_with("40 while we watched; full in 12 of 13 looks"));
    // Another port's queue is not asked about.
    let mut facts = healthy();
    facts.listeners = Ok(vec![listener(22, 129, 128), listener(9_981, 0, 128)]);
    let asked = watched(facts, |_, _| {}).about(port(9_981));
    assert_eq!(finding(&asked, "accept_queue").state, State::Ok);
    let nobody = watched(healthy(), |_, _| {}).about(port(1));
    assert!(finding(&nobody, "accept_queue").why.ends_with("matches the filter."));
}

/// A filter on one port.
fn port(port: u16) -> Filter {
    Filter { ports: vec![port], ..Filter::default() }
}

#[test]
fn each_check_asks_what_its_rows_know() {
    let mut facts = healthy();
    let of = |owner: (u32, &str), listener| Listener {
        owner: Some((owner.0, owner.1.to_owned())),
        ..listener
    };
    facts.listeners =
        Ok(vec![of((7, "web"), listener(443, 129, 128)), of((8, "db"), listener(5_432, 3, 128))]);
    let about = |filter: Filter| watched(facts.clone(), |_, _| {}).about(filter);
    let queue = |filter: Filter| finding(&about(filter), "accept_queue").now;
    assert_eq!(queue(Filter::default()), Some(129));
    assert_eq!(queue(Filter { ports: vec![80, 5_432], ..Filter::default() }), Some(3));
    assert_eq!(queue(Filter { comm: Some("db".into()), ..Filter::default() }), Some(3));
    assert_eq!(queue(Filter { pid: Some(7), ..Filter::default() }), Some(129));
    assert_eq!(queue(Filter { family: Some(6), ..Filter::default() }), Some(0));
    assert_eq!(about(port(443)).matches(), Some(true));
    assert_eq!(about(port(444)).matches(), Some(false));
    assert_eq!(
        about(Filter { comm: Some("no".into()), ..Filter::default() }).matches(),
        Some(false)
    );
    assert_eq!(about(Filter::default()).matches(), None, "nothing was asked");
    // Limits of the host are everybody's.
    let orphans = |filter: Filter| finding(&about(filter), "orphans");
    assert_eq!(orphans(port(444)), orphans(Filter::default()));
}

#[test]
fn syn_queue() {
    let half_open = |number: u64| {
        steady("syn_queue", |facts| {
            facts.listeners = Ok(vec![listener(9_981, 0, 128)]);
            sockets(facts).half_open = Ok(BTreeMap::from([(9_981, number)]));
        })
    };
    assert_eq!(half_open(100).state, State::Ok);
    assert_eq!(half_open(103).state, State::Warn);
    assert_eq!(half_open(128).state, State::Crit);
    // Without cookies three quarters of tcp_max_syn_backlog count as well.
    let without = steady("syn_queue", |facts| {
        facts.sysctls.insert("net.ipv4.tcp_syncookies".into(), "0".into());
        facts.sysctls.insert("net.ipv4.tcp_max_syn_backlog".into(), "128".into());
        sockets(facts).half_open = Ok(BTreeMap::from([(9_981, 96)]));
    });
    assert_eq!((without.state, without.limit), (State::Crit, Some(96)));
    assert_eq!(without.set[0].sysctl, "net.ipv4.tcp_syncookies");
    for (counter, state) in
        [("TCPReqQFullDoCookies", State::Warn), ("TCPReqQFullDrop", State::Crit)]
    {
        let mut facts = healthy();
        gauges(&mut facts).tcp_ext.insert(counter, 9);
        let watch = watched(facts, |facts, _| {
            gauges(facts).tcp_ext.insert(counter, 0);
        });
        assert_eq!(finding(&watch, "syn_queue").state, state, "{counter}");
    }
}

#[test]
fn time_wait_is_harmless_on_a_server_and_not_on_a_client() {
    let full = |accepted: u64, connecting: u64| {
        steady("time_wait", |facts| {
            gauges(facts).sockets.tw = Some(131_072);
            sockets(facts).minisockets = Ok(Minisockets { accepted, connecting, fin_wait2: 0 });
        })
    };
    let server = full(131_000, 72);
    assert_eq!((server.state, server.harmless), (State::Ok, true));
    assert!(server.set.is_empty());
    assert_eq!(full(72, 131_000).state, State::Crit);
    let most = steady("time_wait", |facts| {
        gauges(facts).sockets.tw = Some(110_000);
        sockets(facts).minisockets =
            Ok(Minisockets { accepted: 0, connecting: 110_000, fin_wait2: 0 });
    });
    assert_eq!(most.state, State::Warn);
    // Whose they are is not known: no claim that it is harmless.
    let unseen = steady("time_wait", |facts| {
        gauges(facts).sockets.tw = Some(131_072);
        facts.sockets = Err(Unknown::because("no sock_diag"));
    });
    assert_eq!((unseen.state, unseen.harmless), (State::Crit, false));
}

#[test]
fn ephemeral_ports() {
    let ports = |peer: &'static str, ports: u64, time_wait: u64| {
        steady("ephemeral_ports", move |facts| {
            sockets(facts).destinations = Ok(vec![destination(peer, ports, time_wait)]);
        })
    };
    assert_eq!(ports("192.0.2.7:80", 22_000, 0).state, State::Ok);
    assert_eq!(ports("192.0.2.7:80", 22_600, 22_000).state, State::Warn);
    let out = ports("192.0.2.7:80", 28_232, 28_000);
    assert_eq!((out.state, out.limit), (State::Crit, Some(28_232)));
    let names: Vec<&str> = out.set.iter().map(|set| set.sysctl.as_str()).collect();
    assert_eq!(names, ["net.ipv4.tcp_tw_reuse", "net.ipv4.ip_local_port_range"]);
    // On loopback TIME_WAIT is reused by default.
    assert_eq!(ports("127.0.0.1:80", 28_232, 28_000).state, State::Ok);
    // Reserved ports are not given out.
    let reserved = steady("ephemeral_ports", |facts| {
        let ports = "net.ipv4.ip_local_reserved_ports";
        facts.sysctls.insert(ports.into(), "1000,32768-32777,60999".into());
    });
    assert_eq!(reserved.limit, Some(28_221));
}

#[test]
fn udp_mem_conntrack_softnet_and_memcg() {
    let udp = |mem: u64| {
        let facts = move |facts: &mut Facts| facts.udp.as_mut().unwrap().mem = Pages(mem);
        steady("udp_mem", facts).state
    };
    assert_eq!([udp(1), udp(500_000), udp(575_799)], [State::Ok, State::Warn, State::Crit]);
    let tracked = |count: u64| {
        steady("conntrack", |facts| facts.conntrack.as_mut().unwrap().count = count).state
    };
    assert_eq!(
        [tracked(1), tracked(210_000), tracked(262_144)],
        [State::Ok, State::Warn, State::Crit]
    );
    let dropped = |drops: u64| {
        let mut facts = healthy();
        facts.softnet.as_mut().unwrap().dropped += drops;
        facts.softnet.as_mut().unwrap().processed += 50_000;
        let before = healthy().softnet;
        finding(&watched(facts, |facts, _| facts.softnet.clone_from(&before)), "softnet").state
    };
    assert_eq!([dropped(0), dropped(9), dropped(900)], [State::Ok, State::Warn, State::Crit]);
    let memory = |sock: u64, current: u64, hits: u64| {
        let mut facts = healthy();
        let cgroup = &mut facts.cgroups.as_mut().unwrap()[0];
        (cgroup.sock, cgroup.current, cgroup.max_events) = (sock << 30, current << 30, hits);
        let watch = watched(facts, |facts, _| {
            facts.cgroups.as_mut().unwrap()[0].max_events = 0;
        });
        finding(&watch, "memcg").state
    };
    assert_eq!(memory(2, 4, 0), State::Ok);
    assert_eq!(memory(2, 7, 0), State::Warn);
    assert_eq!(memory(2, 7, 3), State::Crit);
    // Full of something else.
    assert_eq!(memory(0, 7, 3), State::Ok);
}

#[test]
fn sysctl_lint() {
    let files = |text: &'static str| {
        steady("sysctl_lint", |facts| facts.settings.as_mut().unwrap().lines = lines(text))
    };
    assert_eq!(files("net.core.somaxconn = 4096").state, State::Ok);
    assert_eq!(files("net.core.somaxconn = 8192").state, State::Warn);
    let worst = files("net.core.somaxconn = 8192\nnet.ipv4.tcp_mem = 1 2 3");
    assert_eq!((worst.state, worst.now), (State::Crit, Some(2)));
    let mut facts = healthy();
    facts.settings.as_mut().unwrap().lines = lines("net.ipv4.tcp_mem = 1 2 3");
    let moment = report(&watched(facts, |_, _| {}));
    // What files say is about the next boot: of a moment it is no finding, of the host it is.
    assert_eq!((moment.verdict, moment.findings.len()), (State::Ok, 0));
    let of_host = moment.with_files();
    assert_eq!(of_host.verdict, State::Crit);
    assert_eq!(of_host.sentence, "See to the sysctl files now: step 1.");
    assert!(worst.why.starts_with("/etc/sysctl.conf:2 net.ipv4.tcp_mem"), "{}", worst.why);
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

/// A process with this many sockets held, of which the oldest has been so for 20 s.
fn with_causes(change: impl Fn(&mut causes::Causes, u64)) -> Watch {
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
fn a_listener_that_nobody_accepts_from_is_told_from_one_that_is_slow() {
    let queue = |of: fn(&mut Listener)| {
        let mut facts = healthy();
        let mut it = listener(9_981, 100, 128);
        of(&mut it);
        facts.listeners = Ok(vec![it]);
        finding(&watched(facts, |_, _| {}), "accept_queue")
    };
    assert_eq!(queue(|_| {}).cause, None);
    let stopped = queue(|it| {
        it.holder = Some(causes::HolderState { state: 'T', for_ms: 9_000, holders: 1, stopped: 1 });
    });
    assert_eq!((stopped.cause, stopped.state), (Some("stopped"), State::Warn));
    assert!(stopped.action.contains("kill -CONT 4121"), "{}", stopped.action);
    let hangs = queue(|it| it.oldest_wait_ms = Some(8_000));
    assert_eq!((hangs.cause, hangs.state), (Some("not_accepting"), State::Warn));
}

#[test]
fn an_early_bind_uses_up_an_address_that_no_destination_does() {
    let watch = with_causes(|causes, _| {
        causes.sources = vec![causes::SourcePorts {
            netns: 1,
            local: [127, 0, 0, 1].into(),
            ports: 500,
            time_wait: 0,
            destinations: 10,
            range: (40_000, 40_499),
        }];
    });
    let worst = report(&watch).findings.remove(0);
    assert_eq!((worst.check, worst.cause), ("ephemeral_ports", Some("early_bind")));
    assert_eq!((worst.now, worst.limit), (Some(500), Some(500)));
    assert!(worst.text.contains("127.0.0.1"), "{}", worst.text);
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
