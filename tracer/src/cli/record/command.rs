//! The command that a recording runs for: `sockflow record -o FILE -- COMMAND…`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::Failure;

/// It, running.
pub(super) struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts it: the first word is the program, nothing is given to a shell.
    pub(super) fn start(words: &[OsString]) -> Result<Option<Self>> {
        let Some((program, arguments)) = words.split_first() else {
            return Ok(None);
        };
        let child = Command::new(program).args(arguments).spawn().map_err(|error| {
            let what = format!("cannot run {}: {error}", program.to_string_lossy());
            Failure::failed(what)
                .hint(format!("look where it is: `command -v {}`", program.to_string_lossy()))
        })?;
        Ok(Some(Self { child, status: None }))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("cannot wait for the command")?;
        }
        Ok(self.status.is_some())
    }

    /// Passes a request to end on; whether it heeds it is its own affair.
    pub(super) fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.status.is_none()) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Its exit code as a shell tells it: 128 and the signal's number where one ended it.
    pub(super) fn exit_code(&self) -> Option<u8> {
        let status = self.status?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal))?;
        Some(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(words: &[&str]) -> Option<u8> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut running = Running::start(&words).unwrap().unwrap();
        running.status = Some(running.child.wait().unwrap());
        assert!(running.has_ended().unwrap());
        running.exit_code()
    }

    #[test]
    fn its_exit_status_is_told_as_a_shell_does() {
        assert_eq!(ended(&["true"]), Some(0));
        assert_eq!(ended(&["sh", "-c", "exit 7"]), Some(7));
        assert_eq!(ended(&["sh", "-c", "kill -9 $$"]), Some(137));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = Running::start(&["/no/such/thing".into()]).err().unwrap();
        assert!(error.to_string().starts_with("cannot run /no/such/thing: "), "{error}");
        assert!(Running::start(&[]).unwrap().is_none());
    }
}
