//! The source that needs no BPF: sock_diag and /proc, looked at once an interval.
//!
//! It knows what there is when it looks, and nothing of what happens in between: populations and
//! gauges, no totals. What it cannot know is not said as 0: [`fidelity`] marks it, and
//! [`Source::unseen`] puts it into words. It works without any privilege, and then sees the sockets
//! of its own network namespace, and owners among its own user's processes.
//!
//! A look costs the kernel a walk through its whole hash table for every namespace, and finding
//! owners a walk through all descriptors; both are bounded to a share of the time.

mod look;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::thread::{CapabilitySet, capabilities};
use tracer_common::state::TcpState;

use super::clock::now;
use super::diag_sampler::Drops;
use super::gauges::{GaugeReader, Place};
use super::groups::Places;
use super::own_cost::{CpuTimer, Meter};
use super::owners::{self, Holder, Search};
use super::sock_diag::{SockDiag, StateMask};
use super::{Source, namespaces, processes};
use crate::bpf::probes::Signal;
use crate::error::Failure;
use crate::event::{DiagSample, Event, Fidelity, FidelityTable, Group, Input, Owner, Totals};
use crate::filter::Filter;
use crate::gauges::Gauges;
use crate::recording::narrow::Remaining;
use crate::time::Monotonic;
use look::{Drawn, Known, Look, Part};

/// Share of a CPU that looks may take: one in this many.
const LOOK_SHARE: u32 = 10;
/// The same for the search for owners, which is slower and keeps longer.
const SEARCH_SHARE: u32 = 20;

/// A host that is looked at.
#[derive(Debug)]
pub struct Sampled {
    own: SockDiag,
    own_inum: u32,
    /// Opened in the namespace that is asked for, if it is another: so it stays, whoever leaves it.
    there: Option<SockDiag>,
    /// The namespace whose gauges are read.
    watched: u32,
    filter: Arc<Filter>,
    gauges: GaugeReader,
    first_gauges: Option<Gauges>,
    meter: Meter,
    places: Places,
    /// What of the filter is not applied to sockets one by one.
    remaining: Option<Remaining>,
    began: Monotonic,
    /// Ports somebody listens on, or did when the connections were accepted that still stand.
    listened: HashSet<(u32, u16)>,
    drops: Drops,
    /// Who held the sockets at the last search, by inode.
    holders: HashMap<u64, Arc<Holder>>,
    /// Who held the sockets that were there at the last look, by cookie: whose an orphan is.
    known: HashMap<u64, Known>,
    look_not_before: Instant,
    search_not_before: Instant,
    /// What the last look came to, until it is told.
    seen: Option<(Totals, DiagSample)>,
    unseen: Vec<String>,
    privileges: CapabilitySet,
}

/// How far each signal can be trusted where nothing is hooked.
#[must_use]
pub fn fidelity() -> FidelityTable {
    Signal::ALL.into_iter().map(|signal| (signal.name(), worth(signal))).collect()
}

/// What looking from time to time gives of a signal.
const fn worth(signal: Signal) -> Fidelity {
    match signal {
        // How many there are.
        Signal::State
        | Signal::OrphanBegin
        | Signal::OrphanEnd
        | Signal::TimeWait
        // /proc/net/protocols, and TcpExt's TCPMemoryPressures.
        | Signal::MemPressure
        // TcpExt's ListenOverflows.
        | Signal::AcceptOverflow
        | Signal::ListenDrops
        // /proc/PID/fd.
        | Signal::Owner
        | Signal::AcceptOwner => Fidelity::Sampled,
        Signal::EndReason
        | Signal::ResetIn
        | Signal::ResetOut
        | Signal::ResetReason
        | Signal::TimeWaitEnd
        | Signal::MemRefused => Fidelity::Absent,
    }
}

/// What no look can show.
const UNSEEN: [&str; 4] = [
    "what comes and goes between two looks: connections opened and closed, orphans begun, resets",
    "how orphans and minisockets end, and how long FIN-WAIT-1 takes",
    "memory refused to sockets; at which listener an accept queue was full",
    "who closed an orphan: whoever held it at the look before stands for that",
];

impl Sampled {
    /// Opens everything and looks for the first time.
    ///
    /// # Errors
    ///
    /// There is no sock_diag or no /proc, or the namespace asked for cannot be entered.
    pub fn start(filter: &Filter) -> Result<Self> {
        let own_inum = namespaces::own_inum().context("cannot tell our network namespace")?;
        let elsewhere = filter.netns.as_ref().filter(|(_, netns)| *netns != own_inum);
        let place = elsewhere.map_or(Place::Own, |(path, _)| Place::Path(path.as_ref()));
        let mut gauges = GaugeReader::open(place).map_err(|error| cannot_look(error, elsewhere))?;
        let first = gauges.sample();
        let there = elsewhere.map(|(path, _)| SockDiag::open_in(path.as_ref())).transpose();
        let mut this = Self {
            own: SockDiag::open().map_err(|error| cannot_look(error, None))?,
            own_inum,
            there: there.map_err(|error| cannot_look(error, elsewhere))?,
            watched: elsewhere.map_or(own_inum, |(_, netns)| *netns),
            filter: Arc::new(filter.clone()),
            gauges,
            first_gauges: None,
            meter: Meter::start().context("cannot read our own use of memory")?,
            places: Places::default(),
            remaining: Remaining::of(filter),
            began: now(),
            listened: HashSet::new(),
            drops: Drops::default(),
            holders: HashMap::new(),
            known: HashMap::new(),
            look_not_before: Instant::now(),
            search_not_before: Instant::now(),
            seen: None,
            unseen: UNSEEN.map(str::to_owned).to_vec(),
            privileges: capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
        };
        let looked = this.look(true).map_err(|error| cannot_look(error, elsewhere))?;
        this.unseen.extend(hidden(filter, this.privileges, &looked, &first));
        this.first_gauges = Some(first);
        Ok(this)
    }

    /// Looks at all sockets and, if it may, for their owners.
    fn look(&mut self, thorough: bool) -> Result<Looked> {
        let timer = CpuTimer::start();
        let mut looked = Looked::default();
        let filter = Arc::clone(&self.filter);
        let watched = self.watched;
        let new = |listened: &HashSet<_>| Look::new(&filter, watched, listened.clone());
        let mut look = new(&self.listened);
        if let Err(error) = self.ask_kept(&filter, &mut look) {
            self.reopen()?;
            look = new(&self.listened);
            self.ask_kept(&filter, &mut look)
                .with_context(|| format!("cannot list TCP sockets (first {error})"))?;
        }
        for (path, netns) in self.others() {
            let asked = SockDiag::open_in(&path)
                .and_then(|mut diag| Ok(ask(&mut diag, netns, &filter, &mut look)?));
            looked.namespaces_refused += usize::from(asked.is_err());
        }
        self.look_not_before = Instant::now() + timer.used() * LOOK_SHARE;
        self.search(&look, thorough, &mut looked)?;
        let drawn = look.draw(&self.holders, &mut self.known, &mut self.drops);
        self.seen = Some(self.told(drawn));
        Ok(looked)
    }

    /// Our own namespace, and the one that is asked for.
    fn ask_kept(&mut self, filter: &Filter, look: &mut Look<'_>) -> std::io::Result<()> {
        ask(&mut self.own, self.own_inum, filter, look)?;
        match &mut self.there {
            Some(there) => ask(there, self.watched, filter, look),
            None => Ok(()),
        }
    }

    /// Of a socket whose dump failed the kernel may think that it still runs.
    fn reopen(&mut self) -> Result<()> {
        self.own = SockDiag::open()?;
        if let (Some(there), Some((path, _))) = (&mut self.there, &self.filter.netns)
            && let Ok(again) = SockDiag::open_in(path.as_ref())
        {
            *there = again;
        }
        Ok(())
    }

    /// All other namespaces that can be named, if they may be entered.
    fn others(&self) -> Vec<(PathBuf, u32)> {
        if !self.privileges.contains(CapabilitySet::SYS_ADMIN) {
            return Vec::new();
        }
        let found = namespaces::list().map(|list| list.found).unwrap_or_default();
        let kept = [self.own_inum, self.watched];
        let others = found.into_iter().filter(|namespace| !kept.contains(&namespace.inum));
        others.map(|namespace| (namespace.path, namespace.inum)).collect()
    }

    fn search(&mut self, look: &Look<'_>, thorough: bool, looked: &mut Looked) -> Result<()> {
        let wanted = look.inodes();
        if wanted.is_empty() || !(thorough || Instant::now() >= self.search_not_before) {
            return Ok(());
        }
        let timer = CpuTimer::start();
        let found = owners::find(&wanted, Search::FirstHolder)
            .context("cannot search /proc for the owners of sockets")?;
        looked.processes_denied = found.denied;
        self.holders =
            found.by_inode.into_iter().map(|(inode, holder)| (inode, Arc::new(holder))).collect();
        self.search_not_before = Instant::now() + timer.used() * SEARCH_SHARE;
        Ok(())
    }

    fn told(&mut self, drawn: Drawn) -> (Totals, DiagSample) {
        self.listened = drawn.listened;
        let groups = drawn.parts.into_iter().map(|part| self.group(part)).collect();
        let totals = Totals { groups, orphans_outside: drawn.orphans_outside, ..Totals::default() };
        (totals, drawn.sample)
    }

    fn group(&mut self, part: Part) -> Group {
        let running = part.holder.as_ref().and_then(|holder| {
            let process = processes::process(holder.pid).ok()?;
            (process.running && process.start_ticks == holder.start_ticks).then_some(process)
        });
        let alive = running.is_some();
        let owner = part.holder.as_ref().map(|holder| Owner {
            pid: holder.pid,
            comm: running.map_or_else(|| holder.comm.clone(), |process| process.comm),
        });
        let start_ticks = part.holder.map_or(0, |holder| holder.start_ticks as u32);
        let process = (owner.as_ref().map_or(0, |owner| owner.pid), start_ticks);
        let cgroup = self.places.path(part.cgroup);
        Group {
            service: part.service,
            owner,
            owner_start_ticks: start_ticks,
            workload: self.places.workloads.beyond(process, alive, cgroup.as_deref()),
            cgroup,
            alive,
            unchecked: 0,
            counters: part.counters,
        }
    }
}

impl Source for Sampled {
    fn began(&self) -> Monotonic {
        self.began
    }

    fn fidelity(&self) -> FidelityTable {
        fidelity()
    }

    fn unseen(&self) -> Vec<String> {
        self.unseen.clone()
    }

    fn take_notes(&mut self) -> Vec<String> {
        let first =
            "sampled, without BPF: numbers are those of the moments it looked at".to_owned();
        let unseen = self.unseen.iter().map(|unseen| format!("not seen: {unseen}"));
        std::iter::once(first).chain(unseen).collect()
    }

    fn sample(&mut self, thorough: bool) -> Result<Vec<Input>> {
        let mut inputs = Vec::with_capacity(6);
        if let Some(first) = self.first_gauges.take() {
            inputs.push(Input::Gauges(first));
        }
        // What the start saw need not be looked at again.
        if self.seen.is_none() && (thorough || Instant::now() >= self.look_not_before) {
            self.look(thorough)?;
        }
        // Right after the look: the two are compared (drift).
        inputs.push(Input::Gauges(self.gauges.sample()));
        if let Some((totals, sample)) = self.seen.take() {
            inputs.push(Input::Totals(totals));
            inputs.push(Input::Diag(sample));
        }
        inputs.push(Input::OwnCost(self.meter.cost()));
        inputs.push(Input::Tick(now()));
        Ok(match &mut self.remaining {
            Some(remaining) => remaining.inputs(inputs),
            None => inputs,
        })
    }

    fn drain(&mut self, _: usize, _: &mut dyn FnMut(Event)) -> usize {
        0
    }
}

/// What the first look met with.
#[derive(Debug, Default)]
struct Looked {
    namespaces_refused: usize,
    processes_denied: usize,
}

/// Listeners first: they tell which connections were accepted.
fn ask(
    diag: &mut SockDiag,
    netns: u32,
    filter: &Filter,
    look: &mut Look<'_>,
) -> std::io::Result<()> {
    let wanted = filter.netns.as_ref().is_none_or(|(_, only)| *only == netns);
    if !wanted {
        // Orphans anywhere count towards the host's limit.
        diag.dump(StateMask::ORPHANS, false, |entry| look.socket(netns, entry))?;
        return Ok(());
    }
    diag.dump(StateMask::of(&[TcpState::Listen]), true, |entry| look.listener(netns, entry))?;
    diag.dump(REST, true, |entry| look.socket(netns, entry))?;
    Ok(())
}

/// Everything that is a connection, or what is left of one.
const REST: StateMask = StateMask::of(&[
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Established,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::TimeWait,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::Closing,
]);

/// What this process in particular is not shown, and why.
fn hidden(
    filter: &Filter,
    privileges: CapabilitySet,
    looked: &Looked,
    first: &Gauges,
) -> Vec<String> {
    let mut hidden = Vec::new();
    if looked.processes_denied > 0 || !privileges.contains(CapabilitySet::SYS_PTRACE) {
        hidden.push("whose the sockets of other users' processes are (CAP_SYS_PTRACE)".to_owned());
    }
    if looked.namespaces_refused > 0 || !privileges.contains(CapabilitySet::SYS_ADMIN) {
        hidden.push(
            "the sockets of other network namespaces (CAP_SYS_ADMIN); their orphans show as drift"
                .to_owned(),
        );
    }
    if first.limits.max_orphans.is_none() || first.limits.tcp_mem.is_none() {
        hidden.push("the host's limits: they read as 0 in this network namespace".to_owned());
    }
    if filter.names_owner() {
        hidden.push(
            "orphans and minisockets whose process was gone before it was looked at: the filter \
             on it keeps them out"
                .to_owned(),
        );
    }
    hidden
}

/// This host, or that namespace, cannot even be looked at.
fn cannot_look(error: anyhow::Error, elsewhere: Option<&(String, u32)>) -> anyhow::Error {
    match elsewhere {
        Some((path, _)) if !Path::new(path).exists() => error,
        Some(_) => error.context(
            Failure::environment("cannot look into that network namespace")
                .hint("run it as root: `sudo sockflow top --sampled …`"),
        ),
        None => error.context(
            Failure::environment("cannot look at this host's sockets")
                .hint("see whether others can: `ss -tan`"),
        ),
    }
}
