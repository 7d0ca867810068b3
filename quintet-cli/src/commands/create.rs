//! `quintet create`: makes a segment and prints its identifier.

use super::view::{KeyView, NamespaceView};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::size;
use quintet::{Errno, Key, Namespace, Segment, SegmentOptions};
use serde::Serialize;
use std::io;
use std::str::FromStr;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create --size 1M                             no key: found by its id only
  quintet create --size 4096 --key 0x4d2 --mode 0660   the C call shmget(0x4d2, 4096, IPC_CREAT | 0660)
  quintet create --size 64K --ftok /etc/hosts:q        the key of ftok(\"/etc/hosts\", 'q')";

/// Create a segment, or find the one that has the key, and print its identifier
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The size: bytes, or with K, M, G, T
    #[arg(long, value_parser = size::parse)]
    size: u64,

    /// The key, decimal or 0x hexadecimal [default: private]
    #[arg(long, allow_negative_numbers = true)]
    key: Option<Key>,

    /// The key that ftok(3) makes of a file and a project: a number or one character, 1 if left out
    #[arg(long, value_name = "PATH[:PROJ]", conflicts_with = "key")]
    ftok: Option<FileKey>,

    /// The access mode, octal
    #[arg(long, default_value = "0600", value_parser = parse_mode)]
    mode: u32,

    /// Fail if the key is in use
    #[arg(long)]
    exclusive: bool,

    /// Huge pages (SHM_HUGETLB)
    #[arg(long)]
    huge: bool,

    /// Promise no memory for it (SHM_NORESERVE)
    #[arg(long)]
    noreserve: bool,
}

/// A file and a project number, of which ftok makes a key.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FileKey {
    path: String,
    project: i32,
}

impl FromStr for FileKey {
    type Err = String;

    fn from_str(text: &str) -> Result<FileKey, String> {
        let split = text.rsplit_once(':').and_then(|(path, project)| Some((path, parse_project(project)?)));
        let (path, project) = split.unwrap_or((text, 1));
        if path.is_empty() { Err("a file is needed".to_owned()) } else { Ok(FileKey { path: path.to_owned(), project }) }
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

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!("'{text}' is not a mode: give three octal digits, such as 0660")),
    }
}

#[derive(Serialize)]
struct Created {
    namespace: NamespaceView,
    id: i32,
    key: KeyView,
    size: u64,
    created: bool,
}

impl Report for Created {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        page.line(format_args!("{}", self.id))
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let key = args.key()?;
    let ns = context.namespace()?;
    let (segment, created) = args.create(&ns, key)?;
    let size = if created { args.size } else { segment.stat().map_or(args.size, |s| s.size) };
    let report = Created { namespace: NamespaceView::new(&ns), id: segment.id().raw(), key: key.into(), size, created };
    emit(context, &report)?;
    Ok(Exit::Success)
}

impl Args {
    fn key(&self) -> Result<Key, Failure> {
        match &self.ftok {
            None => Ok(self.key.unwrap_or(Key::PRIVATE)),
            Some(FileKey { path, project }) => Key::ftok(path, *project).map_err(|errno| {
                let path = crate::output::clean(path);
                Failure::new(format!("cannot make a key of {path}: {errno}")).errno(errno).remedy("name a file that exists")
            }),
        }
    }

    /// The segment, and whether it is new.
    fn create(&self, ns: &Namespace, key: Key) -> Result<(Segment, bool), Failure> {
        let new = self.options().exclusive().create(ns, key, self.size);
        match new {
            Err(error) if error.errno() == Errno::EXIST && !self.exclusive => {
                Ok((self.options().create(ns, key, self.size)?, false))
            }
            new => Ok((new?, true)),
        }
    }

    fn options(&self) -> SegmentOptions {
        let mut options = Segment::options().mode(self.mode);
        if self.huge {
            options = options.huge_pages();
        }
        if self.noreserve {
            options = options.no_reserve();
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_and_a_project() {
        let cases = [
            ("/f", "/f", 1),
            ("/f:q", "/f", 113),
            ("/f:7", "/f", 7),
            ("/f:0x41", "/f", 65),
            ("/a:bc", "/a:bc", 1),
            ("/a:b:1", "/a:b", 1),
        ];
        for (text, path, project) in cases {
            assert_eq!(text.parse(), Ok(FileKey { path: path.into(), project }), "{text}");
        }
        assert!(":1".parse::<FileKey>().is_err());
    }

    #[test]
    fn a_mode_is_nine_bits() {
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert!(parse_mode("1777").is_err() && parse_mode("rw").is_err() && parse_mode("8").is_err());
    }
}
