//! Lines 1 and 2: who we are, whether to believe us, and the answer.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::paint::{put, span, wrap};
use crate::aggregate::snapshot::{Lost, Snapshot, SourceKind};
use crate::sanitize::width;
use crate::tui::columns::{Cells, ports};
use crate::tui::format;
use crate::tui::model::{Model, Page};

/// A part of line 1.
struct Segment {
    long: String,
    short: String,
    style: Style,
    /// The lowest give way first.
    keep: u8,
}

impl Segment {
    fn new(keep: u8, style: Style, long: impl Into<String>, short: impl Into<String>) -> Self {
        Self {
            long: long.into(),
            short: short.into(),
            style,
            keep,
        }
    }
}

/// Line 1.
pub(crate) fn identity(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.looks.theme;
    let mut segments = vec![Segment::new(3, theme.strong, crumbs(model), "sockflow")];
    if let Some(snapshot) = model.shown() {
        segments.extend(facts(model, snapshot, area.width));
    } else {
        segments.push(Segment::new(9, theme.dim, "no data yet", "no data yet"));
    }
    put(buf, area, 0, &fit(segments, usize::from(area.width)));
}

fn facts(model: &Model, snapshot: &Snapshot, cells: u16) -> Vec<Segment> {
    let theme = &model.looks.theme;
    let symbols = model.looks.symbols;
    let mut segments = Vec::new();
    if !snapshot.filter.is_empty() {
        let filter = symbols.clean(&snapshot.filter);
        segments.push(Segment::new(6, theme.strong, filter.clone(), filter));
    }
    let host = symbols.clean(&snapshot.host.name);
    let kernel = symbols.clean(&snapshot.host.kernel);
    let long = if cells >= 110 {
        format!("{host} ({kernel})")
    } else {
        host.clone().into_owned()
    };
    segments.push(Segment::new(5, theme.text, long, host));

    let clock = snapshot.time.clock(&model.looks.zone);
    let long = if cells >= 110 {
        format!(
            "{clock} {}",
            format::offset(snapshot.time, &model.looks.zone)
        )
    } else {
        clock.clone()
    };
    segments.push(Segment::new(7, theme.text, long, clock));
    segments.push(mode(model, snapshot));

    let events = format::short(snapshot.own_cost.events_per_s);
    segments.push(Segment::new(
        4,
        theme.text,
        format!("{events} events/s"),
        format!("{events} ev/s"),
    ));
    segments.push(lost(model, &snapshot.lost));
    if snapshot.orphans.drift != 0 {
        let drift = format!("drift {:+}", snapshot.orphans.drift);
        segments.push(Segment::new(8, theme.lost, drift.clone(), drift));
    }
    let cpu = snapshot.own_cost.cpu_percent;
    let long = if cells >= 160 {
        let rss = format::bytes(snapshot.own_cost.rss_bytes);
        format!("own cost {cpu:.1}% cpu, {rss}")
    } else {
        format!("cpu {cpu:.1}%")
    };
    segments.push(Segment::new(2, theme.dim, long, format!("cpu {cpu:.1}%")));
    segments
}

/// `LIVE 1s`, `TRACE`, or how old the frozen screen is.
fn mode(model: &Model, snapshot: &Snapshot) -> Segment {
    let theme = &model.looks.theme;
    if let Some(age) = model.paused_s() {
        let long = format!(" PAUSED {} ago ", format::duration(age));
        return Segment::new(9, theme.paused, long, "PAUSED");
    }
    match snapshot.source {
        SourceKind::Live => {
            let every = format::duration(snapshot.interval_s).replace(' ', "");
            Segment::new(9, theme.live, format!("LIVE {every}"), "LIVE")
        }
        SourceKind::Trace => Segment::new(9, theme.live, "TRACE", "TRACE"),
    }
}

/// Never left out: a number nobody can doubt is worth nothing.
fn lost(model: &Model, lost: &Lost) -> Segment {
    let theme = &model.looks.theme;
    let kinds: Vec<String> = kinds(lost)
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .map(|(kind, number)| format!("{kind} {}", format::count(number)))
        .collect();
    let total = total(lost);
    if total == 0 {
        return Segment::new(10, theme.dim, "lost 0", "lost 0");
    }
    let short = format!("lost {}", format::short(total as f64));
    let long = format!("lost {} ({})", format::count(total), kinds.join(", "));
    Segment::new(10, theme.lost, long, short)
}

/// The kinds of loss with their numbers.
pub(crate) const fn kinds(lost: &Lost) -> [(&'static str, u64); 4] {
    [
        ("detail", lost.detail),
        ("untracked", lost.untracked),
        ("missed", lost.missed),
        ("ungrouped", lost.ungrouped),
    ]
}

pub(crate) fn total(lost: &Lost) -> u64 {
    let add = |sum: u64, (_, number): (&str, u64)| sum.saturating_add(number);
    kinds(lost).into_iter().fold(0, add)
}

/// `sockflow top`, or the way from there to here.
fn crumbs(model: &Model) -> String {
    let symbols = model.looks.symbols;
    let none = crate::aggregate::snapshot::FidelityTable::new();
    // Names here are places, not measurements: no marks.
    let cells = Cells {
        symbols,
        fidelity: &none,
    };
    let mut path = vec![String::from("sockflow top")];
    for page in &model.pages {
        path.push(match page {
            Page::Port(key) if key.port == 0 => String::from("other"),
            Page::Port(key) => format!(":{}", ports::label(key.port, key.direction, &cells)),
            Page::Process(key) => process_name(model, key.pid, key.comm.as_deref()),
        });
    }
    path.join(symbols.crumb())
}

/// `httpdns[4121]`.
pub(crate) fn process_name(model: &Model, pid: Option<u32>, comm: Option<&str>) -> String {
    let comm = comm.map_or("unknown".into(), |comm| model.looks.symbols.clean(comm));
    pid.map_or_else(|| comm.to_string(), |pid| format!("{comm}[{pid}]"))
}

/// Long forms if they fit, else short ones, else without the least important.
fn fit(mut segments: Vec<Segment>, cells: usize) -> Line<'static> {
    const GAP: usize = 2;
    let taken = |segments: &[Segment], long: bool| -> usize {
        let text = |part: &Segment| width(if long { &part.long } else { &part.short }) + GAP;
        segments.iter().map(text).sum::<usize>().saturating_sub(GAP)
    };
    let mut long = true;
    // The name goes short last: where one has drilled to is worth more than the own cost.
    while taken(&segments, long) > cells && segments.len() > 1 {
        if long {
            long = false;
            continue;
        }
        let Some(weakest) = (0..segments.len()).min_by_key(|at| segments[*at].keep) else {
            break;
        };
        segments.remove(weakest);
    }
    let mut room = cells.saturating_sub(taken(&segments, long));
    let mut spans = Vec::new();
    for segment in segments {
        let spare = width(&segment.long).saturating_sub(width(&segment.short));
        // Room that is left goes to the first that can use it.
        let text = if long || spare <= room {
            room = room.saturating_sub(if long { 0 } else { spare });
            segment.long
        } else {
            segment.short
        };
        if !spans.is_empty() {
            spans.push(span("  ", Style::new()));
        }
        spans.push(span(text, segment.style));
    }
    Line::from(spans)
}

/// Line 2, or as many as it takes, up to `rows`.
pub(crate) fn verdict(model: &Model, cells: u16, rows: usize) -> Vec<Line<'static>> {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return vec![Line::from(span(
            "waiting for the first snapshot",
            looks.theme.dim,
        ))];
    };
    let severity = snapshot.verdict.severity;
    let badge = format!(" {} {} ", looks.symbols.severity(severity), severity.word());
    let text = looks.symbols.clean(&snapshot.verdict.text);
    let indent = width(&badge) + 1;
    let narrow = usize::from(cells) < indent + 24;
    // Where the badge would leave no room for words beside it they go below.
    let (first, rest) = if narrow { (0, 0) } else { (indent, indent) };
    let room = usize::from(cells).saturating_sub(rest);
    let style = match severity {
        crate::aggregate::snapshot::Severity::Ok => looks.theme.text,
        _ => looks.theme.strong,
    };
    let badge = span(badge, looks.theme.badge(severity));
    let mut lines = Vec::new();
    if narrow {
        // One line only: the words and the glyph, which say more than the badge.
        if rows < 2 {
            let text = format!("{} {text}", severity.word());
            return wrap(looks, &text, usize::from(cells), 1)
                .into_iter()
                .map(|text| Line::from(span(text, looks.theme.badge(severity))))
                .collect();
        }
        lines.push(Line::from(badge));
        let words = wrap(looks, &text, room, rows - 1);
        lines.extend(words.into_iter().map(|text| Line::from(span(text, style))));
        return lines;
    }
    let mut words = wrap(looks, &text, room, rows.max(1)).into_iter();
    let start = words.next().unwrap_or_default();
    lines.push(Line::from(vec![
        badge,
        span(" ".repeat(first.min(1)), Style::new()),
        span(start, style),
    ]));
    for text in words {
        lines.push(Line::from(vec![
            span(" ".repeat(rest), Style::new()),
            span(text, style),
        ]));
    }
    lines
}
