//! Who it was, before, at the worst and after; and how orphans ended.

use maud::{Markup, html};

use super::{Page, cell, clean, section, table};
use crate::format::{bytes, count, percent, short};
use crate::report::model::Phased;
use crate::report::words;

/// One value a phase, as three cells.
fn three(value: Phased<u64>) -> [Markup; 3] {
    [value.before, value.during, value.after].map(|it| cell(count(it)))
}

fn rates(value: Phased<f64>) -> [Markup; 3] {
    [value.before, value.during, value.after].map(|it| cell(short(it)))
}

impl Page<'_> {
    pub(super) fn who(&self) -> Markup {
        let body = html! {
            p class="lead" { (words::phases_told(self.report, self.zone)) }
            (self.ports())
            (self.processes())
            (self.peers())
        };
        section("who", "Who: before, at the worst, after", &body)
    }

    /// `orphans before`, `worst`, `after`.
    fn three_columns(&self, what: &str) -> [String; 3] {
        let [before, worst, after] = words::phases(self.report);
        [format!("{what} {before}"), worst.to_owned(), after.to_owned()]
    }

    fn ports(&self) -> Markup {
        let orphans = self.three_columns("orphans");
        let opened = self.three_columns("opened/s");
        let mut columns = vec![("port", false), ("process", false)];
        columns.extend(orphans.iter().map(|name| (name.as_str(), true)));
        columns.extend([("held", true), ("estab", true)]);
        columns.extend(opened.iter().map(|name| (name.as_str(), true)));
        columns.push(("killed", true));
        let rows: Vec<Vec<Markup>> = self
            .report
            .ports
            .iter()
            .map(|row| {
                let who = html! {
                    (clean(&words::owner(row.owner.as_ref())))
                    @if row.more_owners > 0 { " +" (row.more_owners) }
                };
                let mut cells = vec![cell(words::service(row.port, row.direction)), who];
                cells.extend(three(row.orphans));
                cells.push(cell(bytes(row.orphan_bytes)));
                cells.push(cell(count(row.established.during)));
                cells.extend(rates(row.opened_per_s));
                cells.push(cell(count(row.killed)));
                cells
            })
            .collect();
        html! {
            h3 { "Ports" }
            (table("Ports", &columns, &rows))
            (more(self.report.more.ports, "ports"))
        }
    }

    fn processes(&self) -> Markup {
        let orphans = self.three_columns("orphans");
        let sockets = self.three_columns("sockets");
        let mut columns = vec![("process", false), ("cgroup", false), ("ports", false)];
        columns.extend(orphans.iter().map(|name| (name.as_str(), true)));
        columns.extend(sockets.iter().map(|name| (name.as_str(), true)));
        columns.push(("killed", true));
        let rows: Vec<Vec<Markup>> = self
            .report
            .processes
            .iter()
            .map(|row| {
                let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
                let mut cells = vec![
                    cell(words::process(row)),
                    cell(row.cgroup.as_deref().unwrap_or("-")),
                    cell(ports.join(" ")),
                ];
                cells.extend(three(row.orphans));
                cells.extend(three(row.sockets));
                cells.push(cell(count(row.killed)));
                cells
            })
            .collect();
        html! {
            h3 { "Processes" }
            (table("Processes", &columns, &rows))
            (more(self.report.more.processes, "processes"))
        }
    }

    fn peers(&self) -> Markup {
        let peers = &self.report.peers;
        let orphans = self.three_columns("orphans");
        let mut columns = vec![("network", false)];
        columns.extend(orphans.iter().map(|name| (name.as_str(), true)));
        columns.extend([("held", true), ("killed", true), ("timed out", true), ("reset", true)]);
        let rows: Vec<Vec<Markup>> = peers
            .networks
            .iter()
            .map(|row| {
                let mut cells = vec![cell(&row.network)];
                cells.extend(three(row.orphans));
                cells.push(cell(bytes(row.orphan_bytes)));
                cells.extend([row.killed, row.timed_out, row.peer_reset].map(|it| cell(count(it))));
                cells
            })
            .collect();
        html! {
            h3 { "Peers of orphans" }
            @if rows.is_empty() {
                p { "No peer of an orphan was seen." }
            } @else {
                (table("Peers of orphans", &columns, &rows))
            }
            (more(peers.more, "networks"))
            p class="small" { (words::peers_told(self.report)) }
        }
    }

    pub(super) fn ends(&self) -> Markup {
        let ends = words::ends(&self.report.orphan_ends);
        let all: u64 = ends.iter().map(|(_, _, number)| number).sum();
        let rows: Vec<Vec<Markup>> = ends
            .into_iter()
            .map(|(name, meaning, number)| {
                let share = if all > 0 { number as f64 * 100.0 / all as f64 } else { 0.0 };
                let bar = html! {
                    svg class="bar" aria-hidden="true" { rect class="b-kill" width=(format!("{share:.1}%")) height="100%" {} }
                };
                vec![cell(name), cell(count(number)), cell(percent(number, all)), bar, cell(meaning)]
            })
            .collect();
        let columns = [
            ("end", false),
            ("orphans", true),
            ("share", true),
            ("", false),
            ("what it means", false),
        ];
        let body = html! {
            (table("How orphans ended", &columns, &rows))
            p class="small" { (count(self.report.orphans_left)) " had not ended yet at the end." }
        };
        section("ends", "How orphans ended", &body)
    }
}

fn more(more: u64, what: &str) -> Markup {
    html! { @if more > 0 { p class="small" { "and " (count(more)) " more " (what) } } }
}
