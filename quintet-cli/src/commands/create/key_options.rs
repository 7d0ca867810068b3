//! The options of a new object that all classes share: key and mode.

use crate::failure::Failure;
use crate::words::clean;
use quintet::Key;
use std::str::FromStr;

#[derive(clap::Args)]
pub struct KeyOptions {
    /// The key, decimal or 0x hexadecimal [default: private]
    #[arg(long, allow_negative_numbers = true)]
    key: Option<Key>,

    /// The key that ftok(3) makes from a file and a project: a number or one character [default
    /// project: 1]
    #[arg(long, value_name = "PATH[:PROJ]", conflicts_with = "key")]
    ftok: Option<FtokKey>,

    /// The access mode, octal
    #[arg(long, default_value = "0600", value_parser = parse_mode)]
    pub mode: u32,

    /// Fail if the key is in use
    #[arg(long)]
    pub exclusive: bool,
}

impl KeyOptions {
    pub fn key(&self) -> Result<Key, Failure> {
        match &self.ftok {
            None => Ok(self.key.unwrap_or(Key::PRIVATE)),
            Some(FtokKey { path, project }) => Key::ftok(path, *project).map_err(|errno| {
                Failure::call(format_args!("make a key from {}", clean(path)), errno).remedy("name an existing file")
            }),
        }
    }
}

/// A file and a project number, the arguments of ftok.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FtokKey {
    path: String,
    project: i32,
}

impl FromStr for FtokKey {
    type Err = String;

    fn from_str(text: &str) -> Result<FtokKey, String> {
        let split = text.rsplit_once(':').and_then(|(path, project)| Some((path, parse_project(project)?)));
        let (path, project) = split.unwrap_or((text, 1));
        if path.is_empty() {
            return Err(format!("'{text}' names no file: give PATH or PATH:PROJ"));
        }
        Ok(FtokKey { path: path.to_owned(), project })
    }
}

fn parse_project(text: &str) -> Option<i32> {
    if let Some(hex) = text.strip_prefix("0x") {
        return i32::from_str_radix(hex, 16).ok();
    }
    let mut bytes = text.bytes();
    match (bytes.next(), bytes.next()) {
        (Some(byte), None) if !byte.is_ascii_digit() => Some(i32::from(byte)),
        _ => text.parse().ok(),
    }
}

/// Parses nine permission bits in octal.
fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!("'{text}' is not a mode: give three octal digits, such as 0660")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_file_and_a_project() {
        let cases = [
            ("/f", "/f", 1),
            ("/f:q", "/f", 113),
            ("/f:7", "/f", 7),
            ("/f:0x41", "/f", 65),
            ("/a:bc", "/a:bc", 1),
            ("/a:b:1", "/a:b", 1),
        ];
        for (text, path, project) in cases {
            assert_eq!(text.parse(), Ok(FtokKey { path: path.into(), project }), "{text}");
        }
        assert!(":1".parse::<FtokKey>().is_err());
    }

    #[test]
    fn a_mode_has_nine_bits() {
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert!(parse_mode("1777").is_err() && parse_mode("rw").is_err() && parse_mode("8").is_err());
    }
}
