//! A terminal for tests: tmux is the terminal, a shell in it starts `sockflow`, and what tmux shows is
//! what a person would see.
//!
//! Each test has a tmux server of its own, which ends with it. Nothing sleeps for a fixed time: every
//! wait looks until a deadline.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use unicode_width::UnicodeWidthStr as _;

pub(crate) const SOCKFLOW: &str = env!("CARGO_BIN_EXE_sockflow");
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What the shell asks with, and nothing else shows.
const PROMPT: &str = "ready>";
/// Alternate screen, cursor, clicks, and their places in any column.
pub(crate) const MODES: &str =
    "#{alternate_on} #{cursor_flag} #{mouse_standard_flag} #{mouse_sgr_flag}";
/// What [`MODES`] says while the screen is shown.
pub(crate) const TAKEN: &str = "1 0 1 1";

/// A terminal with a shell in it.
pub(crate) struct Terminal {
    server: String,
    folder: PathBuf,
}

impl Terminal {
    pub(crate) fn new(name: &str, (width, height): (u16, u16)) -> Self {
        let server = format!("sockflow-test-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&server);
        std::fs::create_dir_all(&folder).expect("a folder");
        let terminal = Self { server, folder };
        let (width, height) = (width.to_string(), height.to_string());
        let shell = format!("env PS1='{PROMPT} ' bash --noprofile --norc -i");
        #[rustfmt::skip]
        terminal.tmux(&[
            "-f", "/dev/null", "start-server", ";",
            "set-option", "-g", "status", "off", ";",
            "set-option", "-g", "allow-rename", "on", ";",
            "new-session", "-d", "-x", &width, "-y", &height, &shell,
        ]);
        terminal.wait("the shell", |screen| screen.contains(PROMPT));
        terminal
    }

    pub(crate) fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.server])
            .args(arguments)
            // The glyphs must not depend on who runs the test.
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .env_remove("TMUX")
            .output()
            .expect("tmux is installed by `cargo xtask deps`");
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {talk}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    pub(crate) fn ask(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format]).trim_end().to_owned()
    }

    /// Looks until the screen is as it should be.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for(what, PATIENCE, wanted)
    }

    /// As [`Terminal::wait`], but so long.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "never came: {what}\n{screen}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    pub(crate) fn see(&self, words: &str) -> String {
        self.wait(words, |screen| screen.contains(words))
    }

    pub(crate) fn key(&self, name: &str) {
        self.tmux(&["send-keys", name]);
    }

    pub(crate) fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    pub(crate) fn command(&self, line: &str) {
        self.write(line);
        self.key("Enter");
    }

    pub(crate) fn resize(&self, (width, height): (u16, u16)) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
            if text.ends_with('\n') {
                return text;
            }
            assert!(Instant::now() < deadline, "{name} was never written\n{}", self.screen());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Starts `sockflow`, with `variables` set; its id is in the file `pid`, what it leaves behind in
    /// `before`, `after` and `status`.
    pub(crate) fn start(&self, variables: &str, arguments: &str) {
        for name in ["status", "after"] {
            let _ = std::fs::remove_file(self.file(name));
        }
        let script = self.script(variables, arguments);
        self.command(&format!(
            "clear; stty -a >{}; bash {script}; echo $? >{}; stty -a >{}",
            self.file("before"),
            self.file("status"),
            self.file("after"),
        ));
    }

    /// A script that becomes `sockflow`, with its id in the file `pid`.
    pub(crate) fn script(&self, variables: &str, arguments: &str) -> String {
        let _ = std::fs::remove_file(self.file("pid"));
        let script = format!(
            "#!/bin/bash\necho $$ >{pid}\nexec env {variables} RUST_BACKTRACE=0 {SOCKFLOW} {arguments}\n",
            pid = self.file("pid"),
        );
        std::fs::write(self.file("run.sh"), script).expect("a script");
        self.file("run.sh")
    }

    /// The process that [`Terminal::start`] started.
    pub(crate) fn process(&self) -> Pid {
        self.read("pid").trim().parse().ok().and_then(Pid::from_raw).expect("an id")
    }

    /// As the middle mouse button does it: marked as a paste, if that was asked for.
    pub(crate) fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", "-b", "pasted", text, ";", "paste-buffer", "-p", "-b", "pasted"]);
    }

    /// A click of the left button on a cell; the upper left one is 0, 0.
    pub(crate) fn click(&self, (column, row): (usize, usize)) {
        let (column, row) = (column + 1, row + 1);
        self.write(&format!("\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m"));
    }

    /// The cell at which `words` begin.
    pub(crate) fn find(&self, words: &str) -> (usize, usize) {
        let screen = self.see(words);
        let lines = screen.lines().enumerate();
        let mut found =
            lines.filter_map(|(row, line)| Some((line.split_once(words)?.0.width(), row)));
        found.next().expect("it is there")
    }

    /// The exit status, after a look at whether the terminal is as it was.
    pub(crate) fn ended(&self) -> String {
        let status = self.read("status");
        let after = self.read("after");
        assert_eq!(settings(&after), settings(&self.read("before")), "settings of the terminal");
        assert!(after.contains(" echo "), "{after}");
        self.is_given_back();
        status.trim().to_owned()
    }

    pub(crate) fn is_given_back(&self) {
        self.see(PROMPT);
        assert_eq!(self.ask(MODES), "0 1 0 0", "screen, cursor, mouse, wide mouse");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.server, "kill-server"]).output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What `stty -a` says but for the size, which is the first line.
pub(crate) fn settings(stty: &str) -> &str {
    stty.split_once('\n').map_or(stty, |(_, rest)| rest)
}
