//! The part of a trace that a filter lets through, told as a recording with that filter had told it.
//!
//! Events are tested one by one. Totals are kept by service and process, so whole groups stay or
//! go; the orphans of those that go are counted outside the filter, because `drift` is the host's.
//! What [`Filter::beyond_totals`] names cannot be tested of groups and must not be asked of them.
//! Nothing is looked up on this host. A live run applies the filter in the kernel; for the conditions
//! that the kernel cannot test, [`Remaining`] does here what is done to a trace.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use anyhow::Result;
use tracer_common::counters::{Counter, GroupCounters};

use super::{Checkpoint, Gap, Sink, Trace, Want};
use crate::event::{DiagSample, Direction, Event, Group, Input, Service, Totals};
use crate::filter::{Filter, SocketIdentity};

/// Owners of one cgroup or workload that are told apart.
const MOST_MEMBERS: usize = 1 << 20;

/// A filter for one trace. The default lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    filter: Filter,
    members: Arc<Members>,
}

/// Who was in the cgroup and workload that the filter names: events name their owner, and only totals
/// name the owner's cgroup and workload.
#[derive(Debug, Default)]
struct Members {
    inside: HashSet<(u32, String)>,
    outside: HashSet<(u32, String)>,
    uncounted: u64,
}

impl Narrowing {
    /// `filter` for events and totals of `trace`. Where it names a cgroup or a workload, reads all
    /// totals once.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn new(filter: Filter, trace: &Trace) -> Result<Self> {
        let mut members = Members::default();
        if filter.names_place() {
            let mut seeking = Seeking { filter: &filter, members: &mut members };
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
                "processes that moved between {}s: {moved}; their events are let through \
                 wherever they were at the time",
                self.place()
            ));
        }
        if *uncounted > 0 {
            doubts.push(format!(
                "the {} had more than {MOST_MEMBERS} processes; events of the others are left out",
                self.place()
            ));
        }
        doubts
    }

    const fn place(&self) -> &'static str {
        if self.filter.cgroup.is_some() { "cgroup" } else { "workload" }
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
        if !self.filter.passes_process(owner.map(|owner| (owner.pid, owner.comm.as_str()))) {
            return false;
        }
        let is_member = || {
            let known = owner.map(|owner| (owner.pid, owner.comm.clone()));
            known.is_some_and(|known| self.members.inside.contains(&known))
        };
        !self.filter.names_place() || is_member()
    }

    /// Whether sockets of a service are let through, their owner aside.
    #[must_use]
    pub fn passes_service(&self, service: Service) -> bool {
        self.filter.passes_service(service.port, service.direction == Direction::In)
    }

    fn passes_group(&self, group: &Group) -> bool {
        let owner = group.owner.as_ref().map(|owner| (owner.pid, owner.comm.as_str()));
        self.passes_service(group.service)
            && self.filter.passes_process(owner)
            && passes_place(&self.filter, group)
    }
}

/// Whether a group passes, as far as its cgroup and workload tell.
fn passes_place(filter: &Filter, group: &Group) -> bool {
    filter.cgroup.as_ref().is_none_or(|(wanted, _)| group.cgroup.as_ref() == Some(wanted))
        && (filter.workload.is_none() || filter.passes_workload(group.workload().as_deref()))
}

/// What of a filter the kernel side cannot test, for the inputs of a live run.
#[derive(Debug)]
pub struct Remaining {
    by: Narrowing,
    /// See [`Narrowed::new`].
    services: BTreeSet<Service>,
}

impl Remaining {
    /// `None` where the kernel side tests all of it.
    #[must_use]
    pub fn of(filter: &Filter) -> Option<Self> {
        let workload = Some(filter.workload.clone()?);
        let filter = Filter { workload, ..Filter::default() };
        let by = Narrowing { filter, ..Narrowing::default() };
        Some(Self { by, services: BTreeSet::new() })
    }

    /// Whether a group passes.
    #[must_use]
    pub fn passes_group(&self, group: &Group) -> bool {
        self.by.passes_group(group)
    }

    /// Whether sockets of a process in this workload pass.
    #[must_use]
    pub fn passes_workload(&self, workload: Option<&str>) -> bool {
        self.by.filter.passes_workload(workload)
    }

    /// An interval's inputs, without what does not pass.
    pub fn inputs(&mut self, inputs: Vec<Input>) -> Vec<Input> {
        let mut passed = Passed(Vec::with_capacity(inputs.len()));
        let mut narrowed = Narrowed::new(&self.by, &mut self.services, &mut passed);
        inputs.into_iter().for_each(|input| narrowed.input(input));
        passed.0
    }
}

struct Passed(Vec<Input>);

impl Sink for Passed {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        self.0.push(input);
    }
}

/// Finds who was in a cgroup and workload.
struct Seeking<'a> {
    filter: &'a Filter,
    members: &'a mut Members,
}

impl Sink for Seeking<'_> {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        let Input::Totals(totals) = input else { return };
        for group in totals.groups {
            let inside = passes_place(self.filter, &group);
            let Some(owner) = group.owner else { continue };
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
        if self.by.filter.names_owner() {
            totals.groups.iter_mut().for_each(|group| group.counters.settle());
        }
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
            workload: None,
            alive: true,
            unchecked: 0,
            counters,
        }
    }

    fn totals() -> Totals {
        let groups = vec![
            group(80, Direction::In, 7, "/web", 1),
            group(80, Direction::In, 8, "/other", 2),
            group(443, Direction::Out, 7, "/web", 4),
            group(5432, Direction::In, 9, "/system.slice/db.service", 8),
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
            (Filter { workload: Some("db.service".into()), ..Filter::default() }, 8, vec![5432]),
            (Filter { workload: Some("db".into()), ..Filter::default() }, 8, vec![5432]),
            (Filter { workload: Some("web".into()), ..Filter::default() }, 0, vec![]),
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
        let filter = Filter { cgroup: Some(("/web".into(), 0)), ..Filter::default() };
        let mut seeking = Seeking { filter: &filter, members: &mut members };
        seeking.input(Input::Totals(totals()));
        let mut moved = totals();
        moved.groups[0].cgroup = Some("/elsewhere".into());
        seeking.input(Input::Totals(moved));
        let by = Narrowing { filter: filter.clone(), members: Arc::new(members) };
        let mut event = event(0);
        assert!(!by.passes(&event), "nobody's");
        event.owner = Some(Arc::new(owner));
        assert!(by.passes(&event));
        event.owner = Some(Arc::new(Owner { pid: 9, comm: "of-9".into() }));
        assert!(!by.passes(&event));
        assert!(by.doubts()[0].starts_with("processes that moved between cgroups: 1"));
    }

    #[test]
    fn a_live_run_is_narrowed_to_a_workload_as_a_trace_is() {
        assert!(Remaining::of(&Filter { pid: Some(7), ..Filter::default() }).is_none());
        // The kernel has applied all else, which groups need not be able to answer.
        let filter = Filter {
            ports: vec![5432],
            peer_ports: vec![40_000],
            workload: Some("db".into()),
            ..Filter::default()
        };
        let mut remaining = Remaining::of(&filter).unwrap();
        let mut other = totals();
        // Of a pod the path has the uid alone; its name was read beside it.
        other.groups[0].workload = Some("pod:shop/db".into());
        let inputs = remaining.inputs(vec![Input::Totals(other), Input::Gap(1)]);
        let [Input::Totals(totals), Input::Gap(1)] = &inputs[..] else { panic!("{inputs:?}") };
        let left: Vec<_> = totals.groups.iter().map(|group| group.service.port).collect();
        assert_eq!((left, totals.orphans_outside), (vec![80, 5432], 2 + 4 + 16));
        assert_eq!(ports(totals.minisockets.as_ref().unwrap()), [80, 5432]);
        assert!(remaining.passes_workload(Some("db.service")));
        assert!(!remaining.passes_workload(None));
    }
}
