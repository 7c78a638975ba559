//! Numbers as people read them.

use crate::time::Wall;

/// `118,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Three significant digits at least, with k, M, G: `48.2k`, `412k`, `9.5`, `0`.
pub fn short(number: f64) -> String {
    if !number.is_finite() {
        return String::from("-");
    }
    let size = number.abs();
    for (unit, suffix) in [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        // 999,950 rounds to 1000.0k: the next unit up begins a little early.
        if size >= unit * 0.9995 {
            let value = number / unit;
            return if value.abs() < 99.95 {
                format!("{value:.1}{suffix}")
            } else {
                format!("{value:.0}{suffix}")
            };
        }
    }
    if size >= 9.95 || (size - size.round()).abs() < 0.05 {
        // Adding 0.0 turns a rounded -0 into 0.
        format!("{:.0}", number.round() + 0.0)
    } else {
        format!("{number:.1}")
    }
}

/// A change a second with its sign, without the unit: `+297`, `-1.2k`, `0`.
pub fn change(per_second: f64) -> String {
    let text = short(per_second);
    if per_second > 0.0 && text != "0" && text != "-" { format!("+{text}") } else { text }
}

/// Growth a second as [`change`]; `-` while it is not known.
pub fn growth(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| String::from("-"), change)
}

/// Bytes in powers of 1024: `1.9G`, `38M`, `512B`.
pub fn bytes(number: u64) -> String {
    let number = number as f64;
    let mut value = number;
    for suffix in ["B", "K", "M", "G", "T", "P"] {
        if value < 1023.95 {
            return if suffix == "B" || value >= 9.95 {
                format!("{value:.0}{suffix}")
            } else {
                format!("{value:.1}{suffix}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.0}E")
}

/// `<1 ms`, `40 ms`, `0.4 s`, `43 s`, `2 m 10 s`, `3 h 05 m`, `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return String::from("-");
    }
    if seconds > 0.0 && seconds < 0.000_95 {
        return String::from("<1 ms");
    }
    if seconds > 0.0 && seconds < 0.0995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 9.95 && (seconds - seconds.round()).abs() >= 0.05 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", count(whole / 86_400), whole % 86_400 / 3600),
    }
}

/// Milliseconds, in the unit that suits them: `800 ns`, `40 µs`, `1.2 ms`, `31 ms`, `1.4 s`. Only
/// nothing reads as 0.
pub fn millis(ms: f64) -> String {
    if !ms.is_finite() || ms < 0.0 {
        return String::from("-");
    }
    let [micros, nanos] = [ms * 1e3, ms * 1e6];
    if ms >= 999.5 {
        duration(ms / 1000.0)
    } else if ms == 0.0 || ms >= 9.95 {
        format!("{ms:.0} ms")
    } else if micros >= 999.5 {
        format!("{ms:.1} ms")
    } else if micros >= 9.95 {
        format!("{micros:.0} µs")
    } else if nanos >= 999.5 {
        format!("{micros:.1} µs")
    } else {
        // The kernel's clock knows nothing shorter than a nanosecond.
        format!("{:.0} ns", nanos.max(1.0))
    }
}

/// As [`percent`]; `-` of what is not known.
#[must_use]
pub fn percent_of(part: u64, whole: Option<u64>) -> String {
    percent(part, whole.unwrap_or(0))
}

/// `118,204 of 131,072 (90%)`; `118,204, limit unknown` where it is not to be seen.
#[must_use]
pub fn of_limit(now: u64, limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("{} of {} ({})", count(now), count(limit), percent(now, limit)),
        None => format!("{}, limit unknown", count(now)),
    }
}

/// `90%`; `<1%` for little that is not nothing, `-` of nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::from("-");
    }
    let value = part as f64 * 100.0 / whole as f64;
    if part > 0 && value < 0.95 {
        String::from("<1%")
    } else if part < whole && value > 99.05 {
        // 99.9 % of orphans in one state is not all of them.
        format!("{:.1}%", value.min(99.9))
    } else {
        format!("{value:.0}%")
    }
}

/// `2026-11-22`, the day at `time` in the zone given.
pub fn day(time: Wall, zone: &jiff::tz::TimeZone) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .unwrap_or_default()
        .to_zoned(zone.clone())
        .strftime("%Y-%m-%d")
        .to_string()
}

/// The sentence for a filter that nothing matches, or nothing so far; alike in every command and on
/// the screen.
#[must_use]
pub fn nothing_matches(filter: &str) -> String {
    format!("nothing matches the filter: {filter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(118_204), "118,204");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn short_numbers_keep_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-0.01, "0"),
            (0.4, "0.4"),
            (9.5, "9.5"),
            (12.0, "12"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (48_200.0, "48.2k"),
            (412_000.0, "412k"),
            (-1_234.0, "-1.2k"),
            (2.5e6, "2.5M"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(short(number), text, "{number}");
        }
        assert_eq!(change(297.0), "+297");
        assert_eq!(change(0.02), "0");
        assert_eq!(change(-3.0), "-3");
    }

    #[test]
    fn bytes_are_powers_of_1024() {
        assert_eq!(bytes(0), "0B");
        assert_eq!(bytes(1023), "1023B");
        assert_eq!(bytes(2_040_109_465), "1.9G");
        assert_eq!(bytes(39_845_888), "38M");
    }

    #[test]
    fn durations_name_two_units() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (0.4, "0.4 s"),
            (0.1, "0.1 s"),
            (0.04, "40 ms"),
            (0.000_04, "<1 ms"),
            (43.2, "43 s"),
            (130.0, "2 m 10 s"),
            (11_100.0, "3 h 05 m"),
            (187_200.0, "2 d 4 h"),
            (-1.0, "-"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
        assert_eq!(millis(0.0), "0 ms");
        for (ms, text) in [
            (0.000_000_3, "1 ns"),
            (0.000_8, "800 ns"),
            (0.000_999_7, "1.0 µs"),
            (0.001_2, "1.2 µs"),
            (0.04, "40 µs"),
            (0.2, "200 µs"),
            (0.999_4, "999 µs"),
            (0.999_6, "1.0 ms"),
            (1.04, "1.0 ms"),
            (9.96, "10 ms"),
            (999.6, "1 s"),
        ] {
            assert_eq!(millis(ms), text, "{ms}");
        }
        assert_eq!(millis(41_000.0), "41 s");
    }

    #[test]
    fn percentages_never_round_to_none_or_all() {
        assert_eq!(percent(118_204, 131_072), "90%");
        assert_eq!(percent(1, 131_072), "<1%");
        assert_eq!(percent(117_912, 118_204), "99.8%");
        assert_eq!(percent(118_204, 118_204), "100%");
        assert_eq!(percent(131_071, 131_072), "99.9%");
        assert_eq!(percent(0, 0), "-");
    }
}
