//! The story's recording, which is older than facts in traces, as the doctor sees it.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::*;
use crate::cli::doctor::text;
use crate::diagnose::{CheckRow, State};

fn story() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.0-story.sockflow")
}

fn report_of(at: Option<&Goto>) -> Result<(Report, Vec<String>)> {
    report(Trace::open(&story())?, &story(), at, &Narrowing::default())
}

fn render(report: &Report) -> String {
    let style =
        text::Style { width: 80, ascii: true, color: false, zone: TimeZone::UTC, exit_code: 11 };
    text::render(report, &style)
}

#[test]
fn the_worst_moment_of_an_old_trace() {
    let (report, notes) = report_of(None).unwrap();
    assert_eq!(notes, [""; 0]);
    assert_eq!((report.source, report.verdict), ("trace", State::Crit));
    assert_eq!(report.checks[0].id, "orphans");
    let unseen: Vec<&CheckRow> = report.unseen().collect();
    assert!(unseen.iter().all(|it| it.why == "not in this trace"), "{unseen:?}");
    let mut shown = report;
    // The note has the clock of this machine's zone.
    assert!(shown.notes[0].starts_with("the worst of "), "{:?}", shown.notes);
    shown.notes.clear();
    insta::assert_snapshot!(render(&shown));
}

#[test]
fn before_the_storm_nothing_is_about_to_run_out() {
    let at: Goto = "start".parse().unwrap();
    let (report, _) = report_of(Some(&at)).unwrap();
    assert!(report.notes[0].starts_with("moment 1 of "), "{:?}", report.notes);
    assert_eq!(report.verdict, State::Ok, "{}", render(&report));
    // Three of thirteen are too few to call a host well.
    assert!(!report.is_founded());
    let error = report_of(Some(&"!999".parse().unwrap())).unwrap_err();
    assert!(format!("{error:#}").contains("anomal"), "{error:#}");
}
