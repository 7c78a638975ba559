//! The live source: the programs' maps, the kernel's gauges and sock_diag, as [`Input`]s.
//!
//! Start: gauges first (counters are told since then), then the programs, then one dump of what
//! stood before. From then on a [`Live::sample`] an interval, and events in between.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracer_common::abi::{GROUP_OUTSIDE, SockRecord};
use tracer_common::counters::{Counter, GroupCounters, HostCounter, Loss};
use tracer_common::state::TcpState;

use super::Source;
use super::clock;
use super::diag_sampler::DiagSampler;
use super::gauges::{GaugeReader, Place};
use super::groups::{Groups, Places};
use super::own_cost::Meter;
use super::owner_checks::OwnerChecks;
use super::owners;
use super::sock_diag::Kind;
use crate::bpf::load::{Kernel, Options};
use crate::bpf::log::ProgramLog;
use crate::bpf::maps::{GroupOwner, Maps, is_under_pressure, orphans};
use crate::bpf::plan::Plan;
use crate::bpf::probes::Signal;
use crate::bpf::reconcile::{self, Living};
use crate::bpf::standing::{self, Base, StandingMinisocket, StandingOwner, StandingSocket};
use crate::event::{Direction, Fidelity, FidelityTable, Lost};
use crate::event::{Event, EventKind, Group, Input, Totals};
use crate::filter::Filter;
use crate::gauges::Gauges;
use crate::recording::narrow::Remaining;
use crate::time::Monotonic;

/// Time between two looks for sockets that went unseen.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);

/// A running trace.
pub struct Live {
    kernel: Kernel,
    maps: Maps,
    log: Option<ProgramLog>,
    groups: Groups,
    gauges: GaugeReader,
    first_gauges: Option<Gauges>,
    diag: DiagSampler,
    meter: Meter,
    places: Places,
    filter: Filter,
    /// What of the filter the programs do not apply.
    remaining: Option<Remaining>,
    began: Monotonic,
    /// Missed runs that the table has been held against sock_diag for.
    reconciled: u64,
    /// Program runs known to be lost.
    missed: Cell<u64>,
    /// Sockets that were found to be gone without anybody having seen it.
    gone_unseen: u64,
    reconcile_not_before: Instant,
    /// Since when we have had more orphans than the kernel.
    too_many_since: Option<Instant>,
    /// How the start went, for people.
    notes: Vec<String>,
}

impl Live {
    /// Loads the programs, attaches them and merges what stood before.
    ///
    /// # Errors
    ///
    /// See [`Kernel::load`]; or /proc or sock_diag cannot be read.
    pub fn start(options: &Options, filter: &Filter) -> Result<Self> {
        let place = match &filter.netns {
            Some((path, _)) => Place::Path(path.as_ref()),
            None => Place::Own,
        };
        let mut gauges = GaugeReader::open(place)?;
        let first_gauges = Some(gauges.sample());
        let meter = Meter::start().context("cannot read our own use of memory")?;
        let mut kernel = Kernel::load(options)?;
        if first_gauges.as_ref().and_then(|first| first.memory.pressure) == Some(true) {
            is_under_pressure(&mut kernel.ebpf)?;
        }
        let mut maps = Maps::take(&mut kernel.ebpf, kernel.room, kernel.config.last_shard)?;
        let log = options.verbose.then(|| ProgramLog::take(&mut kernel.ebpf)).transpose()?;
        let began = clock::now();
        let mut notes = Vec::new();
        if let Some(why) = kernel.without_cgroup2.as_ref().filter(|_| kernel.wants_cgroup2()) {
            notes.push(format!(
                "closes of sockets are concluded from their changes of state: {why}"
            ));
        }
        let mut diag = DiagSampler::open(filter)?;
        let base = if kernel.has_cookies {
            let (sockets, minisockets) = stood_before(&mut diag, &mut notes)?;
            let mut base = standing::merge(&mut maps, filter, &sockets)?;
            if kernel.plan.is_hooked(Signal::TimeWait) {
                standing::merge_minisockets(&mut maps, &mut base, filter, &minisockets)?;
            }
            base
        } else {
            notes.push(
                "sockets that stood before are not counted: this kernel's programs cannot ask for \
                 cookies (5.12), and no root of cgroup2 is here whose programs could"
                    .to_owned(),
            );
            Base::default()
        };
        // Where the programs cannot name an owner, nobody shall have one only for being searched for.
        let owner = kernel.plan.fidelity().get("owner").copied();
        let names_owners = owner.is_some_and(|owner| owner != Fidelity::Absent);
        let checks = OwnerChecks::new(
            kernel.has_cookies && names_owners && kernel.plan.is_hooked(Signal::AcceptOwner),
        );
        maps.end_merging(kernel.has_cookies)?;
        standing::sweep_tombstones(&mut maps)?;
        Ok(Self {
            kernel,
            maps,
            log,
            groups: Groups::new(base, checks, filter.names_owner()),
            filter: filter.clone(),
            gauges,
            first_gauges,
            diag,
            meter,
            places: Places::default(),
            remaining: Remaining::of(filter),
            began,
            reconciled: 0,
            missed: Cell::new(0),
            gone_unseen: 0,
            reconcile_not_before: Instant::now(),
            too_many_since: None,
            notes,
        })
    }

    /// Which hook each signal got.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.kernel.plan
    }

    /// After missed runs, or where we keep having more orphans than the kernel, takes out the records
    /// of sockets that are gone unseen. Costs two dumps, so not more often than every few seconds,
    /// unless it is for the last snapshot.
    fn reconcile(&mut self, thorough: bool) -> Result<()> {
        let missed = self.missed()?;
        let due = thorough || Instant::now() >= self.reconcile_not_before;
        let too_many =
            self.too_many_since.is_some_and(|since| thorough || since.elapsed() >= RECONCILE_EVERY);
        if (missed == self.reconciled && !too_many) || !due || !self.kernel.has_cookies {
            return Ok(());
        }
        let alive = self.living(&[])?;
        let suspects = reconcile::suspects(&self.maps, &alive)?;
        let minisockets = reconcile::mini_suspects(&self.maps, &alive)?;
        if !suspects.is_empty() || !minisockets.is_empty() {
            let alive = self.living(&suspects)?;
            let base = self.groups.base_mut();
            self.gone_unseen += reconcile::take_out(&mut self.maps, base, &suspects, &alive)?;
            self.gone_unseen +=
                reconcile::take_out_minisockets(&mut self.maps, base, &minisockets, &alive);
        }
        self.reconciled = missed;
        self.too_many_since = None;
        self.reconcile_not_before = Instant::now() + RECONCILE_EVERY;
        Ok(())
    }

    /// Notes since when we have more orphans than the kernel.
    fn compare(&mut self, totals: &Totals, gauges: &Gauges) {
        let counted = |group: &Group| group.counters.population(Counter::Orphans);
        let ours = totals.groups.iter().map(counted).sum::<u64>() + totals.orphans_outside;
        if gauges.sockets.orphan.is_none_or(|host| ours <= host) {
            self.too_many_since = None;
        } else {
            self.too_many_since.get_or_insert_with(Instant::now);
        }
    }

    /// All full sockets that can be seen now, and all minisockets or those of the suspects'.
    fn living(&mut self, suspects: &[(u64, SockRecord)]) -> Result<Living> {
        let suspects: HashSet<u64> = suspects.iter().map(|(cookie, _)| *cookie).collect();
        let all = self.kernel.plan.is_hooked(Signal::TimeWait);
        let mut alive = Living::default();
        alive.namespaces = self.diag.dump_all(|_, entry| {
            match entry.kind {
                Kind::Full => alive.cookies.insert(entry.cookie),
                Kind::Minisocket if all || suspects.contains(&entry.cookie) => {
                    alive.minisockets.insert(entry.cookie)
                }
                Kind::Minisocket | Kind::Request => false,
            };
        })?;
        alive.no_orphans = self.gauges.sample().sockets.orphan == Some(0);
        Ok(alive)
    }

    fn totals(&mut self) -> Result<Totals> {
        let groups = self.groups.read(&mut self.maps, &mut self.places)?;
        Ok(Totals {
            groups,
            orphans_outside: orphans(&self.groups.counters(&self.maps, GROUP_OUTSIDE)?),
            fin_wait1: self.maps.fin_wait1()?,
            minisockets: if self.kernel.plan.is_hooked(Signal::TimeWait) {
                Some(self.groups.minisockets(&self.maps)?)
            } else {
                None
            },
            reset_reasons: self.maps.reset_reasons(&self.kernel.reset_reasons)?,
            pressures: if self.kernel.plan.is_hooked(Signal::MemPressure) {
                Some(self.maps.host(HostCounter::PressureBegun)?)
            } else {
                None
            },
            lost: self.lost()?,
        })
    }

    /// Whether any socket has passed the filter, those that stood before among them.
    ///
    /// # Errors
    ///
    /// A map cannot be read any more.
    pub fn has_sockets(&mut self) -> Result<bool> {
        let groups = self.groups.read(&mut self.maps, &mut self.places)?;
        let passes = |group: &Group| {
            self.remaining.as_ref().is_none_or(|remaining| remaining.passes_group(group))
        };
        Ok(groups.iter().any(|group| group.counters != GroupCounters::default() && passes(group)))
    }

    /// The kernel's flag for TCP memory pressure now; `None` where it does not tell.
    pub fn pressure(&mut self) -> Option<bool> {
        self.gauges.sample().memory.pressure
    }

    /// What was lost so far.
    ///
    /// # Errors
    ///
    /// A map cannot be read any more.
    pub fn lost(&self) -> Result<Lost> {
        Ok(Lost {
            detail: self.maps.loss(Loss::Detail)?,
            untracked: self.maps.loss(Loss::Untracked)?
                + self.maps.loss(Loss::Minisockets)?
                + self.groups.untracked(),
            missed: self.missed()?,
            ungrouped: self.maps.loss(Loss::Ungrouped)? + self.groups.ungrouped(),
        })
    }

    /// Program runs that the kernel skipped and nobody made up for: as it counts them, or as the
    /// sockets themselves prove, where that is more.
    fn missed(&self) -> Result<u64> {
        // In this order, so that one just skipped is no loss for the moment until it is made up for;
        // never fewer than before, because some may be made up for between the two.
        let skipped = self.kernel.skipped_runs();
        let counted = skipped.saturating_sub(self.maps.loss(Loss::Caught)?);
        let proved = self.maps.loss(Loss::Gaps)? + self.gone_unseen;
        self.missed.set(self.missed.get().max(counted).max(proved));
        Ok(self.missed.get())
    }
}

impl Source for Live {
    fn began(&self) -> Monotonic {
        self.began
    }

    fn fidelity(&self) -> FidelityTable {
        self.kernel.plan.fidelity()
    }

    fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// `thorough`: sample sock_diag even if it was sampled shortly before.
    fn sample(&mut self, thorough: bool) -> Result<Vec<Input>> {
        let mut inputs = Vec::with_capacity(6);
        if let Some(first) = self.first_gauges.take() {
            inputs.push(Input::Gauges(first));
        }
        if self.kernel.has_cookies && (thorough || self.groups.checks.is_due()) {
            let Self { kernel, maps, diag, groups, filter, .. } = self;
            groups.checks.check(&mut kernel.ebpf, maps, diag, filter)?;
        }
        if thorough {
            let totals = self.totals()?;
            let gauges = self.gauges.sample();
            self.compare(&totals, &gauges);
        }
        self.reconcile(thorough)?;
        let totals = self.totals()?;
        // Right after the totals: the two are compared (drift).
        let gauges = self.gauges.sample();
        self.compare(&totals, &gauges);
        inputs.push(Input::Gauges(gauges));
        let listening: HashSet<u16> = totals
            .groups
            .iter()
            .filter(|group| group.service.direction == Direction::In)
            .map(|group| group.service.port)
            .collect();
        inputs.push(Input::Totals(totals));
        let minisockets = !self.kernel.plan.is_hooked(Signal::TimeWait);
        if let Some(sample) = self.diag.sample(&listening, minisockets, thorough) {
            inputs.push(Input::Diag(sample));
        }
        inputs.push(Input::OwnCost(self.meter.cost()));
        inputs.push(Input::Tick(clock::now()));
        Ok(match &mut self.remaining {
            Some(remaining) => remaining.inputs(inputs),
            None => inputs,
        })
    }

    fn drain(&mut self, most: usize, sink: &mut dyn FnMut(Event)) -> usize {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let Self { maps, groups, places, remaining, kernel, .. } = self;
        let mut passes = |group: &GroupOwner| {
            let Some(remaining) = remaining else { return true };
            remaining.passes_workload(places.workload(group).as_deref())
        };
        maps.drain_events(&mut groups.owners, &kernel.reset_reasons, most, |event, group| {
            // A beginning of memory pressure is nobody's, and the host's.
            if matches!(event.kind, EventKind::Pressure { .. }) || passes(group) {
                sink(event);
            }
        })
    }
}

/// Dumps all sockets and finds who holds them; minisockets are nobody's.
fn stood_before(
    diag: &mut DiagSampler,
    notes: &mut Vec<String>,
) -> Result<(Vec<StandingSocket>, Vec<StandingMinisocket>)> {
    let mut sockets = Vec::new();
    let mut minisockets = Vec::new();
    let mut inodes = Vec::new();
    let mut cgroup_of = Vec::new();
    let asked = diag.dump_all(|netns, entry| {
        let identity = entry.identity(netns);
        if entry.kind == Kind::Minisocket {
            let (cookie, substate) = (entry.cookie, entry.state);
            minisockets.push(StandingMinisocket { cookie, substate, identity });
        }
        // Half-open connections are no sockets yet.
        if entry.kind != Kind::Full || entry.state == TcpState::Close {
            return;
        }
        sockets.push(StandingSocket {
            cookie: entry.cookie,
            state: entry.state,
            identity,
            orphan: entry.is_orphan(),
            owner: None,
        });
        inodes.push(entry.inode);
        cgroup_of.push(entry.cgroup_id.unwrap_or(0));
    })?;
    let refused = super::namespaces::list()?
        .found
        .iter()
        .filter(|namespace| !asked.contains(&namespace.inum))
        .count();
    if refused > 0 {
        notes.push(format!(
            "{refused} network namespaces cannot be entered: what stood there before is not counted"
        ));
    }
    let wanted: HashSet<u64> = inodes.iter().copied().filter(|inode| *inode != 0).collect();
    let holders = if wanted.is_empty() {
        HashMap::new()
    } else {
        let found = owners::find(&wanted, owners::Search::FirstHolder)
            .context("cannot search /proc for the owners of sockets")?;
        if found.denied > 0 {
            notes.push(format!(
                "the sockets of {} processes have no owner: their descriptors may not be read",
                found.denied
            ));
        }
        found.by_inode
    };
    for ((socket, inode), cgroup) in sockets.iter_mut().zip(&inodes).zip(&cgroup_of) {
        socket.owner = holders.get(inode).map(|holder| StandingOwner {
            pid: holder.pid,
            start_ticks: holder.start_ticks as u32,
            comm: holder.comm.clone(),
            cgroup: *cgroup,
        });
    }
    Ok((sockets, minisockets))
}

/// How long [`Live::drain`] may be left alone before the ring of the usual size could fill.
pub const DRAIN_EVERY: Duration = Duration::from_millis(50);
