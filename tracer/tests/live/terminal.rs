//! The screen of `top` in a real terminal: see [`crate::tmux`].

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use unicode_width::UnicodeWidthStr as _;

use crate::tmux::{MODES, SOCKFLOW, TAKEN, Terminal};

const PORT: &str = "9981";
const SIZES: [(u16, u16); 4] = [(40, 8), (80, 24), (120, 40), (200, 50)];

/// Starts `top`, with `variables` set, and waits for the screen.
fn start(terminal: &Terminal, variables: &str) {
    terminal.start(variables, &format!("top --port {PORT}"));
    terminal.wait("the screen", |screen| screen.contains("orphans") && screen.contains("lost"));
}

/// A storm that stands until it is dropped.
struct Storm(Child);

impl Storm {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["storm", "--port", PORT, "--duration", "2m", "--hold", "2m"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("storm starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert!(line.starts_with("holding "), "{line}");
        Self(child)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// What every size owes the reader, and lines that end where they should.
fn is_whole(screen: &str, (width, height): (u16, u16)) -> bool {
    let width = usize::from(width);
    let lines: Vec<&str> = screen.lines().collect();
    let verdict = ["ok", "WARN", "CRIT"].iter().any(|word| screen.contains(word));
    if lines.len() != usize::from(height) || !verdict || !screen.contains("orphans") {
        return false;
    }
    let fits = lines.iter().all(|line| {
        let boxed = line.starts_with(['╭', '│', '╰']);
        if boxed { line.width() == width } else { line.width() <= width }
    });
    // Three lines are the verdict's alone.
    let rest = height < 8
        || (lines[0].contains("lost") && lines[lines.len() - 1].trim_start().starts_with("? help"));
    fits && rest
}

#[test]
fn every_size_is_whole_also_after_resizing() {
    for first in SIZES {
        let terminal = Terminal::new(&format!("size{}", first.0), first);
        start(&terminal, "");
        terminal.wait(&format!("{first:?}"), |screen| is_whole(screen, first));
        if first == SIZES[0] {
            for size in SIZES.into_iter().chain([(20, 3), (100, 30), (20, 3), (80, 24)]) {
                terminal.resize(size);
                terminal.wait(&format!("{size:?}"), |screen| is_whole(screen, size));
            }
        }
        terminal.key("q");
        assert_eq!(terminal.ended(), "0");
    }
}

#[test]
fn the_doctor_is_a_key_away() {
    let terminal = Terminal::new("doctor", (120, 40));
    start(&terminal, "");
    terminal.key("d");
    // What is looked at rarely and what comes every second, from the first moment on.
    terminal.wait("the doctor", |screen| {
        let known = ["file-max", "eph. ports", "backlog drop", "fds"];
        let is_known = |title: &&str| {
            screen.lines().any(|line| line.contains(*title) && !line.contains("not measured"))
        };
        screen.contains("NOW/LIMIT") && known.iter().all(is_known)
    });
    terminal.key("G");
    terminal.key("Enter");
    terminal.wait("one check", |screen| screen.contains(" why ") && !screen.contains("NOW/LIMIT"));
    // It is of the moment, also of one that stands still.
    terminal.key("Escape");
    terminal.key("Space");
    terminal.wait("paused", |screen| screen.contains("PAUSED") && screen.contains("NOW/LIMIT"));
    terminal.key("d");
    terminal.wait("the way back", |screen| !screen.contains("NOW/LIMIT"));
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    let terminal = Terminal::new("exit", (80, 24));
    let again = || {
        start(&terminal, "SOCKFLOW_TEST_PANIC=1");
        assert_eq!(terminal.ask(MODES), TAKEN);
    };
    again();
    terminal.key("q");
    assert_eq!(terminal.ended(), "0", "q");

    again();
    terminal.key("C-c");
    assert_eq!(terminal.ended(), "0", "Ctrl-C");

    again();
    kill_process(terminal.process(), Signal::TERM).expect("it runs");
    assert_eq!(terminal.ended(), "0", "SIGTERM");

    again();
    terminal.write("!");
    assert_eq!(terminal.ended(), "101", "panic");
    // In one line, which a narrow terminal breaks.
    terminal.wait("why", |screen| {
        screen.replace(char::is_whitespace, "").contains("askedforbySOCKFLOW_TEST_PANIC")
    });
}

#[test]
fn it_stops_for_the_shell_and_comes_back() {
    let terminal = Terminal::new("stop", (80, 24));
    let before = terminal.file("quiet");
    terminal.command(&format!("stty -a >{before}"));
    terminal.read("quiet");
    // Straight from the shell, which alone can stop and continue it.
    terminal.command(&format!("clear; {SOCKFLOW} top --port {PORT}"));
    terminal.see("recent");
    terminal.key("C-z");
    terminal.see("Stopped");
    terminal.is_given_back();
    terminal.command(&format!("stty -a >{}", terminal.file("stopped")));
    assert_eq!(terminal.read("stopped"), terminal.read("quiet"));
    terminal.command("fg");
    terminal.wait("the screen again", |screen| is_whole(screen, (80, 24)));
    assert_eq!(terminal.ask(MODES), TAKEN);
    terminal.key("q");
    terminal.is_given_back();
}

#[test]
fn orphans_are_on_screen_and_the_keys_lead_to_them() {
    let terminal = Terminal::new("keys", (120, 40));
    start(&terminal, "");
    let _storm = Storm::start(
        SOCKFLOW,
        &["--mode", "zero-window", "--connections", "500", "--rate", "unlimited"],
    );
    terminal.wait("500 orphans in the row of the port", |screen| {
        screen.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&PORT) && words.contains(&"sockflow") && words.contains(&"500")
        })
    });
    terminal.key("Enter");
    terminal.see("how orphans ended");
    assert!(terminal.screen().contains(&format!("orphans of :{PORT}")));
    terminal.key("Escape");
    terminal.see("recent");
    terminal.write("?");
    terminal.see("this help");
    terminal.key("Escape");
    terminal.see("recent");
    terminal.write("/");
    terminal.write("nobody");
    terminal.wait("no row", |screen| !screen.contains(&format!("▸ {PORT}")));
    terminal.key("C-u");
    terminal.write(":9981");
    terminal.key("Enter");
    terminal.see(&format!("▸ {PORT}"));
    terminal.write(" ");
    terminal.see("PAUSED");
    terminal.write(" ");
    terminal.see("LIVE");
    // Into the past by a key and by a place, and back.
    terminal.key("Home");
    terminal.see("├◆");
    terminal.key("Right");
    terminal.wait("a second on", |screen| !screen.contains("├◆") && screen.contains("PAUSED"));
    terminal.write("bnoon");
    terminal.key("Enter");
    terminal.see("`noon` is no time");
    terminal.key("C-u");
    terminal.write("start");
    terminal.key("Enter");
    terminal.see("├◆");
    terminal.write("D");
    terminal.see("sockets by state");
    terminal.write("L");
    terminal.see("LIVE");
    terminal.key("Escape");
    terminal.see("recent");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn a_hostile_name_does_nothing_to_the_terminal() {
    let terminal = Terminal::new("evil", (120, 40));
    let title = terminal.ask("#{pane_title}");
    let hostile = terminal.file("\x1b]0;evil\x07");
    std::fs::copy(SOCKFLOW, &hostile).expect("a copy");
    let _storm = Storm::start(&hostile, &["--mode", "hold", "--connections", "3"]);
    start(&terminal, "");
    terminal.see("evil");
    assert_eq!(terminal.ask("#{pane_title}"), title);
    let raw = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert!(!raw.contains('\x07') && escapes(&raw).iter().all(|it| is_style(it)), "{raw:?}");
    assert!(escapes(&raw).iter().any(|it| is_colour(it)), "colours where nobody forbids them");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn no_color_is_heeded() {
    let terminal = Terminal::new("mono", (120, 40));
    start(&terminal, "NO_COLOR=1");
    terminal.see("recent");
    let raw = terminal.tmux(&["capture-pane", "-p", "-e"]);
    let coloured: Vec<String> = escapes(&raw).into_iter().filter(|it| is_colour(it)).collect();
    assert!(coloured.is_empty(), "{coloured:?}");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
}

/// What follows each ESC, up to the first letter.
fn escapes(raw: &str) -> Vec<String> {
    let rest = raw.split('\x1b').skip(1);
    rest.map(|text| {
        let end = text.find(|c: char| c.is_ascii_alphabetic()).map_or(text.len(), |at| at + 1);
        text[..end].to_owned()
    })
    .collect()
}

fn is_style(escape: &str) -> bool {
    let inside = escape.strip_prefix('[').and_then(|rest| rest.strip_suffix('m'));
    inside.is_some_and(|codes| codes.chars().all(|c| c.is_ascii_digit() || c == ';'))
}

/// Sets a colour other than the terminal's own.
fn is_colour(escape: &str) -> bool {
    let inside = escape.trim_start_matches('[').trim_end_matches('m');
    inside.split(';').any(|code| {
        code.parse::<u32>()
            .is_ok_and(|code| matches!(code, 30..=38 | 40..=48 | 90..=97 | 100..=107))
    })
}
