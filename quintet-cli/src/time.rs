//! Times as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds since the Epoch as local time, `2026-11-20 10:00:00`; `-` for 0, which means never.
pub fn local(seconds: i64) -> String {
    if seconds == 0 {
        return "-".to_owned();
    }
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tells_never_and_nonsense() {
        assert_eq!(super::local(0), "-");
        assert_eq!(super::local(i64::MAX), format!("@{}", i64::MAX));
        assert_eq!(super::local(1_795_168_800).len(), "2026-11-20 10:00:00".len());
    }
}
