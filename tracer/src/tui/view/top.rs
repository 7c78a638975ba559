//! Screen 1: is the host about to die, of which limit, and whose fault is it?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::chart::Chart;
use super::paint::{
    boxed, fact, put, put_all, put_right, rule, span, split_bottom, split_left, split_top,
};
use super::ports::{Frame, focused, ports_table, processes_table};
use super::{Class, events, funnel, gauges, recent};
use crate::format;
use crate::sanitize::width;
use crate::tui::model::Model;

pub(crate) fn draw(model: &Model, class: Class, area: Rect, buf: &mut Buffer) {
    if model.shown().is_none() {
        let text = "waiting for the first snapshot";
        let (_, left) = split_left(area, area.width.saturating_sub(30) / 2);
        let line = Line::from(span(text, model.looks.theme.dim));
        put(buf, left, area.height / 2, &line);
        return;
    }
    match class {
        Class::Verdict => {}
        Class::Numbers => numbers(model, area, buf),
        Class::Compact => compact(model, area, buf),
        Class::Columns | Class::Wide => columns(model, class, area, buf),
    }
}

/// Bars, states, and rows for what is left.
fn numbers(model: &Model, area: Rect, buf: &mut Buffer) {
    let (bars, rest) = split_top(area, 2);
    gauges::draw(model, bars, buf);
    let states = funnel::list(model, usize::from(area.width));
    let rows = u16::try_from(states.len()).unwrap_or(u16::MAX);
    let (list, rest) = split_top(rest, rows);
    put_all(buf, list, &states);
    if rest.height >= 3 {
        let (tables, news) = split_bottom(rest, if rest.height >= 9 { 3 } else { 0 });
        focused(model, tables, buf);
        news_below(model, news, buf);
    }
}

/// One below the other; the tables take turns (Tab).
fn compact(model: &Model, area: Rect, buf: &mut Buffer) {
    // Of the height beyond 24 lines the chart gets a third, the table the rest.
    let extra = area.height.saturating_sub(21);
    let (plot, rest) = split_top(area, 7 + extra / 3);
    chart(model, Frame::Rule, plot, buf);
    let (states, rest) = split_top(rest, 3);
    funnel::compact(model, states, buf);
    let (bars, rest) = split_top(rest, 2);
    gauges::draw(model, bars, buf);
    let (table, news) = split_bottom(rest, 3 + extra / 5);
    focused(model, table, buf);
    news_below(model, news, buf);
}

fn news_below(model: &Model, area: Rect, buf: &mut Buffer) {
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
fn columns(model: &Model, class: Class, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let wide = class == Class::Wide;
    let upper = match (wide, area.height) {
        (true, height) => height / 2,
        // As high as the states need to be complete.
        (false, 36..) => (area.height * 2 / 5).clamp(16, 24),
        (false, height) => (height * 2 / 5).max(12),
    };
    let (upper, rest) = split_top(area, upper);
    let right_width = if wide { 64 } else { 46 };
    let (left, right) = split_left(upper, upper.width - right_width);
    chart(model, Frame::Box, left, buf);
    let inner = boxed(buf, looks, right, "states", "now, change a second", false);
    funnel::tall(model, inner, buf);

    let (limits, rest) = split_top(rest, 5);
    let inner = boxed(buf, looks, limits, &format!("limits of {}", model.host()), "", false);
    gauges::draw(model, inner, buf);

    // The tables share what is left: ports first, they are the question.
    let rows = u16::try_from(model.port_count()).unwrap_or(u16::MAX);
    let wanted = rows.saturating_add(3).clamp(6, (rest.height * 3 / 5).max(6));
    let (middle, lower) = split_top(rest, wanted);
    ports_table(model, Frame::Box, middle, buf);
    let (left, right) = split_left(lower, if wide { 90 } else { lower.width / 2 });
    processes_table(model, Frame::Box, left, buf);
    let (news, counted) = if wide {
        split_left(right, right.width - 42)
    } else {
        (right, Rect { width: 0, ..right })
    };
    let inner = boxed(buf, looks, news, news_title(model), "", false);
    draw_news(model, inner, buf);
    if wide && shows_events(model) {
        let inner = boxed(buf, looks, counted, "recent", "", false);
        recent::draw(model, inner, buf);
    } else if wide {
        counters(model, counted, buf);
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
