//! Types of messages: `1` to `9223372036854775807`.

/// Parses a message type, which is at least 1.
pub fn parse(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(mtype @ 1..) => Ok(mtype),
        _ => Err(format!("'{text}' is not a message type: give a number from 1 to {}", i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_begin_at_1() {
        assert_eq!((parse("1"), parse("9223372036854775807")), (Ok(1), Ok(i64::MAX)));
        for text in ["0", "-1", "9223372036854775808", "", "x", "1.5"] {
            assert!(parse(text).unwrap_err().contains("is not a message type: give a number from 1"), "{text}");
        }
    }
}
