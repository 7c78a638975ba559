//! The report as one JSON object, `sockflow.report/1`.

use super::Report;

/// Indented, with a line end: people read it too.
///
/// # Errors
///
/// None that can be: the model has nothing that JSON lacks.
pub fn render(report: &Report) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}
