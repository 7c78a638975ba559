//! Readers in Python that are not ours: environments with packages from PyPI, made once and kept in
//! `target/tmp`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A Python that can import `packages` (`name` or `name==version`). `None`, with a word on stderr,
/// where it cannot be had; under CI that is a failure.
pub(crate) fn with(environment: &str, packages: &[&str]) -> Option<PathBuf> {
    /// The tests of a program run at the same time.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    // Another version of a package is another environment.
    let versions: String = packages
        .iter()
        .filter_map(|package| package.split_once("=="))
        .fold(String::new(), |all, (_, version)| format!("{all}-{version}"));
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{environment}{versions}"));
    let python = venv.join("bin/python");
    let imports: Vec<&str> =
        packages.iter().map(|package| package.split("==").next().unwrap_or(package)).collect();
    let has_them = || {
        let script = format!("import {}", imports.join(","));
        let import = Command::new(&python).args(["-c", &script]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if has_them() {
        return Some(python);
    }
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(told) }
    };
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).and_then(|()| {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))
    });
    match made {
        Ok(()) if has_them() => Some(python),
        result => {
            let why = result.err().unwrap_or_default();
            let what = format!("no Python with {}: {why}", packages.join(" and "));
            assert!(std::env::var_os("CI").is_none(), "{what}");
            eprintln!("skipped: {what}");
            None
        }
    }
}

/// What a script prints that gets `input`.
#[allow(dead_code, reason = "not every test program asks")]
pub(crate) fn run(python: &Path, script: &str, folder: &Path, input: &str) -> String {
    let mut child = Command::new(python)
        .args(["-c", script])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
