//! `quintet write`: writes bytes to a segment.

use crate::args::object::{self, Access, Object};
use crate::args::size;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::words::count;
use quintet::Errno;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
EXAMPLES:
  echo hello | quintet write 32769         from standard input
  quintet write key:0x4d2 --offset 4K data.bin";

/// Write a file or standard input to a segment; writes nothing if it does not fit
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SEGMENT_HELP)]
    object: Object,

    /// Input file; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    /// Offset of the first byte
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
    let segment = args.object.segment(&ns, Access::Write)?;
    let memory = segment.attach()?;
    let size = memory.len() as u64;
    let (object, offset) = (args.object, args.offset);
    let room = size.checked_sub(offset).ok_or_else(|| {
        Failure::new(format!("cannot write at offset {offset}: {object} has {} (EINVAL)", count(size, "byte")))
            .errno(Errno::INVAL)
    })?;
    let bytes = read_input(&args.file, room)?;
    if bytes.len() as u64 > room {
        let input = input_size(&args.file, room);
        return Err(Failure::new(format!(
            "cannot write to {object} at offset {offset}: the input has {input}, but only {room} fit (EFBIG)",
        ))
        .errno(Errno::FBIG)
        .remedy("nothing was written"));
    }
    memory.write(offset as usize, &bytes)?;
    emit(context, &Written { id: segment.id().raw(), offset, written: bytes.len() as u64 })?;
    Ok(Exit::Success)
}

/// Reads the whole input, or one byte more than fits.
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

/// Returns the size of the input, as far as it is known without reading all of it.
fn input_size(path: &Path, room: u64) -> String {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && !is_stdin(path) => count(metadata.len(), "byte"),
        _ => format!("more than {}", count(room, "byte")),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
