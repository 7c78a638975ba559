//! What a sample of sockets says about causes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::super::{OwnerRecord, is_default};
use crate::facts::causes::{
    Causes, CloseWait, ClosedFds, ClosedFdsOf, HalfOpen, HolderState, KeptOpen, MemoryHeld,
    OrphanCauses, OrphanParts, Owner, OwnerSearch, Part, Queues, ServiceAt, SettingChange,
    SourcePorts, UdpSocket,
};
use crate::facts::{Known, Unknown};
use crate::recording::run::not_recorded;
use crate::time::Monotonic;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CausesRecord {
    #[serde(skip_serializing_if = "is_default")]
    orphans: PartsRecord,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orphan_services: Vec<OrphanServiceRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orphan_peers: Vec<OrphanPeerRecord>,
    #[serde(skip_serializing_if = "is_default")]
    close_wait: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    close_waits: Vec<CloseWaitRecord>,
    #[serde(skip_serializing_if = "is_default")]
    fin_wait2: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fin_wait2s: Vec<KeptOpenRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_fds: Option<ClosedFdsRecord>,
    /// Why `closed_fds` is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_fds_unknown: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    memory: QueuesRecord,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory_services: Vec<MemoryServiceRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory_processes: Vec<MemoryProcessRecord>,
    #[serde(skip_serializing_if = "is_default")]
    memory_unowned: QueuesRecord,
    #[serde(skip_serializing_if = "is_default")]
    memory_unknown: QueuesRecord,
    #[serde(skip_serializing_if = "is_default")]
    half_open: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    half_opens: Vec<HalfOpenRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceRecord>,
    #[serde(skip_serializing_if = "is_default")]
    owners_denied: u64,
    #[serde(skip_serializing_if = "is_default")]
    owners_cut: bool,
}

/// The fields of a service, beside those of its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct ServiceRecord {
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    accepted: bool,
    #[serde(skip_serializing_if = "is_default")]
    netns: u32,
}

/// Count, bytes, and age of the oldest in milliseconds.
type PartRecord = (u64, u64, u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct PartsRecord {
    #[serde(skip_serializing_if = "is_default")]
    closed_window: PartRecord,
    #[serde(skip_serializing_if = "is_default")]
    unanswered: PartRecord,
    #[serde(skip_serializing_if = "is_default")]
    in_flight: PartRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OrphanServiceRecord {
    #[serde(flatten)]
    service: ServiceRecord,
    #[serde(flatten)]
    parts: PartsRecord,
}

#[derive(Debug, Serialize, Deserialize)]
struct OrphanPeerRecord {
    network: IpAddr,
    #[serde(flatten)]
    parts: PartsRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct CloseWaitRecord {
    #[serde(flatten)]
    service: ServiceRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
    #[serde(skip_serializing_if = "is_default")]
    never_accepted: PartRecord,
    #[serde(skip_serializing_if = "is_default")]
    unread_data: PartRecord,
    #[serde(skip_serializing_if = "is_default")]
    eof_unread: PartRecord,
    #[serde(skip_serializing_if = "is_default")]
    not_closed: PartRecord,
    #[serde(skip_serializing_if = "is_default")]
    unread_bytes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptOpenRecord {
    #[serde(flatten)]
    service: ServiceRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
    sockets: PartRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ClosedFdsRecord {
    host: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    processes: Vec<ClosedFdsOfRecord>,
    #[serde(skip_serializing_if = "is_default")]
    unchecked: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ClosedFdsOfRecord {
    owner: OwnerRecord,
    count: u64,
    oldest_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct QueuesRecord {
    sockets: u64,
    charged: u64,
    #[serde(skip_serializing_if = "is_default")]
    receive: u64,
    #[serde(skip_serializing_if = "is_default")]
    send: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct MemoryServiceRecord {
    #[serde(flatten)]
    service: ServiceRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
    #[serde(flatten)]
    queues: QueuesRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct MemoryProcessRecord {
    owner: OwnerRecord,
    #[serde(flatten)]
    queues: QueuesRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct HalfOpenRecord {
    #[serde(flatten)]
    service: ServiceRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<(IpAddr, u16)>,
    requests: u64,
    listeners: u32,
    backlog: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceRecord {
    netns: u32,
    local: IpAddr,
    ports: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    time_wait: u64,
    destinations: u64,
    range: (u16, u16),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HolderRecord {
    state: char,
    #[serde(default, skip_serializing_if = "is_default")]
    for_ms: u64,
    holders: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    stopped: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UdpSocketRecord {
    netns: u32,
    addr: IpAddr,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    drops: u64,
    drops_ever: u32,
    receive: u32,
    limit: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ChangeRecord {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    after_ns: u64,
    seen_ns: u64,
}

const fn part(part: &Part) -> PartRecord {
    (part.count, part.bytes, part.oldest_ms)
}

const fn into_part((count, bytes, oldest_ms): PartRecord) -> Part {
    Part { count, bytes, oldest_ms }
}

fn owner(owner: &Owner) -> OwnerRecord {
    OwnerRecord { pid: owner.0, comm: owner.1.clone() }
}

fn into_owner(record: OwnerRecord) -> Owner {
    (record.pid, record.comm)
}

impl ServiceRecord {
    const fn of(service: ServiceAt) -> Self {
        Self { port: service.port, accepted: service.accepted, netns: service.netns }
    }

    const fn into_service(self) -> ServiceAt {
        ServiceAt { netns: self.netns, port: self.port, accepted: self.accepted }
    }
}

impl PartsRecord {
    const fn of(parts: &OrphanParts) -> Self {
        Self {
            closed_window: part(&parts.closed_window),
            unanswered: part(&parts.unanswered),
            in_flight: part(&parts.in_flight),
        }
    }

    const fn into_parts(self) -> OrphanParts {
        OrphanParts {
            closed_window: into_part(self.closed_window),
            unanswered: into_part(self.unanswered),
            in_flight: into_part(self.in_flight),
        }
    }
}

impl QueuesRecord {
    const fn of(queues: &Queues) -> Self {
        Self {
            sockets: queues.sockets,
            charged: queues.charged,
            receive: queues.receive,
            send: queues.send,
        }
    }

    const fn into_queues(self) -> Queues {
        Queues {
            sockets: self.sockets,
            charged: self.charged,
            receive: self.receive,
            send: self.send,
        }
    }
}

/// A row of another type for each of some rows.
fn rows<T, R>(rows: impl IntoIterator<Item = T>, row: impl Fn(T) -> R) -> Vec<R> {
    rows.into_iter().map(row).collect()
}

impl CausesRecord {
    pub(super) fn of(causes: &Causes) -> Self {
        let Causes { orphans, memory, closed_fds, owners, .. } = causes;
        Self {
            orphans: PartsRecord::of(&orphans.all),
            orphan_services: rows(&orphans.services, |(service, parts)| OrphanServiceRecord {
                service: ServiceRecord::of(*service),
                parts: PartsRecord::of(parts),
            }),
            orphan_peers: rows(&orphans.peers, |(network, parts)| OrphanPeerRecord {
                network: *network,
                parts: PartsRecord::of(parts),
            }),
            close_wait: causes.close_wait,
            close_waits: rows(&causes.close_waits, CloseWaitRecord::of),
            fin_wait2: causes.fin_wait2,
            fin_wait2s: rows(&causes.fin_wait2s, |it| KeptOpenRecord {
                service: ServiceRecord::of(it.service),
                owner: it.owner.as_ref().map(owner),
                sockets: part(&it.part),
            }),
            closed_fds: closed_fds.as_ref().ok().map(ClosedFdsRecord::of),
            closed_fds_unknown: closed_fds.as_ref().err().map(|why| why.0.clone()),
            memory: QueuesRecord::of(&memory.all),
            memory_services: rows(&memory.services, |(service, who, queues)| MemoryServiceRecord {
                service: ServiceRecord::of(*service),
                owner: who.as_ref().map(owner),
                queues: QueuesRecord::of(queues),
            }),
            memory_processes: rows(&memory.processes, |(who, queues)| MemoryProcessRecord {
                owner: owner(who),
                queues: QueuesRecord::of(queues),
            }),
            memory_unowned: QueuesRecord::of(&memory.unowned),
            memory_unknown: QueuesRecord::of(&memory.unknown),
            half_open: causes.half_open,
            half_opens: rows(&causes.half_opens, |it| HalfOpenRecord {
                service: ServiceRecord::of(it.service),
                local: it.local.map(|local| (local.ip(), local.port())),
                requests: it.requests,
                listeners: it.listeners,
                backlog: it.backlog,
                owner: it.owner.as_ref().map(owner),
            }),
            sources: rows(&causes.sources, |it| SourceRecord {
                netns: it.netns,
                local: it.local,
                ports: it.ports,
                time_wait: it.time_wait,
                destinations: it.destinations,
                range: it.range,
            }),
            owners_denied: owners.denied,
            owners_cut: owners.cut,
        }
    }

    pub(super) fn into_causes(self) -> Causes {
        let closed_fds: Known<ClosedFds> = match (self.closed_fds, self.closed_fds_unknown) {
            (Some(record), _) => Ok(record.into_closed_fds()),
            (None, Some(why)) => Err(Unknown(why)),
            (None, None) => Err(not_recorded()),
        };
        Causes {
            orphans: OrphanCauses {
                all: self.orphans.into_parts(),
                services: rows(self.orphan_services, |it| {
                    (it.service.into_service(), it.parts.into_parts())
                }),
                peers: rows(self.orphan_peers, |it| (it.network, it.parts.into_parts())),
            },
            close_wait: self.close_wait,
            close_waits: rows(self.close_waits, CloseWaitRecord::into_close_wait),
            fin_wait2: self.fin_wait2,
            fin_wait2s: rows(self.fin_wait2s, |it| KeptOpen {
                service: it.service.into_service(),
                owner: it.owner.map(into_owner),
                part: into_part(it.sockets),
            }),
            closed_fds,
            memory: MemoryHeld {
                all: self.memory.into_queues(),
                services: rows(self.memory_services, |it| {
                    (it.service.into_service(), it.owner.map(into_owner), it.queues.into_queues())
                }),
                processes: rows(self.memory_processes, |it| {
                    (into_owner(it.owner), it.queues.into_queues())
                }),
                unowned: self.memory_unowned.into_queues(),
                unknown: self.memory_unknown.into_queues(),
            },
            half_open: self.half_open,
            half_opens: rows(self.half_opens, |it| HalfOpen {
                service: it.service.into_service(),
                local: it.local.map(SocketAddr::from),
                requests: it.requests,
                listeners: it.listeners,
                backlog: it.backlog,
                owner: it.owner.map(into_owner),
            }),
            sources: rows(self.sources, |it| SourcePorts {
                netns: it.netns,
                local: it.local,
                ports: it.ports,
                time_wait: it.time_wait,
                destinations: it.destinations,
                range: it.range,
            }),
            owners: OwnerSearch { denied: self.owners_denied, cut: self.owners_cut },
        }
    }
}

impl CloseWaitRecord {
    fn of(it: &CloseWait) -> Self {
        Self {
            service: ServiceRecord::of(it.service),
            owner: it.owner.as_ref().map(owner),
            never_accepted: part(&it.never_accepted),
            unread_data: part(&it.unread_data),
            eof_unread: part(&it.eof_unread),
            not_closed: part(&it.not_closed),
            unread_bytes: it.unread_bytes,
        }
    }

    fn into_close_wait(self) -> CloseWait {
        CloseWait {
            service: self.service.into_service(),
            owner: self.owner.map(into_owner),
            never_accepted: into_part(self.never_accepted),
            unread_data: into_part(self.unread_data),
            eof_unread: into_part(self.eof_unread),
            not_closed: into_part(self.not_closed),
            unread_bytes: self.unread_bytes,
        }
    }
}

impl ClosedFdsRecord {
    fn of(it: &ClosedFds) -> Self {
        Self {
            host: it.host,
            processes: rows(&it.processes, |of| ClosedFdsOfRecord {
                owner: owner(&of.owner),
                count: of.count,
                oldest_ms: of.oldest_ms,
            }),
            unchecked: it.unchecked,
        }
    }

    fn into_closed_fds(self) -> ClosedFds {
        ClosedFds {
            host: self.host,
            processes: rows(self.processes, |of| ClosedFdsOf {
                owner: into_owner(of.owner),
                count: of.count,
                oldest_ms: of.oldest_ms,
            }),
            unchecked: self.unchecked,
        }
    }
}

impl HolderRecord {
    pub(super) const fn of(it: &HolderState) -> Self {
        Self { state: it.state, for_ms: it.for_ms, holders: it.holders, stopped: it.stopped }
    }

    pub(super) const fn into_holder(self) -> HolderState {
        HolderState {
            state: self.state,
            for_ms: self.for_ms,
            holders: self.holders,
            stopped: self.stopped,
        }
    }
}

impl UdpSocketRecord {
    pub(super) fn of(it: &UdpSocket) -> Self {
        Self {
            netns: it.netns,
            addr: it.local.ip(),
            port: it.local.port(),
            owner: it.owner.as_ref().map(owner),
            drops: it.drops,
            drops_ever: it.drops_ever,
            receive: it.receive,
            limit: it.limit,
        }
    }

    pub(super) fn into_socket(self) -> UdpSocket {
        UdpSocket {
            netns: self.netns,
            local: SocketAddr::new(self.addr, self.port),
            owner: self.owner.map(into_owner),
            drops: self.drops,
            drops_ever: self.drops_ever,
            receive: self.receive,
            limit: self.limit,
        }
    }
}

impl ChangeRecord {
    pub(super) fn of(it: &SettingChange) -> Self {
        Self {
            name: it.name.clone(),
            from: it.from.clone(),
            to: it.to.clone(),
            after_ns: it.after.0,
            seen_ns: it.seen.0,
        }
    }

    pub(super) fn into_change(self) -> SettingChange {
        SettingChange {
            name: self.name,
            from: self.from,
            to: self.to,
            after: Monotonic(self.after_ns),
            seen: Monotonic(self.seen_ns),
        }
    }
}
