//! The article's list, and one line of each kind.

use std::fmt::Write as _;

use super::lint::{Remark, Word, judge, lint};
use super::table::{Life, TABLE};
use crate::diagnose::State;
use crate::diagnose::fixture::{healthy, lines};
use crate::facts::{Facts, Settings};
use crate::gauges::{Bytes, Pages};

fn settings(text: &str, absent: &[&str]) -> Settings {
    Settings {
        lines: lines(text),
        absent: absent.iter().map(|name| (*name).to_owned()).collect(),
        unreadable: Vec::new(),
    }
}

fn only(text: &str, absent: &[&str], facts: &Facts) -> Remark {
    judge(&settings(text, absent), 0, facts)
}

/// What a line of files says on a host that is well, where it is set as written.
fn said(text: &str) -> (Word, State) {
    let mut facts = healthy();
    for line in lines(text) {
        facts.sysctls.insert(line.key, line.value.unwrap_or_default());
    }
    let remark = only(text, &[], &facts);
    (remark.word, remark.state)
}

#[test]
fn the_articles_list_line_by_line() {
    let text = include_str!("../../../tests/sysctl/article.conf");
    let mut shown = String::new();
    for (memory, name) in [(24, "24 GiB"), (4, "4 GiB")] {
        let mut facts = healthy();
        facts.memory = Ok(Bytes(memory << 30));
        let settings = settings(text, &["net.ipv4.tcp_tw_recycle", "net.ipv4.tcp_tw_timeout"]);
        let _ = writeln!(shown, "on a server with {name}, nothing applied yet:");
        for at in 0..settings.lines.len() {
            let remark = judge(&settings, at, &facts);
            let name = remark.sysctl.trim_start_matches("net.");
            let _ = writeln!(
                shown,
                "{name} = {}\n    {} {}: {}",
                remark.value,
                remark.state.word(),
                remark.word.text(),
                remark.text
            );
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn dead_unknown_and_unseen_keys_are_told_apart() {
    let facts = healthy();
    let word = |key: &str, facts: &Facts| only(&format!("{key} = 1"), &[key], facts).word;
    assert_eq!(word("net.ipv4.tcp_tw_recycle", &facts), Word::Dead);
    assert_eq!(word("net.ipv4.tcp_tw_timeout", &facts), Word::Dead);
    assert_eq!(word("net.ipv4.tcp_max_orphan", &facts), Word::Unknown);
    let newer = only("net.ipv4.tcp_rto_max_ms = 1", &["net.ipv4.tcp_rto_max_ms"], &facts);
    assert_eq!(newer.word, Word::Unknown);
    assert!(newer.text.contains("6.15"), "{}", newer.text);
    assert_eq!(word("net.netfilter.nf_conntrack_max", &facts), Word::NotSeen);
    assert_eq!(word("net.ipv4.conf.eth7.rp_filter", &facts), Word::NotSeen);
    let container = Facts { first_netns: Some(false), ..healthy() };
    assert_eq!(word("net.ipv4.tcp_max_orphans", &container), Word::NotSeen);
    assert_eq!(word("net.ipv4.tcp_tw_recycle", &container), Word::Dead);
}

#[test]
fn values_are_judged_by_this_host() {
    assert_eq!(said("net.ipv4.tcp_fin_timeout = 60"), (Word::Fine, State::Ok));
    assert_eq!(said("net.ipv4.tcp_fin_timeout = 5"), (Word::NoEffect, State::Warn));
    assert_eq!(said("net.ipv4.tcp_fin_timeout = 300"), (Word::Risky, State::Warn));
    // 2 GiB in bytes are 8 TiB in pages.
    let bytes = "net.ipv4.tcp_mem = 1073741824 1610612736 2147483648";
    assert_eq!(said(bytes), (Word::WrongUnit, State::Warn));
    assert_eq!(said("net.ipv4.tcp_mem = 186135 248180 372270"), (Word::Lowers, State::Warn));
    assert_eq!(said("net.ipv4.tcp_mem = 1 2 3"), (Word::Lowers, State::Crit));
    assert_eq!(said("net.ipv4.tcp_mem = 3 2"), (Word::Malformed, State::Warn));
    assert_eq!(said("net.ipv4.tcp_mem = 287898 383867 575796"), (Word::Fine, State::Ok));
    assert_eq!(said("net.ipv4.tcp_max_orphans = 50"), (Word::Lowers, State::Crit));
    assert_eq!(said("net.ipv4.tcp_max_orphans = 4096"), (Word::Lowers, State::Warn));
    assert_eq!(said("net.ipv4.tcp_max_orphans = 262144"), (Word::Fine, State::Ok));
    assert_eq!(said("net.core.somaxconn = 128"), (Word::Lowers, State::Warn));
    assert_eq!(said("net.ipv4.tcp_rmem = 4096 4096 16777216"), (Word::Lowers, State::Warn));
    assert_eq!(said("net.ipv4.tcp_rmem = 4096 131072 16777216"), (Word::Fine, State::Ok));
    assert_eq!(said("net.ipv4.tcp_low_latency = 1"), (Word::NoEffect, State::Warn));
    assert_eq!(said("net.ipv4.ip_local_port_range = 1024 65535"), (Word::Risky, State::Warn));
    assert_eq!(said("net.ipv4.ip_local_port_range = 16384 60999"), (Word::Fine, State::Ok));
    assert_eq!(said("fs.file-max = 100"), (Word::Lowers, State::Crit));
    assert_eq!(said("net.ipv4.tcp_mem"), (Word::Malformed, State::Warn));
}

#[test]
fn what_takes_numbers_is_told_from_what_does_not() {
    let now = |text| only(text, &[], &healthy()).word;
    assert_eq!(now("net.core.somaxconn = many"), Word::Malformed);
    assert_eq!(now("net.core.somaxconn = "), Word::Malformed);
    assert_eq!(now("net.core.somaxconn = 0x2000"), Word::Differs);
    // Ports, of which there are none now.
    assert_eq!(now("net.ipv4.ip_local_reserved_ports = 80,443"), Word::Differs);
}

#[test]
fn a_reserved_port_is_safe_in_any_range() {
    let mut facts = healthy();
    let range = "net.ipv4.ip_local_port_range";
    facts.sysctls.insert(range.into(), "1024 65535".into());
    let reserved = "net.ipv4.ip_local_reserved_ports";
    facts.sysctls.insert(reserved.into(), "22,9980-9990".into());
    let remark = only("net.ipv4.ip_local_port_range = 1024 65535", &[], &facts);
    assert_eq!((remark.word, remark.state), (Word::Risky, State::Ok), "{}", remark.text);
}

#[test]
fn lines_that_contradict_and_values_that_are_not_so() {
    let text = "net.core.somaxconn = 8192\nnet.core.somaxconn = 16384\nnet.core.somaxconn=16384";
    let remarks = lint(&settings(text, &[]), &healthy());
    let words: Vec<_> = remarks.iter().map(|remark| (remark.line, remark.word)).collect();
    assert_eq!(words, [(1, Word::Contradicted), (2, Word::Differs), (3, Word::Differs)]);
    assert_eq!(remarks[0].text, "/etc/sysctl.conf:2 sets it to 16384 afterwards");
    assert_eq!(remarks[1].text, "it is 4096 now");
    // Not about sockets.
    let mut facts = healthy();
    facts.sysctls.insert("fs.protected_fifos".into(), "0".into());
    assert!(lint(&settings("fs.protected_fifos = 1", &[]), &facts).is_empty());
}

#[test]
fn what_cannot_be_seen_is_not_judged() {
    let mut facts = healthy();
    facts.memory = Err(crate::facts::Unknown::because("no meminfo"));
    facts.gauges = Err(crate::facts::Unknown::because("no sockstat"));
    facts.sysctls.clear();
    let remark = only("net.ipv4.tcp_mem = 1 2 3", &[], &facts);
    assert_eq!(remark.word, Word::Fine);
    // Absurd numbers are survived.
    let mut facts = healthy();
    facts.gauges.as_mut().unwrap().sockets.mem = Some(Pages(u64::MAX));
    let most = u64::MAX;
    only(&format!("net.ipv4.tcp_mem = {most} {most} {most}"), &[], &facts);
    only(&format!("net.ipv4.ip_local_port_range = {most} 0"), &[], &facts);
}

#[test]
fn the_table_is_complete() {
    for (at, sysctl) in TABLE.iter().enumerate() {
        assert!(!sysctl.does.is_empty() && !sysctl.source.is_empty(), "{}", sysctl.name);
        assert!(!sysctl.unit.is_empty(), "{}", sysctl.name);
        let inert = matches!(sysctl.life, Life::Inert(_));
        assert!(inert || !sysctl.beware.is_empty(), "{}", sysctl.name);
        assert!(TABLE[..at].iter().all(|other| other.name != sysctl.name), "{}", sysctl.name);
    }
}

/// On the running kernel: what is said to be there is, what is said to be gone is.
#[test]
fn the_running_kernel_agrees_with_the_table() {
    let first = std::fs::metadata("/proc/sys/net/ipv4/tcp_mem").is_ok();
    for sysctl in TABLE {
        let path = format!("/proc/sys/{}", sysctl.name.replace('.', "/"));
        let is_there = std::path::Path::new(&path).exists();
        match sysctl.life {
            Life::Until(_) => assert!(!is_there, "{}", sysctl.name),
            Life::Always if first && !sysctl.name.contains("netfilter") => {
                assert!(is_there, "{}", sysctl.name);
            }
            _ => {}
        }
    }
}
