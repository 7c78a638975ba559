//! A tracer: started, waited for until it traces, measured, ended, and asked what it lost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::at_exit::AtExit;
use super::kind::Kind;
use super::{Setup, output, storm};

/// How long a tracer may take to be ready, and to catch up.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a tracer cost and saw.
pub(super) struct Outcome {
    /// Its CPU time since it was ready, s.
    pub(super) cpu_s: f64,
    /// From its start until it traced, s; where it is mute, until its first event came out.
    pub(super) start_s: f64,
    /// What it wrote of each event it wrote, bytes; `None` if it keeps none.
    pub(super) event_bytes: Option<f64>,
    /// Most memory of its process, bytes.
    pub(super) rss: f64,
    /// Memory of its BPF maps, bytes.
    pub(super) maps: f64,
    /// State changes of the storm that it showed; of `top`, those that its totals stand for.
    pub(super) seen: f64,
    /// Losses it told itself.
    pub(super) told: f64,
}

/// A running tracer.
pub(super) struct Tracer {
    kind: Kind,
    child: Child,
    /// Ends it, also when this process is interrupted.
    end: Option<AtExit>,
    out: PathBuf,
    err: PathBuf,
    cpu_at_start: f64,
    start_s: f64,
}

impl Tracer {
    /// Starts it and returns once it traces.
    pub(super) fn start(setup: &Setup, kind: Kind, sockflow: &Path) -> Result<Self> {
        let out = output(&setup.folder, &format!("{}.out", kind.name()));
        let err = output(&setup.folder, &format!("{}.err", kind.name()));
        let began = Instant::now();
        let child = kind
            .command(setup, sockflow)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .with_context(|| format!("cannot run {}", kind.name()))?;
        // SIGINT is the one that each of them ends by in good order.
        let end = AtExit::new(&format!("kill -INT {}", child.id()))?;
        let mut tracer =
            Self { kind, child, end: Some(end), out, err, cpu_at_start: 0.0, start_s: 0.0 };
        tracer.wait_until_ready(setup)?;
        tracer.start_s = began.elapsed().as_secs_f64();
        Ok(tracer)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `top` prints its first snapshot when all is attached. The others print when there is
    /// something to print (tcpstates holds even its header back until a buffer is full), so a few
    /// connections are made until that shows.
    fn wait_until_ready(&mut self, setup: &Setup) -> Result<()> {
        let start = Instant::now();
        let file = self.kind.file(setup).unwrap_or_else(|| self.out.clone());
        while fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
            if let Some(status) = self.child.try_wait()? {
                let why = fs::read_to_string(&self.err).unwrap_or_default();
                bail!("{} ended at once ({status})\n{}", self.kind.name(), why.trim());
            }
            ensure!(start.elapsed() < PATIENCE, "{} does not get ready", self.kind.name());
            if self.kind.is_mute() {
                storm::poke(&setup.sockflow)?;
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// What it uses from here on counts.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.catch_up()?;
        self.cpu_at_start = self.cpu_s()?;
        Ok(())
    }

    /// Waits until it has read what there is, takes its measure, ends it and reads what it said.
    pub(super) fn finish(mut self, setup: &Setup) -> Result<Outcome> {
        self.catch_up()?;
        let cpu_s = self.cpu_s()? - self.cpu_at_start;
        let rss = self.rss()?;
        let maps = self.maps()?;
        drop(self.end.take());
        let status = self.child.wait()?;
        let err = fs::read_to_string(&self.err)?;
        // Without a handler for it, SIGINT would have cut off the last lines.
        ensure!(status.code().is_some(), "{} was killed ({status})\n{err}", self.kind.name());
        let (seen, told) = self.kind.account(setup, &fs::read_to_string(&self.out)?, &err)?;
        let file = self.kind.file(setup).unwrap_or_else(|| self.out.clone());
        let length = fs::metadata(file)?.len() as f64;
        let event_bytes = (self.kind.keeps_events() && seen > 0.0).then_some(length / seen);
        fs::remove_file(&self.out)?;
        self.kind.clean(setup)?;
        Ok(Outcome { cpu_s, start_s: self.start_s, event_bytes, rss, maps, seen, told })
    }

    /// Until it uses less than a tenth of a CPU.
    fn catch_up(&self) -> Result<()> {
        const WINDOW: Duration = Duration::from_millis(100);
        let start = Instant::now();
        let mut before = self.cpu_s()?;
        while start.elapsed() < PATIENCE {
            sleep(WINDOW);
            let now = self.cpu_s()?;
            if now - before < WINDOW.as_secs_f64() / 10.0 {
                return Ok(());
            }
            before = now;
        }
        bail!("{} does not catch up", self.kind.name())
    }

    /// CPU time of all its threads; the scheduler's own account is in nanoseconds.
    fn cpu_s(&self) -> Result<f64> {
        let mut ns = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let account = fs::read_to_string(task?.path().join("schedstat"))?;
            ns += account.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(ns / 1e9)
    }

    fn rss(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kib = field(&status, "VmHWM:").context("no VmHWM")?;
        Ok(kib * 1024.0)
    }

    fn maps(&self) -> Result<f64> {
        let fds = descriptors(self.pid())?;
        let maps = fds.iter().filter(|info| info.contains("map_type:"));
        Ok(maps.filter_map(|info| field(info, "memlock:")).sum())
    }
}

/// What `/proc` tells of each of a process's descriptors.
pub(super) fn descriptors(pid: u32) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // It may have closed one meanwhile.
        if let Ok(text) = fs::read_to_string(entry?.path()) {
            all.push(text);
        }
    }
    Ok(all)
}

/// The number on the line of a `/proc` file that begins with `name`.
pub(super) fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
