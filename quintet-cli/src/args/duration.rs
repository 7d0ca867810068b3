//! Durations: `5`, `0.5`, `200ms`, `2m`.

use std::time::Duration;

/// Parses a duration: seconds, or a number and `ms`, `s`, `m` or `h`. The number may have a decimal
/// point.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid =
        || format!("'{text}' is not a duration: give seconds, or a number and ms, s, m or h, such as 5, 0.5, 200ms or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| invalid())?;
    let seconds = match &text[digits..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(invalid()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units() {
        let cases = [("5", 5000), ("0", 0), ("0.5", 500), (".25s", 250), ("200ms", 200), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, milliseconds) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1d", " 1", "1 s", "1.2.3", "inf", "nan", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
