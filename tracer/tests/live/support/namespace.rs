//! Network namespaces that keep a test's sockets apart.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::kernel::{sockstat, tcp_ext_in};
use super::{Guarded, PATIENCE, eventually, output};

/// Moves the calling thread into a network namespace, for good.
pub(crate) fn enter(path: &Path) {
    let namespace = File::open(path).expect("the namespace");
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
}

/// A network namespace with its loopback up, as long as this value lives.
pub(crate) struct Namespace {
    keeper: Guarded,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 600"])
            .stdin(Stdio::null());
        let mut keeper = Guarded::start(command);
        let ready = keeper.line(PATIENCE);
        if ready.as_deref() != Some("ready") {
            panic!("no network namespace: {}", keeper.end(PATIENCE).2);
        }
        Self { keeper }
    }

    /// What `--netns` takes.
    pub(crate) fn name(&self) -> String {
        self.keeper.pid().to_string()
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.keeper.pid()).into()
    }

    /// The same command, inside. The process id stays the child's.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .arg(format!("--net={}", self.path().display()))
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        inside
    }

    /// Runs `body` inside, on a thread of its own.
    pub(crate) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(&path);
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Its `/proc/net`.
    pub(crate) fn folder(&self) -> String {
        format!("/proc/{}/net", self.keeper.pid())
    }

    /// A number of this namespace's `/proc/net/sockstat`, row TCP.
    pub(crate) fn sockstat(&self, name: &str) -> u64 {
        sockstat(&self.folder(), name)
    }

    /// Itself, when all of its connections have ended but for TIME_WAIT. The last of a storm may not
    /// have when the storm has: on a busy CPU a segment waits for `ksoftirqd`.
    pub(crate) fn settled(&self) -> &Self {
        let under_way = || self.ss(&["-tan", "state", "connected", "exclude", "time-wait"]);
        eventually("all connections have ended", || under_way().is_empty());
        self
    }

    /// A counter of this namespace's group TcpExt; a namespace begins with 0.
    pub(crate) fn tcp_ext(&self, name: &str) -> u64 {
        tcp_ext_in(&self.folder(), name)
    }

    /// Changes a setting that is the namespace's own.
    pub(crate) fn set(&self, dotted: &str, value: &str) {
        let path = format!("/proc/sys/{}", dotted.replace('.', "/"));
        self.inside(|| fs::write(path, value).expect("a setting"));
    }

    /// `ss` inside, without its header.
    pub(crate) fn ss(&self, arguments: &[&str]) -> Vec<String> {
        let mut ss = Command::new("ss");
        ss.arg("-H").args(arguments);
        let done = output(self.enter(&ss));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
    }
}
