//! The bytes of a message as output.

use crate::output::base64;
use serde::Serialize;

/// A message with its bytes: as text if they are UTF-8, else in base64.
#[derive(Serialize)]
pub struct Content<'a> {
    #[serde(rename = "type")]
    mtype: i64,
    length: usize,
    text: Option<&'a str>,
    base64: Option<String>,
}

impl Content<'_> {
    pub fn new(mtype: i64, bytes: &[u8]) -> Content<'_> {
        let text = std::str::from_utf8(bytes).ok();
        let base64 = text.is_none().then(|| base64::encode(bytes));
        Content { mtype, length: bytes.len(), text, base64 }
    }
}

/// Returns the bytes as text if it is safe on a terminal.
pub fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_safe = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().all(is_safe).then_some(text)
}

/// Returns the first bytes on one line: `"hello"`, or `68 00 ff ...`.
pub fn excerpt(bytes: &[u8]) -> String {
    const TEXT: usize = 200;
    const HEX: usize = 32;
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().count() > TEXT => format!("{:?}...", text.chars().take(TEXT).collect::<String>()),
        Ok(text) => format!("{text:?}"),
        Err(_) => {
            let hex: Vec<String> = bytes.iter().take(HEX).map(|byte| format!("{byte:02x}")).collect();
            format!("{}{}", hex.join(" "), if bytes.len() > HEX { " ..." } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_distinguished_from_other_bytes() {
        let json = |bytes: &[u8]| serde_json::to_string(&Content::new(3, bytes)).unwrap();
        assert_eq!(json("gr\u{fc}n\n".as_bytes()), r#"{"type":3,"length":6,"text":"grün\n","base64":null}"#);
        assert_eq!(json(b"\xff\0a"), r#"{"type":3,"length":3,"text":null,"base64":"/wBh"}"#);
        assert_eq!(json(b""), r#"{"type":3,"length":0,"text":"","base64":null}"#);
        assert_eq!((printable(b"a\tb\n"), printable(b"a\x1b[2J"), printable(b"\xff")), (Some("a\tb\n"), None, None));
    }

    #[test]
    fn an_excerpt_is_one_line() {
        assert_eq!(excerpt(b"a\n\x1b"), r#""a\n\u{1b}""#);
        assert_eq!(excerpt(&[0xff, 0]), "ff 00");
        assert_eq!(excerpt(&[0xff; 40]).len(), 32 * 3 - 1 + 4);
        assert_eq!(excerpt(&[b'x'; 300]), format!("\"{}\"...", "x".repeat(200)));
    }
}
