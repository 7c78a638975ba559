//! Faults that people met in the field: the smallest input of each, what sockflow did with it once, and
//! what it does now, as one table. The themes have tests of their own, with more inputs; here each fault
//! is asked for once, so that none comes back unseen.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::record::{Record, replay};
use crate::serve::Serve;
use crate::serve::clients::{crowd, rebound};
use crate::support::{
    Folder, Guarded, Namespace, PATIENCE, Top, binary, find_row, number, output, storm, turn,
};
use crate::{groups, inputs, run};

/// What became of a command line.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
    took: Duration,
}

impl Done {
    fn first_line(&self) -> &str {
        self.err.lines().next().unwrap_or_default()
    }

    fn hint(&self) -> &str {
        self.err.lines().find_map(|line| line.trim().strip_prefix("hint: ")).unwrap_or_default()
    }
}

/// Where the inputs lie, and the table.
struct Field {
    folder: Folder,
    table: String,
}

impl Field {
    fn new() -> Self {
        let folder = Folder::new("sockflow-field");
        fs::copy(recording("v1.0-story.sockflow"), folder.0.join("story")).expect("the story");
        fs::copy(recording("v1.0-mixed.sockflow"), folder.0.join("mixed")).expect("a recording");
        Self { folder, table: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// A line for a shell, in the folder; `sockflow` is the binary under test.
    fn shell(&self, line: &str) -> Done {
        let mut command = Command::new("bash");
        let line = format!("sockflow() {{ {} \"$@\"; }}; {line}", binary().display());
        command
            .arg("-c")
            .arg(line)
            .env("BIN", binary())
            .current_dir(&self.folder.0)
            .env("TZ", "UTC");
        let began = Instant::now();
        let done = output(command);
        Done {
            code: done.status.code(),
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            err: String::from_utf8_lossy(&done.stderr).into_owned(),
            took: began.elapsed(),
        }
    }

    fn row(&mut self, fault: &str, input: &str, before: &str, now: impl AsRef<str>) {
        let now = now.as_ref();
        writeln!(self.table, "{fault:<4} {input:<64} {before:<44} {now}").expect("text");
    }
}

/// Also of a test that fails: as far as it came.
impl Drop for Field {
    fn drop(&mut self) {
        println!("{}", self.table);
    }
}

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name)
}

#[test]
fn before_and_now() {
    let _turn = turn();
    let mut field = Field::new();
    field.row("", "input", "before", "now");
    damaged_traces(&mut field);
    streams(&mut field);
    filters(&mut field);
    exports(&mut field);
    resets(&mut field);
    scrapes(&mut field);
    terminals(&mut field);
    services(&mut field);
    a_disk_that_stalls(&mut field);
    places_to_write(&mut field);
    messages(&mut field);
}

fn damaged_traces(field: &mut Field) {
    let line = "printf '\\377\\377\\377\\377' | dd of=story bs=1 seek=40000 conv=notrunc status=none; sockflow replay story";
    let done = field.shell(line);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("1 moment") && !done.out.is_empty(), "{}", done.err);
    assert!(done.took < Duration::from_secs(20), "{:?}", done.took);
    field.row("23", "4 bytes of a Sample flipped; replay", "no moment yet", done.first_line());
    let done = field.shell("sockflow replay story --at max --json; sockflow doctor --trace story --at max >/dev/null 2>&1; echo $?");
    let ended = done.out.lines().last();
    assert!(done.out.contains("snapshot/1") && ended != Some("2"), "{ended:?}: {}", done.err);
    field.row("23", "…; replay --at max", "spins for ever", "the worst of the moments left");
    fs::copy(recording("v1.0-story.sockflow"), field.path("story")).expect("the story");
    let cases = [
        ("the last sample: at_ns = 0", "report", "panics (101)"),
        ("clock.wall_ns = 2^63 - 1", "report", "never ends"),
        ("a sample of 700,000 groups", "replay --json", "6.3 GB, 70 s"),
        ("a frame of 60 million events", "export --format jsonl", "2 GB, no word"),
        ("70 damaged places", "replay --json", "70 notes"),
        (inputs::SPARSE, "replay --json", "a minute"),
    ];
    for (name, command, before) in cases {
        let input = inputs::INPUTS.iter().find(|input| input.name == name).expect("an input");
        let path = field.path("damaged");
        input.write(&path);
        let mut arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        arguments.insert(1, path.display().to_string());
        if command == "report" {
            arguments.extend(["--format", "json"].map(str::to_owned));
        }
        let outcome = run::piped(&arguments);
        assert_eq!(outcome.code, Some(0), "{name}: {outcome}: {}", outcome.talk);
        assert!(
            input.said.split('|').any(|said| outcome.talk.contains(said)),
            "{name}: {}",
            outcome.talk
        );
        assert!(outcome.talk.lines().count() < 30, "{name}: {}", outcome.talk);
        let now = format!("{outcome}, {} lines on stderr", outcome.talk.lines().count());
        field.row("30", &format!("{name}; {command}"), before, now);
    }
}

fn streams(field: &mut Field) {
    let lines = [
        ("24", "sockflow replay none 2>/dev/full", 1..=2),
        ("24", "sockflow replay none 2>&-", 1..=2),
        ("24", "sockflow replay story >&- 2>&-", 0..=1),
        ("31", "sockflow top --json --duration 300ms --interval 100ms 2>/dev/full", 0..=0),
        ("31", "sockflow record -o r1 --duration 300ms 2>/dev/full", 0..=0),
        ("31", "sockflow record -o r2 --duration 300ms 2> >(exit)", 0..=0),
    ];
    for (fault, line, codes) in lines {
        let done = field.shell(line);
        let code = done.code.unwrap_or(-1);
        assert!(codes.contains(&code), "{line}: exit {code}");
        field.row(fault, line, "panics (101)", format!("exit {code}"));
    }
    for name in ["r1", "r2"] {
        let (snapshots, talk) = replay(&field.path(name), &[]);
        assert!(!snapshots.is_empty() && talk.is_empty(), "{name} is whole: {talk}");
    }
}

fn filters(field: &mut Field) {
    const FILTERS: [&str; 8] = [
        "--port 9981",
        "--port 1,2",
        "--peer-port 9981",
        "--pid 1",
        "--comm none",
        "--cgroup /none",
        "--netns 4026531840",
        "-4",
    ];
    let commands = [
        "replay story",
        "report story --format json",
        "export story --format csv",
        "doctor --trace story --fail-on never",
    ];
    for filter in FILTERS {
        let codes: Vec<i32> = commands
            .iter()
            .map(|command| field.shell(&format!("sockflow {command} {filter}")).code.unwrap_or(-1))
            .collect();
        let is_alike = codes[0] == codes[1] && codes[2] == 0;
        assert!(is_alike && codes.iter().all(|code| [0, 2].contains(code)), "{filter}: {codes:?}");
        let input = format!("replay, report, export, doctor {filter}");
        field.row("25", &input, "refused, 2, 0 or ignored", format!("exit {codes:?}"));
    }
    let said: Vec<String> = commands
        .iter()
        .map(|command| field.shell(&format!("sockflow {command} --port 1")).err)
        .chain(std::iter::once({
            let serve = Serve::start(&["--port", "1"]);
            serve.stop()
        }))
        .collect();
    let sentence = "nothing matches the filter: port = 1";
    assert!(said.iter().all(|said| said.contains(sentence)), "{said:?}");
    field.row("25", "… --port 1; serve --port 1", "exit 2, 0 or no word", sentence);
}

fn exports(field: &mut Field) {
    let done = field.shell("sockflow export mixed --format jsonl | head -1; sockflow export mixed --format csv | head -1");
    let mut lines = done.out.lines();
    let row: Value = serde_json::from_str(lines.next().expect("a row")).expect("JSON");
    let columns: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let row = row.as_object().expect("an object");
    for name in ["direction", "service_port", "host", "boot_id"] {
        assert!(row.contains_key(name) && columns.contains(&name), "{name}: {row:?} {columns:?}");
    }
    let others: Vec<_> = row.keys().filter(|name| !columns.contains(&name.as_str())).collect();
    let now = format!("{} columns of one spelling; in JSON alone: {others:?}", columns.len());
    field.row("26", "export --format jsonl, csv", "no direction, no service, no host", now);
}

fn resets(field: &mut Field) {
    const TRIES: u64 = 24;
    let mut top = Top::start(&[]);
    top.next();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let closed = free.local_addr().expect("its address");
    drop(free);
    for _ in 0..TRIES {
        assert!(TcpStream::connect(closed).is_err(), "somebody listens");
    }
    let last = top.last();
    let unseen = number(&last, "/resets_out_unseen");
    assert!(unseen >= TRIES, "{last}");
    assert_eq!(last["fidelity"]["reset_out"], "derived");
    let now = format!("derived, and {unseen} more counted by the kernel");
    field.row("27", "24 connects to a port where nobody listens", "reset_out exact: 0", now);
}

fn scrapes(field: &mut Field) {
    let namespace = Namespace::new();
    namespace.inside(|| {
        let serve = Serve::start(&[]);
        let now = crowd(&serve, 1_000);
        let host = rebound(serve.address);
        serve.stop();
        assert_eq!((now.answered, now.overflows, now.drops), (1_000, 0, 0));
        assert_eq!(host, 421);
        field.row("28", "1,000 scrapes at once", "its backlog overflows", format!("{now:?}"));
        field.row("37", "GET /metrics with Host: evil.example", "200", host.to_string());
    });
}

fn terminals(field: &mut Field) {
    let line = "TERM=dumb script -qec 'stty cols 100 rows 30; exec $BIN replay story' /dev/null";
    let done = field.shell(&format!("{line} </dev/null"));
    assert_eq!(done.code, Some(0), "{}", done.out);
    assert!(!done.out.contains('\u{1b}'), "{}", done.out.escape_debug());
    let now = format!("{} lines of text", done.out.lines().count());
    field.row("29", "TERM=dumb sockflow replay story", "the full screen", now);
    let done = field.shell("head -c 20 story >cut; sockflow replay cut");
    assert!(!done.err.contains("cat "), "{}", done.err);
    field.row(
        "29",
        "a file that is cut short",
        "hint: cat FILE > …, which empties it",
        done.hint(),
    );
}

fn services(field: &mut Field) {
    let namespace = Namespace::new();
    let top = groups::top_with(&namespace, 6, 42);
    storm(Some(&namespace), &["--connections", "48", "--ports", &groups::list()]);
    namespace.settled();
    let last = top.last_at_rest(&namespace);
    let rows = groups::ports().filter(|port| find_row(&last, *port, "in").is_some()).count();
    assert_eq!((rows, number(&last, "/lost/ungrouped")), (24, 0), "{last}");
    let now = format!("{rows} rows, ungrouped 0");
    field.row("33", "24 services, groups with an owner: 6", "port 0 and ungrouped 0", now);
}

/// A file system whose writes wait while it is frozen.
struct Freezer(Folder);

impl Freezer {
    fn new() -> Self {
        let folder = Folder::new("sockflow-freezer");
        let this = Self(folder);
        let mut mount = Command::new("sh");
        let script =
            "truncate -s 64M image && mkfs.ext4 -q image && mkdir disk && mount -o loop image disk";
        mount.args(["-ec", script]).current_dir(&this.0.0);
        let done = output(mount);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        this
    }

    fn disk(&self) -> PathBuf {
        self.0.0.join("disk")
    }

    fn freeze(&self, flag: &str) {
        let mut command = Command::new("fsfreeze");
        command.arg(flag).arg(self.disk());
        let done = output(command);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(self.disk()).output();
        let _ = Command::new("umount").arg(self.disk()).status();
    }
}

fn a_disk_that_stalls(field: &mut Field) {
    const STALL: Duration = Duration::from_secs(5);
    let freezer = Freezer::new();
    let file = freezer.disk().join("t.sockflow");
    let record = Record::start(&file, &["--interval", "200ms"]);
    freezer.freeze("-f");
    // That long is what is tried.
    std::thread::sleep(STALL);
    freezer.freeze("-u");
    record.stop();
    let (snapshots, talk) = replay(&file, &[]);
    let elapsed: Vec<f64> =
        snapshots.iter().filter_map(|snapshot| snapshot["elapsed_s"].as_f64()).collect();
    let longest = elapsed.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(elapsed.last().is_some_and(|last| *last >= STALL.as_secs_f64()), "{elapsed:?}");
    assert!(longest < 2.0, "{elapsed:?}: {talk}");
    let now = format!("{} moments, no two further apart than {longest:.1} s", elapsed.len());
    field.row("35", "the disk stalls for 5 s (fsfreeze)", "5 s are missing", now);
}

fn places_to_write(field: &mut Field) {
    let done = field.shell("mkfifo alone; timeout --preserve-status -s INT 1 $BIN record -o alone");
    assert!(done.code == Some(130) && done.took < Duration::from_secs(10), "{}", done.err);
    field.row(
        "36",
        "record -o FIFO without a reader, SIGINT",
        "ignores it",
        "exit 130, stopped: nothing was recorded",
    );
    let line = "mkfifo short; head -c 9 short >/dev/null & sockflow record -o short --interval 100ms --duration 20s";
    let done = field.shell(line);
    assert_eq!(done.code, Some(1), "{}", done.err);
    field.row("36", "record -o FIFO, its reader goes", "exit 0, no word", done.first_line());
    let done = field.shell("sockflow record -o - --duration 300ms >stream; sockflow replay stream --json | head -1; ls -- -");
    assert!(
        done.out.contains("snapshot/1") && !done.out.contains("\n-"),
        "{} {}",
        done.out,
        done.err
    );
    field.row("36", "record -o - >stream", "a file of the name -", "the trace goes to stdout");
    let line = "mkdir -m 1777 sticky; mkfifo sticky/p; chown 65534 sticky/p; sockflow record -o sticky/p --duration 300ms";
    let done = field.shell(line);
    assert_eq!(done.code, Some(2), "{}", done.err);
    field.row(
        "36",
        "record -o a FIFO of another user in a sticky folder",
        "is written to",
        done.first_line(),
    );
    let done = field.shell("echo precious >real; ln -s real link; sockflow record --force -o link --duration 300ms; cat real");
    assert_eq!(done.out.trim(), "precious", "{}", done.err);
    field.row("36", "record --force -o a symlink", "replaces what it leads to", done.first_line());
    let done = field.shell("sockflow record -o failed --netns nosuch; ls failed; sockflow record -o failed --duration 300ms");
    assert_eq!(done.code, Some(0), "{}", done.err);
    field.row(
        "36",
        "a start that fails, then one that does not",
        "the empty file is in the way",
        "exit 0",
    );
    let done = field.shell("ulimit -f 4; sockflow record -o long --interval 100ms --duration 20s");
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(!done.hint().contains("--max-size"), "{}", done.err);
    let now = format!("exit 1, hint: {}", done.hint());
    field.row("36", "ulimit -f 4; record (SIGXFSZ)", "killed, no word", now);
}

fn messages(field: &mut Field) {
    let done = field.shell("sockflow replay $'a\\e[31mb'; sockflow top --port $'\\e[5m'; sockflow report story -o $'\\e]0;x\\a/y'");
    assert!(
        !done.err.contains('\u{1b}') && done.err.contains("[31m"),
        "{}",
        done.err.escape_debug()
    );
    field.row(
        "37",
        "ESC in names of files and in arguments",
        "raw on the terminal",
        done.first_line(),
    );
    let done = field.shell("mkdir small; mount -t tmpfs -o size=1200k none small; sockflow record -o small/t --max-size 1M --interval 100ms --duration 500ms; dd if=/dev/zero of=small/fill bs=1k status=none; sockflow record -o small/u --max-size 1M --duration 300ms; umount small");
    assert!(!done.hint().contains("--max-size"), "{}", done.err);
    field.row("37", "--max-size on a disk that is full", "hint: --max-size", done.hint());
    let line = "head -c 64 story >empty; for c in 'replay empty' 'report empty --format md' 'export empty --format csv' 'doctor --trace empty'; do sockflow $c >/dev/null 2>&1; echo -n \"$? \"; done";
    let done = field.shell(line);
    let codes: Vec<&str> = done.out.split_whitespace().collect();
    assert!(codes.len() == 4 && codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    field.row(
        "37",
        "an empty trace: replay, report, export, doctor",
        "exit 0, 1 and 2",
        format!("exit {codes:?}"),
    );
    let arguments = ["probes", "--btf", "/dev/zero"].map(str::to_owned);
    let outcome = run::piped(&arguments);
    assert!(outcome.code.is_some_and(|code| code > 0) && outcome.mib < 256, "{outcome}");
    field.row("37", "probes --btf /dev/zero", "3.4 GB", outcome.to_string());
    let done = field.shell("ulimit -n 16; sockflow top --json --duration 1s");
    assert!(done.err.contains("ulimit -n") || done.err.contains("open files"), "{}", done.err);
    field.row("37", "ulimit -n 16; sockflow top", "this host refuses BPF", done.first_line());
    hang_up(field);
}

fn hang_up(field: &mut Field) {
    let mut command = Command::new(binary());
    command.args(["record", "-o"]).arg(field.path("hung")).args(["--interval", "100ms"]);
    let mut record = Guarded::start(command);
    crate::support::eventually("a file", || {
        fs::metadata(field.path("hung")).is_ok_and(|file| file.len() > 0)
    });
    record.signal(Signal::HUP);
    record.signal(Signal::TERM);
    let (_, status, talk) = record.end(PATIENCE);
    assert_eq!(status.code(), Some(0), "{talk}");
    let (snapshots, _) = replay(&field.path("hung"), &[]);
    assert!(!snapshots.is_empty(), "{talk}");
    field.row("31", "SIGHUP, then SIGTERM to record", "exit 101, unclosed", "exit 0, whole");
}
