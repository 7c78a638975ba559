//! What is shipped for Prometheus and Grafana, held against the table: every metric named there
//! exists, with the labels it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::serve::table::{Kind, families};

/// Labels that Prometheus or the scrape's configuration add, or `topk` and ALERTS bring along.
const TARGET: [&str; 2] = ["job", "instance"];

fn shipped(name: &str) -> String {
    let path = format!("{}/../dist/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Metrics by their name in queries, with their labels.
fn metrics() -> BTreeMap<String, Vec<&'static str>> {
    families()
        .map(|family| {
            let end = (family.kind == Kind::Histogram).then_some("le");
            (family.series(), family.labels.iter().copied().chain(end).collect())
        })
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics that an expression names, each with the labels of its selector.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let prefixes = ["sockflow_", "process_"].into_iter();
    for (at, _) in prefixes.flat_map(|prefix| expression.match_indices(prefix)) {
        if expression[..at].ends_with(is_word) {
            continue;
        }
        let rest = &expression[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = inside.map_or_else(Vec::new, |(inside, _)| {
            inside
                .split(", ")
                .flat_map(|matcher| matcher.split(['=', '!']).next())
                .map(|label| label.trim().to_owned())
                .collect()
        });
        found.push((name.to_owned(), labels));
    }
    found
}

/// Panics unless all that an expression names is in the table.
#[track_caller]
fn assert_known(expression: &str) -> BTreeSet<String> {
    let metrics = metrics();
    let mut named = BTreeSet::new();
    for (name, labels) in selectors(expression) {
        let known = metrics.get(&name).unwrap_or_else(|| panic!("{name} in {expression}"));
        let family = families().find(|family| family.series() == name).unwrap();
        assert!(!family.help.starts_with("Deprecated"), "{name} in {expression}");
        for label in labels {
            let fits = known.contains(&label.as_str()) || TARGET.contains(&label.as_str());
            assert!(fits, "{name} has no label {label}: {expression}");
        }
        named.insert(name);
    }
    named
}

#[test]
fn selectors_are_found() {
    let found = selectors("rate(sockflow_a_total{job=~\"x\", kind!=\"y\"}[5m]) / sockflow_b");
    let expected = [("sockflow_a_total", vec!["job", "kind"]), ("sockflow_b", vec![])];
    let expected = expected.map(|(name, labels)| {
        (name.to_owned(), labels.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(found, expected);
}

/// Every string below `expr`, `definition` and `query`.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["expr", "definition", "query"].contains(&name.as_str()) => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                expressions(value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let board: serde_json::Value = serde_json::from_str(&shipped("grafana/sockflow.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&board, &mut asked);
    let named: BTreeSet<String> = asked.iter().flat_map(|text| assert_known(text)).collect();
    assert!(asked.len() > 20 && named.len() > 20, "{asked:?}");
    // It works as a file that Grafana is provisioned with, where nobody is asked for anything: the data
    // source is a variable, and it comes before the variables that ask it.
    assert!(board.get("__inputs").is_none() && board.get("__requires").is_none());
    let source = &board["templating"]["list"][0];
    assert_eq!((&source["name"], &source["type"]), (&"datasource".into(), &"datasource".into()));
    assert_eq!(source["query"], "prometheus");
    let mut sources = Vec::new();
    data_sources(&board, &mut sources);
    assert!(sources.len() > 50 && sources.iter().all(|uid| uid == "${datasource}"), "{sources:?}");
    // Panels do not overlap, ids are unique.
    assert!(board["id"].is_null());
    let panels = board["panels"].as_array().unwrap();
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for cell in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(cells.insert(cell), "{} overlaps", panel["title"]);
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            // What says how it is now asks for now: over a range, a time to the limit would stay on
            // the wall after the growth is over.
            let now = ["stat", "table"].contains(&panel["type"].as_str().unwrap());
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["instant"], now, "{panel}");
                assert_eq!(target["range"], !now, "{panel}");
            }
            // What may be absent says so, and is never made a 0.
            let words = panel["fieldConfig"]["defaults"]["noValue"].as_str().unwrap();
            assert!(!words.is_empty(), "{panel}");
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
        }
    }
}

#[test]
fn the_rules_and_their_tests_name_what_there_is() {
    let rules = shipped("prometheus/alerts.yml");
    let named = assert_known(&rules);
    assert!(named.len() >= 8, "{named:?}");
    assert_known(&shipped("prometheus/alerts_test.yml"));
    // Each alert is tested, and says what to do.
    let tests = shipped("prometheus/alerts_test.yml");
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in &alerts {
        assert!(alert.starts_with("Sockflow"), "{alert}: others have alerts too");
        let tested = tests.lines().any(|line| {
            line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == *alert)
        });
        assert!(tested, "{alert} is not tested");
    }
    assert_eq!(rules.matches(" runbook: ").count(), alerts.len());
    let pages: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    assert_eq!(pages.len(), alerts.len());
    for page in pages {
        assert_is_there(page.trim_matches('\''));
    }
}

/// Where the project's documents are published; whoever keeps them elsewhere replaces it.
const PUBLISHED: &str = "https://github.com/sockflow/sockflow/blob/main/";

/// Panics unless the document has the section.
#[track_caller]
fn assert_is_there(page: &str) {
    let (document, section) =
        page.strip_prefix(PUBLISHED).and_then(|page| page.split_once('#')).expect(page);
    let text = shipped(&format!("../{document}"));
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors: Vec<String> = headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect();
    assert!(anchors.iter().any(|anchor| anchor == section), "{page}: {anchors:?}");
}

/// The data sources that anything names.
fn data_sources(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            if let Some(uid) = fields.get("datasource").and_then(|source| source.get("uid")) {
                found.push(uid.as_str().unwrap_or_default().to_owned());
            }
            fields.values().for_each(|value| data_sources(value, found));
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| data_sources(value, found));
        }
        _ => {}
    }
}
