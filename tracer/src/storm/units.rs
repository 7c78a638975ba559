//! The words of storm's options: rates and durations.

use std::str::FromStr;
use std::time::Duration;

/// Connections a second; `None` is as fast as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Option<u32>);

/// Above this a pause between two connections is shorter than a sleep can be.
const MAX_RATE: u32 = 1_000_000;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self(None));
        }
        let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
        match number.parse() {
            Ok(rate) if (1..=MAX_RATE).contains(&rate) => Ok(Self(Some(rate))),
            Ok(_) => Err(format!("a rate is between 1/s and {MAX_RATE}/s, or `unlimited`")),
            Err(_) => Err("expected a rate such as `5000/s`, `5000` or `unlimited`".into()),
        }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(rate) => write!(f, "{rate}/s"),
            None => f.write_str("unlimited"),
        }
    }
}

/// Reads `500ms`, `10s`, `2m` `1h` or a bare number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ if !number.is_empty() => {
            return Err(format!("unknown unit `{unit}`; use ms, s, m or h"));
        }
        _ => 1.0,
    };
    number
        .trim_end()
        .parse::<f64>()
        .ok()
        .and_then(|value| Duration::try_from_secs_f64(value * scale).ok())
        .ok_or_else(|| "expected a duration such as `500ms`, `10s` or `2m`".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_in_all_three_spellings() {
        assert_eq!("5000/s".parse(), Ok(Rate(Some(5000))));
        assert_eq!("5000".parse(), Ok(Rate(Some(5000))));
        assert_eq!("unlimited".parse(), Ok(Rate(None)));
        for bad in ["0", "-1", "fast", "", "1e9", "2000000/s", "5/m"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_with_and_without_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "s", "-1s", "1d", "soon", "NaN", "infs", "1e300s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
