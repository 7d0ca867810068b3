//! `quintet write`: bytes into a segment.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Instead, Object};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::size;
use quintet::Errno;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
EXAMPLES:
  echo hello | quintet write 32769         from standard input
  quintet write key:0x4d2 --offset 4K data.bin";

/// Write bytes from a file or standard input into a segment; all of them, or none if they do not fit
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SEGMENT_HELP)]
    object: Object,

    /// The file; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    /// Where the first byte goes
    #[arg(long, value_name = "N", default_value = "0", value_parser = size::parse)]
    offset: u64,
}

#[derive(Serialize)]
struct Written {
    id: i32,
    offset: u64,
    written: u64,
}

impl Report for Written {
    fn text(&self, _: &mut Page) -> io::Result<()> {
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let segment = args.object.segment(&ns, Instead::Write)?;
    let memory = segment.attach()?;
    let size = memory.len() as u64;
    let room = size.checked_sub(args.offset).ok_or_else(|| {
        Failure::new(format!("cannot write at offset {}: the {} has {size} bytes", args.offset, args.object)).errno(Errno::INVAL)
    })?;
    let bytes = read_input(&args.file, room)?;
    if bytes.len() as u64 > room {
        return Err(Failure::new(format!(
            "cannot write to the {}: the input has {} and there is room for {room} (size {size}, offset {}); nothing was written",
            args.object,
            input_size(&args.file, room),
            args.offset
        ))
        .errno(Errno::FBIG));
    }
    memory.write(args.offset as usize, &bytes)?;
    emit(context, &Written { id: segment.id().raw(), offset: args.offset, written: bytes.len() as u64 })?;
    Ok(Exit::Success)
}

/// All of the input, or one byte more than there is room for.
fn read_input(path: &Path, room: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = room.saturating_add(1);
    let read = if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    let shown = if is_stdin(path) { Path::new("standard input") } else { path };
    read.map(|_| bytes).map_err(|e| Failure::io("read", shown, &e))
}

/// How much there is, as far as it can be known without reading it all.
fn input_size(path: &Path, room: u64) -> String {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && !is_stdin(path) => format!("{} bytes", metadata.len()),
        _ => format!("more than {room} bytes"),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
