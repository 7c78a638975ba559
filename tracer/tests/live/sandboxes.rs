//! Where BPF is forbidden to root, or the root of cgroup2 is out of reach: it is said, alike in every
//! command, and nothing is begun.

use crate::support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use support::*;

/// Every command that traces; each writes its file, if any, into the folder it runs in.
const COMMANDS: [&[&str]; 5] = [
    &["probes"],
    &["top", "--json", "--duration", "1s"],
    &["trace", "--duration", "1s"],
    &["record", "-o", "t.sockflow", "--duration", "1s"],
    &["serve", "--listen", "127.0.0.1:0"],
];

/// Each command ends with 3, says nothing on stdout, leaves no file, names `forbids` and what to do.
fn refuse_alike(confine: impl Fn(Command) -> Command, forbids: &str) {
    let folder = Folder::new("sockflow-sandbox");
    for arguments in COMMANDS {
        let mut command = confine(sockflow(arguments));
        command.current_dir(&folder.0);
        let done = output(command);
        let talk = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{arguments:?}: {talk}");
        assert!(done.stdout.is_empty(), "{arguments:?}");
        let first = talk.lines().next().unwrap_or_default();
        assert!(first.contains(forbids), "{arguments:?}: {talk}");
        assert!(talk.contains("hint: run it outside"), "{arguments:?}: {talk}");
        assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 0, "{arguments:?}");
    }
}

#[test]
fn root_of_a_user_namespace() {
    let _turn = turn();
    let confine = |command: Command| {
        let mut unshare = Command::new("unshare");
        unshare.arg("-Ur").arg(command.get_program()).args(command.get_args());
        unshare
    };
    refuse_alike(confine, "in a user namespace");
}

#[test]
fn a_seccomp_filter_on_bpf() {
    let _turn = turn();
    for errno in [libc::EPERM, libc::ENOSYS] {
        let confine = |mut command: Command| {
            sys::deny(&mut command, libc::SYS_bpf, errno);
            command
        };
        refuse_alike(confine, "a seccomp filter");
    }
}

/// A cgroup2 of its own, taken away when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let mount = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
        })?;
        let path = mount.join(format!("sockflow-sandbox-{}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup");
        Some(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && began.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Makes /sys/fs/cgroup a cgroup2 that begins at the namespace's cgroup.
const MOUNT: &str = "umount -l /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; \
                     mkdir /sys/fs/cgroup/u; mount -t cgroup2 none /sys/fs/cgroup/u; ";

/// What is said of close() by `script`, which runs sockflow as `"$0"`, without a hook on tcp_close.
fn closes(script: &str) -> Value {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(binary()).env("SOCKFLOW_HIDE", "tcp_close");
    let done = output(shell);
    let text = String::from_utf8_lossy(&done.stdout);
    let talk = String::from_utf8_lossy(&done.stderr);
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}{talk}"));
    let signals = report["signals"].as_array().expect("signals");
    signals.iter().find(|it| it["signal"] == "orphan_begin").expect("a row").clone()
}

#[test]
fn cgroup2_that_is_not_the_root() {
    let _turn = turn();
    let Some(cgroup) = Cgroup::new() else {
        println!("n/a: no cgroup2 is mounted");
        return;
    };
    let enter = format!("echo $$ >{}/cgroup.procs; ", cgroup.0.display());
    // A container: cgroup and PID namespaces of its own. Only a part would be seen, so it is not
    // used, and why is said with what would help.
    let row = closes(&format!(
        "{enter} exec unshare -Cpmf --mount-proc sh -c '{MOUNT} \"$0\" probes --json' \"$0\""
    ));
    assert_eq!(
        (&row["hook"], &row["fidelity"]),
        (&"from state".into(), &"derived".into()),
        "{row}"
    );
    let refused = row["refused"].to_string();
    assert!(refused.contains("not the root of the hierarchy"), "{row}");
    assert!(refused.contains("nsenter -t 1 -C"), "{row}");
    // The first process has the root, and may be asked for it.
    let row = closes(&format!(
        "exec unshare -pmf --mount-proc sh -c '({enter} exec unshare -Cm sh -c \"{MOUNT} $0 probes \
         --json\"); true' \"$0\""
    ));
    assert_eq!(
        (&row["hook"], &row["fidelity"]),
        (&"cgroup/sock_release".into(), &"exact".into()),
        "{row}"
    );
}

#[test]
fn where_sys_was_mounted_anew() {
    let _turn = turn();
    let namespace = Namespace::new();
    let name = format!("sockflow-test-{}", std::process::id());
    let ip = |arguments: &[&str]| Command::new("ip").arg("netns").args(arguments).status();
    assert!(ip(&["attach", &name, &namespace.name()]).expect("ip").success());
    let row = closes(&format!("exec ip netns exec {name} \"$0\" probes --json"));
    assert!(ip(&["delete", &name]).expect("ip").success());
    let exact = ("cgroup/sock_release".into(), "exact".into());
    assert_eq!((&row["hook"], &row["fidelity"]), (&exact.0, &exact.1), "{row}");
}
