//! CSV: the columns of [`schema`](super::schema) with a header, quoted as RFC 4180 has it.
//!
//! For people and spreadsheets, so names that strangers chose are made harmless here: what a
//! terminal would act on is spelt out, and a name that a spreadsheet would take for a formula gets an
//! apostrophe. The other formats have names as they are.

use std::borrow::Cow;
use std::io::{self, Write};

use super::schema::{COLUMNS, Row};
use super::stamp::Stamp;
use super::{About, Account, Context, Writer};
use crate::event::Event;
use crate::sanitize::sanitize;
use crate::time::ClockAnchor;

/// Writes CSV.
#[derive(Debug)]
pub struct Csv<W> {
    out: W,
    anchor: ClockAnchor,
    /// Host and boot: the same in all rows.
    machine: String,
    stamp: Stamp,
    line: Vec<u8>,
}

impl<W: Write> Csv<W> {
    /// CSV to `out`, which should have a buffer.
    ///
    /// # Errors
    ///
    /// The header cannot be written.
    pub fn new(mut out: W, about: &About) -> io::Result<Self> {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        writeln!(out, "{}", names.join(","))?;
        Ok(Self {
            out,
            anchor: about.anchor,
            machine: format!("{},{}", field(&about.host), field(&about.boot_id)),
            stamp: Stamp::default(),
            line: Vec::with_capacity(512),
        })
    }
}

impl<W: Write> Writer for Csv<W> {
    fn event(&mut self, event: &Event, context: Context<'_>) -> io::Result<()> {
        let row = Row::of(event, context, self.anchor);
        let line = &mut self.line;
        line.clear();
        write!(
            line,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},",
            self.stamp.nanos(row.time),
            event.at.0,
            self.machine,
            row.kind,
            event.socket,
            row.family,
            row.local,
            event.local.1,
            row.peer,
            event.peer.1,
            row.old.unwrap_or_default(),
            row.new.unwrap_or_default(),
            row.reason.unwrap_or_default(),
        )?;
        match &event.owner {
            Some(owner) => write!(line, "{},{}", owner.pid, field(&owner.comm))?,
            None => line.push(b','),
        }
        write!(line, ",{},", event.netns)?;
        if let Some(age) = row.age_ns {
            write!(line, "{age}")?;
        }
        write!(line, ",{},", row.detail.unwrap_or_default())?;
        write!(line, "{},", row.direction.unwrap_or_default())?;
        if let Some(port) = row.service_port {
            write!(line, "{port}")?;
        }
        let workload = row.workload.map(field).unwrap_or_default();
        writeln!(line, ",{workload},{}", row.cause.unwrap_or_default())?;
        self.out.write_all(line)
    }

    fn finish(mut self: Box<Self>, _: &Account) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a cell begins with that a spreadsheet takes for a formula: also as East Asian input methods spell
/// them. A tab and a line's end, which would do as well, are spelt out before.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A name as a field.
pub(super) fn field(name: &str) -> Cow<'_, str> {
    let shown = sanitize(name);
    let is_formula = shown.trim_start().starts_with(FORMULA);
    let needs_quotes = is_formula
        || shown.contains(['"', ',', ';', '\n', '\r'])
        || shown.starts_with(' ')
        || shown.ends_with(' ');
    if !needs_quotes {
        return shown;
    }
    let apostrophe = if is_formula { "'" } else { "" };
    let mut text = String::with_capacity(shown.len() + 4);
    let mut after_semicolon = false;
    for character in shown.chars() {
        match character {
            '"' => text.push('"'),
            // Where ; separates, what follows it begins a cell.
            first if after_semicolon && FORMULA.contains(&first) => text.push('\''),
            _ => {}
        }
        after_semicolon = character == ';' || after_semicolon && character.is_whitespace();
        text.push(character);
    }
    Cow::Owned(format!("\"{apostrophe}{text}\""))
}
