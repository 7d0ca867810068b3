//! Durations: `5`, `0.5`, `200ms`, `2m`.

use std::time::Duration;

/// Reads a duration: seconds, or a number and `ms`, `s`, `m` or `h`; with a decimal point or without.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("'{text}' is not a duration: give seconds, or a number and ms, s, m or h, such as 5, 0.5, 200ms or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let seconds = match &text[digits..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// A number of seconds as a person says it: `12 s`, `3 min`, `5 h`, `2 days`.
pub fn spoken(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        let cases = [("5", 5000), ("0", 0), ("0.5", 500), (".25s", 250), ("200ms", 200), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, milliseconds) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1d", " 1", "1 s", "1.2.3", "inf", "nan", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speaks() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days"), (-5, "0 s")] {
            assert_eq!(spoken(seconds), text);
        }
    }
}
