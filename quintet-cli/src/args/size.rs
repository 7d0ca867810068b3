//! Sizes: `4096`, `64K`, `1M`, `2GiB`.

/// Parses a number of bytes. The units are powers of 1024, with or without `B` or `iB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let invalid = || format!("'{text}' is not a size: give bytes, or a number and K, M, G or T, such as 4096, 64K or 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{text}' is too large: a size has at most 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units() {
        let cases =
            [("4096", 4096), ("64K", 65536), ("1M", 1 << 20), ("2GiB", 2 << 30), ("1kb", 1024), ("0", 0), ("3T", 3 << 40)];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "1.5M", "1X", " 1", "1 K", "18446744073709551616", "17179869184G"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
