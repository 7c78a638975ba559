//! One property of every recording: at each moment all views name the same worst finding, with one
//! severity and one sentence.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::super::fold::Fold;
use super::super::line;
use super::gather::{Part, gather};
use crate::aggregate::json;
use crate::diagnose::{Severity, State};
use crate::recording::narrow::Narrowing;
use crate::recording::{Trace, Want};
use crate::serve::ledger::Ledger;
use crate::serve::text::openmetrics;

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|it| it == "sockflow")).collect();
    found.sort();
    found
}

/// The report of one moment alone.
fn report_of(trace: &Trace, tick: usize, file: &Path) -> crate::report::Report {
    let part = Part {
        from: tick,
        to: tick,
        narrowing: Narrowing::default(),
        redact: false,
        file: file.to_string_lossy().into_owned(),
        zone: TimeZone::UTC,
    };
    gather(trace, &part).unwrap().report
}

#[test]
fn every_view_of_every_moment_names_the_same_worst_finding() {
    let mut met = 0;
    for file in recordings() {
        let trace = Trace::open(&file).unwrap();
        let everything = Narrowing::default();
        let mut fold = Fold::begin(&trace, None, &everything);
        let mut ledger = Ledger::new(100);
        while let Some(snapshot) = fold.next(&trace, Want::Everything).unwrap() {
            let tick = fold.moment().unwrap();
            let at = format!("{} at tick {tick}", file.display());
            let verdict = &snapshot.verdict;
            let worst = snapshot.findings.first();
            let severity = worst.map_or(Severity::Ok, |it| it.severity);
            assert_eq!(severity, verdict.severity, "{at}");
            assert!(snapshot.findings.is_sorted_by(|a, b| a.severity >= b.severity), "{at}");

            let json: serde_json::Value =
                serde_json::from_str(&json::text(&snapshot).unwrap()).unwrap();
            assert_eq!(json["verdict"]["text"], verdict.text.as_str(), "{at}");
            assert!(line::line(&snapshot, &TimeZone::UTC).contains(&verdict.text), "{at}");

            // Got there from a checkpoint, not from the beginning.
            let doctor = Fold::at(&trace, tick, &everything).unwrap().unwrap().report().unwrap();
            assert_eq!(doctor.findings, snapshot.findings, "{at}");
            assert_eq!(doctor.verdict, State::of(severity), "{at}");

            let report = report_of(&trace, tick, &file);
            assert_eq!(report.findings, snapshot.findings, "{at}");
            assert_eq!(report.verdict.severity, severity, "{at}");
            assert_eq!(report.impact.worst.verdict, verdict.text, "{at}");
            let found = report.doctor.report.as_ref().map(|it| &it.findings);
            assert_eq!(found, Some(&snapshot.findings), "{at}");

            let page = openmetrics(&ledger.expose(snapshot.clone())).unwrap();
            let exposed = page.lines().filter(|line| line.starts_with("sockflow_finding{"));
            assert_eq!(exposed.count(), snapshot.findings.len(), "{at}: {page}");

            let Some(worst) = worst else { continue };
            met += 1;
            assert_eq!(worst.text, verdict.text, "{at}");
            assert!(doctor.sentence[1..].starts_with(&worst.text[1..]), "{}", doctor.sentence);
            let row = doctor.checks.iter().find(|row| row.id == worst.check).unwrap();
            assert_eq!((row.severity, &row.text), (worst.severity, &worst.text), "{at}");
            if severity > Severity::Note {
                assert!(report.verdict.sentence.contains(&worst.text), "{at}");
            }
            let labels = format!(
                "check=\"{}\",severity=\"{}\",cause=\"{}\"",
                worst.check,
                severity.name(),
                worst.cause.unwrap_or("")
            );
            assert!(page.contains(&format!("sockflow_finding{{{labels}")), "{at}: {page}");
        }
    }
    assert!(met > 20, "the recordings have trouble in them: {met}");
}
