//! What each command does, on tapes of one moment a second.

use proptest::prelude::*;

use super::*;
use crate::aggregate::snapshot::{Anomaly, Severity};
use crate::playback::Point;
use crate::time::ClockAnchor;
use crate::tui::tests::fixture;

const SECOND: i64 = 1_000_000_000;

/// Moments at these seconds, anomalies at those; how often each view was read.
struct Script {
    timeline: Timeline,
    news: Option<Timeline>,
    read: Vec<usize>,
}

impl Script {
    fn new(seconds: impl IntoIterator<Item = i64>, marks: &[i64], growing: bool) -> Self {
        let moments: Vec<Wall> = seconds.into_iter().map(|at| Wall(at * SECOND)).collect();
        let mark = |at: &i64| Anomaly {
            time: Wall(at * SECOND),
            severity: Severity::Warn,
            kind: "tcp_mem",
            port: None,
            text: String::new(),
        };
        let timeline = Timeline {
            points: vec![Point::default(); moments.len()],
            marks: marks.iter().map(mark).collect(),
            moments,
            growing,
            gaps: Vec::new(),
        };
        Self { timeline, news: None, read: Vec::new() }
    }
}

impl Tape for Script {
    fn timeline(&self) -> Arc<Timeline> {
        Arc::new(self.timeline.clone())
    }

    fn view(&mut self, moment: usize) -> Result<Option<View>> {
        self.read.push(moment);
        let mut snapshot = fixture::empty();
        snapshot.time = self.timeline.moments[moment];
        Ok(Some(View {
            snapshot: Arc::new(snapshot),
            events: Arc::default(),
            event_number: 0,
            anchor: ClockAnchor::default(),
            doctor: None,
        }))
    }

    fn moment_of_event(&mut self, number: u64) -> Option<usize> {
        usize::try_from(number).ok().filter(|at| *at < self.timeline.moments.len())
    }

    fn poll(&mut self) -> Result<bool> {
        let news = self.news.take();
        Ok(news.map(|news| self.timeline = news).is_some())
    }
}

fn begin(mode: Mode) -> Begin {
    Begin { mode, ..Begin::default() }
}

/// A finished tape of 100 seconds with anomalies at 10, 50 and 51 s.
fn finished() -> Transport<Script> {
    let tape = Script::new(0..100, &[10, 50, 51], false);
    Transport::new(tape, TimeZone::UTC, begin(Mode::Paused)).unwrap()
}

/// The second that is shown.
fn second(transport: &mut Transport<Script>) -> i64 {
    transport.frame().unwrap().unwrap().view.snapshot.time.0 / SECOND
}

fn told(transport: &mut Transport<Script>, commands: &[Command]) -> i64 {
    for command in commands {
        transport.command(command.clone());
    }
    second(transport)
}

fn seek(seconds: i64) -> Command {
    Command::Seek(SignedDuration::from_secs(seconds))
}

#[test]
fn steps_and_seeks_stop_at_both_ends() {
    let mut it = finished();
    assert_eq!(told(&mut it, &[Command::Step(1)]), 1);
    assert_eq!(told(&mut it, &[seek(30), seek(-1)]), 30);
    assert_eq!(told(&mut it, &[Command::Step(-50)]), 0);
    assert_eq!(it.frame().unwrap().unwrap().refused, None);
    assert_eq!(told(&mut it, &[Command::Step(-1)]), 0);
    let refused = it.frame().unwrap().unwrap().refused;
    assert_eq!(refused.as_deref(), Some("this is the first moment"));
    assert_eq!(told(&mut it, &[seek(1_000)]), 99);
    assert_eq!(told(&mut it, &[Command::Start]), 0);
    assert_eq!(told(&mut it, &[Command::End]), 99);
}

#[test]
fn a_seek_goes_at_least_one_moment() {
    let tape = Script::new([0, 60, 120], &[], false);
    let mut it = Transport::new(tape, TimeZone::UTC, begin(Mode::Paused)).unwrap();
    assert_eq!(told(&mut it, &[seek(1)]), 60);
    assert_eq!(told(&mut it, &[seek(-1)]), 0);
}

#[test]
fn many_seeks_read_one_moment() {
    let mut it = finished();
    second(&mut it);
    it.tape.read.clear();
    assert_eq!(told(&mut it, &[seek(5), seek(5), Command::Goto(Goto::End), seek(-9)]), 90);
    assert_eq!(second(&mut it), 90);
    assert_eq!(it.tape.read, [90]);
}

#[test]
fn anomalies_are_stops() {
    let mut it = finished();
    assert_eq!(told(&mut it, &[Command::NextMark]), 10);
    assert_eq!(told(&mut it, &[Command::NextMark, Command::NextMark]), 51);
    assert_eq!(told(&mut it, &[Command::NextMark]), 51);
    let refused = it.frame().unwrap().unwrap().refused;
    assert_eq!(refused.as_deref(), Some("no later anomaly"));
    assert_eq!(told(&mut it, &[Command::PreviousMark]), 50);
    assert_eq!(it.frame().unwrap().unwrap().refused, None, "the next command clears it");
}

#[test]
fn playing_takes_its_time_and_stops_at_the_end() {
    let mut it = finished();
    it.command(Command::PlayPause);
    assert_eq!(it.due(), Some(Duration::from_secs(1)));
    assert!(!it.advance(Duration::from_millis(600)));
    assert_eq!(it.due(), Some(Duration::from_millis(400)));
    assert!(it.advance(Duration::from_millis(500)));
    assert_eq!(second(&mut it), 1);
    assert_eq!(it.due(), Some(Duration::from_millis(900)), "what is over counts for the next");
    told(&mut it, &[Command::Faster, Command::Faster]);
    it.advance(Duration::from_secs(10));
    assert_eq!(second(&mut it), 41, "x4");
    assert!(it.advance(Duration::from_secs(60)));
    assert_eq!((second(&mut it), it.mode), (99, Mode::Paused));
    assert_eq!(it.due(), None);
    told(&mut it, &[Command::PlayPause]);
    assert_eq!((second(&mut it), it.mode), (0, Mode::Playing), "again from the start");
}

#[test]
fn seeking_while_playing_plays_on_and_a_step_stands() {
    let mut it = finished();
    told(&mut it, &[Command::PlayPause, seek(20), Command::NextMark]);
    assert_eq!((second(&mut it), it.mode), (50, Mode::Playing));
    told(&mut it, &[Command::Step(1)]);
    assert_eq!((second(&mut it), it.mode), (51, Mode::Paused));
}

#[test]
fn a_gap_is_not_waited_for() {
    let tape = Script::new([0, 1, 5_000], &[], false);
    let mut it = Transport::new(tape, TimeZone::UTC, begin(Mode::Playing)).unwrap();
    it.advance(Duration::from_secs(1));
    assert_eq!(it.due(), Some(Duration::from_secs(10)));
}

fn grow(it: &mut Transport<Script>, seconds: std::ops::Range<i64>) {
    it.tape.news = Some(Script::new(seconds, &[], true).timeline);
    assert!(it.poll().unwrap());
}

fn live() -> Transport<Script> {
    Transport::new(Script::new(0..10, &[], true), TimeZone::UTC, begin(Mode::Live)).unwrap()
}

#[test]
fn live_follows_the_newest() {
    let mut it = live();
    assert_eq!(second(&mut it), 9);
    grow(&mut it, 0..12);
    assert_eq!(second(&mut it), 11);
    assert!(!it.poll().unwrap());
}

#[test]
fn a_file_that_is_finished_is_not_live_any_more() {
    let mut it = live();
    it.tape.news = Some(Script::new(0..12, &[], false).timeline);
    it.poll().unwrap();
    assert_eq!((second(&mut it), it.mode), (11, Mode::Paused));
    assert!(!it.expects_news());
}

#[test]
fn what_was_frozen_stays_and_goes_on_at_the_newest() {
    let mut it = live();
    told(&mut it, &[Command::PlayPause]);
    grow(&mut it, 0..20);
    assert_eq!((second(&mut it), it.mode), (9, Mode::Paused));
    let behind = it.frame().unwrap().unwrap().behind_s();
    assert!((behind - 10.0).abs() < 1e-9);
    told(&mut it, &[Command::PlayPause]);
    assert_eq!((second(&mut it), it.mode), (19, Mode::Live));
}

#[test]
fn who_went_back_plays_from_there_until_it_is_now() {
    let mut it = live();
    told(&mut it, &[seek(-5)]);
    assert_eq!((second(&mut it), it.mode), (4, Mode::Paused));
    told(&mut it, &[Command::PlayPause]);
    assert_eq!((second(&mut it), it.mode), (4, Mode::Playing));
    it.advance(Duration::from_secs(2));
    assert_eq!(second(&mut it), 6);
    it.advance(Duration::from_secs(9));
    assert_eq!((second(&mut it), it.mode), (9, Mode::Live), "caught up");
    assert_eq!(told(&mut it, &[seek(-5), Command::Live]), 9);
    assert_eq!(it.mode, Mode::Live);
}

#[test]
fn a_moment_that_the_tape_drops_stays_on_screen() {
    let mut it = live();
    told(&mut it, &[Command::Start]);
    grow(&mut it, 5..15);
    assert_eq!(second(&mut it), 0);
    assert_eq!(told(&mut it, &[Command::Step(-1)]), 0, "nothing earlier");
    assert_eq!(told(&mut it, &[Command::Step(1)]), 5);
    grow(&mut it, 7..17);
    assert_eq!(told(&mut it, &[Command::Step(3)]), 9, "positions are times");
    assert_eq!(it.frame().unwrap().unwrap().first.time, Wall(0), "compared with the very first");
}

#[test]
fn an_empty_tape_shows_nothing_until_something_comes() {
    let tape = Script::new([], &[], true);
    let mut it = Transport::new(tape, TimeZone::UTC, begin(Mode::Live)).unwrap();
    for command in [Command::PlayPause, Command::Step(1), seek(1), Command::NextMark] {
        it.command(command);
        assert!(it.frame().unwrap().is_none());
    }
    it.command(Command::Live);
    assert!(it.expects_news());
    grow(&mut it, 3..5);
    assert_eq!(second(&mut it), 4);
}

#[test]
fn a_tape_begins_where_it_is_told() {
    let at = |place| Begin { at: Some(place), ..begin(Mode::Paused) };
    let tape = || Script::new(0..100, &[10], false);
    let new = |place: &str| Transport::new(tape(), TimeZone::UTC, at(Goto::parse(place).unwrap()));
    assert_eq!(second(&mut new("+30s").unwrap()), 30);
    assert_eq!(second(&mut new("-9s").unwrap()), 90);
    assert_eq!(second(&mut new("@12").unwrap()), 12);
    assert_eq!(new("!2").err().unwrap(), "there is one anomaly: !1");
}

#[test]
fn what_is_not_read_yet_is_gone_to_when_it_is() {
    let mut unread = Script::new(0..100, &[], false);
    unread.timeline.points.clear();
    let begin = Begin { at: Some(Goto::Anomaly(1)), ..begin(Mode::Paused) };
    let mut it = Transport::new(unread, TimeZone::UTC, begin).unwrap();
    assert_eq!(second(&mut it), 0);
    assert!(it.frame().unwrap().unwrap().refused.unwrap().contains("still looking"));
    it.tape.news = Some(Script::new(0..100, &[40], false).timeline);
    assert!(it.poll().unwrap());
    assert_eq!(second(&mut it), 40);
    assert_eq!(it.frame().unwrap().unwrap().refused, None);
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::PlayPause),
        Just(Command::Faster),
        Just(Command::Slower),
        any::<i64>().prop_map(Command::Step),
        (-9i64..9).prop_map(Command::Step),
        any::<i64>().prop_map(seek),
        (-9i64..9).prop_map(seek),
        Just(Command::NextMark),
        Just(Command::PreviousMark),
        Just(Command::Start),
        Just(Command::End),
        Just(Command::Live),
        Just(Command::Goto(Goto::Max)),
        Just(Command::Goto(Goto::Anomaly(2))),
        any::<u64>().prop_map(|number| Command::Goto(Goto::Event(number))),
    ]
}

proptest! {
    /// Whatever is asked for: a moment of the tape is shown, and time passes forward.
    #[test]
    fn the_position_is_always_on_the_tape(
        commands in prop::collection::vec((command(), 0u64..5_000), 0..40),
        growing in any::<bool>(),
        length in 1i64..30,
    ) {
        let tape = Script::new(0..length, &[3, 3, 9, 25], growing);
        let mut it = Transport::new(tape, TimeZone::UTC, begin(Mode::Paused)).unwrap();
        for (command, millis) in commands {
            it.command(command);
            let before = second(&mut it);
            it.advance(Duration::from_millis(millis));
            let after = second(&mut it);
            prop_assert!((0..length).contains(&after) && after >= before);
            let frame = it.frame().unwrap().unwrap();
            prop_assert_eq!(frame.timeline.moments[frame.position], frame.view.snapshot.time);
            prop_assert!(growing || it.mode != Mode::Live);
            if it.mode == Mode::Live {
                prop_assert_eq!(frame.position, frame.timeline.moments.len() - 1);
            }
        }
    }
}

#[test]
fn it_opens_at_the_first_anomaly_as_soon_as_that_is_read() {
    let open = |script: Script| {
        let begin = Begin { mode: Mode::Paused, first_anomaly: true, ..Begin::default() };
        Transport::new(script, TimeZone::UTC, begin).unwrap()
    };
    let frame = |transport: &mut Transport<Script>| transport.frame().unwrap().unwrap();
    // It is known at once.
    let mut known = open(Script::new(0..20, &[7, 9], false));
    assert_eq!((frame(&mut known).position, known.mode), (7, Mode::Paused));
    assert!(frame(&mut known).note.unwrap().starts_with("opened at the first anomaly"));
    known.command(Command::Start);
    assert_eq!((frame(&mut known).position, frame(&mut known).note), (0, None));
    // It is read later; a command that comes before wins.
    let unread = || {
        let whole = Script::new(0..20, &[7], false);
        let mut script = Script::new(0..20, &[], false);
        script.timeline.points.truncate(3);
        script.news = Some(whole.timeline);
        script
    };
    let mut later = open(unread());
    assert_eq!(frame(&mut later).position, 0);
    assert_eq!(frame(&mut later).note.unwrap(), "the first anomaly is being looked for");
    assert!(later.poll().unwrap());
    assert_eq!(frame(&mut later).position, 7);
    assert_eq!(
        frame(&mut later).note.unwrap(),
        "opened at the first anomaly; ]: the next, Home: the start"
    );
    let mut hasty = open(unread());
    hasty.command(Command::Faster);
    assert!(hasty.poll().unwrap());
    assert_eq!((frame(&mut hasty).position, frame(&mut hasty).note), (0, None));
    // There is none.
    let mut calm = open(Script::new(0..20, &[], false));
    assert_eq!(frame(&mut calm).position, 0);
    assert_eq!(frame(&mut calm).note.unwrap(), "no anomaly in this trace; Space plays it");
    assert_eq!(frame(&mut calm).refused, None, "nobody asked for one");
}
