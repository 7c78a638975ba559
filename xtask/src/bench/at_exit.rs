//! A command that runs when this process is done with something, however it ends.
//!
//! A shell waits for its standard input to close, which the kernel does even for a process that was
//! killed; it ignores the signals that a terminal sends to the whole group. That takes neither
//! signal handlers nor `unsafe`.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Runs its command when it is dropped, and waits for it.
pub(super) struct AtExit(Child);

impl AtExit {
    /// `command` is for `sh`.
    pub(super) fn new(command: &str) -> Result<Self> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("trap '' HUP INT TERM; read -r _; {command}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        Ok(Self(child))
    }
}

impl Drop for AtExit {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_command_runs_at_the_end_and_not_before() {
        let file = std::env::temp_dir().join(format!("sockflow-at-exit-{}", std::process::id()));
        let guard = AtExit::new(&format!("echo done > {}", file.display())).unwrap();
        assert!(!file.exists());
        drop(guard);
        assert_eq!(fs::read_to_string(&file).unwrap(), "done\n");
        fs::remove_file(&file).unwrap();
    }
}
