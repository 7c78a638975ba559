//! Descriptors of the process that is nearest to its own limit (`RLIMIT_NOFILE`, soft).
//!
//! Orphans hold no descriptor, so this gauge can be low while the host drowns in them.

use super::check::{Check, describe};
use super::held::held_by;
use super::look::{Look, room};
use super::watch::Watch;
use crate::event::Owner;
use crate::facts::{Facts, Known, ProcessFds, Unknown};
use crate::format::count;

pub(super) struct Fds;

impl Check for Fds {
    describe!("fds", "fds", "file descriptors", "files", Process);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let processes = facts.processes.as_ref().map_err(Clone::clone)?;
        let wanted = |process: &&ProcessFds| watch.wants_process(process);
        let Some(worst) = processes.worst.iter().find(wanted) else {
            return Err(if processes.worst.is_empty() {
                Unknown::because("no process lets us look at its descriptors")
            } else {
                Unknown::because(format!(
                    "none of the {} processes nearest to their limit matches the filter",
                    processes.worst.len()
                ))
            });
        };
        let pid = worst.pid;
        let mut look = Look::at(worst.open, worst.soft).trend(watch, |facts| open_of(facts, pid));
        look.subject = Some(format!("{}[{pid}]", worst.comm));
        look.owner = Some(Owner { pid, comm: worst.comm.clone() });
        look.refuses = worst.open >= worst.soft && worst.open > 0;
        look.why = if worst.open >= worst.soft {
            "accept(), socket() and open() fail with EMFILE.".to_owned()
        } else {
            "At the limit accept(), socket() and open() fail with EMFILE; orphans hold no \
             descriptor and are not among them."
                .to_owned()
        };
        look.evidence = format!("/proc/{pid}/fd; {} processes seen", count(processes.seen as u64));
        if processes.denied > 0 {
            let denied = count(processes.denied as u64);
            look.evidence.push_str(&format!(", {denied} not: no right to look"));
        }
        match held_by(watch, pid) {
            Some((check, number)) if number.saturating_mul(2) > worst.open => {
                look.follows = Some(check);
                look.behind = format!("{} of them are of connections that are over", count(number));
                "more descriptors only put it off: see there".clone_into(&mut look.action);
            }
            _ => advise(&mut look, facts, worst),
        }
        Ok(look)
    }
}

fn open_of(facts: &Facts, pid: u32) -> Option<u64> {
    let worst = &facts.processes.as_ref().ok()?.worst;
    worst.iter().find(|process| process.pid == pid).map(|process| process.open)
}

fn advise(look: &mut Look, facts: &Facts, worst: &ProcessFds) {
    let to = room(worst.open.max(worst.soft), 2);
    let hard = to.max(worst.hard);
    if facts.number("fs.nr_open").is_some_and(|most| hard > most && worst.hard < hard) {
        look.propose(facts, "fs.nr_open", &hard);
    }
    let show = |number: u64| match number {
        u64::MAX => "unlimited".to_owned(),
        number => number.to_string(),
    };
    look.action = format!(
        "now: prlimit --pid {} --nofile={to}:{}; for good: LimitNOFILE={to} in its unit (systemctl \
         edit), then restart",
        worst.pid,
        show(hard)
    );
    look.gain = format!("{} descriptors instead of {}", count(to), count(worst.soft));
    look.risk = "a leak lasts longer before it shows; select() cannot take descriptors above 1023"
        .to_owned();
    look.undo =
        format!("prlimit --pid {} --nofile={}:{}", worst.pid, show(worst.soft), show(worst.hard));
}
