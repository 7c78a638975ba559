//! What the programs assume of a kernel.
//!
//! They are constants of the object, and the verifier never walks what they rule out; so each is
//! assumed, tried, and taken back if the kernel refuses.

use std::collections::BTreeMap;

use super::known::Known;
use super::probes::{Hook, Rung, Signal};

/// One set of assumptions ([`tracer_common::config::Config`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assumed {
    /// Tracing programs can have the kernel give a socket its cookie.
    pub(super) cookie_helper: bool,
    /// There is a hook on `close()`.
    pub(super) close_hook: bool,
    /// Some sockets are known by their address.
    pub(super) by_address: bool,
}

/// Best first.
pub(super) const ASSUMPTIONS: [Assumed; 5] = [
    Assumed { cookie_helper: true, close_hook: true, by_address: false },
    Assumed { cookie_helper: true, close_hook: true, by_address: true },
    Assumed { cookie_helper: true, close_hook: false, by_address: false },
    Assumed { cookie_helper: false, close_hook: true, by_address: true },
    Assumed { cookie_helper: false, close_hook: false, by_address: true },
];

/// The rungs that were accepted so far.
pub(super) type Accepted = BTreeMap<Signal, &'static Rung>;

impl Assumed {
    /// `last`: what the attempt before was given, on better assumptions.
    pub(super) fn is_worth_trying(self, known: &Known, last: Option<&Accepted>) -> bool {
        let named_by_programs = !self.cookie_helper || known.has_cookie_helper();
        let needs_addresses = last.is_some_and(closes_by_kprobe);
        named_by_programs && (!self.by_address || !self.cookie_helper || needs_addresses)
    }

    /// Whether it holds as far as signals before `before` are concerned; an attempt can end where it
    /// does not.
    pub(super) fn holds(self, accepted: &Accepted, before: Option<Signal>) -> bool {
        let is_due = |signal: Signal| before.is_none_or(|before| signal.is_attached_before(before));
        let mut required = Signal::ALL.into_iter().filter(|signal| signal.required());
        let close = accepted.get(&Signal::OrphanBegin);
        let as_assumed = close.is_some_and(|rung| rung.program.is_some()) == self.close_hook
            && (self.by_address || !closes_by_kprobe(accepted));
        required.all(|signal| !is_due(signal) || accepted.contains_key(&signal))
            && (!is_due(Signal::OrphanBegin) || as_assumed)
    }
}

/// A kprobe cannot have the kernel name a socket.
fn closes_by_kprobe(accepted: &Accepted) -> bool {
    let close = accepted.get(&Signal::OrphanBegin);
    close.is_some_and(|rung| matches!(rung.hook, Hook::Kprobe(_)))
}

#[cfg(test)]
mod tests {
    use super::super::probes::PROBES;
    use super::*;

    fn accepted(kinds: &[(Signal, &str)]) -> Accepted {
        let rung = |(signal, kind): &(Signal, &str)| {
            let rung =
                PROBES.iter().find(|rung| rung.signal == *signal && rung.hook.kind() == *kind);
            (*signal, rung.expect("a rung"))
        };
        kinds.iter().map(rung).collect()
    }

    #[test]
    fn an_attempt_ends_where_its_assumption_fails() {
        let [best, by_address, ..] = ASSUMPTIONS;
        let (end, state) = ((Signal::OrphanEnd, "tp_btf"), (Signal::State, "tp_btf"));
        let fentry = accepted(&[end, state, (Signal::OrphanBegin, "fentry")]);
        let kprobe = accepted(&[end, state, (Signal::OrphanBegin, "kprobe")]);
        assert!(best.holds(&accepted(&[]), Some(Signal::OrphanEnd)), "nothing was tried yet");
        assert!(best.holds(&accepted(&[end]), Some(Signal::State)));
        assert!(!best.holds(&accepted(&[end]), Some(Signal::OrphanBegin)), "state was refused");
        assert!(best.holds(&accepted(&[end, state]), Some(Signal::OrphanBegin)));
        assert!(best.holds(&fentry, Some(Signal::EndReason)));
        assert!(!best.holds(&kprobe, Some(Signal::EndReason)), "it names no sockets");
        assert!(by_address.holds(&kprobe, Some(Signal::EndReason)));
        let unseen = accepted(&[end, state]);
        assert!(!best.holds(&unseen, Some(Signal::EndReason)), "no hook on close()");
        assert!(best.holds(&fentry, None));
        assert!(!best.holds(&unseen, None));
    }
}
