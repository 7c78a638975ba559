//! Second opinions: what the kernel itself says.

use std::fs;

/// A number of the row TCP of `sockstat` in a folder such as `/proc/net`.
pub(crate) fn sockstat(folder: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("{folder}/sockstat")).expect("sockstat");
    let row = text.lines().find_map(|line| line.strip_prefix("TCP:")).expect("a row TCP");
    let words: Vec<&str> = row.split_whitespace().collect();
    let at = words.iter().position(|word| *word == name).expect("the column");
    words[at + 1].parse().expect("a number")
}

/// Orphans of the whole host, by the kernel.
pub(crate) fn host_orphans() -> u64 {
    sockstat("/proc/self/net", "orphan")
}

/// A counter of the group TcpExt of the host's namespace.
pub(crate) fn tcp_ext(name: &str) -> u64 {
    tcp_ext_in("/proc/self/net", name)
}

/// The same of the namespace whose `/proc/net` a folder is.
pub(crate) fn tcp_ext_in(folder: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("{folder}/netstat")).expect("netstat");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let at = names.split_whitespace().position(|word| word == name).expect("the counter");
    values.split_whitespace().nth(at).expect("its value").parse().expect("a number")
}

/// The kernel's memory pressure flag for TCP.
pub(crate) fn under_pressure() -> bool {
    let text = fs::read_to_string("/proc/net/protocols").expect("protocols");
    let header: Vec<&str> = text.lines().next().expect("a header").split_whitespace().collect();
    let column = header.iter().position(|word| *word == "press").expect("a column press");
    let row: Vec<&str> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row.first() == Some(&"TCP"))
        .expect("a row TCP");
    row[column] == "yes"
}
