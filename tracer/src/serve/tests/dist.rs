//! What is shipped for Prometheus and Grafana, held against the table: every metric named there
//! exists, with the labels it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::serve::table::families;

/// Labels that Prometheus or the scrape's configuration add, or `topk` and ALERTS bring along.
const TARGET: [&str; 2] = ["job", "instance"];

fn shipped(name: &str) -> String {
    let path = format!("{}/../dist/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Metrics by their name in queries, with their labels.
fn metrics() -> BTreeMap<String, &'static [&'static str]> {
    families().map(|family| (family.series(), family.labels)).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics that an expression names, each with the labels of its selector.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("sockflow_") {
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
    // It is what one imports: sources are asked for, panels do not overlap, ids are unique.
    assert_eq!(board["__inputs"][0]["name"], "DS_PROMETHEUS");
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
            assert_eq!(panel["datasource"]["uid"], "${DS_PROMETHEUS}", "{panel}");
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
        assert!(tests.contains(alert), "{alert} is not tested");
    }
    assert_eq!(rules.matches("runbook: ").count(), alerts.len());
}
