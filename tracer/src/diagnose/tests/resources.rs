//! Memory, descriptors, local ports, TIME_WAIT, UDP, connection tracking, the packet backlog, settings.

use super::applications::with_causes;
use super::*;

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

/// More memory for all would be no cure for a process that reads too slowly.
#[test]
fn datagrams_of_a_full_receive_buffer_are_not_put_down_to_memory() {
    let socket = |drops: u64| causes::UdpSocket {
        netns: 1,
        local: ([127, 0, 0, 1], 53).into(),
        owner: Some((7, "dns".into())),
        drops,
        drops_ever: drops as u32,
        receive: 212_000,
        limit: 212_992,
    };
    let row = |mem: u64| {
        let mut facts = healthy();
        facts.udp.as_mut().unwrap().mem = Pages(mem);
        facts.udp_sockets = Ok(vec![socket(900)]);
        let before = |facts: &mut Facts, back: u64| {
            facts.udp_sockets = Ok(vec![socket(900 - back * 9)]);
        };
        finding(&watched(facts, before), "udp_mem")
    };
    let of_buffer = row(1);
    assert_eq!(of_buffer.state, State::Warn);
    assert!(of_buffer.text.contains(":53 dns[7]"), "{}", of_buffer.text);
    assert!(of_buffer.text.contains("its receive buffer of 208K was full"), "{}", of_buffer.text);
    assert!(of_buffer.set.is_empty() && of_buffer.action.contains("SO_RCVBUF"), "{of_buffer:?}");
    // Without sock_diag for UDP the kernel's counter tells that, and not whose.
    let counted = |errors: u64| {
        move |facts: &mut Facts| {
            facts.udp.as_mut().unwrap().rcvbuf_errors = Some(errors);
            facts.udp_sockets = Err(Unknown::because("no udp_diag"));
        }
    };
    let mut facts = healthy();
    counted(40)(&mut facts);
    let unowned = finding(&watched(facts, |facts, _| counted(0)(facts)), "udp_mem");
    assert_eq!((unowned.state, unowned.subject.as_ref()), (State::Warn, None));
    assert!(
        unowned.text.starts_with("kernel dropped 40 UDP datagrams at full"),
        "{}",
        unowned.text
    );
    assert!(unowned.set.is_empty(), "{unowned:?}");
    let of_memory = row(575_799);
    assert!(!of_memory.text.contains("buffer"), "{}", of_memory.text);
    assert_eq!(of_memory.set[0].sysctl, "net.ipv4.udp_mem");
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
