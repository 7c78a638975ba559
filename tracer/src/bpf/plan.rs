//! Which rung each signal gets: decided by trying, best first.
//!
//! Pure and generic over the trial, so that tests play any kernel.

use std::collections::BTreeMap;

use serde::Serialize;

use super::probes::{Rung, Signal};
use crate::event::{Fidelity, FidelityTable};

/// What each signal got.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    rows: BTreeMap<Signal, PlanRow>,
}

/// Rungs that are wanted and no others, so that tests see each on a kernel that has them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only(Vec<(Signal, String)>);

impl Only {
    /// From `signal=kind[,signal=kind…]`, such as `orphan_begin=kprobe`.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let one = |word: &str| {
            let (name, kind) =
                word.split_once('=').ok_or_else(|| format!("{word}: not signal=kind"))?;
            let signal = Signal::ALL.into_iter().find(|signal| signal.name() == name);
            let signal = signal.ok_or_else(|| format!("{name}: no such signal"))?;
            let has = super::probes::PROBES
                .iter()
                .any(|rung| rung.signal == signal && rung.hook.kind() == kind);
            if has {
                Ok((signal, kind.to_owned()))
            } else {
                Err(format!("{name} has no rung of the kind {kind}"))
            }
        };
        text.split(',').filter(|word| !word.is_empty()).map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Why a rung is not to be tried, if it is not.
    #[must_use]
    pub fn refuses(&self, rung: &Rung) -> Option<String> {
        let (_, kind) = self.0.iter().find(|(signal, _)| *signal == rung.signal)?;
        (rung.hook.kind() != kind).then(|| format!("not tried: only {kind} is asked for"))
    }
}

/// One signal's outcome.
#[derive(Clone, Debug)]
pub struct PlanRow {
    /// The rung in use; `None` when all were refused.
    pub chosen: Option<&'static Rung>,
    /// The better rungs that were refused, with the kernel's answer.
    pub refused: Vec<(&'static Rung, String)>,
    /// What lowers it on this kernel, whichever rung it got: (at best, what can't be seen, why).
    pub lowered: Vec<(Fidelity, &'static str, String)>,
}

impl PlanRow {
    /// How far the signal can be trusted.
    #[must_use]
    pub fn fidelity(&self) -> Fidelity {
        let own = self.chosen.map_or(Fidelity::Absent, |rung| rung.fidelity);
        self.lowered.iter().fold(own, |at_best, (lowered, ..)| at_best.max(*lowered))
    }

    /// Whether programs give the signal.
    #[must_use]
    pub fn is_hooked(&self) -> bool {
        self.chosen.is_some_and(|rung| rung.program.is_some())
    }

    /// What can't be seen.
    fn blind(&self) -> String {
        let rung = self.chosen.map_or("everything", |rung| rung.blind);
        let lowered = self.lowered.iter().map(|(_, blind, why)| match *blind {
            "" => String::new(),
            blind => format!("{blind} ({why})"),
        });
        let all: Vec<String> = std::iter::once(rung.to_owned())
            .chain(lowered)
            .filter(|blind| !blind.is_empty())
            .collect();
        all.join("; ")
    }
}

impl Plan {
    /// Tries the rungs of `probes`, signal by signal in the order of [`Signal::ALL`], and keeps
    /// the first that `attempt` accepts. A rung concluded from another signal is no better than
    /// that signal.
    pub fn resolve(
        probes: &'static [Rung],
        mut attempt: impl FnMut(&'static Rung) -> Result<(), String>,
    ) -> Self {
        let mut plan = Self::default();
        for signal in Signal::ALL {
            let mut row = PlanRow { chosen: None, refused: Vec::new(), lowered: Vec::new() };
            for rung in probes.iter().filter(|rung| rung.signal == signal) {
                match attempt(rung) {
                    Ok(()) => {
                        row.chosen = Some(rung);
                        break;
                    }
                    Err(reason) => row.refused.push((rung, reason)),
                }
            }
            plan.rows.insert(signal, row);
        }
        plan
    }

    /// A signal is worth no more than `at_best` on this kernel, because of `why`.
    pub fn lower(&mut self, signal: Signal, at_best: Fidelity, blind: &'static str, why: String) {
        if let Some(row) = self.rows.get_mut(&signal) {
            row.lowered.push((at_best, blind, why));
        }
    }

    /// Whether programs give a signal.
    #[must_use]
    pub fn is_hooked(&self, signal: Signal) -> bool {
        self.row(signal).is_some_and(PlanRow::is_hooked)
    }

    /// A signal's outcome.
    #[must_use]
    pub fn row(&self, signal: Signal) -> Option<&PlanRow> {
        self.rows.get(&signal)
    }

    /// All outcomes, by signal.
    pub fn rows(&self) -> impl Iterator<Item = (Signal, &PlanRow)> {
        self.rows.iter().map(|(signal, row)| (*signal, row))
    }

    /// A required signal that got no rung, with the last refusal.
    #[must_use]
    pub fn missing(&self) -> Option<(Signal, String)> {
        self.rows().find(|(signal, row)| signal.required() && row.chosen.is_none()).map(
            |(signal, row)| {
                let reason = row.refused.last().map_or_else(String::new, |(_, why)| why.clone());
                (signal, reason)
            },
        )
    }

    /// Fidelity by signal, for the snapshot. A signal concluded from another is no better than
    /// its source.
    #[must_use]
    pub fn fidelity(&self) -> FidelityTable {
        self.rows()
            .map(|(signal, row)| {
                let own = row.fidelity();
                let source = match row.chosen.and_then(|rung| rung.hook.source()) {
                    Some(source) => self.row(source).map_or(Fidelity::Absent, PlanRow::fidelity),
                    None => own,
                };
                (signal.name(), own.max(source))
            })
            .collect()
    }

    /// The plan as `sockflow probes` prints it.
    #[must_use]
    pub fn report(&self) -> Vec<ProbeReport> {
        let fidelity = self.fidelity();
        self.rows()
            .map(|(signal, row)| ProbeReport {
                signal: signal.name(),
                hook: row.chosen.map(|rung| rung.hook.to_string()),
                program: row.chosen.and_then(|rung| rung.program),
                fidelity: fidelity[signal.name()],
                blind: row.blind(),
                refused: row
                    .refused
                    .iter()
                    .map(|(rung, reason)| Refusal {
                        hook: rung.hook.to_string(),
                        reason: reason.clone(),
                    })
                    .collect(),
            })
            .collect()
    }
}

/// One signal, for people and scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// The signal's name.
    pub signal: &'static str,
    /// The hook in use.
    pub hook: Option<String>,
    /// The BPF program in use.
    pub program: Option<&'static str>,
    /// How far it can be trusted.
    pub fidelity: Fidelity,
    /// What can't be seen.
    pub blind: String,
    /// The better hooks that this kernel refused.
    pub refused: Vec<Refusal>,
}

/// A refused hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which.
    pub hook: String,
    /// The kernel's answer.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::super::probes::{Hook, PROBES};
    use super::*;

    fn chosen(plan: &Plan, signal: Signal) -> String {
        plan.row(signal).unwrap().chosen.map_or("none".into(), |rung| rung.hook.to_string())
    }

    #[test]
    fn a_kernel_that_allows_all_gets_the_best_rungs() {
        let plan = Plan::resolve(PROBES, |_| Ok(()));
        assert_eq!(chosen(&plan, Signal::OrphanBegin), "fentry tcp_close");
        assert_eq!(plan.fidelity()["orphan_begin"], Fidelity::Exact);
        assert_eq!(plan.missing(), None);
    }

    #[test]
    fn without_trampolines_and_kprobes_close_is_seen_through_cgroup2() {
        let plan = Plan::resolve(PROBES, |rung| match rung.hook {
            Hook::Fentry(_) => Err("EPERM".into()),
            Hook::Kprobe(_) => Err("ENOENT".into()),
            _ => Ok(()),
        });
        assert_eq!(chosen(&plan, Signal::OrphanBegin), "cgroup/sock_release");
        assert_eq!(plan.row(Signal::OrphanBegin).unwrap().refused.len(), 2);
        assert_eq!(plan.fidelity()["owner"], Fidelity::Exact);
    }

    #[test]
    fn one_rung_can_be_asked_for() {
        let only = Only::parse("orphan_begin=kprobe").unwrap();
        let plan = Plan::resolve(PROBES, |rung| only.refuses(rung).map_or(Ok(()), Err));
        assert_eq!(chosen(&plan, Signal::OrphanBegin), "kprobe tcp_close");
        assert_eq!(chosen(&plan, Signal::State), "tp_btf inet_sock_set_state");
        assert_eq!(Only::parse(""), Ok(Only::default()));
        for wrong in ["orphan_begin", "orphans=kprobe", "orphan_begin=magic", "state=kprobe"] {
            assert!(Only::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_concluded_is_no_better_than_its_source() {
        let plan = Plan::resolve(PROBES, |rung| match rung.hook {
            Hook::Fentry(_) | Hook::Kprobe(_) | Hook::CgroupSockRelease => Err("no".into()),
            _ => Ok(()),
        });
        assert_eq!(chosen(&plan, Signal::OrphanBegin), "from state");
        assert_eq!(plan.fidelity()["owner"], Fidelity::Derived);
    }

    #[test]
    fn a_required_signal_without_a_rung_is_named_with_the_kernels_answer() {
        let plan = Plan::resolve(PROBES, |rung| match rung.signal {
            Signal::State => Err("EACCES: verifier".into()),
            _ => Ok(()),
        });
        assert_eq!(plan.missing(), Some((Signal::State, "EACCES: verifier".into())));
    }

    #[test]
    fn an_optional_signal_degrades_alone() {
        let plan = Plan::resolve(PROBES, |rung| match rung.hook {
            Hook::TpBtf("tcp_send_reset") => Err("gone".into()),
            _ => Ok(()),
        });
        let absent: Vec<_> =
            plan.fidelity().into_iter().filter(|(_, f)| *f == Fidelity::Absent).collect();
        // What comes with it goes with it.
        let gone = ["reset_out", "reset_reason"].map(|name| (name, Fidelity::Absent));
        assert_eq!(absent, gone);
        assert_eq!(plan.missing(), None);
    }

    #[test]
    fn a_missing_field_lowers_one_signal_and_is_told() {
        let mut plan = Plan::resolve(PROBES, |_| Ok(()));
        let before = plan.fidelity();
        plan.lower(Signal::EndReason, Fidelity::Derived, "linger2", "no field x.y".to_owned());
        let lowered: Vec<_> =
            plan.fidelity().into_iter().filter(|(name, now)| before[name] != *now).collect();
        assert_eq!(lowered, [("end_reason", Fidelity::Derived)]);
        let report = plan.report();
        let row = report.iter().find(|row| row.signal == "end_reason").unwrap();
        assert!(row.blind.ends_with("; linger2 (no field x.y)"), "{}", row.blind);
    }
}
