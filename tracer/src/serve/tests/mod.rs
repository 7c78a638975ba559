//! The exposition of a fixed snapshot, whole; the ledger's promises; the server against clients
//! that do not behave.

mod dist;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracer_common::histogram::bucket_of;

use crate::aggregate::snapshot::*;
use crate::serve::hosts::Hosts;
use crate::serve::http::Bounds;
use crate::serve::ledger::{Exposed, Ledger};
use crate::serve::page::{Format, Page};
use crate::serve::table::families;
use crate::serve::{docs, http, text, times};
use crate::tui::tests::fixture::{self, crisis};

fn exposed(snapshot: Snapshot) -> Exposed {
    let process = OwnProcess {
        cpu_s: Some(12.75),
        began_s: Some(1_795_365_600.5),
        resident_bytes: Some(31 << 20),
        virtual_bytes: Some(130 << 20),
        threads: Some(5),
        open_fds: Some(163),
        max_fds: Some(4_096),
    };
    Exposed { process, ..Ledger::new(200).with_workloads(true).expose(Arc::new(snapshot)) }
}

/// The version changes with releases, and what is looked at here does not.
fn without_version(text: &str) -> String {
    text.replace(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), "version=\"VERSION\"")
}

#[test]
fn a_crisis_as_openmetrics() {
    insta::assert_snapshot!(without_version(&text::openmetrics(&exposed(crisis())).unwrap()));
}

#[test]
fn a_crisis_as_prometheus_text() {
    insta::assert_snapshot!(without_version(&text::prometheus(&exposed(crisis())).unwrap()));
}

/// Series and values of a text, without comments.
fn series(text: &str) -> BTreeMap<String, f64> {
    let values = text.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn both_formats_say_the_same() {
    let exposed = exposed(crisis());
    let (openmetrics, prometheus) =
        (text::openmetrics(&exposed).unwrap(), text::prometheus(&exposed).unwrap());
    // The one has no count without a sum, the other may.
    let mut both = series(&prometheus);
    let counts: Vec<(String, f64)> =
        both.extract_if(.., |name, _| name.contains("_seconds_count{")).collect();
    assert_eq!(series(&openmetrics), both);
    assert!(!counts.is_empty());
    for (name, count) in counts {
        let last = name.replace("_count{", "_bucket{le=\"+Inf\",");
        assert_eq!(both.get(&last), Some(&count), "{last}");
    }
    for text in [&openmetrics, &prometheus] {
        assert!(!text.contains("_sum"), "a sum that nobody kept");
    }
    assert!(openmetrics.ends_with("# EOF\n"));
    assert!(!prometheus.contains("# EOF") && !prometheus.contains("# UNIT"));
    // Every metric is there: the crisis knows all values.
    for family in families() {
        assert!(
            series(&prometheus)
                .keys()
                .any(|name| name.split('{').next() == Some(&*family.series())),
            "{}",
            family.series()
        );
    }
}

#[test]
fn names_are_conventional_and_helps_need_no_escape() {
    let mut seen = BTreeSet::new();
    for family in families() {
        let name = family.name;
        assert!(seen.insert(name), "{name} twice");
        assert!(name.starts_with("sockflow_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        for ending in
            ["_total", "_info", "_count", "_sum", "_bucket", "_created", "_ms", "_percent"]
        {
            assert!(!name.ends_with(ending), "{name}");
        }
        let text = format!("{} {}", family.help, family.source);
        assert!(!text.contains(['"', '\\', '\n', '|']), "{text}");
        assert!(!family.help.is_empty() && !family.source.is_empty(), "{name}");
        assert!(!family.help.ends_with('.'), "{name}: the text adds it");
        assert!(
            !family.labels.iter().any(|label| ["pid", "peer", "address"].contains(label)),
            "{name}"
        );
    }
}

#[test]
fn what_is_not_known_is_absent() {
    let mut snapshot = fixture::empty();
    snapshot.orphans.limit = None;
    snapshot.tw_buckets.limit = 0;
    snapshot.tw_buckets.fin_wait2 = None;
    snapshot.tcp_mem.high = None;
    let text = text::prometheus(&exposed(snapshot)).unwrap();
    let names: BTreeSet<String> = series(&text).into_keys().collect();
    for absent in [
        "sockflow_host_orphans_limit",
        "sockflow_host_orphans_limit_eta_seconds",
        "sockflow_time_wait_buckets_limit",
        "sockflow_time_wait_buckets_fin_wait2",
        "sockflow_tcp_memory_threshold_bytes{threshold=\"high\"}",
        "sockflow_service_fin_wait1_max_seconds",
    ] {
        assert!(!names.contains(absent), "{absent}");
    }
    assert!(!text.contains("# TYPE sockflow_service_sockets"), "a family without values");
}

/// On a kernel that has no hook for something, 0 of it would be a lie.
#[test]
fn what_nothing_counts_is_absent() {
    let names = |snapshot: &Snapshot| -> BTreeSet<String> {
        series(&text::prometheus(&exposed(snapshot.clone())).unwrap()).into_keys().collect()
    };
    let all = names(&crisis());
    for (signal, absent) in [
        ("state", "sockflow_connections_opened_total"),
        ("state", "sockflow_service_fin_wait1_duration_seconds_bucket"),
        ("state", "sockflow_lost_total{kind=\"untracked\"}"),
        ("orphan_begin", "sockflow_orphans_begun_total"),
        ("orphan_end", "sockflow_service_orphans_ended_total"),
        ("time_wait", "sockflow_time_wait_begun_total"),
        ("reset_in", "sockflow_resets_total{way=\"received\"}"),
        ("reset_out", "sockflow_service_resets_total{port=\"9981\",direction=\"in\",way=\"sent\"}"),
    ] {
        assert!(all.iter().any(|name| name.starts_with(absent)), "{absent}");
        for fidelity in [Fidelity::Absent, Fidelity::Sampled] {
            let mut snapshot = crisis();
            snapshot.fidelity.insert(signal, fidelity);
            let left = names(&snapshot);
            assert!(!left.iter().any(|name| name.starts_with(absent)), "{absent}");
            assert!(left.contains("sockflow_host_orphans"));
        }
    }
}

/// Shares of a service's FIN_WAIT1 times, by upper ends.
fn shares(exposed: &Exposed, port: &str) -> Vec<(f64, u64)> {
    let row = exposed.services.iter().find(|row| row.port == port).unwrap();
    let some = |(_, count): &(f64, u64)| *count > 0;
    times::with_ends(&row.counted.fin_wait1()).filter(some).collect()
}

/// Unlike quantiles, histograms add up: those without a row of their own have one together.
#[test]
fn fin_wait1_times_are_a_histogram_that_goes_over_to_other() {
    let ms = |ms: u64, count| (bucket_of(ms * 1_000_000), count);
    let at = |port, orphans, times: &[(u32, u64)]| {
        let times = times.to_vec();
        PortRow { fin_wait1_times: times, ..row(port, orphans, 10) }
    };
    let mut ledger = Ledger::new(1);
    let both = vec![at(1, 9, &[ms(1, 90), ms(3, 10)]), at(2, 5, &[ms(3, 4)])];
    let exposed = ledger.expose(with(both));
    assert_eq!(shares(&exposed, "1"), [(0.001_048_575, 90), (0.004_194_303, 10)]);
    assert_eq!(shares(&exposed, "other"), [(0.004_194_303, 4)]);
    // The first is gone, the second has its row from now on: nothing is forgotten, nothing is there
    // twice.
    ledger.expose(with(vec![at(2, 5, &[ms(3, 4)])]));
    let exposed = ledger.expose(with(vec![at(2, 5, &[ms(3, 6)])]));
    assert_eq!(shares(&exposed, "2"), [(0.004_194_303, 2)]);
    assert_eq!(shares(&exposed, "other"), [(0.001_048_575, 90), (0.004_194_303, 14)]);
    // The first comes back with the times it had: they are in other already.
    let both = vec![at(1, 900, &[ms(1, 93), ms(3, 10)]), at(2, 5, &[ms(3, 6)])];
    ledger.expose(with(both));
    let both = vec![at(1, 900, &[ms(1, 94), ms(3, 10)]), at(2, 5, &[ms(3, 6)])];
    let exposed = ledger.expose(with(both));
    assert_eq!(shares(&exposed, "1"), [(0.001_048_575, 1)]);
    let all: u64 = exposed.services.iter().flat_map(|row| row.counted.fin_wait1()).sum();
    assert_eq!(all, 94 + 10 + 6);
    // One that nobody saw before brings all it has: a storm may be over before the next snapshot.
    let mut ledger = Ledger::new(9);
    ledger.expose(with(vec![at(1, 1, &[ms(1, 5)])]));
    let exposed = ledger.expose(with(vec![at(1, 1, &[ms(1, 5)]), at(2, 1, &[ms(3, 200)])]));
    assert_eq!(shares(&exposed, "2"), [(0.004_194_303, 200)]);
}

/// Also a service without a row, such as one of UDP; those beyond the cap are one.
#[test]
fn a_finding_names_its_port_within_the_cap() {
    let mut ledger = Ledger::new(2);
    let mut labels = |ports: &[u16]| -> Vec<String> {
        let mut snapshot = crisis();
        let found = snapshot.findings.swap_remove(0);
        let of = |port: &u16| Finding { port: Some(*port), ..found.clone() };
        snapshot.findings = ports.iter().map(of).collect();
        snapshot.ports.clear();
        let exposed = ledger.expose(Arc::new(snapshot));
        exposed.findings.into_iter().map(|found| found.port).collect()
    };
    assert_eq!(labels(&[53]), ["53"]);
    assert_eq!(labels(&[53, 123, 5353, 5355]), ["123", "53", "other"]);
    assert_eq!(labels(&[5353, 53]), ["53", "other"]);
}

/// No control character, no line of somebody else's.
#[test]
fn hostile_names_stay_labels() {
    let mut snapshot = fixture::hostile();
    snapshot.host.name = "a\"} 7\nsockflow_fake 1\\".into();
    let text = text::openmetrics(&exposed(snapshot)).unwrap();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(
        text.lines()
            .all(|line| ["# ", "sockflow_", "process_"].iter().any(|is| line.starts_with(is)))
    );
    assert!(!series(&text).contains_key("sockflow_fake"));
}

#[test]
fn the_docs_are_of_this_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == docs::markdown(), "docs/METRICS.md is not current: `cargo xtask docs`");
}

// The ledger.

fn row(port: u16, orphans: u64, opened: u64) -> PortRow {
    let mut row = crisis().ports.swap_remove(1);
    row.port = port;
    row.orphans = orphans;
    row.orphans_by_state = OrphanStates { fin_wait1: orphans, ..OrphanStates::default() };
    row.states = States { established: opened.min(5), ..States::default() };
    row.totals = Totals { opened, ..Totals::default() };
    row.orphan_ends = OrphanEnds::default();
    row.fin_wait1_times = Vec::new();
    row
}

fn with(rows: Vec<PortRow>) -> Arc<Snapshot> {
    let mut rows = rows;
    rows.sort_by_key(|row| {
        std::cmp::Reverse((row.orphans, row.states.established, u16::MAX - row.port))
    });
    Arc::new(Snapshot { ports: rows, ..crisis() })
}

/// What was opened, by port.
fn opened(exposed: &Exposed) -> BTreeMap<String, u64> {
    exposed.services.iter().map(|row| (row.port.clone(), row.counted.opened())).collect()
}

fn pairs(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(port, count)| ((*port).to_owned(), *count)).collect()
}

#[test]
fn the_rest_is_summed_and_nothing_goes_missing() {
    let mut ledger = Ledger::new(2);
    let exposed =
        ledger.expose(with(vec![row(1, 9, 10), row(2, 7, 20), row(3, 5, 30), row(4, 3, 40)]));
    assert_eq!(opened(&exposed), pairs(&[("1", 10), ("2", 20), ("other", 70)]));
    assert_eq!((exposed.seen, exposed.folded), (4, 2));
    assert_eq!(exposed.services[2].orphans.fin_wait1, 8);
    assert_eq!(exposed.sums.opened(), 100);
    // The snapshot's own row of what found no room.
    let exposed = ledger.expose(with(vec![row(1, 9, 10), row(2, 7, 20), row(0, 0, 75)]));
    assert_eq!(opened(&exposed), pairs(&[("1", 10), ("2", 20), ("other", 75)]));
}

#[test]
fn a_row_is_kept_until_it_is_clearly_needed() {
    let mut ledger = Ledger::new(2);
    ledger.expose(with(vec![row(1, 20, 10), row(2, 10, 20), row(3, 9, 30)]));
    // A little heavier is not enough.
    let exposed = ledger.expose(with(vec![row(1, 20, 10), row(2, 10, 20), row(3, 12, 30)]));
    assert_eq!(opened(&exposed), pairs(&[("1", 10), ("2", 20), ("other", 30)]));
    // Much heavier is: it starts from 0, what it counted before stays in other, and so does what
    // the one that goes had counted.
    let exposed = ledger.expose(with(vec![row(1, 20, 10), row(2, 10, 21), row(3, 900, 35)]));
    assert_eq!(opened(&exposed), pairs(&[("1", 10), ("3", 0), ("other", 56)]));
    let exposed = ledger.expose(with(vec![row(1, 20, 10), row(2, 10, 22), row(3, 900, 45)]));
    assert_eq!(opened(&exposed), pairs(&[("1", 10), ("3", 10), ("other", 57)]));
    // One that nobody saw before brings all it has.
    let rows = vec![row(3, 900, 45), row(4, 100, 7), row(2, 10, 22), row(0, 0, 10)];
    let exposed = ledger.expose(with(rows));
    assert_eq!(opened(&exposed), pairs(&[("3", 10), ("4", 7), ("other", 67)]));
}

#[test]
fn a_service_that_leaves_or_begins_anew_takes_nothing_back() {
    let mut ledger = Ledger::new(5);
    ledger.expose(with(vec![row(1, 1, 10), row(2, 1, 20)]));
    let exposed = ledger.expose(with(vec![row(2, 1, 20)]));
    assert_eq!(opened(&exposed), pairs(&[("2", 20), ("other", 10)]));
    assert_eq!(exposed.sums.opened(), 30);
    // Its history is the snapshot's "other" now.
    let exposed = ledger.expose(with(vec![row(2, 1, 20), row(0, 0, 10)]));
    assert_eq!(opened(&exposed), pairs(&[("2", 20), ("other", 10)]));
    let exposed = ledger.expose(with(vec![row(2, 1, 3)]));
    assert_eq!(opened(&exposed), pairs(&[("2", 23), ("other", 10)]));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(32))]
    /// Whatever comes and goes: rows within the cap, no series goes down while it is there, and
    /// neither does their sum, which is the snapshot's wherever that does not go down.
    #[test]
    fn counters_never_go_down(
        steps in proptest::collection::vec(
            proptest::collection::btree_map(1_u16..12, (0_u64..60, 0_u64..5), 0..12), 1..25)
    ) {
        let mut ledger = Ledger::new(4);
        let mut totals: BTreeMap<u16, u64> = BTreeMap::new();
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for step in steps {
            // As the source does it: who leaves is summed in port 0.
            let gone: Vec<u16> =
                totals.keys().copied().filter(|port| *port != 0 && !step.contains_key(port)).collect();
            for port in gone {
                let kept = totals.remove(&port).unwrap_or_default();
                *totals.entry(0).or_default() += kept;
            }
            for (port, (_, more)) in &step {
                *totals.entry(*port).or_default() += more;
            }
            let rows = totals
                .iter()
                .map(|(port, opened)| row(*port, step.get(port).map_or(0, |(orphans, _)| *orphans), *opened))
                .collect();
            let exposed = ledger.expose(with(rows));
            let now = opened(&exposed);
            proptest::prop_assert!(now.len() <= 5);
            for (port, count) in &now {
                // A port that was away begins anew, as a counter may.
                if let Some(before) = last.get(port) {
                    proptest::prop_assert!(count >= before, "{port}: {before} to {count}");
                }
            }
            let all: u64 = totals.values().sum();
            proptest::prop_assert_eq!(now.values().sum::<u64>(), all);
            proptest::prop_assert_eq!(exposed.sums.opened(), all);
            last = now;
        }
    }
}

#[test]
fn a_process_that_changes_its_name_all_the_time_makes_few_series() {
    let mut ledger = Ledger::new(2);
    let mut names = BTreeSet::new();
    for second in 0..180 {
        let mut snapshot = fixture::later(second);
        for row in &mut snapshot.ports {
            if let Some(owner) = &mut row.owner {
                owner.comm = format!("name-{second}");
            }
        }
        let exposed = ledger.expose(Arc::new(snapshot));
        names.extend(exposed.services.iter().filter_map(|row| row.comm.clone()));
    }
    assert_eq!(names.len(), 3, "{names:?}");
}

// What is asked for.

#[test]
fn the_format_is_what_the_scraper_likes_best() {
    for (accept, format) in [
        ("", Format::OpenMetrics),
        ("*/*", Format::OpenMetrics),
        ("text/plain", Format::Prometheus),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format::Prometheus),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        ("application/openmetrics-text;q=0.4, TEXT/PLAIN ; Q=0.6", Format::Prometheus),
        ("text/plain;q=nonsense", Format::OpenMetrics),
    ] {
        assert_eq!(Format::wanted(accept), format, "{accept}");
    }
}

#[test]
fn a_page_is_encoded_once_and_grows_stale() {
    let page = Page::new(exposed(crisis()), Duration::ZERO);
    let first = page.text(Format::OpenMetrics).unwrap();
    assert_eq!(first.as_ptr(), page.text(Format::OpenMetrics).unwrap().as_ptr());
    std::thread::sleep(Duration::from_millis(2));
    assert!(page.stale().is_some());
    assert!(Page::new(exposed(crisis()), Duration::from_secs(60)).stale().is_none());
}

// The server.

/// A server with the crisis, until dropped.
struct Served {
    address: SocketAddr,
    pages: Option<watch::Sender<Arc<Page>>>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Served {
    fn start() -> Self {
        Self::with(exposed(crisis()))
    }

    fn with(exposed: Exposed) -> Self {
        Self::within(exposed, Bounds::USUAL)
    }

    fn within(exposed: Exposed, bounds: Bounds) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let page = Page::new(exposed, Duration::from_secs(60));
        let (sender, pages) = watch::channel(Arc::new(page));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let hosts = Arc::new(Hosts::new("a", &[]));
            runtime.block_on(http::serve(listener, pages, hosts, bounds))
        });
        Self { address, pages: Some(sender), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// The whole answer.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        // Who is told 503 before asking finds the connection closed, and the answer there.
        let _ = stream.write_all(request.as_bytes());
        read(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.pages.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(answer.starts_with(b"HTTP/1.1 503"), "{error}");
    }
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn paths_and_methods() {
    let served = Served::start();
    let metrics = served.get("/metrics");
    assert_eq!(status(&metrics), "200");
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(metrics.contains("connection: close"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    let plain = served.ask("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n");
    assert!(plain.contains("content-type: text/plain; version=0.0.4"));
    assert!(served.get("/").contains("/metrics"));
    assert_eq!(status(&served.get("/-/healthy")), "200");
    assert_eq!(status(&served.get("/metrics/")), "404");
    let refused = served.ask("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&refused), "405");
    assert!(refused.contains("allow: GET, HEAD"), "{refused}");
    let head = served.ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(status(&served.ask("nonsense\r\n\r\n")), "400");
    assert_eq!(status(&served.get(&format!("/{}", "a".repeat(4_000)))), "414");
    let many = "X: y\r\n".repeat(200);
    assert_eq!(status(&served.ask(&format!("GET / HTTP/1.1\r\n{many}\r\n"))), "431");
}

/// As a web page of evil.example would ask, after its name was made to mean 127.0.0.1.
#[test]
fn a_name_that_is_not_ours_is_refused_with_what_to_do() {
    let served = Served::start();
    for path in ["/metrics", "/", "/-/healthy", "/nothing"] {
        let host = format!("evil.example:{}", served.address.port());
        let refused = served.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(status(&refused), "421", "{refused}");
        assert!(refused.contains("hint: ") && refused.contains("--allow-host evil.example"));
        assert!(!refused.contains("sockflow_"), "{refused}");
    }
    for host in [served.address.to_string(), "localhost".into(), "[::1]:9982".into(), "a".into()] {
        let answer = served.ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(status(&answer), "200", "{host}");
    }
    assert_eq!(status(&served.ask("GET /metrics HTTP/1.1\r\n\r\n")), "400");
    assert_eq!(status(&served.ask("GET /metrics HTTP/1.0\r\n\r\n")), "200");
}

/// More than may even wait: each is told so at once, and reads it whole.
#[test]
fn a_crowd_beyond_the_bounds_is_told_503() {
    let bounds = Bounds { serving: 1, waiting: 2, refusing: 2, fair: Duration::from_secs(60) };
    let served = Served::within(exposed(crisis()), bounds);
    // Accepted in this order, all of them before whoever comes next.
    let sitting: Vec<TcpStream> = (0..3).map(|_| served.connect()).collect();
    let began = Instant::now();
    for _ in 0..10 {
        let answer = served.get("/metrics");
        assert_eq!(status(&answer), "503", "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    }
    // All at once, which is more than are refused at a time, and some before they ask.
    let mut crowd: Vec<TcpStream> = (0..50).map(|_| served.connect()).collect();
    for stream in crowd.iter_mut().step_by(2) {
        // It may be closed already: who reads then still has what it was told.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for stream in crowd.iter_mut().step_by(2) {
        let mut told = [0; 12];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"HTTP/1.1 503");
    }
    drop(crowd);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(sitting);
    // Those who left are noticed a moment later.
    while status(&served.get("/metrics")) != "200" {
        assert!(began.elapsed() < Duration::from_secs(10), "no room, and nobody there");
    }
}

/// Those who connect long before they ask are served when they do, however many ask before them.
#[test]
fn who_connects_first_and_asks_last_is_served() {
    let bounds = Bounds { serving: 2, waiting: 50, ..Bounds::USUAL };
    let served = Served::within(exposed(crisis()), bounds);
    let mut late: Vec<TcpStream> = (0..40).map(|_| served.connect()).collect();
    // Each holds its place for as long as an honest scrape is given, and more.
    let began = Instant::now();
    while began.elapsed() < 2 * bounds.fair {
        assert_eq!(status(&served.get("/metrics")), "200");
    }
    for stream in &mut late {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    for mut stream in late {
        assert_eq!(status(&read(&mut stream)), "200");
    }
}

/// A place for which nothing was ever asked goes to whoever comes later.
#[test]
fn those_who_say_nothing_make_room_for_those_who_ask() {
    let fair = Duration::from_millis(20);
    let served =
        Served::within(exposed(crisis()), Bounds { serving: 1, waiting: 2, refusing: 2, fair });
    let began = Instant::now();
    let sitting: Vec<TcpStream> = (0..30).map(|_| served.connect()).collect();
    while status(&served.get("/metrics")) != "200" {
        assert!(began.elapsed() < Duration::from_secs(4), "they leave by themselves after 5 s");
    }
    drop(sitting);
}

#[test]
fn the_bounds_fit_into_the_descriptors_there_are() {
    for descriptors in 2..3_000 {
        let bounds = Bounds::within(descriptors);
        assert!(bounds.descriptors() <= descriptors, "{descriptors}: {bounds:?}");
        assert!(bounds.serving >= 1 && bounds.refusing >= 1, "{descriptors}: {bounds:?}");
    }
    assert_eq!(Bounds::within(100_000).descriptors(), Bounds::USUAL.descriptors());
}

#[test]
fn an_endless_request_line_is_answered_and_cut() {
    let served = Served::start();
    let mut stream = served.connect();
    stream.write_all(format!("GET /{}", "a".repeat(1 << 20)).as_bytes()).unwrap();
    assert_eq!(status(&read(&mut stream)), "431");
}

/// More connections than are served, none of which ever says anything.
#[test]
fn those_who_sit_on_their_connections_keep_nobody_out() {
    let served = Served::start();
    let sitting: Vec<TcpStream> = (0..320).map(|_| served.connect()).collect();
    let began = Instant::now();
    assert_eq!(status(&served.get("/metrics")), "200");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(sitting);
}

#[test]
fn a_request_that_never_ends_is_told_so() {
    let served = Served::start();
    let mut stream = served.connect();
    let began = Instant::now();
    stream.write_all(b"GET /met").unwrap();
    assert_eq!(status(&read(&mut stream)), "408");
    let took = began.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

/// A page larger than any socket's buffer, asked for by more than are served at once, who then do
/// not read it: whoever does gets it whole.
#[test]
fn those_who_never_read_keep_nobody_out() {
    let rows = (1..=2_000).map(|port| row(port, 5_000 - u64::from(port), 1)).collect();
    let served = Served::with(Ledger::new(2_000).expose(with(rows)));
    // Encoded now, and not while the time runs.
    served.get("/metrics");
    let asking: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    let whole = served.get("/metrics");
    let took = began.elapsed();
    assert!(whole.len() > 4 << 20 && whole.ends_with("# EOF\n"), "{} bytes", whole.len());
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(asking);
}
