//! Screens as pictures, stories as lists of messages.

mod doctoring;
pub(crate) mod fixture;
mod pictures;
mod pointing;
mod property;
pub(crate) mod replay;
mod replaying;
mod stories;

use jiff::tz::{Offset, TimeZone};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::message::Message;
use super::model::{Looks, Model};
use super::symbols::Symbols;
use super::theme::Theme;
use super::{update, view};
use crate::aggregate::snapshot::Snapshot;
use crate::playback::Frame;

const SIZES: [(u16, u16); 5] = [(40, 8), (60, 15), (80, 24), (120, 40), (200, 50)];

/// UTF-8, in colour, eight hours east.
pub(crate) fn looks() -> Looks {
    Looks {
        theme: Theme::color(),
        symbols: Symbols::UTF8,
        zone: TimeZone::fixed(Offset::constant(8)),
    }
}

/// A model that shows `snapshot` on a terminal of this size.
fn model(snapshot: Snapshot, size: (u16, u16), symbols: Symbols) -> Model {
    model_of(replay::live(snapshot), size, symbols)
}

/// A model that shows `frame` on a terminal of this size.
fn model_of(frame: Frame, size: (u16, u16), symbols: Symbols) -> Model {
    let mut model = Model::new(looks());
    model.looks.symbols = symbols;
    tell(&mut model, [Message::Resized(size.0, size.1), Message::Arrived(frame)]);
    model
}

/// The newest snapshot of a live screen.
fn arrived(snapshot: Snapshot) -> Message {
    Message::Arrived(replay::live(snapshot))
}

fn tell(model: &mut Model, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        update::update(model, message);
    }
}

/// A frame on a screen of this size, for tests of those who make frames.
pub(crate) fn screen(frame: Frame, width: u16, height: u16) -> String {
    let mut model = model_of(frame, (width, height), Symbols::UTF8);
    model.looks.zone = TimeZone::UTC;
    picture(&model)
}

/// What is on screen, as cells.
fn buffer(model: &Model) -> Buffer {
    let area = Rect::new(0, 0, model.width, model.height);
    let mut buffer = Buffer::empty(area);
    view::draw(model, area, &mut buffer);
    buffer
}

/// What is on screen, as lines without the blanks at their ends.
fn picture(model: &Model) -> String {
    let buffer = buffer(model);
    let mut text = String::new();
    for y in 0..model.height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..model.width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                line.push_str(symbol);
                skip = crate::sanitize::width(symbol);
            }
            skip = skip.saturating_sub(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Nothing on screen is acted on by a terminal, whatever strangers chose as names.
fn assert_harmless(model: &Model) {
    let picture = picture(model);
    let acted_on = |it: char| it != '\n' && (it.is_control() || it == '\u{202e}');
    assert!(!picture.contains(acted_on), "{}x{}: {picture:?}", model.width, model.height);
}

/// One picture for each size and glyph set, by its name.
fn pictures_of(
    name: &str,
    begin: impl Fn((u16, u16), Symbols) -> Model,
    messages: &[Message],
) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    for size in SIZES {
        for (set, symbols) in [("utf8", Symbols::UTF8), ("ascii", Symbols::ASCII)] {
            let mut model = begin(size, symbols);
            tell(&mut model, messages.iter().cloned());
            let name = format!("{name}_{}x{}_{set}", size.0, size.1);
            let picture = picture(&model);
            if set == "ascii" {
                assert!(picture.is_ascii(), "{name}:\n{picture}");
            }
            pictures.push((name, picture));
        }
    }
    pictures
}

/// `cargo test -p tracer --lib -- --ignored --nocapture preview` shows the crisis live.
#[test]
#[ignore = "takes over the terminal"]
fn preview() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(async {
        let (sender, receiver) = tokio::sync::watch::channel(None);
        tokio::spawn(async move {
            for second in 0..43 {
                let next = replay::live(fixture::later(second));
                if sender.send(Some(next)).is_err() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        super::run(receiver, |_| (), super::Options::default()).await
    });
    println!("{exit:?}");
}
