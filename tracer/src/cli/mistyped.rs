//! What clap could not read, told as every other error is: what is wrong, and one command to run.
//!
//! It only turns clap's error into text; what was meant is clap's to guess.

use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Kind;
use crate::sanitize::sanitize;
use crate::stdio;

/// Prints help where it was asked for, else the error, and returns the exit code.
///
/// # Errors
///
/// The help cannot be written.
pub(super) fn tell(error: &clap::Error, command: &clap::Command) -> Result<ExitCode> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render();
            let is_plain = !stdio::out_is_terminal()
                || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
            let text = if is_plain { text.to_string() } else { text.ansi().to_string() };
            super::print(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            stdio::lines(&error.render().to_string());
            Ok(ExitCode::from(Kind::Usage.exit_code()))
        }
        _ => {
            let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
            stdio::lines(&text(error, subcommand(command, &arguments)));
            Ok(ExitCode::from(Kind::Usage.exit_code()))
        }
    }
}

/// The subcommand that was meant, if any.
fn subcommand<'a>(command: &'a clap::Command, arguments: &[OsString]) -> Option<&'a str> {
    let first = arguments.iter().find(|argument| !argument.as_encoded_bytes().starts_with(b"-"))?;
    command.find_subcommand(first).map(clap::Command::get_name)
}

fn text(error: &clap::Error, subcommand: Option<&str>) -> String {
    let rendered = harmless(error);
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

/// clap's text, in which what was typed cannot begin a line of its own, nor move the cursor.
fn harmless(error: &clap::Error) -> String {
    let mut text = error.render().to_string();
    for (_, value) in error.context() {
        let typed = match value {
            ContextValue::String(typed) => std::slice::from_ref(typed),
            ContextValue::Strings(typed) => typed,
            _ => continue,
        };
        for typed in typed {
            if let Cow::Owned(shown) = sanitize(typed) {
                text = text.replace(typed.as_str(), &shown);
            }
        }
    }
    text
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
