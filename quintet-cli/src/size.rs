//! Sizes: `4096`, `64K`, `1M`, `2GiB`.

/// Reads a number of bytes. Units are powers of 1024, with or without `B` or `iB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size: give bytes, or a number and K, M, G or T, such as 4096, 64K or 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{text}' is more bytes than 64 bits count"))
}

/// A number of bytes as a person says it: `512 bytes`, `64 KiB`, `1.5 GiB`.
pub fn spoken(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    }
    let power = (bytes.ilog2() / 10).min(6);
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    let unit = UNITS[power as usize - 1];
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        let cases =
            [("4096", 4096), ("64K", 65536), ("1M", 1 << 20), ("2GiB", 2 << 30), ("1kb", 1024), ("0", 0), ("3T", 3 << 40)];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "1.5M", "1X", " 1", "1 K", "18446744073709551616", "17179869184G"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speaks() {
        let cases =
            [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (u64::MAX, "15.9 EiB")];
        for (bytes, text) in cases {
            assert_eq!(spoken(bytes), text);
        }
    }
}
