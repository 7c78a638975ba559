//! The advice as a file for `/etc/sysctl.d`: printed, never written or applied.

use std::fmt::Write as _;

use crate::diagnose::{CheckRow, Report, Set, State};
use crate::format::count;
use crate::sanitize::sanitize_ascii;

/// Cells of a comment's line.
const WIDTH: usize = 96;

/// The file.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    comment(
        &mut out,
        &format!(
            "sockflow doctor on {}, Linux {}, {}: {}",
            report.host,
            report.kernel,
            report.time.rfc3339(),
            report.sentence
        ),
    );
    for note in &report.notes {
        comment(&mut out, &format!("({note})"));
    }
    comment(&mut out, "Nothing has been changed. To use it: copy it to /etc/sysctl.d, then");
    comment(&mut out, "`sysctl --system`. To take it back: delete it, and run the undo lines.");
    let mut set = 0;
    for finding in &report.checks {
        let settings: Vec<&Set> =
            finding.set.iter().filter(|set| is_strongest(set, report)).collect();
        if settings.is_empty() {
            continue;
        }
        set += settings.len();
        out.push('\n');
        comment(&mut out, &title(finding));
        for (label, text) in [
            ("why", &finding.why),
            ("gain", &finding.gain),
            ("risk", &finding.risk),
            ("undo", &finding.undo),
        ] {
            if !text.is_empty() {
                comment(&mut out, &format!("{label}: {text}"));
            }
        }
        for set in settings {
            let _ = writeln!(out, "{} = {}", clean(&set.sysctl), clean(&set.to));
        }
    }
    if set == 0 {
        out.push('\n');
        comment(&mut out, "No setting helps now: nothing is set here.");
    }
    for finding in report.checks.iter().filter(|it| it.state > State::Ok) {
        if !finding.action.is_empty() {
            out.push('\n');
            comment(&mut out, &format!("{}, no setting: {}", finding.title, finding.action));
        }
    }
    if !report.lint.is_empty() {
        out.push('\n');
        comment(&mut out, "Lines elsewhere to delete or correct:");
        for remark in &report.lint {
            comment(&mut out, &format!("{}: {}", remark.place(), remark.text));
        }
    }
    out
}

fn title(finding: &CheckRow) -> String {
    let limit = finding.limit.map(|limit| format!(" of {}", count(limit))).unwrap_or_default();
    let now = count(finding.now.unwrap_or(0));
    format!("{} {}: {now}{limit} {}", finding.state.word(), finding.title, finding.unit)
}

/// Two checks may ask for the same setting: the first to ask for the most gets it.
fn is_strongest(set: &Set, report: &Report) -> bool {
    let number = |set: &Set| set.to.parse::<u64>().unwrap_or(0);
    let all = report.checks.iter().flat_map(|finding| &finding.set);
    let mut strongest: Option<&Set> = None;
    for other in all.filter(|other| other.sysctl == set.sysctl) {
        if strongest.is_none_or(|so_far| number(other) > number(so_far)) {
            strongest = Some(other);
        }
    }
    strongest.is_some_and(|strongest| std::ptr::eq(strongest, set))
}

/// Text of others stays within its line.
fn clean(text: &str) -> String {
    sanitize_ascii(text).into_owned()
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in clean(text).split(' ') {
        if line.len() > 1 && line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = String::from("#  ");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
