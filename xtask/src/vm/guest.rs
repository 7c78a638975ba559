//! One guest: booted, listened to, given up on in time.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A guest that is not ready by then is not going to be.
const BOOT: Duration = Duration::from_secs(60);
/// The most a guest may take: thrice what it takes beside other guests and a build.
const LIFE: Duration = Duration::from_secs(3600);
/// The most that powering off may take.
const POWER_OFF: Duration = Duration::from_secs(5);
/// The least that programs built for x86-64 ask for: what a larger one has besides, such as SMAP,
/// costs the emulator a fifth more.
const CPU: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand";
/// Memory, MiB.
const MEMORY: u32 = 1024;

/// What a guest said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// `uname -r`, once it was ready.
    pub(super) release: Option<String>,
    pub(super) steps: Vec<Step>,
    /// It came to the end of its steps.
    pub(super) done: bool,
    /// What emulating it took, which is what a busy machine does not change.
    pub(super) cpu: Duration,
}

/// One step's outcome.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) output: Vec<String>,
    /// Its exit code; `None` when the guest ended first.
    pub(super) code: Option<i32>,
    pub(super) seconds: f64,
    /// How often it was tried until the kernel skipped no runs.
    pub(super) tries: u32,
}

impl Heard {
    /// Takes one line from the guest into account.
    fn hear(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("@@ ") else {
            if let Some(step) = self.steps.last_mut()
                && step.code.is_none()
            {
                step.output.push(line.to_owned());
            }
            return;
        };
        let words: Vec<&str> = rest.split(' ').collect();
        match words[..] {
            ["ready", release] => self.release = Some(release.to_owned()),
            ["begin", name] => self.steps.push(Step {
                name: name.to_owned(),
                output: Vec::new(),
                code: None,
                seconds: 0.0,
                tries: 1,
            }),
            ["end", name, code, began, ended, tries] => {
                if let Some(step) = self.steps.last_mut().filter(|step| step.name == name) {
                    step.code = code.parse().ok();
                    let seconds = |text: &str| text.parse::<f64>().unwrap_or_default();
                    step.seconds = seconds(ended) - seconds(began);
                    step.tries = tries.parse().unwrap_or(1);
                }
            }
            ["done"] => self.done = true,
            _ => {}
        }
    }
}

/// What to boot.
pub(super) struct Machine {
    pub(super) vmlinuz: PathBuf,
    pub(super) initrd: PathBuf,
    /// Where the kernel's own console goes.
    pub(super) console: PathBuf,
}

impl Machine {
    /// Boots, listens to the end, and says what it heard; `each` gets every step that ended.
    pub(super) fn run(&self, mut each: impl FnMut(&Step)) -> Result<Heard> {
        let mut qemu = Running(self.start()?);
        let lines = lines_of(&mut qemu.0)?;
        let mut heard = Heard::default();
        let began = Instant::now();
        loop {
            let limit = if heard.release.is_none() { BOOT } else { LIFE };
            match lines.recv_timeout(limit.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    heard.hear(&line);
                    if line.starts_with("@@ end ")
                        && let Some(step) = heard.steps.last()
                    {
                        each(step);
                    }
                    if heard.done {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        heard.cpu = qemu.cpu();
        // It powers itself off; the line ends with it.
        while heard.done && lines.recv_timeout(POWER_OFF).is_ok() {}
        Ok(heard)
    }

    /// The end of the kernel's console: what it said last.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn start(&self) -> Result<Child> {
        // `timeout` ends it even if nobody is left to do so; in the foreground it stays in our process
        // group, and ends with it.
        let limit = (LIFE.as_secs() + 30).to_string();
        let memory = MEMORY.to_string();
        // Without KVM, which not every machine has; one CPU, because with two an emulated 6.12
        // oopses at boot now and then. The hash bounds TIME_WAIT sockets and orphans, and with them
        // what is allocated for each start. Grace periods that are not waited for leave the CPU less
        // time idle. What keeps speculation in check, and pages that are cleared for the sake of broken
        // programs, cost an emulated CPU more than a real one. A busy host is late with the timer that the
        // kernel would check at boot.
        let append = "console=ttyS0 panic=-1 quiet thash_entries=16384 rcupdate.rcu_expedited=1 \
                      mitigations=off init_on_alloc=0 no_timer_check";
        Command::new("timeout")
            .args(["--foreground", &limit, "qemu-system-x86_64", "-accel", "tcg,thread=multi"])
            .args(["-cpu", CPU, "-m", &memory, "-smp", "1"])
            .args(["-no-reboot", "-nodefaults", "-display", "none"])
            .arg("-serial")
            .arg(serial(&self.console))
            .args(["-serial", "stdio", "-append", append, "-kernel"])
            .arg(&self.vmlinuz)
            .arg("-initrd")
            .arg(&self.initrd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot run qemu-system-x86_64: run `cargo xtask deps`")
    }
}

fn serial(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Does not outlive its value.
struct Running(Child);

impl Running {
    /// CPU time of what `timeout` runs, so far.
    fn cpu(&self) -> Duration {
        let pid = self.0.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let qemu = children.split_whitespace().next().unwrap_or_default();
        cpu_in(&fs::read_to_string(format!("/proc/{qemu}/stat")).unwrap_or_default())
    }
}

/// User and system time in the text of `/proc/PID/stat`.
fn cpu_in(stat: &str) -> Duration {
    /// `USER_HZ`, the same on every Linux of this architecture.
    const TICKS_A_SECOND: u64 = 100;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th field after it.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS_A_SECOND)
}

impl Drop for Running {
    fn drop(&mut self) {
        // Told to, `timeout` ends what it runs.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").arg(pid).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

fn lines_of(qemu: &mut Child) -> Result<Receiver<String>> {
    let stdout = qemu.stdout.take().context("qemu's output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut raw = Vec::new();
        while stdout.read_until(b'\n', &mut raw).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(raw.trim_ascii_end()).into_owned();
            if sender.send(text).is_err() {
                return;
            }
            raw.clear();
        }
    });
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 250 30 14 15";
        assert_eq!(cpu_in(stat), Duration::from_millis(2800));
        assert_eq!(cpu_in(""), Duration::ZERO);
    }

    #[test]
    fn steps_are_told_from_their_output() {
        let mut heard = Heard::default();
        for line in [
            "noise",
            "@@ ready 6.12.107+deb13-cloud-amd64",
            "@@ begin totals::client_closes",
            "test result: ok. 1 passed",
            "@@ end totals::client_closes 0 2.50 4.00 2",
            "@@ begin edges::refused",
            "panicked",
        ] {
            heard.hear(line);
        }
        assert_eq!(heard.release.as_deref(), Some("6.12.107+deb13-cloud-amd64"));
        let [totals, edges] = &heard.steps[..] else { panic!("{heard:?}") };
        assert_eq!((totals.code, totals.seconds, totals.tries), (Some(0), 1.5, 2));
        assert_eq!(totals.output, ["test result: ok. 1 passed"]);
        assert_eq!(edges.code, None, "it never ended");
        assert!(!heard.done);
    }
}
