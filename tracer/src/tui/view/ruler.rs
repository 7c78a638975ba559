//! The whole tape on one line: its anomalies, the moment on screen, A and B; below it what the
//! letters mean.
//!
//! Severity is in the letters and in the line itself, never in the colour alone.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::paint::{put, put_right, span, split_left};
use super::{Class, Target};
use crate::aggregate::snapshot::{Anomaly, Severity};
use crate::format;
use crate::playback::{Frame, Timeline};
use crate::sanitize::width;
use crate::time::{Wall, clocks};
use crate::tui::model::{Looks, Model};

/// Below this width the ends have no times.
const WITH_TIMES: u16 = 56;
/// A hole is where moments are this many times as far apart as they usually are.
const HOLE: i64 = 4;
/// Something is missing: damage, or a piece that was dropped.
const GAP: &str = "?";

/// How many of the `rows` left it takes. The present of a running host needs none.
pub(crate) fn rows(model: &Model, class: Class, rows: u16) -> u16 {
    if model.is_now() {
        return 0;
    }
    // A page of three lines is hard enough to read.
    let is_open = model.overlay.is_some() || model.page().is_some();
    match class {
        Class::Verdict => 0,
        Class::Numbers if is_open && rows < 7 => 0,
        Class::Numbers => 1,
        Class::Compact | Class::Columns | Class::Wide => 2,
    }
}

pub(crate) fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    let Some(frame) = &model.frame else { return };
    if area.height == 0 {
        return;
    }
    let looks = &model.looks;
    let timeline = &frame.timeline;
    let Some((left, right, scale)) = scale(looks, timeline, area) else { return };
    let (cap, stop, grows) = looks.symbols.track_ends();
    let mut spans = vec![span(left, looks.theme.dim), span(cap, looks.theme.border)];
    spans.extend(scale.cells(model, frame).into_iter().map(|(glyph, style)| span(glyph, style)));
    spans.push(span(if timeline.growing { grows } else { stop }, looks.theme.border));
    spans.push(span(right, looks.theme.dim));
    put(buf, area, 0, &Line::from(spans));
    if area.height > 1 {
        legend(model, frame, area, buf);
    }
}

/// What stands left and right of the line, and the line between.
fn scale(looks: &Looks, timeline: &Timeline, area: Rect) -> Option<(String, String, Scale)> {
    let (first, last) = (*timeline.moments.first()?, *timeline.moments.last()?);
    let (left, right) = if area.width >= WITH_TIMES {
        (format!(" {} ", end(looks, first, last)), format!(" {} ", end(looks, last, first)))
    } else {
        (String::new(), String::new())
    };
    let around = width(&left) + width(&right) + 2;
    let cells = usize::from(area.width).saturating_sub(around);
    Some((left, right, Scale { first, last, cells }))
}

/// What lies at a place of the ruler: an anomaly's letter or its entry below, or a time.
pub(crate) fn target(model: &Model, area: Rect, at: Position) -> Option<Target> {
    let frame = model.frame.as_ref()?;
    let looks = &model.looks;
    let column = usize::from(at.x - area.x);
    if at.y > area.y {
        let room = usize::from(area.width).saturating_sub(width(&read_note(&frame.timeline)) + 1);
        let mut end = 0;
        let mut mark = None;
        for (number, text) in entries(looks, frame, room) {
            mark = number.or(mark.filter(|_| text.content != looks.symbols.ellipsis()));
            end += width(&text.content);
            if column < end {
                return mark.map(|number| Target::Mark(number + 1));
            }
        }
        return None;
    }
    let (left, _, scale) = scale(looks, &frame.timeline, area)?;
    let cell = column.checked_sub(width(&left) + 1).filter(|cell| *cell < scale.cells)?;
    let marks = frame.timeline.marks.iter().enumerate();
    let here = marks.filter(|(_, mark)| scale.cell(mark.time) == cell);
    // The one whose letter is to be seen: the worst of the cell, the last of several alike.
    if let Some((number, _)) = here.max_by_key(|(_, mark)| (mark.severity, is_kill(mark))) {
        return Some(Target::Mark(number + 1));
    }
    let shown = frame.view.snapshot.time;
    let seconds = scale.time(cell).0.saturating_sub(shown.0) as f64 / 1e9;
    Some(Target::Seek(seconds))
}

/// The time of an end; with the day, if the other one is on another, and with the offset from UTC, if
/// the clock was set in between.
fn end(looks: &Looks, at: Wall, other: Wall) -> String {
    let day = format::day(at, &looks.zone);
    let [clock, _] = clocks([at, other], &looks.zone);
    if day == format::day(other, &looks.zone) { clock } else { format!("{day} {clock}") }
}

/// Where times are on the ruler.
struct Scale {
    first: Wall,
    last: Wall,
    cells: usize,
}

impl Scale {
    fn cell(&self, at: Wall) -> usize {
        let whole = self.last.0.saturating_sub(self.first.0).max(1) as f64;
        let part = at.0.saturating_sub(self.first.0) as f64 / whole;
        // Saturates, and what is outside is at the end.
        let cell = (part * self.cells.saturating_sub(1) as f64).round() as usize;
        cell.min(self.cells.saturating_sub(1))
    }

    /// The time in the middle of a cell.
    fn time(&self, cell: usize) -> Wall {
        let whole = self.last.0.saturating_sub(self.first.0) as f64;
        let part = cell as f64 / self.cells.saturating_sub(1).max(1) as f64;
        Wall(self.first.0.saturating_add((whole * part).round() as i64))
    }

    /// The glyph of each cell: the line, over it the anomalies, A and B, and the moment itself.
    fn cells(&self, model: &Model, frame: &Frame) -> Vec<(String, Style)> {
        let looks = &model.looks;
        let symbols = looks.symbols;
        let mut cells: Vec<(String, Style)> = self
            .track(&frame.timeline)
            .into_iter()
            .map(|stretch| match stretch {
                Stretch::Hole => (String::from(" "), Style::new()),
                Stretch::Unread => (symbols.track_unread().to_owned(), looks.theme.dim),
                Stretch::Read(severity) => {
                    let style = match severity {
                        Severity::Ok | Severity::Note => looks.theme.border,
                        bad => looks.theme.severity(bad),
                    };
                    (symbols.track(severity).to_owned(), style)
                }
            })
            .collect();
        let mut put = |at: Wall, glyph: &str, style: Style| {
            if let Some(cell) = cells.get_mut(self.cell(at)) {
                *cell = (glyph.to_owned(), style);
            }
        };
        for gap in &frame.timeline.gaps {
            if let Some(at) = gap.after.or(gap.before) {
                put(at, GAP, looks.theme.lost);
            }
        }
        // The worst one of a cell is the one to see.
        let mut marks: Vec<&Anomaly> = frame.timeline.marks.iter().collect();
        marks.sort_by_key(|mark| (mark.severity, is_kill(mark)));
        for mark in marks {
            put(mark.time, letter(mark), looks.theme.severity(mark.severity));
        }
        for (mark, name) in model.marks.iter().zip(["A", "B"]) {
            if let Some(mark) = mark {
                put(mark.snapshot.time, name, looks.theme.key);
            }
        }
        put(frame.view.snapshot.time, symbols.here(), looks.theme.selected);
        cells
    }

    fn track(&self, timeline: &Timeline) -> Vec<Stretch> {
        let mut cells = vec![Stretch::Hole; self.cells];
        let longest = usual_gap(&timeline.moments).saturating_mul(HOLE);
        for (at, moment) in timeline.moments.iter().enumerate() {
            let here = timeline
                .points
                .get(at)
                .map_or(Stretch::Unread, |point| Stretch::Read(point.severity));
            let from = self.cell(*moment);
            let until = match timeline.moments.get(at + 1) {
                Some(next) if next.0.saturating_sub(moment.0) <= longest => self.cell(*next),
                _ => from + 1,
            };
            let until = until.max(from + 1).min(self.cells);
            for cell in cells.get_mut(from..until).into_iter().flatten() {
                *cell = (*cell).max(here);
            }
        }
        cells
    }
}

/// What a cell of the line stands for; the later of two that share a cell is the one to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stretch {
    Hole,
    Unread,
    Read(Severity),
}

/// How far moments usually are apart: the middle of a sample.
fn usual_gap(moments: &[Wall]) -> i64 {
    const SAMPLE: usize = 63;
    let every = (moments.len() / SAMPLE).max(1);
    let mut gaps: Vec<i64> =
        moments.windows(2).step_by(every).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(0)
}

fn is_kill(mark: &Anomaly) -> bool {
    mark.kind == "orphan-kill"
}

/// Its sign on the ruler.
fn letter(mark: &Anomaly) -> &'static str {
    match mark.severity {
        _ if is_kill(mark) => "X",
        Severity::Ok | Severity::Note => "n",
        Severity::Warn => "w",
        Severity::Crit => "C",
    }
}

/// `!2 C 16:40:55 tcp_mem`, as many as find room around the moment; at the right how much is read.
fn legend(model: &Model, frame: &Frame, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let note = read_note(&frame.timeline);
    let room = usize::from(area.width).saturating_sub(width(&note) + 1);
    let (line, _) = split_left(area, u16::try_from(room).unwrap_or(u16::MAX));
    let entries: Vec<Span<'_>> =
        entries(looks, frame, room).into_iter().map(|(_, text)| text).collect();
    put(buf, line, 1, &Line::from(entries));
    put_right(buf, area, 1, &Line::from(span(note, looks.theme.dim)));
}

/// How much is read, until all is.
fn read_note(timeline: &Timeline) -> String {
    if timeline.is_surveyed() {
        return String::new();
    }
    let read = timeline.points.len() as u64;
    let percent = format::percent(read, timeline.moments.len() as u64);
    format!("{percent} read ")
}

/// The texts of the line below the ruler; with the first of each anomaly's its index.
fn entries(looks: &Looks, frame: &Frame, room: usize) -> Vec<(Option<usize>, Span<'static>)> {
    let marks = &frame.timeline.marks;
    if marks.is_empty() {
        let so_far = if frame.timeline.is_surveyed() { "" } else { " so far" };
        return vec![(None, span(format!(" no anomaly{so_far}"), looks.theme.dim))];
    }
    let at = frame.view.snapshot.time;
    let reached = marks.partition_point(|mark| mark.time <= at);
    // The last that has happened, and what follows; then what came before.
    let current = reached.saturating_sub(1);
    let cost = |mark: usize| marks.get(mark).map_or(0, |it| width(&entry(looks, mark, it)) + 2);
    let ellipsis = width(looks.symbols.ellipsis()) + 2;
    let (mut from, mut until, mut used) = (current, current + 1, cost(current) + 2 * ellipsis);
    while until < marks.len() && used + cost(until) <= room {
        used += cost(until);
        until += 1;
    }
    while from > 0 && used + cost(from - 1) <= room {
        from -= 1;
        used += cost(from);
    }
    let mut spans = Vec::new();
    if from > 0 {
        spans.push((None, span(format!(" {}", looks.symbols.ellipsis()), looks.theme.dim)));
    }
    for (number, mark) in marks.iter().enumerate().take(until).skip(from) {
        let is_current = number == current && reached > 0;
        let style = if is_current { looks.theme.strong } else { looks.theme.dim };
        let text = entry(looks, number, mark);
        let (address, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let (sign, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        spans.push((Some(number), span(format!(" {address} "), style)));
        spans.push((None, span(sign.to_owned(), looks.theme.severity(mark.severity))));
        spans.push((None, span(format!(" {rest} "), style)));
    }
    if until < marks.len() {
        spans.push((None, span(looks.symbols.ellipsis(), looks.theme.dim)));
    }
    spans
}

/// `!2 C 16:40:55 tcp_mem`; what is typed to go there comes first.
fn entry(looks: &Looks, number: usize, mark: &Anomaly) -> String {
    let clock = mark.time.clock(&looks.zone);
    let kind = looks.symbols.cut(&looks.symbols.clean(mark.kind), 18);
    format!("!{} {} {clock} {kind}", number + 1, letter(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::Point;

    fn stretches(seconds: &[i64], read: usize, cells: usize) -> Vec<Stretch> {
        let moments: Vec<Wall> = seconds.iter().map(|at| Wall(at * 1_000_000_000)).collect();
        let point = |at: usize| Point {
            orphans: 0,
            severity: if at == 1 { Severity::Crit } else { Severity::Ok },
            ..Point::default()
        };
        let scale = Scale { first: moments[0], last: moments[moments.len() - 1], cells };
        let points = (0..read).map(point).collect();
        scale.track(&Timeline { moments, points, ..Timeline::default() })
    }

    #[test]
    fn ends_have_their_offsets_where_the_clock_was_set_in_between() {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let looks = Looks { zone, ..crate::tui::tests::looks() };
        // 2026-10-25, 01:00 UTC, and half an hour around it.
        let change = 1_792_890_000_000_000_000;
        let [before, after] = [Wall(change - 1), Wall(change + 1_800_000_000_000)];
        assert_eq!(end(&looks, before, after), "02:59:59 +02:00");
        assert_eq!(end(&looks, after, before), "02:30:00 +01:00");
        assert_eq!(end(&looks, after, Wall(change)), "02:30:00");
    }

    #[test]
    fn the_line_says_what_is_bad_unread_or_missing() {
        use Stretch::{Hole, Read, Unread};
        let (ok, crit) = (Read(Severity::Ok), Read(Severity::Crit));
        assert_eq!(stretches(&[0, 1, 2, 3], 2, 4), [ok, crit, Unread, Unread]);
        assert_eq!(
            stretches(&[0, 1, 2, 9], 4, 10)[2..],
            [ok, Hole, Hole, Hole, Hole, Hole, Hole, ok]
        );
        assert_eq!(stretches(&[0, 1, 2, 3], 4, 2), [crit, ok], "the worst of a cell");
        assert_eq!(stretches(&[0, 5, 10], 3, 7), [ok, ok, ok, crit, crit, crit, ok]);
        assert_eq!(stretches(&[5], 1, 3), [ok, Hole, Hole]);
        assert_eq!(stretches(&[0, 1], 1, 0), []);
    }
}
