//! A report to give away: addresses and names of hosts become words that say nothing, but the same
//! one the same word, so that tables can still be read.
//!
//! Words come from SHA-256 with a key that is random for each report and kept nowhere: they cannot
//! be turned back by trying all addresses, nor compared between two reports. What is kept: ports,
//! names and ids of processes, the kernel, its settings. What is left out: the command line, cgroup
//! paths (they name containers), and the trace's own name.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::Report;
use super::model::Doctor;
use crate::aggregate::snapshot::Finding;

/// The check whose findings are named by a path.
const CGROUP: &str = "memcg";
const CGROUP_TEXT: &str = "the memory of a cgroup with sockets is near its limit";

/// What a trace is called in a redacted report.
pub const TRACE: &str = "trace.sockflow";

/// Makes the words.
#[derive(Debug)]
pub struct Redactor {
    key: [u8; 32],
    host: String,
}

impl Redactor {
    /// With a random key, for a trace of this host.
    #[must_use]
    pub fn new(key: [u8; 32], host: impl Into<String>) -> Self {
        Self { key, host: host.into() }
    }

    /// The same word for the same value of a kind.
    fn word(&self, kind: &str, value: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&self.key[..], kind.as_bytes(), &[0], value.as_bytes()] {
            hash.update(part);
        }
        let digits: String =
            hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        format!("{kind}-{digits}")
    }

    fn address(&self, address: IpAddr) -> String {
        let address = address.to_canonical();
        self.word(if address.is_ipv4() { "v4" } else { "v6" }, &address.to_string())
    }

    fn host(&self) -> String {
        self.word("host", &self.host)
    }

    /// Text with every address and the host's name replaced.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.names(&self.addresses(text))
    }

    fn addresses(&self, text: &str) -> String {
        let of_address = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(begin) = rest.find(of_address) {
            let (before, from) = rest.split_at(begin);
            out.push_str(before);
            let end = from.find(|c| !of_address(c)).unwrap_or(from.len());
            let (run, after) = from.split_at(end);
            rest = after;
            // The end of a longer word, such as `Worker::add`, is no address.
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            if before.ends_with(is_word) || after.starts_with(is_word) {
                out.push_str(run);
                continue;
            }
            let bare = run.trim_end_matches(['.', ':']);
            let bare = if bare.len() < run.len() && run.ends_with("::") { run } else { bare };
            let port = bare.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
            let (address, tail) = match (bare.parse::<IpAddr>(), port) {
                (Ok(address), _) => (Some(address), &run[bare.len()..]),
                (Err(_), Some((address, _))) => {
                    (address.parse::<IpAddr>().ok(), &run[address.len()..])
                }
                (Err(_), None) => (None, run),
            };
            match address {
                Some(address) => {
                    out.push_str(&self.address(address));
                    out.push_str(tail);
                }
                None => out.push_str(run),
            }
        }
        out + rest
    }

    /// The host's name, where it stands as a word of its own.
    fn names(&self, text: &str) -> String {
        if self.host.is_empty() {
            return text.to_owned();
        }
        let of_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&self.host) {
            let (before, from) = rest.split_at(at);
            let after = &from[self.host.len()..];
            out.push_str(before);
            // A full stop ends a sentence more often than a name.
            let goes_on = after.trim_start_matches('.').starts_with(of_name);
            if before.ends_with(of_name) || goes_on {
                out.push_str(&self.host);
            } else {
                out.push_str(&self.host());
            }
            rest = after;
        }
        out + rest
    }

    /// The report without them.
    pub fn redact(&self, report: &mut Report) {
        report.redacted = true;
        let host = self.host();
        let environment = &mut report.environment;
        environment.host.name.clone_from(&host);
        environment.host.boot_id = self.word("boot", &environment.host.boot_id);
        environment.command.clear();
        for filter in [&mut environment.filter, &mut report.filter] {
            *filter = match filter.contains("cgroup") || filter.contains("workload") {
                // A path can be anything; what it is compared with is left out with it.
                true => "redacted".to_owned(),
                false => self.text(filter),
            };
        }
        report.trace.file = TRACE.to_owned();
        for (number, piece) in report.trace.pieces.iter_mut().rev().enumerate() {
            piece.name = match number {
                0 => TRACE.to_owned(),
                number => format!("{TRACE}.{number}"),
            };
        }
        for peer in &mut report.peers.networks {
            peer.network = self.text(&peer.network);
        }
        for process in &mut report.processes {
            process.cgroup = None;
            process.comm = process.comm.as_ref().map(|comm| self.text(comm));
        }
        for owner in report.ports.iter_mut().filter_map(|row| row.owner.as_mut()) {
            owner.comm = self.text(&owner.comm);
        }
        self.findings(report);
        let impact = &mut report.impact;
        let trust = &mut report.trust;
        let texts = [&mut report.verdict.sentence, &mut impact.worst.verdict, &mut trust.sentence]
            .into_iter()
            .chain(report.timeline.marks.iter_mut().map(|mark| &mut mark.text))
            .chain(&mut trust.gaps)
            .chain(&mut trust.notes);
        for text in texts {
            *text = self.text(text);
        }
        // They say the filter again.
        for limit in &mut trust.limits {
            if limit.contains("with the filter") {
                *limit =
                    "Recorded with a filter: other sockets are only in the host's numbers.".into();
            }
        }
        self.doctor(&mut report.doctor, host);
    }

    /// Findings, and where their sentences stand again.
    fn findings(&self, report: &mut Report) {
        let impact = &mut report.impact;
        for finding in &mut report.findings {
            let told = finding.text.clone();
            self.finding(finding);
            if finding.check == CGROUP {
                let marks = report.timeline.marks.iter_mut().map(|mark| &mut mark.text);
                let texts = [&mut report.verdict.sentence, &mut impact.worst.verdict];
                for text in texts.into_iter().chain(marks) {
                    *text = text.replace(&told, &finding.text);
                }
            }
        }
        for mark in report.timeline.marks.iter_mut().filter(|mark| mark.kind == CGROUP) {
            CGROUP_TEXT.clone_into(&mut mark.text);
        }
    }

    fn finding(&self, finding: &mut Finding) {
        if finding.check == CGROUP {
            // Its name is the path, and a path can be anything.
            finding.subject = Some("redacted".to_owned());
            CGROUP_TEXT.clone_into(&mut finding.text);
        }
        finding.text = self.text(&finding.text);
        finding.subject = finding.subject.as_ref().map(|subject| self.text(subject));
        // It names what runs here as much as a path does.
        finding.workload = None;
        if let Some(owner) = &mut finding.owner {
            owner.comm = self.text(&owner.comm);
        }
    }

    fn doctor(&self, doctor: &mut Doctor, host: String) {
        doctor.note = self.text(&doctor.note);
        let Some(report) = &mut doctor.report else { return };
        report.host = host;
        report.sentence = self.text(&report.sentence);
        if report.findings.first().is_some_and(|finding| finding.check == CGROUP) {
            report.sentence = CGROUP_TEXT.to_owned();
        }
        report.findings.iter_mut().for_each(|finding| self.finding(finding));
        for note in &mut report.notes {
            *note = self.text(note);
        }
        for check in &mut report.checks {
            check.subject = check.subject.as_ref().map(|subject| {
                // Of a cgroup it is the path.
                if check.id == CGROUP { "redacted".to_owned() } else { self.text(subject) }
            });
            if check.id == CGROUP {
                CGROUP_TEXT.clone_into(&mut check.text);
            }
            for text in [
                &mut check.text,
                &mut check.why,
                &mut check.action,
                &mut check.gain,
                &mut check.risk,
                &mut check.undo,
                &mut check.evidence,
            ] {
                *text = self.text(text);
            }
        }
        report.lint.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor::new([7; 32], "web-17")
    }

    #[test]
    fn addresses_in_text_are_replaced_and_nothing_else() {
        let it = redactor();
        let v4 = it.address("10.4.11.7".parse().unwrap());
        assert_eq!(it.text("10.4.11.7"), v4);
        assert_eq!(it.text("to 10.4.11.7:443, then"), format!("to {v4}:443, then"));
        assert_eq!(it.text("::ffff:10.4.11.7/96 is it."), format!("{v4}/96 is it."));
        assert_eq!(it.text("See 10.4.11.7."), format!("See {v4}."));
        let v6 = it.address("2001:db8::1".parse().unwrap());
        assert_eq!(it.text("[2001:db8::1]:80"), format!("[{v6}]:80"));
        let any = it.address("::".parse().unwrap());
        assert_eq!(it.text("on [::]:80"), format!("on [{any}]:80"));
        for same in [
            "at 22:13:09 the kernel 6.18.44 killed 1,234 (99.6%): facade",
            "Worker::add",
            "net.ipv4.tcp_mem = 1 2 3",
            ":9981 (httpdns[4121])",
            "",
        ] {
            assert_eq!(it.text(same), same);
        }
    }

    #[test]
    fn the_host_is_replaced_as_a_word() {
        let it = redactor();
        let host = it.host();
        assert_eq!(it.text("web-17: on web-17."), format!("{host}: on {host}."));
        assert_eq!(it.text("web-170 my-web-17 web-17.example"), "web-170 my-web-17 web-17.example");
    }

    #[test]
    fn words_differ_by_key_and_by_value() {
        let other = Redactor::new([8; 32], "web-17");
        assert_ne!(redactor().host(), other.host());
        assert_ne!(redactor().text("10.0.0.1"), redactor().text("10.0.0.2"));
        assert_eq!(redactor().text("10.0.0.1"), redactor().text("10.0.0.1"));
    }
}
