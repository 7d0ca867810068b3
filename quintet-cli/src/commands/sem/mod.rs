//! `quintet sem`: the semaphores of a set, for scripts.

mod get;
mod op;
mod set;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use quintet::{Errno, Id, Namespace};

const EXAMPLES: &str = "\
EXAMPLES:
  id=$(quintet create sem --values 1)      a lock
  quintet sem op $id 0:-1 -- make install  make holds it, and nobody else meanwhile
  quintet sem op $id 0:+1                  one more may hold it
  quintet sem get $id 0
  quintet sem set $id 0 1";

/// Operate on the semaphores of a set: wait, take, give; read and set their values
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Op(op::Args),
    Get(get::Args),
    Set(set::Args),
}

impl Args {
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::Op(_) => "sem op",
            Command::Get(_) => "sem get",
            Command::Set(_) => "sem set",
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Op(args) => op::run(context, args),
        Command::Get(args) => get::run(context, args),
        Command::Set(args) => set::run(context, args),
    }
}

/// A call on a set that failed: "cannot `verb` semaphore set `id`: why". `num` is the greatest semaphore that was named.
fn refusal(ns: &Namespace, id: Id, verb: &str, num: Option<u16>, errno: Errno) -> Failure {
    let nsems = || ns.sem_stat_index(i32::from(id.index()), true).ok().filter(|stat| stat.id == id).map(|stat| stat.nsems);
    let (why, remedy) = match (errno, nsems(), num) {
        (Errno::INVAL | Errno::FBIG, Some(nsems), Some(num)) if u32::from(num) >= nsems => {
            (format!("it has no semaphore {num}, only 0 to {} ({errno:?})", nsems.saturating_sub(1)), None)
        }
        (Errno::INVAL, None, _) => ("it has just been removed (EINVAL)".to_owned(), None),
        (Errno::IDRM, ..) => ("it was removed meanwhile (EIDRM)".to_owned(), None),
        (Errno::ACCES, ..) => {
            ("its mode does not grant this (EACCES)".to_owned(), Some(format!("'quintet stat sem:{id}' shows owner and mode")))
        }
        _ => (errno.to_string(), None),
    };
    let failure = Failure::new(format!("cannot {verb} semaphore set {id}: {why}")).errno(errno);
    remedy.into_iter().fold(failure, Failure::remedy)
}
