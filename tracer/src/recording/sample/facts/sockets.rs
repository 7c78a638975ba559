//! What of all sockets a look comes to.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::causes::CausesRecord;
use super::is_default;
use crate::facts::{Destination, Minisockets, Orphans, Sockets, Waits};
use crate::recording::run::not_recorded;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SocketsRecord {
    orphans: OrphansRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    half_open: Option<Vec<(u16, u64)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minisockets: Option<MinisocketsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<Vec<DestinationRecord>>,
    #[serde(skip_serializing_if = "is_default")]
    namespaces_denied: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    causes: Option<CausesRecord>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OrphansRecord {
    count: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<WaitsRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<(u16, u64)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct WaitsRecord {
    probing: u64,
    retransmitting: u64,
    last_ack: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct MinisocketsRecord {
    accepted: u64,
    connecting: u64,
    fin_wait2: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct DestinationRecord {
    local: IpAddr,
    peer: IpAddr,
    port: u16,
    ports: u64,
    time_wait: u64,
}

impl SocketsRecord {
    pub(super) fn of(sockets: &Sockets) -> Self {
        let orphans = &sockets.orphans;
        Self {
            orphans: OrphansRecord {
                count: orphans.count,
                bytes: orphans.bytes,
                waits: orphans.waits.map(|waits| WaitsRecord {
                    probing: waits.probing,
                    retransmitting: waits.retransmitting,
                    last_ack: waits.last_ack,
                }),
                ports: orphans.ports.clone(),
            },
            half_open: sockets
                .half_open
                .as_ref()
                .ok()
                .map(|ports| ports.iter().map(|(port, count)| (*port, *count)).collect()),
            minisockets: sockets.minisockets.as_ref().ok().map(|mini| MinisocketsRecord {
                accepted: mini.accepted,
                connecting: mini.connecting,
                fin_wait2: mini.fin_wait2,
            }),
            destinations: sockets.destinations.as_ref().ok().map(|destinations| {
                let record = |destination: &Destination| DestinationRecord {
                    local: destination.local,
                    peer: destination.peer.ip(),
                    port: destination.peer.port(),
                    ports: destination.ports,
                    time_wait: destination.time_wait,
                };
                destinations.iter().map(record).collect()
            }),
            namespaces_denied: sockets.namespaces_denied,
            causes: sockets.causes.as_ref().ok().map(CausesRecord::of),
        }
    }

    pub(super) fn into_sockets(self) -> Sockets {
        let missing = not_recorded();
        Sockets {
            orphans: Orphans {
                count: self.orphans.count,
                bytes: self.orphans.bytes,
                waits: self.orphans.waits.map(|waits| Waits {
                    probing: waits.probing,
                    retransmitting: waits.retransmitting,
                    last_ack: waits.last_ack,
                }),
                ports: self.orphans.ports,
            },
            half_open: self
                .half_open
                .map(|ports| ports.into_iter().collect())
                .ok_or_else(|| missing.clone()),
            minisockets: self
                .minisockets
                .map(|mini| Minisockets {
                    accepted: mini.accepted,
                    connecting: mini.connecting,
                    fin_wait2: mini.fin_wait2,
                })
                .ok_or_else(|| missing.clone()),
            destinations: self
                .destinations
                .map(|destinations| {
                    let into = |record: DestinationRecord| Destination {
                        local: record.local,
                        peer: SocketAddr::new(record.peer, record.port),
                        ports: record.ports,
                        time_wait: record.time_wait,
                    };
                    destinations.into_iter().map(into).collect()
                })
                .ok_or_else(|| missing.clone()),
            namespaces_denied: self.namespaces_denied,
            causes: self.causes.map(CausesRecord::into_causes).ok_or(missing),
        }
    }
}
