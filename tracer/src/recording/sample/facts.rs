//! A look at what the doctor judges by, in a sample.

mod causes;
mod elsewhere;
mod sockets;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use causes::{ChangeRecord, HolderRecord, UdpSocketRecord};
use elsewhere::ElsewhereRecord;
use serde::{Deserialize, Serialize};
use sockets::SocketsRecord;

use super::{OwnerRecord, is_default};
use crate::facts::{
    CgroupMemory, Conntrack, Facts, FileNr, Known, Listener, ProcessFds, Processes, SettingLine,
    Settings, Softnet, Udp, Unknown,
};
use crate::gauges::Pages;
use crate::time::Monotonic;

/// A part that a look left out is missing; one that could not be seen is in `unknown`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FactsRecord {
    at_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail_at_ns: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    sparse: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<FilesRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<ProcessesRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listeners: Option<Vec<ListenerRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<SocketsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp: Option<UdpRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp_sockets: Option<Vec<UdpSocketRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conntrack: Option<ConntrackRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elsewhere: Option<ElsewhereRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    softnet: Option<SoftnetRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroups: Option<Vec<CgroupRecord>>,
    /// By part: why it could not be seen.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unknown: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct FilesRecord {
    allocated: u64,
    max: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ProcessesRecord {
    worst: Vec<ProcessRecord>,
    seen: usize,
    denied: usize,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ProcessRecord {
    pid: u32,
    comm: String,
    open: u64,
    soft: u64,
    hard: u64,
    #[serde(skip_serializing_if = "is_default")]
    watched: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ListenerRecord {
    addr: IpAddr,
    port: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    queue: u32,
    backlog: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drops: Option<u32>,
    #[serde(default)]
    inode: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<HolderRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oldest_wait_ms: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct UdpRecord {
    mem_pages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_errors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcvbuf_errors: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ConntrackRecord {
    count: u64,
    max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SoftnetRecord {
    cpus: u64,
    processed: u64,
    dropped: u64,
    squeezed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct CgroupRecord {
    path: String,
    sock: u64,
    current: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    max_events: u64,
    oom_kills: u64,
}

/// What the host sets at boot: part of the run, not of a sample.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::recording) struct SettingsRecord {
    lines: Vec<LineRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LineRecord {
    file: String,
    line: usize,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// Puts away why a part is not known, if it was looked at.
fn told<T, R>(
    part: &Known<T>,
    name: &str,
    unknown: &mut BTreeMap<String, String>,
    record: impl FnOnce(&T) -> R,
) -> Option<R> {
    match part {
        Ok(part) => Some(record(part)),
        Err(why) => {
            if !why.is_not_looked_at() {
                unknown.insert(name.to_owned(), why.0.clone());
            }
            None
        }
    }
}

impl FactsRecord {
    /// Kernel, memory, settings and whether it is the first namespace hold for a whole run, and
    /// gauges are told beside: they are not in it.
    pub(super) fn of(facts: &Facts) -> Self {
        let unknown = &mut BTreeMap::new();
        let record = Self {
            at_ns: facts.at.0,
            detail_at_ns: facts.detail_at.map(|at| at.0),
            sparse: facts.sparse,
            sysctls: facts.sysctls.clone(),
            changes: facts.changes.iter().map(ChangeRecord::of).collect(),
            files: told(&facts.files, "files", unknown, |files| FilesRecord {
                allocated: files.allocated,
                max: files.max,
            }),
            processes: told(&facts.processes, "processes", unknown, ProcessesRecord::of),
            listeners: told(&facts.listeners, "listeners", unknown, |listeners| {
                listeners.iter().map(ListenerRecord::of).collect()
            }),
            sockets: told(&facts.sockets, "sockets", unknown, SocketsRecord::of),
            udp: told(&facts.udp, "udp", unknown, |udp| UdpRecord {
                mem_pages: udp.mem.0,
                mem_errors: udp.mem_errors,
                rcvbuf_errors: udp.rcvbuf_errors,
            }),
            udp_sockets: told(&facts.udp_sockets, "udp_sockets", unknown, |sockets| {
                sockets.iter().map(UdpSocketRecord::of).collect()
            }),
            conntrack: told(&facts.conntrack, "conntrack", unknown, |tracked| ConntrackRecord {
                count: tracked.count,
                max: tracked.max,
                dropped: tracked.dropped,
            }),
            elsewhere: told(&facts.elsewhere, "elsewhere", unknown, ElsewhereRecord::of),
            softnet: told(&facts.softnet, "softnet", unknown, |softnet| SoftnetRecord {
                cpus: softnet.cpus,
                processed: softnet.processed,
                dropped: softnet.dropped,
                squeezed: softnet.squeezed,
                backlog: softnet.backlog,
            }),
            cgroups: told(&facts.cgroups, "cgroups", unknown, |cgroups| {
                cgroups.iter().map(CgroupRecord::of).collect()
            }),
            unknown: BTreeMap::new(),
        };
        Self { unknown: std::mem::take(unknown), ..record }
    }

    pub(super) fn into_facts(self) -> Facts {
        let mut facts = Facts::unseen(Monotonic(self.at_ns), &Unknown::not_looked_at());
        facts.detail_at = self.detail_at_ns.map(Monotonic);
        facts.sparse = self.sparse;
        facts.sysctls = self.sysctls;
        facts.changes = self.changes.into_iter().map(ChangeRecord::into_change).collect();
        let why = |name: &str| self.unknown.get(name).cloned().map(Unknown);
        facts.files =
            known(self.files, why("files"), |it| FileNr { allocated: it.allocated, max: it.max });
        facts.processes = known(self.processes, why("processes"), ProcessesRecord::into_processes);
        facts.listeners = known(self.listeners, why("listeners"), |it| {
            it.into_iter().map(ListenerRecord::into_listener).collect()
        });
        facts.sockets = known(self.sockets, why("sockets"), SocketsRecord::into_sockets);
        facts.udp = known(self.udp, why("udp"), |it| Udp {
            mem: Pages(it.mem_pages),
            mem_errors: it.mem_errors,
            rcvbuf_errors: it.rcvbuf_errors,
        });
        facts.udp_sockets = known(self.udp_sockets, why("udp_sockets"), |it| {
            it.into_iter().map(UdpSocketRecord::into_socket).collect()
        });
        facts.conntrack = known(self.conntrack, why("conntrack"), |it| Conntrack {
            count: it.count,
            max: it.max,
            dropped: it.dropped,
        });
        facts.elsewhere = known(self.elsewhere, why("elsewhere"), ElsewhereRecord::into_elsewhere);
        facts.softnet = known(self.softnet, why("softnet"), |it| Softnet {
            cpus: it.cpus,
            processed: it.processed,
            dropped: it.dropped,
            squeezed: it.squeezed,
            backlog: it.backlog,
        });
        facts.cgroups = known(self.cgroups, why("cgroups"), |it| {
            it.into_iter().map(CgroupRecord::into_cgroup).collect()
        });
        facts
    }
}

fn known<R, T>(record: Option<R>, why: Option<Unknown>, into: impl FnOnce(R) -> T) -> Known<T> {
    match (record, why) {
        (Some(record), _) => Ok(into(record)),
        (None, Some(why)) => Err(why),
        (None, None) => Err(Unknown::not_looked_at()),
    }
}

impl ProcessesRecord {
    fn of(processes: &Processes) -> Self {
        let worst = processes.worst.iter().map(|process| ProcessRecord {
            pid: process.pid,
            comm: process.comm.clone(),
            open: process.open,
            soft: process.soft,
            hard: process.hard,
            watched: process.watched,
        });
        Self { worst: worst.collect(), seen: processes.seen, denied: processes.denied }
    }

    fn into_processes(self) -> Processes {
        let worst = self.worst.into_iter().map(|record| ProcessFds {
            pid: record.pid,
            comm: record.comm,
            open: record.open,
            soft: record.soft,
            hard: record.hard,
            watched: record.watched,
        });
        Processes { worst: worst.collect(), seen: self.seen, denied: self.denied }
    }
}

impl ListenerRecord {
    fn of(listener: &Listener) -> Self {
        Self {
            addr: listener.local.ip(),
            port: listener.local.port(),
            queue: listener.queue,
            backlog: listener.backlog,
            drops: listener.drops,
            inode: listener.inode,
            owner: listener
                .owner
                .as_ref()
                .map(|(pid, comm)| OwnerRecord { pid: *pid, comm: comm.clone() }),
            holder: listener.holder.as_ref().map(HolderRecord::of),
            oldest_wait_ms: listener.oldest_wait_ms,
        }
    }

    fn into_listener(self) -> Listener {
        Listener {
            local: SocketAddr::new(self.addr, self.port),
            queue: self.queue,
            backlog: self.backlog,
            drops: self.drops,
            inode: self.inode,
            owner: self.owner.map(|owner| (owner.pid, owner.comm)),
            holder: self.holder.map(HolderRecord::into_holder),
            oldest_wait_ms: self.oldest_wait_ms,
        }
    }
}

impl CgroupRecord {
    fn of(cgroup: &CgroupMemory) -> Self {
        Self {
            path: cgroup.path.clone(),
            sock: cgroup.sock,
            current: cgroup.current,
            max: cgroup.max,
            max_events: cgroup.max_events,
            oom_kills: cgroup.oom_kills,
        }
    }

    fn into_cgroup(self) -> CgroupMemory {
        CgroupMemory {
            path: self.path,
            sock: self.sock,
            current: self.current,
            max: self.max,
            max_events: self.max_events,
            oom_kills: self.oom_kills,
        }
    }
}

impl SettingsRecord {
    pub(in crate::recording) fn of(settings: &Settings) -> Self {
        let lines = settings.lines.iter().map(|line| LineRecord {
            file: line.file.clone(),
            line: line.line,
            key: line.key.clone(),
            value: line.value.clone(),
        });
        Self {
            lines: lines.collect(),
            absent: settings.absent.iter().cloned().collect(),
            unreadable: settings.unreadable.clone(),
        }
    }

    pub(in crate::recording) fn into_settings(self) -> Settings {
        let lines = self.lines.into_iter().map(|record| SettingLine {
            file: record.file,
            line: record.line,
            key: record.key,
            value: record.value,
        });
        Settings {
            lines: lines.collect(),
            absent: self.absent.into_iter().collect(),
            unreadable: self.unreadable,
        }
    }
}
