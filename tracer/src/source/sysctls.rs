//! The settings that decide how this host's TCP behaves, as text.

use std::collections::BTreeMap;
use std::path::Path;

/// Settings outside of `net.ipv4.tcp_*` that limits depend on.
const OTHERS: [&str; 18] = [
    "fs.file-max",
    "fs.nr_open",
    "net.core.mem_pcpu_rsv",
    "net.core.netdev_budget",
    "net.core.netdev_max_backlog",
    "net.core.optmem_max",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.udp_mem",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
    "vm.min_free_kbytes",
];

/// Settings that decide when a limit is reached, and are worth being read every second.
pub const LIMITS: [&str; 14] = [
    "fs.file-max",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_retries2",
    "net.ipv4.udp_mem",
    "net.netfilter.nf_conntrack_max",
];

/// Name and value (white space made single spaces) of every setting that TCP's limits depend on;
/// those that this kernel, namespace or user cannot see are left out.
#[must_use]
pub fn read() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(entries) = std::fs::read_dir("/proc/sys/net/ipv4") {
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Not the key of TCP Fast Open: it is a secret.
            if name.starts_with("tcp_") && !name.contains("key") {
                insert(&mut found, format!("net.ipv4.{name}"));
            }
        }
    }
    for name in OTHERS {
        insert(&mut found, name.to_owned());
    }
    found
}

fn insert(found: &mut BTreeMap<String, String>, name: String) {
    if let Some(value) = read_one(&name) {
        found.insert(name, value);
    }
}

/// The value of one setting; `None` where this kernel, namespace or user cannot see it.
#[must_use]
pub fn read_one(name: &str) -> Option<String> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    let text = std::fs::read_to_string(path).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limits_are_among_them_and_no_secret_is() {
        let found = super::read();
        let range = &found["net.ipv4.ip_local_port_range"];
        assert_eq!(range.split(' ').count(), 2, "{range:?}");
        assert!(found.contains_key("net.ipv4.tcp_fin_timeout"));
        for (name, value) in super::LIMITS.iter().filter_map(|name| found.get_key_value(*name)) {
            assert_eq!(super::read_one(name).as_ref(), Some(value));
        }
        assert!(!found.keys().any(|name| name.contains("key")), "{found:?}");
    }
}
