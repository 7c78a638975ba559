//! The same host in a trace: frames as a tape gives them, with events, gaps and a part not read.

use std::sync::Arc;

use tracer_common::counters::{EndDetail, OrphanEnd};
use tracer_common::state::TcpState;

use super::fixture::{NOW, calm, crisis};
use crate::aggregate::snapshot::*;
use crate::event::{Event, EventKind};
use crate::playback::{Frame, Mode, Point, Speed, Timeline, View};
use crate::time::{ClockAnchor, Monotonic, Wall};

const SECOND: i64 = 1_000_000_000;
/// Seconds of the tape before and after the moment of the crisis.
const BEFORE: i64 = 300;
const AFTER: i64 = 44;

/// `snapshot` on a live screen that follows the newest.
pub(crate) fn live(snapshot: Snapshot) -> Frame {
    let timeline = Timeline {
        moments: vec![snapshot.time],
        points: vec![Point::default()],
        marks: snapshot.anomalies.clone(),
        growing: true,
        gaps: Vec::new(),
    };
    let snapshot = Arc::new(snapshot);
    Frame {
        view: View {
            snapshot: Arc::clone(&snapshot),
            events: Arc::default(),
            event_number: 0,
            anchor: ClockAnchor::default(),
            doctor: None,
        },
        timeline: Arc::new(timeline),
        position: 0,
        mode: Mode::Live,
        speed: Speed::default(),
        first: snapshot,
        refused: None,
        note: None,
    }
}

/// `seconds` after `snapshot` was frozen on a live screen.
pub(crate) fn frozen(snapshot: Snapshot, seconds: i64) -> Frame {
    let mut frame = live(snapshot);
    let from = frame.view.snapshot.time.0;
    let moments: Vec<Wall> = (0..=seconds).map(|at| Wall(from + at * SECOND)).collect();
    frame.timeline = Arc::new(Timeline {
        points: vec![
            Point { orphans: 1, severity: Severity::Crit, ..Point::default() };
            moments.len()
        ],
        moments,
        ..Timeline::clone(&frame.timeline)
    });
    frame.mode = Mode::Paused;
    frame
}

/// The crisis in a file of five minutes and more, standing still.
pub(crate) fn stopped() -> Frame {
    let mut snapshot = crisis();
    snapshot.source = SourceKind::Trace;
    let mut frame = live(snapshot);
    frame.timeline = Arc::new(timeline());
    frame.position = frame.timeline.at_or_before(NOW);
    frame.mode = Mode::Paused;
    frame.first = Arc::new(first());
    frame.view.events = Arc::new(events());
    frame.view.event_number = 81_204_117;
    frame.view.anchor = ClockAnchor { monotonic: Monotonic(10_000_000_000), wall: NOW };
    frame
}

/// As [`stopped`], from a file that is damaged and of which a third is not read yet.
pub(crate) fn damaged() -> Frame {
    let mut frame = stopped();
    let mut timeline = timeline();
    timeline.moments.drain(100..130);
    timeline.points.drain(100..130);
    timeline.points.truncate(200);
    timeline.marks.retain(|mark| mark.time < Wall(NOW.0 - 60 * SECOND));
    timeline.gaps = vec!["30 s missing after 16:38:49".into(), "12 records damaged".into()];
    frame.position = timeline.at_or_before(NOW);
    frame.timeline = Arc::new(timeline);
    frame
}

fn first() -> Snapshot {
    let mut first = calm();
    first.source = SourceKind::Trace;
    first.time = Wall(NOW.0 - BEFORE * SECOND);
    first.totals = Totals { standing: 535, ..Totals::default() };
    first.totals_per_s.opened = 11_800.0;
    first.counters.values_mut().for_each(|counter| *counter = 0);
    first.ports.truncate(2);
    first
}

fn timeline() -> Timeline {
    let moments: Vec<Wall> =
        (-BEFORE..=AFTER).map(|second| Wall(NOW.0 + second * SECOND)).collect();
    let points = (0..moments.len() as u64)
        .map(|at| Point {
            orphans: at * 350,
            severity: match at {
                0..210 => Severity::Ok,
                210..262 => Severity::Warn,
                _ => Severity::Crit,
            },
            ..Point::default()
        })
        .collect();
    let mut marks = crisis().anomalies;
    marks.push(Anomaly {
        time: Wall(NOW.0 + 43 * SECOND),
        severity: Severity::Crit,
        kind: "orphan-kill",
        port: None,
        text: "kernel killed 1,204 (orphans 131,072 of 131,072)".into(),
    });
    Timeline { moments, points, marks, growing: false, gaps: Vec::new() }
}

fn events() -> Vec<Event> {
    let state = |old, new| EventKind::State { old, new };
    let end = |reason| EventKind::OrphanEnd { reason, detail: EndDetail::None, cause: None };
    let kinds = [
        state(TcpState::Established, TcpState::FinWait1),
        EventKind::OrphanBegin { state: TcpState::FinWait1 },
        EventKind::ResetIn,
        end(OrphanEnd::PeerReset),
        state(TcpState::FinWait1, TcpState::FinWait2),
        EventKind::TimeWaitBegin { substate: None },
        EventKind::Close,
        end(OrphanEnd::TimedOut),
        end(OrphanEnd::Killed),
        state(TcpState::SynRecv, TcpState::Established),
    ];
    (0..60u64)
        .map(|at| Event {
            at: Monotonic(10_000_000_000 - (60 - at) * 7_131_000),
            kind: kinds[at as usize % kinds.len()],
            socket: at,
            local: ([10, 1, 0, 17].into(), 9981),
            peer: if at % 7 == 3 {
                ("2001:db8:4:12::7:91".parse().unwrap(), 51_230)
            } else {
                ([10, 4, 11, at as u8].into(), 40_112)
            },
            owner: (at % 5 != 1).then(|| Arc::new(Owner { pid: 4121, comm: "httpdns".into() })),
            netns: 1,
            born: None,
        })
        .collect()
}
