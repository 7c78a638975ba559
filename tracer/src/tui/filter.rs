//! The row filter: what is typed after `/`.

use crate::aggregate::snapshot::{PortRow, ProcessRow};

/// Words that all have to match a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Term {
    /// `:443`: this port and no other.
    Port(u16),
    /// Part of a port, a process name or a process id, lower case.
    Part(String),
}

impl Filter {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut String)) {
        change(&mut self.text);
    }

    /// What is wrong with it. A filter that is wrong lets everything through: nothing should
    /// vanish from the screen because of a typing mistake.
    pub(crate) fn problem(&self) -> Option<String> {
        self.terms().err()
    }

    /// Its words, taken apart once for all rows.
    pub(crate) fn matcher(&self) -> Matcher {
        Matcher { terms: self.terms().unwrap_or_default() }
    }

    fn terms(&self) -> Result<Vec<Term>, String> {
        self.text
            .split_whitespace()
            .map(|word| match word.strip_prefix(':') {
                None => Ok(Term::Part(word.to_lowercase())),
                Some(number) => {
                    number.parse().map(Term::Port).map_err(|_| format!("\"{word}\" is no port"))
                }
            })
            .collect()
    }
}

/// A filter's words, ready for rows.
pub(crate) struct Matcher {
    terms: Vec<Term>,
}

impl Matcher {
    pub(crate) fn accepts_port(&self, row: &PortRow) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Port(port) => row.port == *port,
            Term::Part(part) => {
                row.port.to_string().contains(part)
                    || row.owner.as_ref().is_some_and(|owner| {
                        contains(&owner.comm, part) || owner.pid.to_string().contains(part)
                    })
            }
        })
    }

    pub(crate) fn accepts_process(&self, row: &ProcessRow) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Port(port) => row.ports.contains(port),
            Term::Part(part) => {
                row.pid.is_some_and(|pid| pid.to_string().contains(part))
                    || row.comm.as_ref().is_some_and(|comm| contains(comm, part))
                    || row.ports.iter().any(|port| port.to_string().contains(part))
            }
        })
    }
}

fn contains(text: &str, lower_part: &str) -> bool {
    text.to_lowercase().contains(lower_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tests::fixture;

    fn ports(text: &str) -> Vec<u16> {
        let filter = Filter::new(text).matcher();
        fixture::crisis()
            .ports
            .iter()
            .filter(|row| filter.accepts_port(row))
            .map(|row| row.port)
            .collect()
    }

    #[test]
    fn words_are_parts_of_port_name_or_pid() {
        assert_eq!(ports("NGINX"), [443]);
        assert_eq!(ports("4121"), [9981, 5432]);
        assert_eq!(ports("99 http"), [9981]);
        assert_eq!(ports("nothing-like-it"), [] as [u16; 0]);
    }

    #[test]
    fn a_colon_means_the_whole_port() {
        assert_eq!(ports(":443"), [443]);
        assert_eq!(ports(":44"), [] as [u16; 0]);
    }

    #[test]
    fn a_wrong_filter_says_so_and_hides_nothing() {
        let filter = Filter::new(":99999");
        assert_eq!(filter.problem().as_deref(), Some("\":99999\" is no port"));
        assert_eq!(ports(":99999").len(), fixture::crisis().ports.len());
    }
}
