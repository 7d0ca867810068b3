//! `quintet create shm`, also without the word: a segment.

use super::naming::Naming;
use super::{Created, Size};
use crate::commands::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::emit;
use crate::size;
use quintet::{Errno, Key, Namespace, Segment, SegmentOptions};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create shm --size 1M             the word shm may be left out
  quintet create shm --size 4096 --key 0x4d2 --mode 0660";

/// Create a segment, or find the one that has the key, and print its identifier
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "segment")]
pub struct Args {
    /// The size: bytes, or with K, M, G, T
    #[arg(long, required = true, value_parser = size::parse)]
    size: Option<u64>,

    #[command(flatten)]
    naming: Naming,

    /// Huge pages (SHM_HUGETLB)
    #[arg(long)]
    huge: bool,

    /// Promise no memory for it (SHM_NORESERVE)
    #[arg(long)]
    noreserve: bool,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let size = args.size.ok_or_else(|| Failure::usage("a segment needs a size").remedy("give --size"))?;
    let key = args.naming.key()?;
    let ns = context.namespace()?;
    let (segment, created) = args.create(&ns, key, size)?;
    let size = if created { size } else { segment.stat().map_or(size, |s| s.size) };
    let (namespace, id) = (NamespaceView::new(&ns), segment.id().raw());
    emit(context, &Created { namespace, class: "shm", id, key: key.into(), size: Size::Bytes { size }, created })?;
    Ok(Exit::Success)
}

impl Args {
    /// The segment, and whether it is new.
    fn create(&self, ns: &Namespace, key: Key, size: u64) -> Result<(Segment, bool), Failure> {
        let new = self.options().exclusive().create(ns, key, size);
        match new {
            Err(error) if error.errno() == Errno::EXIST && !self.naming.exclusive => {
                Ok((self.options().create(ns, key, size)?, false))
            }
            new => Ok((new?, true)),
        }
    }

    fn options(&self) -> SegmentOptions {
        let mut options = Segment::options().mode(self.naming.mode);
        if self.huge {
            options = options.huge_pages();
        }
        if self.noreserve {
            options = options.no_reserve();
        }
        options
    }
}
