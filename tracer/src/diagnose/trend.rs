//! Growth and time left: one estimator for all that grows towards a limit.
//!
//! Growth is the slope of the newest stretch of samples that is one line. Samples from before a
//! change of pace never slow it down, and where the newest samples are no line yet, growth is not
//! known: [`Trend::per_s`] is then `None`, never a guess. `tests.rs` holds it against courses whose
//! truth is known (ramps, steps, plateaus, saw teeth, noise).

/// Samples older than this are not looked at, unless there are fewer than [`MIN_WINDOW`] newer ones.
pub(crate) const WINDOW_S: f64 = 30.0;
/// A long interval between samples must not leave too few of them.
const MIN_WINDOW: usize = 12;
/// Fewer samples are no line: three always lie close to one.
const MIN_SAMPLES: usize = 4;
/// How far a sample may be off the line: this share of what one interval adds …
const OFF_BY_STEP: f64 = 0.25;
/// … or so many standard deviations of the noise …
const OFF_BY_NOISE: f64 = 3.0;
/// … or one: counts are whole numbers.
const OFF_BY_UNITS: f64 = 1.0;
/// Growth over the stretch below this, or below so many deviations of the noise, is none.
const MIN_GROWTH: f64 = 3.0;
const MIN_GROWTH_NOISE: f64 = 6.0;
/// A slope whose standard error is above this share of it is not known.
const MOST_ERROR: f64 = 0.07;
/// What was seen for one second says nothing of what will be after more than this many.
const HORIZON: f64 = 100.0;
/// What fell back from a level, far below the limit, is on its way to the limit once it is so much above that level.
const ABOVE_FALL: f64 = 1.1;
/// A fall by half is a collapse, if it is not noise of a small number.
const COLLAPSE: f64 = 16.0;

/// What the last samples say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trend {
    /// Growth a second, 0 where there is none beyond the noise; `None` where the newest samples
    /// are too few, or no line.
    pub per_s: Option<f64>,
    /// How long it has been so, seconds: the length of the stretch.
    pub seen_s: f64,
    /// The highest level it fell back from within the window, if it collapsed: nothing below that
    /// is on its way to a limit above.
    fell_from: Option<f64>,
}

impl Trend {
    /// The trend of (seconds, value) samples, oldest first.
    #[must_use]
    pub fn of(samples: &[(f64, f64)]) -> Self {
        let Some(&(now, _)) = samples.last() else {
            return Self::default();
        };
        let recent = samples.partition_point(|(at, _)| now - at > WINDOW_S);
        let window = &samples[recent.min(samples.len().saturating_sub(MIN_WINDOW))..];
        let smooth = without_odd_ones(window);
        let (since, fell_from) = last_collapse(&smooth);
        let line = newest_line(&smooth[since..], noise(&window[since..]));
        let (per_s, seen_s) = line.unzip();
        Self { per_s, seen_s: seen_s.unwrap_or(0.0), fell_from }
    }

    /// Seconds until `limit` is reached from `now`; `None` where that cannot be said: no growth, a
    /// time too long for what was seen, or a level that it has just fallen back from.
    #[must_use]
    pub fn seconds_until(&self, now: u64, limit: u64) -> Option<f64> {
        let per_s = self.per_s.filter(|per_s| *per_s > 0.0)?;
        if limit == 0 {
            return None;
        }
        let left = limit.saturating_sub(now) as f64 / per_s;
        let falls_back = self
            .fell_from
            .is_some_and(|level| (now as f64) < ABOVE_FALL * level && 2.0 * level < limit as f64);
        (left <= HORIZON * self.seen_s && !falls_back).then_some(left)
    }
}

/// The first sample after the last collapse (the kernel killed them, or a server let go of all),
/// and the highest level from which it collapsed.
fn last_collapse(samples: &[(f64, f64)]) -> (usize, Option<f64>) {
    let collapsed = |pair: &[(f64, f64)]| {
        let (before, after) = (pair[0].1, pair[1].1);
        after < before / 2.0 && before - after >= COLLAPSE
    };
    let levels = samples.windows(2).filter(|pair| collapsed(pair)).map(|pair| pair[0].1);
    let fell_from = levels.max_by(f64::total_cmp);
    let last = samples.windows(2).rposition(collapsed);
    (last.map_or(0, |at| at + 1), fell_from)
}

/// The slope of the longest newest stretch that is a line, and its length in seconds.
fn newest_line(samples: &[(f64, f64)], noise: f64) -> Option<(f64, f64)> {
    let &(now, _) = samples.last()?;
    let mut newest_first = samples.iter().rev().map(|(at, value)| (at - now, *value));
    let mut line = Line::default();
    for _ in 0..MIN_SAMPLES {
        line.add(newest_first.next()?);
    }
    let base = samples[samples.len() - MIN_SAMPLES..].iter();
    let tolerance = line.tolerance(noise)?;
    if base.clone().any(|(at, value)| line.off((at - now, *value)) > tolerance) {
        return None;
    }
    for sample in newest_first {
        // Held against the line of the newer samples: one that is off would bend its own line.
        if line.off(sample) > line.tolerance(noise)? {
            break;
        }
        let mut longer = line;
        longer.add(sample);
        // A curve bends slowly away from its newest samples.
        let tolerance = longer.tolerance(noise)?;
        if base.clone().map(|(at, value)| longer.off((at - now, *value))).sum::<f64>()
            > tolerance * MIN_SAMPLES as f64
        {
            break;
        }
        line = longer;
    }
    let per_s = line.slope()?;
    let growth = (per_s * line.span()).abs();
    if growth < MIN_GROWTH.max(MIN_GROWTH_NOISE * noise) {
        return Some((0.0, line.span()));
    }
    (line.slope_error(noise) <= MOST_ERROR * per_s.abs()).then_some((per_s, line.span()))
}

/// Least squares, a sample at a time, newest first.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    count: f64,
    oldest: f64,
    at: f64,
    value: f64,
    at_at: f64,
    at_value: f64,
}

impl Line {
    fn add(&mut self, (at, value): (f64, f64)) {
        self.count += 1.0;
        self.oldest = at;
        self.at += at;
        self.value += value;
        self.at_at += at * at;
        self.at_value += at * value;
    }

    /// `None` where all samples are of one time.
    fn slope(&self) -> Option<f64> {
        let spread = self.at_at - self.at * self.at / self.count;
        let slope = (self.at_value - self.at * self.value / self.count) / spread;
        (spread > 0.0 && slope.is_finite()).then_some(slope)
    }

    /// The standard error of the slope, where samples have this noise.
    fn slope_error(&self, noise: f64) -> f64 {
        noise / (self.at_at - self.at * self.at / self.count).sqrt()
    }

    fn span(&self) -> f64 {
        -self.oldest
    }

    /// How far a sample is off.
    fn off(&self, (at, value): (f64, f64)) -> f64 {
        let slope = self.slope().unwrap_or(0.0);
        (value - self.value / self.count - slope * (at - self.at / self.count)).abs()
    }

    fn tolerance(&self, noise: f64) -> Option<f64> {
        let step = self.slope()?.abs() * self.span() / (self.count - 1.0);
        Some((OFF_BY_STEP * step).max(OFF_BY_NOISE * noise).max(OFF_BY_UNITS))
    }
}

/// The standard deviation of the noise: how far samples are off the middle of their neighbours. By
/// the median, which a few changes of pace leave alone.
fn noise(samples: &[(f64, f64)]) -> f64 {
    /// Of the offset of a sample from the middle of two others, all three with deviation 1 …
    const DEVIATION: f64 = 1.224_744_871_391_589;
    /// … and the median of what has deviation 1.
    const MEDIAN: f64 = 0.674_489_750_196_081_7;
    let mut offsets: Vec<f64> = samples.windows(3).map(|three| off_middle(three).abs()).collect();
    if offsets.is_empty() {
        return 0.0;
    }
    let middle = offsets.len() / 2;
    let (_, median, _) = offsets.select_nth_unstable_by(middle, f64::total_cmp);
    *median / (DEVIATION * MEDIAN)
}

/// A sample that is further off from both its neighbours than they are from each other moves to the
/// line between them. Ramps, steps and the tops of saw teeth stay as they are.
fn without_odd_ones(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut smooth = samples.to_vec();
    for index in 1..smooth.len().saturating_sub(1) {
        let three = &smooth[index - 1..=index + 1];
        let apart = (three[2].1 - three[0].1).abs();
        let off = |neighbour: (f64, f64)| (three[1].1 - neighbour.1).abs();
        if off(three[0]).min(off(three[2])) > apart {
            smooth[index].1 -= off_middle(three);
        }
    }
    smooth
}

/// How far the second of three samples is above the line between the others.
fn off_middle(three: &[(f64, f64)]) -> f64 {
    let span = three[2].0 - three[0].0;
    let share = if span > 0.0 { (three[1].0 - three[0].0) / span } else { 0.5 };
    three[1].1 - three[0].1 - share * (three[2].1 - three[0].1)
}

#[cfg(test)]
mod tests;
