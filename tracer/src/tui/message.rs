//! What can happen to the screen, in its own terms: no keys, no signals.

use crate::playback::Frame;
use crate::playback::transport::Command;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// There is something else to show.
    Arrived(Frame),
    /// The terminal has this many columns and rows now.
    Resized(u16, u16),
    SelectNext,
    SelectPrevious,
    SelectFirst,
    SelectLast,
    PageDown,
    PageUp,
    /// Into the selected row.
    Open,
    /// Out of whatever was opened last.
    Back,
    /// To another moment, or another speed.
    Travel(Command),
    /// Type a place to go to.
    GotoEdit,
    /// Remember the moment that is shown, to compare it.
    MarkA,
    MarkB,
    SortNext,
    SortPrevious,
    InvertSort,
    FocusNext,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    ShowTop,
    ShowPort,
    ShowProcess,
    ShowEvents,
    ShowDifferences,
    ShowDoctor,
    Help,
    Trust,
    /// Type into the filter, or into the search of the help.
    FilterEdit,
    Type(char),
    Erase,
    EraseAll,
    /// Text came from the clipboard, all at once.
    Paste(String),
    /// The mouse was clicked at this column and row.
    Click(u16, u16),
    /// The wheel turned at this column and row.
    Wheel {
        up: bool,
        at: (u16, u16),
    },
    /// Take the mouse, or leave it to the terminal.
    ToggleMouse,
    /// What is selected, into the clipboard.
    Copy,
    /// It is there, or why not.
    Copied(Result<String, String>),
    /// Stop typing and keep what was typed.
    Accept,
    /// Stop typing and forget it.
    Cancel,
    Suspend,
    /// This process was stopped and goes on.
    Continued,
    Quit,
    /// Panic if the environment allows it: proves that the terminal is restored.
    TestPanic,
}

/// What the run loop has to do about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Draw,
    /// Ask whoever has the tape.
    Send(Command),
    Suspend,
    /// The terminal is as somebody else left it.
    TakeAgain,
    /// Whether the mouse is ours from now on.
    Mouse(bool),
    /// Put this into the clipboard.
    Copy(Copied),
    Quit,
    TestPanic,
}

/// Text for the clipboard, and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) what: String,
    pub(crate) text: String,
}
