//! The part of a trace that a filter lets through, told as a recording with that filter had told it.
//!
//! Events are tested one by one. Totals are kept by service and process, so whole groups stay or
//! go; the orphans of those that go are counted outside the filter, because `drift` is the host's.
//! What [`Filter::beyond_totals`] names cannot be tested of groups and must not be asked of them.
//! Nothing is looked up on this host.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use anyhow::Result;
use tracer_common::counters::{Counter, GroupCounters};

use super::{Checkpoint, Gap, Sink, Trace, Want};
use crate::event::{DiagSample, Direction, Event, Group, Input, Service, Totals};
use crate::filter::{Filter, SocketIdentity};

/// Owners of one cgroup that are told apart.
const MOST_MEMBERS: usize = 1 << 20;

/// A filter for one trace. The default lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    filter: Filter,
    members: Arc<Members>,
}

/// Who was in the cgroup that the filter names: events name their owner, and only totals name the
/// owner's cgroup.
#[derive(Debug, Default)]
struct Members {
    inside: HashSet<(u32, String)>,
    outside: HashSet<(u32, String)>,
    uncounted: u64,
}

impl Narrowing {
    /// `filter` for events and totals of `trace`. Where it names a cgroup, reads all totals once.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn new(filter: Filter, trace: &Trace) -> Result<Self> {
        let mut members = Members::default();
        if let Some((path, _)) = &filter.cgroup {
            let mut seeking = Seeking { path, members: &mut members };
            let mut cursor = trace.start();
            while trace.read(&mut cursor, Want::NoEvents, &mut seeking)? {}
        }
        Ok(Self { filter, members: Arc::new(members) })
    }

    /// The filter.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether everything is let through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filter.is_empty()
    }

    /// What is less sure than it looks, in words.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let Members { inside, outside, uncounted } = &*self.members;
        let moved = inside.intersection(outside).count();
        if moved > 0 {
            doubts.push(format!(
                "processes that moved between cgroups: {moved}; their events are let through \
                 wherever they were at the time"
            ));
        }
        if *uncounted > 0 {
            doubts.push(format!(
                "the cgroup had more than {MOST_MEMBERS} processes; events of the others are left \
                 out"
            ));
        }
        doubts
    }

    /// Whether an event is let through.
    #[must_use]
    pub fn passes(&self, event: &Event) -> bool {
        if self.is_empty() {
            return true;
        }
        let socket = SocketIdentity {
            local_port: event.local.1,
            peer_port: event.peer.1,
            peer: event.peer.0,
            is_ipv6: event.peer.0.is_ipv6(),
            netns: event.netns,
        };
        if !self.filter.passes_socket(&socket) {
            return false;
        }
        let owner = event.owner.as_deref();
        let cgroup = self.filter.cgroup.as_ref().and_then(|(path, _)| {
            let known = owner.map(|owner| (owner.pid, owner.comm.clone()));
            known.filter(|known| self.members.inside.contains(known)).map(|_| path.as_str())
        });
        let owner = owner.map(|owner| (owner.pid, owner.comm.as_str()));
        self.filter.passes_recorded_owner(owner, cgroup)
    }

    /// Whether sockets of a service are let through, their owner aside.
    #[must_use]
    pub fn passes_service(&self, service: Service) -> bool {
        self.filter.passes_service(service.port, service.direction == Direction::In)
    }

    fn passes_group(&self, group: &Group) -> bool {
        let owner = group.owner.as_ref().map(|owner| (owner.pid, owner.comm.as_str()));
        self.passes_service(group.service)
            && self.filter.passes_recorded_owner(owner, group.cgroup.as_deref())
    }
}

/// Finds who was in a cgroup.
struct Seeking<'a> {
    path: &'a str,
    members: &'a mut Members,
}

impl Sink for Seeking<'_> {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        let Input::Totals(totals) = input else { return };
        for group in totals.groups {
            let Some(owner) = group.owner else { continue };
            let inside = group.cgroup.as_deref() == Some(self.path);
            let Members { inside: within, outside, uncounted } = &mut *self.members;
            let of = if inside { within } else { outside };
            if of.len() < MOST_MEMBERS {
                of.insert((owner.pid, owner.comm));
            } else if inside {
                *uncounted += 1;
            }
        }
    }
}

/// Stands before another sink and lets through what a filter lets through.
pub struct Narrowed<'a> {
    by: &'a Narrowing,
    /// Services of which the last totals had something, where the filter asks for owners: what is
    /// counted by service alone is then of interest for those only.
    services: &'a mut BTreeSet<Service>,
    to: &'a mut dyn Sink,
}

impl<'a> Narrowed<'a> {
    /// `services` is this sink's memory from one call to the next; empty at first.
    pub fn new(
        by: &'a Narrowing,
        services: &'a mut BTreeSet<Service>,
        to: &'a mut dyn Sink,
    ) -> Self {
        Self { by, services, to }
    }

    fn lets(&self, service: Service) -> bool {
        self.by.passes_service(service)
            && (!self.by.filter.names_owner() || self.services.contains(&service))
    }

    fn totals(&mut self, totals: &mut Totals) {
        let mut outside = GroupCounters::default();
        totals.groups.retain(|group| {
            let passes = self.by.passes_group(group);
            if !passes {
                outside.merge(&group.counters);
            }
            passes
        });
        totals.orphans_outside =
            totals.orphans_outside.saturating_add(outside.population(Counter::Orphans));
        *self.services = totals.groups.iter().map(|group| group.service).collect();
        totals.fin_wait1.retain(|service, _| self.lets(*service));
        totals.reset_reasons.retain(|service, _| self.lets(*service));
        if let Some(minisockets) = &mut totals.minisockets {
            minisockets.retain(|service, _| self.lets(*service));
        }
    }

    fn diag(&self, sample: &mut DiagSample) {
        sample.services.retain(|service, _| self.lets(*service));
    }
}

impl Sink for Narrowed<'_> {
    fn event(&mut self, number: u64, event: &Event) {
        if self.by.passes(event) {
            self.to.event(number, event);
        }
    }

    fn input(&mut self, mut input: Input) {
        match &mut input {
            Input::Totals(totals) => self.totals(totals),
            Input::Diag(sample) => self.diag(sample),
            _ => {}
        }
        self.to.input(input);
    }

    /// A checkpoint is the state of a fold that was told everything.
    fn checkpoint(&mut self, _: Checkpoint) {}

    fn gap(&mut self, gap: &Gap) {
        self.to.gap(gap);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::event;
    use super::*;
    use crate::event::{DiagService, Minisockets, Owner};

    fn group(port: u16, direction: Direction, pid: u32, cgroup: &str, orphans: u64) -> Group {
        let mut counters = GroupCounters::default();
        counters.words[Counter::Orphans as usize] = orphans;
        Group {
            service: Service { port, direction },
            owner: Some(Owner { pid, comm: format!("of-{pid}") }),
            owner_start_ticks: 1,
            cgroup: Some(cgroup.to_owned()),
            alive: true,
            counters,
        }
    }

    fn totals() -> Totals {
        let groups = vec![
            group(80, Direction::In, 7, "/web", 1),
            group(80, Direction::In, 8, "/other", 2),
            group(443, Direction::Out, 7, "/web", 4),
            group(5432, Direction::In, 9, "/db", 8),
        ];
        let services = groups.iter().map(|group| group.service);
        let minisockets =
            services.map(|it| (it, Minisockets { standing: 1, ..Default::default() }));
        Totals {
            minisockets: Some(minisockets.collect()),
            groups,
            orphans_outside: 16,
            ..Totals::default()
        }
    }

    #[derive(Default)]
    struct Told(Vec<Input>, Vec<u64>);

    impl Sink for Told {
        fn event(&mut self, number: u64, _: &Event) {
            self.1.push(number);
        }

        fn input(&mut self, input: Input) {
            self.0.push(input);
        }
    }

    fn narrowed(filter: Filter) -> (Totals, DiagSample) {
        let by = Narrowing { filter, ..Narrowing::default() };
        let (mut told, mut services) = (Told::default(), BTreeSet::new());
        let mut sink = Narrowed::new(&by, &mut services, &mut told);
        let seen = totals().groups.iter().map(|it| (it.service, DiagService::default())).collect();
        sink.input(Input::Totals(totals()));
        sink.input(Input::Diag(DiagSample { services: seen, ..DiagSample::default() }));
        match <[Input; 2]>::try_from(told.0).unwrap() {
            [Input::Totals(totals), Input::Diag(diag)] => (totals, diag),
            other => panic!("{other:?}"),
        }
    }

    fn ports<T>(services: &BTreeMap<Service, T>) -> Vec<u16> {
        services.keys().map(|service| service.port).collect()
    }

    #[test]
    fn whole_groups_stay_or_go_and_no_orphan_is_lost() {
        let all = 1 + 2 + 4 + 8 + 16;
        for (filter, orphans, services) in [
            (Filter { ports: vec![80], ..Filter::default() }, 3, vec![80]),
            (Filter { peer_ports: vec![443], ..Filter::default() }, 4, vec![443]),
            (Filter { pid: Some(7), ..Filter::default() }, 5, vec![80, 443]),
            (Filter { comm: Some("of-9".into()), ..Filter::default() }, 8, vec![5432]),
            (Filter { cgroup: Some(("/other".into(), 0)), ..Filter::default() }, 2, vec![80]),
            (Filter { ports: vec![443], ..Filter::default() }, 0, vec![]),
            (Filter { ports: vec![80], pid: Some(9), ..Filter::default() }, 0, vec![]),
        ] {
            let words = filter.describe();
            let (totals, diag) = narrowed(filter);
            let mut inside = GroupCounters::default();
            totals.groups.iter().for_each(|group| inside.merge(&group.counters));
            assert_eq!(inside.population(Counter::Orphans), orphans, "{words}");
            assert_eq!(totals.orphans_outside, all - orphans, "{words}");
            assert_eq!(ports(&totals.minisockets.unwrap()), services, "{words}");
            assert_eq!(ports(&diag.services), services, "{words}");
        }
    }

    #[test]
    fn events_keep_their_numbers() {
        let by = Narrowing {
            filter: Filter { ports: vec![80], ..Filter::default() },
            ..Narrowing::default()
        };
        let (mut told, mut services) = (Told::default(), BTreeSet::new());
        let mut sink = Narrowed::new(&by, &mut services, &mut told);
        for number in 0..6 {
            let port = if number % 2 == 0 { 80 } else { 81 };
            let mut event = event(number);
            event.local.1 = port;
            sink.event(number, &event);
        }
        assert_eq!(told.1, [0, 2, 4]);
    }

    #[test]
    fn an_events_cgroup_is_its_owners() {
        let (mut members, owner) = (Members::default(), Owner { pid: 7, comm: "of-7".into() });
        let mut seeking = Seeking { path: "/web", members: &mut members };
        seeking.input(Input::Totals(totals()));
        let mut moved = totals();
        moved.groups[0].cgroup = Some("/elsewhere".into());
        seeking.input(Input::Totals(moved));
        let filter = Filter { cgroup: Some(("/web".into(), 0)), ..Filter::default() };
        let by = Narrowing { filter, members: Arc::new(members) };
        let mut event = event(0);
        assert!(!by.passes(&event), "nobody's");
        event.owner = Some(Arc::new(owner));
        assert!(by.passes(&event));
        event.owner = Some(Arc::new(Owner { pid: 9, comm: "of-9".into() }));
        assert!(!by.passes(&event));
        assert!(by.doubts()[0].starts_with("processes that moved between cgroups: 1"));
    }
}
