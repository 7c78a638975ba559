//! Snapshots read: rows, numbers, and what must be so of them.

use serde_json::Value;

/// The number at a path such as `/totals/opened`.
pub(crate) fn number(value: &Value, path: &str) -> u64 {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {path} of {value}"))
}

/// The row of a service, if it has one.
pub(crate) fn find_row<'a>(snapshot: &'a Value, port: u16, direction: &str) -> Option<&'a Value> {
    let rows = snapshot["ports"].as_array().expect("ports");
    rows.iter().find(|row| row["port"] == port && row["direction"] == direction)
}

/// The row of a service.
pub(crate) fn row<'a>(snapshot: &'a Value, port: u16, direction: &str) -> &'a Value {
    find_row(snapshot, port, direction)
        .unwrap_or_else(|| panic!("no row {port} {direction} in {snapshot}"))
}

/// Full sockets of a row that are connections.
pub(crate) fn live(row: &Value) -> u64 {
    ["established", "fin_wait1", "fin_wait2", "close_wait", "last_ack", "closing"]
        .iter()
        .map(|state| number(&row["states"], &format!("/{state}")))
        .sum()
}

/// `opened + standing = closed + live`, for a row without FIN_WAIT2 minisockets.
pub(crate) fn assert_balanced(row: &Value) {
    let total = |name: &str| number(row, &format!("/totals/{name}"));
    assert_eq!(total("opened") + total("standing"), total("closed") + live(row), "{row}");
}

/// The reasons why a row's orphans ended, those that occurred, by name.
pub(crate) fn ends(row: &Value) -> Vec<(String, u64)> {
    let ends = row["orphan_ends"].as_object().expect("orphan_ends");
    let mut ends: Vec<(String, u64)> = ends
        .iter()
        .map(|(reason, count)| (reason.clone(), count.as_u64().expect("a count")))
        .filter(|(_, count)| *count > 0)
        .collect();
    ends.sort();
    ends
}

/// [`ends`], as it is expected.
pub(crate) fn ended(reason: &str, count: u64) -> Vec<(String, u64)> {
    vec![(reason.to_owned(), count)]
}

/// Nothing was lost that the exact numbers depend on.
pub(crate) fn assert_complete(snapshot: &Value) {
    assert_eq!(number(snapshot, "/lost/untracked"), 0, "{snapshot}");
    assert_eq!(number(snapshot, "/lost/missed"), 0, "{snapshot}");
    assert_eq!(number(snapshot, "/lost/ungrouped"), 0, "{snapshot}");
}
