//! What `sockflow probes --json` says against what `kernels.toml` states: both ways.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::matrix::Kernel;

/// How a kernel gets a signal: its fidelity, and the hook.
pub(super) type Rung = (String, String);

/// The rung of each signal, from what `sockflow probes --json` printed.
pub(super) fn rungs(answer: &str) -> Result<BTreeMap<String, Rung>> {
    let answer: Value = serde_json::from_str(answer).context("sockflow probes --json")?;
    let signals = answer["signals"].as_array().context("sockflow probes --json has no signals")?;
    let rung = |signal: &Value| {
        let text = |name: &str| signal[name].as_str().unwrap_or("none").to_owned();
        (text("signal"), (text("fidelity"), text("hook")))
    };
    Ok(signals.iter().map(rung).collect())
}

/// The rung that each signal must get.
pub(super) fn stated(kernel: &Kernel) -> BTreeMap<String, Rung> {
    let rung = |(signal, expected): (&String, &BTreeMap<String, String>)| {
        let (fidelity, hook) = expected.first_key_value()?;
        Some((signal.clone(), (fidelity.clone(), hook.clone())))
    };
    kernel.signals.iter().filter_map(rung).collect()
}

/// Where what the kernel gives differs from what is stated; empty when nowhere.
pub(super) fn differences(
    stated: &BTreeMap<String, Rung>,
    got: &BTreeMap<String, Rung>,
) -> Vec<String> {
    let spell = |rung: Option<&Rung>| {
        rung.map_or("nothing".to_owned(), |(fidelity, hook)| format!("{fidelity} by {hook}"))
    };
    let mut names: Vec<&String> = got.keys().chain(stated.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name, stated.get(name), got.get(name)))
        .filter(|(_, stated, got)| stated != got)
        .map(|(name, stated, got)| {
            let (stated, got) = (spell(stated), spell(got));
            format!("{name}: kernels.toml states {stated}; the kernel gives {got}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_better_and_unstated_are_all_told() {
        let expected = |signal: &str, fidelity: &str, hook: &str| {
            (signal.to_owned(), BTreeMap::from([(fidelity.to_owned(), hook.to_owned())]))
        };
        let kernel = Kernel {
            name: "7.3".into(),
            debian: None,
            release: "7.3.".into(),
            signals: BTreeMap::from([
                expected("state", "exact", "tp_btf x"),
                expected("owner", "derived", "from y"),
                expected("gone", "exact", "tp_btf z"),
            ]),
            absent: BTreeMap::new(),
        };
        let answer = r#"{"signals":[
            {"signal":"state","fidelity":"exact","hook":"tp_btf x"},
            {"signal":"owner","fidelity":"exact","hook":"from y"},
            {"signal":"new","fidelity":"absent","hook":null}]}"#;
        let found = differences(&stated(&kernel), &rungs(answer).unwrap());
        let names: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(names, ["gone", "new", "owner"], "{found:?}");
    }
}
