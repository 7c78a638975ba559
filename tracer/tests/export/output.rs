//! What is written is whole or not there, and mistakes are told.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::measured::{self, Measured};
use crate::support::{STORY, ask, command, export, folder, names, readers, record, sockflow, talk};
use crate::traffic::Traffic;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mistake as the user sees it.
fn mistake(folder: &Path, typed: &str, expected: i32) -> String {
    let shown = typed.replace("FOLDER", folder.to_str().unwrap()).replace("STORY", STORY);
    let output = sockflow(&shown.split(' ').collect::<Vec<_>>());
    assert!(output.stdout.is_empty(), "{typed}: stdout is for data");
    assert_eq!(output.status.code(), Some(expected), "{typed}: {}", talk(&output));
    let told = talk(&output).replace(folder.to_str().unwrap(), "FOLDER").replace(STORY, "STORY");
    assert!(told.contains("\n  hint: "), "{typed}: {told}");
    format!("$ sockflow {typed}\n{told}[{expected}]\n\n")
}

#[test]
fn mistakes_are_told_and_nothing_is_overwritten() {
    let folder = folder("mistakes");
    fs::write(folder.join("there.csv"), "mine").unwrap();
    fs::write(folder.join("empty.sockflow"), "").unwrap();
    fs::write(folder.join("text.sockflow"), "kernel: TCP: too many orphaned sockets\n").unwrap();
    fs::copy(STORY, folder.join("t.sockflow")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("link.csv")).unwrap();
    let told: String = [
        ("export", 2),
        ("export STORY", 2),
        ("export STORY -o FOLDER/x.txt", 2),
        ("export STORY --format xml", 2),
        ("export STORY --format csv --netns blue", 2),
        ("export STORY --format csv --comm much-too-long-a-name", 2),
        ("export STORY --format csv --from noonish", 2),
        ("export STORY --format csv --from 22:14", 2),
        ("export STORY --format csv --to 22:00", 2),
        ("export STORY --format csv --from 22:13:10 --to 22:13:00", 2),
        ("export STORY --format csv --from !99", 2),
        ("export STORY -o FOLDER/there.csv", 2),
        ("export STORY -o FOLDER", 2),
        ("export STORY --format csv -o FOLDER", 2),
        ("export STORY -o FOLDER/link.csv", 2),
        ("export STORY -o FOLDER/none/x.csv", 1),
        ("export FOLDER/t.sockflow --format csv --force -o FOLDER/t.sockflow", 2),
        ("export FOLDER/empty.sockflow --format csv", 1),
        ("export FOLDER/text.sockflow --format csv", 1),
        ("export FOLDER/none.sockflow -o FOLDER/x.csv", 1),
    ]
    .into_iter()
    .map(|(typed, code)| mistake(&folder, typed, code))
    .collect();
    insta::assert_snapshot!(told);
    assert_eq!(fs::read_to_string(folder.join("there.csv")).unwrap(), "mine");
    assert_eq!(fs::read(folder.join("t.sockflow")).unwrap(), fs::read(STORY).unwrap());

    // What a link leads to is never replaced: somebody else may have made the link.
    std::os::unix::fs::symlink("there.csv", folder.join("alias.csv")).unwrap();
    let told = mistake(&folder, "export STORY --force -o FOLDER/alias.csv", 2);
    assert!(told.contains("is a link") && told.contains("/there.csv"), "{told}");
    assert_eq!(fs::read_to_string(folder.join("there.csv")).unwrap(), "mine");
    assert_eq!(names(&folder), NAMES_LEFT);
}

const NAMES_LEFT: [&str; 6] =
    ["alias.csv", "empty.sockflow", "link.csv", "t.sockflow", "text.sockflow", "there.csv"];

#[test]
fn a_terminal_gets_no_parquet() {
    // `script` runs it on a terminal of its own.
    let shell = format!("{} export {STORY} --format parquet", env!("CARGO_BIN_EXE_sockflow"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &shell, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("nothing for a terminal") && told.contains("hint: "), "{told}");
}

#[test]
fn a_pipe_that_closes_is_fine() {
    for format in ["csv", "jsonl", "parquet"] {
        let mut child = command(&["export", STORY, "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        if format != "parquet" {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert!(!line.is_empty());
        }
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), talk(&output).as_str()), (Some(0), ""), "{format}");
    }
    // One that is read to its end has it all.
    let folder = folder("pipe");
    export(Path::new(STORY), &folder.join("story.parquet"), &[]);
    let piped = sockflow(&["export", STORY, "--format", "parquet"]);
    assert_eq!(piped.stdout, fs::read(folder.join("story.parquet")).unwrap());
    assert_eq!(talk(&piped), "");
}

#[test]
fn on_a_full_disk_nothing_is_left_that_passes_for_whole() {
    for format in ["csv", "jsonl", "parquet"] {
        for arguments in [
            vec!["export", STORY, "--format", format, "-o", "/dev/full"],
            vec!["export", STORY, "--format", format],
        ] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let output = command(&arguments).stdout(full).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", talk(&output));
            assert!(talk(&output).contains("No space left on device"), "{}", talk(&output));
        }
    }
    // A file system of its own, in a mount namespace that ends with it.
    let folder = folder("full");
    let script = "mount -t tmpfs -o size=64k none . && cd . && cd \"$PWD\" || exit 9
for format in csv jsonl parquet; do
    \"$0\" export \"$1\" --format $format -o out.$format; echo \"code $?\"
done
echo \"left: $(ls -A)\"
mount -o remount,size=64M . && \"$0\" export \"$1\" -o out.parquet; echo \"code $?\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([env!("CARGO_BIN_EXE_sockflow"), STORY])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "code 1\ncode 1\ncode 1\nleft: \ncode 0\n", "{}", talk(&output));
    insta::assert_snapshot!(talk(&output));
}

/// Longer than a row group, from the first event to the last.
const MANY: usize = (1 << 20) + 50_000;

#[test]
fn a_million_events_take_little_memory_and_a_signal_leaves_nothing_behind() {
    /// What the binary and a row group need; all rows as they are would be 200 MB.
    const MOST_MEMORY: u64 = 100 << 20;
    const TRIES: usize = 20;
    let folder = folder("many");
    let trace = folder.join("many.sockflow");
    let mut sum = 0_u128;
    record(
        &trace,
        "web-17",
        0,
        Traffic::new(5).take(MANY).inspect(|event| {
            sum += u128::from(event.socket);
        }),
    );

    // Again and again, as a signal may come at once: whenever there is a file, somebody takes it away.
    let csv = folder.join("stopped.csv");
    let mut stopped = 0;
    for _ in 0..TRIES {
        let began = Instant::now();
        let mut child = command(&["export", trace.to_str().unwrap(), "-o", csv.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while names(&folder).len() < 2 {
            assert!(began.elapsed() < PATIENCE, "no file");
            std::thread::yield_now();
        }
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        if code == Some(0) {
            // A busy machine: it was done before it heard of it.
            fs::remove_file(&csv).unwrap();
            continue;
        }
        assert_eq!(code, Some(130), "{said}");
        stopped += 1;
        assert!(said.contains("stopped: nothing was written"), "{said}");
        assert_eq!(names(&folder), ["many.sockflow"]);
    }
    assert!(stopped > 0, "always done before");

    let parquet = folder.join("many.parquet");
    let run = measured::run({
        let (from, to) = (trace.to_str().unwrap(), parquet.to_str().unwrap());
        let mut command = command(&["export", from, "-o", to]);
        command.stderr(Stdio::null());
        command
    });
    let size = fs::metadata(&parquet).unwrap().len();
    let Measured { time, cpu, bytes, peak } = run;
    println!("{time:?}, {cpu:?} CPU, at most {} MiB; {} bytes", peak >> 20, size + bytes);
    assert!(peak > 0 && peak < MOST_MEMORY, "{} MiB", peak >> 20);
    assert!(size < 16 * MANY as u64, "{size}");
    let Some(python) = readers() else { return };
    let answers = ask(
        &python,
        &folder,
        &[
            "select count(*), sum(socket)::varchar from 'many.parquet'",
            "select count(distinct row_group_id) from parquet_metadata('many.parquet')",
        ],
    );
    assert_eq!(answers[0], json!([[MANY, sum.to_string()]]));
    assert_eq!(answers[1], json!([[2]]));
}
