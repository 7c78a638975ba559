//! Everything the screen depends on. Views draw it and change nothing.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::columns::{self, Column};
use super::filter::Filter;
use super::symbols::Symbols;
use super::theme::Theme;
use crate::aggregate::snapshot::{Direction, PortRow, ProcessRow, Snapshot, SourceKind};
use crate::diagnose::Report;
use crate::playback::{Frame, Mode};

/// How things look; never changes while running.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    pub(crate) theme: Theme,
    pub(crate) symbols: Symbols,
    pub(crate) zone: TimeZone,
}

/// What identifies a row of the ports table from one snapshot to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortKey {
    pub(crate) port: u16,
    pub(crate) direction: Direction,
}

impl PortKey {
    pub(crate) const fn of(row: &PortRow) -> Self {
        Self { port: row.port, direction: row.direction }
    }
}

/// What identifies a row of the processes table from one snapshot to the next. The name is part of
/// it because pids are reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessKey {
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
}

impl ProcessKey {
    pub(crate) fn of(row: &ProcessRow) -> Self {
        Self { pid: row.pid, comm: row.comm.clone() }
    }
}

/// A screen opened from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Port(PortKey),
    Process(ProcessKey),
    /// The events before the moment.
    Events,
    /// What differs between A and B.
    Differences,
    /// Every limit against its use.
    Doctor,
    /// One of the doctor's checks, by its id.
    Finding(&'static str),
}

/// A moment to compare.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) event_number: u64,
}

/// A place that is being typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct GotoPrompt {
    pub(crate) text: String,
    /// Why Enter did not go there.
    pub(crate) problem: Option<String>,
}

/// What lies over the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    Help,
    Trust,
}

/// The table that keys go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    Ports,
    Processes,
}

/// Order and selection of a table.
#[derive(Clone, Debug)]
pub(crate) struct TableState<K> {
    /// The row at the top, as long as the selected one is in sight.
    pub(crate) first: usize,
    /// Index into the table's columns.
    pub(crate) sort: usize,
    pub(crate) inverted: bool,
    /// `None` follows the first row.
    pub(crate) selected: Option<K>,
}

/// Seconds of history that the charts can show.
pub(crate) const ZOOMS: [u32; 8] = [30, 60, 120, 300, 600, 1200, 1800, 3600];
/// Five minutes.
pub(crate) const DEFAULT_ZOOM: usize = 3;

/// The state.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) looks: Looks,
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// What is looked at, in a word or two: `top`, `replay incident.sfl`.
    pub(crate) title: String,
    /// The moment on screen.
    pub(crate) frame: Option<Frame>,
    /// The moments to compare: A and B.
    pub(crate) marks: [Option<Marked>; 2],
    /// The place that is being typed.
    pub(crate) goto: Option<GotoPrompt>,
    /// The way from `top` to what is shown, without `top`.
    pub(crate) pages: Vec<Page>,
    pub(crate) overlay: Option<Overlay>,
    /// Lines scrolled off the top of the page or the overlay.
    pub(crate) scroll: usize,
    pub(crate) focus: Focus,
    pub(crate) ports: TableState<PortKey>,
    pub(crate) processes: TableState<ProcessKey>,
    /// The check selected on the doctor's page; `None` follows the first.
    pub(crate) finding: Option<&'static str>,
    pub(crate) filter: Filter,
    pub(crate) help_search: String,
    /// Whether keys are text now.
    pub(crate) typing: bool,
    /// Index into [`ZOOMS`].
    pub(crate) zoom: usize,
    /// Whether the mouse is ours.
    pub(crate) mouse: bool,
    /// What the last key did, where that does not show.
    pub(crate) notice: Option<String>,
}

impl Model {
    pub(crate) fn new(looks: Looks) -> Self {
        Self {
            looks,
            width: 0,
            height: 0,
            title: String::from("top"),
            frame: None,
            marks: [None, None],
            goto: None,
            pages: Vec::new(),
            overlay: None,
            scroll: 0,
            focus: Focus::Ports,
            ports: TableState {
                first: 0,
                sort: columns::ports::DEFAULT_SORT,
                inverted: false,
                selected: None,
            },
            processes: TableState {
                first: 0,
                sort: columns::processes::DEFAULT_SORT,
                inverted: false,
                selected: None,
            },
            finding: None,
            filter: Filter::default(),
            help_search: String::new(),
            typing: false,
            zoom: DEFAULT_ZOOM,
            mouse: true,
            notice: None,
        }
    }

    /// The snapshot on screen.
    pub(crate) fn shown(&self) -> Option<&Snapshot> {
        self.frame.as_ref().map(|frame| &*frame.view.snapshot)
    }

    /// What the doctor says of the moment on screen.
    pub(crate) fn doctor(&self) -> Option<&Report> {
        self.frame.as_ref()?.view.doctor.as_deref()
    }

    /// The selected check among the report's: the first, if the selection is none of them.
    pub(crate) fn selected_finding(&self) -> usize {
        let checks = self.doctor().map_or(&[] as &[_], |report| &report.checks);
        let position = |id: &str| checks.iter().position(|finding| finding.id == id);
        self.finding.and_then(position).unwrap_or(0)
    }

    /// Whether the newest moment of a running host is on screen, as it comes.
    pub(crate) fn is_now(&self) -> bool {
        self.frame.as_ref().is_none_or(|frame| {
            frame.mode == Mode::Live && frame.view.snapshot.source == SourceKind::Live
        })
    }

    /// The host in a title: `this host`, or the name of the one a trace is of.
    pub(crate) fn host(&self) -> String {
        match self.shown() {
            Some(shown) if shown.source == SourceKind::Trace && !shown.host.name.is_empty() => {
                self.looks.symbols.cut(&self.looks.symbols.clean(&shown.host.name), 24)
            }
            _ => String::from("this host"),
        }
    }

    pub(crate) fn page(&self) -> Option<&Page> {
        self.pages.last()
    }

    pub(crate) fn zoom_s(&self) -> f64 {
        f64::from(ZOOMS.get(self.zoom).copied().unwrap_or(300))
    }

    /// The ports table's rows: filtered and in order.
    pub(crate) fn port_rows(&self) -> Vec<&PortRow> {
        sorted(self.kept_ports().collect(), columns::ports::COLUMNS, &self.ports)
    }

    /// How many they are, without the work of putting them in order.
    pub(crate) fn port_count(&self) -> usize {
        self.kept_ports().count()
    }

    fn kept_ports(&self) -> impl Iterator<Item = &PortRow> {
        let rows = self.shown().map_or(&[] as &[_], |shown| &shown.ports);
        let matcher = self.filter.matcher();
        rows.iter().filter(move |row| matcher.accepts_port(row))
    }

    /// The processes table's rows: filtered and in order.
    pub(crate) fn process_rows(&self) -> Vec<&ProcessRow> {
        sorted(self.kept_processes().collect(), columns::processes::COLUMNS, &self.processes)
    }

    /// How many they are, without the work of putting them in order.
    pub(crate) fn process_count(&self) -> usize {
        self.kept_processes().count()
    }

    fn kept_processes(&self) -> impl Iterator<Item = &ProcessRow> {
        let rows = self.shown().map_or(&[] as &[_], |shown| &shown.processes);
        let matcher = self.filter.matcher();
        rows.iter().filter(move |row| matcher.accepts_process(row))
    }

    /// The selected row among `rows`: the first, if the selection is none of them.
    pub(crate) fn selected_port(&self, rows: &[&PortRow]) -> usize {
        let position = |key: &PortKey| rows.iter().position(|row| PortKey::of(row) == *key);
        self.ports.selected.as_ref().and_then(position).unwrap_or(0)
    }

    /// The selected row among `rows`: the first, if the selection is none of them.
    pub(crate) fn selected_process(&self, rows: &[&ProcessRow]) -> usize {
        let position = |key: &ProcessKey| {
            rows.iter().position(|row| row.pid == key.pid && row.comm == key.comm)
        };
        let selected = self.processes.selected.as_ref();
        selected.and_then(position).unwrap_or(0)
    }

    pub(crate) fn find_port(&self, key: PortKey) -> Option<&PortRow> {
        let rows = &self.shown()?.ports;
        rows.iter().find(|row| PortKey::of(row) == key)
    }

    pub(crate) fn find_process(&self, key: &ProcessKey) -> Option<&ProcessRow> {
        let rows = &self.shown()?.processes;
        rows.iter().find(|row| row.pid == key.pid && row.comm == key.comm)
    }
}

/// Sorting is stable, so equal rows keep the snapshot's order: most orphans first.
fn sorted<'a, R, K>(
    mut rows: Vec<&'a R>,
    columns: &[Column<R>],
    state: &TableState<K>,
) -> Vec<&'a R> {
    if let Some(column) = columns.get(state.sort) {
        let ascending = column.naturally_ascending() != state.inverted;
        rows.sort_by(|a, b| {
            let order = column.compare(a, b);
            if ascending { order } else { order.reverse() }
        });
    }
    rows
}
