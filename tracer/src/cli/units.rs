//! The words of options that several commands take: durations and sizes.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

pub use crate::storm::units::parse_duration;

/// An interval between snapshots.
///
/// # Errors
///
/// Not a duration, or not within 100 ms and 60 s.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&interval) {
        Ok(interval)
    } else {
        Err("an interval is between 100ms and 60s".into())
    }
}

/// A port.
///
/// # Errors
///
/// Not a number from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, String> {
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port is a number from 1 to 65535".into()),
    }
}

/// A whole number within a range.
pub fn whole<N>(range: RangeInclusive<N>) -> impl Fn(&str) -> Result<N, String> + Clone
where
    N: FromStr + PartialOrd + Display + Clone,
{
    move |text| match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {} to {}", range.start(), range.end())),
    }
}

/// A process id.
///
/// # Errors
///
/// Not a number above 0.
pub fn parse_pid(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err("a process id is a number; `--comm` takes a name".into()),
    }
}

/// A size in bytes that fits in memory: see [`parse_bytes`].
///
/// # Errors
///
/// Not a size, or 4 GiB or more.
pub fn parse_size(text: &str) -> Result<u32, String> {
    let bytes = parse_bytes(text)?;
    u32::try_from(bytes).map_err(|_| "a size below 4G is wanted here".into())
}

/// A size in bytes: `4096`, `64K`, `4M`, `1G`, `1T` (powers of 1024).
///
/// # Errors
///
/// Not a size.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        unit if !digits.is_empty() => {
            return Err(format!("unknown unit `{unit}`; use K, M, G or T"));
        }
        _ => 1,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(|| "expected a size such as `64K` or `4M`".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_intervals_are_read_and_bounded() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64K"), Ok(65_536));
        assert_eq!(parse_size("4MiB"), Ok(4 << 20));
        assert!(parse_size("8G").is_err());
        assert_eq!(parse_bytes("8G"), Ok(8 << 30));
        assert!(parse_size("lots").is_err());
        assert_eq!(parse_interval("1s"), Ok(Duration::from_secs(1)));
        assert!(parse_interval("10ms").is_err());
    }

    #[test]
    fn numbers_that_are_none_are_told_in_words() {
        assert_eq!(whole(1..=200_u16)("200"), Ok(200));
        for text in ["0", "201", "many", "1e2", ""] {
            let error = whole(1..=200_u16)(text).unwrap_err();
            assert_eq!(error, "expected a whole number from 1 to 200");
        }
        assert_eq!(parse_pid("1"), Ok(1));
        for text in ["0", "nginx", "-4"] {
            assert!(parse_pid(text).unwrap_err().contains("--comm"));
        }
    }
}
