//! The screen.
//!
//! [`run`] is the only thing that touches the terminal. It turns keys, signals and frames into
//! messages (`message.rs`); `update.rs` applies them to the model (`model.rs`); `view/` draws the
//! model. Both are pure, so a screen is a test and a story is a list of messages. The screen holds
//! no tape: it shows the [`Frame`] it was given last, and sends a [`Command`] to get another.

#![forbid(unsafe_code)]

mod canvas;
mod columns;
mod copy;
mod filter;
mod keymap;
mod message;
mod model;
mod mouse;
mod symbols;
mod terminal;
#[cfg(test)]
pub(crate) mod tests;
mod theme;
mod tmux;
mod update;
mod view;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use futures_core::Stream as _;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{
    Event, EventStream, KeyEventKind, MouseButton, MouseEvent, MouseEventKind,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::playback::Frame;
use crate::playback::transport::Command;
use filter::Filter;
use keymap::Mode;
use message::{Copied, Effect, Message};
use model::{Looks, Model};
use symbols::Symbols;
use terminal::Screen;
use theme::Theme;
use tmux::Tmux;

pub use canvas::Canvas;
pub use symbols::SymbolChoice;
pub use theme::ColorChoice;

/// Ten frames a second: faster than anybody reads, slow enough for a serial line.
const FRAME: Duration = Duration::from_millis(100);
/// Allows the key that panics.
const TEST_PANIC: &str = "SOCKFLOW_TEST_PANIC";

/// How the screen begins and looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is looked at, for line 1: `top`, `replay incident.sfl`.
    pub title: String,
    /// What the row filter (`/`) holds at first.
    pub filter: String,
    /// Colours.
    pub color: ColorChoice,
    /// Glyphs.
    pub symbols: SymbolChoice,
    /// Whether the mouse selects rows and times; else it is the terminal's own, to select text.
    pub mouse: bool,
    /// The reader's time zone.
    pub zone: TimeZone,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: String::from("top"),
            filter: String::new(),
            color: ColorChoice::Auto,
            symbols: SymbolChoice::Auto,
            mouse: true,
            zone: TimeZone::UTC,
        }
    }
}

/// Why the screen went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user left.
    Quit,
    /// This signal came.
    Signal(i32),
    /// There will be no more frames.
    SourceEnded,
}

/// Shows the newest of `frames` until the user leaves, a signal comes or the sender is gone;
/// `send` gets what the user asks of the tape.
///
/// The terminal is given back on every way out, a panic included. The handlers of SIGINT, SIGTERM,
/// SIGHUP and SIGTSTP stay in place afterwards, because tokio never removes them.
///
/// # Errors
///
/// If the terminal cannot be set up, read or written.
pub async fn run(
    mut frames: Receiver<Option<Frame>>,
    send: impl Fn(Command),
    options: Options,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::new().context("cannot handle signals")?;
    let tmux = Tmux::find();
    let mut model = model(options, tmux.as_ref());
    let mut screen = Screen::enter(tmux, model.mouse).context("cannot set up the terminal")?;
    let mut events = EventStream::new();
    let (width, height) = screen.size().context("cannot ask the terminal's size")?;
    update::update(&mut model, Message::Resized(width, height));

    let mut changed = true;
    let mut next_frame = Instant::now();
    loop {
        let message = tokio::select! {
            biased;
            number = signals.next() => match number {
                libc::SIGTSTP => Some(Message::Suspend),
                libc::SIGCONT => Some(Message::Continued),
                number => return Ok(Exit::Signal(number)),
            },
            event = next_event(&mut events) => match event {
                Some(event) => {
                    message_of(&event.context("cannot read the terminal")?, &model)
                }
                // The terminal is gone without SIGHUP.
                None => return Ok(Exit::Quit),
            },
            () = tokio::time::sleep_until(next_frame), if changed => {
                screen.draw(&model).context("cannot write to the terminal")?;
                changed = false;
                next_frame = Instant::now() + FRAME;
                None
            },
            news = frames.changed() => match news {
                Ok(()) => frames.borrow_and_update().clone().map(Message::Arrived),
                Err(_) => return Ok(Exit::SourceEnded),
            },
        };
        let Some(message) = message else { continue };
        match update::update(&mut model, message) {
            Effect::Draw => changed = true,
            Effect::Send(command) => send(command),
            Effect::Quit => return Ok(Exit::Quit),
            effect @ (Effect::Suspend | Effect::TakeAgain) => {
                let taken =
                    if effect == Effect::Suspend { screen.suspend() } else { screen.take_again() };
                taken.context("cannot take the terminal back")?;
                // It may have been resized while nobody looked.
                let (width, height) = screen.size().context("cannot ask the terminal's size")?;
                update::update(&mut model, Message::Resized(width, height));
                changed = true;
            }
            Effect::Mouse(on) => {
                screen.set_mouse(on).context("cannot write to the terminal")?;
                changed = true;
            }
            Effect::Copy(Copied { what, text }) => {
                let outcome = screen.copy(&text).map(|()| what).map_err(|why| why.to_string());
                update::update(&mut model, Message::Copied(outcome));
                changed = true;
            }
            Effect::TestPanic => {
                assert!(
                    std::env::var_os(TEST_PANIC).is_none_or(|value| value != "1"),
                    "asked for by {TEST_PANIC}"
                );
            }
        }
    }
}

/// Whether the terminal of this process shows UTF-8, as far as can be told.
#[must_use]
pub fn shows_utf8() -> bool {
    let client = || Tmux::find().and_then(|tmux| tmux.client_is_utf8());
    Symbols::choose(SymbolChoice::Auto, |name| std::env::var(name).ok(), client).is_utf8()
}

fn model(options: Options, tmux: Option<&Tmux>) -> Model {
    let variable = |name: &str| std::env::var(name).ok();
    let client = || tmux.and_then(Tmux::client_is_utf8);
    let mut model = Model::new(Looks {
        theme: Theme::choose(options.color, variable),
        symbols: Symbols::choose(options.symbols, variable, client),
        zone: options.zone,
    });
    model.mouse = options.mouse;
    model.title = options.title;
    model.filter = Filter::new(options.filter);
    model
}

fn message_of(event: &Event, model: &Model) -> Option<Message> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let mode = if model.typing { Mode::Typing } else { Mode::Command };
            keymap::message(*key, mode)
        }
        Event::Resize(width, height) => Some(Message::Resized(*width, *height)),
        Event::Paste(text) => Some(Message::Paste(text.clone())),
        Event::Mouse(event) => mouse_message(*event),
        _ => None,
    }
}

const fn mouse_message(event: MouseEvent) -> Option<Message> {
    let at = (event.column, event.row);
    match event.kind {
        MouseEventKind::Down(MouseButton::Left) => Some(Message::Click(at.0, at.1)),
        MouseEventKind::ScrollUp => Some(Message::Wheel { up: true, at }),
        MouseEventKind::ScrollDown => Some(Message::Wheel { up: false, at }),
        _ => None,
    }
}

/// The stream's next item, without a crate that only adds `next`.
async fn next_event(events: &mut EventStream) -> Option<std::io::Result<Event>> {
    poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await
}

/// The signals that concern a screen.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            go_on: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.hang_up.recv() => libc::SIGHUP,
            _ = self.stop.recv() => libc::SIGTSTP,
            _ = self.go_on.recv() => libc::SIGCONT,
        }
    }
}
