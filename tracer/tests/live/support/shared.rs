//! One `top` for many tests, where starting one takes seconds: in a guest. It watches everything and
//! outlives the tests; each has a port of its own and follows what is printed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{PORT, SMALL, eventually, sockflow};

const SAYS: &str = "/tmp/shared-top";
const PID: &str = "/tmp/shared-top.pid";
/// On which rungs it is: the others need one of their own.
const RUNGS: &str = "/tmp/shared-top.rungs";
/// As long as the number of ports that were taken.
const PORTS: &str = "/tmp/shared-top.ports";

fn rungs() -> String {
    std::env::var("SOCKFLOW_RUNGS").unwrap_or_default()
}

fn pid() -> Option<Pid> {
    let pid = Pid::from_raw(fs::read_to_string(PID).ok()?.parse().ok()?)?;
    test_kill_process(pid).ok().map(|()| pid)
}

/// What it says from now on; starts it if none runs.
pub(crate) fn follow() -> Receiver<String> {
    let is_ours = fs::read_to_string(RUNGS).is_ok_and(|of| of == rungs());
    if pid().is_none() || !is_ours {
        start();
    }
    let mut says = BufReader::new(File::open(SAYS).expect("what it says"));
    says.seek(SeekFrom::End(0)).expect("its end");
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // The first one may be the rest of one.
        let mut is_whole = false;
        while says.read_line(&mut line).is_ok() {
            if !line.ends_with('\n') {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let line = std::mem::take(&mut line);
            if std::mem::replace(&mut is_whole, true)
                && sender.send(line.trim_end().to_owned()).is_err()
            {
                return;
            }
        }
    });
    lines
}

#[expect(clippy::zombie_processes, reason = "it outlives this process; whoever ends it reaps it")]
fn start() {
    end();
    let says = File::create(SAYS).expect("a file");
    let talk = says.try_clone().expect("a file");
    let mut command = sockflow(&["top", "--json", "--interval", "100ms"]);
    // It outlives the test: not of its process group, so that nothing meant for that reaches it.
    command.args(SMALL).stdin(Stdio::null()).stdout(says).stderr(talk).process_group(0);
    let top = command.spawn().expect("top");
    fs::write(PID, top.id().to_string()).expect("a file");
    fs::write(RUNGS, rungs()).expect("a file");
    let _ = fs::remove_file(PORTS);
    eventually("a first snapshot", || fs::read(SAYS).is_ok_and(|says| says.contains(&b'\n')));
}

/// Ends the one that runs, if one does: it would be in the way of a test with a `top` of its own,
/// and is of no use after a test that failed.
pub(crate) fn end() {
    let Some(pid) = pid() else { return };
    kill_process(pid, Signal::TERM).expect("kill");
    // A child of this process is reaped by it alone, any other one by the guest's init.
    eventually("the end of it", || {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        test_kill_process(pid).is_err()
    });
}

/// A port that no test had of the one that runs, nor any other test: what that left in TIME_WAIT, in
/// whatever namespace, would be in its row.
pub(crate) fn port() -> u16 {
    const ABOVE_ALL_OTHERS: u16 = PORT + 20;
    let mut ports = OpenOptions::new().append(true).create(true).open(PORTS).expect("a file");
    ports.write_all(b".").expect("write");
    ABOVE_ALL_OTHERS + u16::try_from(ports.metadata().expect("its length").len()).expect("few")
}
