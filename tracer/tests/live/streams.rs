//! Commands that trace, with streams that cannot be written, and a recording whose terminal hangs
//! up. The commands that need no privilege are in `tests/streams.rs`.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{Folder, Guarded, PATIENCE, binary, eventually, output, sockflow, turn};

#[path = "../streams/table.rs"]
mod table;

use table::{Case, assert_table};

#[test]
fn no_stream_that_cannot_be_written_stops_a_command_that_traces() {
    let _turn = turn();
    let folder = Folder::new("sockflow-live-streams");
    let record = format!("record --force --duration 300ms -o {}/t.sockflow", folder.0.display());
    let cases = [
        ("top --json --interval 100ms --duration 300ms", true),
        ("trace --duration 300ms", false),
        ("probes", true),
        (record.as_str(), false),
    ];
    let case =
        |(typed, has_data): (&str, bool)| Case { typed: typed.to_owned(), code: 0, has_data };
    assert_table(cases.map(case).into_iter().collect());
    let done =
        output(sockflow(&["replay", "--json", &format!("{}/t.sockflow", folder.0.display())]));
    assert!(done.status.success(), "the recording of the last case is whole: {done:?}");
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// `script` gives it a terminal; with `script` gone, that terminal has hung up.
#[test]
fn a_recording_outlives_its_terminal() {
    let _turn = turn();
    let folder = Folder::new("sockflow-hang-up");
    let file = folder.0.join("t.sockflow");
    let typed = format!("exec {} record -o {}", binary().display(), file.display());
    let mut command = Command::new("script");
    command.args(["-qec", &typed, "/dev/null"]);
    let mut terminal = Guarded::start(command);
    eventually("a file", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    let children = format!("/proc/{0}/task/{0}/children", terminal.pid());
    let children = fs::read_to_string(children).expect("the children of script");
    let recorder = children.split_whitespace().next().expect("a child").parse().expect("a pid");
    let recorder = Pid::from_raw(recorder).expect("not 0");

    terminal.signal(Signal::KILL);
    terminal.end(PATIENCE);
    let len = || fs::metadata(&file).map_or(0, |file| file.len());
    let at_hang_up = len();
    eventually("it goes on recording", || len() > at_hang_up);
    test_kill_process(recorder).expect("it runs");

    kill_process(recorder, Signal::TERM).expect("it is ours");
    eventually("its end", || test_kill_process(recorder).is_err());
    let done = output(sockflow(&["replay", "--json", file.to_str().expect("UTF-8")]));
    assert!(done.status.success() && !done.stdout.is_empty(), "{done:?}");
    assert!(done.stderr.is_empty(), "closed: {}", String::from_utf8_lossy(&done.stderr));
}
