//! `quintet sem op`: `semop`, for scripts.

use super::refusal;
use crate::child;
use crate::commands::view::set::OperationView;
use crate::context::Context;
use crate::duration;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Set};
use crate::operations::{self, Operations, spoken};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::program;
use quintet::{Errno, Id, Namespace, SemFlags, SemOp};
use serde::Serialize;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
EXIT STATUS:
  0 if the operations are done; 124 if they would have to wait and n was given, or the timeout
  has passed: then none is done; 1 for any other failure, 2 for a command line that makes no sense.
  With COMMAND its own; 124 as above, 125 if quintet itself failed, 126 if COMMAND cannot be run,
  127 if it was not found.

EXAMPLES:
  quintet sem op 0 0:-1                    take one; wait until there is one
  quintet sem op 0 0:-1n || echo busy      do not wait
  quintet sem op 0 '0:-1 1:+2' --timeout 5 both at once, within five seconds
  quintet sem op key:0x4d2 0:0             wait until it is zero
  quintet sem op 0 0:-1 -- make install    take one, and give it back when make ends";

/// Do operations on the semaphores of a set, all at once; with a COMMAND, while it runs
///
/// With a COMMAND everything is taken back when it ends, however it ends, as if each operation had u (SEM_UNDO); if quintet itself
/// is killed before, then at once. Without a COMMAND u is refused: the process that did the operations ends at once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "quintet sem op [OPTIONS] <SET> <OPS>... [-- COMMAND [ARGS]...]")]
pub struct Args {
    #[arg(help = object::SET_HELP)]
    set: Set,

    #[arg(required = true, help = operations::HELP)]
    ops: Vec<Operations>,

    /// How long to wait at most: seconds, or with ms, s, m, h [default: without end]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// A program to run meanwhile, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Done {
    id: i32,
    ops: Vec<OperationView>,
}

impl Report for Done {
    fn text(&self, _: &mut Page) -> io::Result<()> {
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut ops: Vec<SemOp> = args.ops.iter().flat_map(|ops| &ops.0).copied().collect();
    let Some(program) = args.command.first() else {
        return alone(context, args, &ops);
    };
    if context.json() {
        return Err(
            Failure::usage("'quintet sem op' with a COMMAND prints what that prints, not JSON").remedy("leave out --json")
        );
    }
    for op in &mut ops {
        op.flags |= SemFlags::UNDO;
    }
    // A program that is not there is no reason to wait.
    let path = program::locate(program)?;
    operate(context, args, &ops).map_err(|failure| failure.unless(Exit::WouldWait, Exit::RunFailed))?;
    let mut command = Command::new(&path);
    command.arg0(program).args(&args.command[1..]);
    // What was done is taken back when this process ends, however that comes about.
    Ok(child::ended(child::run(command, &path)?))
}

/// The operations, and nothing after them.
fn alone(context: &Context, args: &Args, ops: &[SemOp]) -> Outcome {
    if let Some(op) = ops.iter().find(|op| op.flags.contains(SemFlags::UNDO)) {
        return Err(Failure::usage(format!("'{op}' would be taken back at once, because this process ends"))
            .remedy("leave out the u, or give a COMMAND during which it holds: -- COMMAND"));
    }
    let id = operate(context, args, ops)?;
    emit(context, &Done { id: id.raw(), ops: ops.iter().map(OperationView::from).collect() })?;
    Ok(Exit::Success)
}

fn operate(context: &Context, args: &Args, ops: &[SemOp]) -> Result<Id, Failure> {
    let ns = context.namespace()?;
    let id = args.set.find(&ns)?;
    wait(&ns, id, ops, args.timeout).map_err(|errno| explain(&ns, id, ops, args.timeout, errno))?;
    Ok(id)
}

/// `semtimedop`, which also ends when this process is stopped and continued: then the rest of the time is waited.
fn wait(ns: &Namespace, id: Id, ops: &[SemOp], timeout: Option<Duration>) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        match ns.semtimedop(id.raw(), ops, left) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn explain(ns: &Namespace, id: Id, ops: &[SemOp], timeout: Option<Duration>, errno: Errno) -> Failure {
    let what = format!("cannot do {} on semaphore set {id}", spoken(ops));
    match errno {
        Errno::AGAIN => {
            let nowait = ops.iter().any(|op| op.flags.contains(SemFlags::NOWAIT));
            let why = match timeout {
                Some(timeout) if !nowait => format!("the time of {timeout:?} has passed (EAGAIN)"),
                Some(timeout) => format!("it would have to wait, or the time of {timeout:?} has passed (EAGAIN)"),
                None => "it would have to wait (EAGAIN)".to_owned(),
            };
            let failure = Failure::new(format!("{what}: {why}")).errno(errno).exit(Exit::WouldWait);
            failure.remedy(format_args!("'quintet stat sem:{id}' shows the values, and who waits"))
        }
        Errno::TOOBIG => {
            let most = ns.limits().unwrap_or_default().semopm;
            Failure::new(format!("{what}: {} operations, and the limit semopm is {most} (E2BIG)", ops.len())).errno(errno)
        }
        Errno::RANGE => Failure::new(format!("{what}: a value would be over 32767 (ERANGE)")).errno(errno),
        _ => refusal(ns, id, &format!("do {} on", spoken(ops)), ops.iter().map(|op| op.num).max(), errno),
    }
}
