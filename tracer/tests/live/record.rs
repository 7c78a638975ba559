//! Recording: what is in the file is what was watched, whatever ends the recording.

use crate::support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use support::books::Books;
use support::{
    Folder, Guarded, Namespace, PATIENCE, PORT, Top, assert_complete, eventually, large, number,
    output, row, sockflow, storm, turn,
};

/// `sockflow record`, tracing.
pub(super) struct Record {
    process: Guarded,
    file: PathBuf,
}

impl Record {
    pub(super) fn start(file: &Path, arguments: &[&str]) -> Self {
        let mut command = sockflow(&["record", "-o"]);
        command.arg(file).args(arguments);
        let new = Self { process: Guarded::start(command), file: file.to_owned() };
        // It begins the file when everything is attached.
        eventually("a file", || fs::metadata(&new.file).is_ok_and(|file| file.len() > 0));
        new
    }

    /// Ends it; what it said.
    pub(super) fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let (lines, status, talk) = self.process.end(PATIENCE);
        assert!(status.success() && lines.is_empty(), "{status}: {talk}");
        talk
    }
}

/// The snapshots in a file, and what was said about it.
pub(super) fn replay(file: &Path, arguments: &[&str]) -> (Vec<Value>, String) {
    let mut command = sockflow(&["replay", "--json"]);
    command.arg(file).args(arguments);
    let done = output(command);
    let talk = String::from_utf8_lossy(&done.stderr).into_owned();
    // A recording that has just begun holds no moment yet: then there is no snapshot either.
    assert!(done.status.success() || talk.contains("holds no sample"), "{talk}");
    let text = String::from_utf8_lossy(&done.stdout);
    (text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), talk)
}

/// A snapshot without what two runs cannot have in common: clocks, own cost, and times of sockets,
/// which each of them measures for itself.
fn comparable(snapshot: &Value) -> Value {
    let mut snapshot = snapshot.clone();
    let fields = snapshot.as_object_mut().expect("an object");
    for own in ["time", "elapsed_s", "own_cost", "source"] {
        assert!(fields.remove(own).is_some(), "{own}");
    }
    for row in fields["ports"].as_array_mut().expect("rows") {
        assert!(row.as_object_mut().expect("a row").remove("fin_wait1_ms").is_some());
    }
    // TIME_WAIT is sampled, by each at moments of its own: its number agrees, its last change need not.
    fields["states_per_s"].as_object_mut().expect("rates").remove("time_wait");
    // What is concluded rests on observations that each makes at moments of its own, and growth at one
    // moment need not be at the other. That every view concludes the same of one run is held elsewhere.
    for concluded in ["anomalies", "findings", "verdict"] {
        assert!(fields.remove(concluded).is_some(), "{concluded}");
    }
    // Each looks at single sockets at moments of its own.
    assert!(fields.remove("sockets_age_s").is_some());
    assert!(fields["tcp_mem"].as_object_mut().expect("tcp_mem").remove("held_by").is_some());
    for (rows, names) in [
        ("ports", &["bytes", "orphans_by_cause", "close_wait_by_cause"][..]),
        ("processes", &["bytes", "closed_fds"]),
    ] {
        for row in fields[rows].as_array_mut().expect("rows") {
            let row = row.as_object_mut().expect("a row");
            assert!(names.iter().all(|name| row.remove(*name).is_some()));
        }
    }
    // Each began to watch at a moment of its own, and asked for listeners at moments of its own.
    for what in ["orphans", "tcp_mem"] {
        fields[what].as_object_mut().expect(what).remove("growth_seen_s");
    }
    for row in fields["ports"].as_array_mut().expect("rows") {
        row.as_object_mut().expect("a row").remove("listen");
    }
    // How much of the detail each could take in is told elsewhere.
    fields["lost"].as_object_mut().expect("lost").remove("detail");
    snapshot
}

#[test]
fn what_was_recorded_is_what_was_watched() {
    let _turn = turn();
    let connections = large(50_000);
    let folder = Folder::new("sockflow-same");
    let file = folder.0.join("storm.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let mut top = Top::start(&["--netns", &netns]);
    let record = Record::start(&file, &["--netns", &netns]);
    let count = connections.to_string();
    for mode in ["server-closes", "client-closes", "reset"] {
        storm(Some(&namespace), &["--mode", mode, "--connections", &count]);
    }
    // Two whole intervals without anything new: then the last one of both is quiet, and rates agree.
    top.now();
    top.until("quiet", |now| now["totals_per_s"]["closed"] == 0.0);
    top.now();
    let books = Books::of(&namespace);
    let watched = top.last();
    let talk = record.stop();
    assert!(talk.contains("sockflow replay"), "{talk}");
    let (snapshots, talk) = replay(&file, &[]);
    assert_eq!(talk, "", "the file is whole");
    let recorded = snapshots.last().expect("a snapshot");

    assert_eq!(recorded["source"], "trace");
    for last in [&watched, recorded] {
        assert_complete(last);
        books.assert_agree(last);
    }
    assert_eq!(number(row(recorded, PORT, "in"), "/totals/opened"), 3 * connections);
    assert_eq!(comparable(recorded), comparable(&watched));

    let again = replay(&file, &[]).0;
    assert_eq!(again, snapshots, "twice the same");
    // Thinned as `top --interval 2s` would have it; the last one is there in any case.
    let thinned = replay(&file, &["--interval", "2s"]).0;
    assert!(thinned.len() < snapshots.len(), "{} of {}", thinned.len(), snapshots.len());
    assert_eq!(
        comparable(thinned.last().expect("a snapshot"))["ports"],
        comparable(recorded)["ports"]
    );
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "addresses of peers are nobody else's business");
}

/// When the snapshot was, seconds since 1970.
fn moment(snapshot: &Value) -> f64 {
    let time: jiff::Timestamp = snapshot["time"].as_str().expect("a time").parse().expect("a time");
    time.as_millisecond() as f64 / 1000.0
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64()
}

/// The kill comes at any moment: while frames are sealed, written and synced.
#[test]
fn fifty_killed_recordings_lose_at_most_the_last_interval() {
    const KILLS: u32 = 50;
    const SYNC: f64 = 0.1;
    /// A sample takes its time, and so does a thread to wake up on a machine this busy.
    const SLACK: f64 = 0.25;
    /// When all of the machine stood still for a moment; not half of the kills may meet that.
    const STALL: f64 = 2.0;
    let _turn = turn();
    let folder = Folder::new("sockflow-kill");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let mut storms = Guarded::start(namespace.enter(&{
        let mut command = sockflow(&["storm", "--connections", "10000000", "--duration", "10m"]);
        command.args(["--rate", "4000/s", "--json"]);
        command
    }));
    // A fixed sequence of waits, so that a failure can be repeated.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut behind = Vec::new();
    for number_of_kill in 0..KILLS {
        let file = folder.0.join(format!("{number_of_kill}.sockflow"));
        let mut record =
            Record::start(&file, &["--netns", &netns, "--sync", "100ms", "--interval", "100ms"]);
        // From its first moment on there is something to lose. The file grows before that as well.
        eventually("a moment in the file", || !replay(&file, &[]).0.is_empty());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis((seed >> 33) % 700);
        let began = Instant::now();
        while began.elapsed() < wait {
            std::thread::sleep(Duration::from_millis(1));
        }
        let killed = now();
        record.process.child.kill().expect("kill");
        record.process.child.wait().expect("wait");
        let (snapshots, _) = replay(&file, &[]);
        let last = snapshots.last().expect("what was there before the kill");
        let missing = killed - moment(last);
        assert!(missing <= SYNC + STALL, "{missing} s of {wait:?} are missing");
        let opened = number(row(last, PORT, "in"), "/totals/opened");
        assert!(opened > 0, "no connections in a storm");
        behind.push(missing);
        fs::remove_file(&file).expect("remove");
    }
    behind.sort_by(f64::total_cmp);
    let (median, most) = (behind[behind.len() / 2], behind[behind.len() - 1]);
    println!("missing: median {median:.3} s, most {most:.3} s");
    assert!(median <= SYNC + SLACK, "{median} s are missing as a rule");
    storms.signal(Signal::TERM);
    storms.end(PATIENCE);
}

/// A file system of its own, so small that it is soon full.
struct SmallDisk(Folder);

impl SmallDisk {
    fn new(bytes: u64) -> Self {
        let folder = Folder::new("sockflow-small-disk");
        let options = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(&folder.0);
        let done = output(mount);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

#[test]
fn a_full_disk_ends_a_recording_readable() {
    let _turn = turn();
    let disk = SmallDisk::new(256 << 10);
    let file = disk.0.0.join("full.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let mut record = Record::start(&file, &["--netns", &netns, "--interval", "100ms"]);
    storm(Some(&namespace), &["--connections", "30000"]);
    let (_, status, talk) = record.process.end(PATIENCE);
    assert_eq!(status.code(), Some(1), "{talk}");
    assert!(talk.contains("No space left on device") && talk.contains("hint:"), "{talk}");
    assert!(talk.contains(&file.display().to_string()), "{talk}");
    let (snapshots, _) = replay(&file, &[]);
    let opened: Vec<u64> = snapshots
        .iter()
        .filter_map(|snapshot| support::find_row(snapshot, PORT, "in"))
        .map(|row| number(row, "/totals/opened"))
        .collect();
    assert!(opened.last().is_some_and(|opened| *opened > 0), "{opened:?}");
    assert!(opened.is_sorted(), "{opened:?}");
}

#[test]
fn on_a_full_disk_a_bounded_recording_goes_on() {
    let _turn = turn();
    let disk = SmallDisk::new(1 << 20);
    let file = disk.0.0.join("flight.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let arguments = ["--netns", &netns, "--interval", "100ms", "--max-size", "16M"];
    let record = Record::start(&file, &arguments);
    let connections = large(100_000);
    storm(Some(&namespace), &["--connections", &connections.to_string()]);
    let talk = record.stop();
    assert!(talk.contains("full"), "{talk}");
    let (snapshots, _) = replay(&file, &[]);
    let last = snapshots.last().expect("a snapshot");
    // Totals are since tracing began, whatever became of the pieces of then.
    assert_eq!(number(row(last, PORT, "in"), "/totals/opened"), connections);
}

#[test]
fn a_bounded_recording_keeps_the_newest() {
    const MOST: u64 = 1 << 20;
    let _turn = turn();
    let folder = Folder::new("sockflow-bounded");
    let file = folder.0.join("flight.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let record =
        Record::start(&file, &["--netns", &netns, "--interval", "100ms", "--max-size", "1M"]);
    let connections = large(100_000);
    // A listing takes time, in which files are moved and dropped: two that agree saw no move.
    let listing = || -> BTreeMap<OsString, (u64, u64)> {
        let files = fs::read_dir(&folder.0).expect("the folder").flatten();
        let file = |file: DirEntry| {
            let of = file.metadata().ok()?;
            Some((file.file_name(), (of.ino(), of.len())))
        };
        files.filter_map(file).collect()
    };
    let on_disk = || -> u64 {
        let mut seen = listing();
        loop {
            let again = listing();
            if again == seen {
                return seen.values().map(|(_, bytes)| bytes).sum();
            }
            seen = again;
        }
    };
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(on_disk());
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        storm(Some(&namespace), &["--connections", &connections.to_string()]);
        over.store(true, Ordering::Relaxed);
        watch.join().expect("the watch")
    });
    record.stop();
    assert!(most.max(on_disk()) <= MOST, "{most} bytes");
    assert!(most > MOST / 2, "{most} bytes: the storm was too small to tell");
    let (snapshots, talk) = replay(&file, &[]);
    assert_eq!(talk, "", "every piece is whole");
    let last = snapshots.last().expect("a snapshot");
    assert_eq!(number(row(last, PORT, "in"), "/totals/opened"), connections);
    let elapsed = |snapshot: &Value| snapshot["elapsed_s"].as_f64().expect("a number");
    assert!(elapsed(&snapshots[0]) > 0.2, "the oldest is gone");
    // Each piece alone: the oldest that an interval ended in.
    let pieces = fs::read_dir(&folder.0).expect("the folder").flatten().map(|file| file.path());
    let mut older: Vec<PathBuf> = pieces.filter(|path| path != &file).collect();
    older.sort();
    let alone = older.iter().rev().find_map(|piece| replay(piece, &[]).0.into_iter().next());
    assert_eq!(alone.as_ref(), Some(&snapshots[0]), "the oldest piece begins the whole");
}

#[test]
fn hang_up_begins_a_new_file_and_nothing_is_lost() {
    let _turn = turn();
    let folder = Folder::new("sockflow-hup");
    let file = folder.0.join("day.sockflow");
    let moved = folder.0.join("day-moved.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let record = Record::start(&file, &["--netns", &netns, "--interval", "100ms"]);
    storm(Some(&namespace), &["--connections", "100"]);
    record.process.signal(Signal::HUP);
    let older = folder.0.join("day.sockflow.1");
    eventually("an older piece", || older.exists() && file.exists());
    storm(Some(&namespace), &["--connections", "10"]);
    // As logrotate does: away with it first, then the signal.
    fs::rename(&file, &moved).expect("rename");
    record.process.signal(Signal::HUP);
    eventually("a new file", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    storm(Some(&namespace), &["--connections", "1"]);
    record.stop();
    let opened = |file: &Path| {
        let (snapshots, _) = replay(file, &[]);
        number(row(snapshots.last().expect("a snapshot"), PORT, "in"), "/totals/opened")
    };
    assert_eq!(opened(&older), 100);
    assert_eq!(opened(&moved), 110);
    assert_eq!(opened(&file), 111);
}

#[test]
fn a_command_is_recorded_and_its_status_is_ours() {
    let _turn = turn();
    let folder = Folder::new("sockflow-command");
    let file = folder.0.join("test.sockflow");
    let storm = support::binary().display();
    let script = format!("{storm} storm --connections 500 >&2; exit 7");
    let mut command = sockflow(&["record", "--port", "9981", "-o"]);
    command.arg(&file).args(["--", "sh", "-c", &script]);
    let done = output(command);
    assert_eq!(done.status.code(), Some(7), "{}", String::from_utf8_lossy(&done.stderr));
    let (snapshots, talk) = replay(&file, &[]);
    assert_eq!(talk, "");
    let last = snapshots.last().expect("a snapshot");
    assert_eq!(number(row(last, PORT, "in"), "/totals/opened"), 500);

    // What is there is not overwritten, and says how to.
    let mut again = sockflow(&["record", "-o"]);
    again.arg(&file).args(["--", "true"]);
    let refused = output(again);
    let talk = String::from_utf8_lossy(&refused.stderr);
    assert_ne!(refused.status.code(), Some(0), "{talk}");
    assert!(talk.contains("--force"), "{talk}");
    assert_eq!(replay(&file, &[]).0, snapshots);
}

#[test]
fn a_file_that_is_deleted_or_loses_its_folder_is_said_so() {
    let _turn = turn();
    let folder = Folder::new("sockflow-deleted");
    let file = folder.0.join("gone.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let arguments = ["--netns", &netns, "--interval", "100ms", "--sync", "100ms"];
    let mut record = Record::start(&file, &arguments);
    storm(Some(&namespace), &["--connections", "100"]);
    fs::remove_file(&file).expect("remove");
    eventually("a new file", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    storm(Some(&namespace), &["--connections", "10"]);
    eventually("the connections in the new file", || {
        let (snapshots, _) = replay(&file, &[]);
        let row = snapshots.last().and_then(|last| support::find_row(last, PORT, "in"));
        row.is_some_and(|row| number(row, "/totals/closed") == 110)
    });
    fs::remove_dir_all(&folder.0).expect("remove");
    let (_, status, talk) = record.process.end(PATIENCE);
    assert_eq!(status.code(), Some(1), "{talk}");
    assert!(talk.contains("deleted") || talk.contains("removed"), "{talk}");
    // What was in it has been rescued, and it says where.
    let rescued = talk.split_whitespace().map(|word| word.trim_matches(|c| ":;,`'\"".contains(c)));
    let rescued = rescued
        .map(Path::new)
        .find(|path| path.is_absolute() && path.is_file() && !path.starts_with("/proc"));
    let rescued = rescued.unwrap_or_else(|| panic!("no rescued file in {talk}"));
    let (snapshots, _) = replay(rescued, &[]);
    let last = snapshots.last().expect("a snapshot");
    assert_eq!(number(row(last, PORT, "in"), "/totals/opened"), 110);
    fs::remove_file(rescued).expect("remove");
}

#[test]
fn a_file_that_is_still_written_can_be_replayed() {
    let _turn = turn();
    let folder = Folder::new("sockflow-growing");
    let file = folder.0.join("now.sockflow");
    let namespace = Namespace::new();
    let netns = namespace.name();
    let record = Record::start(&file, &["--netns", &netns, "--interval", "100ms"]);
    storm(Some(&namespace), &["--connections", "100"]);
    eventually("the connections in the file", || {
        replay(&file, &[]).0.last().is_some_and(|last| {
            support::find_row(last, PORT, "in")
                .is_some_and(|row| number(row, "/totals/closed") == 100)
        })
    });
    record.stop();
}
