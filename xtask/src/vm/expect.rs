//! What `sockflow probes --json` says against what `kernels.toml` states: both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::matrix::{Expected, Kernel, Matrix};
use crate::shell;

/// Where the answer differs from what is stated; empty when nowhere.
pub(super) fn differences(kernel: &Kernel, answer: &str) -> Result<Vec<String>> {
    let answer: Value = serde_json::from_str(answer).context("sockflow probes --json")?;
    let signals = answer["signals"].as_array().context("no signals")?;
    let mut got: BTreeMap<String, String> = BTreeMap::new();
    for signal in signals {
        let text = |name: &str| signal[name].as_str().unwrap_or("none").to_owned();
        got.insert(text("signal"), format!("{} by {}", text("fidelity"), text("hook")));
    }
    let stated: BTreeMap<String, String> =
        kernel.signals.iter().map(|(signal, expected)| (signal.clone(), spell(expected))).collect();
    let names: BTreeSet<&String> = got.keys().chain(stated.keys()).collect();
    let or_nothing = |what: Option<&String>| what.map_or("nothing".to_owned(), Clone::clone);
    Ok(names
        .into_iter()
        .filter(|name| got.get(*name) != stated.get(*name))
        .map(|name| {
            let (stated, got) = (or_nothing(stated.get(name)), or_nothing(got.get(name)));
            format!("{name}: kernels.toml states {stated}; the kernel gives {got}")
        })
        .collect())
}

fn spell(expected: &Expected) -> String {
    let words: Vec<String> =
        expected.iter().map(|(fidelity, hook)| format!("{fidelity} by {hook}")).collect();
    words.join(", ")
}

/// Asserts it on the running kernel, if the matrix has it. Gives what there is to say.
pub(super) fn native(matrix: &Matrix, sockflow: &Path) -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let running = matrix.kernels.iter().find(|kernel| release.starts_with(&kernel.release));
    let Some(kernel) = running else {
        return Ok("the running kernel is not in kernels.toml: nothing asserted".to_owned());
    };
    let answer = shell::read(Command::new(sockflow).args(["probes", "--json"]))?;
    let differences = differences(kernel, &answer)?;
    if differences.is_empty() {
        Ok(format!("the running kernel is {}: each signal has the stated hook", kernel.name))
    } else {
        bail!("the running kernel is {}:\n{}", kernel.name, differences.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_better_and_unstated_are_all_told() {
        let stated = |signal: &str, fidelity: &str, hook: &str| {
            (signal.to_owned(), Expected::from([(fidelity.to_owned(), hook.to_owned())]))
        };
        let kernel = Kernel {
            name: "7.3".into(),
            debian: None,
            release: "7.3.".into(),
            signals: BTreeMap::from([
                stated("state", "exact", "tp_btf x"),
                stated("owner", "derived", "from y"),
                stated("gone", "exact", "tp_btf z"),
            ]),
        };
        let answer = r#"{"signals":[
            {"signal":"state","fidelity":"exact","hook":"tp_btf x"},
            {"signal":"owner","fidelity":"exact","hook":"from y"},
            {"signal":"new","fidelity":"absent","hook":null}]}"#;
        let found = differences(&kernel, answer).unwrap();
        let names: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(names, ["gone", "new", "owner"], "{found:?}");
    }
}
