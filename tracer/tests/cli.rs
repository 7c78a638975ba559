//! The command line as people and scripts meet it: help, and what is said about mistakes. Nothing
//! here needs privilege.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

use std::fs::File;
use std::process::{Command, Output, Stdio};

/// As typed after `sockflow`.
fn sockflow(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sockflow"))
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        // clap takes the width from here where there is no terminal.
        .env("COLUMNS", "100")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .expect("it starts")
}

/// What went to stdout, for a run that must succeed without talk.
fn data(arguments: &str) -> String {
    let output = sockflow(arguments);
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), talk.as_str()), (Some(0), ""), "{arguments}");
    trimmed(&output.stdout)
}

/// clap leaves blanks at ends of lines, which editors take out of snapshots.
fn trimmed(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A mistake as the user sees it: command, message, exit code.
fn mistake(arguments: &str) -> String {
    let output = sockflow(arguments);
    assert!(output.stdout.is_empty(), "{arguments}: stdout is for data");
    let code = output.status.code().expect("an exit code");
    format!("$ sockflow {arguments}\n{}[{code}]\n\n", trimmed(&output.stderr))
}

const COMMANDS: &[&str] = &[
    "",
    "top",
    "record",
    "replay",
    "report",
    "export",
    "doctor",
    "trace",
    "probes",
    "serve",
    "storm",
    "completions",
    "man",
];

#[test]
fn every_help_is_as_reviewed() {
    for command in COMMANDS {
        let name = if command.is_empty() { "sockflow" } else { command };
        let help = data(&format!("{command} --help"));
        assert!(help.contains("Example"), "{name}: --help has examples");
        insta::assert_snapshot!(format!("help_{name}"), help);
    }
}

#[test]
fn the_short_help_fits_on_a_screen() {
    for command in COMMANDS {
        let help = data(&format!("{command} -h"));
        assert!(help.lines().count() <= 24, "{command}:\n{help}");
    }
}

#[test]
fn usage_errors_are_as_reviewed() {
    let typed = [
        "tpo",
        "9981",
        "top 9981",
        "top extra",
        "top --prot 9981",
        "top --port 0",
        "top --port 70000",
        "top --port http",
        "top --port 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
        "trace --peer-port 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
        "top --interval 0",
        "top --interval 2m",
        "top --duration soon",
        "top --duration 3w",
        "doctor 9981",
        "doctor --watch 2m",
        "doctor --fail-on never --json --print-sysctl",
        "top -4 -6",
        "top --addr localhost",
        "top --color sometimes",
        "top --ring-size lots",
        "top --ring-size 1x",
        "top --sampled --btf x",
        "record --sampled -o x",
        "top --comm much-too-long-a-name",
        "top --netns no-such",
        "top --pid 4194305",
        "record",
        "record -o x --sync 1ms",
        "record -o x --max-size 3K",
        "replay",
        "replay x --at noonish",
        "replay x --speed 1000",
        "report",
        "report x --format pdf",
        "report x --from noonish",
        "report x --port http",
        "replay x --port http",
        "doctor --addr localhost",
        "trace --json=1",
        "probes extra",
        "serve --listen 9982",
        "serve --listen localhost:9982",
        "serve --max-services 0",
        "serve --interval 1ms",
        "storm --addr 10.0.0.1",
        "storm --mode explode",
        "storm --rate fast",
        "storm --duration 1h",
        "storm --connections 0",
        "storm --sysctl kernel.panic=1",
        "storm --sysctl net.ipv4.tcp_mem=1,2,3",
        "completions",
        "completions tcsh",
    ];
    let told: String = typed.into_iter().map(mistake).collect();
    for (told, typed) in told.split("\n\n").zip(typed) {
        assert!(told.contains("\n  hint: ") && told.ends_with("[2]"), "{typed}:\n{told}");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn files_that_are_no_traces_are_told_apart() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-traces");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("folder")).expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).expect("a file");
    };
    let story = include_bytes!("recordings/v1.0-story.sockflow");
    write("text.sockflow", b"kernel: TCP: too many orphaned sockets\n");
    write("empty.sockflow", b"");
    write("newer.sockflow", &{
        let mut bytes = story.to_vec();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    });
    write("header-only.sockflow", &story[..32]);
    write("moved.sockflow.1", story);
    let folder = folder.to_string_lossy().into_owned();
    let names = ["text", "empty", "newer", "header-only", "moved", "none"];
    let told: String = names
        .into_iter()
        .map(|name| mistake(&format!("replay {folder}/{name}.sockflow")))
        .chain([mistake(&format!("replay {folder}/folder"))])
        .chain([mistake("replay tests/recordings/v1.0-story.sockflow --at @99999999")])
        .collect();
    assert!(
        told.split("\n\n").filter(|one| !one.is_empty()).all(|one| one.contains("hint:")),
        "{told}"
    );
    insta::assert_snapshot!(told.replace(&folder, "FOLDER"));
}

#[test]
fn a_trace_in_lines_is_as_reviewed() {
    let lines = data("replay tests/recordings/v1.0-story.sockflow");
    insta::assert_snapshot!(lines);
    let from = data("replay tests/recordings/v1.0-story.sockflow --at max");
    assert!(lines.ends_with(&from) && from.lines().count() == 17, "{from}");
    let last = data("replay tests/recordings/v1.0-story.sockflow --at -1s --json");
    assert_eq!(last.lines().count(), 2, "{last}");
}

#[test]
fn damage_is_told_and_the_rest_is_there() {
    let story = include_bytes!("recordings/v1.0-story.sockflow");
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("damaged.sockflow");
    let mut bytes = story.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bytes.truncate(bytes.len() - 20);
    std::fs::write(&path, bytes).expect("a file");
    let output = sockflow(&format!("replay {}", path.display()));
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8_lossy(&output.stdout);
    assert!((31..=33).contains(&lines.lines().count()), "{lines}");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_a_command_help_goes_to_stderr() {
    let output = sockflow("");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: sockflow <COMMAND>"));
}

#[test]
fn a_port_in_use_is_told_with_who_to_ask() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let told = mistake(&format!("storm --connections 1 --port {port}"));
    insta::assert_snapshot!(told.replace(&port.to_string(), "PORT"));
    // Before it asks for privilege.
    let told = mistake(&format!("serve --listen 127.0.0.1:{port}"));
    insta::assert_snapshot!("serve_on_a_port_in_use", told.replace(&port.to_string(), "PORT"));
}

#[test]
fn a_closed_pipe_is_fine_and_a_full_disk_is_not() {
    for command in ["completions bash", "man", "top --help", "--version"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sockflow"))
            .args(command.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), talk.as_str()), (Some(0), ""), "{command}");
    }
    for command in ["completions bash", "man"] {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let output = Command::new(env!("CARGO_BIN_EXE_sockflow"))
            .args(command.split(' '))
            .stdout(full)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{command}");
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(talk.starts_with("sockflow: error: cannot write to stdout"), "{talk}");
    }
}
