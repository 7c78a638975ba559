//! Running named steps, one after another or beside others: announced, timed, and summed up in a table.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The steps so far, of all threads.
pub(super) struct Runner {
    began: Instant,
    rows: Mutex<Vec<Row>>,
}

struct Row {
    name: &'static str,
    result: &'static str,
    began: Duration,
    took: Duration,
}

const OK: &str = "ok";

impl Runner {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), rows: Mutex::default() }
    }

    /// Runs one step. Its error is printed here and returned, to end the run; none begins after one
    /// that failed, on another thread either.
    pub(super) fn step<T>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.rows(|rows| rows.iter().any(|row| row.result != OK)) {
            bail!("{name} is not begun: another step failed");
        }
        println!("==> {name}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        let word = if result.is_ok() { OK } else { "FAILED" };
        if let Err(error) = &result {
            eprintln!("error: {error:#}");
        }
        println!("<== {name}: {word} ({})\n", seconds(took));
        let began = start.duration_since(self.began);
        self.rows(|rows| rows.push(Row { name, result: word, began, took }));
        result
    }

    /// Runs one of our commands as a step beside others: what it prints comes in one piece, when it
    /// has ended.
    pub(super) fn beside(
        &self,
        workspace: &Workspace,
        name: &'static str,
        arguments: &[&str],
    ) -> Result<()> {
        self.step(name, || {
            // Not a pipe: a service that an installation starts would hold it open.
            let folder = workspace.path("target/steps");
            fs::create_dir_all(&folder)?;
            let path = folder.join(arguments.join("-"));
            let file = File::create(&path)?;
            // Its file may have been built anew meanwhile.
            let mut command = Command::new("/proc/self/exe");
            command.args(arguments).stdin(Stdio::null());
            command.stdout(file.try_clone()?).stderr(file);
            let status = command.status().context("cannot run this program again")?;
            let said = fs::read(&path)?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "---- {name}, beside others:")?;
            out.write_all(&said)?;
            writeln!(out, "----")?;
            if !status.success() {
                bail!("`cargo xtask {}` failed ({status})", arguments.join(" "));
            }
            Ok(())
        })
    }

    /// The table of all steps that ran, with a total.
    pub(super) fn print_summary(&self) {
        print!("{}", self.summary(self.began.elapsed()));
    }

    /// In the order in which they began. Steps ran beside others, so they add up to more than the
    /// total.
    fn summary(&self, total: Duration) -> String {
        self.rows(|rows| {
            rows.sort_by_key(|row| row.began);
            let width = rows.iter().map(|row| row.name.len()).max();
            let width = width.unwrap_or_default().max("total".len());
            let lines = rows.iter().map(|row| {
                let (name, result) = (row.name, row.result);
                let (took, began) = (seconds(row.took), seconds(row.began));
                format!("{name:width$}  {took:>8}  from {began:>8}  {result}\n")
            });
            let total = format!("{:width$}  {:>8}\n", "total", seconds(total));
            lines.chain([total]).collect()
        })
    }

    fn rows<T>(&self, with: impl FnOnce(&mut Vec<Row>) -> T) -> T {
        with(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_in_the_table_and_no_other_begins() {
        let runner = Runner::new();
        assert!(runner.step("first", || Ok(())).is_ok());
        assert!(runner.step::<()>("second", || bail!("broken")).is_err());
        assert!(runner.step::<()>("third", || panic!("it must not begin")).is_err());
        runner.rows(|rows| {
            for (row, began) in rows.iter_mut().zip([2_000, 500]) {
                row.began = Duration::from_millis(began);
                row.took = Duration::from_millis(1_250);
            }
        });
        assert_eq!(
            runner.summary(Duration::from_millis(3_250)),
            "second     1.2 s  from    0.5 s  FAILED\n\
             first      1.2 s  from    2.0 s  ok\n\
             total      3.2 s\n"
        );
    }
}
