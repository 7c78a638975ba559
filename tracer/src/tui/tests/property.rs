//! No size, no number and no key makes the screen panic.

use std::sync::Arc;

use proptest::prelude::*;

use super::{fixture, model_of, picture, replay, tell};
use crate::aggregate::snapshot::*;
use crate::playback::{Frame, Mode as TapeMode, Point, Timeline};
use crate::time::Wall;
use crate::tui::keymap::{BINDINGS, Mode};
use crate::tui::message::Message;
use crate::tui::symbols::Symbols;

/// Numbers as they are, and numbers as they should never be.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0u64..200_000, any::<u64>()]
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::MAX),
        -1e6..1e6f64,
        any::<f64>()
    ]
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    (
        prop::collection::vec(number(), 16),
        prop::collection::vec(real(), 8),
        prop::collection::vec((any::<i64>(), number()), 0..40),
        (any::<String>(), any::<String>(), any::<bool>()),
        (0usize..8, 0usize..8, any::<Option<f64>>()),
    )
        .prop_map(|(counts, reals, history, (name, text, odd), (ports, processes, soon))| {
            let mut it = if odd { fixture::crisis() } else { fixture::empty() };
            it.states.established = counts[0];
            it.states.fin_wait1 = counts[1];
            it.states.time_wait = counts[2];
            it.states_per_s.fin_wait1 = reals[0];
            it.orphans.host = counts[3];
            it.orphans.limit = Some(counts[4]);
            it.orphans.by_state.fin_wait1 = counts[5];
            it.orphans.by_state.closing = counts[6];
            it.orphans.bytes = counts[7];
            it.orphans.growth_per_s = Some(reals[1]);
            it.orphans.limit_in_s = soon;
            it.orphans.drift = counts[8].cast_signed();
            it.tcp_mem.pages = counts[9];
            it.tcp_mem.high = Some(counts[10]);
            it.tcp_mem.low = Some(counts[11]);
            it.tcp_mem.limit_in_s = soon;
            it.tw_buckets.limit = counts[12];
            it.lost.detail = counts[13];
            it.lost.missed = counts[14];
            it.interval_s = reals[2];
            it.own_cost.cpu_percent = reals[3];
            it.host.name.clone_from(&name);
            it.verdict.text.clone_from(&text);
            it.filter.clone_from(&name);
            it.time = Wall(history.first().map_or(0, |(time, _)| *time));
            it.history = Arc::new(
                history
                    .iter()
                    .map(|(time, orphans)| HistoryPoint {
                        time: Wall(*time),
                        orphans_host: *orphans,
                        ..HistoryPoint::default()
                    })
                    .collect(),
            );
            let mut port = fixture::crisis().ports.remove(0);
            port.orphans = counts[15];
            port.growth_per_s = Some(reals[4]);
            port.fin_wait1_ms.p99 = reals[5];
            port.owner = Some(Owner { pid: 1, comm: name.clone() });
            port.history = Arc::new(history.iter().map(|(_, orphans)| *orphans).collect());
            it.ports = vec![port; ports];
            let mut process = fixture::crisis().processes.remove(0);
            process.comm = Some(text.clone());
            process.cgroup = Some(text);
            process.growth_per_s = Some(reals[6]);
            it.processes = vec![process; processes];
            it
        })
}

/// Any moment of any tape: unsorted, half read, with marks and events that make no sense.
fn frame() -> impl Strategy<Value = Frame> {
    (
        snapshot(),
        prop::collection::vec(any::<i64>(), 0..60),
        (0usize..70, 0usize..70, number()),
        prop::collection::vec((any::<i64>(), any::<String>()), 0..9),
        (any::<bool>(), any::<bool>(), 0u8..3, any::<bool>()),
        (any::<Option<String>>(), prop::collection::vec(any::<u64>(), 0..20)),
    )
        .prop_map(
            |(mut snapshot, mut times, (points, at, number), marks, flags, (refused, odd))| {
                let (growing, sorted, mode, live) = flags;
                if sorted {
                    times.sort_unstable();
                }
                if !live {
                    snapshot.source = SourceKind::Trace;
                }
                let mut events = replay::stopped().view.events.to_vec();
                events.truncate(odd.len());
                for (event, at) in events.iter_mut().zip(&odd) {
                    event.at = crate::time::Monotonic(*at);
                }
                let mut frame = replay::live(snapshot);
                frame.timeline = Arc::new(Timeline {
                    moments: times.iter().map(|at| Wall(*at)).collect(),
                    points: vec![
                        Point {
                            orphans: number,
                            severity: Severity::Warn,
                            ..Point::default()
                        };
                        points
                    ],
                    marks: marks
                        .iter()
                        .map(|(at, text)| Anomaly {
                            time: Wall(*at),
                            severity: Severity::Crit,
                            kind: "orphan-kill",
                            port: None,
                            text: text.clone(),
                        })
                        .collect(),
                    growing,
                    gaps: marks.into_iter().map(|(_, text)| text.into()).collect(),
                });
                frame.position = at;
                frame.mode =
                    [TapeMode::Live, TapeMode::Paused, TapeMode::Playing][usize::from(mode)];
                frame.refused = refused;
                if growing {
                    frame.view.doctor = super::doctoring::crisis().view.doctor;
                }
                frame.view.event_number = number;
                frame.view.events = Arc::new(events);
                frame
            },
        )
}

fn message() -> impl Strategy<Value = Message> {
    let bindings = BINDINGS.iter().filter(|it| it.mode == Mode::Command);
    let all: Vec<Message> = bindings.map(|it| it.message.clone()).collect();
    prop_oneof![
        4 => prop::sample::select(all),
        1 => any::<char>().prop_map(Message::Type),
        1 => prop::sample::select(vec![Message::Accept, Message::Cancel, Message::GotoEdit]),
        1 => (0u16..250, 0u16..80).prop_map(|(width, height)| Message::Resized(width, height)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_panics(
        first in frame(),
        second in frame(),
        size in (0u16..250, 0u16..80),
        messages in prop::collection::vec(message(), 0..12),
        utf8 in any::<bool>(),
    ) {
        let symbols = if utf8 { Symbols::UTF8 } else { Symbols::ASCII };
        let mut model = model_of(first, size, symbols);
        picture(&model);
        for message in messages {
            tell(&mut model, [message]);
            picture(&model);
        }
        tell(&mut model, [Message::Arrived(second)]);
        let picture = picture(&model);
        prop_assert!(utf8 || picture.is_ascii(), "{picture}");
    }
}

/// Every size there is up to a large one, on every screen: slow sizes are small ones.
#[test]
fn every_size_works() {
    for messages in [
        vec![],
        vec![Message::Open],
        vec![Message::FocusNext, Message::Open],
        vec![Message::Help],
        vec![Message::Trust],
    ] {
        sizes(replay::live(fixture::crisis()), messages, 1);
    }
    for messages in [
        vec![Message::ShowDoctor],
        vec![Message::ShowDoctor, Message::SelectLast, Message::PageDown],
        vec![Message::ShowDoctor, Message::Open],
    ] {
        sizes(super::doctoring::crisis(), messages, 3);
    }
    for messages in [
        vec![],
        vec![Message::ShowEvents],
        vec![Message::ShowDifferences],
        vec![Message::GotoEdit, Message::Accept],
    ] {
        sizes(replay::damaged(), messages, 3);
    }
}

fn sizes(frame: Frame, messages: Vec<Message>, step: usize) {
    let mut model = model_of(frame, (0, 0), Symbols::UTF8);
    tell(&mut model, messages);
    for width in (0..130).step_by(step).chain([179, 180, 249]) {
        for height in [0, 1, 2, 3, 5, 7, 8, 9, 12, 17, 23, 24, 29, 30, 44, 45, 80] {
            tell(&mut model, [Message::Resized(width, height)]);
            super::buffer(&model);
        }
    }
}
