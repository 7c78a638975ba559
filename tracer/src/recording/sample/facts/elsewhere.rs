//! The other network namespaces, in a sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ListenerRecord, is_default};
use crate::facts::elsewhere::{COUNTERS, Elsewhere, NetnsFacts};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ElsewhereRecord {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<NetnsRecord>,
    #[serde(skip_serializing_if = "is_default")]
    killed: u64,
    #[serde(skip_serializing_if = "is_default")]
    unseen: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct NetnsRecord {
    netns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    counters: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tw_buckets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minisockets: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listeners: Vec<ListenerRecord>,
}

impl ElsewhereRecord {
    pub(super) fn of(elsewhere: &Elsewhere) -> Self {
        let namespaces = elsewhere.namespaces.iter().map(NetnsRecord::of).collect();
        Self { namespaces, killed: elsewhere.killed, unseen: elsewhere.unseen }
    }

    pub(super) fn into_elsewhere(self) -> Elsewhere {
        let namespaces = self.namespaces.into_iter().map(NetnsRecord::into_facts).collect();
        Elsewhere { namespaces, killed: self.killed, unseen: self.unseen }
    }
}

impl NetnsRecord {
    fn of(facts: &NetnsFacts) -> Self {
        Self {
            netns: facts.netns,
            name: facts.name.clone(),
            counters: facts.counters.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect(),
            tw: facts.tw,
            max_tw_buckets: facts.max_tw_buckets,
            minisockets: facts.minisockets,
            listeners: facts.listeners.iter().map(ListenerRecord::of).collect(),
        }
    }

    fn into_facts(self) -> NetnsFacts {
        let known = |(name, value): (&String, &u64)| {
            Some((*COUNTERS.iter().find(|known| *known == name)?, *value))
        };
        NetnsFacts {
            netns: self.netns,
            name: self.name,
            counters: self.counters.iter().filter_map(known).collect(),
            tw: self.tw,
            max_tw_buckets: self.max_tw_buckets,
            minisockets: self.minisockets,
            listeners: self.listeners.into_iter().map(ListenerRecord::into_listener).collect(),
        }
    }
}
