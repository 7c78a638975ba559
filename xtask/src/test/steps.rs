//! Running named steps one after another: announced, timed, and summed up in a table.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps so far.
#[derive(Default)]
pub(super) struct Runner {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    result: &'static str,
    took: Duration,
}

impl Runner {
    /// Runs one step. Its error is printed here and returned, to end the run.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        println!("==> {name}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        if let Err(error) = &result {
            eprintln!("error: {error:#}");
        }
        println!("<== {name}: {word} ({})\n", seconds(took));
        self.rows.push(Row { name, result: word, took });
        result
    }

    /// The table of all steps that ran, with a total.
    pub(super) fn print_summary(&self) {
        print!("{}", self.summary());
    }

    fn summary(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max();
        let width = width.unwrap_or_default().max("total".len());
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        let rows = self.rows.iter().map(|row| {
            let (name, took, result) = (row.name, seconds(row.took), row.result);
            format!("{name:width$}  {took:>8}  {result}\n")
        });
        let total = format!("{:width$}  {:>8}\n", "total", seconds(total));
        rows.chain([total]).collect()
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_in_the_table_and_ends_the_run() {
        let mut runner = Runner::default();
        assert!(runner.step("first", || Ok(())).is_ok());
        assert!(runner.step::<()>("second", || Err(anyhow::anyhow!("broken"))).is_err());
        for row in &mut runner.rows {
            row.took = Duration::from_millis(1_250);
        }
        assert_eq!(
            runner.summary(),
            "first      1.2 s  ok\nsecond     1.2 s  FAILED\ntotal      2.5 s\n"
        );
    }
}
