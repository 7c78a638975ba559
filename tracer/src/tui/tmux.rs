//! tmux, where it stands between this program and the terminal: it shows less than the pane promises
//! when its client has no UTF-8, and it keeps the terminal's clipboard to itself.
//!
//! A pane is told what the first client could do, and `sudo` forgets even that; tmux itself knows.

use std::io::{Error, Result, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server that does not answer holds up the screen no longer than this.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How far up `TMUX` is looked for: the shell, `sudo`, and what may be between them.
const ANCESTORS: usize = 8;

/// The server whose pane this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tmux {
    socket: PathBuf,
    pane: Option<String>,
}

impl Tmux {
    /// Found in the environment, or in that of a process that started this one: `sudo` clears it.
    pub(crate) fn find() -> Option<Self> {
        let own = std::env::var("TMUX").ok();
        if let Some(tmux) = own.and_then(|it| Self::of(&it, std::env::var("TMUX_PANE").ok())) {
            return Some(tmux);
        }
        let is_tmux = |term: &str| term.starts_with("tmux") || term.starts_with("screen");
        // Elsewhere a terminal was opened from within tmux, and is not its pane.
        if !std::env::var("TERM").is_ok_and(|term| is_tmux(&term)) {
            return None;
        }
        let mut pid = std::process::id();
        for _ in 0..ANCESTORS {
            pid = parent(pid)?;
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            let variable = |name: &str| {
                let mut all = environment.split(|byte| *byte == 0);
                let found = all.find_map(|it| it.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
                found.map(|value| String::from_utf8_lossy(value).into_owned())
            };
            if let Some(tmux) = variable("TMUX").and_then(|it| Self::of(&it, variable("TMUX_PANE")))
            {
                return Some(tmux);
            }
        }
        None
    }

    /// `TMUX` is socket, process and session with commas between them.
    fn of(variable: &str, pane: Option<String>) -> Option<Self> {
        let mut parts = variable.rsplitn(3, ',');
        let (_, _, socket) = (parts.next()?, parts.next()?, parts.next()?);
        socket.starts_with('/').then(|| Self { socket: PathBuf::from(socket), pane })
    }

    /// Whether the client that shows this pane takes UTF-8; unknown where there is none.
    pub(crate) fn client_is_utf8(&self) -> Option<bool> {
        let mut command = self.command();
        command.args(["display-message", "-p"]);
        if let Some(pane) = &self.pane {
            command.args(["-t", pane]);
        }
        let child = command.arg("#{client_utf8}").stdout(Stdio::piped()).spawn().ok()?;
        let (status, text) = finish(child, None).ok()?;
        match (status.success(), text.trim()) {
            (true, "0") => Some(false),
            (true, "1") => Some(true),
            _ => None,
        }
    }

    /// Into tmux's newest buffer and, through its client, into the terminal's clipboard. Where tmux
    /// is left as it comes it ignores the escape sequence from a pane.
    pub(crate) fn copy(&self, text: &str) -> Result<()> {
        let mut command = self.command();
        let child = command.args(["load-buffer", "-w", "-"]).stdin(Stdio::piped()).spawn()?;
        match finish(child, Some(text))? {
            (status, _) if status.success() => Ok(()),
            (status, _) => Err(Error::other(format!("tmux load-buffer: {status}"))),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Waits for the end, not longer than [`PATIENCE`], after `input` was handed over. What it prints is
/// a word or two, which its pipe holds.
fn finish(mut child: Child, input: Option<&str>) -> Result<(ExitStatus, String)> {
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            let mut text = String::new();
            if let Some(mut stdout) = child.stdout.take() {
                std::io::Read::read_to_string(&mut stdout, &mut text)?;
            }
            return Ok((status, text));
        }
        if Instant::now() >= deadline {
            // Neither may fail in a way that matters: nobody waits for its answer any more.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::other("tmux does not answer"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// From `/proc/PID/stat`: the second field after the name, which is in parentheses.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(')')?.1;
    after.split_whitespace().nth(1)?.parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_socket() {
        let of = |text: &str| Tmux::of(text, None).map(|it| it.socket);
        assert_eq!(of("/tmp/tmux-0/default,4121,0"), Some("/tmp/tmux-0/default".into()));
        assert_eq!(of("/tmp/a,b/x,1,2"), Some("/tmp/a,b/x".into()));
        for nonsense in ["", "1,2", "default,1,2", "/tmp/tmux-0/default"] {
            assert_eq!(of(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_server_that_is_gone_says_nothing() {
        let gone = Tmux { socket: "/nonexistent/socket".into(), pane: None };
        assert_eq!(gone.client_is_utf8(), None);
        assert!(gone.copy("text").is_err());
    }

    #[test]
    fn the_parent_is_found() {
        let own = parent(std::process::id()).unwrap();
        assert!(own > 0 && own != std::process::id());
    }
}
