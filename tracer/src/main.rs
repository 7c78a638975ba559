//! The `sockflow` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    sockflow::cli::main()
}
