//! What it did: the kernel's counters over the range, and the worst moment.

use std::collections::BTreeMap;

use super::bounds::Bounds;
use super::episodes::Main;
use crate::report::model::{Impact, Worst};
use crate::time::Wall;

/// `replay`: the command that shows a moment.
pub(super) fn impact(
    bounds: &Bounds<'_>,
    main: &Main,
    pressure_s: f64,
    replay: impl Fn(Wall) -> String,
) -> Impact {
    let names = bounds.after.counters.keys();
    let counters: BTreeMap<&'static str, u64> = names
        .map(|name| (*name, bounds.increase(|it| it.counters.get(name).copied().unwrap_or(0))))
        .filter(|(_, increase)| *increase > 0)
        .collect();
    let counted = |name: &str| counters.get(name).copied().unwrap_or(0);
    let worst = &bounds.worst;
    Impact {
        killed: bounds.increase(|it| it.orphans.killed),
        listen_overflows: counted("ListenOverflows"),
        listen_drops: counted("ListenDrops"),
        time_wait_overflows: counted("TCPTimeWaitOverflow"),
        timed_out: counted("TCPAbortOnTimeout"),
        pressure_s,
        opened: bounds.increase(|it| it.totals.opened),
        worst: Worst {
            time: worst.time,
            replay: replay(worst.time),
            orphans: worst.orphans.host,
            limit: worst.orphans.limit,
            orphan_bytes: worst.orphans.bytes,
            tcp_mem_pages: worst.tcp_mem.pages,
            tcp_mem_high: worst.tcp_mem.high,
            page_bytes: worst.tcp_mem.page_bytes,
            verdict: worst.verdict.text.clone(),
        },
        episodes: main.listed.clone(),
        main_episode: main.index,
        more_episodes: main.more,
        counters,
    }
}
