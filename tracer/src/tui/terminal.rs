//! The terminal: taken over, given back whatever happens.

use std::io::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::clipboard::CopyToClipboard;
use ratatui::crossterm::cursor;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};

use super::model::Model;
use super::tmux::Tmux;
use super::view;
use crate::stdio;

/// Whether the terminal is ours now. Global because a panic hook is.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Clicks and the wheel, with places beyond column 223. crossterm's own command asks for every
/// movement as well, which would wake the screen for nothing.
const MOUSE_ON: Print<&str> = Print("\x1b[?1000h\x1b[?1006h");
const MOUSE_OFF: Print<&str> = Print("\x1b[?1006l\x1b[?1000l");

/// The terminal while it is ours.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
    tmux: Option<Tmux>,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn enter(tmux: Option<Tmux>, mouse: bool) -> io::Result<Self> {
        HOOK.call_once(restore_before_panic);
        take(mouse)?;
        match Terminal::new(CrosstermBackend::new(stdio::screen())) {
            Ok(terminal) => Ok(Self { terminal, tmux, mouse }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Shows the model. The terminal holds back until the whole frame is there, where it can.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            // A panic elsewhere gave the terminal back; drawing on would hide its message.
            return Err(io::Error::other("the terminal was given up after a panic"));
        }
        execute!(stdio::screen(), BeginSynchronizedUpdate)?;
        let drawn = self
            .terminal
            .draw(|frame| view::draw(model, frame.area(), frame.buffer_mut()))
            .map(|_| ());
        execute!(stdio::screen(), EndSynchronizedUpdate)?;
        drawn
    }

    /// Takes the mouse, or leaves it to the terminal, which then selects text with it.
    pub(crate) fn set_mouse(&mut self, on: bool) -> io::Result<()> {
        self.mouse = on;
        let mut out = stdio::screen();
        if on { execute!(out, MOUSE_ON) } else { execute!(out, MOUSE_OFF) }
    }

    /// Puts `text` into the clipboard of the terminal (OSC 52), which may be on another machine.
    pub(crate) fn copy(&self, text: &str) -> io::Result<()> {
        match &self.tmux {
            Some(tmux) => tmux.copy(text),
            None => execute!(stdio::screen(), CopyToClipboard::to_clipboard_from(text)),
        }
    }

    /// Gives the terminal back, stops this process as Ctrl-Z would, and takes it again.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        restore();
        signal_hook::low_level::emulate_default_handler(libc::SIGTSTP)?;
        self.take_again()
    }

    /// After a stop that could not be foreseen (SIGSTOP): the shell has set the terminal as it likes.
    pub(crate) fn take_again(&mut self) -> io::Result<()> {
        // Raw mode that is believed to be on is not set again.
        restore();
        take(self.mouse)?;
        // A new one knows nothing of what was on screen, so it draws everything. Clearing the old
        // one would ask where the cursor is, and the answer would go to the event stream.
        self.terminal = Terminal::new(CrosstermBackend::new(stdio::screen()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn take(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    let mut out = stdio::screen();
    let entered = execute!(out, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)
        .and_then(|()| if mouse { execute!(out, MOUSE_ON) } else { Ok(()) });
    if entered.is_err() {
        restore();
    }
    entered
}

/// Gives the terminal back, once. What fails here has nowhere to be shown.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = stdio::screen();
        let _ = execute!(
            out,
            EndSynchronizedUpdate,
            MOUSE_OFF,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

/// A panic message belongs on a terminal that can show it.
fn restore_before_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        print(panic);
    }));
}
