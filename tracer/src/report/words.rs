//! Words that the renderers share.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::model::{Episode, Point, ProcessRow, Range, Report};
use crate::aggregate::snapshot::{Direction, OrphanEnds, Owner, Severity};
use crate::diagnose::CheckRow;
use crate::format::{bytes, count, day, duration, percent, percent_of};
use crate::time::Wall;

/// A mark and a word, so that nobody needs a colour.
pub(super) const fn glyph(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "✔",
        Severity::Note => "●",
        Severity::Warn => "▲",
        Severity::Crit => "✖",
    }
}

/// A limit; `?` where it was not to be seen.
pub(super) fn known(limit: Option<u64>) -> String {
    limit.map_or_else(|| "?".to_owned(), count)
}

/// `118,204 orphans of 131,072 (90%)`; without the limit where it was not to be seen.
pub(super) fn orphans_of(now: u64, limit: Option<u64>) -> String {
    let of = limit.map(|limit| format!(" of {} ({})", count(limit), percent(now, limit)));
    format!("{} orphans{}", count(now), of.unwrap_or_default())
}

/// `:9981`; `→ :5432` where we connect.
pub(super) fn service(port: u16, direction: Direction) -> String {
    match (port, direction) {
        (0, _) => "others".to_owned(),
        (_, Direction::In) => format!(":{port}"),
        (_, Direction::Out) => format!("→ :{port}"),
    }
}

/// `httpdns[4121]`.
pub(super) fn owner(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "unknown".to_owned(), |owner| format!("{}[{}]", owner.comm, owner.pid))
}

/// `2026-11-22 22:13:09 +00:00`.
pub(super) fn moment(at: Wall, zone: &TimeZone) -> String {
    format!("{} {} {}", day(at, zone), at.clock(zone), at.offset(zone))
}

/// `+02:00`, the offset of the report's times; where the clock is set within its range, also what
/// follows, and from when on.
pub(super) fn offsets(range: &Range, zone: &TimeZone) -> String {
    let mut text = range.from.offset(zone);
    let from = Timestamp::from_nanosecond(i128::from(range.from.0)).unwrap_or_default();
    let changes = zone
        .following(from)
        .map(|change| Wall(i64::try_from(change.timestamp().as_nanosecond()).unwrap_or(i64::MAX)));
    let mut before = text.clone();
    // More than a few would be a trace of years.
    for change in changes.take_while(|change| *change <= range.to).take(4) {
        let after = change.offset(zone);
        if after != before {
            let (day, clock) = (day(change, zone), change.clock(zone));
            text.push_str(&format!(", and {after} from {day} {clock} on"));
            before = after;
        }
    }
    text
}

/// The reasons in the order in which they worry, with what they mean.
pub(super) fn ends(ends: &OrphanEnds) -> [(&'static str, &'static str, u64); 6] {
    [
        ("killed", "the kernel killed it: too many orphans, or no memory", ends.killed),
        ("timed out", "the peer never answered: retries used up", ends.timed_out),
        ("peer reset", "the peer sent a RST", ends.peer_reset),
        ("acknowledged", "the peer acknowledged our FIN and had closed too", ends.acked),
        ("TIME-WAIT", "the usual way: a minisocket took its place", ends.time_wait),
        ("other", "none of these, or its end was not seen in full", ends.other),
    ]
}

/// The host's name.
pub(super) fn host(report: &Report) -> &str {
    match report.environment.host.name.as_str() {
        "" => "an unknown host",
        name => name,
    }
}

/// The title of the page.
pub(super) fn title(report: &Report, zone: &TimeZone) -> String {
    format!("sockflow report: {}, {}", host(report), moment(report.range.from, zone))
}

/// What the rows compare: the words over the three columns.
pub(super) const fn phases(report: &Report) -> [&'static str; 3] {
    if report.phases.incident { ["before", "worst", "after"] } else { ["start", "most", "end"] }
}

/// Points merged into at most so many, extremes kept.
pub(super) fn merged(points: &[Point], most: usize) -> Vec<Point> {
    let each = points.len().div_ceil(most.max(1)).max(1);
    points
        .chunks(each)
        .filter_map(|chunk| {
            let mut all = *chunk.first()?;
            for point in &chunk[1..] {
                super::collect::series::merge(&mut all, point);
            }
            Some(all)
        })
        .collect()
}

/// `≤ 30 ms`, `> 100 s`: the rows of the map of times.
pub(super) fn row(up_to_ms: &[f64], row: usize) -> String {
    match (up_to_ms.get(row), up_to_ms.last()) {
        (Some(ms), _) => format!("≤ {}", span(*ms)),
        (None, Some(ms)) => format!("> {}", span(*ms)),
        (None, None) => "any".to_owned(),
    }
}

fn span(ms: f64) -> String {
    if ms >= 1000.0 {
        format!("{:.0} s", ms / 1000.0)
    } else if ms >= 1.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.0} µs", ms * 1000.0)
    }
}

/// What is said of redaction.
pub(super) const REDACTED: &str = "Redacted: addresses and the host's name are replaced by words made with a random \
     key; the command line, cgroups and the trace's name are left out.";

/// What is said where a trace does not tell how long accept queues were.
pub(super) const NO_QUEUES: &str =
    "This trace does not tell how long accept queues were, only what they dropped.";

/// The numbers of the impact: what, and how many. Those that are 0 and no surprise are left out.
pub(super) fn impact(report: &Report) -> Vec<(String, String)> {
    let impact = &report.impact;
    let worst = &impact.worst;
    let mut told = vec![
        ("orphans killed by the kernel".to_owned(), count(impact.killed)),
        (
            format!(
                "handshakes dropped, {} of them at full accept queues",
                count(impact.listen_overflows)
            ),
            count(impact.listen_drops),
        ),
        (
            format!(
                "orphans at the worst, {} of the limit",
                percent_of(worst.orphans, worst.limit)
            ),
            format!("{} of {}", count(worst.orphans), known(worst.limit)),
        ),
        ("under TCP memory pressure".to_owned(), duration(impact.pressure_s)),
        ("connections opened".to_owned(), count(impact.opened)),
    ];
    if worst.orphan_bytes > 0 {
        let held = format!("of memory held by {} orphans", count(worst.orphans));
        told.push((held, bytes(worst.orphan_bytes)));
    }
    if impact.timed_out > 0 {
        let what = "connections given up because the peer never answered";
        told.push((what.to_owned(), count(impact.timed_out)));
    }
    if impact.time_wait_overflows > 0 {
        let what = "closed without TIME-WAIT: its table was full";
        told.push((what.to_owned(), count(impact.time_wait_overflows)));
    }
    let affected = report.ports.iter().filter(|row| row.killed > 0 || row.orphans.during > 0);
    let affected: Vec<String> =
        affected.map(|row| service(row.port, row.direction)).take(5).collect();
    if !affected.is_empty() {
        told.push((
            "had orphans at the worst moment, or killed ones".to_owned(),
            affected.join(" "),
        ));
    }
    told
}

/// The end of an episode.
pub(super) fn until(episode: &Episode, zone: &TimeZone) -> String {
    if episode.open { "the end".to_owned() } else { episode.to.clock(zone) }
}

/// Which moments the tables compare.
pub(super) fn phases_told(report: &Report, zone: &TimeZone) -> String {
    let [before, worst, after] = phases(report);
    let it = &report.phases;
    let moments = format!(
        "{before}: {}; {worst}: {}; {after}: {}.",
        it.before.clock(zone),
        it.worst.clock(zone),
        it.after.clock(zone)
    );
    let rates = if it.incident {
        format!(
            "Rates are means of the time before, of the time it lasted (to {}) and of the time since.",
            it.over.clock(zone)
        )
    } else {
        "Rates are means of the time up to each of these moments.".to_owned()
    };
    format!("{moments} {rates}")
}

/// `sockflow[15763]`.
pub(super) fn process(row: &ProcessRow) -> String {
    match (row.pid, &row.comm) {
        (Some(pid), Some(comm)) => format!("{comm}[{pid}]"),
        (Some(pid), None) => format!("[{pid}]"),
        (None, _) => "unknown".to_owned(),
    }
}

/// What the kernel counted of resets sent and did not report.
pub(super) fn resets_unseen(unseen: u64) -> String {
    format!(
        "{} resets more than those told here were sent, in answer to segments that belong to no full \
         socket (TcpOutRsts).",
        count(unseen)
    )
}

/// Where the numbers about peers come from.
pub(super) fn peers_told(report: &Report) -> String {
    let peers = &report.peers;
    let mut text =
        "Orphans by peer are sampled, of each port the ten largest networks (/24, /64); how they \
         ended is from single events."
            .to_owned();
    if peers.uncounted > 0 {
        text.push_str(&format!(
            " {} ends are of networks beyond the first 8,192 and not told apart.",
            count(peers.uncounted)
        ));
    }
    if report.trust.lost.detail > 0 {
        text.push_str(&format!(
            " {} single events were lost in this time: the numbers of ends are too small.",
            count(report.trust.lost.detail)
        ));
    }
    text
}

/// `255 of 256 sockets`.
pub(super) fn now_of_limit(check: &CheckRow) -> String {
    match (check.now, check.limit) {
        (Some(now), Some(limit)) => format!("{} of {} {}", count(now), count(limit), check.unit),
        (Some(now), None) => format!("{} {}", count(now), check.unit),
        _ => "-".to_owned(),
    }
}

/// What a check advises beside settings: what it is, and the words.
pub(super) fn advice(check: &CheckRow) -> Vec<(&'static str, &str)> {
    [
        ("do", check.action.as_str()),
        ("gain", &check.gain),
        ("risk", &check.risk),
        ("undo", &check.undo),
        ("evidence", &check.evidence),
    ]
    .into_iter()
    .filter(|(_, said)| !said.is_empty())
    .collect()
}

/// The numbers of the section on trust.
pub(super) fn trust(report: &Report, zone: &TimeZone) -> Vec<(&'static str, String)> {
    let trust = &report.trust;
    let lost = &trust.lost;
    let mut told = vec![
        ("single events lost", count(lost.detail)),
        ("sockets not tracked", count(lost.untracked)),
        ("runs of the programs skipped", count(lost.missed)),
        ("sockets without a row of their own", count(lost.ungrouped)),
        (
            "orphans counted here minus the kernel's, at most",
            match trust.largest_drift {
                0 => "0".to_owned(),
                drift => format!("{drift:+} (at {})", trust.largest_drift_time.clock(zone)),
            },
        ),
        ("the same at the end", trust.last_drift.to_string()),
        ("the trace ends", report.trace.ended.clone()),
        ("single events in the trace", count(report.trace.events)),
    ];
    if trust.own_rss_bytes > 0 {
        told.push((
            "what recording cost, at most",
            format!(
                "{:.1}% of a CPU, {} of memory",
                trust.own_cpu_percent,
                bytes(trust.own_rss_bytes)
            ),
        ));
    }
    told
}

/// The lines of the section on the environment.
pub(super) fn environment(report: &Report) -> Vec<(&'static str, String)> {
    let it = &report.environment;
    let or =
        |text: &str, else_: &str| if text.is_empty() { else_.to_owned() } else { text.to_owned() };
    let mut told = vec![
        ("host", or(&it.host.name, "unknown")),
        ("kernel", or(&it.host.kernel, "unknown")),
        ("boot", or(&it.host.boot_id, "unknown")),
        ("CPUs", count(u64::from(it.cpus))),
        ("page", bytes(it.page_bytes)),
        ("recorded by", format!("sockflow {}", or(&it.recorded_by, "of an unknown version"))),
        ("reported by", format!("sockflow {}", it.reported_by)),
        ("trace format", report.trace.format.clone()),
        (
            "samples",
            format!(
                "every {}, {} in this report",
                duration(it.interval_s),
                count(report.range.moments as u64)
            ),
        ),
        ("single events", or(&it.detail, "unknown")),
        ("filter", or(&it.filter, "none")),
    ];
    if !it.command.is_empty() {
        told.push(("command", it.command.join(" ")));
    }
    told
}
