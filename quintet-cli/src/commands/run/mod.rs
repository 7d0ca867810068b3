//! `quintet run`: runs an unmodified program on a namespace.

mod private;

use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::preload;
use crate::system::child;
use crate::system::program;
use quintet::Namespace;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXAMPLES: &str = "\
EXIT STATUS:
  The exit code of the program, or one of these:
  125  Quintet itself failed
  126  The program cannot be run or intercepted
  127  The program was not found

ENVIRONMENT:
  QUINTET_LOG       Messages of the drop-in library: off, error, warn (the default), info
                    (namespace, forks, changed credentials) or debug (every call, as strace shows it)
  QUINTET_LOG_FILE  File to which the messages are appended; %p in its name is the process id
                    [default: descriptor 2, while it is the one that the program started with]
  QUINTET_INHERIT   0: do not intercept programs that are started with a new environment
  QUINTET_TRUNCATION
                    survive: install a SIGBUS handler, so that the program survives if another
                    program truncates a file of the namespace; its own handler still works

EXAMPLES:
  quintet run -- ./server --port 80        on the default namespace, created on first use
  quintet run --namespace /srv/ipc -- psql on another namespace, created on first use
  QUINTET_LOG=debug QUINTET_LOG_FILE=/tmp/ipc.%p quintet run -- ./server
                                           log every call
  quintet run --private -- make check      on a new namespace, removed when the program exits";

/// Run an unmodified program on a namespace; the program replaces this process
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "quintet run [OPTIONS] [--] PROGRAM [ARGS]...")]
pub struct Args {
    /// Use a new namespace, removed when the program exits
    #[arg(long)]
    private: bool,

    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = program::find_interceptable(&args.program[0])?;
    let prepared = prepare(context, args);
    let (library, namespace) = prepared.map_err(|failure| failure.exit(Exit::RunFailed))?;
    let mut command = Command::new(&path);
    command.arg0(&args.program[0]).args(&args.program[1..]).env("LD_PRELOAD", ld_preload(&library));
    match namespace {
        Some(directory) => {
            command.env("QUINTET_NAMESPACE", directory);
            let error = command.exec();
            Err(child::start_failure(&path, &error))
        }
        None => private::run(context, command, &path),
    }
}

/// Returns the installed library and the directory of the namespace, or `None` for a private one.
fn prepare(context: &Context, args: &Args) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    context.refuse_kernel()?;
    let library = preload::install()?;
    if args.private {
        context.refuse_namespace("--private creates its own namespace")?;
        return Ok((library, None));
    }
    let ns = match context.named() {
        Some(path) => context::open_or_create(path)?,
        None => Namespace::open_default()?,
    };
    Ok((library, Some(absolute(ns.path().unwrap_or(&context.namespace_path()))?)))
}

/// Returns an absolute path, because the program may change its working directory before it opens
/// the namespace.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io("make an absolute path of", path, &e))
}

/// Returns the new LD_PRELOAD: the drop-in library, then the old libraries without the one of an
/// outer `quintet run`.
fn ld_preload(library: &Path) -> OsString {
    let before = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    prepend(library.as_os_str(), &before)
}

fn prepend(ours: &OsStr, before: &OsStr) -> OsString {
    let mut all = ours.as_bytes().to_owned();
    let separator = |b: &u8| matches!(b, b' ' | b':');
    for other in before.as_bytes().split(separator).filter(|l| !l.is_empty() && !preload::is_ours(l)) {
        all.push(b':');
        all.extend_from_slice(other);
    }
    OsString::from_vec(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drop_in_library_comes_first_and_once() {
        let ours = OsStr::new("/c/libquintet-1.so");
        assert_eq!(prepend(ours, OsStr::new("")), "/c/libquintet-1.so");
        assert_eq!(prepend(ours, OsStr::new("/a.so b.so:/x/libquintet-2.so")), "/c/libquintet-1.so:/a.so:b.so");
    }
}
