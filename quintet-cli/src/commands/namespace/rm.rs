//! `quintet namespace rm`: removes a namespace.

use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hint;
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::system::users::Users;
use crate::view::namespace::NamespaceView;
use crate::view::process::AttacherView;
use crate::words::shell_word;
use quintet::{Errno, Namespace};
use serde::Serialize;
use std::io;
use std::path::PathBuf;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace rm ~/ipc
  quintet namespace rm --force ~/ipc       even if processes use it, or if it is damaged";

/// Remove a namespace with all its objects; fails if processes use it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory of the namespace
    dir: PathBuf,

    /// Remove it even if processes use it: their attachments stay valid, but their calls fail
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Removed {
    namespace: NamespaceView,
}

impl Report for Removed {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        page.line(format_args!("removed {}", self.namespace.phrase()))
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    context.refuse_kernel()?;
    context.refuse_namespace("the directory is an argument")?;
    let ns = match context::open(&args.dir) {
        Ok(ns) => ns,
        // --force also removes a namespace that cannot be opened.
        Err(failure) if args.force && matches!(failure.number(), Some(Errno::BADMSG | Errno::PROTONOSUPPORT)) => {
            Namespace::destroy_damaged(&args.dir)?;
            let namespace = NamespaceView::damaged(&args.dir);
            emit(context, &Removed { namespace })?;
            return Ok(Exit::Success);
        }
        Err(failure) if failure.number() == Some(Errno::NOENT) => {
            return Err(failure.remedy(format_args!("{} lists all namespaces", hint::command("namespace ls"))));
        }
        Err(failure) => return Err(failure),
    };
    let namespace = NamespaceView::new(&ns);
    let processes = processes(&ns);
    ns.destroy(args.force).map_err(|error| match error.errno() {
        Errno::BUSY => in_use_failure(args, &namespace, &processes),
        _ => error.into(),
    })?;
    emit(context, &Removed { namespace })?;
    Ok(Exit::Success)
}

fn in_use_failure(args: &Args, namespace: &NamespaceView, processes: &str) -> Failure {
    let path = args.dir.to_string_lossy();
    let force = hint::command(format_args!("namespace rm --force {}", shell_word(&path)));
    Failure::new(format!("cannot remove {}: processes use it: {processes} (EBUSY)", namespace.phrase()))
        .errno(Errno::BUSY)
        .remedy(format_args!("end the processes, or remove it under them: {force}"))
}

/// Returns the processes that use the namespace, separated by commas.
fn processes(ns: &Namespace) -> String {
    let users = Users::load();
    let processes = ns.participants().unwrap_or_default();
    processes.iter().map(|p| AttacherView::new(p, &users).phrase()).collect::<Vec<_>>().join(", ")
}
