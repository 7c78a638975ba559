//! Errors that people can act on: what failed, its cause, and one command to run next.
//!
//! Code below the command line returns `anyhow` errors; where the exit code or a hint is known,
//! it puts a [`Failure`] into the chain. [`report`] turns the whole into text and exit code.

use std::fmt;

use crate::sanitize::sanitize;

/// What kind of failure: decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something went wrong: 1.
    Failed,
    /// The command line asks for what cannot be: 2, as clap's own.
    Usage,
    /// This host cannot be traced (no privilege, no BTF…): 3.
    Environment,
}

impl Kind {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Environment => 3,
        }
    }
}

/// A failure with its kind and what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// What failed; lower case, no full stop.
    pub what: String,
    /// One command to run, or one thing to change.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The command line asks for what cannot be.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, what: what.into(), hint: None }
    }

    /// This host cannot be traced.
    pub fn environment(what: impl Into<String>) -> Self {
        Self { kind: Kind::Environment, what: what.into(), hint: None }
    }

    /// Something went wrong.
    pub fn failed(what: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, what: what.into(), hint: None }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The text for stderr and the exit code of an error.
#[must_use]
pub fn report(error: &anyhow::Error) -> (String, u8) {
    // A name with a line break in it must not look like a line of ours.
    let shown = |text: String| sanitize(&text).into_owned();
    let mut text = format!("sockflow: error: {}", shown(error.to_string()));
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  caused by: {}", shown(cause.to_string())));
    }
    // anyhow itself looks into contexts, the chain into the sources of other errors.
    let failure = error
        .downcast_ref::<Failure>()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<Failure>()));
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_ref()) {
        text.push_str(&format!("\n  hint: {}", shown(hint.clone())));
    }
    (text, failure.map_or(Kind::Failed, |failure| failure.kind).exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_the_hint_and_the_code_are_told() {
        let error = anyhow::Error::new(Failure::environment("no BTF").hint("run `x`"))
            .context("cannot trace this host");
        let (text, code) = report(&error);
        assert_eq!(
            text,
            "sockflow: error: cannot trace this host\n  caused by: no BTF\n  hint: run `x`"
        );
        assert_eq!(code, 3);
        assert_eq!(report(&anyhow::anyhow!("plain")).1, 1);
        let around = anyhow::anyhow!("refused").context(Failure::usage("no").hint("run `y`"));
        let (text, code) = report(&around);
        assert_eq!(text, "sockflow: error: no\n  caused by: refused\n  hint: run `y`");
        assert_eq!(code, 2);
    }
}
