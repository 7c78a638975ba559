//! Between a tape and the screen: a thread that plays the tape and answers what keys ask of it.
//!
//! `top` runs it over the last minutes of a live run, `replay` over a file: both are [`run`]. Three
//! threads at most: the screen on the one that calls, the tape on another, so that reading a file
//! never holds up a key, and whatever feeds a live tape on a third.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::watch;

use crate::error::Failure;
use crate::playback::transport::{Begin, Command, Transport};
use crate::playback::{Frame, Tape};
use crate::tui;

/// How often a file is looked at for more.
const LOOK: Duration = Duration::from_millis(200);
/// Moments come no faster than this however fast it plays; the screen draws no faster either.
const FASTEST: Duration = Duration::from_millis(50);
/// There is nothing to wait for but a key.
const FOREVER: Duration = Duration::from_secs(3600);

/// What wakes the driver.
enum Post {
    Command(Command),
    /// The tape was fed.
    News,
    /// There will be no more, or nobody looks any more.
    Over,
}

/// What a feeder gets to know, and tells.
pub struct Feeding {
    stop: Arc<AtomicBool>,
    post: Sender<Post>,
}

impl Feeding {
    /// Set when nobody looks any more.
    #[must_use]
    pub fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// The tape has something new.
    pub fn news(&self) {
        // Without a driver nobody wants to know.
        let _ = self.post.send(Post::News);
    }
}

/// Shows a tape until the user leaves or a signal comes.
///
/// # Errors
///
/// `begin` names a place that is not on the tape; the tape cannot be read; the terminal fails.
pub fn run<T: Tape + 'static>(tape: T, begin: Begin, screen: tui::Options) -> Result<()> {
    show(tape, begin, screen, None::<fn(&Feeding) -> Result<()>>)
}

/// As [`run`], over a tape that `feed` fills from a thread of its own. The end of `feed` is the end
/// of the screen.
///
/// # Errors
///
/// As [`run`]; or what `feed` returns.
pub fn run_fed<T, F>(tape: T, begin: Begin, screen: tui::Options, feed: F) -> Result<()>
where
    T: Tape + 'static,
    F: FnOnce(&Feeding) -> Result<()> + Send + 'static,
{
    show(tape, begin, screen, Some(feed))
}

fn show<T, F>(tape: T, begin: Begin, screen: tui::Options, feed: Option<F>) -> Result<()>
where
    T: Tape + 'static,
    F: FnOnce(&Feeding) -> Result<()> + Send + 'static,
{
    let mut transport = Transport::new(tape, screen.zone.clone(), begin)
        .map_err(|why| Failure::usage(why).hint("look at all of it: leave `--at` out"))?;
    // Better said before there is a screen than on it.
    if feed.is_none() && transport.frame()?.is_none() && transport.is_void() {
        return Err(nothing_to_show(&transport));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the screen's event loop")?;
    let (post, posts) = channel();
    let (frames, newest) = watch::channel(None);
    let stop = Arc::new(AtomicBool::new(false));

    let is_fed = feed.is_some();
    let driver = spawn("sockflow-play", move || {
        // The end of the driver drops `frames`: the screen knows then that nothing more comes.
        drive(&mut transport, &posts, &frames, if is_fed { None } else { Some(LOOK) })
    })?;
    let feeder = match feed {
        Some(feed) => {
            let feeding = Feeding { stop: Arc::clone(&stop), post: post.clone() };
            Some(spawn("sockflow-feed", move || {
                let fed = feed(&feeding);
                let _ = feeding.post.send(Post::Over);
                fed
            })?)
        }
        None => None,
    };

    let send = |command| {
        // A driver that is gone has ended the screen already.
        let _ = post.send(Post::Command(command));
    };
    let exit = runtime.block_on(tui::run(newest, send, screen));
    stop.store(true, Ordering::Relaxed);
    let _ = post.send(Post::Over);
    let driven = joined(driver);
    let fed = feeder.map_or(Ok(()), joined);
    exit?;
    driven?;
    fed
}

fn spawn(
    name: &str,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<Result<()>>> {
    std::thread::Builder::new().name(name.into()).spawn(work).context("cannot start a thread")
}

fn joined(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread of the screen panicked")))
}

/// Plays until it is over. A command is answered at once; of several that wait, only the last one's
/// moment is read. `look` is how often to look for news where nobody tells.
fn drive<T: Tape>(
    transport: &mut Transport<T>,
    posts: &Receiver<Post>,
    frames: &watch::Sender<Option<Frame>>,
    look: Option<Duration>,
) -> Result<()> {
    let mut changed = transport.poll()? || transport.frame()?.is_some();
    let mut then = Instant::now();
    loop {
        // A file of which no moment can be shown: nobody has to wait for one.
        if look.is_some() && transport.is_void() {
            return Err(nothing_to_show(transport));
        }
        if changed && let Some(frame) = transport.frame()? {
            // Nobody looks: over will be told soon.
            let _ = frames.send(Some(frame));
        }
        let due = transport.due().map(|due| due.max(FASTEST));
        let look = if transport.is_being_read() { Some(Duration::ZERO) } else { look };
        let look = look.filter(|_| transport.expects_news());
        let wait = [due, look].into_iter().flatten().min().unwrap_or(FOREVER);
        let first = match posts.recv_timeout(wait) {
            Ok(post) => Some(post),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let now = Instant::now();
        changed = transport.advance(now - then);
        then = now;
        for post in first.into_iter().chain(posts.try_iter()) {
            match post {
                Post::Command(command) => {
                    transport.command(command);
                    changed = true;
                }
                // Whatever woke us, the tape is polled below.
                Post::News => {}
                Post::Over => return Ok(()),
            }
        }
        changed |= transport.poll()?;
    }
}

fn nothing_to_show<T: Tape>(transport: &Transport<T>) -> anyhow::Error {
    let gaps = transport.gaps();
    let what = match gaps {
        [] => "the trace has no moment to show".to_owned(),
        [gap] => format!("no moment of the trace is whole: {}", gap.text),
        [gap, ..] => {
            format!("no moment of the trace is whole: {}, and {} more", gap.text, gaps.len() - 1)
        }
    };
    Failure::failed(what)
        .hint("what can be had of it: `sockflow export FILE --format jsonl`")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::snapshot::Snapshot;
    use crate::playback::live::LiveTape;
    use crate::playback::{Mode, Timeline, View};
    use crate::time::Wall;
    use crate::tui::tests::fixture;
    use jiff::SignedDuration;
    use jiff::tz::TimeZone;

    fn at(second: i64) -> Arc<Snapshot> {
        let mut snapshot = fixture::empty();
        snapshot.time = Wall(second * 1_000_000_000);
        Arc::new(snapshot)
    }

    /// Waits until a frame is as it should be.
    fn seen(frames: &mut watch::Receiver<Option<Frame>>, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wait = frames.wait_for(|frame| frame.as_ref().is_some_and(&wanted));
            let frame = tokio::time::timeout(Duration::from_secs(10), wait).await;
            frame.expect("in time").expect("the driver runs").clone().expect("a frame")
        })
    }

    fn second(frame: &Frame) -> i64 {
        frame.view.snapshot.time.0 / 1_000_000_000
    }

    #[test]
    fn it_follows_what_is_fed_and_answers_commands() {
        let tape = LiveTape::default();
        let feed = tape.feed();
        let begin = Begin { mode: Mode::Live, ..Begin::default() };
        let mut transport = Transport::new(tape, TimeZone::UTC, begin).unwrap();
        let (post, posts) = channel();
        let (frames, mut newest) = watch::channel(None);
        let driver = std::thread::spawn(move || drive(&mut transport, &posts, &frames, None));
        for tick in 1..=20 {
            feed.push(at(tick));
            post.send(Post::News).unwrap();
        }
        seen(&mut newest, |frame| second(frame) == 20 && frame.mode == Mode::Live);
        for command in [
            Command::Seek(SignedDuration::from_secs(-10)),
            Command::Seek(SignedDuration::from_secs(-5)),
            Command::Step(1),
        ] {
            post.send(Post::Command(command)).unwrap();
        }
        let frame = seen(&mut newest, |frame| second(frame) == 6);
        assert_eq!(frame.mode, Mode::Paused);
        feed.push(at(21));
        post.send(Post::News).unwrap();
        seen(&mut newest, |frame| second(frame) == 6 && frame.timeline.moments.len() == 21);
        post.send(Post::Over).unwrap();
        driver.join().unwrap().unwrap();
        assert!(newest.has_changed().is_err(), "the screen learns that it is over");
    }

    /// A file of three moments, a tenth of a second apart; the last cannot be read.
    struct Broken;

    impl Tape for Broken {
        fn timeline(&self) -> Arc<Timeline> {
            let moments = (0..3).map(|at| Wall(at * 100_000_000)).collect();
            Arc::new(Timeline { moments, ..Timeline::default() })
        }

        fn view(&mut self, moment: usize) -> Result<Option<View>> {
            anyhow::ensure!(moment < 2, "the disk is gone");
            let mut snapshot = fixture::empty();
            snapshot.time = self.timeline().moments[moment];
            Ok(Some(View {
                snapshot: Arc::new(snapshot),
                events: Arc::default(),
                event_number: 0,
                anchor: crate::time::ClockAnchor::default(),
                doctor: None,
            }))
        }

        fn moment_of_event(&mut self, _: u64) -> Option<usize> {
            None
        }

        fn poll(&mut self) -> Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn it_plays_by_the_clock_and_ends_when_the_tape_cannot_be_read() {
        let begin = Begin { mode: Mode::Playing, ..Begin::default() };
        let mut transport = Transport::new(Broken, TimeZone::UTC, begin).unwrap();
        let (_post, posts) = channel();
        let (frames, newest) = watch::channel(None);
        let began = Instant::now();
        let error = drive(&mut transport, &posts, &frames, Some(LOOK)).unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        let shown = newest.borrow().clone().unwrap();
        assert_eq!(shown.position, 1);
    }

    #[derive(clap::Parser, Debug)]
    struct Words {
        #[arg(long, allow_hyphen_values = true)]
        at: crate::playback::goto::Goto,
        #[arg(long)]
        speed: crate::playback::Speed,
    }

    #[test]
    fn places_and_speeds_are_options_too() {
        use clap::Parser as _;
        for at in ["-5m", "+30s", "16:41:52", "2026-11-22 16:41", "!3", "@12345", "max"] {
            let words = Words::try_parse_from(["x", "--at", at, "--speed", "x4"]).unwrap();
            assert_eq!(words.speed.to_string(), "x4");
            assert_eq!(words.at, at.parse().unwrap());
        }
        let error = Words::try_parse_from(["x", "--at", "noon", "--speed", "4"]).unwrap_err();
        assert!(error.to_string().contains("`noon` is no time; expected a time"), "{error}");
    }

    #[test]
    fn a_place_that_is_not_there_is_a_mistake_of_the_command_line() {
        let begin = Begin { at: Some("@7".parse().unwrap()), ..Begin::default() };
        let error = run(Broken, begin, tui::Options::default()).unwrap_err();
        let (text, code) = crate::error::report(&error);
        assert!(text.contains("event @7 is not here") && text.contains("hint:"), "{text}");
        assert_eq!(code, 2);
    }
}
