//! What the tests of `export` share: traces, exports of them, and those who read these.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sockflow::event::{Direction, Event, EventKind, Group, Input, Owner, Service, Totals};
use sockflow::recording::{Machine, Options, Run, Why, Writer};
use sockflow::time::{ClockAnchor, Monotonic, Wall};
use tracer_common::counters::{EndDetail, GroupCounters, OrphanEnd};
use tracer_common::state::TcpState;

use crate::python;

pub(crate) const STORY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/v1.0-story.sockflow");
pub(crate) const EVENTS_OF_STORY: u64 = 16_209;
/// Many services and clients, recorded without a filter.
pub(crate) const MIXED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/v1.0-mixed.sockflow");

/// The readers, of one version: what they print is compared.
pub(crate) fn readers() -> Option<PathBuf> {
    python::with("analysis-venv", &["duckdb==2.0.1", "pyarrow==26.0.1"])
}

/// ClickHouse in a process, beside DuckDB.
pub(crate) fn clickhouse() -> Option<PathBuf> {
    python::with("clickhouse-venv", &["duckdb==2.0.1", "chdb==4.4.0"])
}

/// An empty folder of a test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockflow"));
    command.args(arguments).stdin(Stdio::null()).env("TZ", "UTC");
    command
}

pub(crate) fn sockflow(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exports and must succeed; what it says.
pub(crate) fn export(trace: &Path, to: &Path, arguments: &[&str]) -> String {
    let all =
        [&["export", trace.to_str().unwrap(), "-o", to.to_str().unwrap()], arguments].concat();
    let output = sockflow(&all);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(output.stdout.is_empty(), "stdout is for data");
    talk(&output)
}

/// Asks DuckDB; the rows, each an array.
pub(crate) fn ask(python: &Path, folder: &Path, queries: &[&str]) -> Vec<Value> {
    const SCRIPT: &str = "
import duckdb, json, sys
db = duckdb.connect()
db.execute(\"set TimeZone = 'UTC'\")
# It is drawn on stdout where a query takes long.
db.execute('set enable_progress_bar = false')
plain = lambda value: value if isinstance(value, (int, float, type(None))) else str(value)
print(json.dumps([[[plain(v) for v in row] for row in db.execute(q).fetchall()]
                  for q in json.load(sys.stdin)]))";
    let answer = python::run(python, SCRIPT, folder, &json!(queries).to_string());
    serde_json::from_str::<Vec<Value>>(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// A recording of these events, on a machine of this name.
pub(crate) fn record(path: &Path, host: &str, lost: u64, events: impl IntoIterator<Item = Event>) {
    let options = Options {
        path: path.to_owned(),
        force: true,
        max_bytes: None,
        sync: Duration::from_secs(60),
    };
    let run = Run {
        sockflow: "0.1.0".to_owned(),
        host: Machine {
            name: host.to_owned(),
            kernel: "6.12.0".to_owned(),
            boot_id: format!("boot of {host}"),
        },
        anchor: ClockAnchor { monotonic: Monotonic(0), wall: Wall(1_795_365_730 * 1_000_000_000) },
        detail: "all".to_owned(),
        interval_s: 1.0,
        ..Run::default()
    };
    let mut writer = Writer::create(options, run).unwrap();
    let mut last = Monotonic(0);
    let mut groups = BTreeMap::new();
    for event in events {
        last = last.max(event.at);
        // All of them are a server's.
        let service = Service { port: event.local.1, direction: Direction::In };
        let owner = event.owner.as_deref().cloned();
        groups.entry((service, owner.clone())).or_insert_with(|| Group {
            service,
            owner,
            owner_start_ticks: 0,
            cgroup: None,
            workload: None,
            alive: true,
            unchecked: 0,
            counters: GroupCounters::default(),
        });
        writer.event(&event).unwrap();
    }
    let mut totals = Totals { groups: groups.into_values().collect(), ..Totals::default() };
    totals.lost.detail = lost;
    writer.sample(&[Input::Totals(totals), Input::Tick(last)]).unwrap();
    writer.finish(Why::Finished).unwrap();
}

pub(crate) const SECOND: u64 = 1_000_000_000;

/// So many orphans on a port, one a second; some of them are killed.
pub(crate) fn orphans(count: u64, port: u16, killed: u64) -> Vec<Event> {
    let owner = Arc::new(Owner { pid: 812, comm: "nginx".to_owned() });
    let mut events = Vec::new();
    for number in 0..count {
        let begun = Monotonic((10 + number) * SECOND);
        let at = |kind, at| Event {
            at,
            kind,
            socket: 1_000 + number,
            local: ([192, 0, 2, 10].into(), port),
            peer: ([10, 4, (number % 3) as u8, 7].into(), 40_000),
            owner: Some(Arc::clone(&owner)),
            netns: 4_026_531_840,
            born: Some(Monotonic(9 * SECOND)),
        };
        let reason = if number < killed { OrphanEnd::Killed } else { OrphanEnd::TimedOut };
        events.push(at(EventKind::OrphanBegin { state: TcpState::FinWait1 }, begun));
        events.push(at(
            EventKind::OrphanEnd { reason, detail: EndDetail::None, cause: None },
            Monotonic(begun.0 + 5 * SECOND),
        ));
    }
    events.sort_by_key(|event| event.at);
    events
}

/// What is in a folder, hidden files too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
