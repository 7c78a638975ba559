//! Accept and SYN queues.

use super::*;

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
    // Bursts: full now and then, and it dropped some.
    let full_every = |every: u64, backlog: u32| {
        let mut facts = healthy();
        facts.listeners =
            Ok(vec![Listener { drops: Some(40), ..listener(9_981, backlog + 1, backlog) }]);
        let watch = watched(facts, move |facts, back| {
            let queue = if back % every == 0 { backlog + 1 } else { 5 };
            facts.listeners = Ok(vec![listener(9_981, queue, backlog)]);
        });
        finding(&watch, "accept_queue")
    };
    let bursts = |backlog| full_every(4, backlog);
    assert_eq!(bursts(128).cause, Some("too_short"));
    // Full for the first time: whether it ever has room again is not known. Full always.
    assert_eq!(full_every(100, 128).cause, None);
    assert_eq!(full_every(1, 128).cause, None, "whether anybody accepts was not observed");
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
    // It accepts, its queue is full whenever it is looked at, and it drops.
    let mut facts = healthy();
    facts.listeners = Ok(vec![Listener {
        drops: Some(40),
        holder: Some(causes::HolderState { state: 'R', for_ms: 0, holders: 1, stopped: 0 }),
        oldest_wait_ms: Some(900),
        ..listener(9_981, 129, 128)
    }]);
    let before = |facts: &mut Facts, _| facts.listeners = Ok(vec![listener(9_981, 129, 128)]);
    assert_eq!(finding(&watched(facts, before), "accept_queue").cause, Some("too_slow"));
    let hangs = queue(|it| it.oldest_wait_ms = Some(8_000));
    assert_eq!((hangs.cause, hangs.state), (Some("not_accepting"), State::Warn));
}
