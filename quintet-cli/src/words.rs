//! Words for people: counts, sizes, ages and times, and text that is safe to print or to paste.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns the text with each control character replaced, so that it is safe on a terminal.
///
/// File names and command lines of other programs may contain escape sequences.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns the text as one word of a shell command line, in quotes if it needs them.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:=@%~".contains(c);
    let text = clean(text);
    match text.chars().all(is_plain) && !text.is_empty() && !text.starts_with('~') {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Returns "1 segment", "2 segments", "2 processes".
pub fn count(n: impl Into<u64>, noun: &str) -> String {
    match n.into() {
        1 => format!("1 {noun}"),
        n if noun.ends_with("ss") => format!("{n} {noun}es"),
        n => format!("{n} {noun}s"),
    }
}

/// Returns a number of bytes in the largest unit that fits: `512 bytes`, `64 KiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let power = (bytes.ilog2() / 10).min(6);
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    let unit = UNITS[power as usize - 1];
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

/// Returns a number of seconds in a suitable unit: `12 s`, `3 min`, `5 h`, `2 days`.
pub fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86400),
    }
}

/// Returns seconds since the Epoch as local time, `2026-11-20 10:00:00`; `-` for 0, which means
/// never.
pub fn local_time(seconds: i64) -> String {
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
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn a_shell_word_is_quoted_if_it_must_be() {
        let cases =
            [("/srv/ipc", "/srv/ipc"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("$x", "'$x'"), ("", "''"), ("~", "'~'")];
        for (text, word) in cases {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn nouns_have_plurals() {
        let cases = [(1u32, "process", "1 process"), (2, "process", "2 processes"), (0, "segment", "0 segments")];
        for (n, noun, text) in cases {
            assert_eq!(count(n, noun), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        let cases =
            [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (u64::MAX, "15.9 EiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_have_units() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days"), (-5, "0 s")] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn times_include_never_and_out_of_range() {
        assert_eq!(local_time(0), "-");
        assert_eq!(local_time(i64::MAX), format!("@{}", i64::MAX));
        assert_eq!(local_time(1_795_168_800).len(), "2026-11-20 10:00:00".len());
    }
}
