//! Prints a file that is made from the code, for `cargo xtask docs`: its name is the argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    let text = match std::env::args().nth(1).as_deref() {
        Some("metrics") => sockflow::serve::docs::markdown(),
        _ => {
            eprintln!("usage: docs metrics");
            return ExitCode::from(2);
        }
    };
    print!("{text}");
    ExitCode::SUCCESS
}
