//! Rates: what changed since the last tick, a second.

use super::snapshot::{StateRates, States, TotalRates, Totals};

/// Increase a second; 0 where no time has passed.
pub(super) fn rate(before: u64, now: u64, elapsed_s: f64) -> f64 {
    if elapsed_s > 0.0 { now.saturating_sub(before) as f64 / elapsed_s } else { 0.0 }
}

/// Change a second, either way.
pub(super) fn change(before: u64, now: u64, elapsed_s: f64) -> f64 {
    if elapsed_s > 0.0 { (now as f64 - before as f64) / elapsed_s } else { 0.0 }
}

pub(super) fn state_rates(before: &States, now: &States, elapsed_s: f64) -> StateRates {
    let change = |before, now| change(before, now, elapsed_s);
    StateRates {
        established: change(before.established, now.established),
        fin_wait1: change(before.fin_wait1, now.fin_wait1),
        fin_wait2: change(before.fin_wait2, now.fin_wait2),
        close_wait: change(before.close_wait, now.close_wait),
        last_ack: change(before.last_ack, now.last_ack),
        closing: change(before.closing, now.closing),
        time_wait: change(before.time_wait, now.time_wait),
    }
}

pub(super) fn total_rates(before: &Totals, now: &Totals, elapsed_s: f64) -> TotalRates {
    let rate = |before, now| rate(before, now, elapsed_s);
    TotalRates {
        opened: rate(before.opened, now.opened),
        closed: rate(before.closed, now.closed),
        orphaned: rate(before.orphaned, now.orphaned),
        time_wait: rate(before.time_wait, now.time_wait),
        resets_in: rate(before.resets_in, now.resets_in),
        resets_out: rate(before.resets_out, now.resets_out),
    }
}
