//! The `sockflow` binary.

use clap::Parser;
use sockflow::cli::storm::StormArgs;
use sockflow::storm::plan::Usage;

#[derive(Parser)]
enum Command {
    Storm(StormArgs),
}

fn main() -> std::process::ExitCode {
    let Command::Storm(storm) = Command::parse();
    match storm.run() {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("sockflow: {error:#}");
            if error.is::<Usage>() { 2 } else { 1 }.into()
        }
    }
}
