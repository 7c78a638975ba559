//! The screen of `replay` in a real terminal, which needs no privilege: what is pasted, clicked and
//! copied, poor terminals, and that the terminal is given back on every way out.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

#[allow(dead_code, reason = "a file of two programs, each of which uses a part of it")]
mod tmux;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tmux::{MODES, SOCKFLOW, TAKEN, Terminal};

const STORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/v1.0-story.sockflow");

/// Where there is no tmux there is no terminal to look at: `cargo xtask deps` installs it.
fn terminal(name: &str, size: (u16, u16)) -> Option<Terminal> {
    let there = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
    if there.is_err() {
        println!("skipped: tmux is not installed; `cargo xtask deps` does that");
        return None;
    }
    Some(Terminal::new(name, size))
}

/// A line of the table that these tests print: what an earlier build did, measured with it, and what
/// was asserted of this one.
fn in_table(input: &str, before: &str, now: &str) {
    println!("| {input:<44} | {before:<44} | {now:<44} |");
}

fn start(terminal: &Terminal, variables: &str, options: &str) {
    terminal.start(&format!("{variables} TZ=UTC"), &format!("replay {STORY} {options}"));
    terminal.see("PAUSED");
    if options.ends_with("max") {
        terminal.see("orphans 255 of 256");
    }
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    let Some(terminal) = terminal("replay-exit", (80, 24)) else { return };
    let again = || {
        start(&terminal, "SOCKFLOW_TEST_PANIC=1", "");
        assert_eq!(terminal.ask(MODES), TAKEN);
    };
    for (key, status) in [("q", "0"), ("C-c", "0"), ("!", "101")] {
        again();
        terminal.key(key);
        assert_eq!(terminal.ended(), status, "{key}");
        // Nor is a paste marked any more: whoever reads next sees it as it is.
        terminal.command("clear; echo reading; cat -v");
        // The shell marks pastes for itself until it starts a command.
        terminal.wait("cat", |screen| screen.trim() == "reading");
        terminal.paste("plain\n");
        let screen = terminal.wait("both", |screen| screen.matches("plain").count() == 2);
        assert!(!screen.contains("200~"), "{key}: {screen}");
        terminal.key("C-c");
        terminal.wait("the shell", |screen| screen.trim_end().ends_with("ready>"));
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        again();
        kill_process(terminal.process(), signal).expect("it runs");
        assert_eq!(terminal.ended(), "0", "{signal:?}");
    }
}

#[test]
fn it_comes_back_from_a_stop_that_it_could_not_foresee() {
    let Some(terminal) = terminal("replay-stop", (80, 24)) else { return };
    for stop in [Signal::TSTP, Signal::STOP] {
        // Straight from the shell, which alone can continue it.
        terminal
            .command(&format!("clear; bash {}", terminal.script("", &format!("replay {STORY}"))));
        terminal.see("PAUSED");
        kill_process(terminal.process(), stop).expect("it runs");
        terminal.see("Stopped");
        // After SIGSTOP the terminal is as it was left; a shell's `fg` gives it back to us.
        terminal.command("fg");
        terminal
            .wait("the screen", |screen| screen.contains("PAUSED") && !screen.contains("ready>"));
        assert_eq!(terminal.ask(MODES), TAKEN, "{stop:?}");
        terminal.key("d");
        terminal.see("NOW/LIMIT");
        terminal.key("q");
        terminal.is_given_back();
    }
    in_table("SIGSTOP, then fg", "the shell's lines, keys only after Enter", "the screen again");
}

#[test]
fn a_paste_presses_no_keys() {
    let Some(terminal) = terminal("paste", (120, 40)) else { return };
    start(&terminal, "", "--at max");
    terminal.paste("quit q\nq");
    terminal.see("a paste goes into a text only");
    terminal.write("/");
    terminal.paste("q9\nq");
    terminal.see("/q9");
    terminal.key("Escape");
    // Two keys at once would be Alt and the second.
    terminal.wait("the filter dropped", |screen| !screen.contains("q9"));
    terminal.write("b");
    terminal.paste("start\n");
    terminal.see("go to start");
    terminal.key("Enter");
    terminal.see("├◆");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
    in_table("a paste of `quit q`", "quits", "says that it presses no keys");
}

#[test]
fn the_mouse_selects_opens_and_travels_and_can_be_switched_off() {
    let Some(terminal) = terminal("mouse", (120, 40)) else { return };
    start(&terminal, "", "--at max");
    // Anywhere on the row; the first click may find it selected.
    let (column, row) = terminal.find("▸ 9981");
    terminal.click((column + 30, row));
    terminal.see("how orphans ended");
    terminal.key("Escape");
    // Sent at once, the click would be taken for what Escape begins.
    terminal.wait("the rows", |screen| !screen.contains("how orphans ended"));
    // The first cell of the timeline.
    let (column, row) = terminal.find("├");
    terminal.click((column + 1, row));
    terminal.see("├◆");
    let (column, row) = terminal.find("!2 ");
    terminal.click((column, row));
    terminal.wait("another moment", |screen| !screen.contains("├◆"));
    terminal.write("m");
    terminal.see("mouse off");
    assert_eq!(terminal.ask(MODES), "1 0 0 0");
    terminal.write("m");
    terminal.see("mouse on");
    assert_eq!(terminal.ask(MODES), TAKEN);
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
    start(&terminal, "", "--no-mouse");
    assert_eq!(terminal.ask(MODES), "1 0 0 0");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
    in_table("a click on a row, and on the timeline", "nothing", "opens it, goes there; m: off");
}

#[test]
fn a_row_is_copied_through_tmux() {
    let Some(terminal) = terminal("copy", (120, 40)) else { return };
    // As it comes tmux takes no clipboard from a pane; and `sudo` takes TMUX out of the environment.
    for variables in ["", "-u TMUX -u TMUX_PANE"] {
        terminal.tmux(&["set-buffer", "nothing"]);
        start(&terminal, variables, "--at max");
        terminal.write("y");
        terminal.see("copied the row of port 9981");
        let copied = terminal.tmux(&["show-buffer"]);
        assert!(copied.contains("PORT 9981") && copied.contains("ORPHANS 255"), "{copied}");
        assert!(copied.starts_with("20") && copied.lines().count() == 1, "{copied}");
        terminal.key("q");
        assert_eq!(terminal.ended(), "0");
    }
    in_table("y on a row, in tmux as it comes", "nothing", "in tmux's buffer and clipboard");
}

/// `script` is the terminal; what it got is in a file.
#[test]
fn a_row_is_copied_to_a_terminal_of_its_own() {
    if std::env::var_os("TMUX").is_some() {
        println!("skipped: this is a pane of tmux, which would get the row");
        return;
    }
    let folder = std::env::temp_dir().join(format!("sockflow-test-osc52-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let log = folder.join("log");
    let mut script = Command::new("script")
        .args([
            "-q",
            "-f",
            "-c",
            &format!("stty rows 40 cols 120; exec {SOCKFLOW} replay {STORY} --at max"),
        ])
        .arg(&log)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script is there");
    let mut keys = script.stdin.take().expect("a pipe");
    let see = |words: &str| {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let seen =
                String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
            if let Some((_, after)) = seen.split_once(words) {
                return after.to_owned();
            }
            assert!(Instant::now() < deadline, "{words:?} never came: {seen:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    see("255 of 256");
    keys.write_all(b"y").expect("it reads");
    let after = see("\x1b]52;c;");
    let encoded: String =
        after.chars().take_while(|it| it.is_ascii_alphanumeric() || "+/=".contains(*it)).collect();
    keys.write_all(b"q").expect("it reads");
    see("\x1b[?1049l");
    script.wait().expect("it ends");
    let decode =
        Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut decode = decode.expect("base64 is there");
    decode.stdin.take().expect("a pipe").write_all(encoded.as_bytes()).expect("it reads");
    let text = decode.wait_with_output().expect("it ends").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("PORT 9981") && text.contains("ORPHANS 255"), "{text}");
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_dumb_terminal_gets_lines_and_is_told() {
    let Some(terminal) = terminal("dumb", (250, 50)) else { return };
    for term in ["TERM=dumb", "-u TERM"] {
        terminal.start(&format!("{term} TZ=UTC"), &format!("replay {STORY} --at +15s"));
        assert_eq!(terminal.ended(), "0");
        let screen = terminal.screen();
        assert!(screen.contains("cannot show the screen: a line an interval"), "{screen}");
        assert!(screen.contains("22:13:09 CRIT"), "{screen}");
        terminal.command("clear");
    }
    in_table("TERM=dumb", "the full screen", "a line an interval, and a note");
}

/// An inner tmux whose client has no UTF-8, in an outer one that shows what that client wrote.
#[test]
fn a_client_of_tmux_without_utf8_gets_ascii() {
    let Some(terminal) = terminal("ascii", (120, 40)) else { return };
    let inner = format!("sockflow-test-inner-{}", std::process::id());
    let replay = format!("env LC_ALL=C.UTF-8 TZ=UTC {SOCKFLOW} replay {STORY} --at max");
    terminal.command(&format!(
        "clear; env -u TMUX LC_ALL=C tmux -L {inner} -f /dev/null new-session \"{replay}\""
    ));
    let screen = terminal.wait("the chart", |screen| screen.contains("orphans 255 of 256"));
    let _ = Command::new("tmux").args(["-L", &inner, "kill-server"]).output();
    assert!(screen.is_ascii(), "{screen}");
    assert!(
        screen.contains("+- orphans of") && screen.contains("####"),
        "boxes and chart: {screen}"
    );
    assert!(!screen.contains("___"), "nothing was replaced on the way: {screen}");
    in_table("a client of tmux without UTF-8", "the chart as ___", "ASCII: ### and +-");
}

#[test]
fn a_replay_opens_at_the_first_anomaly() {
    let Some(terminal) = terminal("first", (120, 40)) else { return };
    start(&terminal, "", "");
    let screen = terminal.see("opened at the first anomaly");
    assert!(!screen.contains("├◆"), "{screen}");
    terminal.key("Home");
    let screen = terminal.see("├◆");
    assert!(!screen.contains("opened at"), "{screen}");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
    start(&terminal, "", "--at start");
    terminal.see("├◆");
    terminal.key("q");
    assert_eq!(terminal.ended(), "0");
    in_table(
        "replay FILE",
        "at the start, nothing out of the ordinary",
        "at the first anomaly, and says so",
    );
}
