//! The files of many hosts answer one query, and docs/ANALYSIS.md says what they answer.

use std::fs;
use std::path::Path;

use serde_json::json;
use sockflow::export::schema;

use crate::python;
use crate::support::{STORY, ask, export, folder, orphans, readers, record};

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
