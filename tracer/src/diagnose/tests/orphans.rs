//! Orphans, their limit and their causes.

use super::*;

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
