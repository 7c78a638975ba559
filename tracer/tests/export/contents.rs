//! What readers find in an export is what the trace holds, in every format, whole or a part of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use sockflow::event::{Event, EventKind, Owner};
use sockflow::export::schema;
use sockflow::time::Monotonic;

use crate::python;
use crate::support::{
    EVENTS_OF_STORY, STORY, ask, export, folder, readers, record, sockflow, talk,
};

/// The totals that `replay` ends with.
fn totals(trace: &str) -> Value {
    let output = sockflow(&["replay", trace, "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
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
                select epoch_ns(time), * exclude (time, family, local_port, peer_port, owner_pid, service_port, workload)
                from 'story.parquet'
                except all
                select epoch_ns(time::timestamp_ns),
                       * exclude (time, family, local_port, peer_port, owner_pid, service_port, workload)
                from read_csv('story.csv', types = {'time': 'varchar', 'socket': 'ubigint'}))",
            "select count(*) from (
                select * replace (strftime(time::timestamp_ns, '%Y-%m-%dT%H:%M:%S.%nZ') as time)
                from 'story.parquet'
                except all
                select * exclude (schema)
                from read_json('story.jsonl', columns = {
                    'schema': 'varchar', 'time': 'varchar', 'ts_ns': 'bigint', 'host': 'varchar',
                    'boot_id': 'varchar', 'kind': 'varchar', 'socket': 'ubigint',
                    'family': 'utinyint', 'local_addr': 'varchar', 'local_port': 'usmallint',
                    'peer_addr': 'varchar', 'peer_port': 'usmallint', 'old': 'varchar',
                    'new': 'varchar', 'reason': 'varchar', 'owner_pid': 'integer',
                    'owner_comm': 'varchar', 'netns': 'bigint', 'age_ns': 'bigint',
                    'detail': 'varchar', 'direction': 'varchar', 'service_port': 'usmallint',
                    'workload': 'varchar', 'cause': 'varchar'})
                where schema = 'sockflow.events/1')",
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
    // More than the kernel side has room for: here nothing bounds them.
    let many: Vec<String> = (9_900..10_000).map(|port| port.to_string()).collect();
    assert_eq!(lines(&["--port", &many.join(",")]), all);

    let nothing = sockflow(&["export", STORY, "--format", "csv", "--port", "80"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(
        talk(&nothing).contains("note: nothing matches the filter: port = 80"),
        "{}",
        talk(&nothing)
    );
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
