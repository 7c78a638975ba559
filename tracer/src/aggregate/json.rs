//! The snapshot as `sockflow.snapshot/1`. What is not known on this kernel, or with this source, is
//! `null` there and never 0: the table says which numbers rest on which signals.

use serde_json::{Result, Value};

use super::snapshot::{Fidelity, FidelityTable, Snapshot};

/// What counts the occurrences of something: signals (all of them are needed), places in a
/// snapshot and in its rows. All fields of an object are meant where its own place is named.
const COUNTED: &[(&[&str], &[&str])] = &[
    (
        &["state"],
        &[
            "totals/opened",
            "totals/closed",
            "totals/standing",
            "totals_per_s/opened",
            "totals_per_s/closed",
            "opened_per_s",
            "closed_per_s",
            "fin_wait1_ms",
            "own_cost/events_per_s",
            "lost",
        ],
    ),
    (&["orphan_begin"], &["totals/orphaned", "totals_per_s/orphaned"]),
    (&["orphan_end"], &["orphan_ends", "orphan_end_details"]),
    (&["time_wait"], &["totals/time_wait", "totals_per_s/time_wait"]),
    (&["time_wait_end"], &["minisockets/expired", "minisockets/reused", "minisockets/killed"]),
    (&["reset_in"], &["totals/resets_in", "totals_per_s/resets_in"]),
    (&["reset_out"], &["totals/resets_out", "totals_per_s/resets_out"]),
    (&["reset_in", "reset_out"], &["resets_per_s"]),
];

/// On one line, without the line's end.
///
/// # Errors
///
/// None that a snapshot can cause.
pub fn text(snapshot: &Snapshot) -> Result<String> {
    let unknown = unknown(&snapshot.fidelity);
    if unknown.is_empty() {
        return serde_json::to_string(snapshot);
    }
    let mut value = serde_json::to_value(snapshot)?;
    blank(&mut value, &unknown);
    for rows in ["ports", "processes"] {
        let rows = value.get_mut(rows).and_then(Value::as_array_mut);
        rows.into_iter().flatten().for_each(|row| blank(row, &unknown));
    }
    serde_json::to_string(&value)
}

/// The places of what is not known. A signal that is not in the table is not doubted.
fn unknown(fidelity: &FidelityTable) -> Vec<&'static str> {
    let absent = |signal: &&str| {
        let known = fidelity.get(signal).map(|fidelity| fidelity.of_totals());
        known == Some(Fidelity::Absent)
    };
    let rows = COUNTED.iter().filter(|(signals, _)| signals.iter().any(&absent));
    rows.flat_map(|(_, places)| places.iter().copied()).collect()
}

fn blank(value: &mut Value, places: &[&str]) {
    for place in places {
        match value.pointer_mut(&format!("/{place}")) {
            Some(Value::Object(fields)) => fields.values_mut().for_each(|it| *it = Value::Null),
            Some(number) => *number = Value::Null,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tests::fixture::crisis;

    fn json(snapshot: &Snapshot) -> Value {
        serde_json::from_str(&text(snapshot).unwrap()).unwrap()
    }

    /// Where the two differ, with what stands in the second.
    fn differences(at: &str, a: &Value, b: &Value, out: &mut Vec<(String, Value)>) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
                for (key, value) in a {
                    differences(&format!("{at}/{key}"), value, &b[key], out);
                }
            }
            (Value::Array(a), Value::Array(b)) if at == "/ports" || at == "/processes" => {
                differences(&format!("{at}/0"), &a[0], &b[0], out);
            }
            (a, b) if a != b => out.push((at.to_owned(), b.clone())),
            _ => {}
        }
    }

    fn blanked(signals: &[(&'static str, Fidelity)]) -> Vec<String> {
        let mut snapshot = crisis();
        let whole = serde_json::to_value(&snapshot).unwrap();
        snapshot.fidelity.extend(signals.iter().copied());
        let mut now = json(&snapshot);
        now["fidelity"] = whole["fidelity"].clone();
        let mut differ = Vec::new();
        differences("", &whole, &now, &mut differ);
        assert!(differ.iter().all(|(_, value)| value.is_null()), "{differ:?}");
        let mut places: Vec<String> = differ.into_iter().map(|(at, _)| at).collect();
        places.sort();
        places
    }

    #[test]
    fn what_is_known_is_as_it_is() {
        let snapshot = crisis();
        assert_eq!(json(&snapshot), serde_json::to_value(&snapshot).unwrap());
        assert_eq!(blanked(&[("state", Fidelity::Derived), ("owner", Fidelity::Absent)]), [""; 0]);
    }

    #[test]
    fn an_absent_signal_blanks_its_numbers_and_no_others() {
        let resets_in = blanked(&[("reset_in", Fidelity::Absent)]);
        let expected = [
            "/ports/0/resets_per_s",
            "/ports/0/totals/resets_in",
            "/processes/0/totals/resets_in",
            "/totals/resets_in",
            "/totals_per_s/resets_in",
        ];
        assert_eq!(resets_in, expected);
    }

    #[test]
    fn what_is_only_looked_at_is_not_counted() {
        let sampled = blanked(&[("state", Fidelity::Sampled)]);
        for known in ["/states", "/orphans", "/tcp_mem", "/ports/0/orphans", "/processes/0/sockets"]
        {
            assert!(!sampled.iter().any(|at| at.starts_with(known)), "{known}: {sampled:?}");
        }
        for not in ["/totals/opened", "/ports/0/closed_per_s", "/ports/0/fin_wait1_ms/p99"] {
            assert!(sampled.iter().any(|at| at == not), "{not}: {sampled:?}");
        }
        let ends = blanked(&[("orphan_end", Fidelity::Sampled)]);
        assert!(ends.contains(&"/ports/0/orphan_ends/killed".to_owned()), "{ends:?}");
    }
}
