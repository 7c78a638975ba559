//! Orphans by what they wait for, stacked.

use maud::{Markup, html};

use super::super::Page;
use super::stacked::Stack;

const CAUSES: Stack = Stack {
    id: "causes",
    title: "Orphans by cause, stacked",
    say: "What the orphans of the recording waited for when their timers were last read, every five \
          seconds: a peer whose window is closed, one that does not answer, or an answer that is not \
          overdue.",
    layers: &[
        ("closed_window", "closed window", |it| Some(it.orphans_by_cause?.closed_window)),
        ("unanswered", "unanswered", |it| Some(it.orphans_by_cause?.unanswered)),
        ("in_flight", "in flight", |it| Some(it.orphans_by_cause?.in_flight)),
    ],
};

impl Page<'_> {
    /// Nothing where no cause was observed.
    pub(super) fn causes(&self) -> Markup {
        let seen = self.points().iter().filter_map(|point| point.orphans_by_cause);
        html! {
            @if seen.into_iter().any(|it| it.closed_window + it.unanswered + it.in_flight > 0) {
                (self.stacked(&CAUSES))
            }
        }
    }
}
