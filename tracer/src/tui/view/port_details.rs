//! Panels of a service's page that only some kernels, or some services, have something for: its
//! listeners, what its sockets wait for, why it sent resets, how its minisockets ended, what killed its
//! orphans.

use super::page::Panel;
use super::port::Writer;
use crate::aggregate::snapshot::{Fidelity, Listen, Minisockets, PortRow};
use crate::format;

/// Reasons for resets named.
const REASONS: usize = 6;

/// Those there is something to say in.
pub(crate) fn panels(write: &Writer<'_>, row: &PortRow) -> Vec<Panel> {
    let listen = row.listen.as_ref().map(|listen| listener(write, listen));
    let minisockets = row.minisockets.as_ref().filter(|now| now.begun + now.standing > 0);
    let minisockets = minisockets.map(|now| ended(write, now));
    let waits = [orphans(write, row), close_wait(write, row)];
    let rest = [reasons(write, row), killed(write, row), minisockets];
    [listen].into_iter().chain(waits).chain(rest).flatten().collect()
}

/// What orphans wait for.
fn orphans(write: &Writer<'_>, row: &PortRow) -> Option<Panel> {
    let by = row.orphans_by_cause?;
    let parts = [
        ("closed window", by.closed_window),
        ("unanswered", by.unanswered),
        ("in flight", by.in_flight),
    ];
    counted(write, "what orphans wait for", &parts)
}

/// What is left undone of the sockets in CLOSE_WAIT.
fn close_wait(write: &Writer<'_>, row: &PortRow) -> Option<Panel> {
    let by = row.close_wait_by_cause?;
    let parts = [
        ("never accepted", by.never_accepted),
        ("data unread", by.unread_data),
        ("end unread", by.eof_unread),
        ("all read, not closed", by.not_closed),
    ];
    counted(write, "why in CLOSE-WAIT", &parts)
}

/// Observed from time to time, so marked as sampled.
fn counted(write: &Writer<'_>, title: &'static str, parts: &[(&str, u64)]) -> Option<Panel> {
    let total: u64 = parts.iter().map(|(_, count)| *count).sum();
    let number = |count| write.cells.mark(Fidelity::Sampled, &format::count(count));
    let line = |(name, count): &(&str, u64)| write.shared(name, &number(*count), *count, total);
    (total > 0).then(|| Panel { title, lines: parts.iter().map(line).collect() })
}

fn listener(write: &Writer<'_>, listen: &Listen) -> Panel {
    let cells = &write.cells;
    let overflows = listen.overflows.map_or_else(
        || String::from("-"),
        |overflows| cells.mark(cells.trust("accept_overflow"), &format::count(overflows)),
    );
    let drops = |number| cells.mark(cells.trust("listen_drops"), &format::count(number));
    let queue = format!("{} of {}", drops(listen.queued), format::count(listen.backlog));
    Panel {
        title: "listener",
        lines: vec![
            write.fact("accept queue", &queue),
            write.fact("refused, queue full", &overflows),
            write.fact("dropped in all", &drops(listen.drops)),
        ],
    }
}

fn reasons(write: &Writer<'_>, row: &PortRow) -> Option<Panel> {
    let mut reasons: Vec<(&str, u64)> =
        row.reset_reasons.iter().map(|(name, count)| (*name, *count)).collect();
    reasons.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let total = reasons.iter().map(|(_, count)| *count).sum();
    let line =
        |(name, count): &(&str, u64)| write.shared(name, &format::count(*count), *count, total);
    let lines: Vec<_> = reasons.iter().take(REASONS).map(line).collect();
    (!lines.is_empty()).then_some(Panel { title: "why resets were sent", lines })
}

fn killed(write: &Writer<'_>, row: &PortRow) -> Option<Panel> {
    let details = row.orphan_end_details;
    let ways = [
        ("killed: orphan limit", details.killed_limit),
        ("killed: tcp_mem", details.killed_memory),
        ("negative TCP_LINGER2", details.linger2),
    ];
    let trust = write.cells.trust("end_reason");
    let line = |(label, count): &(&str, u64)| {
        write.fact(label, &write.cells.mark(trust, &format::count(*count)))
    };
    let any = ways.iter().any(|(_, count)| *count > 0);
    any.then(|| Panel { title: "what ended orphans", lines: ways.iter().map(line).collect() })
}

fn ended(write: &Writer<'_>, now: &Minisockets) -> Panel {
    let cells = &write.cells;
    let ways = [
        ("expired", now.expired),
        ("reused", now.reused),
        ("killed early", now.killed),
        ("none to be had", now.overflow),
    ];
    let trust = cells.trust("time_wait_end");
    let line = |(label, count): &(&str, u64)| {
        write.fact(label, &cells.mark(trust, &format::count(*count)))
    };
    let begun = write.fact("begun", &cells.count("time_wait", now.begun));
    Panel {
        title: "how minisockets ended",
        lines: std::iter::once(begun).chain(ways.iter().map(line)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::aggregate::snapshot::{CloseWaitByCause, OrphanEndDetails, OrphansByCause};
    use crate::tui::tests::fixture::crisis;
    use crate::tui::tests::looks;

    fn text(row: &PortRow) -> String {
        let (looks, snapshot) = (looks(), crisis());
        let write = Writer::new(&looks, &snapshot, 40);
        let panels = panels(&write, row);
        let lines = panels.iter().flat_map(|panel| {
            std::iter::once(panel.title.to_owned())
                .chain(panel.lines.iter().map(ToString::to_string))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_panel_stands_only_where_there_is_something_to_say() {
        let mut row = crisis().ports.remove(0);
        assert_eq!(text(&row), "");
        row.listen = Some(Listen { queued: 3, backlog: 128, overflows: None, drops: 4_711 });
        row.orphans_by_cause =
            Some(OrphansByCause { closed_window: 30, unanswered: 9, in_flight: 1 });
        row.close_wait_by_cause =
            Some(CloseWaitByCause { never_accepted: 2, not_closed: 6, ..Default::default() });
        row.reset_reasons = BTreeMap::from([("TCP_STATE", 3), ("TCP_ABORT_ON_CLOSE", 1)]);
        row.orphan_end_details = OrphanEndDetails { killed_limit: 9, ..Default::default() };
        row.minisockets =
            Some(Minisockets { begun: 12, expired: 5, reused: 7, ..Default::default() });
        insta::assert_snapshot!(text(&row));
    }
}
