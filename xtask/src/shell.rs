//! Running other programs: what is run is printed, and a failure names it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `cargo`, with the toolchain that runs xtask.
pub(crate) fn cargo() -> Command {
    Command::new("cargo")
}

/// Runs to the end with the terminal attached; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().with_context(|| format!("cannot run {}", program(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs silently and gives standard output, trimmed; anything but success is an error that
/// carries standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", program(command)))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({})\n{}", line(command), output.status, why.trim());
    }
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` did not print UTF-8", line(command)))?;
    Ok(text.trim().to_owned())
}

/// Runs to the end, printing each line of standard output and handing it to `each` as well.
/// Gives whether the program succeeded.
pub(crate) fn tee(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program(command)))?;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut raw = Vec::new();
        // Bytes, not `lines()`: a test may print anything, and that must not stop the run.
        while stdout.read_until(b'\n', &mut raw)? > 0 {
            let text = String::from_utf8_lossy(&raw);
            let text = text.trim_end_matches(['\n', '\r']);
            println!("{text}");
            each(text);
            raw.clear();
        }
    }
    Ok(child.wait()?.success())
}

/// As [`tee`], of standard error.
pub(crate) fn tee_stderr(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    announce(command);
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program(command)))?;
    if let Some(stderr) = child.stderr.take() {
        let mut stderr = BufReader::new(stderr);
        let mut raw = Vec::new();
        while stderr.read_until(b'\n', &mut raw)? > 0 {
            let text = String::from_utf8_lossy(&raw);
            let text = text.trim_end_matches(['\n', '\r']);
            eprintln!("{text}");
            each(text);
            raw.clear();
        }
    }
    Ok(child.wait()?.success())
}

fn announce(command: &Command) {
    eprintln!("    $ {}", line(command));
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command as one would type it, as far as that helps a reader.
fn line(command: &Command) -> String {
    let mut line = program(command);
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        if argument.is_empty() || argument.contains([' ', '*', '\'']) {
            let _ = write!(line, " '{argument}'");
        } else {
            let _ = write!(line, " {argument}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_complaint() {
        let err = read(Command::new("sh").args(["-c", "echo gone >&2; exit 3"])).unwrap_err();
        let text = err.to_string();
        assert!(text.contains("sh -c"), "{text}");
        assert!(text.contains("gone"), "{text}");
    }

    #[test]
    fn tee_hands_over_each_line_even_when_it_is_not_utf8() {
        let mut lines = Vec::new();
        let ok = tee(Command::new("sh").args(["-c", r"printf 'a\n\377b\nc'"]), |line| {
            lines.push(line.to_owned());
        })
        .unwrap();
        assert!(ok);
        assert_eq!(lines, ["a", "\u{fffd}b", "c"]);
    }
}
