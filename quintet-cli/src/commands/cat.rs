//! `quintet cat`: prints the bytes of a segment.

use crate::args::object::{self, Access, Object};
use crate::args::size;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::hexdump::Hexdump;
use crate::words::count;
use quintet::{Attachment, Errno};
use std::io::{self, BufWriter, IsTerminal, Write};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet cat 32769                        hexadecimal on a terminal
  quintet cat 32769 > copy                 raw bytes to a file or pipe
  quintet cat key:0x4d2 --offset 4K --length 64 --hex";

/// Print the bytes of a segment: raw, or in hexadecimal on a terminal
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SEGMENT_HELP)]
    object: Object,

    /// Offset of the first byte
    #[arg(long, value_name = "N", default_value = "0", value_parser = size::parse)]
    offset: u64,

    /// Number of bytes [default: up to the end]
    #[arg(long, value_name = "N", value_parser = size::parse)]
    length: Option<u64>,

    /// Print hexadecimal, to pipes and files, too
    #[arg(long, conflicts_with = "raw")]
    hex: bool,

    /// Print raw bytes, on a terminal, too
    #[arg(long)]
    raw: bool,
}

/// Number of bytes that are copied at a time.
const PIECE: usize = 64 * 1024;

pub fn run(context: &Context, args: &Args) -> Outcome {
    context.refuse_json("it prints bytes")?;
    let ns = context.namespace()?;
    let memory = args.object.segment(&ns, Access::Read)?.attach_read_only()?;
    let (start, end) = range(args, memory.len() as u64)?;
    let stdout = io::stdout();
    let hex = args.hex || (stdout.is_terminal() && !args.raw);
    let out = BufWriter::with_capacity(PIECE, stdout.lock());
    if hex {
        let mut dump = Hexdump::new(out, start as u64);
        copy(&memory, start, end, &mut dump)?;
        dump.finish()?;
    } else {
        let mut out = out;
        copy(&memory, start, end, &mut out)?;
        out.flush()?;
    }
    Ok(Exit::Success)
}

fn range(args: &Args, len: u64) -> Result<(usize, usize), Failure> {
    let end = args.length.map_or(Some(len), |length| args.offset.checked_add(length));
    match end {
        Some(end) if args.offset <= end && end <= len => Ok((args.offset as usize, end as usize)),
        _ => {
            let length = args.length.map_or("bytes".to_owned(), |length| count(length, "byte"));
            let (offset, object) = (args.offset, args.object);
            Err(Failure::new(format!("cannot print {length} at offset {offset}: {object} has {} (EINVAL)", count(len, "byte")))
                .errno(Errno::INVAL))
        }
    }
}

fn copy(memory: &Attachment, start: usize, end: usize, out: &mut impl Write) -> Result<(), Failure> {
    let mut piece = vec![0; PIECE.min(end - start)];
    let mut at = start;
    while at < end {
        let n = piece.len().min(end - at);
        memory.read(at, &mut piece[..n])?;
        out.write_all(&piece[..n])?;
        at += n;
    }
    Ok(())
}
