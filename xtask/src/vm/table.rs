//! The matrix as text: kernel × signal, and kernel × scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::column::{Cell, Column};
use super::plan;
use crate::test::live::Programs;

/// Lines up cells, the first column to the left edge.
fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Which kernel gets which signal how, and whether that is what is stated.
pub(super) fn signals(columns: &[Column]) -> String {
    let mut rungs = BTreeSet::new();
    for column in columns {
        for (signal, rung) in column.stated.iter().chain(&column.got) {
            rungs.insert((signal, rung));
        }
    }
    let mut header = vec!["signal".to_owned(), "fidelity".to_owned(), "rung".to_owned()];
    header.extend(columns.iter().map(|column| column.name.clone()));
    let mut rows = vec![header];
    for (signal, rung) in rungs {
        let mut row = vec![signal.clone(), rung.0.clone(), rung.1.clone()];
        for column in columns {
            let is = |rungs: &BTreeMap<String, _>| rungs.get(signal) == Some(rung);
            let word = match (is(&column.stated), is(&column.got)) {
                (true, true) => "ok",
                // A kernel that kernels.toml does not have.
                (false, true) if column.stated.is_empty() => "yes",
                (false, true) => "NOT STATED",
                (true, false) => "MISSING",
                (false, false) => "-",
            };
            row.push(word.to_owned());
        }
        rows.push(row);
    }
    grid(&rows)
}

/// How every scenario ended on every kernel, and the longest that it took in a guest.
pub(super) fn scenarios(columns: &[Column], programs: &Programs) -> String {
    let names: BTreeSet<&String> = columns.iter().flat_map(|column| column.cells.keys()).collect();
    let mut header = vec!["scenario".to_owned()];
    header.extend(columns.iter().map(|column| column.name.clone()));
    header.push("longest".to_owned());
    let mut rows = vec![header];
    let mut notes = String::new();
    for name in names {
        let mut row = vec![name.clone()];
        for column in columns {
            row.push(match column.cells.get(name) {
                Some(Cell::Ok(1)) => "ok".to_owned(),
                Some(Cell::Ok(tries)) => format!("ok, try {tries}"),
                Some(Cell::Failed) => "FAILED".to_owned(),
                Some(Cell::NotThere(why)) => {
                    let _ = writeln!(notes, "{name} on {}: n/a: {why}", column.name);
                    "n/a".to_owned()
                }
                // Its reason stands below.
                None if plan::left_out(name).is_some() => "n/a".to_owned(),
                None => "-".to_owned(),
            });
        }
        let seconds = columns.iter().filter_map(|column| column.seconds.get(name));
        row.push(format!("{:.1} s", seconds.copied().fold(0.0, f64::max)));
        rows.push(row);
    }
    let mut text = grid(&rows);
    let mut left_out: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for test in &programs.scenarios {
        let file = plan::file_of(test);
        if let Some(why) = plan::left_out(file) {
            *left_out.entry((file, why)).or_default() += 1;
        } else if let Some(why) = plan::left_out(test) {
            let _ = writeln!(text, "{test} in guests: n/a: {why}");
        }
    }
    for ((file, why), count) in left_out {
        let _ = writeln!(text, "{file} ({count} scenarios) in guests: n/a: {why}");
    }
    text + &notes
}

/// One line a kernel: time, counts, and what did not go as it should.
pub(super) fn kernels(columns: &[Column]) -> String {
    let mut rows = Vec::new();
    for column in columns {
        let mut said = column.tally().to_string();
        if column.tried_again() > 0 {
            let _ = write!(said, ", {} tried again", column.tried_again());
        }
        if column.crashes > 0 {
            let _ = write!(said, ", crashed by the emulator {} times", column.crashes);
        }
        let took = format!("{:.1} s", column.took.as_secs_f64());
        let cpu = format!("CPU {:.1} s", column.cpu.as_secs_f64());
        rows.push(vec![column.name.clone(), took, cpu, said]);
    }
    grid(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(signal: &str, fidelity: &str, hook: &str) -> (String, (String, String)) {
        (signal.to_owned(), (fidelity.to_owned(), hook.to_owned()))
    }

    #[test]
    fn a_rung_that_is_missing_or_not_stated_stands_out() {
        let better = rung("state", "exact", "tp x");
        let worse = rung("state", "derived", "from y");
        let column = |name: &str, stated: &(String, _), got: &(String, _)| Column {
            name: name.into(),
            stated: BTreeMap::from([stated.clone()]),
            got: BTreeMap::from([got.clone()]),
            ..Column::default()
        };
        let table = signals(&[column("6.1", &better, &better), column("7.3", &better, &worse)]);
        let expected = "\
signal  fidelity  rung    6.1  7.3
state   derived   from y  -    NOT STATED
state   exact     tp x    ok   MISSING
";
        assert_eq!(table, expected);
    }

    #[test]
    fn every_cell_says_how_it_ended_and_what_is_left_out_says_why() {
        let cells = |cells: &[(&str, Cell)]| {
            cells.iter().map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect()
        };
        let guest = Column {
            name: "7.3".into(),
            cells: cells(&[
                ("a::x", Cell::Ok(2)),
                ("a::y", Cell::Failed),
                ("a::z", Cell::NotThere("no MPTCP".into())),
            ]),
            seconds: BTreeMap::from([("a::x".to_owned(), 2.5)]),
            ..Column::default()
        };
        let native = Column {
            name: "6.18".into(),
            cells: cells(&[("a::x", Cell::Ok(1)), ("terminal::t", Cell::Ok(1))]),
            ..Column::default()
        };
        let programs = Programs {
            sockflow: "sockflow".into(),
            live: "live".into(),
            scenarios: vec!["terminal::t".into()],
        };
        let expected = "\
scenario     7.3        6.18  longest
a::x         ok, try 2  ok    2.5 s
a::y         FAILED     -     0.0 s
a::z         n/a        -     0.0 s
terminal::t  n/a        ok    0.0 s
terminal (1 scenarios) in guests: n/a: needs tmux
a::z on 7.3: n/a: no MPTCP
";
        assert_eq!(scenarios(&[guest, native], &programs), expected);
    }
}
