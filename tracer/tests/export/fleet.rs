//! The files of many hosts answer one query, and docs/ANALYSIS.md says what they answer.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sockflow::export::schema;

use crate::python;
use crate::support::{
    MIXED, STORY, ask, clickhouse, export, folder, orphans, readers, record, sockflow,
};

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

/// A block of the file: a query, below it what it answers, and how ClickHouse is asked.
struct Asked<'a> {
    query: &'a str,
    answer: &'a str,
    clickhouse: Option<&'a str>,
}

fn documented(text: &str) -> Vec<Asked<'_>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```sql\n") {
        let (query, after) = after.split_once("```\n").unwrap();
        let answer = after.strip_prefix("\n```text\n").unwrap_or_else(|| {
            panic!("no answer below the query\n{query}");
        });
        let (answer, after) = answer.split_once("```\n").unwrap();
        let other = after
            .strip_prefix("\n<details><summary>in ClickHouse</summary>\n\n```sql clickhouse\n");
        let clickhouse = other.map(|other| other.split_once("```\n").unwrap().0);
        blocks.push(Asked { query, answer, clickhouse });
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
    export(Path::new(MIXED), &folder.join("incident.parquet"), &[]);
    fleet(&folder);
    let blocks = documented(&text);
    assert!(blocks.len() >= 7, "{}", blocks.len());
    let queries: Vec<&str> = blocks.iter().map(|block| block.query).collect();
    let answers = python::run(&python, SCRIPT, &folder, &json!(queries).to_string());
    let answers: Vec<String> = serde_json::from_str(&answers).unwrap();
    for (Asked { query, answer: told, .. }, answer) in blocks.iter().zip(&answers) {
        assert!(answer.lines().count() > 2, "no answer to\n{query}");
        if updates {
            updated = updated.replacen(
                &format!("```sql\n{query}```\n\n```text\n{told}```\n"),
                &format!("```sql\n{query}```\n\n```text\n{answer}```\n"),
                1,
            );
        } else {
            assert_eq!(*told, answer, "to\n{query}");
        }
    }
    if updates && updated != text {
        fs::write(&path, updated).unwrap();
    }

    // On a host whose trace was filtered, and on one that has kills, they answer too.
    export(Path::new(STORY), &folder.join("incident.parquet"), &["--force"]);
    let answers = python::run(&python, SCRIPT, &folder, &json!(queries).to_string());
    let answers: Vec<String> = serde_json::from_str(&answers).unwrap();
    assert!(
        answers.iter().any(|it| it.contains("killed") && it.contains("  274  ")),
        "{answers:?}"
    );
}

/// The same question in ClickHouse's own SQL has the same answer.
#[test]
fn clickhouse_answers_as_duckdb_does() {
    const SCRIPT: &str = "
import chdb, duckdb, json, sys
db = duckdb.connect()
db.execute(\"set TimeZone = 'UTC'\")
db.execute('set enable_progress_bar = false')
def plain(value, is_number):
    if value is None or not is_number:
        return value
    return round(float(value), 3)
def asked(duck, click):
    cursor = db.execute(duck)
    names = [column[0] for column in cursor.description]
    rows = [[plain(v, isinstance(v, (int, float))) for v in row] for row in cursor.fetchall()]
    told = json.loads(str(chdb.query(click, 'JSONCompact')))
    numbers = [any(t in column['type'] for t in ('Int', 'Float')) for column in told['meta']]
    return [[names, rows],
            [[column['name'] for column in told['meta']],
             [[plain(v, n) for v, n in zip(row, numbers)] for row in told['data']]]]
print(json.dumps([asked(*pair) for pair in json.load(sys.stdin)]))";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ANALYSIS.md");
    let text = fs::read_to_string(&path).unwrap();
    let blocks = documented(&text);
    let pairs: Vec<(&str, &str)> =
        blocks.iter().filter_map(|block| Some((block.query, block.clickhouse?))).collect();
    assert_eq!(pairs.len() + 1, blocks.len(), "all but the file's own notes");
    let Some(python) = clickhouse() else { return };
    let folder = folder("clickhouse");
    fleet(&folder);
    for trace in [MIXED, STORY] {
        export(Path::new(trace), &folder.join("incident.parquet"), &["--force"]);
        let answers = python::run(&python, SCRIPT, &folder, &json!(pairs).to_string());
        let answers: Vec<[Value; 2]> = serde_json::from_str(&answers).unwrap();
        for ([duck, click], (query, _)) in answers.iter().zip(&pairs) {
            assert!(duck[1].as_array().is_some_and(|rows| !rows.is_empty()), "{query}");
            assert_eq!(duck, click, "{query}");
        }
    }
}

/// What a trace of many services counted by service, and what its rows come to.
#[test]
fn rows_add_up_by_service_and_side() {
    let Some(python) = readers() else { return };
    let folder = folder("mixed");
    let parquet = folder.join("mixed.parquet");
    export(Path::new(MIXED), &parquet, &[]);
    let output = sockflow(&["replay", MIXED, "--json", "--at", "end"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let counted: Vec<Value> = last["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let totals = &row["totals"];
            let of = |name: &str| totals[name].clone();
            json!([
                row["port"],
                row["direction"],
                of("opened"),
                of("closed"),
                of("orphaned"),
                of("time_wait"),
                of("resets_in"),
                of("resets_out")
            ])
        })
        .filter(|row| row[2].as_u64() > Some(0))
        .collect();
    let answers = ask(
        &python,
        &folder,
        &[
            "select service_port, direction,
                count(*) filter (where kind = 'state' and new = 'ESTABLISHED'),
                count(*) filter (where kind = 'state' and new = 'CLOSE' and old <> 'LISTEN'),
                count(*) filter (where kind = 'orphan_begin'),
                count(*) filter (where kind = 'time_wait_begin'),
                count(*) filter (where kind = 'reset_in'),
                count(*) filter (where kind = 'reset_out')
             from 'mixed.parquet' where direction is not null group by all order by all",
            "select count(*) from 'mixed.parquet' where direction is null",
        ],
    );
    let mut expected = counted;
    let key = |row: &Value| (row[0].as_u64(), row[1].as_str().map(str::to_owned));
    expected.sort_by_key(key);
    assert_eq!(answers[0], Value::from(expected));
    assert_eq!(answers[1], json!([[0]]), "every side is known");
}
