//! What a host sets at boot: the lines of sysctl.conf and sysctl.d, as `sysctl` reads them.

use std::collections::BTreeSet;

/// What the host sets at boot, in the order it is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Every line that sets something.
    pub lines: Vec<SettingLine>,
    /// Keys of those lines that `/proc/sys` does not have here.
    pub absent: BTreeSet<String>,
    /// Files that could not be read.
    pub unreadable: Vec<String>,
}

/// One line of `sysctl.conf` or a file of `sysctl.d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingLine {
    /// The file.
    pub file: String,
    /// Its number, from 1.
    pub line: usize,
    /// The key, in dotted form.
    pub key: String,
    /// The value, white space made single blanks; `None` for a line without `=`.
    pub value: Option<String>,
}

impl SettingLine {
    /// Reads a line; `None` for comments and blank ones.
    #[must_use]
    pub fn parse(file: &str, line: usize, text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            return None;
        }
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => {
                (key, Some(value.split_whitespace().collect::<Vec<_>>().join(" ")))
            }
            None => (text, None),
        };
        // A leading `-` means: go on where it fails.
        let key = key.trim();
        let key = dotted(key.strip_prefix('-').unwrap_or(key).trim());
        (!key.is_empty()).then(|| Self { file: file.to_owned(), line, key, value })
    }
}

/// `net/ipv4/tcp_mem` as `net.ipv4.tcp_mem`; what separator comes first is the separator, and then
/// the other one is part of a name (an interface `eth0.1`).
#[must_use]
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => key
            .chars()
            .map(|character| match character {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_sysctl_conf_are_read_as_sysctl_reads_them() {
        let parsed = |text: &str| {
            SettingLine::parse("f", 1, text).map(|line| (line.key, line.value.unwrap_or_default()))
        };
        assert_eq!(parsed("# net.ipv4.tcp_mem = 1"), None);
        assert_eq!(parsed("; x = 1"), None);
        assert_eq!(parsed("  "), None);
        let is = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        assert_eq!(parsed(" net.ipv4.tcp_mem= 1\t2  3 "), is("net.ipv4.tcp_mem", "1 2 3"));
        assert_eq!(parsed("-net/core/somaxconn=4096"), is("net.core.somaxconn", "4096"));
        assert_eq!(
            parsed("net/ipv4/conf/eth0.1/rp_filter=1"),
            is("net.ipv4.conf.eth0/1.rp_filter", "1")
        );
        assert_eq!(parsed("-net.ipv4.conf.*"), is("net.ipv4.conf.*", ""));
        assert_eq!(parsed("= 1"), None);
    }
}
