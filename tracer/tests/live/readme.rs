//! The README's start, word by word as a new user types it: the first command shows the screen, the
//! second makes it critical within 20 seconds, and a story on file opens without privilege.
//!
//! Two things stand in for what would take minutes or may not be there: `cargo` must be asked for what
//! gives the program that is tested and does nothing, and where there is no `sudo` one just goes on.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tmux::{SOCKFLOW, Terminal};

const LIMIT: &str = "/proc/sys/net/ipv4/tcp_max_orphans";
/// What the README promises.
const CRITICAL_WITHIN: Duration = Duration::from_secs(20);

/// The clone, as it is after `cargo build --release`.
struct Clone(PathBuf);

impl Clone {
    fn new() -> Self {
        let folder =
            std::env::temp_dir().join(format!("sockflow-test-readme-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let release = folder.join("target/release");
        std::fs::create_dir_all(&release).expect("a folder");
        symlink(SOCKFLOW, release.join("sockflow")).expect("a link");
        let examples = repository().join("examples").canonicalize().expect("the examples");
        symlink(examples, folder.join("examples")).expect("a link");
        let clone = Self(folder);
        clone.program("cargo", "[ \"$*\" = 'build --release' ]");
        if !has_sudo() {
            clone.program("sudo", "exec \"$@\"");
        }
        clone
    }

    fn program(&self, name: &str, script: &str) {
        let folder = self.0.join("bin");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    }

    fn enter(&self, terminal: &Terminal) {
        let folder = self.0.display();
        terminal.command(&format!("cd {folder} && PATH={folder}/bin:$PATH && clear"));
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Puts the limit back where the test ends early.
struct Limit(String);

impl Limit {
    fn keep() -> Self {
        Self(Self::now())
    }

    fn now() -> String {
        std::fs::read_to_string(LIMIT).expect("it is there").trim().to_owned()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = std::fs::write(LIMIT, &self.0);
    }
}

fn has_sudo() -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').any(|folder| Path::new(folder).join("sudo").exists())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands of the section `## Start`, each a line that is indented.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("a README");
    let (_, section) = readme.split_once("\n## Start\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("a next section");
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_start_of_the_readme_works_as_it_is_typed() {
    let limit = Limit::keep();
    let clone = Clone::new();
    let mut commands = commands().into_iter();
    let mut next = || commands.next().expect("one more command");

    let screen = Terminal::new("readme-top", (100, 40));
    clone.enter(&screen);
    let first = next();
    assert!(first.starts_with("cargo build --release && sudo "), "{first}");
    screen.command(&first);
    screen.wait("the screen", |screen| screen.contains("LIVE") && screen.contains("lost"));

    let other = Terminal::new("readme-storm", (120, 40));
    clone.enter(&other);
    let began = Instant::now();
    other.command(&next());
    let is_critical =
        |screen: &str| screen.lines().nth(1).is_some_and(|line| line.contains("CRIT"));
    screen.wait_for("CRIT", CRITICAL_WITHIN, is_critical);
    let took = began.elapsed();
    println!("critical after {:.1} s", took.as_secs_f64());
    assert!(took < CRITICAL_WITHIN, "{took:?}");
    // Near the limit, and whose they are: the picture at the top of the README.
    let full =
        |screen: &str| is_critical(screen) && screen.contains("9981 sockflow") && near(screen);
    screen.wait_for("orphans near the limit", CRITICAL_WITHIN, full);
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-critical.ansi");
    std::fs::write(&picture, screen.tmux(&["capture-pane", "-p", "-e"])).expect("a file");
    assert_ne!(Limit::now(), limit.0, "the storm lowers the limit");
    other.key("C-c");
    other.wait("the limit put back", |_| Limit::now() == limit.0);
    screen.key("q");
    screen.is_given_back();

    // On file, without privilege.
    other.command("clear");
    other.command(&next());
    other.see("opened at the first anomaly");
    other.key("q");
    other.is_given_back();
    other.command("clear");
    other.command(&next());
    other.wait("the report", |_| {
        let page = std::fs::read_to_string(clone.0.join("story.html")).unwrap_or_default();
        page.contains("killed") && page.trim_end().ends_with("</html>")
    });
    assert_eq!(next(), "cargo xtask test");
    assert_eq!(commands.next(), None);
}

/// Whether the bar of the orphans is at four fifths or more.
fn near(screen: &str) -> bool {
    let bar = screen.lines().find(|line| line.contains("orphans  ") && line.contains('%'));
    let percent = bar.and_then(|line| {
        let before = line.split('%').next()?;
        before.split_whitespace().last()?.parse::<f64>().ok()
    });
    percent.is_some_and(|percent| percent >= 80.0)
}
