//! `quintet cat`: the bytes of a segment.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Instead, Object};
use crate::output::hexdump::Hexdump;
use crate::size;
use quintet::{Attachment, Errno};
use std::io::{self, BufWriter, IsTerminal, Write};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet cat 32769                        hexadecimal on a terminal
  quintet cat 32769 > copy                 the bytes as they are into a file or pipe
  quintet cat key:0x4d2 --offset 4K --length 64 --hex";

/// Print the bytes of a segment: as they are, or in hexadecimal on a terminal
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SEGMENT_HELP)]
    object: Object,

    /// The first byte to print
    #[arg(long, value_name = "N", default_value = "0", value_parser = size::parse)]
    offset: u64,

    /// How many bytes to print [default: to the end]
    #[arg(long, value_name = "N", value_parser = size::parse)]
    length: Option<u64>,

    /// Hexadecimal, also into a pipe
    #[arg(long, conflicts_with = "raw")]
    hex: bool,

    /// The bytes as they are, also to a terminal
    #[arg(long)]
    raw: bool,
}

/// Bytes copied out at a time.
const PIECE: usize = 64 * 1024;

pub fn run(context: &Context, args: &Args) -> Outcome {
    if context.json() {
        return Err(Failure::usage("'quintet cat' prints bytes, not JSON").remedy("leave out --json"));
    }
    let ns = context.namespace()?;
    let memory = args.object.segment(&ns, Instead::Read)?.attach_read_only()?;
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
            let length = args.length.map_or(String::new(), |length| format!("{length} bytes from "));
            Err(Failure::new(format!("cannot print {length}offset {}: the {} has {len} bytes", args.offset, args.object))
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
