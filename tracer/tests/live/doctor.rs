//! `sockflow doctor` on descriptors, open files, the packet backlog and sysctl files, each driven to
//! warn and crit and back, and on hosts where it may see little.

use crate::support;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use support::doctor::*;
use support::*;

#[test]
fn descriptors_of_a_process_with_a_low_limit() {
    let _turn = turn();
    let mut shell = Command::new("bash");
    shell.args([
        "-c",
        "ulimit -n 50; top=3; echo ready; while read upto; do \
         while ((top < upto)); do eval \"exec $top</dev/null\"; ((top++)); done; \
         while ((top > upto)); do ((top--)); eval \"exec $top<&-\"; done; echo ready; done",
    ]);
    shell.stdin(std::process::Stdio::piped());
    let mut shell = Guarded::start(shell);
    let mut stdin = shell.child.stdin.take().expect("a pipe");
    assert_eq!(shell.line(PATIENCE).as_deref(), Some("ready"));
    for (upto, state) in [(43, "warn"), (50, "crit"), (20, "ok")] {
        writeln!(stdin, "{upto}").expect("the shell reads");
        assert_eq!(shell.line(PATIENCE).as_deref(), Some("ready"));
        let report = report(None, &["--watch", "500ms"]);
        assert_state(&report, "fds", state);
        if state != "ok" {
            let fds = check(&report, "fds");
            assert_eq!(fds["subject"], format!("bash[{}]", shell.pid()), "{fds}");
            assert_eq!(number(fds, "/limit"), 50, "{fds}");
            // The shell may keep one of its own.
            assert!((upto..=upto + 1).contains(&number(fds, "/now")), "{fds}");
        }
    }
}

#[test]
fn open_files_of_the_host() {
    let _turn = turn();
    let _keep = Keep::setting("fs.file-max");
    let allocated = || -> u64 {
        let text = fs::read_to_string("/proc/sys/fs/file-nr").expect("file-nr");
        text.split_whitespace().next().expect("a number").parse().expect("a number")
    };
    let look = || report(None, &["--watch", "0"]);
    assert_state(&look(), "file_max", "ok");
    // Others open and close files meanwhile: until they leave it alone. Root may go beyond.
    let limited = |percent: u64, state: &str| {
        for _ in 0..20 {
            write("fs.file-max", &(allocated() * percent / 100).to_string());
            let report = look();
            if check(&report, "file_max")["state"] == state {
                return report;
            }
        }
        panic!("never {state}");
    };
    assert_state(&limited(111, "warn"), "file_max", "warn");
    let full = limited(80, "crit");
    assert_state(&full, "file_max", "crit");
    apply(check(&full, "file_max"));
    assert_state(&look(), "file_max", "ok");
}

#[test]
fn files_of_settings() {
    /// Some 1,700 pages: each CPU keeps up to 256 out of the books, either way.
    const ORPHANS: u64 = 400;
    let _turn = turn();
    // TCP holds memory: a limit below that is the one that kills.
    let arguments = ["--mode", "zero-window", "--connections", "400", "--hold", "60s"];
    let standing = Standing::start(None, &arguments, ORPHANS);
    let root = std::env::temp_dir().join(format!("sockflow-doctor-{}", std::process::id()));
    fs::create_dir_all(root.join("etc/sysctl.d")).expect("a folder");
    let file = root.join("etc/sysctl.d/90-net.conf");
    let root_text = root.display().to_string();
    for (text, state) in [
        ("net.ipv4.tcp_tw_recycle = 1\n", "warn"),
        ("net.ipv4.tcp_mem = 1 2 3\n", "crit"),
        ("# nothing\n", "ok"),
    ] {
        fs::write(&file, text).expect("write");
        let command = sockflow(&["doctor", "--json", "--watch", "0", "--root", &root_text]);
        let done = output(command);
        let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_state(&report, "sysctl_lint", state);
        let code = match state {
            "warn" => 10,
            "crit" => 11,
            _ => 0,
        };
        assert_eq!(done.status.code(), Some(code), "{state}");
    }
    fs::remove_dir_all(&root).expect("clean");
    standing.release();
}

#[test]
fn without_privilege_it_says_what_it_could_not_see() {
    use std::os::unix::process::CommandExt as _;
    let _turn = turn();
    // Where a stranger may run it.
    let copy = std::env::temp_dir().join(format!("sockflow-doctor-bin-{}", std::process::id()));
    fs::copy(binary(), &copy).expect("copy");
    let mut command = Command::new(&copy);
    command.args(["doctor", "--json", "--watch", "500ms", "--fail-on", "never"]);
    command.args(["--root", NO_FILES]).uid(65_534).gid(65_534);
    let done = output(command);
    fs::remove_file(&copy).expect("clean");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_ne!(check(&report, "orphans")["state"], "unknown", "{report}");
    let fds = check(&report, "fds");
    let told = format!("{}{}", fds["why"], fds["evidence"]);
    assert!(told.contains("no right to look") || told.contains("lets us look"), "{fds}");
}

/// A file outside of /proc/sys, put back when dropped.
struct KeepFile(&'static str, String);

impl KeepFile {
    fn write(path: &'static str, value: &str) -> Option<Self> {
        let keep = Self(path, fs::read_to_string(path).ok()?);
        fs::write(path, value).ok()?;
        Some(keep)
    }
}

impl Drop for KeepFile {
    fn drop(&mut self) {
        let _ = fs::write(self.0, self.1.trim());
    }
}

/// Packets that a CPU's backlog had no room for, of all CPUs.
fn softnet_dropped() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").expect("softnet_stat");
    let dropped = |row: &str| {
        let word = row.split_whitespace().nth(1).expect("a second column");
        u64::from_str_radix(word, 16).expect("a hexadecimal number")
    };
    text.lines().map(dropped).sum()
}

#[test]
fn a_packet_backlog_that_is_too_short() {
    const RPS: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";
    let _turn = turn();
    // Loopback's packets go to the second CPU, and wait there.
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let steer = || if cpus > 1 { KeepFile::write(RPS, "2") } else { None };
    if steer().is_none() {
        skip("softnet", "packets cannot be steered to another CPU");
        return;
    }
    let _keep = Keep::setting("net.core.netdev_max_backlog");
    let usual = fs::read_to_string("/proc/sys/net/core/netdev_max_backlog").expect("a setting");
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    sender.connect(sink.local_addr().expect("an address")).expect("connect");
    // Read again: what its own buffer drops would be a finding too.
    sink.set_nonblocking(true).expect("a flag");
    let send = |many: usize| {
        for _ in 0..many {
            let _ = sender.send(&[0; 64]);
            while sink.recv(&mut [0; 64]).is_ok() {}
        }
    };
    let mut affinity = rustix::thread::CpuSet::new();
    affinity.set(0);
    let before = rustix::thread::sched_getaffinity(None).expect("affinity");
    // `traffic` again and again for as long as the doctor watches.
    let watched = |traffic: &dyn Fn()| -> Value {
        let mut process =
            Guarded::start(doctor(&["--json", "--fail-on", "never", "--watch", "1500ms"]));
        rustix::thread::sched_setaffinity(None, &affinity).expect("affinity");
        let began = Instant::now();
        while process.child.try_wait().expect("wait").is_none() && began.elapsed() < PATIENCE {
            traffic();
        }
        rustix::thread::sched_setaffinity(None, &before).expect("affinity");
        let (lines, status, talk) = process.end(PATIENCE);
        assert!(status.success(), "{talk}");
        serde_json::from_str(&lines.concat()).expect("JSON")
    };

    // Now and then one is dropped, of thousands.
    let rarely = watched(&|| {
        send(20_000);
        let steered = steer();
        write("net.core.netdev_max_backlog", "0");
        let dropped = softnet_dropped();
        // Whether the other CPU is slow enough is the scheduler's: until it was, once.
        for _ in 0..1_000 {
            send(2);
            if softnet_dropped() > dropped {
                break;
            }
        }
        write("net.core.netdev_max_backlog", usual.trim());
        drop(steered);
    });
    assert_state(&rarely, "softnet", "warn");

    let steered = steer();
    write("net.core.netdev_max_backlog", "8");
    let dropping = watched(&|| send(1_000));
    assert_state(&dropping, "softnet", "crit");
    apply(check(&dropping, "softnet"));
    let found = check(&dropping, "softnet");
    assert_eq!(found["set"][0]["sysctl"], "net.core.netdev_max_backlog", "{found}");
    drop(steered);
    assert_state(&report(None, &["--watch", "500ms"]), "softnet", "ok");
}

#[test]
fn without_proc_it_says_that_it_cannot_tell() {
    let _turn = turn();
    let blind = |hide: &str| {
        let mut command = Command::new("unshare");
        let script = format!("{hide} && exec \"$0\" doctor --watch 0");
        command.args(["--mount", "sh", "-c", &script]).arg(binary());
        output(command)
    };
    for hide in ["mount -t tmpfs none /proc", "mount -t tmpfs none /proc/sys"] {
        let done = blind(hide);
        let talk = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(3), "{hide}: {talk}");
        assert!(talk.contains("checks could not be made") && talk.contains("hint:"), "{talk}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("not measured"));
    }
    // One file less is one check less.
    let done = blind("mount --bind /dev/null /proc/net/softnet_stat");
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stdout));
}
