//! Where the owners of sockets belong, from what a trace tells: events name their owner, and only totals
//! name its workload.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{Group, Owner, Totals};

/// Owners remembered.
const MOST: usize = 1 << 20;

/// A name, and where it belongs.
type Known = (String, Option<Arc<str>>);

/// The workload of each owner by id and name. Whoever was in two has none: which of them an event is of
/// is not known.
#[derive(Debug, Default)]
pub struct Workloads {
    /// By id; names are few for each.
    owners: HashMap<u32, Vec<Known>>,
    kept: usize,
    /// Each workload once.
    names: HashMap<String, Arc<str>>,
}

impl Workloads {
    /// Takes totals in.
    pub fn totals(&mut self, totals: &Totals) {
        totals.groups.iter().for_each(|group| self.group(group));
    }

    fn group(&mut self, group: &Group) {
        let (Some(owner), Some(workload)) = (&group.owner, group.workload()) else { return };
        let known = self.owners.get_mut(&owner.pid);
        let known = known.and_then(|all| all.iter_mut().find(|(comm, _)| *comm == owner.comm));
        if let Some((_, kept)) = known {
            if kept.as_deref().is_some_and(|kept| *kept != *workload) {
                *kept = None;
            }
            return;
        }
        if self.kept >= MOST {
            return;
        }
        self.kept += 1;
        let name = match self.names.get(&*workload) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = Arc::from(&*workload);
                self.names.insert(workload.into_owned(), Arc::clone(&name));
                name
            }
        };
        self.owners.entry(owner.pid).or_default().push((owner.comm.clone(), Some(name)));
    }

    /// Where an owner belongs; `None` where that is not known.
    #[must_use]
    pub fn of(&self, owner: &Owner) -> Option<&str> {
        let all = self.owners.get(&owner.pid)?;
        let (_, workload) = all.iter().find(|(comm, _)| *comm == owner.comm)?;
        workload.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::counters::GroupCounters;

    use super::*;
    use crate::event::{Direction, Service};

    fn owner(pid: u32, comm: &str) -> Owner {
        Owner { pid, comm: comm.into() }
    }

    fn totals(groups: &[(u32, &str, &str)]) -> Totals {
        let group = |(pid, comm, cgroup): &(u32, &str, &str)| Group {
            service: Service { port: 80, direction: Direction::In },
            owner: Some(owner(*pid, comm)),
            owner_start_ticks: 1,
            cgroup: Some((*cgroup).to_owned()),
            workload: None,
            alive: true,
            unchecked: 0,
            counters: GroupCounters::default(),
        };
        Totals { groups: groups.iter().map(group).collect(), ..Totals::default() }
    }

    #[test]
    fn an_owner_is_where_all_totals_have_it() {
        let mut workloads = Workloads::default();
        workloads.totals(&totals(&[
            (7, "nginx", "/system.slice/nginx.service"),
            (8, "sh", "/workers"),
            (9, "sh", "/system.slice/a.service"),
        ]));
        assert_eq!(workloads.of(&owner(7, "nginx")), Some("nginx.service"));
        assert_eq!(workloads.of(&owner(7, "other")), None, "another process of that id");
        assert_eq!(workloads.of(&owner(8, "sh")), None, "a cgroup of no workload");
        assert_eq!(workloads.of(&owner(9, "sh")), Some("a.service"));
        workloads.totals(&totals(&[(9, "sh", "/system.slice/b.service")]));
        assert_eq!(workloads.of(&owner(9, "sh")), None, "either");
        workloads.totals(&totals(&[(9, "sh", "/system.slice/a.service")]));
        assert_eq!(workloads.of(&owner(9, "sh")), None, "still");
    }
}
