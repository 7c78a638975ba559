//! What is known at the end of each interval, from the inputs of a run: live and from a trace alike.
//!
//! A [`Keeper`] for the observations of a run; for a trace that was recorded before there were any,
//! what sock_diag reported for the snapshots takes their place.

use super::keeper::Keeper;
use super::{Facts, Minisockets, Orphans, Sockets, Unknown};
use crate::event::{DiagSample, Direction, Input};
use crate::time::Monotonic;

/// Ports named of those that orphans are on.
const NAMED: usize = 5;

/// Takes the inputs of a run.
#[derive(Clone, Debug)]
pub struct Observer {
    keeper: Keeper,
    makes_do: Option<MakeDo>,
}

impl Observer {
    /// Begins with what holds for the whole run; everything else is unknown because of `never`
    /// until it is observed. See [`Keeper::new`].
    #[must_use]
    pub fn new(run: Facts, never: Unknown) -> Self {
        Self { keeper: Keeper::new(run, never), makes_do: None }
    }

    /// Where nothing was observed at all, because of `why`.
    #[must_use]
    pub fn blind(why: &Unknown) -> Self {
        Self::new(Facts::unseen(Monotonic(0), why), why.clone())
    }

    /// For a trace without observations: sockets are taken from what sock_diag reported for the
    /// snapshots. `has_minisockets`: every minisocket was counted (a filter passes only some).
    #[must_use]
    pub fn making_do(mut self, has_minisockets: bool) -> Self {
        self.makes_do = Some(MakeDo { has_minisockets, ..MakeDo::default() });
        self
    }

    /// Takes an input in; the end of an interval is [`Self::tick`].
    pub fn take(&mut self, input: &Input) {
        match input {
            Input::Gauges(gauges) => self.keeper.gauges(gauges.clone()),
            Input::Facts(facts) => self.keeper.look(Facts::clone(facts)),
            Input::Diag(sample) => {
                if let Some(makes_do) = &mut self.makes_do {
                    makes_do.sample = Some(sample.clone());
                }
            }
            Input::Event(_)
            | Input::Totals(_)
            | Input::OwnCost(_)
            | Input::Gap(_)
            | Input::Tick(_) => {}
        }
    }

    /// What is known at the end of an interval.
    pub fn tick(&mut self, at: Monotonic) -> Facts {
        if let Some(sockets) = self.makes_do.as_mut().and_then(MakeDo::sockets) {
            let unseen = Facts::unseen(at, &Unknown::not_looked_at());
            self.keeper.look(Facts { sockets: Ok(sockets), detail_at: Some(at), ..unseen });
        }
        self.keeper.tick(at)
    }
}

/// Of a trace without facts: what sock_diag reported for the snapshots.
#[derive(Clone, Debug, Default)]
struct MakeDo {
    has_minisockets: bool,
    sample: Option<DiagSample>,
    /// They are not counted every time.
    minisockets: Option<Minisockets>,
}

impl MakeDo {
    /// The sockets of an interval, if it has a sample.
    fn sockets(&mut self) -> Option<Sockets> {
        let not_recorded = || Unknown::because("not in this trace");
        let sample = self.sample.take()?;
        let mut orphans = Orphans::default();
        let mut minisockets =
            Minisockets { fin_wait2: sample.fin_wait2_minisockets, ..Minisockets::default() };
        for (service, seen) in &sample.services {
            orphans.count += seen.orphans;
            orphans.bytes += seen.orphan_bytes;
            if service.direction == Direction::In && seen.orphans > 0 {
                orphans.ports.push((service.port, seen.orphans));
            }
            let all = seen.time_wait + seen.fin_wait2_minisockets;
            match service.direction {
                Direction::In => minisockets.accepted += all,
                Direction::Out => minisockets.connecting += all,
            }
        }
        orphans.ports.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        orphans.ports.truncate(NAMED);
        if self.has_minisockets && sample.has_time_wait {
            self.minisockets = Some(minisockets);
        }
        Some(Sockets {
            orphans,
            half_open: Err(not_recorded()),
            minisockets: self.minisockets.ok_or_else(not_recorded),
            destinations: Err(not_recorded()),
            namespaces_denied: 0,
            causes: Err(not_recorded()),
        })
    }
}
