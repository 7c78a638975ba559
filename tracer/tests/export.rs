//! `sockflow export`: what DuckDB and pyarrow read is what the trace holds, in every format, from
//! whole traces and from damaged ones; and partial output never passes for whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../benches/support/measured.rs"]
mod measured;
mod python;
#[path = "../benches/support/traffic.rs"]
mod traffic;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use measured::Measured;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sockflow::event::{Event, EventKind, Input, Owner, Totals};
use sockflow::export::schema;
use sockflow::recording::frame::{FILE_HEADER, FRAME_HEADER};
use sockflow::recording::{Machine, Options, Run, Why, Writer};
use sockflow::time::{ClockAnchor, Monotonic, Wall};
use tracer_common::counters::{EndDetail, OrphanEnd};
use tracer_common::state::TcpState;
use traffic::Traffic;

const STORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/v1.0-story.sockflow");
const EVENTS_OF_STORY: u64 = 16_209;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The readers, of one version: what they print is compared.
fn readers() -> Option<PathBuf> {
    python::with("analysis-venv", &["duckdb==2.0.1", "pyarrow==26.0.1"])
}

/// An empty folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockflow"));
    command.args(arguments).stdin(Stdio::null()).env("TZ", "UTC");
    command
}

fn sockflow(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exports and must succeed; what it says.
fn export(trace: &Path, to: &Path, arguments: &[&str]) -> String {
    let all =
        [&["export", trace.to_str().unwrap(), "-o", to.to_str().unwrap()], arguments].concat();
    let output = sockflow(&all);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(output.stdout.is_empty(), "stdout is for data");
    talk(&output)
}

/// The totals that `replay` ends with.
fn totals(trace: &str) -> Value {
    let output = sockflow(&["replay", trace, "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Asks DuckDB; the rows, each an array.
fn ask(python: &Path, folder: &Path, queries: &[&str]) -> Vec<Value> {
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

#[test]
fn duckdb_and_pyarrow_read_what_the_trace_holds() {
    const PYARROW: &str = "
import json, pyarrow.compute as c, pyarrow.parquet as pq
file = pq.ParquetFile('story.parquet')
table = file.read()
print(json.dumps({
    'sums': [str(c.sum(table[name]).as_py()) for name in ('ts_ns', 'age_ns', 'socket', 'peer_port')],
    'rows': table.num_rows,
    'kinds': {str(row['values']): row['counts'] for row in c.value_counts(table['kind']).to_pylist()},
    'types': [[field.name, str(field.type), field.nullable] for field in table.schema],
    'metadata': {k.decode(): v.decode() for k, v in file.metadata.metadata.items()},
}))";
    let Some(python) = readers() else { return };
    let folder = folder("story");
    let said = export(Path::new(STORY), &folder.join("story.parquet"), &[]);
    assert!(said.starts_with("sockflow: exported 16,209 events to "), "{said}");
    assert_eq!(said.lines().count(), 1, "a whole trace has nothing else to say: {said}");
    export(Path::new(STORY), &folder.join("story.csv"), &[]);
    export(Path::new(STORY), &folder.join("story.jsonl"), &[]);

    let arrow: Value = serde_json::from_str(&python::run(&python, PYARROW, &folder, "")).unwrap();
    let answers = ask(
        &python,
        &folder,
        &[
            "select sum(ts_ns)::varchar, sum(age_ns)::varchar, sum(socket)::varchar,
                    sum(peer_port)::varchar
             from 'story.parquet'",
            "select kind, coalesce(old, ''), coalesce(new, ''), coalesce(reason, ''), count(*)
             from 'story.parquet' group by all",
            // The other formats have the same rows, to the nanosecond.
            "select count(*) from (
                select epoch_ns(time), * exclude (time, family, local_port, peer_port, owner_pid)
                from 'story.parquet'
                except all
                select epoch_ns(time::timestamp_ns),
                       * exclude (time, family, local_port, peer_port, owner_pid)
                from read_csv('story.csv', types = {'time': 'varchar', 'socket': 'ubigint'}))",
            "select count(*) from (
                select strftime(time::timestamp_ns, '%Y-%m-%dT%H:%M:%S.%gZ'), ts_ns, kind, socket,
                       family, local_addr, local_port, peer_addr, peer_port, old, new, reason,
                       owner_pid, owner_comm, netns, age_ns
                from 'story.parquet'
                except all
                select strftime(time, '%Y-%m-%dT%H:%M:%S.%gZ'), ts_ns, kind, socket::ubigint, family,
                       local.addr, local.port, peer.addr, peer.port, old, new, reason,
                       owner.pid, owner.comm, netns, round(age_ms * 1e6)::bigint
                from 'story.jsonl' where schema = 'sockflow.event/1')",
            "select (select count(*) from 'story.csv'), (select count(*) from 'story.jsonl'),
                    (select count(distinct host || boot_id) from 'story.parquet')",
        ],
    );
    assert_eq!(answers[0], json!([arrow["sums"]]));
    assert_eq!(arrow["rows"], EVENTS_OF_STORY);
    assert_eq!((&answers[2], &answers[3]), (&json!([[0]]), &json!([[0]])));
    assert_eq!(answers[4], json!([[EVENTS_OF_STORY, EVENTS_OF_STORY, 1]]));

    // What is in the rows adds up to what the kernel counted without them.
    let end = totals(STORY);
    let rows = answers[1].as_array().unwrap();
    let counted = |wanted: &dyn Fn(&[&str]) -> bool| -> u64 {
        let matching = rows.iter().filter(|row| {
            let words: Vec<&str> =
                row.as_array().unwrap()[..4].iter().map(|word| word.as_str().unwrap()).collect();
            wanted(&words)
        });
        matching.map(|row| row[4].as_u64().unwrap()).sum()
    };
    let totals = &end["totals"];
    assert_eq!(totals["opened"], counted(&|row| row[2] == "ESTABLISHED"));
    assert_eq!(totals["closed"], counted(&|row| row[2] == "CLOSE" && row[1] != "LISTEN"));
    for (total, kind) in [
        ("orphaned", "orphan_begin"),
        ("time_wait", "time_wait_begin"),
        ("resets_in", "reset_in"),
        ("resets_out", "reset_out"),
    ] {
        assert_eq!(totals[total], counted(&|row| row[0] == kind), "{total}");
        assert_eq!(totals[total], arrow["kinds"][kind], "{total}");
    }
    for (reason, ended) in end["ports"][0]["orphan_ends"].as_object().unwrap() {
        assert_eq!(*ended, counted(&|row| row[3] == reason), "{reason}");
    }

    // The table of columns is what readers see.
    for (column, told) in schema::COLUMNS.iter().zip(arrow["types"].as_array().unwrap()) {
        assert_eq!((&told[0], &told[2]), (&json!(column.name), &json!(column.nullable)));
    }
    assert_eq!(arrow["types"].as_array().unwrap().len(), schema::WIDTH);
    assert_eq!(arrow["types"][0][1], "timestamp[ns, tz=UTC]");
    for (name, value) in [
        ("schema", "sockflow.events/1"),
        ("host", "vm"),
        ("kernel", end["host"]["kernel"].as_str().unwrap()),
        ("boot_id", end["host"]["boot_id"].as_str().unwrap()),
        ("filter", "port = 9981"),
        ("detail", "all"),
        ("rows", "16209"),
        ("missing", "0"),
        ("lost", "0"),
        ("gaps", "[]"),
        ("ended", "finished"),
        ("selected", ""),
    ] {
        assert_eq!(arrow["metadata"][format!("sockflow.{name}")], value, "{name}");
    }
    assert_eq!(
        fs::metadata(folder.join("story.parquet")).unwrap().permissions().mode() & 0o777,
        0o600,
        "addresses of peers are nobody else's business"
    );
}

/// A recording of these events, on a machine of this name.
fn record(path: &Path, host: &str, lost: u64, events: impl IntoIterator<Item = Event>) {
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
    for event in events {
        last = last.max(event.at);
        writer.event(&event).unwrap();
    }
    let mut totals = Totals::default();
    totals.lost.detail = lost;
    writer.sample(&[Input::Totals(totals), Input::Tick(last)]).unwrap();
    writer.finish(Why::Finished).unwrap();
}

const SECOND: u64 = 1_000_000_000;

/// So many orphans on a port, one a second; some of them are killed.
fn orphans(count: u64, port: u16, killed: u64) -> Vec<Event> {
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
            EventKind::OrphanEnd { reason, detail: EndDetail::None },
            Monotonic(begun.0 + 5 * SECOND),
        ));
    }
    events.sort_by_key(|event| event.at);
    events
}

/// Three hosts of different fates, exported into `fleet`.
fn fleet(folder: &Path) {
    fs::create_dir_all(folder.join("fleet")).unwrap();
    for (host, count, port, killed) in
        [("web-1", 60, 443, 0), ("web-2", 90, 443, 30), ("db-1", 20, 5432, 0)]
    {
        let trace = folder.join(format!("{host}.sockflow"));
        record(&trace, host, 0, orphans(count, port, killed));
        export(&trace, &folder.join(format!("fleet/{host}.parquet")), &[]);
    }
}

#[test]
fn the_files_of_three_hosts_answer_one_query() {
    let Some(python) = readers() else { return };
    let folder = folder("fleet");
    fleet(&folder);
    let answers = ask(
        &python,
        &folder,
        &["select host, count(*) filter (kind = 'orphan_begin'),
                  count(*) filter (reason = 'killed'), any_value(local_port), sum(socket)
           from 'fleet/*.parquet' group by host order by host"],
    );
    let sum = |count: u64| 2 * (1_000 * count + count * (count - 1) / 2);
    assert_eq!(
        answers[0],
        json!([
            ["db-1", 20, 0, 5432, sum(20)],
            ["web-1", 60, 0, 443, sum(60)],
            ["web-2", 90, 30, 443, sum(90)],
        ])
    );
}

/// The file's blocks: a query, and below it what it answers.
fn documented(text: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```sql\n") {
        let (query, after) = after.split_once("```\n").unwrap();
        let answer = after.strip_prefix("\n```text\n").unwrap_or_else(|| {
            panic!("no answer below the query\n{query}");
        });
        let (answer, after) = answer.split_once("```\n").unwrap();
        blocks.push((query, answer));
        rest = after;
    }
    blocks
}

/// Each query of docs/ANALYSIS.md is run, and its answer is what stands there. To write the answers
/// anew: `INSTA_UPDATE=always cargo test -p tracer --test export`.
#[test]
fn what_the_documentation_asks_is_answered_as_it_says() {
    const SCRIPT: &str = "
import duckdb, json, sys
db = duckdb.connect()
db.execute(\"set TimeZone = 'UTC'\")
# It is drawn on stdout where a query takes long.
db.execute('set enable_progress_bar = false')
def table(query):
    cursor = db.execute(query)
    rows = [['' if value is None else str(value) for value in row] for row in cursor.fetchall()]
    head = [column[0] for column in cursor.description]
    is_number = [all(v == '' or v.replace('.', '', 1).replace('-', '', 1).isdigit() for v in column)
                 for column in zip(*rows)] or [False] * len(head)
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    def line(row):
        cells = [v.rjust(w) if n else v.ljust(w) for v, w, n in zip(row, widths, is_number)]
        return '  '.join(cells).rstrip() + '\\n'
    return line(head) + line(['-' * w for w in widths]) + ''.join(map(line, rows))
print(json.dumps([table(query) for query in json.load(sys.stdin)]))";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ANALYSIS.md");
    let text = fs::read_to_string(&path).unwrap();
    let updates = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");

    let (before, rest) = text.split_once("<!-- columns -->\n").unwrap();
    let (columns, after) = rest.split_once("<!-- /columns -->").unwrap();
    let mut updated =
        format!("{before}<!-- columns -->\n{}<!-- /columns -->{after}", schema::markdown());
    if !updates {
        assert_eq!(columns, schema::markdown(), "docs/ANALYSIS.md is not current");
    }

    let Some(python) = readers() else { return };
    let folder = folder("documented");
    export(Path::new(STORY), &folder.join("incident.parquet"), &[]);
    fleet(&folder);
    let blocks = documented(&text);
    assert!(blocks.len() >= 7, "{}", blocks.len());
    let queries: Vec<&str> = blocks.iter().map(|(query, _)| *query).collect();
    let answers = python::run(&python, SCRIPT, &folder, &json!(queries).to_string());
    let answers: Vec<String> = serde_json::from_str(&answers).unwrap();
    for ((query, told), answer) in blocks.iter().zip(&answers) {
        assert!(answer.lines().count() > 2, "no answer to\n{query}");
        if updates {
            updated = updated.replacen(
                &format!("```sql\n{query}```\n\n```text\n{told}```\n"),
                &format!("```sql\n{query}```\n\n```text\n{answer}```\n"),
                1,
            );
        } else {
            assert_eq!(told, answer, "to\n{query}");
        }
    }
    if updates && updated != text {
        fs::write(&path, updated).unwrap();
    }
}

/// Names and numbers at the edges of what there can be.
#[test]
fn hostile_names_and_odd_numbers_come_out_as_they_went_in() {
    const NAMES: [&str; 7] =
        ["\x1b]0;owned\x07", "<script>", "]]>", "=1+1|'x'!A", "a,\"b\"\n", "\u{202e}cod.exe", ""];
    let Some(python) = readers() else { return };
    let folder = folder("hostile");
    let mut events: Vec<Event> = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        events.push(Event {
            at: Monotonic(number as u64 + 1),
            kind: EventKind::ResetIn,
            socket: u64::MAX - number as u64,
            local: ("::ffff:192.0.2.1".parse().unwrap(), u16::MAX),
            peer: ("2001:db8::1".parse().unwrap(), 0),
            owner: Some(Arc::new(Owner { pid: 4_194_304, comm: (*name).to_owned() })),
            netns: u32::MAX,
            born: Some(Monotonic(1)),
        });
    }
    let mut bare = events[0].clone();
    (bare.owner, bare.born, bare.at) = (None, None, Monotonic(100));
    events.push(bare);
    let host = "web\x1b[2J,'17'";
    let trace = folder.join("hostile.sockflow");
    record(&trace, host, 0, events);
    export(&trace, &folder.join("hostile.parquet"), &[]);
    export(&trace, &folder.join("hostile.csv"), &[]);
    let rows = &ask(
        &python,
        &folder,
        &["select owner_comm, host, socket::varchar, local_addr, local_port, peer_addr, peer_port,
                  family, owner_pid, netns, age_ns
           from 'hostile.parquet' order by ts_ns"],
    )[0];
    for (number, name) in NAMES.iter().enumerate() {
        let socket = (u64::MAX - number as u64).to_string();
        assert_eq!(
            rows[number],
            json!([
                name,
                host,
                socket,
                "192.0.2.1",
                65_535,
                "2001:db8::1",
                0,
                6,
                4_194_304,
                u32::MAX,
                number
            ]),
        );
    }
    assert_eq!(
        (&rows[7][0], &rows[7][8], &rows[7][10]),
        (&json!(null), &json!(null), &json!(null))
    );

    let csv = fs::read_to_string(folder.join("hostile.csv")).unwrap();
    assert!(!csv.contains(['\x1b', '\x07', '\u{202e}']), "{csv:?}");
    assert_eq!(csv.lines().count(), 1 + NAMES.len() + 1, "{csv}");
    assert!(csv.contains("\"'=1+1|'x'!A\""), "{csv}");
}

/// Where the frames of a trace begin that hold events.
fn frames_of_events(bytes: &[u8]) -> Vec<usize> {
    let mut at = FILE_HEADER;
    let mut frames = Vec::new();
    while at < bytes.len() {
        if bytes[at + 4] == 2 {
            frames.push(at);
        }
        let stored = u32::from_le_bytes(bytes[at + 48..at + 52].try_into().unwrap());
        at += FRAME_HEADER + stored as usize;
    }
    frames
}

#[test]
fn from_a_damaged_trace_everything_whole_is_exported_and_the_rest_is_told() {
    let folder = folder("damaged");
    let trace = folder.join("damaged.sockflow");
    let mut bytes = fs::read(STORY).unwrap();
    let events = frames_of_events(&bytes);
    bytes[events[events.len() / 2] + FRAME_HEADER + 5] ^= 4;
    bytes.truncate(bytes.len() - 20);
    fs::write(&trace, bytes).unwrap();
    let said = export(&trace, &folder.join("damaged.jsonl"), &[]);
    let rows = fs::read_to_string(folder.join("damaged.jsonl")).unwrap().lines().count();
    insta::assert_snapshot!(said.replace(folder.to_str().unwrap(), "FOLDER"));
    let missing = EVENTS_OF_STORY - rows as u64;
    assert!(missing > 0 && said.contains(&format!("{missing} events of the trace")), "{said}");

    // Without its first frame the host is not known, which is told too.
    let headless = folder.join("headless.sockflow");
    let mut bytes = fs::read(STORY).unwrap();
    bytes[FILE_HEADER + FRAME_HEADER + 5] ^= 4;
    fs::write(&headless, bytes).unwrap();
    let said = export(&headless, &folder.join("headless.csv"), &[]);
    assert!(said.contains("exported 16,209 events"), "{said}");
    assert!(said.contains("what it says of the host and the run is damaged"), "{said}");

    // The damage is not in this part of it.
    let said = export(&trace, &folder.join("part.csv"), &["--to", "+2s"]);
    assert!(!said.contains("missing"), "{said}");

    let Some(python) = readers() else { return };
    export(&trace, &folder.join("damaged.parquet"), &[]);
    let answers = ask(
        &python,
        &folder,
        &[
            "select count(*) from 'damaged.parquet'",
            "select decode(value) from parquet_kv_metadata('damaged.parquet')
           where decode(key) in ('sockflow.missing', 'sockflow.ended') order by decode(key)",
            "select sum((gap->>'events')::int), count(gap->>'after'), count(gap->>'before') from (
               select unnest(from_json(decode(value), '[\"json\"]')) as gap
               from parquet_kv_metadata('damaged.parquet') where decode(key) = 'sockflow.gaps')",
        ],
    );
    assert_eq!(answers[0], json!([[rows]]));
    assert_eq!(answers[1], json!([["not closed"], [missing.to_string()]]));
    assert_eq!(answers[2], json!([[missing, 1, 1]]));
}

#[test]
fn what_recording_lost_is_told() {
    let folder = folder("lost");
    let trace = folder.join("lost.sockflow");
    record(&trace, "web-1", 1_234, orphans(3, 443, 0));
    let said = export(&trace, &folder.join("lost.csv"), &[]);
    assert!(said.contains("note: recording lost 1,234 events"), "{said}");
}

#[test]
fn parts_of_a_trace_add_up_to_it_and_filters_let_through_what_they_say() {
    let folder = folder("parts");
    let lines = |arguments: &[&str]| -> Vec<String> {
        let output = sockflow(&[&["export", STORY, "--format", "csv"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    };
    let all = lines(&[]);
    assert_eq!(all.len() as u64, EVENTS_OF_STORY);
    let just_then = all[8_000].split(',').next().unwrap();
    for cut in ["22:13:05", "+10.5s", "-3s", "max", "!1", "@8000", just_then] {
        let (before, after) = (lines(&["--to", cut]), lines(&["--from", cut]));
        // What is no time stands for the interval it ends: both have that.
        if cut.starts_with(['m', '!', '@']) {
            assert!(before.len() + after.len() > all.len(), "{cut}");
            continue;
        }
        assert!(!before.is_empty() && !after.is_empty(), "{cut}");
        // Events of two CPUs are not quite in order.
        let mut together = [before, after].concat();
        let mut expected = all.clone();
        together.sort();
        expected.sort();
        assert_eq!(together, expected, "{cut}");
    }
    let within = lines(&["--from", "22:13:00", "--to", "22:13:01"]);
    let expected: Vec<&String> =
        all.iter().filter(|line| line.starts_with("2026-11-22T22:13:00")).collect();
    assert!(!within.is_empty() && within.iter().eq(expected), "{}", within.len());

    let field = |line: &str, index: usize| line.split(',').nth(index).unwrap().to_owned();
    let is =
        |index: usize, value: &str| all.iter().filter(|line| field(line, index) == value).count();
    assert_eq!(lines(&["--pid", "15753"]).len(), is(14, "15753"));
    let peer_port = field(&all[5], 10);
    assert_eq!(lines(&["--peer-port", &peer_port]).len(), is(10, &peer_port));
    let peer = field(&all[1], 9);
    assert_eq!(lines(&["--addr", &peer]).len(), is(9, &peer));
    assert_eq!(lines(&["--port", "9981", "-4", "--comm", "sockflow"]), all);

    let nothing = sockflow(&["export", STORY, "--format", "csv", "--port", "80"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(talk(&nothing).contains("note: no event passes: port = 80"), "{}", talk(&nothing));
    export(Path::new(STORY), &folder.join("none.parquet"), &["--port", "80"]);
    let file = folder.join("part.parquet");
    export(Path::new(STORY), &file, &["--from", "+5s", "--addr", "127.0.0.0/8"]);
    let Some(python) = readers() else { return };
    let answers = ask(
        &python,
        &folder,
        &[
            "select decode(value) from parquet_kv_metadata('part.parquet')
           where decode(key) = 'sockflow.selected'",
            "select count(*), max(time) from 'none.parquet'",
        ],
    );
    assert_eq!(answers[1], json!([[0, null]]));
    let selected = answers[0][0][0].as_str().unwrap();
    assert!(
        selected.starts_with("from 2026-11-22T22:12:5")
            && selected.ends_with("Z and peer in 127.0.0.0/8"),
        "{selected}"
    );
}

/// A mistake as the user sees it.
fn mistake(folder: &Path, typed: &str, expected: i32) -> String {
    let shown = typed.replace("FOLDER", folder.to_str().unwrap()).replace("STORY", STORY);
    let output = sockflow(&shown.split(' ').collect::<Vec<_>>());
    assert!(output.stdout.is_empty(), "{typed}: stdout is for data");
    assert_eq!(output.status.code(), Some(expected), "{typed}: {}", talk(&output));
    let told = talk(&output).replace(folder.to_str().unwrap(), "FOLDER").replace(STORY, "STORY");
    assert!(told.contains("\n  hint: "), "{typed}: {told}");
    format!("$ sockflow {typed}\n{told}[{expected}]\n\n")
}

#[test]
fn mistakes_are_told_and_nothing_is_overwritten() {
    let folder = folder("mistakes");
    fs::write(folder.join("there.csv"), "mine").unwrap();
    fs::write(folder.join("empty.sockflow"), "").unwrap();
    fs::write(folder.join("text.sockflow"), "kernel: TCP: too many orphaned sockets\n").unwrap();
    fs::copy(STORY, folder.join("t.sockflow")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("link.csv")).unwrap();
    let told: String = [
        ("export", 2),
        ("export STORY", 2),
        ("export STORY -o FOLDER/x.txt", 2),
        ("export STORY --format xml", 2),
        ("export STORY --format csv --cgroup /x", 2),
        ("export STORY --format csv --comm much-too-long-a-name", 2),
        ("export STORY --format csv --from noonish", 2),
        ("export STORY --format csv --from 22:14", 2),
        ("export STORY --format csv --to 22:00", 2),
        ("export STORY --format csv --from 22:13:10 --to 22:13:00", 2),
        ("export STORY --format csv --from !99", 2),
        ("export STORY -o FOLDER/there.csv", 2),
        ("export STORY -o FOLDER", 2),
        ("export STORY --format csv -o FOLDER", 2),
        ("export STORY -o FOLDER/link.csv", 2),
        ("export STORY -o FOLDER/none/x.csv", 1),
        ("export FOLDER/t.sockflow --format csv --force -o FOLDER/t.sockflow", 2),
        ("export FOLDER/empty.sockflow --format csv", 1),
        ("export FOLDER/text.sockflow --format csv", 1),
        ("export FOLDER/none.sockflow -o FOLDER/x.csv", 1),
    ]
    .into_iter()
    .map(|(typed, code)| mistake(&folder, typed, code))
    .collect();
    insta::assert_snapshot!(told);
    assert_eq!(fs::read_to_string(folder.join("there.csv")).unwrap(), "mine");
    assert_eq!(fs::read(folder.join("t.sockflow")).unwrap(), fs::read(STORY).unwrap());

    // A link stays one, and what it leads to is replaced when that is asked for.
    std::os::unix::fs::symlink("there.csv", folder.join("alias.csv")).unwrap();
    export(Path::new(STORY), &folder.join("alias.csv"), &["--force"]);
    assert!(folder.join("alias.csv").symlink_metadata().unwrap().is_symlink());
    assert!(fs::metadata(folder.join("there.csv")).unwrap().len() > 1_000_000);
    assert_eq!(names(&folder), NAMES_LEFT);
}

const NAMES_LEFT: [&str; 6] =
    ["alias.csv", "empty.sockflow", "link.csv", "t.sockflow", "text.sockflow", "there.csv"];

/// What is in a folder, hidden files too.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_terminal_gets_no_parquet() {
    // `script` runs it on a terminal of its own.
    let shell = format!("{} export {STORY} --format parquet", env!("CARGO_BIN_EXE_sockflow"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &shell, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("nothing for a terminal") && told.contains("hint: "), "{told}");
}

#[test]
fn a_pipe_that_closes_is_fine() {
    for format in ["csv", "jsonl", "parquet"] {
        let mut child = command(&["export", STORY, "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        if format != "parquet" {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert!(!line.is_empty());
        }
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), talk(&output).as_str()), (Some(0), ""), "{format}");
    }
    // One that is read to its end has it all.
    let folder = folder("pipe");
    export(Path::new(STORY), &folder.join("story.parquet"), &[]);
    let piped = sockflow(&["export", STORY, "--format", "parquet"]);
    assert_eq!(piped.stdout, fs::read(folder.join("story.parquet")).unwrap());
    assert_eq!(talk(&piped), "");
}

#[test]
fn on_a_full_disk_nothing_is_left_that_passes_for_whole() {
    for format in ["csv", "jsonl", "parquet"] {
        for arguments in [
            vec!["export", STORY, "--format", format, "-o", "/dev/full"],
            vec!["export", STORY, "--format", format],
        ] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let output = command(&arguments).stdout(full).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", talk(&output));
            assert!(talk(&output).contains("No space left on device"), "{}", talk(&output));
        }
    }
    // A file system of its own, in a mount namespace that ends with it.
    let folder = folder("full");
    let script = "mount -t tmpfs -o size=64k none . && cd . && cd \"$PWD\" || exit 9
for format in csv jsonl parquet; do
    \"$0\" export \"$1\" --format $format -o out.$format; echo \"code $?\"
done
echo \"left: $(ls -A)\"
mount -o remount,size=64M . && \"$0\" export \"$1\" -o out.parquet; echo \"code $?\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([env!("CARGO_BIN_EXE_sockflow"), STORY])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "code 1\ncode 1\ncode 1\nleft: \ncode 0\n", "{}", talk(&output));
    insta::assert_snapshot!(talk(&output));
}

/// Longer than a row group, from the first event to the last.
const MANY: usize = (1 << 20) + 50_000;

#[test]
fn a_million_events_take_little_memory_and_a_signal_leaves_nothing_behind() {
    /// What the binary and a row group need; all rows as they are would be 200 MB.
    const MOST_MEMORY: u64 = 100 << 20;
    const TRIES: usize = 20;
    let folder = folder("many");
    let trace = folder.join("many.sockflow");
    let mut sum = 0_u128;
    record(
        &trace,
        "web-17",
        0,
        Traffic::new(5).take(MANY).inspect(|event| {
            sum += u128::from(event.socket);
        }),
    );

    // Again and again, as a signal may come at once: whenever there is a file, somebody takes it away.
    let csv = folder.join("stopped.csv");
    let mut stopped = 0;
    for _ in 0..TRIES {
        let began = Instant::now();
        let mut child = command(&["export", trace.to_str().unwrap(), "-o", csv.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while names(&folder).len() < 2 {
            assert!(began.elapsed() < PATIENCE, "no file");
            std::thread::yield_now();
        }
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        if code == Some(0) {
            // A busy machine: it was done before it heard of it.
            fs::remove_file(&csv).unwrap();
            continue;
        }
        assert_eq!(code, Some(130), "{said}");
        stopped += 1;
        assert!(said.contains("stopped: nothing was written"), "{said}");
        assert_eq!(names(&folder), ["many.sockflow"]);
    }
    assert!(stopped > 0, "always done before");

    let parquet = folder.join("many.parquet");
    let run = measured::run({
        let (from, to) = (trace.to_str().unwrap(), parquet.to_str().unwrap());
        let mut command = command(&["export", from, "-o", to]);
        command.stderr(Stdio::null());
        command
    });
    let size = fs::metadata(&parquet).unwrap().len();
    let Measured { time, cpu, bytes, peak } = run;
    println!("{time:?}, {cpu:?} CPU, at most {} MiB; {} bytes", peak >> 20, size + bytes);
    assert!(peak > 0 && peak < MOST_MEMORY, "{} MiB", peak >> 20);
    assert!(size < 16 * MANY as u64, "{size}");
    let Some(python) = readers() else { return };
    let answers = ask(
        &python,
        &folder,
        &[
            "select count(*), sum(socket)::varchar from 'many.parquet'",
            "select count(distinct row_group_id) from parquet_metadata('many.parquet')",
        ],
    );
    assert_eq!(answers[0], json!([[MANY, sum.to_string()]]));
    assert_eq!(answers[1], json!([[2]]));
}
