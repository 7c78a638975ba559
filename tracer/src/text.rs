//! Numbers as people read them.

/// `118,204`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `90%`; `-` where there is no limit.
#[must_use]
pub fn per_cent(now: u64, limit: u64) -> String {
    if limit == 0 {
        return "-".to_owned();
    }
    format!("{:.0}%", (now as f64 * 100.0 / limit as f64).floor())
}

/// `43 s`, `2 m 10 s`, `3 h 5 m`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).floor() as u64;
    match whole {
        0..=119 => format!("{whole} s"),
        120..=7199 => format!("{} m {} s", whole / 60, whole % 60),
        _ => format!("{} h {} m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(118_204), "118,204");
        assert_eq!(thousands(1_000_000), "1,000,000");
        assert_eq!(per_cent(118_204, 131_072), "90%");
        assert_eq!(per_cent(1, 0), "-");
        assert_eq!(duration(43.9), "43 s");
        assert_eq!(duration(130.0), "2 m 10 s");
        assert_eq!(duration(11_100.0), "3 h 5 m");
    }
}
