//! What the kernel's own files say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::names;
use crate::gauges::{
    Bytes, Gauges, Limits, MemLimits, Pages, ProtocolMemory, SocketCounts, TCP, TCP_EXT,
};

/// What of a gauge the kernel did not tell is left out, like a count of 0 never is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::recording) struct GaugesRecord {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sockets: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_pages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pressure: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tcp_ext: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tcp: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, u64>,
}

impl GaugesRecord {
    pub(in crate::recording) fn of(gauges: &Gauges) -> Self {
        let Gauges { sockets, memory, tcp_ext, tcp, limits } = gauges;
        let SocketCounts { inuse, inuse6, orphan, tw, alloc, mem } = *sockets;
        let Limits { max_orphans, tcp_mem, max_tw_buckets, page } = *limits;
        Self {
            sockets: told([
                ("inuse", inuse),
                ("inuse6", inuse6),
                ("orphan", orphan),
                ("tw", tw),
                ("alloc", alloc),
                ("mem_pages", mem.map(|pages| pages.0)),
            ]),
            protocol_pages: memory.pages.map(|pages| pages.0),
            pressure: memory.pressure,
            tcp_ext: owned(tcp_ext),
            tcp: owned(tcp),
            limits: told([
                ("max_orphans", max_orphans),
                ("tcp_mem_low_pages", tcp_mem.map(|mem| mem.low.0)),
                ("tcp_mem_pressure_pages", tcp_mem.map(|mem| mem.pressure.0)),
                ("tcp_mem_high_pages", tcp_mem.map(|mem| mem.high.0)),
                ("max_tw_buckets", max_tw_buckets),
                ("page_bytes", (page.0 != 0).then_some(page.0)),
            ]),
        }
    }

    pub(in crate::recording) fn into_gauges(self) -> Gauges {
        let socket = |name: &str| self.sockets.get(name).copied();
        let limit = |name: &str| self.limits.get(name).copied();
        let mem = |name: &str| limit(name).map(Pages);
        let tcp_mem = match (
            mem("tcp_mem_low_pages"),
            mem("tcp_mem_pressure_pages"),
            mem("tcp_mem_high_pages"),
        ) {
            (Some(low), Some(pressure), Some(high)) => Some(MemLimits { low, pressure, high }),
            _ => None,
        };
        Gauges {
            sockets: SocketCounts {
                inuse: socket("inuse"),
                inuse6: socket("inuse6"),
                orphan: socket("orphan"),
                tw: socket("tw"),
                alloc: socket("alloc"),
                mem: socket("mem_pages").map(Pages),
            },
            memory: ProtocolMemory {
                pages: self.protocol_pages.map(Pages),
                pressure: self.pressure,
            },
            tcp_ext: names::known(&TCP_EXT, &self.tcp_ext),
            tcp: names::known(&TCP, &self.tcp),
            limits: Limits {
                max_orphans: limit("max_orphans"),
                tcp_mem,
                max_tw_buckets: limit("max_tw_buckets"),
                page: Bytes(limit("page_bytes").unwrap_or(0)),
            },
        }
    }
}

fn told<const N: usize>(values: [(&str, Option<u64>); N]) -> BTreeMap<String, u64> {
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn owned(values: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}
