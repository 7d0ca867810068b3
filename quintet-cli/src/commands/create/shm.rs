//! `quintet create shm`: a segment. The word `shm` is optional.

use super::created::{Created, Size};
use super::key_options::KeyOptions;
use crate::args::size;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::emit;
use crate::view::namespace::NamespaceView;
use quintet::{Errno, Key, Namespace, Segment, SegmentOptions};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create shm --size 1M             the word shm is optional
  quintet create shm --size 4096 --key 0x4d2 --mode 0660";

/// Create a segment, or find the one with this key, and print its id
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "segment")]
pub struct Args {
    /// Size in bytes, or with K, M, G, T
    #[arg(long, required = true, value_parser = size::parse)]
    size: Option<u64>,

    #[command(flatten)]
    key: KeyOptions,

    /// Use huge pages (SHM_HUGETLB)
    #[arg(long)]
    huge: bool,

    /// Reserve no memory (SHM_NORESERVE)
    #[arg(long)]
    noreserve: bool,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let size = args.size.ok_or_else(|| Failure::usage("cannot create a segment: it needs a size").remedy("give --size"))?;
    let key = args.key.key()?;
    let ns = context.namespace()?;
    let (segment, created) = args.create(&ns, key, size)?;
    let size = if created { size } else { segment.stat().map_or(size, |s| s.size) };
    let (namespace, id) = (NamespaceView::new(&ns), segment.id().raw());
    emit(context, &Created { namespace, class: "shm", id, key: key.into(), size: Size::Bytes { size }, created })?;
    Ok(Exit::Success)
}

impl Args {
    /// Returns the segment, and `true` if it is new.
    fn create(&self, ns: &Namespace, key: Key, size: u64) -> Result<(Segment, bool), Failure> {
        let new = self.options().exclusive().create(ns, key, size);
        match new {
            Err(error) if error.errno() == Errno::EXIST && !self.key.exclusive => {
                Ok((self.options().create(ns, key, size)?, false))
            }
            new => Ok((new?, true)),
        }
    }

    fn options(&self) -> SegmentOptions {
        let mut options = Segment::options().mode(self.key.mode);
        if self.huge {
            options = options.huge_pages();
        }
        if self.noreserve {
            options = options.no_reserve();
        }
        options
    }
}
