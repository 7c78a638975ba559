//! The columns of the tables: what a cell says, how rows are ordered by it, and what gives way
//! first where there is no room.

pub(crate) mod ports;
pub(crate) mod processes;

use std::cmp::Ordering;

use super::symbols::Symbols;
use crate::aggregate::snapshot::{Fidelity, FidelityTable, Owner};
use crate::format;

/// Columns of this rank and above are shown where everything else has its full name and they have
/// something to say, and are not missed where they are not: the page of a row has them too.
pub(crate) const SPARE: u8 = 20;

/// One column of a table with rows `R`.
pub(crate) struct Column<R> {
    pub(crate) name: &'static str,
    /// The name where room is short.
    pub(crate) short: &'static str,
    /// Columns of the highest number vanish first.
    pub(crate) rank: u8,
    pub(crate) value: Value<R>,
}

/// What a column shows of a row, and thereby how rows are ordered by it.
pub(crate) enum Value<R> {
    Text {
        text: fn(&R, &Cells<'_>) -> String,
        order: fn(&R, &R) -> Ordering,
        /// Names stand left, port and process numbers right.
        left: bool,
    },
    /// Sockets or connections, as trustworthy as the signal.
    Count(&'static str, fn(&R) -> u64),
    /// How often something happened, as trustworthy as the signal's counts.
    Total(&'static str, fn(&R) -> u64),
    /// The same, of what ought not to happen: the column is there once it has.
    Harm(&'static str, fn(&R) -> u64),
    Orphans(fn(&R) -> u64),
    /// Of orphans, bytes.
    Memory(fn(&R) -> u64),
    /// Of orphans, a second; `None` while it is not known.
    Growth(fn(&R) -> Option<f64>),
    /// A second, as trustworthy as the signal.
    Rate(&'static str, fn(&R) -> f64),
    /// How long sockets stayed in a state.
    Millis(fn(&R) -> f64),
}

impl<R> Column<R> {
    pub(crate) fn cell(&self, row: &R, cells: &Cells<'_>) -> String {
        match &self.value {
            Value::Text { text, .. } => text(row, cells),
            Value::Count(signal, value) => cells.count(signal, value(row)),
            Value::Total(signal, value) | Value::Harm(signal, value) => {
                cells.total(signal, value(row))
            }
            Value::Orphans(value) => cells.orphans(value(row)),
            Value::Memory(value) => cells.orphan_text(&format::bytes(value(row))),
            Value::Growth(value) => cells.orphan_text(&format::growth(value(row))),
            Value::Rate(signal, value) => cells.per_s(signal, value(row)),
            Value::Millis(value) => cells.millis(value(row)),
        }
    }

    /// Ascending; `total_cmp`, so that even NaN has a place.
    pub(crate) fn compare(&self, a: &R, b: &R) -> Ordering {
        match &self.value {
            Value::Text { order, .. } => order(a, b),
            Value::Count(_, value)
            | Value::Total(_, value)
            | Value::Harm(_, value)
            | Value::Orphans(value)
            | Value::Memory(value) => value(a).cmp(&value(b)),
            // What is not known stands behind all that is.
            Value::Growth(value) => {
                let order = |row| value(row).unwrap_or(f64::NEG_INFINITY);
                order(a).total_cmp(&order(b))
            }
            Value::Rate(_, value) | Value::Millis(value) => value(a).total_cmp(&value(b)),
        }
    }

    /// Whether there is anything to show.
    pub(crate) fn is_wanted(&self, rows: &[&R]) -> bool {
        match &self.value {
            Value::Harm(_, value) => rows.iter().any(|row| value(row) > 0),
            _ => true,
        }
    }

    /// Names are looked for from A on, numbers from the largest on.
    pub(crate) const fn naturally_ascending(&self) -> bool {
        matches!(self.value, Value::Text { .. })
    }

    pub(crate) const fn is_left(&self) -> bool {
        matches!(self.value, Value::Text { left: true, .. })
    }
}

/// What a cell needs beside its row.
pub(crate) struct Cells<'a> {
    pub(crate) symbols: Symbols,
    pub(crate) fidelity: &'a FidelityTable,
}

impl Cells<'_> {
    /// How far `signal` can be trusted; an unnamed one is not doubted. `reset` is either way.
    pub(crate) fn trust(&self, signal: &str) -> Fidelity {
        if signal == "reset" {
            return self.trust("reset_in").max(self.trust("reset_out"));
        }
        let known = self.fidelity.get(signal);
        known.copied().unwrap_or(Fidelity::Exact)
    }

    /// How far what counts its occurrences can be trusted.
    pub(crate) fn trust_in_total(&self, signal: &str) -> Fidelity {
        self.trust(signal).of_totals()
    }

    /// How far an owner can be trusted; `unchecked`: so many of its sockets may be another's.
    pub(crate) fn trust_in_owner(&self, unchecked: u64) -> Fidelity {
        let known = self.trust("owner");
        if unchecked > 0 { known.max(Fidelity::Derived) } else { known }
    }

    /// Orphans need both ends: the number is as good as the worse.
    pub(crate) fn orphan_trust(&self) -> Fidelity {
        self.trust("orphan_begin").max(self.trust("orphan_end"))
    }

    /// `text`, marked as not exact, or `-` if it is not to be had.
    pub(crate) fn mark(&self, trust: Fidelity, text: &str) -> String {
        if trust == Fidelity::Absent {
            return String::from("-");
        }
        format!("{}{text}", self.symbols.fidelity(trust))
    }

    pub(crate) fn count(&self, signal: &str, number: u64) -> String {
        self.mark(self.trust(signal), &format::count(number))
    }

    pub(crate) fn total(&self, signal: &str, number: u64) -> String {
        self.mark(self.trust_in_total(signal), &format::count(number))
    }

    /// How often it happens, a second, without a unit.
    pub(crate) fn per_s(&self, signal: &str, rate: f64) -> String {
        self.mark(self.trust_in_total(signal), &format::short(rate))
    }

    /// Times are differences between state changes.
    pub(crate) fn millis(&self, ms: f64) -> String {
        let text = self.symbols.clean(&format::millis(ms)).into_owned();
        self.mark(self.trust_in_total("state"), &text)
    }

    pub(crate) fn orphans(&self, number: u64) -> String {
        self.orphan_text(&format::count(number))
    }

    pub(crate) fn orphan_text(&self, text: &str) -> String {
        self.mark(self.orphan_trust(), text)
    }

    /// `httpdns[4121]`, marked like every other signal.
    pub(crate) fn owner(&self, owner: &Owner) -> String {
        let comm = self.symbols.clean(&owner.comm);
        self.mark(self.trust("owner"), &format!("{comm}[{}]", owner.pid))
    }
}

/// A container, pod or unit; `-` where it is not known, or not one.
pub(crate) fn workload(name: Option<&str>, cells: &Cells<'_>) -> String {
    cells.symbols.clean(name.unwrap_or("-")).into_owned()
}
