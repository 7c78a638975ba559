//! Lines 1 and 2: who we are, whether to believe us, and the answer.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::paint::{put, span, wrap};
use crate::aggregate::snapshot::{Fidelity, Lost, Severity, Snapshot, SourceKind};
use crate::format;
use crate::playback::{Mode, Speed, Timeline};
use crate::sanitize::width;
use crate::tui::columns::{Cells, ports};
use crate::tui::model::{Looks, Model, Page};

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
        Self { long: long.into(), short: short.into(), style, keep }
    }
}

/// Line 1.
pub(crate) fn identity(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.looks.theme;
    let path = crumbs(model);
    // Where one has gone is worth more than the name of the tool, and so is a file.
    let (keep, short) = match path.as_slice() {
        [.., last] if path.len() > 1 => (8, last.clone()),
        _ if model.title.contains(' ') => {
            let symbols = model.looks.symbols;
            (6, symbols.cut(&symbols.clean(&model.title), 28))
        }
        _ => (3, String::from("sockflow")),
    };
    let long = path.join(model.looks.symbols.crumb());
    let mut segments = vec![Segment::new(keep, theme.strong, long, short)];
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
    let long = if cells >= 110 { format!("{host} ({kernel})") } else { host.clone().into_owned() };
    segments.push(Segment::new(5, theme.text, long, host));

    segments.push(clock(model, snapshot, cells));
    segments.push(mode(model, snapshot));
    if let Some(frame) = &model.frame {
        if frame.view.event_number > 0 {
            let address = format!("@{}", frame.view.event_number);
            segments.push(Segment::new(5, theme.text, format!("event {address}"), address));
        }
        if let Some(word) = gaps(&frame.timeline) {
            segments.push(Segment::new(9, theme.lost, word.clone(), word));
        }
    }

    let mut mark = "";
    if snapshot.is_sampled() {
        // In place of what was lost, and as hard to miss: all that happened between two looks.
        mark = symbols.fidelity(Fidelity::Sampled);
        segments.push(Segment::new(10, theme.lost, "SAMPLED, no BPF", "SAMPLED"));
    } else {
        let events = format::short(snapshot.own_cost.events_per_s);
        let (long, short) = (format!("{events} events/s"), format!("{events} ev/s"));
        segments.push(Segment::new(4, theme.text, long, short));
        segments.push(lost(model, &snapshot.lost));
    }
    if snapshot.orphans.drift != 0 {
        let drift = format!("drift {mark}{:+}", snapshot.orphans.drift);
        segments.push(Segment::new(8, theme.lost, drift.clone(), drift));
    }
    // What recording cost once is no news.
    if snapshot.source == SourceKind::Trace {
        return segments;
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

/// The time of the moment; of another day's with the day.
fn clock(model: &Model, snapshot: &Snapshot, cells: u16) -> Segment {
    let zone = &model.looks.zone;
    let clock = snapshot.time.clock(zone);
    let distinct = snapshot.time.distinct_clock(zone);
    let offset = snapshot.time.offset(zone);
    let long = match (snapshot.source, cells) {
        (SourceKind::Live, 110..) => format!("{clock} {offset}"),
        (SourceKind::Trace, 110..) => {
            let millis = snapshot.time.0.rem_euclid(1_000_000_000) / 1_000_000;
            format!("{} {clock}.{millis:03} {offset}", format::day(snapshot.time, zone))
        }
        _ => distinct.clone(),
    };
    Segment::new(7, model.looks.theme.text, long, distinct)
}

/// `LIVE 1s`, `PAUSED -12s`, `REPLAY x4`.
fn mode(model: &Model, snapshot: &Snapshot) -> Segment {
    let theme = &model.looks.theme;
    let Some(frame) = &model.frame else {
        return Segment::new(9, theme.live, "LIVE", "LIVE");
    };
    // How far the newest is away matters only while there is a newest.
    let behind = match frame.behind_s() {
        age if frame.timeline.growing && age > 0.0 => format!(" -{}", brief(age)),
        _ => String::new(),
    };
    match frame.mode {
        Mode::Live if snapshot.source == SourceKind::Live => {
            let every = brief(snapshot.interval_s);
            Segment::new(9, theme.live, format!("LIVE {every}"), "LIVE")
        }
        Mode::Live => Segment::new(9, theme.live, "LIVE", "LIVE"),
        Mode::Paused => {
            let speed = match frame.speed {
                speed if speed == Speed::default() => String::new(),
                speed => format!(" {speed}"),
            };
            let short = format!("PAUSED{behind}");
            Segment::new(9, theme.paused, format!(" PAUSED{behind}{speed} "), short)
        }
        Mode::Playing => {
            let short = format!("REPLAY {}", frame.speed);
            Segment::new(9, theme.paused, format!(" {short}{behind} "), short)
        }
    }
}

/// `2m10s`.
fn brief(seconds: f64) -> String {
    format::duration(seconds).replace(' ', "")
}

/// What of the trace is not whole: how many pieces.
fn gaps(timeline: &Timeline) -> Option<String> {
    match timeline.gaps.len() {
        0 => None,
        1 => Some(String::from("1 gap")),
        many => Some(format!("{many} gaps")),
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
fn crumbs(model: &Model) -> Vec<String> {
    let symbols = model.looks.symbols;
    let none = crate::aggregate::snapshot::FidelityTable::new();
    // Names here are places, not measurements: no marks.
    let cells = Cells { symbols, fidelity: &none };
    let mut path = vec![format!("sockflow {}", symbols.clean(&model.title))];
    for page in &model.pages {
        path.push(match page {
            Page::Port(key) if key.port == 0 => String::from("other"),
            Page::Port(key) => ports::place(key.port, key.direction, &cells),
            Page::Process(key) => process_name(model, key.pid, key.comm.as_deref()),
            Page::Events => String::from("events"),
            Page::Differences => String::from("A/B"),
            Page::Doctor => String::from("doctor"),
            Page::Finding(id) => (*id).to_owned(),
        });
    }
    path
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
    // Room that is left goes to the most important that can use it.
    let mut room = cells.saturating_sub(taken(&segments, long));
    let mut by_keep: Vec<usize> = (0..segments.len()).collect();
    by_keep.sort_by_key(|at| std::cmp::Reverse(segments[*at].keep));
    for at in by_keep {
        let segment = &mut segments[at];
        let spare = width(&segment.long).saturating_sub(width(&segment.short));
        if long || spare <= room {
            room = room.saturating_sub(spare);
            segment.short.clone_from(&segment.long);
        }
    }
    let mut spans = Vec::new();
    for segment in segments {
        if !spans.is_empty() {
            spans.push(span("  ", Style::new()));
        }
        spans.push(span(segment.short, segment.style));
    }
    Line::from(spans)
}

/// The verdict in as many of its words as fit: the time that is left is the last to go.
fn abridged(looks: &Looks, text: &str, cells: usize, rows: usize) -> String {
    let first = text.split_once(';').map_or(text, |(first, _)| first);
    let brief = first.replace(" reached in ", " in ");
    let bare = match (brief.find(" ("), brief.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &brief[..open], &brief[close + 1..])
        }
        _ => brief.clone(),
    };
    let fits = |text: &&str| wrap(looks, text, cells, usize::MAX).len() <= rows;
    let fitting = [text, first, brief.as_str()].into_iter().find(fits);
    fitting.unwrap_or(&bare).to_owned()
}

/// Line 2, or as many as it takes, up to `rows`.
pub(crate) fn verdict(model: &Model, cells: u16, rows: usize) -> Vec<Line<'static>> {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return vec![Line::from(span("waiting for the first snapshot", looks.theme.dim))];
    };
    let severity = snapshot.verdict.severity;
    let text = looks.symbols.clean(&snapshot.verdict.text);
    let style = match severity {
        Severity::Ok => looks.theme.text,
        _ => looks.theme.strong,
    };
    let badge_style = looks.theme.badge(severity);
    let badge = format!(" {} {} ", looks.symbols.severity(severity), severity.word());
    let indent = width(&badge) + 1;
    let cells = usize::from(cells);
    if cells < indent + 24 {
        // No room beside a badge: the word leads the sentence.
        let text = format!("{} {text}", severity.word());
        let lines = wrap(looks, &abridged(looks, &text, cells, rows), cells, rows);
        let line = |(at, text): (usize, String)| match text.split_once(' ') {
            Some((word, rest)) if at == 0 => {
                Line::from(vec![span(word, badge_style), span(format!(" {rest}"), style)])
            }
            _ => Line::from(span(text, if at == 0 { badge_style } else { style })),
        };
        return lines.into_iter().enumerate().map(line).collect();
    }
    let text = abridged(looks, &text, cells - indent, rows.max(1));
    let words = wrap(looks, &text, cells - indent, rows.max(1));
    let line = |(at, text): (usize, String)| {
        let before = if at == 0 {
            span(badge.clone(), badge_style)
        } else {
            span(" ".repeat(width(&badge)), style)
        };
        Line::from(vec![before, span(format!(" {text}"), style)])
    };
    if words.is_empty() {
        return vec![Line::from(span(badge, badge_style))];
    }
    words.into_iter().enumerate().map(line).collect()
}
