//! `quintet namespace create`: creates a namespace.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::text::Page;
use crate::output::{Report, clean, emit};
use crate::view::namespace::NamespaceView;
use quintet::{Kind, Namespace};
use serde::Serialize;
use std::io;
use std::path::PathBuf;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace create ~/ipc           private: mode 0700
  quintet namespace create --shared /srv/ipc
                                           shared: mode 1777, and each object's mode decides";

/// Create a namespace; its parent directory must exist
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory to create
    dir: PathBuf,

    /// Let all users in, as /tmp does; the mode of each object decides which users have access
    #[arg(long)]
    shared: bool,
}

#[derive(Serialize)]
struct CreatedNamespace {
    namespace: NamespaceView,
    created: bool,
}

impl Report for CreatedNamespace {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let NamespaceView { kind, path } = &self.namespace;
        let path = clean(path.as_deref().unwrap_or_default());
        if self.created {
            page.line(format_args!("created the {kind} namespace {path}"))
        } else {
            page.line(format_args!("the {kind} namespace {path} already exists"))
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    context.refuse_kernel()?;
    context.refuse_namespace("the directory is an argument")?;
    let created = Namespace::open(&args.dir).is_err();
    let kind = if args.shared { Kind::Shared } else { Kind::Private };
    let ns = Namespace::create(&args.dir, kind)?;
    emit(context, &CreatedNamespace { namespace: NamespaceView::new(&ns), created })?;
    Ok(Exit::Success)
}
