//! Use against limit, as bars: TCP memory, orphans, TIME-WAIT buckets.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::paint::{field, put, span};
use crate::aggregate::snapshot::{MemState, Snapshot, TcpMem};
use crate::format;
use crate::sanitize::width;
use crate::tui::columns::Cells;
use crate::tui::model::{Looks, Model};

/// One bar with words on both sides.
struct Gauge {
    name: &'static str,
    word: String,
    word_style: Style,
    /// Share of the bar that is full, 0 to 1.
    share: f64,
    /// Places on the bar that have a name, 0 to 1.
    ticks: Vec<(f64, char)>,
    /// What the bar says in numbers; the longest that fits.
    notes: Vec<String>,
}

/// As many bars as `area` has lines, the most urgent first.
pub(crate) fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    let Some(snapshot) = model.shown() else {
        return;
    };
    let looks = &model.looks;
    let gauges = [memory(snapshot, looks), orphans(snapshot, looks), buckets(snapshot, looks)];
    for (row, gauge) in (0..area.height).zip(&gauges) {
        put(buf, area, row, &gauge.line(looks, usize::from(area.width)));
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

fn memory(snapshot: &Snapshot, looks: &Looks) -> Gauge {
    let memory = &snapshot.tcp_mem;
    let cells = Cells { symbols: looks.symbols, fidelity: &snapshot.fidelity };
    let word = cells.mark(cells.trust("mem_pressure"), word(memory.state));
    let bytes = |pages: u64| format::bytes(pages.saturating_mul(memory.page_bytes));
    let percent = format::percent_of(memory.pages, memory.high);
    let now = bytes(memory.pages);
    let Some(high) = memory.high.map(bytes) else {
        return Gauge {
            name: "tcp_mem",
            word,
            word_style: looks.theme.memory(memory.state),
            share: 0.0,
            ticks: Vec::new(),
            notes: vec![format!("{now}, its limit cannot be seen from here"), now],
        };
    };
    let held = cells.orphan_text(&format::bytes(snapshot.orphans.bytes));
    let soon = memory.limit_in_s.map(format::duration);
    let soon = soon.map_or(String::new(), |soon| format!(", reached in {soon}"));
    Gauge {
        name: "tcp_mem",
        word,
        word_style: looks.theme.memory(memory.state),
        share: share(memory.pages, memory.high.unwrap_or(0)),
        ticks: ticks(memory),
        notes: vec![
            match holder(memory, looks) {
                Some(holder) => format!("{now} of {high} high ({percent}){soon}, {holder}"),
                None => format!("{now} of {high} high ({percent}){soon}, {held} in orphans"),
            },
            format!("{now} of {high} high ({percent}){soon}"),
            format!("{now} of {high} ({percent})"),
            percent,
        ],
    }
}

/// Who holds most of it, where that is much of a memory that is in use.
fn holder(memory: &TcpMem, looks: &Looks) -> Option<String> {
    let most = memory.held_by.as_ref()?.first()?;
    let used = memory.pages.saturating_mul(memory.page_bytes);
    let is_much =
        memory.pages.saturating_mul(10) >= memory.high.unwrap_or(0) && most.bytes >= used / 4;
    let who = most.owner.as_ref().map(|owner| format!(" {}", owner.comm)).unwrap_or_default();
    let who = looks.symbols.clean(&who);
    is_much.then(|| format!("{} at :{}{who}", format::bytes(most.bytes), most.port))
}

/// The state as the screen says it: loud where it matters.
pub(crate) const fn word(state: MemState) -> &'static str {
    match state {
        MemState::Ok => "ok",
        MemState::Rising => "rising",
        MemState::Pressure => "PRESSURE",
        MemState::Exhausted => "EXHAUSTED",
    }
}

/// `L` where pressure ends, `P` where it begins; the bar's end is high.
fn ticks(memory: &TcpMem) -> Vec<(f64, char)> {
    let TcpMem { low: Some(low), pressure: Some(pressure), high: Some(high @ 1..), .. } = *memory
    else {
        return Vec::new();
    };
    vec![(share(low, high), 'L'), (share(pressure, high), 'P')]
}

fn orphans(snapshot: &Snapshot, looks: &Looks) -> Gauge {
    let orphans = &snapshot.orphans;
    let percent = format::percent_of(orphans.host, orphans.limit);
    let most = orphans.limit.map_or_else(|| "?".to_owned(), format::count);
    let use_of = format!("{} of {most}", format::count(orphans.host));
    let killed = format!("{} killed", format::count(orphans.killed));
    let full = share(orphans.host, orphans.limit.unwrap_or(0));
    let word_style = if orphans.killed > 0 || full >= 0.95 {
        looks.theme.crit
    } else if full >= 0.8 {
        looks.theme.warn
    } else {
        looks.theme.bar_fill
    };
    Gauge {
        name: "orphans",
        word: percent,
        word_style,
        share: full,
        ticks: Vec::new(),
        notes: vec![
            format!("{use_of}, {}/s, {killed} so far", format::growth(orphans.growth_per_s)),
            format!("{use_of}, {killed}"),
            use_of,
            match orphans.limit {
                Some(limit) => format!("{} max", format::short(limit as f64)),
                None => "max ?".to_owned(),
            },
        ],
    }
}

fn buckets(snapshot: &Snapshot, looks: &Looks) -> Gauge {
    let buckets = &snapshot.tw_buckets;
    let full = super::funnel::is_full(snapshot);
    let use_of = format!("{} of {}", format::count(buckets.now), format::count(buckets.limit));
    let mark = looks.symbols.fidelity(crate::aggregate::snapshot::Fidelity::Sampled);
    let waiting = buckets.fin_wait2.map(format::count);
    let waiting = waiting.map_or(String::new(), |it| format!(", {mark}{it} in FIN-WAIT-2"));
    Gauge {
        name: "tw_buckets",
        word: if full { String::from("FULL") } else { format::percent(buckets.now, buckets.limit) },
        // Full buckets are seldom a harm: the kernel lets TIME-WAIT go early.
        word_style: if full { looks.theme.note } else { looks.theme.bar_fill },
        share: share(buckets.now, buckets.limit),
        ticks: Vec::new(),
        notes: vec![format!("{use_of}{waiting}"), use_of],
    }
}

impl Gauge {
    /// ` tcp_mem  PRESSURE [####L###P##...] 2.0G of 2.2G high (89%)`.
    fn line(&self, looks: &Looks, cells: usize) -> Line<'static> {
        let theme = &looks.theme;
        let name = format!(" {} ", field(looks, self.name, 10, true));
        // One more than EXHAUSTED: it can carry a mark.
        let word = format!("{} ", field(looks, &self.word, 10, false));
        let fixed = width(&name) + width(&word);
        let (open, close) = looks.symbols.bar_ends();
        // Between them the ends, the blank before the note, and one after it.
        let room = cells.saturating_sub(fixed + 4);
        let fits = |note: &&String| width(note) + 12 <= room;
        let note = self.notes.iter().find(fits).cloned().unwrap_or_default();
        // Notes of different length must not make bars of different length, so each gets as much
        // as the longest usual one at this width.
        let reserved = match cells {
            0..60 => width(&note),
            60..100 => width(&note).max(30),
            _ => width(&note).max(48),
        };
        let bar = room.saturating_sub(reserved.min(room.saturating_sub(8)));
        let filled = ((self.share * bar as f64).round() as usize).min(bar);
        let mut spans =
            vec![span(name, theme.dim), span(word, self.word_style), span(open, theme.border)];
        for at in 0..bar {
            let place = |share: f64| ((share * bar as f64) as usize).min(bar - 1);
            let tick = self.ticks.iter().find(|(share, _)| place(*share) == at);
            spans.push(match tick {
                Some((_, letter)) => span(letter.to_string(), theme.bar_tick),
                None if at < filled => span(looks.symbols.bar_full(), self.word_style),
                None => span(looks.symbols.bar_empty(), theme.bar_empty),
            });
        }
        spans.push(span(close, theme.border));
        spans.push(span(format!(" {note}"), theme.text));
        Line::from(spans)
    }
}
