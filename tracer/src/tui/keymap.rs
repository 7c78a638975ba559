//! The one table of keys: what each does, and what help and footer say about it.

use jiff::SignedDuration;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::message::Message;
use crate::playback::transport::Command;

/// A key with or without Ctrl, or Shift where it gives no other character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Plain(KeyCode),
    Ctrl(char),
    Shift(KeyCode),
}

/// When a binding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Command,
    /// Characters go into a text.
    Typing,
}

/// One line of the table.
pub(crate) struct Binding {
    pub(crate) mode: Mode,
    pub(crate) keys: &'static [Key],
    pub(crate) message: Message,
    pub(crate) help: &'static str,
    /// The word in the footer; the footer takes bindings in this table's order while there is
    /// room.
    pub(crate) hint: Option<&'static str>,
}

const fn char(character: char) -> Key {
    Key::Plain(KeyCode::Char(character))
}

const fn code(code: KeyCode) -> Key {
    Key::Plain(code)
}

const fn command(
    keys: &'static [Key],
    message: Message,
    hint: Option<&'static str>,
    help: &'static str,
) -> Binding {
    Binding { mode: Mode::Command, keys, message, help, hint }
}

const fn typing(keys: &'static [Key], message: Message, help: &'static str) -> Binding {
    Binding { mode: Mode::Typing, keys, message, help, hint: None }
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const SECOND_BACK: SignedDuration = SignedDuration::from_secs(-1);
const LEAP: SignedDuration = SignedDuration::from_secs(30);
const LEAP_BACK: SignedDuration = SignedDuration::from_secs(-30);

/// All keys.
#[rustfmt::skip]
pub(crate) static BINDINGS: &[Binding] = &[
    command(&[char('?'), code(KeyCode::F(1))], Message::Help, Some("help"), "this help; / searches it"),
    command(&[char('q'), Key::Ctrl('c')], Message::Quit, Some("quit"), "quit"),
    command(&[code(KeyCode::Esc), code(KeyCode::Backspace)], Message::Back, Some("back"), "back: close what is open, then clear the row filter"),
    command(&[code(KeyCode::Enter)], Message::Open, Some("open"), "open the selected port or process; on a port's page its owner"),
    command(&[char('d'), char('4')], Message::ShowDoctor, Some("doctor"), "the doctor: which limit is reached first, and what to set; Enter there: all of one check"),
    command(&[char(' ')], Message::Travel(Command::PlayPause), Some("pause"), "pause while counting goes on; again: go on, or play from where you went"),
    command(&[char('t')], Message::Travel(Command::Step(1)), Some("step"), "the next moment"),
    command(&[char('T')], Message::Travel(Command::Step(-1)), None, "the moment before"),
    command(&[char(']')], Message::Travel(Command::NextMark), Some("anomaly"), "to the next anomaly"),
    command(&[char('[')], Message::Travel(Command::PreviousMark), None, "to the anomaly before"),
    command(&[char('b')], Message::GotoEdit, Some("goto"), "go to a time or place: 16:41:52, +30s, -5m, @12345 an event, !3 the third anomaly, max the worst moment, start, end"),
    command(&[char('L'), code(KeyCode::End)], Message::Travel(Command::Live), Some("newest"), "to the newest moment, and follow what comes"),
    command(&[code(KeyCode::Home)], Message::Travel(Command::Start), None, "to the first moment there is"),
    command(&[code(KeyCode::Right)], Message::Travel(Command::Seek(SECOND)), None, "a second on"),
    command(&[code(KeyCode::Left)], Message::Travel(Command::Seek(SECOND_BACK)), None, "a second back"),
    command(&[Key::Shift(KeyCode::Right)], Message::Travel(Command::Seek(LEAP)), None, "half a minute on"),
    command(&[Key::Shift(KeyCode::Left)], Message::Travel(Command::Seek(LEAP_BACK)), None, "half a minute back"),
    command(&[char('}')], Message::Travel(Command::Faster), None, "play faster, up to 100 times"),
    command(&[char('{')], Message::Travel(Command::Slower), None, "play slower, down to a tenth"),
    command(&[char('A')], Message::MarkA, None, "mark this moment as A; there again: forget it"),
    command(&[char('B')], Message::MarkB, None, "mark this moment as B; there again: forget it"),
    command(&[char('D')], Message::ShowDifferences, Some("A/B"), "what differs between A and B; without them the first moment and this one"),
    command(&[char('e')], Message::ShowEvents, Some("events"), "the events before this moment"),
    command(&[char('/')], Message::FilterEdit, Some("filter"), "show rows with these words only: part of a port, name or pid; :443 is that port alone"),
    command(&[char('s'), char('>')], Message::SortNext, Some("sort"), "sort by the next column"),
    command(&[char('S'), char('<')], Message::SortPrevious, None, "sort by the previous column"),
    command(&[char('I')], Message::InvertSort, None, "sort the other way round"),
    command(&[code(KeyCode::Tab), code(KeyCode::BackTab)], Message::FocusNext, Some("focus"), "to the other table: ports or processes"),
    command(&[char('y')], Message::Copy, None, "copy the selected row, or what the page says, to the terminal's clipboard"),
    command(&[char('w')], Message::Trust, Some("trust"), "what the numbers are worth: fidelity, losses, own cost"),
    command(&[char('+')], Message::ZoomIn, Some("zoom"), "chart: less time, more detail"),
    command(&[char('-')], Message::ZoomOut, None, "chart: more time"),
    command(&[char('=')], Message::ZoomReset, None, "chart: five minutes again"),
    command(&[char('1')], Message::ShowTop, None, "screen 1: everything"),
    command(&[char('2')], Message::ShowPort, None, "screen 2: the selected port"),
    command(&[char('3')], Message::ShowProcess, None, "screen 3: the selected process"),
    command(&[char('j'), code(KeyCode::Down)], Message::SelectNext, None, "next row; scroll down"),
    command(&[char('k'), code(KeyCode::Up)], Message::SelectPrevious, None, "previous row; scroll up"),
    command(&[char('g')], Message::SelectFirst, None, "first row"),
    command(&[char('G')], Message::SelectLast, None, "last row"),
    command(&[code(KeyCode::PageDown), Key::Ctrl('f')], Message::PageDown, None, "ten rows down; on the doctor's page: what is below its table"),
    command(&[code(KeyCode::PageUp), Key::Ctrl('b')], Message::PageUp, None, "ten rows up"),
    command(&[char('m')], Message::ToggleMouse, None, "mouse on or off; off, the terminal selects text with it"),
    command(&[Key::Ctrl('z')], Message::Suspend, None, "suspend to the shell; fg comes back"),
    typing(&[code(KeyCode::Enter)], Message::Accept, "keep the text and go back to the rows"),
    typing(&[code(KeyCode::Esc)], Message::Cancel, "drop the text"),
    typing(&[code(KeyCode::Backspace), Key::Ctrl('h')], Message::Erase, "delete a character"),
    typing(&[Key::Ctrl('u')], Message::EraseAll, "delete everything"),
    typing(&[Key::Ctrl('c')], Message::Quit, "quit"),
    typing(&[Key::Ctrl('z')], Message::Suspend, "suspend"),
];

/// What a key means in `mode`.
pub(crate) fn message(event: KeyEvent, mode: Mode) -> Option<Message> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    let shift = event.modifiers.contains(KeyModifiers::SHIFT);
    let key = match event.code {
        KeyCode::Char(character) if control => Key::Ctrl(character.to_ascii_lowercase()),
        // Of characters Shift makes other ones; the terminal has done that.
        other @ (KeyCode::Left | KeyCode::Right) if shift => Key::Shift(other),
        other => Key::Plain(other),
    };
    let bound = BINDINGS.iter().find(|binding| binding.mode == mode && binding.keys.contains(&key));
    if let Some(binding) = bound {
        return Some(binding.message.clone());
    }
    match (mode, key) {
        (Mode::Typing, Key::Plain(KeyCode::Char(character))) => Some(Message::Type(character)),
        // Not in the table: it is no feature, it lets a test see the terminal restored.
        (Mode::Command, Key::Plain(KeyCode::Char('!'))) => Some(Message::TestPanic),
        _ => None,
    }
}

impl Key {
    /// How help spells it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Ctrl(character) => format!("Ctrl-{}", character.to_ascii_uppercase()),
            Self::Shift(code) => format!("Shift-{}", Self::Plain(code).name()),
            Self::Plain(KeyCode::Char(' ')) => String::from("Space"),
            Self::Plain(KeyCode::Char(character)) => character.to_string(),
            Self::Plain(KeyCode::BackTab) => String::from("Shift-Tab"),
            Self::Plain(KeyCode::PageDown) => String::from("PgDn"),
            Self::Plain(KeyCode::PageUp) => String::from("PgUp"),
            Self::Plain(code) => code.to_string(),
        }
    }
}

impl Binding {
    /// Whether it is about time: help has these together.
    pub(crate) const fn is_travel(&self) -> bool {
        use Message::{GotoEdit, MarkA, MarkB, ShowDifferences, ShowEvents, Travel};
        matches!(self.message, Travel(_) | GotoEdit | MarkA | MarkB | ShowDifferences | ShowEvents)
    }

    /// `j Down`.
    pub(crate) fn key_names(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(|key| key.name()).collect();
        names.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        for mode in [Mode::Command, Mode::Typing] {
            let mut seen: Vec<Key> = Vec::new();
            for binding in BINDINGS.iter().filter(|binding| binding.mode == mode) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} twice in {mode:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn typing_takes_letters_as_text() {
        let letter = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        assert!(matches!(message(letter, Mode::Typing), Some(Message::Type('q'))));
        assert!(matches!(message(letter, Mode::Command), Some(Message::Quit)));
        let control = KeyEvent::new(KeyCode::Char('C'), KeyModifiers::CONTROL);
        assert!(matches!(message(control, Mode::Typing), Some(Message::Quit)));
    }
}
