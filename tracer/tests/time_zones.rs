//! The reader's time zone in every command that shows or reads a time: what `TZ` may hold, and what is
//! said where it holds nonsense. Nothing here needs privilege.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

use std::process::{Command, Stdio};

const STORY: &str = "tests/recordings/v1.0-story.sockflow";

/// Standard output and standard error under a value of `TZ`.
fn run(zone: &str, arguments: &[&str]) -> (String, String) {
    run_with(&[("TZ", zone)], arguments)
}

fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sockflow"))
        .args(arguments)
        .stdin(Stdio::null())
        .envs(variables.iter().copied())
        .output()
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The first moment of the recording in line mode: 22:12:52 UTC.
fn first_line(zone: &str) -> String {
    let (lines, _) = run(zone, &["replay", STORY]);
    lines.lines().next().expect("a line").to_owned()
}

/// What an earlier build showed of the same file, measured with it, beside what is shown now.
#[test]
fn every_form_of_tz_is_the_readers_zone() {
    println!("{:<36} {:<10} now", "TZ", "before");
    for (zone, before, right) in [
        ("Asia/Shanghai", "22:12:52", "06:12:52"),
        (":Asia/Shanghai", "22:12:52", "06:12:52"),
        ("Asia/Kathmandu", "22:12:52", "03:57:52"),
        ("US/Eastern", "22:12:52", "17:12:52"),
        ("EST5EDT", "22:12:52", "17:12:52"),
        ("CET-1CEST", "22:12:52", "23:12:52"),
        ("/usr/share/zoneinfo/Asia/Shanghai", "06:12:52", "06:12:52"),
        ("CST-8", "06:12:52", "06:12:52"),
        ("EST5EDT,M3.2.0,M11.1.0", "17:12:52", "17:12:52"),
        ("", "22:12:52", "22:12:52"),
        ("Mars/Base", "22:12:52", "22:12:52"),
    ] {
        let line = first_line(zone);
        println!("{zone:<36} {before:<10} {}", &line[..8]);
        assert_eq!(&line[..8], right, "TZ={zone}: {line}");
    }
}

#[test]
fn a_host_without_a_database_knows_the_zones_too() {
    let variables = [("TZ", "Asia/Shanghai"), ("TZDIR", "/nonexistent")];
    let (lines, talk) = run_with(&variables, &["replay", STORY]);
    assert!(lines.starts_with("06:12:52"), "{lines}");
    assert!(!talk.contains("TZ="), "{talk}");
}

#[test]
fn an_unknown_zone_is_told_once_and_is_utc() {
    for arguments in [
        &["replay", STORY] as &[&str],
        &["report", STORY],
        &["doctor", "--trace", STORY, "--fail-on", "never"],
        &["doctor", "--trace", STORY, "--at", "22:13:00", "--fail-on", "never"],
        &["export", STORY, "--format", "csv", "--from", "22:13:00"],
    ] {
        let (data, talk) = run("Mars/Base", arguments);
        let note =
            "sockflow: note: TZ=Mars/Base is no time zone that is known here; times are in UTC";
        assert_eq!(talk.matches("TZ=").count(), 1, "{arguments:?}: {talk}");
        assert!(talk.contains(note), "{arguments:?}: {talk}");
        assert!(!data.is_empty(), "{arguments:?}");
    }
}

#[test]
fn times_are_read_as_they_are_shown() {
    // 22:13:09 UTC is the worst moment of the recording.
    fn at(zone: &str, place: &str) -> String {
        let (lines, talk) = run(zone, &["replay", STORY, "--at", place]);
        lines.lines().next().unwrap_or_else(|| panic!("{place}: {talk}")).to_owned()
    }
    assert!(at("UTC", "22:13:09").starts_with("22:13:09"));
    let shanghai = "Asia/Shanghai";
    assert!(at(shanghai, "06:13:09").starts_with("06:13:09"));
    // An offset, and the name of a zone, count for themselves whoever reads.
    let (lines, _) = run("UTC", &["replay", STORY, "--json"]);
    let day = lines.split("\"time\":\"").nth(1).expect("a time")[..10].to_owned();
    for place in [format!("{day}T22:13:09Z"), format!("{day}T17:13:09-05:00[America/New_York]")] {
        assert!(at(shanghai, &place).starts_with("06:13:09"), "{place}");
    }
    let (_, talk) = run(shanghai, &["replay", STORY, "--at", "22:13:09"]);
    assert!(talk.contains("22:13:09 is outside: 06:12:52 to"), "{talk}");
    let (report, _) = run(shanghai, &["report", STORY, "--from", "06:13:00"]);
    assert!(report.contains("Times are +08:00.") && report.contains("06:13:0"), "{report}");
    let (doctor, _) = run(shanghai, &["doctor", "--trace", STORY, "--fail-on", "never"]);
    assert!(doctor.contains("06:13:"), "{doctor}");
    let rows = |zone, from| run(zone, &["export", STORY, "--format", "csv", "--from", from]).0;
    assert_eq!(rows(shanghai, "06:13:05"), rows("UTC", "22:13:05"));
    // JSON is for scripts: UTC whoever asks.
    let json = |zone| run(zone, &["replay", STORY, "--json"]).0;
    assert_eq!(json(shanghai), json("UTC"));
}
