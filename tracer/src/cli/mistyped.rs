//! What clap could not read, told as every other error is: what is wrong, and one command to run.
//!
//! It only turns clap's error into text; what was meant is clap's to guess.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Kind;

/// Prints help where it was asked for, else the error, and returns the exit code.
pub(super) fn tell(error: &clap::Error, command: &clap::Command) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed the pipe has read enough.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(Kind::Usage.exit_code())
        }
        _ => {
            let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
            eprintln!("{}", text(error, subcommand(command, &arguments)));
            ExitCode::from(Kind::Usage.exit_code())
        }
    }
}

/// The subcommand that was meant, if any.
fn subcommand<'a>(command: &'a clap::Command, arguments: &[OsString]) -> Option<&'a str> {
    let first = arguments.iter().find(|argument| !argument.as_encoded_bytes().starts_with(b"-"))?;
    command.find_subcommand(first).map(clap::Command::get_name)
}

fn text(error: &clap::Error, subcommand: Option<&str>) -> String {
    let rendered = error.render().to_string();
    let mut lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut out = format!("sockflow: error: {}", first.strip_prefix("error: ").unwrap_or(first));
    let mut hint = None;
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hint.get_or_insert_with(|| tip.to_owned());
        } else if !line.starts_with("Usage:") && !line.starts_with("For more information") {
            out.push_str("\n  ");
            out.push_str(line);
        }
    }
    let meant = bare_port(error, subcommand)
        .or_else(|| only_top_looks(error))
        .or_else(|| no_file(error, subcommand));
    let hint = meant.or(hint).unwrap_or_else(|| {
        let command = subcommand.map(|name| format!(" {name}")).unwrap_or_default();
        format!("see what it takes: `sockflow{command} --help`")
    });
    out.push_str("\n  hint: ");
    out.push_str(&hint);
    out
}

/// `sockflow top 9981`: the number can only be a port.
fn bare_port(error: &clap::Error, subcommand: Option<&str>) -> Option<String> {
    let context = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return None,
    };
    let Some(ContextValue::String(word)) = error.get(context) else {
        return None;
    };
    let port = word.trim_start_matches(':').parse::<u16>().ok().filter(|port| *port > 0)?;
    let command = match subcommand {
        None => "top",
        Some(name @ ("top" | "trace" | "doctor" | "storm")) => name,
        Some(_) => return None,
    };
    Some(format!("name the port: `sockflow {command} --port {port}`"))
}

/// `sockflow record`, `sockflow replay`: each is of a file.
fn no_file(error: &clap::Error, subcommand: Option<&str>) -> Option<String> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    match subcommand? {
        "record" => {
            Some("name the file to write: `sudo sockflow record -o incident.sockflow`".to_owned())
        }
        "export" => Some(
            "name the trace to read: `sockflow export incident.sockflow -o incident.parquet`"
                .to_owned(),
        ),
        name @ ("replay" | "report") => {
            Some(format!("name the trace to read: `sockflow {name} incident.sockflow`"))
        }
        _ => None,
    }
}

/// `sockflow record --sampled`: what only looks has no events, and no totals worth a file.
fn only_top_looks(error: &clap::Error) -> Option<String> {
    let word = error.get(ContextKind::InvalidArg)?;
    let is_meant = error.kind() == ErrorKind::UnknownArgument
        && matches!(word, ContextValue::String(word) if word == "--sampled");
    is_meant.then(|| "only top does without BPF: `sockflow top --sampled`".to_owned())
}
