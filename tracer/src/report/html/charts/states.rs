//! Sockets by state, stacked.

use maud::Markup;

use super::super::Page;
use super::stacked::Stack;

const STATES: Stack = Stack {
    id: "states",
    title: "Sockets by state, stacked",
    say: "Connections of the recording and minisockets; those that worry at the bottom. \
          TIME-WAIT and part of FIN-WAIT-2 are sampled.",
    layers: &[
        ("fin_wait1", "FIN-WAIT-1", |it| Some(it.states.fin_wait1)),
        ("last_ack", "LAST-ACK", |it| Some(it.states.last_ack)),
        ("closing", "CLOSING", |it| Some(it.states.closing)),
        ("fin_wait2", "FIN-WAIT-2", |it| Some(it.states.fin_wait2)),
        ("close_wait", "CLOSE-WAIT", |it| Some(it.states.close_wait)),
        ("established", "ESTABLISHED", |it| Some(it.states.established)),
        ("syn", "SYN", |it| Some(it.states.syn_sent + it.states.syn_recv)),
        ("time_wait", "TIME-WAIT", |it| Some(it.states.time_wait)),
    ],
};

impl Page<'_> {
    pub(super) fn states(&self) -> Markup {
        self.stacked(&STATES)
    }
}
