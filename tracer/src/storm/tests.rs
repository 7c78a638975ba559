//! Each mode against the kernel's own account, in a network namespace that nobody else counts in.

use std::time::{Duration, Instant};

use super::plan::{MAX_DURATION, Mode, Plan, Release, Role, Usage};
use super::report::{Report, Sockstat};
use super::sysctl::Guard;
use super::units::Rate;
use super::{Ended, netns, run};

fn plan(mode: Mode, ipv6: bool, connections: u64) -> Plan {
    Plan {
        mode,
        address: if ipv6 {
            std::net::Ipv6Addr::LOCALHOST.into()
        } else {
            std::net::Ipv4Addr::LOCALHOST.into()
        },
        ports: vec![9981],
        connections,
        rate: None,
        duration: Duration::from_secs(30),
        workers: 1,
        hold: Some(Duration::from_millis(300)),
        release: Release::Reset,
        send_buffer: 4096,
        recv_buffer: 4096,
        netns: false,
        exit_server: false,
        sysctls: Vec::new(),
        progress: false,
        role: Role::Whole,
        first: 0,
    }
}

/// Runs `test` in a namespace of its own; without the privilege to make one there is no test.
///
/// With `tcp_rfc1337`: on a busy machine a FIN is sent again now and then, its TIME_WAIT answers, and the
/// reset in answer to that would end the TIME_WAIT before it is counted.
fn alone(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| match netns::enter_new() {
            Ok(()) => {
                std::fs::write("/proc/sys/net/ipv4/tcp_rfc1337", "1").expect("a setting");
                test();
            }
            Err(error) if error.root_cause().to_string().contains("not permitted") => {
                eprintln!("skipped: {error:#}");
            }
            Err(error) => panic!("{error:#}"),
        });
    });
}

fn report(plan: &Plan) -> Report {
    let report = run(plan).expect("it runs").expect("it reports");
    assert_eq!(report.failed, Default::default(), "{report:?}");
    report
}

fn time_wait() -> u64 {
    Sockstat::read().expect("sockstat").tw
}

/// Waits until `look` sees `expected`: the last segments of a storm may still be on their way when
/// it ends.
#[track_caller]
fn settles<T: PartialEq + std::fmt::Debug>(look: impl Fn() -> T, expected: &T) {
    let end = Instant::now() + Duration::from_secs(5);
    while look() != *expected && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(look(), *expected);
}

/// Remote ends of the sockets in one state (4 is FIN_WAIT1, 6 TIME_WAIT) on a local port.
fn on_port(state: u8, port: u16) -> usize {
    let (state, port) = (format!("{state:02X}"), format!(":{port:04X}"));
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("tcp")
        + &std::fs::read_to_string("/proc/thread-self/net/tcp6").expect("tcp6");
    let matches = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 3 && words[1].ends_with(&port) && words[3] == state
    };
    table.lines().filter(matches).count()
}

/// How many sockets of this thread's network namespace are in a state, by the kernel's number of it.
fn in_state(protocol: &str, state: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{protocol}"));
    let text = text.expect("the kernel's table");
    text.lines().filter(|line| line.split_whitespace().nth(3) == Some(state)).count() as u64
}

#[test]
fn every_fault_is_there_as_long_as_it_is_held() {
    /// `include/net/tcp_states.h`.
    const ESTABLISHED: &str = "01";
    const FIN_WAIT2: &str = "05";
    const CLOSE_WAIT: &str = "08";
    let cases = [
        (Mode::CloseWait, CLOSE_WAIT, 20),
        (Mode::UnreadData, CLOSE_WAIT, 20),
        (Mode::EofUnread, CLOSE_WAIT, 20),
        (Mode::NeverAccept, CLOSE_WAIT, 20),
        (Mode::FinWait2, FIN_WAIT2, 20),
        (Mode::ClosedFds, ESTABLISHED, 0),
        (Mode::EarlyBind, ESTABLISHED, 40),
        (Mode::HoldMemory, ESTABLISHED, 40),
    ];
    for (mode, state, expected) in cases {
        alone(|| {
            let plan = Plan { hold: Some(Duration::from_secs(1)), ..plan(mode, false, 20) };
            std::thread::scope(|scope| {
                let storm = scope.spawn(|| report(&plan));
                if mode != Mode::ClosedFds {
                    settles(|| in_state("tcp", state), &expected);
                }
                let report = storm.join().expect("it ends");
                assert_eq!((report.held, report.ended), (Some(20), Ended::Complete), "{mode:?}");
            });
        });
    }
}

#[test]
fn early_bind_comes_to_the_end_of_the_source_ports_and_that_is_no_failure() {
    alone(|| {
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        std::fs::write(range, "40000 40019").expect("a setting");
        let plan = Plan { hold: Some(Duration::ZERO), ..plan(Mode::EarlyBind, false, 30) };
        let report = run(&plan).expect("it runs").expect("it reports");
        assert_eq!(report.held, Some(20), "{report:?}");
        assert_eq!(report.failed, [("EADDRINUSE".to_owned(), 10)].into(), "{report:?}");
        assert_eq!(report.trouble(), None);
    });
}

#[test]
fn datagrams_that_nobody_reads_are_dropped_by_their_socket() {
    alone(|| {
        let hold = Some(Duration::from_secs(1));
        let plan = Plan { hold, ..plan(Mode::UdpUnread, false, 500) };
        let drops = || {
            let text = std::fs::read_to_string("/proc/thread-self/net/udp").expect("a table");
            let drops = text.lines().skip(1).filter_map(|line| line.split_whitespace().last());
            drops.filter_map(|drops| drops.parse::<u64>().ok()).sum::<u64>() > 400
        };
        std::thread::scope(|scope| {
            let storm = scope.spawn(|| report(&plan));
            settles(drops, &true);
            storm.join().expect("it ends");
        });
    });
}

#[test]
fn the_first_to_close_keeps_time_wait() {
    for ipv6 in [false, true] {
        alone(|| {
            let served = report(&plan(Mode::ServerCloses, ipv6, 300));
            assert_eq!((served.completed, served.ended), (300, Ended::Complete));
            settles(|| (time_wait(), on_port(6, 9981)), &(300, 300));
        });
        alone(|| {
            let left = report(&plan(Mode::ClientCloses, ipv6, 300));
            assert_eq!((left.completed, left.ended), (300, Ended::Complete));
            settles(|| (time_wait(), on_port(6, 9981)), &(300, 0));
        });
    }
}

#[test]
fn aborted_connections_leave_nothing() {
    for mode in [Mode::Reset, Mode::ClientReset] {
        for ipv6 in [false, true] {
            alone(|| {
                assert_eq!(report(&plan(mode, ipv6, 300)).completed, 300);
                assert_eq!(time_wait(), 0);
            });
        }
    }
}

#[test]
fn names_still_in_time_wait_are_got_over() {
    // Twice as many connections as the narrow range has names, so that each is taken over once,
    // and it must become a second old first.
    alone(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40499").expect("range");
        for mode in [Mode::ClientCloses, Mode::ServerCloses] {
            let report = report(&plan(mode, true, 1000));
            assert_eq!((report.completed, report.ended), (1000, Ended::Complete));
        }
    });
}

#[test]
fn workers_and_ports_share_evenly() {
    alone(|| {
        let mut plan = plan(Mode::ServerCloses, false, 999);
        plan.ports = vec![9981, 9982, 9983];
        plan.workers = 4;
        assert_eq!(report(&plan).completed, 999);
        let each = || plan.ports.iter().map(|&port| on_port(6, port)).collect::<Vec<_>>();
        settles(each, &vec![333, 333, 333]);
    });
}

#[test]
fn zero_window_leaves_an_orphan_each() {
    for (ipv6, release) in [(false, Release::Reset), (true, Release::Read)] {
        alone(|| {
            let mut plan = plan(Mode::ZeroWindow, ipv6, 40);
            plan.release = release;
            plan.hold = Some(Duration::from_secs(1));
            let (report, most) = std::thread::scope(|scope| {
                let storm = scope.spawn(|| report(&plan));
                let mut most = 0;
                while !storm.is_finished() {
                    most = most.max(on_port(4, 9981));
                    std::thread::sleep(Duration::from_millis(10));
                }
                (storm.join().expect("no panic"), most)
            });
            let orphans = report.orphans.as_ref().expect("orphans");
            assert_eq!((report.completed, orphans.left, orphans.killed), (40, 40, 0));
            assert!(orphans.bytes >= 40 * 4096, "{orphans:?}");
            assert_eq!(most, 40);
            settles(|| on_port(4, 9981), &0);
            // Read to the end they close in order, the server first; reset they just vanish.
            let kept = if release == Release::Read { 40 } else { 0 };
            settles(|| on_port(6, 9981), &kept);
        });
    }
}

#[test]
fn held_connections_stand_together() {
    alone(|| {
        let held = report(&plan(Mode::Hold, false, 50));
        assert_eq!((held.held, held.completed), (Some(50), 50));
        assert_eq!(held.ended, Ended::Complete);
        settles(|| (time_wait(), on_port(6, 9981)), &(50, 50));
    });
}

#[test]
fn the_rate_is_kept_and_the_duration_is_the_end() {
    alone(|| {
        let mut plan = plan(Mode::Reset, false, 100_000);
        plan.rate = Some(Rate(Some(200)));
        plan.duration = Duration::from_millis(500);
        let started = Instant::now();
        let report = report(&plan);
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(report.ended, Ended::Duration);
        assert!((50..=102).contains(&report.completed), "{report:?}");
    });
}

#[test]
fn a_port_in_use_is_an_error_and_not_a_count() {
    alone(|| {
        let _taken = std::net::TcpListener::bind("127.0.0.1:9981").expect("bind");
        let error = run(&plan(Mode::Reset, false, 1)).expect_err("taken");
        assert!(format!("{error:#}").contains("127.0.0.1:9981"), "{error:#}");
    });
}

#[test]
fn settings_of_a_namespace_are_changed_inside_and_restored() {
    alone(|| {
        let mut plan = plan(Mode::Reset, false, 5);
        plan.sysctls = vec!["net.ipv4.tcp_fin_timeout=7".parse().expect("setting")];
        let report = report(&plan);
        let changed = &report.sysctls[0];
        assert_eq!((changed.to.as_str(), changed.restored), ("7", true));
        let now = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fin_timeout").expect("read");
        assert_eq!(now.trim(), changed.from);
    });
}

#[test]
fn settings_are_restored_by_errors_and_panics() {
    alone(|| {
        let read = || std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fin_timeout").expect("read");
        let before = read();
        let mut settings = vec!["net.ipv4.tcp_fin_timeout=7".parse().expect("setting")];
        let panic = std::panic::catch_unwind(|| {
            let _guard = Guard::apply(settings.iter()).expect("set");
            assert_eq!(read().trim(), "7");
            panic!("on purpose");
        });
        assert!(panic.is_err());
        assert_eq!(read(), before);
        settings.push("net.ipv4.tcp_no_such_setting=1".parse().expect("setting"));
        assert!(Guard::apply(settings.iter()).is_err());
        assert_eq!(read(), before);
    });
}

#[test]
fn what_storm_must_not_do_is_refused() {
    let good = || plan(Mode::ServerCloses, false, 10);
    assert!(good().check().is_ok());
    type Spoil<'a> = &'a dyn Fn(&mut Plan);
    let refused: [(&str, Spoil<'_>); 9] = [
        ("loopback", &|p| p.address = [192, 0, 2, 1].into()),
        ("loopback", &|p| p.address = [0, 0, 0, 0].into()),
        ("--connections", &|p| p.connections = 10_000_001),
        ("--duration", &|p| p.duration = MAX_DURATION * 2),
        ("--workers", &|p| p.workers = 0),
        ("twice", &|p| p.ports = vec![1, 2, 1]),
        ("--exit-server", &|p| p.exit_server = true),
        ("at a time", &|p| {
            (p.mode, p.connections) = (Mode::Hold, 100_001);
        }),
        ("source ports", &|p| {
            *p = plan(Mode::Hold, true, 70_000);
        }),
    ];
    for (word, spoil) in refused {
        let mut plan = good();
        spoil(&mut plan);
        let Usage(why) = plan.check().expect_err(word);
        assert!(why.contains(word), "{why}");
        assert!(run(&plan).expect_err(word).is::<Usage>());
    }
}
