//! Network namespaces other than the one watched.

use std::collections::BTreeMap;

use serde::Serialize;

use super::TwBuckets;
use crate::facts::elsewhere::{Elsewhere, NetnsFacts};

/// The other namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Namespaces {
    /// Those that were looked at, by number.
    pub seen: Vec<Namespace>,
    /// How many more there are, which may not be entered or are too many.
    pub unseen: u64,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its inode number, as `lsns -t net` shows it.
    pub netns: u32,
    /// Its name in `/run/netns`; `null` where it has none.
    pub name: Option<String>,
    /// Its minisockets; `null` where it did not tell.
    pub tw_buckets: Option<TwBuckets>,
    /// Increase of the kernel's own counters (TcpExt) in it since tracing began.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Namespaces {
    pub(in crate::aggregate) fn of(elsewhere: &Elsewhere) -> Self {
        let seen = elsewhere.namespaces.iter().map(Namespace::of).collect();
        Self { seen, unseen: elsewhere.unseen }
    }
}

impl Namespace {
    fn of(facts: &NetnsFacts) -> Self {
        let buckets = facts.tw.zip(facts.max_tw_buckets);
        Self {
            netns: facts.netns,
            name: facts.name.clone(),
            tw_buckets: buckets.map(|(now, limit)| TwBuckets { now, limit, fin_wait2: None }),
            counters: facts.counters.clone(),
        }
    }
}
