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
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    if let Ok(text) = std::fs::read_to_string(path) {
        let words: Vec<&str> = text.split_whitespace().collect();
        found.insert(name, words.join(" "));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limits_are_among_them_and_no_secret_is() {
        let found = super::read();
        let range = &found["net.ipv4.ip_local_port_range"];
        assert_eq!(range.split(' ').count(), 2, "{range:?}");
        assert!(found.contains_key("net.ipv4.tcp_fin_timeout"));
        assert!(!found.keys().any(|name| name.contains("key")), "{found:?}");
    }
}
