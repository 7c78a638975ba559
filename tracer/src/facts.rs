//! Facts: what a doctor looks at, at one moment, as plain data.
//!
//! It owns no conclusion: [`crate::diagnose`] draws them. A part that a kernel, a namespace or a
//! missing right does not tell is [`Unknown`] with the reason, never 0. The reader is
//! [`crate::source::facts`]; of observations that show a part each, [`keeper`] makes the whole, and
//! [`observer`] does so for the inputs of a run.

pub mod causes;
pub mod elsewhere;
pub mod keeper;
pub mod observer;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use self::causes::{Causes, HolderState, SettingChange, UdpSocket};
use self::elsewhere::Elsewhere;
pub use self::settings::{SettingLine, Settings};
use crate::gauges::{Bytes, Gauges, Pages};
use crate::time::Monotonic;

/// Why something is not known; lower case, for `not measured: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl Unknown {
    /// Not known because of that.
    pub fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// A look that left this part out: what was known of it before still holds.
    #[must_use]
    pub fn not_looked_at() -> Self {
        Self::because(NOT_LOOKED_AT)
    }

    /// Whether it is [`Self::not_looked_at`].
    #[must_use]
    pub fn is_not_looked_at(&self) -> bool {
        self.0 == NOT_LOOKED_AT
    }
}

const NOT_LOOKED_AT: &str = "not looked at";

/// A part that may be missing.
pub type Known<T> = Result<T, Unknown>;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// When.
    pub at: Monotonic,
    /// When the parts that cost much were looked at: descriptors, sockets, cgroups.
    pub detail_at: Option<Monotonic>,
    /// Whether of `listeners` and `processes` only those are told that are worth it, see
    /// [`Facts::thin`].
    pub sparse: bool,
    /// `uname -r`.
    pub kernel: String,
    /// Main memory of the host.
    pub memory: Known<Bytes>,
    /// What the kernel says about TCP.
    pub gauges: Known<Gauges>,
    /// Settings by name (`net.core.somaxconn`), white space made single blanks. Those that this
    /// kernel, namespace or user cannot see are missing. Of a look that a [`keeper::Keeper`] takes
    /// in: those that are not as at the beginning of the run.
    pub sysctls: BTreeMap<String, String>,
    /// Settings that changed since watching began, oldest first; at most
    /// [`causes::MOST_CHANGES`].
    pub changes: Vec<SettingChange>,
    /// Whether we are in the host's first network namespace: only there are its global settings
    /// visible. Not known without the right to look.
    pub first_netns: Option<bool>,
    /// Open files of the host.
    pub files: Known<FileNr>,
    /// Descriptors of processes.
    pub processes: Known<Processes>,
    /// Listeners of the namespace.
    pub listeners: Known<Vec<Listener>>,
    /// All other sockets.
    pub sockets: Known<Sockets>,
    /// UDP.
    pub udp: Known<Udp>,
    /// UDP sockets that dropped datagrams, of every namespace that could be asked, most first; at
    /// most [`causes::MOST_ROWS`].
    pub udp_sockets: Known<Vec<UdpSocket>>,
    /// Connection tracking of the namespace.
    pub conntrack: Known<Conntrack>,
    /// The other network namespaces, where no filter asks for one.
    pub elsewhere: Known<Elsewhere>,
    /// Packets that CPUs could not take in.
    pub softnet: Known<Softnet>,
    /// Memory of the cgroups that have sockets.
    pub cgroups: Known<Vec<CgroupMemory>>,
    /// What the host sets at boot.
    pub settings: Known<Settings>,
}

/// `/proc/sys/fs/file-nr` (`struct files_stat_struct`, fs/file_table.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileNr {
    /// Open files of all processes.
    pub allocated: u64,
    /// `fs.file-max`.
    pub max: u64,
}

/// Descriptors of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The few that use most of their limit, worst first.
    pub worst: Vec<ProcessFds>,
    /// How many were looked at.
    pub seen: usize,
    /// How many we may not look at.
    pub denied: usize,
}

/// Descriptors of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFds {
    /// Process id.
    pub pid: u32,
    /// Its name, chosen by itself.
    pub comm: String,
    /// Open descriptors.
    pub open: u64,
    /// `RLIMIT_NOFILE`, soft: `EMFILE` beyond it.
    pub soft: u64,
    /// `RLIMIT_NOFILE`, hard: how far the process may raise the soft one itself.
    pub hard: u64,
    /// Whether it is told however little of its limit it uses: it was asked about, or it holds many
    /// sockets that its peers have closed.
    pub watched: bool,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub local: SocketAddr,
    /// Connections that wait for `accept()`.
    pub queue: u32,
    /// How many may wait: `listen()`'s argument, at most `net.core.somaxconn` at that time. The
    /// queue is full when it is longer than that (`sk_acceptq_is_full`).
    pub backlog: u32,
    /// Connections it dropped since it listens (`sk_drops`, `tcp_listendrop`), where told.
    pub drops: Option<u32>,
    /// Its file's inode: tells listeners apart that share a port.
    pub inode: u64,
    /// Who holds it; filled in for the troubled ones only.
    pub owner: Option<(u32, String)>,
    /// What that process does; likewise.
    pub holder: Option<HolderState>,
    /// How long the oldest connection in the accept queues of this address is known to wait,
    /// milliseconds, at least: `accept()` takes the oldest first, so none took it since then.
    /// Listeners that share address and port (SO_REUSEPORT) have it of all their queues together.
    pub oldest_wait_ms: Option<u64>,
}

impl Listener {
    /// Whether somebody waits, or was dropped once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.queue > 0 || self.drops.is_some_and(|drops| drops > 0)
    }

    /// How full the queue is; 1 is full: it holds one more than the backlog.
    #[must_use]
    pub fn share(&self) -> f64 {
        f64::from(self.queue) / (f64::from(self.backlog) + 1.0)
    }
}

impl ProcessFds {
    /// The higher share of its limit goes first.
    #[must_use]
    pub fn worse_first(a: &Self, b: &Self) -> std::cmp::Ordering {
        // open/soft compared without dividing: u64 times u64 fits.
        let (left, right) =
            (u128::from(a.open) * u128::from(b.soft), u128::from(b.open) * u128::from(a.soft));
        right.cmp(&left).then_with(|| b.open.cmp(&a.open)).then_with(|| a.pid.cmp(&b.pid))
    }

    /// Whether it uses half of its limit, or more.
    #[must_use]
    pub const fn is_near(&self) -> bool {
        self.open >= self.soft / 2
    }
}

/// The sockets that do not listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// Orphans, of every namespace that could be asked.
    pub orphans: Orphans,
    /// Half-open connections of the namespace, by local port (the SYN queue).
    pub half_open: Known<BTreeMap<u16, u64>>,
    /// Minisockets of the namespace.
    pub minisockets: Known<Minisockets>,
    /// The destinations that hold most local ports, of the namespace, most first; a few.
    pub destinations: Known<Vec<Destination>>,
    /// Namespaces that could not be asked for orphans.
    pub namespaces_denied: usize,
    /// What all of them say about causes, of every namespace that could be asked.
    pub causes: Known<Causes>,
}

/// Orphans that sock_diag showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many.
    pub count: u64,
    /// Memory charged for them.
    pub bytes: u64,
    /// What they wait for; `None` where only their number and memory were told.
    pub waits: Option<Waits>,
    /// By local port, most first; a few.
    pub ports: Vec<(u16, u64)>,
}

/// What orphans wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Those that probe a closed window: their peer answers and reads nothing.
    pub probing: u64,
    /// Those that retransmit for want of an answer.
    pub retransmitting: u64,
    /// In LAST_ACK: the peer closed first.
    pub last_ack: u64,
}

/// Minisockets by who connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minisockets {
    /// Of connections that came to a listening port: they hold no port of their own.
    pub accepted: u64,
    /// Of connections that we made: each holds a local port.
    pub connecting: u64,
    /// Those of both in substate FIN_WAIT2.
    pub fin_wait2: u64,
}

/// Local ports used towards one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Our address.
    pub local: IpAddr,
    /// The destination.
    pub peer: SocketAddr,
    /// Distinct local ports in the range.
    pub ports: u64,
    /// Those of them that only TIME_WAIT holds.
    pub time_wait: u64,
}

/// UDP's memory and drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Memory charged on the whole host (`/proc/net/sockstat`).
    pub mem: Pages,
    /// Datagrams dropped because `udp_mem` was used up (`MemErrors`, since 5.14), of the namespace.
    pub mem_errors: Option<u64>,
    /// Datagrams dropped because a socket's buffer was full, of the namespace.
    pub rcvbuf_errors: Option<u64>,
}

/// Tracked connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries of the namespace.
    pub count: u64,
    /// `net.netfilter.nf_conntrack_max`.
    pub max: u64,
    /// Packets dropped for want of an entry, and entries thrown out early, since boot.
    pub dropped: Option<u64>,
}

/// `/proc/net/softnet_stat` (`softnet_seq_show`, net/core/net-procfs.c), summed over the CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    /// How many CPUs.
    pub cpus: u64,
    /// Packets taken in.
    pub processed: u64,
    /// Packets dropped because a CPU's backlog was full.
    pub dropped: u64,
    /// How often the softirq ran out of its budget with work left.
    pub squeezed: u64,
    /// Packets in the longest backlog now; kernels that tell (5.14).
    pub backlog: Option<u64>,
}

/// Memory of one cgroup2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Its path.
    pub path: String,
    /// Memory of its sockets (`sock` in `memory.stat`).
    pub sock: u64,
    /// All its memory (`memory.current`).
    pub current: u64,
    /// `memory.max`, or the tightest of those above it; `None` without any.
    pub max: Option<u64>,
    /// How often its memory hit `max`, and was OOM-killed for it (`memory.events`).
    pub max_events: u64,
    /// How often something in it was OOM-killed.
    pub oom_kills: u64,
}

impl CgroupMemory {
    /// How much of its limit it uses; little where it has none.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.current as f64 / self.max.unwrap_or(u64::MAX).max(1) as f64
    }
}

/// Listeners of one look that are kept: those nearest to their backlog.
pub const MOST_LISTENERS: usize = 512;
/// Cgroups of one look that are kept: those nearest to their limit.
pub const MOST_CGROUPS: usize = 64;

impl Facts {
    /// A look at that moment that saw nothing, for this reason.
    #[must_use]
    pub fn unseen(at: Monotonic, why: &Unknown) -> Self {
        Self {
            at,
            detail_at: None,
            sparse: false,
            kernel: String::new(),
            memory: Err(why.clone()),
            gauges: Err(why.clone()),
            sysctls: BTreeMap::new(),
            changes: Vec::new(),
            first_netns: None,
            files: Err(why.clone()),
            processes: Err(why.clone()),
            listeners: Err(why.clone()),
            sockets: Err(why.clone()),
            udp: Err(why.clone()),
            udp_sockets: Err(why.clone()),
            conntrack: Err(why.clone()),
            elsewhere: Err(why.clone()),
            softnet: Err(why.clone()),
            cgroups: Err(why.clone()),
            settings: Err(why.clone()),
        }
    }

    /// Bounds what is kept of this look, for looks that are kept by the thousand. Of one that is
    /// not thorough only listeners that somebody waits for or that have dropped somebody, and
    /// processes that use half of their limit: [`keeper::Keeper`] knows the others.
    pub fn thin(&mut self, thorough: bool) {
        self.sparse = !thorough;
        if let Ok(listeners) = &mut self.listeners {
            if !thorough {
                listeners.retain(Listener::is_busy);
            }
            if listeners.len() > MOST_LISTENERS {
                listeners.sort_by(|a, b| {
                    (b.share().total_cmp(&a.share())).then_with(|| b.drops.cmp(&a.drops))
                });
                listeners.truncate(MOST_LISTENERS);
            }
        }
        if let Ok(processes) = &mut self.processes
            && !thorough
        {
            processes.worst.retain(|process| process.is_near() || process.watched);
        }
        if let Ok(cgroups) = &mut self.cgroups {
            cgroups.sort_by(|a, b| b.share().total_cmp(&a.share()));
            cgroups.truncate(MOST_CGROUPS);
        }
    }

    /// A setting that is one number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.sysctls.get(name)?.parse().ok()
    }

    /// A setting that is several numbers.
    #[must_use]
    pub fn numbers<const N: usize>(&self, name: &str) -> Option<[u64; N]> {
        let numbers: Option<Vec<u64>> =
            self.sysctls.get(name)?.split(' ').map(|word| word.parse().ok()).collect();
        numbers?.try_into().ok()
    }

    /// Bytes a page; 4096 where not even that was told.
    #[must_use]
    pub fn page(&self) -> Bytes {
        match &self.gauges {
            Ok(gauges) if gauges.limits.page.0 > 0 => gauges.limits.page,
            _ => Bytes(4096),
        }
    }
}
