//! `quintet run`: an unmodified program on a namespace.

mod private;

use crate::child;
use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{preload, program};
use quintet::Namespace;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXAMPLES: &str = "\
EXIT STATUS:
  The program's own; 125 if quintet itself failed, 126 if the program was found and cannot
  be run or carried, 127 if it was not found.

ENVIRONMENT:
  QUINTET_LOG       what the drop-in says: off, error, warn (the default), info (namespace, forks,
                    changed rights) or debug (every call, as strace tells them)
  QUINTET_LOG_FILE  where: a file to which the lines are added, %p in its name is the process;
                    else descriptor 2, as long as it is the program's first one
  QUINTET_INHERIT   0: programs that are started with an environment of their own stay without
  QUINTET_TRUNCATION
                    survive: a file of the namespace that somebody shortens does not end the program
                    by SIGBUS; a handler is installed, and the program's own goes on to work

EXAMPLES:
  quintet run -- ./server --port 80        on the default namespace, made on first use
  quintet run --namespace /srv/ipc -- psql on a namespace of your choice
  QUINTET_LOG=debug QUINTET_LOG_FILE=/tmp/ipc.%p quintet run -- ./server
                                           why does it not work?
  quintet run --private -- make check      on a fresh one that goes when the program ends";

/// Run an unmodified program on a namespace, in place of this process
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "quintet run [OPTIONS] [--] PROGRAM [ARGS]...")]
pub struct Args {
    /// A fresh namespace, removed when the program ends
    #[arg(long)]
    private: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = program::find(&args.program[0])?;
    let prepared = prepare(context, args);
    let (library, namespace) = prepared.map_err(|failure| failure.exit(Exit::RunFailed))?;
    let mut command = Command::new(&path);
    command.arg0(&args.program[0]).args(&args.program[1..]).env("LD_PRELOAD", with_ours_first(&library));
    match namespace {
        Some(directory) => {
            command.env("QUINTET_NAMESPACE", directory);
            let error = command.exec();
            Err(child::not_started(&path, &error))
        }
        None => private::run(context, command, &path),
    }
}

/// The installed library and the namespace's directory; none for a private one.
fn prepare(context: &Context, args: &Args) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    context.refuse_kernel()?;
    let library = preload::install()?;
    if args.private {
        context.refuse_namespace("--private makes a namespace of its own")?;
        return Ok((library, None));
    }
    let ns = match context.named() {
        Some(path) => context::open_or_create(path)?,
        None => Namespace::open_default()?,
    };
    Ok((library, Some(absolute(ns.path().unwrap_or(&context.namespace_path()))?)))
}

/// The program may change its working directory before it uses the namespace.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io("find the absolute path of", path, &e))
}

/// LD_PRELOAD: ours, then what was there, without the drop-in of an outer `quintet run`.
fn with_ours_first(library: &Path) -> OsString {
    let before = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    joined(library.as_os_str(), &before)
}

fn joined(ours: &OsStr, before: &OsStr) -> OsString {
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
    fn ours_comes_first_and_once() {
        let ours = OsStr::new("/c/libquintet-1.so");
        assert_eq!(joined(ours, OsStr::new("")), "/c/libquintet-1.so");
        assert_eq!(joined(ours, OsStr::new("/a.so b.so:/x/libquintet-2.so")), "/c/libquintet-1.so:/a.so:b.so");
    }
}
