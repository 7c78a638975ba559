//! Screen 1: is the host about to die, of which limit, and whose fault is it?

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use super::chart::Chart;
use super::paint::{
    boxed, fact, put, put_all, put_right, rule, span, split_bottom, split_left, split_top,
};
use super::ports::{Frame, ports_table, processes_table};
use super::{Class, Target, events, funnel, gauges, ports, recent};
use crate::format;
use crate::sanitize::width;
use crate::tui::model::{Focus, Model};

pub(crate) fn draw(model: &Model, class: Class, area: Rect, buf: &mut Buffer) {
    if model.shown().is_none() {
        let text = "waiting for the first snapshot";
        let (_, left) = split_left(area, area.width.saturating_sub(30) / 2);
        let line = Line::from(span(text, model.looks.theme.dim));
        put(buf, left, area.height / 2, &line);
        return;
    }
    let layout = Layout::of(model, class, area);
    match class {
        Class::Verdict => {}
        Class::Numbers => numbers(model, &layout, buf),
        Class::Compact => compact(model, &layout, buf),
        Class::Columns | Class::Wide => columns(model, class, &layout, buf),
    }
}

/// Where things go. What finds no room has no height.
pub(crate) struct Layout {
    frame: Frame,
    chart: Rect,
    states: Rect,
    limits: Rect,
    ports: Rect,
    processes: Rect,
    news: Rect,
    counted: Rect,
}

impl Layout {
    pub(crate) fn of(model: &Model, class: Class, area: Rect) -> Self {
        match class {
            Class::Verdict => Self::nothing(area),
            Class::Numbers => Self::numbers(model, area),
            Class::Compact => Self::compact(model, area),
            Class::Columns | Class::Wide => Self::columns(model, class == Class::Wide, area),
        }
    }

    const fn nothing(area: Rect) -> Self {
        let none = Rect { height: 0, ..area };
        Self {
            frame: Frame::Rule,
            chart: none,
            states: none,
            limits: none,
            ports: none,
            processes: none,
            news: none,
            counted: none,
        }
    }

    /// Bars, states, and rows for what is left.
    fn numbers(model: &Model, area: Rect) -> Self {
        let (limits, rest) = split_top(area, 2);
        let lines = funnel::list(model, usize::from(area.width)).len();
        let (states, rest) = split_top(rest, u16::try_from(lines).unwrap_or(u16::MAX));
        let mut layout = Self { states, limits, ..Self::nothing(area) };
        if rest.height >= 3 {
            let (table, news) = split_bottom(rest, if rest.height >= 9 { 3 } else { 0 });
            layout.news = news;
            *layout.focused(model) = table;
        }
        layout
    }

    /// One below the other; the tables take turns (Tab).
    fn compact(model: &Model, area: Rect) -> Self {
        // Of the height beyond 24 lines the chart gets a third, the table the rest.
        let extra = area.height.saturating_sub(21);
        let (chart, rest) = split_top(area, 7 + extra / 3);
        let (states, rest) = split_top(rest, 3);
        let (limits, rest) = split_top(rest, 2);
        let (table, news) = split_bottom(rest, 3 + extra / 5);
        let mut layout = Self { chart, states, limits, news, ..Self::nothing(area) };
        *layout.focused(model) = table;
        layout
    }

    /// Two columns of boxes.
    fn columns(model: &Model, wide: bool, area: Rect) -> Self {
        let upper = match (wide, area.height) {
            (true, height) => height / 2,
            // As high as the states need to be complete.
            (false, 36..) => (area.height * 2 / 5).clamp(16, 24),
            (false, height) => (height * 2 / 5).max(12),
        };
        let (upper, rest) = split_top(area, upper);
        let right_width = if wide { 64 } else { 46 };
        let (chart, states) = split_left(upper, upper.width.saturating_sub(right_width));
        let (limits, rest) = split_top(rest, 5);
        // The tables share what is left: ports first, they are the question.
        let rows = u16::try_from(model.port_count()).unwrap_or(u16::MAX);
        let wanted = rows.saturating_add(3).clamp(6, (rest.height * 3 / 5).max(6));
        let (ports, lower) = split_top(rest, wanted);
        let (processes, right) = split_left(lower, if wide { 90 } else { lower.width / 2 });
        let (news, counted) = if wide {
            split_left(right, right.width.saturating_sub(42))
        } else {
            (right, Rect { width: 0, ..right })
        };
        Self { frame: Frame::Box, chart, states, limits, ports, processes, news, counted }
    }

    /// The place of the table that has the focus, where there is room for one.
    const fn focused(&mut self, model: &Model) -> &mut Rect {
        match model.focus {
            Focus::Ports => &mut self.ports,
            Focus::Processes => &mut self.processes,
        }
    }

    /// The row at the top of each table.
    pub(crate) fn first_rows(&self, model: &Model) -> (usize, usize) {
        let ports = ports::with_ports(model, |table| table.first(self.frame, self.ports));
        let processes =
            ports::with_processes(model, |table| table.first(self.frame, self.processes));
        (ports, processes)
    }

    /// What lies at a place.
    pub(crate) fn target(&self, model: &Model, at: Position) -> Option<Target> {
        if self.ports.contains(at) {
            return ports::with_ports(model, |table| {
                table.target(model, Focus::Ports, self.frame, self.ports, at)
            });
        }
        if self.processes.contains(at) {
            return ports::with_processes(model, |table| {
                table.target(model, Focus::Processes, self.frame, self.processes, at)
            });
        }
        if self.chart.contains(at) {
            let inner = ports::inside(self.frame, self.chart);
            let chart = Chart::of_host(model.shown()?, model.zoom_s());
            return chart.seconds_at(inner, at).map(Target::Seek);
        }
        None
    }
}

/// Bars, states, and rows for what is left.
fn numbers(model: &Model, layout: &Layout, buf: &mut Buffer) {
    gauges::draw(model, layout.limits, buf);
    put_all(buf, layout.states, &funnel::list(model, usize::from(layout.states.width)));
    tables(model, layout, buf);
    news_below(model, layout.news, buf);
}

/// One below the other.
fn compact(model: &Model, layout: &Layout, buf: &mut Buffer) {
    chart(model, Frame::Rule, layout.chart, buf);
    funnel::compact(model, layout.states, buf);
    gauges::draw(model, layout.limits, buf);
    tables(model, layout, buf);
    news_below(model, layout.news, buf);
}

fn tables(model: &Model, layout: &Layout, buf: &mut Buffer) {
    if layout.ports.height > 0 {
        ports_table(model, layout.frame, layout.ports, buf);
    }
    if layout.processes.height > 0 {
        processes_table(model, layout.frame, layout.processes, buf);
    }
}

fn news_below(model: &Model, area: Rect, buf: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (title, news) = split_top(area, 1);
    put(buf, title, 0, &rule(&model.looks, news_title(model), usize::from(area.width), false));
    draw_news(model, news, buf);
}

/// What lies before the moment: events where there are some, for the ruler has the anomalies.
fn news_title(model: &Model) -> &'static str {
    if shows_events(model) { events::TITLE } else { "recent" }
}

fn draw_news(model: &Model, area: Rect, buf: &mut Buffer) {
    if shows_events(model) {
        let lines = events::lines(model, usize::from(area.width), usize::from(area.height));
        put_all(buf, area, &lines);
    } else {
        recent::draw(model, area, buf);
    }
}

fn shows_events(model: &Model) -> bool {
    !model.is_now() && model.frame.as_ref().is_some_and(|frame| !frame.view.events.is_empty())
}

/// Two columns of boxes.
fn columns(model: &Model, class: Class, layout: &Layout, buf: &mut Buffer) {
    let looks = &model.looks;
    let wide = class == Class::Wide;
    chart(model, Frame::Box, layout.chart, buf);
    let inner = boxed(buf, looks, layout.states, "states", "now, change a second", false);
    funnel::tall(model, inner, buf);
    let limits = format!("limits of {}", model.host());
    let inner = boxed(buf, looks, layout.limits, &limits, "", false);
    gauges::draw(model, inner, buf);
    tables(model, layout, buf);
    let inner = boxed(buf, looks, layout.news, news_title(model), "", false);
    draw_news(model, inner, buf);
    if wide && shows_events(model) {
        let inner = boxed(buf, looks, layout.counted, "recent", "", false);
        recent::draw(model, inner, buf);
    } else if wide {
        counters(model, layout.counted, buf);
    }
}

fn chart(model: &Model, frame: Frame, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return;
    };
    let chart = Chart::of_host(snapshot, model.zoom_s()).ending(model);
    let title = chart.title(&format!("orphans of {}", model.host()));
    let room = usize::from(area.width).saturating_sub(width(&title) + 10);
    let legend = chart.legend(looks, &snapshot.filter, room);
    let inner = match frame {
        Frame::Box => boxed(buf, looks, area, &title, &legend, false),
        Frame::Rule => {
            let (top, rest) = split_top(area, 1);
            put(buf, top, 0, &rule(looks, &title, usize::from(area.width), false));
            if !legend.is_empty() {
                let legend = Line::from(span(format!(" {legend} "), looks.theme.dim));
                put_right(buf, top, 0, &legend);
            }
            rest
        }
    };
    chart.draw(looks, inner, buf);
}

/// The kernel's own counters since tracing began.
fn counters(model: &Model, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let inner = boxed(buf, looks, area, "kernel counters", "since start", false);
    let Some(snapshot) = model.shown() else {
        return;
    };
    let room = usize::from(inner.width).saturating_sub(2);
    let lines: Vec<Line<'_>> = snapshot
        .counters
        .iter()
        .map(|(name, number)| {
            let style = if *number > 0 { looks.theme.strong } else { looks.theme.dim };
            fact(looks, &format!(" {name}"), &format::count(*number), style, room + 1)
        })
        .collect();
    put_all(buf, inner, &lines);
}
