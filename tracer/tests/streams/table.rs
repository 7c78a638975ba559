//! Runs commands with streams that cannot be written, and holds their exit codes against the rules:
//! 0 where the reader of stdout has gone, 1 where stdout is full, and stderr changes nothing.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Why it cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `>&-`.
    Closed,
    /// `/dev/full`: no room.
    Full,
    /// A pipe that nobody reads any more.
    Gone,
    /// A pipe that is full and that somebody could read, but does not.
    Stuck,
}

#[derive(Debug)]
pub(crate) struct Case {
    /// As typed after `sockflow`.
    pub typed: String,
    /// The exit code where all can be written.
    pub code: i32,
    /// Whether it writes to stdout.
    pub has_data: bool,
}

impl Case {
    fn expected(&self, broken: &[(Stream, Kind)]) -> i32 {
        let stdout = broken.iter().find(|(stream, _)| *stream == Stream::Stdout);
        match stdout.filter(|_| self.has_data) {
            Some((_, Kind::Full)) => 1,
            Some((_, Kind::Gone)) => 0,
            // The standard library opens /dev/null in its place.
            _ => self.code,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` where a signal ended it, or where it did not end.
    pub code: Option<i32>,
    pub said: String,
}

/// The binary under test, or another one, to see what that did: then nothing is asserted.
fn binary() -> (String, bool) {
    std::env::var("SOCKFLOW_BEFORE")
        .map_or_else(|_| (env!("CARGO_BIN_EXE_sockflow").to_owned(), true), |path| (path, false))
}

fn stdio(kind: Kind, held: &mut Vec<std::io::PipeReader>) -> Stdio {
    match kind {
        Kind::Closed => Stdio::null(), // Closed by the shell.
        Kind::Full => OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into(),
        Kind::Gone => std::io::pipe().expect("a pipe").1.into(),
        Kind::Stuck => {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            rustix::io::ioctl_fionbio(&writer, true).expect("it does not block");
            while rustix::io::write(&writer, &[b'.'; 4096]).is_ok() {}
            rustix::io::ioctl_fionbio(&writer, false).expect("it blocks");
            held.push(reader);
            writer.into()
        }
    }
}

/// Runs it, for 20 s at most, with streams broken.
pub(crate) fn run(typed: &str, broken: &[(Stream, Kind)]) -> Ended {
    let mut script = String::from(r#"exec "$0" "$@""#);
    let mut held = Vec::new();
    let (mut stdout, mut stderr) = (Stdio::null(), Stdio::piped());
    for (stream, kind) in broken {
        let (number, place) = match stream {
            Stream::Stdout => (1, &mut stdout),
            Stream::Stderr => (2, &mut stderr),
        };
        *place = stdio(*kind, &mut held);
        if *kind == Kind::Closed {
            script.push_str(&format!(" {number}>&-"));
        }
    }
    let mut child = Command::new("sh")
        .args(["-c", &script, &binary().0])
        .args(typed.split_whitespace())
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("it starts");
    let said = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default())
    });
    let began = Instant::now();
    let mut status = None;
    while status.is_none() && began.elapsed() < Duration::from_secs(20) {
        status = child.try_wait().expect("its status");
        std::thread::sleep(Duration::from_millis(2));
    }
    // Both do nothing where it has ended.
    child.kill().expect("it is ours");
    child.wait().expect("its status");
    Ended {
        code: status.and_then(|status| status.code()),
        said: said.map_or_else(String::new, |said| said.join().expect("its stderr")),
    }
}

/// Every way in which one stream, or both, can be broken.
fn ways() -> Vec<Vec<(Stream, Kind)>> {
    use Kind::{Closed, Full, Gone, Stuck};
    use Stream::{Stderr, Stdout};
    let mut ways = vec![vec![]];
    for stderr in [Closed, Full, Gone, Stuck] {
        ways.push(vec![(Stderr, stderr)]);
    }
    for stdout in [Closed, Full, Gone] {
        ways.push(vec![(Stdout, stdout)]);
        ways.push(vec![(Stdout, stdout), (Stderr, stdout)]);
    }
    ways
}

fn name(way: &[(Stream, Kind)]) -> String {
    let one = |(stream, kind): &(Stream, Kind)| {
        format!("{}:{kind:?}", if *stream == Stream::Stdout { 1 } else { 2 })
    };
    let all: Vec<String> = way.iter().map(one).collect();
    if all.is_empty() { "as usual".to_owned() } else { all.join(" ") }
}

/// Runs every case in every way, prints the exit codes as a table, and asserts that they are right.
pub(crate) fn assert_table(cases: Vec<Case>) {
    let ways = ways();
    let mut wrong = Vec::new();
    let header: Vec<String> = ways.iter().map(|way| format!("{:>15}", name(way))).collect();
    println!("{}  sockflow …", header.join(" "));
    for case in cases {
        let mut row = String::new();
        for way in &ways {
            let ended = run(&case.typed, way);
            let expected = case.expected(way);
            let panicked = ended.said.contains("panicked");
            let is_right = ended.code == Some(expected) && !panicked;
            let code = ended.code.map_or_else(|| "hangs".to_owned(), |code| code.to_string());
            row.push_str(&format!("{:>15} ", if is_right { code } else { format!("{code} ✗") }));
            if !is_right {
                let (typed, way) = (&case.typed, name(way));
                wrong.push(format!("{typed}, {way}: {ended:?}, not {expected}"));
            }
        }
        println!("{row} {}", case.typed);
    }
    if binary().1 {
        assert!(wrong.is_empty(), "{wrong:#?}");
    } else {
        println!("{} are wrong", wrong.len());
    }
}
