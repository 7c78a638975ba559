//! The live screen without a terminal: what a benchmark draws on.

use std::sync::Arc;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::message::Message;
use super::model::{Looks, Model};
use super::symbols::Symbols;
use super::theme::Theme;
use super::{update, view};
use crate::aggregate::snapshot::Snapshot;
use crate::playback::{Frame, Mode, Point, Speed, Timeline, View};
use crate::time::ClockAnchor;

/// A screen in memory.
#[derive(Debug)]
pub struct Canvas {
    model: Model,
    area: Rect,
}

impl Canvas {
    /// Of this many cells.
    #[must_use]
    pub fn new(width: u16, height: u16) -> Self {
        let looks = Looks { theme: Theme::color(), symbols: Symbols::UTF8, zone: TimeZone::UTC };
        let mut model = Model::new(looks);
        update::update(&mut model, Message::Resized(width, height));
        Self { model, area: Rect::new(0, 0, width, height) }
    }

    /// Takes the snapshot as the newest and draws it; returns how many cells are not blank.
    pub fn draw(&mut self, snapshot: &Arc<Snapshot>) -> usize {
        let timeline = Timeline {
            moments: vec![snapshot.time],
            points: vec![Point::default()],
            marks: snapshot.anomalies.clone(),
            growing: true,
            gaps: Vec::new(),
        };
        let frame = Frame {
            view: View {
                snapshot: Arc::clone(snapshot),
                events: Arc::default(),
                event_number: 0,
                anchor: ClockAnchor::default(),
                doctor: None,
            },
            timeline: Arc::new(timeline),
            position: 0,
            mode: Mode::Live,
            speed: Speed::default(),
            first: Arc::clone(snapshot),
            refused: None,
            note: None,
        };
        update::update(&mut self.model, Message::Arrived(frame));
        let mut buffer = Buffer::empty(self.area);
        view::draw(&self.model, self.area, &mut buffer);
        buffer.content.iter().filter(|cell| cell.symbol() != " ").count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tests::fixture;

    #[test]
    fn it_is_the_screen() {
        let mut canvas = Canvas::new(200, 50);
        let crisis = canvas.draw(&Arc::new(fixture::crisis()));
        let calm = canvas.draw(&Arc::new(fixture::calm()));
        assert!(crisis > calm && calm > 500, "{crisis} {calm}");
    }
}
