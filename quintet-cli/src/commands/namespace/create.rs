//! `quintet namespace create`.

use crate::commands::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::text::Page;
use crate::output::{Report, clean, emit};
use quintet::{Kind, Namespace};
use serde::Serialize;
use std::io;
use std::path::PathBuf;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace create ~/ipc           for you alone: mode 0700
  quintet namespace create --shared /srv/ipc
                                           for everybody: mode 1777, each object's own mode decides";

/// Create a namespace; its parent directory must exist
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory to make
    dir: PathBuf,

    /// Let everybody in, as to /tmp; each object's own mode decides who may use it
    #[arg(long)]
    shared: bool,
}

#[derive(Serialize)]
struct Created {
    namespace: NamespaceView,
    created: bool,
}

impl Report for Created {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let NamespaceView { kind, path } = &self.namespace;
        let path = clean(path.as_deref().unwrap_or_default());
        if self.created {
            page.line(format_args!("made the {kind} namespace {path}"))
        } else {
            page.line(format_args!("the {kind} namespace {path} is there already"))
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    context.refuse_kernel()?;
    context.refuse_namespace("the directory is an argument")?;
    let created = Namespace::open(&args.dir).is_err();
    let kind = if args.shared { Kind::Shared } else { Kind::Private };
    let ns = Namespace::create(&args.dir, kind)?;
    emit(context, &Created { namespace: NamespaceView::new(&ns), created })?;
    Ok(Exit::Success)
}
