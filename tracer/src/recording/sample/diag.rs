//! What sock_diag told, in a sample.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{BEYOND, TOO_MANY, names, service};
use crate::event::{DiagSample, DiagService, Listening, Network};
use crate::recording::bounds::{MOST_NUMBER, MOST_SERVICES};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DiagRecord {
    services: Vec<DiagServiceRecord>,
    fin_wait2_minisockets: u64,
    has_time_wait: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DiagServiceRecord {
    port: u16,
    direction: String,
    orphans: u64,
    orphan_bytes: u64,
    fin_wait2_minisockets: u64,
    time_wait: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<PeerRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<ListenRecord>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ListenRecord {
    queued: u64,
    backlog: u64,
    drops: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    half_open: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PeerRecord {
    /// The network's first address; IPv4 networks are /24, IPv6 /64.
    network: IpAddr,
    orphans: u64,
    bytes: u64,
}

impl DiagRecord {
    pub(super) fn of(sample: &DiagSample) -> Self {
        Self {
            services: sample
                .services
                .iter()
                .map(|(service, seen)| DiagServiceRecord {
                    port: service.port,
                    direction: names::direction(service.direction).to_owned(),
                    orphans: seen.orphans,
                    orphan_bytes: seen.orphan_bytes,
                    fin_wait2_minisockets: seen.fin_wait2_minisockets,
                    time_wait: seen.time_wait,
                    peers: seen
                        .peers
                        .iter()
                        .map(|(network, (orphans, bytes))| PeerRecord {
                            network: network.0,
                            orphans: *orphans,
                            bytes: *bytes,
                        })
                        .collect(),
                    listen: seen.listen.map(|it| ListenRecord {
                        queued: it.queued,
                        backlog: it.backlog,
                        drops: it.drops,
                        half_open: it.half_open,
                    }),
                })
                .collect(),
            fin_wait2_minisockets: sample.fin_wait2_minisockets,
            has_time_wait: sample.has_time_wait,
        }
    }

    /// Whether it can have been what sock_diag told.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.services.len() > MOST_SERVICES {
            return Err(TOO_MANY);
        }
        let of = |service: &DiagServiceRecord| {
            let listen = service.listen.unwrap_or_default();
            [
                service.orphans,
                service.orphan_bytes,
                service.fin_wait2_minisockets,
                service.time_wait,
                listen.queued,
                listen.backlog,
                listen.drops,
                listen.half_open.unwrap_or(0),
            ]
        };
        let peers = self.services.iter().flat_map(|service| &service.peers);
        let numbers = self
            .services
            .iter()
            .flat_map(of)
            .chain(peers.flat_map(|peer| [peer.orphans, peer.bytes]))
            .chain([self.fin_wait2_minisockets]);
        if numbers.into_iter().all(|number| number <= MOST_NUMBER) { Ok(()) } else { Err(BEYOND) }
    }

    pub(super) fn into_sample(self) -> DiagSample {
        let services = self.services.into_iter().filter_map(|record| {
            let service = service(record.port, &record.direction)?;
            let peers = record
                .peers
                .into_iter()
                .map(|peer| (Network(peer.network), (peer.orphans, peer.bytes)))
                .collect();
            let seen = DiagService {
                orphans: record.orphans,
                orphan_bytes: record.orphan_bytes,
                fin_wait2_minisockets: record.fin_wait2_minisockets,
                time_wait: record.time_wait,
                peers,
                listen: record.listen.map(|it| Listening {
                    queued: it.queued,
                    backlog: it.backlog,
                    drops: it.drops,
                    half_open: it.half_open,
                }),
            };
            Some((service, seen))
        });
        DiagSample {
            services: services.collect(),
            fin_wait2_minisockets: self.fin_wait2_minisockets,
            has_time_wait: self.has_time_wait,
        }
    }
}
