//! What a doctor would have seen at a moment: the same however one gets there, and unknown where
//! the trace does not tell.

use std::path::Path;

use super::super::lookback::{Lookback, look_back};
use super::super::testing::Scratch;
use super::super::{Options, Run, Trace, Why, Writer};
use crate::diagnose::fixture::{healthy, listener};
use crate::event::Input;
use crate::facts::{Facts, Unknown};
use crate::gauges::Gauges;
use crate::time::Monotonic;

const WINDOW_S: f64 = 30.0;

fn at(second: u64) -> Monotonic {
    Monotonic((1_000 + second) * 1_000_000_000)
}

/// What is told in this second: a thorough look every seventh, else a brief one.
fn interval(second: u64) -> Vec<Input> {
    let mut gauges = Gauges::default();
    gauges.sockets.orphan = Some(second);
    let mut facts = healthy();
    facts.at = at(second);
    facts.files.as_mut().unwrap().allocated = second;
    let queue = u32::try_from(second % 9).unwrap();
    facts.sysctls = [("net.core.somaxconn".to_owned(), second.to_string())].into();
    facts.listeners = Ok(vec![listener(22, 0, 128), listener(9_981, queue, 4_096)]);
    let thorough = second % 7 == 3;
    if thorough {
        facts.detail_at = Some(at(second));
        facts.sockets.as_mut().unwrap().orphans.count = second;
    } else {
        facts.sysctls.clear();
        facts.sockets = Err(Unknown::not_looked_at());
        facts.cgroups = Err(Unknown::not_looked_at());
    }
    facts.thin(thorough);
    vec![Input::Gauges(gauges), Input::Facts(Box::new(facts)), Input::Tick(at(second))]
}

fn record(path: &Path, seconds: u64) -> Trace {
    let options = Options {
        path: path.to_owned(),
        force: true,
        max_bytes: None,
        sync: std::time::Duration::from_secs(60),
    };
    let run = Run { baseline: None, ..super::super::testing::run() };
    let mut writer = Writer::create(options, run).unwrap();
    for second in 0..seconds {
        writer.sample(&interval(second)).unwrap();
        if second % 50 == 20 {
            writer.rotate();
        }
        writer.sampled(|| super::super::testing::checkpoint(second)).unwrap();
    }
    writer.finish(Why::Finished).unwrap();
    Trace::open(path).unwrap()
}

#[test]
fn every_moment_is_the_same_however_one_gets_there() {
    let scratch = Scratch::new();
    let trace = record(&scratch.path("t"), 320);
    assert!(trace.cursor_before_tick(300).ticks() > 0, "there are places to begin at");
    let mut lookback = Lookback::begin(&trace);
    let mut forward: Vec<Facts> = Vec::new();
    while let Some(facts) = lookback.next(&trace, usize::MAX).unwrap() {
        forward.push(facts);
    }
    assert_eq!(forward.len(), 320);
    for tick in [0, 1, 29, 30, 31, 150, 151, 200, 318, 319] {
        let seen = look_back(&trace, tick, WINDOW_S).unwrap();
        assert_eq!(seen, forward[tick.saturating_sub(30)..=tick], "{tick}");
    }
    assert!(look_back(&trace, 320, WINDOW_S).unwrap().is_empty());
}

#[test]
fn a_moment_has_its_own_gauges_and_the_last_of_what_is_looked_at_rarely() {
    let scratch = Scratch::new();
    let trace = record(&scratch.path("t"), 20);
    let seen = look_back(&trace, 15, WINDOW_S).unwrap();
    let now = seen.last().unwrap();
    assert_eq!((now.at, now.detail_at), (at(15), Some(at(10))));
    assert_eq!(now.gauges.as_ref().unwrap().sockets.orphan, Some(15));
    assert_eq!(now.files.as_ref().unwrap().allocated, 15);
    assert_eq!(now.sockets.as_ref().unwrap().orphans.count, 10);
    let listeners = now.listeners.as_ref().unwrap();
    assert_eq!(listeners.iter().map(|it| it.queue).collect::<Vec<_>>(), [0, 6]);
    assert_eq!(now.kernel, "6.18.44");
    // As at the beginning, but for what has been set since.
    assert_eq!(now.sysctls["net.ipv4.tcp_orphan_retries"], "0");
    assert_eq!(now.sysctls["net.core.somaxconn"], "10");
    assert_eq!(now.settings.as_ref().unwrap().lines.len(), 1);
    // Nobody has looked yet.
    let first = look_back(&trace, 0, WINDOW_S).unwrap().remove(0);
    assert_eq!(first.sockets, Err(Unknown::because("not in this trace")));
}

#[test]
fn a_trace_of_before_there_were_facts_gives_what_it_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.0-story.sockflow");
    let trace = Trace::open(&path).unwrap();
    let seen = look_back(&trace, trace.ticks().len() - 1, WINDOW_S).unwrap();
    let now = seen.last().unwrap();
    assert!(now.gauges.as_ref().unwrap().limits.max_orphans.is_some());
    assert!(now.sysctls.contains_key("net.ipv4.tcp_orphan_retries"));
    let missing = Unknown::because("not in this trace");
    assert_eq!(now.files, Err(missing.clone()));
    assert_eq!(now.settings, Err(missing.clone()));
    let sockets = now.sockets.as_ref().unwrap();
    assert_eq!((&sockets.half_open, sockets.orphans.waits), (&Err(missing), None));
    assert!(seen.iter().any(|then| then.sockets.as_ref().is_ok_and(|it| it.orphans.bytes > 0)));
}
