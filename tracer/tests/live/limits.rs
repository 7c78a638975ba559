//! The host's limits: what the kernel kills at `tcp_max_orphans`, that it was announced, and TCP
//! memory on its way through pressure and back. Settings are those of the host; storm puts them
//! back, and so do the guards here.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::books::{Books, our_namespace};
use support::{
    Keep, PORT, Standing, Top, assert_complete, emulated, ended, ends, host_orphans, number, row,
    sockstat, storm, tcp_ext, turn, under_pressure,
};

const KILLED: &str = "TCPAbortOnMemory";

#[test]
fn what_the_kernel_kills_at_the_limit_is_announced_and_counted() {
    const LIMIT: u64 = 64;
    /// Slow enough for a trend: it takes 1.5 s, more where samples come late.
    const RATE: f64 = 15.0;
    let orphans: u64 = if emulated().is_some() { 140 } else { 180 };
    let _turn = turn();
    let limit = Keep::setting("net.ipv4.tcp_max_orphans");
    assert_eq!(host_orphans(), 0, "something else on this host leaves orphans");
    let killed_before = tcp_ext(KILLED);
    let mut top = Top::start(&["--netns", &our_namespace(), "--interval", "200ms"]);
    let count = orphans.to_string();
    let rate = format!("{RATE}/s");
    let setting = format!("net.ipv4.tcp_max_orphans={LIMIT}");
    let arguments = [
        &["--mode", "zero-window", "--connections", &count, "--rate", &rate][..],
        &["--hold", "60s", "--sysctl", &setting],
    ];
    let standing = Standing::start(None, &arguments.concat(), orphans);
    top.now();
    // Between the two readings the kernel may kill one.
    let stood = top.until("as many orphans as the kernel has", |snapshot| {
        number(snapshot, "/orphans/host") == number(snapshot, "/orphans/tracked")
    });
    assert_eq!(number(&stood, "/orphans/limit"), LIMIT, "{stood}");
    let report = standing.release();
    assert!(limit.is_as_before(), "{report}");
    assert_eq!(report["sysctls"][0]["restored"], true, "{report}");
    top.until("no orphans", |snapshot| number(snapshot, "/orphans/host") == 0);
    let killed = tcp_ext(KILLED) - killed_before;
    let books = Books::of_ours();
    let snapshots = top.stop();
    let last = snapshots.last().expect("a snapshot");
    books.assert_agree(last);

    // No more than the limit (and what its 100 ms old cache lets slip) can have stayed. The
    // kernel may kill them all: the cache is as old as the CPU was idle, and each probe asks it.
    assert!((orphans - 2 * LIMIT..=orphans).contains(&killed), "{killed}");
    let server = row(last, PORT, "in");
    assert_eq!(number(server, "/totals/orphaned"), orphans, "{server}");
    assert_eq!(number(server, "/totals/opened"), orphans, "{server}");
    assert_eq!(number(server, "/totals/closed"), orphans, "{server}");
    assert_eq!(number(last, "/orphans/killed"), killed, "{last}");
    assert_eq!(last["counters"][KILLED], killed, "{last}");
    let mut expected = ended("killed", killed);
    if killed < orphans {
        expected.extend(ended("peer_reset", orphans - killed));
    }
    assert_eq!(ends(server), expected, "{server}");
    assert_eq!(number(&report, "/orphans/killed"), killed, "{report}");
    assert_complete(last);

    let anomalies = last["anomalies"].as_array().expect("anomalies");
    let kill = anomalies.iter().find(|anomaly| anomaly["kind"] == "orphan-kill");
    let kill = kill.unwrap_or_else(|| panic!("no orphan-kill: {anomalies:?}"));
    assert_eq!(kill["severity"], "crit", "{kill}");
    assert_eq!(kill["port"], PORT, "{kill}");
    assert!(kill["text"].as_str().is_some_and(|text| text.contains("killed")), "{kill}");

    // Before the first kill it said how long there was left, and that became less.
    let ahead: Vec<f64> = snapshots
        .iter()
        .take_while(|snapshot| number(snapshot, "/orphans/killed") == 0)
        .filter_map(|snapshot| snapshot["orphans"]["limit_in_s"].as_f64())
        .collect();
    let (first, final_) = (ahead.first(), ahead.last());
    let (first, final_) = (first.expect("announced"), final_.expect("announced"));
    assert!(ahead.len() >= 2 && final_ < first, "{ahead:?}");
    assert!(*first < 2.0 * LIMIT as f64 / RATE, "{ahead:?}");
}

/// What the kernel's pressure flag was at some moment between two, in seconds since 1970.
#[derive(Clone, Copy)]
struct Seen {
    after: f64,
    before: f64,
    flag: bool,
}

/// Looks at the kernel's pressure flag all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<Seen>>>,
}

impl Watch {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let now = || {
                    let since = SystemTime::now().duration_since(UNIX_EPOCH);
                    since.expect("a clock").as_secs_f64()
                };
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    seen.push(Seen { after: now(), flag: under_pressure(), before: now() });
                    std::thread::sleep(Duration::from_millis(10));
                }
                seen
            }
        });
        Self { stop, thread: Some(thread) }
    }

    fn seen(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("once").join().expect("the watch")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The flag all the way from one moment to another, if that was looked at and it did not change.
fn steady(seen: &[Seen], from: f64, to: f64) -> Option<bool> {
    let first = seen.iter().rposition(|seen| seen.before <= from)?;
    let last = seen.iter().position(|seen| seen.after >= to)?;
    let flag = seen[first].flag;
    seen[first..=last].iter().all(|seen| seen.flag == flag).then_some(flag)
}

/// Seconds since 1970 of a snapshot.
fn time(snapshot: &Value) -> f64 {
    let text = snapshot["time"].as_str().expect("a time");
    let time: jiff::Timestamp = text.parse().expect("a time");
    time.as_millisecond() as f64 / 1000.0
}

#[test]
fn memory_goes_through_pressure_and_back_as_the_kernel_says() {
    /// An orphan and its client take 4.3 pages.
    const ORPHANS_PER_1000_PAGES: u64 = 233;
    /// A snapshot's time is rounded so far at most, in seconds.
    const ROUNDED: f64 = 0.002;
    // Each CPU keeps up to 256 pages (`net.core.mem_pcpu_rsv`) out of the kernel's books, either
    // way; a reading is off by so much, and what it is compared with too.
    let off = 2 * 256 * std::thread::available_parallelism().expect("CPUs").get() as u64;
    // The first orphans are surely above low and not above pressure, all are above pressure.
    let low_above = off + 200;
    let first_pages = low_above + off + 200;
    let pressure_above = first_pages + off + 200;
    let first_orphans = first_pages * ORPHANS_PER_1000_PAGES / 1000;
    let second_orphans =
        (pressure_above + off + 200) * ORPHANS_PER_1000_PAGES / 1000 - first_orphans;
    let _turn = turn();
    let limits = Keep::setting("net.ipv4.tcp_mem");
    let pages = sockstat("/proc/self/net", "mem");
    assert!(!under_pressure());
    let entered_before = tcp_ext("TCPMemoryPressures");
    let killed_before = tcp_ext(KILLED);
    let mut top = Top::start(&["--netns", &our_namespace(), "--interval", "100ms"]);
    let watch = Watch::start();
    let (low, pressure, high) = (pages + low_above, pages + pressure_above, pages + 1_000_000);
    let setting = format!("net.ipv4.tcp_mem={low} {pressure} {high}");
    let orphans = |port: &str, count: u64, more: &[&str]| {
        let number = count.to_string();
        let zero_window = ["--mode", "zero-window", "--hold", "60s", "--port", port];
        let arguments = [&zero_window, &["--connections", &number][..], more].concat();
        Standing::start(None, &arguments, count)
    };
    let is = |state: &'static str| move |now: &Value| now["tcp_mem"]["state"] == state;
    let first = orphans("9981", first_orphans, &["--sysctl", &setting]);
    let rising = top.until("memory above low", is("rising"));
    let memory = &rising["tcp_mem"];
    assert_eq!(number(memory, "/low"), low, "{memory}");
    assert_eq!(number(memory, "/pressure"), pressure, "{memory}");
    assert_eq!(number(memory, "/high"), high, "{memory}");
    assert!((low..=pressure).contains(&number(memory, "/pages")), "{memory}");
    top.now();
    let second = orphans("9982", second_orphans, &[]);
    top.until("pressure", is("pressure"));
    let stood = top.now().clone();
    assert_eq!(number(&stood, "/orphans/tracked"), first_orphans + second_orphans, "{stood}");
    // Below pressure is not below low: the flag stays.
    second.release();
    let eased = top.now().clone();
    assert!((low..=pressure).contains(&number(&eased, "/tcp_mem/pages")), "{eased}");
    assert_eq!(eased["tcp_mem"]["state"], "pressure", "{eased}");
    let report = first.release();
    assert_eq!(report["sysctls"][0]["restored"], true, "{report}");
    assert!(limits.is_as_before());
    // The kernel takes the flag back when a socket next asks for memory.
    storm(None, &["--connections", "100", "--port", "9983"]);
    top.until("no pressure", is("ok"));
    let entered = tcp_ext("TCPMemoryPressures") - entered_before;
    let books = Books::of_ours();
    let snapshots = top.stop();
    let seen = watch.seen();
    let last = snapshots.last().expect("a snapshot");
    books.assert_agree(last);

    let mut states: Vec<&str> = snapshots
        .iter()
        .map(|snapshot| snapshot["tcp_mem"]["state"].as_str().expect("a state"))
        .collect();
    states.dedup();
    // Pages are read a moment before the flag: that may be down already where they were above low.
    if states.ends_with(&["pressure", "rising", "ok"]) {
        states.remove(3);
    }
    assert_eq!(states, ["ok", "rising", "pressure", "ok"]);

    // A snapshot agrees with the kernel wherever the flag did not change meanwhile: it was read after
    // the snapshot before, and on a busy machine long before its own time.
    let mut agreed = 0;
    for (before, snapshot) in snapshots.iter().zip(&snapshots[1..]) {
        let (from, to) = (time(before) - ROUNDED, time(snapshot) + ROUNDED);
        if let Some(flag) = steady(&seen, from, to) {
            assert_eq!(snapshot["tcp_mem"]["state"] == "pressure", flag, "{snapshot}");
            agreed += 1;
        }
    }
    assert!(agreed * 2 > snapshots.len(), "{agreed} of {}", snapshots.len());
    assert!(entered > 0);
    assert_eq!(number(last, "/tcp_mem/entered"), entered, "{last}");
    let anomalies = last["anomalies"].as_array().expect("anomalies");
    for told in ["pressure begins", "pressure ends"] {
        let is = |anomaly: &&Value| {
            anomaly["kind"] == "tcp_mem"
                && anomaly["text"].as_str().is_some_and(|text| text.starts_with(told))
        };
        assert!(anomalies.iter().any(|anomaly| is(&anomaly)), "{told}: {anomalies:?}");
    }
    // Pressure is not the limit: nothing is killed for it.
    assert_eq!(tcp_ext(KILLED), killed_before);
    for (port, count) in [(9981, first_orphans), (9982, second_orphans)] {
        let server = row(last, port, "in");
        assert_eq!(ends(server), ended("peer_reset", count), "{server}");
    }
    assert_complete(last);
}
