//! Courses whose truth is known: what is said of them at each sample, held against it.

use super::*;

/// One course: a name, its samples, and at each the truth of growth (`None`: nothing may be
/// demanded, the course is just changing).
struct Course {
    name: &'static str,
    samples: Vec<(f64, f64)>,
    limit: u64,
    /// Samples whose growth this is, from the first of them on.
    ramp: Option<(usize, f64)>,
}

/// A number that looks random and is the same each time (SplitMix64), in -1..1.
fn random(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// `quiet` samples at `level`, then a ramp that begins between two samples.
fn ramp(
    interval: f64,
    quiet: usize,
    level: f64,
    per_s: f64,
    begins: f64,
    noise: f64,
) -> Vec<(f64, f64)> {
    (0..quiet + 25)
        .map(|index| {
            let at = index as f64 * interval;
            let since = at - (quiet as f64 - 1.0 + begins) * interval;
            let value = level + per_s * since.max(0.0) + noise * random(index as u64);
            (at, value.max(0.0).round())
        })
        .collect()
}

fn ramps() -> Vec<Course> {
    let course = |name, samples, ramp| Course { name, samples, limit: 4_096, ramp: Some(ramp) };
    let mut missing = ramp(1.0, 6, 0.0, 60.0, 0.0, 0.0);
    missing.remove(9);
    let mut odd = ramp(1.0, 6, 0.0, 60.0, 0.0, 0.0);
    odd[10].1 = 3_000.0;
    vec![
        course("ramp from the start", ramp(1.0, 0, 0.0, 60.0, 0.0, 0.0), (0, 60.0)),
        course("ramp after 6 s of quiet", ramp(1.0, 6, 0.0, 60.0, 0.0, 0.0), (6, 60.0)),
        course("ramp after 30 s of quiet", ramp(1.0, 30, 12.0, 60.0, 0.5, 0.0), (30, 60.0)),
        course("ramp that began between samples", ramp(1.0, 6, 0.0, 60.0, 0.8, 0.0), (6, 60.0)),
        course("ramp, five samples a second", ramp(0.2, 40, 0.0, 60.0, 0.3, 0.0), (40, 60.0)),
        course("ramp, a sample in 5 s", ramp(5.0, 6, 0.0, 20.0, 0.3, 0.0), (6, 20.0)),
        course(
            "ramp after a ramp",
            {
                let mut first = ramp(1.0, 0, 0.0, 10.0, 0.0, 0.0);
                let (at, value) = first[24];
                first.extend((1..25).map(|s| (at + f64::from(s), value + 60.0 * f64::from(s))));
                first
            },
            (25, 60.0),
        ),
        course("ramp with noise", ramp(1.0, 20, 200.0, 60.0, 0.0, 12.0), (20, 60.0)),
        course("ramp, one sample missing", missing, (6, 60.0)),
        course("ramp, one sample odd", odd, (6, 60.0)),
        course(
            "ramp after a kill",
            {
                let mut first = ramp(1.0, 0, 0.0, 160.0, 0.0, 0.0);
                let (at, _) = *first.last().unwrap();
                first.extend((1..25).map(|s| (at + f64::from(s), 20.0 + 60.0 * f64::from(s))));
                first
            },
            (25, 60.0),
        ),
    ]
}

/// From the sixth sample of a ramp on, growth and time left are right within 15 %; before that,
/// whatever is said is not off by more than a third. Prints the table of errors.
#[test]
fn a_ramp_is_known_from_its_sixth_sample_on() {
    println!("{:34} {:>6} {:>10} {:>10} {:>10}", "course", "first", "6th", "worst", "median");
    for course in ramps() {
        let (begin, per_s) = course.ramp.unwrap();
        let mut errors = Vec::new();
        let mut first = None;
        for end in begin + 1..=course.samples.len() {
            let samples = &course.samples[..end];
            let now = samples[end - 1].1;
            let trend = Trend::of(samples);
            let right = (course.limit as f64 - now) / per_s;
            let said = trend.seconds_until(now as u64, course.limit);
            let nth = end - begin;
            if let Some(left) = said {
                let error = (left - right).abs() / right;
                first.get_or_insert(nth);
                if nth >= 6 {
                    errors.push(error);
                } else {
                    assert!(error < 0.34, "{}: sample {nth} says {left}, not {right}", course.name);
                }
            } else if nth >= 6 {
                // A level that it has just fallen back from is no way to the limit, but growth is known.
                let growth = trend
                    .per_s
                    .unwrap_or_else(|| panic!("{}: sample {nth}: {trend:?}", course.name));
                errors.push((growth - per_s).abs() / per_s);
            }
        }
        let sixth = errors[0];
        errors.sort_unstable_by(f64::total_cmp);
        let worst = *errors.last().unwrap();
        println!(
            "{:34} {:>6} {:>9.1}% {:>9.1}% {:>9.1}%",
            course.name,
            first.map_or("-".to_owned(), |first| first.to_string()),
            100.0 * sixth,
            100.0 * worst,
            100.0 * errors[errors.len() / 2]
        );
        assert!(worst <= 0.15, "{}: {worst}", course.name);
    }
}

#[test]
fn growth_is_none_after_four_flat_samples_and_no_time_is_left_over() {
    for interval in [0.2, 1.0, 5.0] {
        for grown in [3, 10, 40] {
            let mut samples: Vec<_> = (0..=grown)
                .map(|n| (interval * f64::from(n), 60.0 * interval * f64::from(n)))
                .collect();
            let (end, top) = *samples.last().unwrap();
            for flat in 1..20 {
                samples.push((end + interval * f64::from(flat), top));
                let trend = Trend::of(&samples);
                assert_eq!(
                    trend.seconds_until(top as u64, 100_000),
                    None,
                    "{flat} flat: {trend:?}"
                );
                if flat >= 4 {
                    assert_eq!(trend.per_s, Some(0.0), "{interval} s, {grown}+{flat}");
                }
            }
        }
    }
}

#[test]
fn noise_steps_and_saw_teeth_are_on_no_way_to_a_limit() {
    let courses: [(&str, Vec<(f64, f64)>); 5] = [
        ("noise", (0..400).map(|n| (f64::from(n), 200.0 + 50.0 * random(n as u64))).collect()),
        ("alternating", (0..90).map(|n| (f64::from(n), 90.0 + f64::from(n % 2) * 12.0)).collect()),
        ("step", (0..90).map(|n| (f64::from(n), if n < 40 { 10.0 } else { 500.0 })).collect()),
        ("fall", (0..90).map(|n| (f64::from(n), 900.0 - 10.0 * f64::from(n))).collect()),
        ("few", vec![(0.0, 1.0), (1.0, 900.0), (2.0, 1_800.0)]),
    ];
    for (name, samples) in courses {
        for end in 1..=samples.len() {
            let now = samples[end - 1].1;
            let said = Trend::of(&samples[..end]).seconds_until(now as u64, 2_000);
            assert_eq!(said, None, "{name}, sample {end}");
        }
    }
    // The teeth end at 400 again and again: from the second on, the limit of 2,000 is not near.
    let teeth: Vec<_> = (0..120).map(|n| (f64::from(n), 20.0 * f64::from(n % 20))).collect();
    for end in 21..=teeth.len() {
        let now = teeth[end - 1].1;
        let trend = Trend::of(&teeth[..end]);
        assert_eq!(trend.seconds_until(now as u64, 2_000), None, "sample {end}: {trend:?}");
    }
    assert_eq!(Trend::of(&[]), Trend::default());
}

#[test]
fn slow_growth_of_whole_numbers_is_growth() {
    let slow: Vec<_> = (0..30).map(|n| (f64::from(n), (0.3 * f64::from(n)).floor())).collect();
    let per_s = Trend::of(&slow).per_s.unwrap();
    assert!((per_s - 0.3).abs() < 0.05, "{per_s}");
}

#[test]
fn a_curve_that_bends_is_taken_at_its_newest() {
    // Fills up: growth halves every 10 s.
    let fills = |at: f64| 4_000.0 * (1.0 - 0.5_f64.powf(at / 10.0));
    let samples: Vec<_> = (0..30).map(|n| (f64::from(n), fills(f64::from(n)).round())).collect();
    let right = fills(29.0) - fills(28.0);
    if let Some(per_s) = Trend::of(&samples).per_s {
        assert!((per_s - right).abs() < 0.35 * right, "{per_s}, not {right}");
    }
}

#[test]
fn nothing_is_projected_further_than_was_seen() {
    let slow: Vec<_> = (0..6).map(|n| (f64::from(n), f64::from(n))).collect();
    let trend = Trend::of(&slow);
    assert_eq!(trend.per_s, Some(1.0));
    assert_eq!(trend.seconds_until(5, 505), Some(500.0));
    assert_eq!(trend.seconds_until(5, 600), None);
}

/// Connections come at random: the count walks about its line.
#[test]
fn a_ramp_of_random_arrivals_is_known_too() {
    let mut errors = Vec::new();
    let mut unknown = 0;
    for seed in 0..40_u64 {
        let mut value = 0.0;
        let mut samples: Vec<(f64, f64)> = (0..6).map(|n| (f64::from(n), 0.0)).collect();
        for nth in 1..=24_u64 {
            // 200 a second, deviation 14: near enough to Poisson.
            let sum: f64 = (0..12).map(|n| random(seed * 4_000 + nth * 13 + n)).sum();
            value += (200.0 + 14.0 * sum / 2.0).round();
            samples.push((5.0 + nth as f64, value));
            if nth >= 6 {
                match Trend::of(&samples).per_s {
                    Some(per_s) => errors.push((per_s - 200.0).abs() / 200.0),
                    None => unknown += 1,
                }
            }
        }
    }
    errors.sort_unstable_by(f64::total_cmp);
    println!(
        "{} unknown, {} known, median {:.3}, worst {:.3}",
        unknown,
        errors.len(),
        errors[errors.len() / 2],
        errors[errors.len() - 1]
    );
    assert!(errors[errors.len() - 1] <= 0.15);
}

/// Connections come and go, each staying for about 5 s: their number goes up and down in waves.
#[test]
fn waves_are_on_no_way_to_a_limit() {
    let mut value = 100.0_f64;
    let mut samples = Vec::new();
    let (mut said, mut soonest) = (0, f64::INFINITY);
    for n in 0..4_000_u64 {
        let sum: f64 = (0..12).map(|k| random(n * 13 + k)).sum();
        value += (100.0 - value) / 5.0 + 6.3 * sum / 2.0;
        samples.push((n as f64, value.max(0.0).round()));
        let from = samples.len().saturating_sub(300);
        if let Some(left) = Trend::of(&samples[from..]).seconds_until(value as u64, 4_096) {
            said += 1;
            soonest = soonest.min(left);
        }
    }
    println!("{said} of 4000 said, {soonest}");
    assert!(said <= 40 && soonest > 180.0);
}
