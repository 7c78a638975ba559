//! What can happen to the screen, in its own terms: no keys, no signals.

use std::sync::Arc;

use crate::aggregate::snapshot::Snapshot;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// The source has a newer snapshot.
    Arrived(Arc<Snapshot>),
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
    /// Freeze the screen, or let it go on.
    Pause,
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
    Help,
    Trust,
    /// Type into the filter, or into the search of the help.
    FilterEdit,
    Type(char),
    Erase,
    EraseAll,
    /// Stop typing and keep what was typed.
    Accept,
    /// Stop typing and forget it.
    Cancel,
    Suspend,
    Quit,
    /// Panic if the environment allows it: proves that the terminal is restored.
    TestPanic,
}

/// What the run loop has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Draw,
    Suspend,
    Quit,
    TestPanic,
}
