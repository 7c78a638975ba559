//! `serve` with the real things at the other end: Prometheus scrapes it during storms and has what
//! `top` shows, its rules fire and resolve, promtool finds nothing to say, and clients that do not
//! behave harm nobody.
//!
//! Prometheus and promtool are Debian's, installed by `cargo xtask deps`; without them these tests
//! fail and say so.

use crate::support;

pub(super) mod clients;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::{
    Guarded, Keep, Namespace, PATIENCE, Standing, Top, binary, host_orphans, number, output, row,
    sockflow, storm, tcp_ext_in, turn,
};

/// The service of the storms; a filter keeps everything else out of what is compared.
const FILTER: [&str; 2] = ["--port", "9981"];
/// How long a scrape may take, whatever else goes on: Prometheus waits for 10 s.
const SCRAPE: Duration = Duration::from_secs(5);
/// What `serve` may need for all the clients at once, above what it needs anyway.
const FOR_CLIENTS: u64 = 24 << 20;

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port of the loopback that nobody has at the moment.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, SCRAPE).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn request(path: &str, accept: &str) -> String {
    // 1.0: nobody answers it in chunks.
    format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n")
}

/// Status and body of an answer.
fn read(stream: &mut TcpStream) -> std::io::Result<(u16, String)> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn try_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, SCRAPE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request(path, "text/plain").as_bytes())?;
    read(&mut stream)
}

/// Waits until a path is there.
fn up(address: SocketAddr, path: &str, process: &mut Guarded) {
    let began = Instant::now();
    while !try_get(address, path).is_ok_and(|(status, _)| status == 200) {
        let over = process.child.try_wait().is_ok_and(|end| end.is_some());
        if over || began.elapsed() > PATIENCE {
            if !over {
                process.signal(Signal::TERM);
            }
            panic!("no {path} at {address}: {}", process.end(PATIENCE).2);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `sockflow serve`, tracing.
pub(super) struct Serve {
    process: Guarded,
    pub(super) address: SocketAddr,
}

impl Serve {
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::run(|command| command, arguments)
    }

    /// As what `around` makes of the command.
    fn run(around: impl FnOnce(Command) -> Command, arguments: &[&str]) -> Self {
        let address = free();
        let listen = address.to_string();
        let command = sockflow(&[&["serve", "--listen", &listen], arguments].concat());
        let mut process = Guarded::start(around(command));
        up(address, "/-/healthy", &mut process);
        Self { process, address }
    }

    /// Series and values.
    pub(super) fn scrape(&self) -> BTreeMap<String, f64> {
        let began = Instant::now();
        let (status, text) = get(self.address, "/metrics");
        assert_eq!(status, 200, "{text}");
        assert!(began.elapsed() < SCRAPE, "it took {:?}", began.elapsed());
        let values = text.lines().filter(|line| !line.starts_with('#'));
        values
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                (series.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// A number of `/proc/PID/status`, bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()));
        let status = status.expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
        1024 * number.parse::<u64>().expect("a number")
    }

    /// Ends it; what it said on stderr.
    pub(super) fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let (lines, status, talk) = self.process.end(PATIENCE);
        assert_eq!(status.code(), Some(0), "{talk}");
        assert!(lines.is_empty(), "stdout is for data: {lines:?}");
        talk
    }
}

fn debian(program: &str) -> Command {
    let path = Path::new("/usr/bin").join(program);
    assert!(path.is_file(), "{program} is missing: run `cargo xtask deps` as root");
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// What is shipped for Prometheus.
fn dist(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/prometheus").join(name)
}

/// A Prometheus of our own, scraping `serve` every second.
struct Prometheus {
    process: Guarded,
    address: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    fn start(name: &str, serve: &Serve, rules: &str) -> Self {
        let folder = Folder::new(name);
        let rules = folder.file("rules.yml", rules);
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: sockflow\n  \
               static_configs: [{{targets: ['{}']}}]\n",
            rules.display(),
            serve.address
        );
        let config = folder.file("prometheus.yml", &config);
        let address = free();
        let mut command = debian("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder.0);
        let mut process = Guarded::start(command);
        up(address, "/-/ready", &mut process);
        Self { process, address, _folder: folder }
    }

    /// The values of an instant query, by its labels as text.
    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let mut path = String::from("/api/v1/query?query=");
        for byte in query.bytes() {
            write!(path, "%{byte:02X}").expect("a string");
        }
        let (status, body) = get(self.address, &path);
        assert_eq!(status, 200, "{query}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        let results = answer["data"]["result"].as_array().expect("results");
        results
            .iter()
            .map(|result| {
                let value = result["value"][1].as_str().expect("a value");
                (result["metric"].clone(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// The only value of a query.
    fn value(&self, query: &str) -> Option<f64> {
        match &self.query(query)[..] {
            [] => None,
            [(_, value)] => Some(*value),
            more => panic!("{query}: {more:?}"),
        }
    }

    /// Waits until it has all these values at once.
    fn until(&self, expected: &[(String, f64)]) {
        let began = Instant::now();
        loop {
            let wrong: Vec<String> = expected
                .iter()
                .filter_map(|(query, value)| {
                    let has = self.value(query);
                    (has != Some(*value)).then(|| format!("{query}: {has:?}, not {value}"))
                })
                .collect();
            if wrong.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{wrong:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn firing(&self, alert: &str) -> bool {
        let query = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
        !self.query(&query).is_empty()
    }

    fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let (_, status, talk) = self.process.end(PATIENCE);
        assert!(status.success(), "{status}: {talk}");
    }
}

/// What Prometheus must answer, by a snapshot of `top --json`.
fn expected(snapshot: &Value) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    let mut is = |query: &str, path: &str| {
        all.push((query.to_owned(), number(snapshot, path) as f64));
    };
    is("sockflow_host_orphans", "/orphans/host");
    is("sockflow_host_orphans_limit", "/orphans/limit");
    is("sum(sockflow_service_orphans)", "/orphans/tracked");
    for state in ["fin_wait1", "last_ack", "closing", "fin_wait2"] {
        let query = format!("sockflow_orphans{{state=\"{state}\"}}");
        is(&query, &format!("/orphans/by_state/{state}"));
    }
    for state in ["listen", "syn_sent", "established", "fin_wait1", "close_wait", "last_ack"] {
        let query = format!("sockflow_sockets{{state=\"{state}\"}}");
        is(&query, &format!("/states/{state}"));
    }
    for (metric, total) in [
        ("connections_opened", "opened"),
        ("connections_closed", "closed"),
        ("orphans_begun", "orphaned"),
        ("time_wait_begun", "time_wait"),
    ] {
        is(&format!("sockflow_{metric}_total"), &format!("/totals/{total}"));
    }
    for (way, total) in [("received", "resets_in"), ("sent", "resets_out")] {
        is(&format!("sockflow_resets_total{{way=\"{way}\"}}"), &format!("/totals/{total}"));
    }
    is("sockflow_tcpext_total{name=\"TCPAbortOnMemory\"}", "/orphans/killed");
    is("sockflow_lost_total{kind=\"untracked\"}", "/lost/untracked");
    is("sockflow_time_wait_buckets_limit", "/tw_buckets/limit");
    for threshold in ["low", "pressure", "high"] {
        let query = format!("sockflow_tcp_memory_threshold_bytes{{threshold=\"{threshold}\"}}");
        let page = number(snapshot, "/tcp_mem/page_bytes") as f64;
        all.push((query, page * number(snapshot, &format!("/tcp_mem/{threshold}")) as f64));
    }
    let service = row(snapshot, 9981, "in");
    let labels = "port=\"9981\",direction=\"in\"";
    let mut is = |query: String, path: &str| all.push((query, number(service, path) as f64));
    for (metric, total) in [
        ("connections_opened", "opened"),
        ("connections_closed", "closed"),
        ("orphans_begun", "orphaned"),
    ] {
        is(format!("sockflow_service_{metric}_total{{{labels}}}"), &format!("/totals/{total}"));
    }
    for reason in ["acked", "time_wait", "peer_reset", "timed_out", "killed", "other"] {
        let query = format!("sockflow_service_orphans_ended_total{{{labels},reason=\"{reason}\"}}");
        is(query, &format!("/orphan_ends/{reason}"));
    }
    for state in ["established", "fin_wait1"] {
        let query = format!("sockflow_service_sockets{{{labels},state=\"{state}\"}}");
        is(query, &format!("/states/{state}"));
    }
    all
}

/// The expressions of the dashboard's panels, as Grafana would send them.
fn dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(dist("../grafana/sockflow.json")).expect("the dashboard");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let expression = target["expr"].as_str().expect("an expression");
            let all = expression.replace("$job", ".*").replace("$instance", ".*");
            all.replace("$__rate_interval", "1m")
        })
        .collect()
}

/// No counter went down, and none is gone.
fn assert_grown(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) {
    let counters = before.iter().filter(|(series, _)| {
        series.split('{').next().is_some_and(|name| name.ends_with("_total"))
    });
    for (series, value) in counters {
        let has = now.get(series).unwrap_or_else(|| panic!("{series} is gone"));
        assert!(has >= value, "{series}: from {value} to {has}");
    }
}

#[test]
fn prometheus_has_what_top_shows() {
    const ORPHANS: u64 = 300;
    let _turn = turn();
    assert_eq!(host_orphans(), 0, "something else on this host leaves orphans");
    let serve = Serve::start(&[&FILTER[..], &["--interval", "200ms"]].concat());
    let mut top = Top::start(&[&FILTER[..], &["--interval", "200ms"]].concat());
    let prometheus = Prometheus::start("sockflow-prometheus", &serve, "groups: []\n");

    // Prometheus's first scrape can be seconds away, and a rate needs one from before.
    prometheus.until(&[("up".to_owned(), 1.0)]);

    // While it goes on.
    let before = serve.scrape();
    let mut storming =
        Guarded::start(sockflow(&["storm", "--json", "--connections", "3000", "--rate", "1500/s"]));
    let mut last = before.clone();
    let mut moved = 0;
    while storming.child.try_wait().expect("wait").is_none() {
        let now = serve.scrape();
        assert_grown(&last, &now);
        moved += u64::from(now != last);
        last = now;
    }
    assert!(moved >= 3, "the values stood still: {moved}");
    assert!(storming.end(PATIENCE).1.success());

    // While orphans stand, and when they are gone.
    let count = ORPHANS.to_string();
    let arguments = ["--mode", "zero-window", "--connections", &count, "--hold", "90s"];
    let standing = Standing::start(None, &arguments, ORPHANS);
    let stood = top.now().clone();
    assert_eq!(number(&stood, "/orphans/tracked"), ORPHANS, "{stood}");
    prometheus.until(&expected(&stood));
    // Every panel has something to show; only a limit that nobody comes near has no time.
    // Rates take two scrapes.
    for expression in dashboard() {
        let began = Instant::now();
        while prometheus.query(&expression).is_empty() && !expression.contains("_eta_") {
            assert!(began.elapsed() < SCRAPE, "nothing to show: {expression}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    standing.release();
    top.until("no orphans", |snapshot| number(snapshot, "/orphans/host") == 0);
    let gone = top.now().clone();
    prometheus.until(&expected(&gone));
    assert_eq!(number(row(&gone, 9981, "in"), "/orphan_ends/peer_reset"), ORPHANS, "{gone}");

    let owner = prometheus.query("sockflow_service_owner_info{port=\"9981\"}");
    assert_eq!(owner.len(), 1, "{owner:?}");
    assert_eq!(owner[0].0["comm"], "sockflow");
    let filter = prometheus.query("sockflow_filter_info");
    assert_eq!(filter[0].0["filter"], gone["filter"]);
    let host = prometheus.query("sockflow_host_info");
    assert_eq!(host[0].0["release"], gone["host"]["kernel"]);
    // Prometheus took it as OpenMetrics: it knows kinds, helps and units.
    let (_, metadata) =
        get(prometheus.address, "/api/v1/targets/metadata?metric=sockflow_tcp_memory_bytes");
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    assert_eq!(metadata["data"][0]["type"], "gauge", "{metadata}");
    assert_eq!(metadata["data"][0]["unit"], "bytes", "{metadata}");
    prometheus.stop();
    assert_grown(&last, &serve.scrape());
    serve.stop();
}

/// The rules as shipped, but impatient.
fn impatient() -> String {
    let rules = std::fs::read_to_string(dist("alerts.yml")).expect("the rules");
    let lines = rules.lines().map(|line| match line.split_once("for: ") {
        Some((indent, _)) => format!("{indent}for: 1s\n"),
        None => format!("{line}\n").replace("[5m]", "[10s]"),
    });
    let rules = lines.collect::<String>().replace("interval: 15s", "interval: 1s");
    assert!(rules.contains("[10s]") && rules.contains("for: 1s"), "{rules}");
    rules
}

#[test]
fn alerts_fire_in_a_storm_and_resolve_after_it() {
    const ORPHANS: u64 = 300;
    /// Limits that so many orphans come near, and go beyond. Near means less than half of it:
    /// those whose peers do not answer count double.
    const ALERTS: [(&str, u64); 2] =
        [("SockflowOrphansNearLimit", 640), ("SockflowOrphansKilled", 64)];
    let _turn = turn();
    assert_eq!(host_orphans(), 0, "something else on this host leaves orphans");
    let kept = Keep::setting("net.ipv4.tcp_max_orphans");
    let serve = Serve::start(&["--interval", "200ms"]);
    let prometheus = Prometheus::start("sockflow-alerts", &serve, &impatient());
    prometheus.until(&[("sockflow_host_orphans".to_owned(), 0.0)]);
    let wait = |alert: &str, firing: bool| {
        let began = Instant::now();
        while prometheus.firing(alert) != firing {
            let orphans = prometheus.query("sockflow_host_orphans");
            assert!(began.elapsed() < PATIENCE, "{alert}: never {firing}, at {orphans:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    for (alert, limit) in ALERTS {
        assert!(!prometheus.firing(alert), "{alert} in calm");
        let setting = format!("net.ipv4.tcp_max_orphans={limit}");
        let count = ORPHANS.to_string();
        let storm = ["--mode", "zero-window", "--connections", &count, "--hold", "90s"];
        let standing =
            Standing::start(None, &[&storm[..], &["--sysctl", &setting]].concat(), ORPHANS);
        wait(alert, true);
        standing.release();
        assert!(kept.is_as_before());
        wait(alert, false);
    }
    // Nothing else came up beside them.
    // (Accept queues and TIME_WAIT are the host's, other programs' among them.)
    let query =
        "ALERTS{alertname=~\"Sockflow(Losing|Drifting|Stuck|Absent|Tcp.*)\",alertstate=\"firing\"}";
    let others = prometheus.query(query);
    assert!(others.is_empty(), "{others:?}");
    prometheus.stop();
    serve.stop();
}

fn promtool(arguments: &[&str], input: Option<&Path>) -> String {
    let mut command = debian("promtool");
    command.args(arguments);
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input).expect("its input"));
    }
    let done = command.output().expect("it starts");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "promtool {arguments:?}: {out}{err}");
    format!("{out}{err}")
}

#[test]
fn promtool_has_nothing_to_say() {
    let _turn = turn();
    let folder = Folder::new("sockflow-promtool");
    let serve = Serve::start(&["--interval", "100ms"]);
    storm(None, &["--connections", "200"]);
    std::thread::sleep(Duration::from_millis(300));
    let (_, text) = get(serve.address, "/metrics");
    assert!(text.contains("sockflow_service_connections_opened_total{port=\"9981\""), "{text}");
    let has = "sockflow_service_fin_wait1_duration_seconds_bucket{le=\"+Inf\",port=\"9981\"";
    assert!(text.contains(has) && text.contains("\nprocess_start_time_seconds "), "{text}");
    let file = folder.file("metrics", &text);
    assert_eq!(promtool(&["check", "metrics"], Some(&file)), "");
    let rules = dist("alerts.yml");
    let said = promtool(&["check", "rules", &rules.display().to_string()], None);
    assert!(said.contains("SUCCESS") && !said.contains("duplicate"), "{said}");
    promtool(&["test", "rules", &dist("alerts_test.yml").display().to_string()], None);
    serve.stop();
}

/// With one snapshot a minute, whoever asks gets the same text: a scrape takes none of its own.
#[test]
fn a_scrape_formats_the_latest_snapshot_and_no_more() {
    let _turn = turn();
    let serve = Serve::start(&["--interval", "60s"]);
    let (_, first) = get(serve.address, "/metrics");
    storm(None, &["--connections", "50"]);
    assert_eq!(get(serve.address, "/metrics").1, first);
    serve.stop();
}

#[test]
fn other_addresses_are_allowed_and_said() {
    let _turn = turn();
    let port = free().port();
    let listen = format!("0.0.0.0:{port}");
    let mut process = Guarded::start(sockflow(&["serve", "--listen", &listen]));
    up((Ipv4Addr::LOCALHOST, port).into(), "/metrics", &mut process);
    process.signal(Signal::INT);
    let (_, status, talk) = process.end(PATIENCE);
    assert_eq!(status.code(), Some(0), "{talk}");
    assert!(talk.contains(&format!("note: metrics are at http://{listen}/metrics")), "{talk}");
    assert!(talk.contains("whoever can reach"), "{talk}");
    let talk = Serve::start(&[]).stop();
    assert!(!talk.contains("whoever can reach"), "{talk}");
}

#[test]
fn a_taken_port_ends_it_with_who_to_ask() {
    let _turn = turn();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let done = output(sockflow(&["serve", "--listen", &address]));
    let talk = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{talk}");
    assert!(talk.contains(&format!("cannot listen on {address}")), "{talk}");
    assert!(talk.contains("in use") && talk.contains("hint: "), "{talk}");
}

/// What the unit leaves it is enough: for all signals, and for the owner of another user's sockets
/// that stood before.
#[test]
fn the_units_capabilities_are_enough() {
    let _turn = turn();
    let unit = std::fs::read_to_string(dist("../systemd/sockflow.service")).expect("the unit");
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let left = set.expect("a bounding set").to_lowercase().replace("cap_", "+").replace(' ', ",");
    // Nobody may be unable to reach the build folder.
    let folder = Folder::new("sockflow-unit");
    let copy = folder.0.join("sockflow");
    std::fs::copy(binary(), &copy).expect("a copy");
    std::fs::set_permissions(&folder.0, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("permissions");
    let mut holder = Command::new(&copy);
    holder.args(["storm", "--mode", "hold", "--connections", "9", "--duration", "60s"]);
    holder.uid(65_534).gid(65_534).current_dir("/").stdin(Stdio::null());
    let mut holder = Guarded::start(holder);
    assert_eq!(holder.line(PATIENCE).as_deref(), Some("holding 9"));
    let within = |command: Command| {
        let mut within = Command::new("setpriv");
        within.args(["--no-new-privs", "--inh-caps=-all", &format!("--bounding-set=-all,{left}")]);
        within.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        within
    };
    let serve = Serve::run(within, &FILTER);
    let whole = Serve::start(&FILTER);
    let (has, should) = (serve.scrape(), whole.scrape());
    let of = |name: &str, values: &BTreeMap<String, f64>| -> Vec<(String, f64)> {
        let found = values.iter().filter(|(series, _)| series.starts_with(name));
        found.map(|(series, value)| (series.clone(), *value)).collect()
    };
    for name in ["sockflow_signal_fidelity", "sockflow_service_owner", "sockflow_service_sockets"] {
        assert!(!of(name, &has).is_empty(), "{name}");
        assert_eq!(of(name, &has), of(name, &should));
    }
    assert_eq!(has["sockflow_connections_standing"], 9.0);
    holder.signal(Signal::TERM);
    assert!(holder.end(PATIENCE).1.success());
    let talk = serve.stop();
    assert!(!talk.contains("no owner"), "{talk}");
    whole.stop();
}
