//! The terminal: taken over, given back whatever happens.

use std::io::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};

use super::model::Model;
use super::view;
use crate::stdio;

/// Whether the terminal is ours now. Global because a panic hook is.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The terminal while it is ours.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn enter() -> io::Result<Self> {
        HOOK.call_once(restore_before_panic);
        take()?;
        match Terminal::new(CrosstermBackend::new(stdio::screen())) {
            Ok(terminal) => Ok(Self { terminal }),
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

    /// Gives the terminal back, stops this process as Ctrl-Z would, and takes it again.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        restore();
        signal_hook::low_level::emulate_default_handler(libc::SIGTSTP)?;
        take()?;
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

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    let entered = execute!(stdio::screen(), EnterAlternateScreen, cursor::Hide);
    if entered.is_err() {
        restore();
    }
    entered
}

/// Gives the terminal back, once. What fails here has nowhere to be shown.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = stdio::screen();
        let _ = execute!(out, EndSynchronizedUpdate, LeaveAlternateScreen, cursor::Show);
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
