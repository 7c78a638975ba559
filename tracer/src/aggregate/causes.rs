//! What observations of single sockets add to the rows of a snapshot: memory, and what sockets wait for.
//!
//! They are of all sockets, whatever the filter: a row has them where the filter leaves all sockets of
//! its port in. Their lists are bounded, so a row that is not in a full list has no number, not 0.

use super::snapshot::{CloseWaitByCause, Holder, OrphansByCause};
use crate::event::{Direction, Owner, Service};
use crate::facts::causes::{Causes, MOST_ROWS, ServiceAt};
use crate::facts::{Facts, causes};
use crate::filter::Filter;
use crate::time::Monotonic;

/// Holders of memory that are named.
const HOLDERS: usize = 3;

/// The newest observation, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed<'a> {
    causes: Option<&'a Causes>,
    at: Option<Monotonic>,
    /// Whether the rows hold all sockets of their ports.
    are_whole: bool,
}

impl<'a> Observed<'a> {
    pub(super) fn of(facts: Option<&'a Facts>, filter: &Filter) -> Self {
        let Some(facts) = facts else { return Self::default() };
        let causes = facts.sockets.as_ref().ok().and_then(|sockets| sockets.causes.as_ref().ok());
        let by_port = Filter { ports: filter.ports.clone(), ..Filter::default() };
        Self { causes, at: facts.detail_at, are_whole: *filter == by_port }
    }

    /// How old it is, seconds.
    pub(super) fn age_s(&self, now: Monotonic) -> Option<f64> {
        self.causes?;
        Some(now.seconds_since(self.at?))
    }

    /// The sum over the rows of a service, in all namespaces; `None` where not all may be there.
    fn sum<R: 'a, T: Default>(
        &self,
        rows: impl FnOnce(&'a Causes) -> &'a [R],
        at: impl Fn(&R) -> ServiceAt,
        service: Service,
        add: impl Fn(&mut T, &R),
    ) -> Option<T> {
        let rows = rows(self.causes.filter(|_| self.are_whole)?);
        let accepted = service.direction == Direction::In;
        let same = |row: &&R| at(row).port == service.port && at(row).accepted == accepted;
        let mut found = rows.iter().filter(same).peekable();
        if found.peek().is_none() && rows.len() >= MOST_ROWS {
            return None;
        }
        let mut sum = T::default();
        found.for_each(|row| add(&mut sum, row));
        Some(sum)
    }

    /// Memory of a service's sockets, bytes.
    pub(super) fn bytes(&self, service: Service) -> Option<u64> {
        let add = |sum: &mut u64, row: &(ServiceAt, _, causes::Queues)| *sum += row.2.charged;
        self.sum(|it| &it.memory.services, |row| row.0, service, add)
    }

    /// A service's orphans by cause.
    pub(super) fn orphans(&self, service: Service) -> Option<OrphansByCause> {
        let add = |sum: &mut OrphansByCause, (_, parts): &(_, causes::OrphanParts)| {
            sum.closed_window += parts.closed_window.count;
            sum.unanswered += parts.unanswered.count;
            sum.in_flight += parts.in_flight.count;
        };
        self.sum(|it| &it.orphans.services, |row| row.0, service, add)
    }

    /// A service's sockets in CLOSE_WAIT by cause.
    pub(super) fn close_wait(&self, service: Service) -> Option<CloseWaitByCause> {
        let add = |sum: &mut CloseWaitByCause, row: &causes::CloseWait| {
            sum.never_accepted += row.never_accepted.count;
            sum.unread_data += row.unread_data.count;
            sum.eof_unread += row.eof_unread.count;
            sum.not_closed += row.not_closed.count;
        };
        self.sum(|it| &it.close_waits, |row| row.service, service, add)
    }

    /// Memory of a process's sockets, bytes.
    pub(super) fn bytes_of(&self, pid: Option<u32>) -> Option<u64> {
        let rows = &self.causes.filter(|_| self.are_whole)?.memory.processes;
        let row = rows.iter().find(|(owner, _)| Some(owner.0) == pid);
        row.map(|(_, queues)| queues.charged).or_else(|| none_of(rows.len(), pid))
    }

    /// TCP sockets in CLOSE whose descriptor a process keeps.
    pub(super) fn closed_fds_of(&self, pid: Option<u32>) -> Option<u64> {
        let rows = &self.causes?.closed_fds.as_ref().ok()?.processes;
        let row = rows.iter().find(|row| Some(row.owner.0) == pid);
        row.map(|row| row.count).or_else(|| none_of(rows.len(), pid))
    }

    /// The services that hold most of TCP's memory on the host.
    pub(super) fn held_by(&self) -> Option<Vec<Holder>> {
        let rows = self.causes?.memory.services.iter().take(HOLDERS);
        let holder =
            |(at, owner, queues): &(ServiceAt, Option<causes::Owner>, causes::Queues)| Holder {
                port: at.port,
                direction: if at.accepted { Direction::In } else { Direction::Out },
                owner: owner.as_ref().map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() }),
                bytes: queues.charged,
            };
        Some(rows.map(holder).collect())
    }
}

/// 0 where a list that is not full would have had it; of an unknown process nothing is known.
fn none_of(rows: usize, pid: Option<u32>) -> Option<u64> {
    (rows < MOST_ROWS && pid.is_some()).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::fixture::healthy;
    use crate::facts::causes::{CloseWait, Part, Queues};

    const SERVICE: Service = Service { port: 9981, direction: Direction::In };

    fn at(netns: u32, port: u16) -> ServiceAt {
        ServiceAt { netns, port, accepted: true }
    }

    fn facts(change: impl FnOnce(&mut Causes)) -> Facts {
        let mut facts = healthy();
        let mut causes = Causes::default();
        change(&mut causes);
        facts.sockets.as_mut().unwrap().causes = Ok(causes);
        facts
    }

    #[test]
    fn a_service_is_summed_over_namespaces_and_absent_is_none_of_it() {
        let held = |count| Part { count, ..Part::default() };
        let facts = facts(|causes| {
            for (netns, count) in [(1, 3), (2, 4)] {
                let not_closed = held(count);
                let row =
                    CloseWait { service: at(netns, 9981), not_closed, ..CloseWait::default() };
                causes.close_waits.push(row);
            }
        });
        let observed = Observed::of(Some(&facts), &Filter::default());
        assert_eq!(observed.close_wait(SERVICE).unwrap().not_closed, 7);
        let other = Service { port: 80, ..SERVICE };
        assert_eq!(observed.close_wait(other), Some(CloseWaitByCause::default()));
        let by_pid = Filter { pid: Some(1), ..Filter::default() };
        assert_eq!(Observed::of(Some(&facts), &by_pid).close_wait(SERVICE), None);
        let by_port = Filter { ports: vec![9981], ..Filter::default() };
        assert!(Observed::of(Some(&facts), &by_port).close_wait(SERVICE).is_some());
        assert_eq!(Observed::default().close_wait(SERVICE), None);
    }

    #[test]
    fn what_a_full_list_leaves_out_is_unknown() {
        let queues = |charged| Queues { charged, ..Queues::default() };
        let facts = facts(|causes| {
            for port in 0..MOST_ROWS as u16 {
                causes.memory.services.push((at(1, port), None, queues(100)));
                causes.memory.processes.push(((u32::from(port), "a".into()), queues(7)));
            }
        });
        let observed = Observed::of(Some(&facts), &Filter::default());
        assert_eq!(observed.bytes(Service { port: 3, ..SERVICE }), Some(100));
        assert_eq!(observed.bytes(SERVICE), None);
        assert_eq!((observed.bytes_of(Some(3)), observed.bytes_of(Some(99))), (Some(7), None));
        assert_eq!(observed.held_by().unwrap().len(), HOLDERS);
    }
}
