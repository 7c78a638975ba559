//! Growth and projection: robust against a single odd sample, silent where there is no trend.

/// Samples looked at: about the last 30 seconds, at most this many.
pub(super) const WINDOW_S: f64 = 30.0;
const MAX_POINTS: usize = 40;
/// Fewer samples, or a shorter time, say nothing.
const MIN_POINTS: usize = 4;
pub(super) const MIN_SPAN_S: f64 = 1.5;
/// A smaller fall is noise.
const COLLAPSE: f64 = 16.0;

/// What the last samples say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trend {
    /// Growth a second: the median of the slopes between all pairs of samples (Theil–Sen).
    pub per_s: f64,
    /// Whether a projection may be built on it: enough samples, growth well above their scatter,
    /// and still going on.
    pub credible: bool,
}

impl Trend {
    /// The trend of (seconds, value) samples, oldest first; only the last 30 seconds count.
    ///
    /// It is that of the longest stretch up to now, of all, their last half, quarter and so on, that
    /// is one line: what was before growth began would make it look slower than it is.
    #[must_use]
    pub fn of(samples: &[(f64, f64)]) -> Self {
        let Some(&(now, _)) = samples.last() else {
            return Self::default();
        };
        let from = samples.partition_point(|(at, _)| now - at > WINDOW_S);
        let mut stretch = since_collapse(&samples[from..]);
        let of_all = Self::of_all(stretch);
        let mut trend = of_all;
        while !trend.credible {
            let half = (now - stretch[0].0) / 2.0;
            if half < MIN_SPAN_S {
                return of_all;
            }
            stretch = &stretch[stretch.partition_point(|(at, _)| now - at > half)..];
            trend = Self::of_all(stretch);
        }
        trend
    }

    fn of_all(samples: &[(f64, f64)]) -> Self {
        let points = thin(samples);
        let Some(per_s) = slope(&points) else {
            return Self::default();
        };
        Self { per_s, credible: is_credible(&points, per_s) }
    }

    /// Seconds until `limit` is reached from `now`; `None` without a credible growth.
    #[must_use]
    pub fn seconds_until(&self, now: u64, limit: u64) -> Option<f64> {
        if !self.credible || self.per_s <= 0.0 || limit == 0 {
            return None;
        }
        Some(limit.saturating_sub(now) as f64 / self.per_s)
    }
}

/// What came after the last collapse (the kernel killed them, or a server let go of all): growth
/// from before it says nothing about growth now.
fn since_collapse(samples: &[(f64, f64)]) -> &[(f64, f64)] {
    let collapsed = |pair: &[(f64, f64)]| {
        let (before, after) = (pair[0].1, pair[1].1);
        after < before / 2.0 && before - after >= COLLAPSE
    };
    let last = samples.windows(2).rposition(collapsed);
    last.map_or(samples, |at| &samples[at + 1..])
}

/// At most [`MAX_POINTS`] of them, evenly, the last always among them.
fn thin(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = samples.len().div_ceil(MAX_POINTS).max(1);
    let mut points: Vec<_> = samples.iter().rev().step_by(step).copied().collect();
    points.reverse();
    points
}

fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes: Vec<f64> = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (at, value)) in points.iter().enumerate() {
        for (later, then) in &points[index + 1..] {
            if later > at {
                slopes.push((then - value) / (later - at));
            }
        }
    }
    median(&mut slopes)
}

fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    values.sort_unstable_by(f64::total_cmp);
    Some(if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    })
}

fn is_credible(points: &[(f64, f64)], per_s: f64) -> bool {
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
        return false;
    };
    let span = last - first;
    if points.len() < MIN_POINTS || span < MIN_SPAN_S {
        return false;
    }
    let growth = per_s.abs() * span;
    // Scatter around the line through the medians.
    let mut offsets: Vec<f64> = points.iter().map(|(at, value)| value - per_s * at).collect();
    let Some(offset) = median(&mut offsets) else {
        return false;
    };
    let mut scatter: Vec<f64> =
        points.iter().map(|(at, value)| (value - per_s * at - offset).abs()).collect();
    let Some(scatter) = median(&mut scatter) else {
        return false;
    };
    // Still going on: the last third grows too, and not much faster.
    let tail = &points[points.len() - (points.len() / 3).max(3).min(points.len())..];
    let recent = slope(tail).unwrap_or(0.0);
    growth >= 4.0 && growth > 4.0 * scatter && (0.3..1.5).contains(&(recent / per_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(per_s: f64, noise: f64) -> Vec<(f64, f64)> {
        (0..30)
            .map(|at| {
                let wobble = if at % 2 == 0 { noise } else { -noise };
                (f64::from(at), 100.0 + per_s * f64::from(at) + wobble)
            })
            .collect()
    }

    #[test]
    fn steady_growth_is_projected() {
        let trend = Trend::of(&line(297.0, 20.0));
        assert!((trend.per_s - 297.0).abs() < 2.0, "{trend:?}");
        assert!(trend.credible);
        let left = trend.seconds_until(118_204, 131_072).unwrap();
        assert!((left - 43.3).abs() < 1.0, "{left}");
    }

    #[test]
    fn one_odd_sample_changes_nothing() {
        let mut samples = line(10.0, 0.0);
        samples[15].1 = 1e9;
        assert!((Trend::of(&samples).per_s - 10.0).abs() < 0.5);
    }

    #[test]
    fn noise_a_burst_that_ended_and_a_falling_count_project_nothing() {
        assert_eq!(Trend::of(&line(0.1, 50.0)).seconds_until(100, 1000), None);
        let burst: Vec<_> =
            (0..12).map(|at| (f64::from(at), f64::from(at.min(4)) * 100.0)).collect();
        assert_eq!(Trend::of(&burst).seconds_until(400, 1000), None);
        assert_eq!(Trend::of(&line(-5.0, 0.0)).seconds_until(100, 1000), None);
        assert_eq!(Trend::of(&[]).seconds_until(100, 1000), None);
        assert_eq!(Trend::of(&[(0.0, 1.0), (1.0, 900.0)]).seconds_until(900, 1000), None);
    }

    #[test]
    fn growth_is_measured_anew_after_a_collapse() {
        let mut samples: Vec<_> = (0..20).map(|at| (f64::from(at), 20.0 * f64::from(at))).collect();
        samples.push((20.0, 3.0));
        let trend = Trend::of(&samples);
        assert_eq!((trend.per_s, trend.credible), (0.0, false), "nothing is known yet");
        samples.extend((21..26).map(|at| (f64::from(at), 3.0 + 7.0 * f64::from(at - 20))));
        let trend = Trend::of(&samples);
        assert!(trend.credible && (trend.per_s - 7.0).abs() < 0.1, "{trend:?}");
    }

    /// Whatever stood before, it never says more than twice the time that is left, and says it soon.
    #[test]
    fn growth_that_began_late_is_projected_from_where_it_began() {
        const PER_S: f64 = 25.0;
        const LIMIT: u64 = 100;
        for before in 0..40 {
            let mut samples: Vec<_> = (0..before).map(|at| (0.2 * f64::from(at), 0.0)).collect();
            let mut told = 0;
            for after in 0..20 {
                let grown = 0.2 * PER_S * f64::from(after);
                samples.push((0.2 * f64::from(before + after), grown));
                let Some(left) = Trend::of(&samples).seconds_until(grown as u64, LIMIT) else {
                    continue;
                };
                let right = (LIMIT as f64 - grown) / PER_S;
                assert!((right / 2.0..=2.0 * right).contains(&left), "{before}+{after}: {left}");
                told += 1;
            }
            assert!(told >= 4, "{before}: {told}");
        }
    }

    #[test]
    fn only_the_last_half_minute_counts() {
        let mut samples: Vec<_> = (0..300).map(|at| (f64::from(at), 5.0)).collect();
        samples.extend((300..331).map(|at| (f64::from(at), 5.0 + 8.0 * f64::from(at - 300))));
        assert!((Trend::of(&samples).per_s - 8.0).abs() < 0.1);
    }
}
