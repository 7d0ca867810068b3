//! `quintet sem op`: `semop` for scripts.

use super::errors::call_failure;
use crate::args::duration;
use crate::args::object::{self, Set};
use crate::args::operations::{self, Operations};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hint;
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::system::child;
use crate::system::program;
use crate::view::set::OperationView;
use quintet::{Errno, Id, Namespace, SemFlags, SemOp};
use serde::Serialize;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
EXIT STATUS:
  0    The operations were performed; with COMMAND its own exit code
  1    Failure
  2    Invalid command line
  124  No operation was performed: an operation with n would block, or the timeout expired
  125  Failure of quintet itself, with COMMAND
  126  COMMAND cannot be run
  127  COMMAND was not found

EXAMPLES:
  quintet sem op 0 0:-1                    take one; block until there is one
  quintet sem op 0 0:-1n || echo busy      take one, or fail
  quintet sem op 0 '0:-1 1:+2' --timeout 5 both atomically, within 5 seconds
  quintet sem op key:0x4d2 0:0             wait for zero
  quintet sem op 0 0:-1 -- make install    take one, and give it back when make exits";

/// Perform operations on the semaphores of a set atomically; with a COMMAND, for as long as it runs
///
/// With a COMMAND every operation has u (SEM_UNDO): it is undone when COMMAND exits or is killed,
/// or when quintet itself is killed. Without a COMMAND u is refused, because quintet exits at once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "quintet sem op [OPTIONS] <SET> <OPS>... [-- COMMAND [ARGS]...]")]
pub struct Args {
    #[arg(help = object::SET_HELP)]
    set: Set,

    #[arg(required = true, help = operations::HELP)]
    ops: Vec<Operations>,

    /// Timeout: seconds, or with ms, s, m, h [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Program to run meanwhile, and its arguments
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
        return run_alone(context, args, &ops);
    };
    context.refuse_json("COMMAND prints its own output")?;
    for op in &mut ops {
        op.flags |= SemFlags::UNDO;
    }
    // The program is looked up first, so that a missing program does not block.
    let path = program::find(program)?;
    operate(context, args, &ops).map_err(|failure| failure.exit_unless(Exit::WouldBlock, Exit::RunFailed))?;
    let mut command = Command::new(&path);
    command.arg0(program).args(&args.command[1..]);
    // The operations are undone when this process exits or is killed.
    Ok(child::exit_like(child::run(command, &path)?))
}

/// Performs the operations without a program.
fn run_alone(context: &Context, args: &Args, ops: &[SemOp]) -> Outcome {
    if let Some(op) = ops.iter().find(|op| op.flags.contains(SemFlags::UNDO)) {
        return Err(Failure::usage(format!("cannot perform '{op}': it would be undone at once, because this process exits"))
            .remedy("leave out the u, or give a program that runs meanwhile: -- COMMAND"));
    }
    let id = operate(context, args, ops)?;
    emit(context, &Done { id: id.raw(), ops: ops.iter().map(OperationView::from).collect() })?;
    Ok(Exit::Success)
}

fn operate(context: &Context, args: &Args, ops: &[SemOp]) -> Result<Id, Failure> {
    let ns = context.namespace()?;
    let id = args.set.find(&ns)?;
    wait(&ns, id, ops, args.timeout).map_err(|errno| op_failure(&ns, id, ops, args.timeout, errno))?;
    Ok(id)
}

/// Calls `semtimedop`. Repeats it with the remaining time if a signal interrupts it.
fn wait(ns: &Namespace, id: Id, ops: &[SemOp], timeout: Option<Duration>) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        match ns.semtimedop(id.raw(), ops, left) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn op_failure(ns: &Namespace, id: Id, ops: &[SemOp], timeout: Option<Duration>, errno: Errno) -> Failure {
    let ops_text = operations::print(ops);
    let failed = |reason: &str| {
        Failure::new(format!("cannot perform {ops_text} on semaphore set {id}: {reason} ({errno:?})")).errno(errno)
    };
    match errno {
        Errno::AGAIN => {
            let is_nowait = ops.iter().any(|op| op.flags.contains(SemFlags::NOWAIT));
            let reason = match timeout {
                Some(timeout) if !is_nowait => format!("the timeout of {timeout:?} expired"),
                Some(timeout) => format!("it would block, or the timeout of {timeout:?} expired"),
                None => "it would block".to_owned(),
            };
            let stat = hint::on(ns, format_args!("stat sem:{id}"));
            failed(&reason).exit(Exit::WouldBlock).remedy(format_args!("{stat} shows the values and waiters"))
        }
        Errno::TOOBIG => {
            let (given, most) = (ops.len(), ns.limits().unwrap_or_default().semopm);
            let raise = hint::on(ns, format_args!("namespace limits --semopm {given}"));
            failed(&format!("{given} operations exceed the limit semopm, which is {most}"))
                .remedy(format_args!("raise the limit: {raise}"))
        }
        Errno::RANGE => failed("a value would exceed 32767"),
        _ => call_failure(ns, id, &format!("perform {ops_text} on"), ops.iter().map(|op| op.num).max(), errno),
    }
}
