//! `quintet create sem`: a semaphore set.

use super::naming::Naming;
use super::{Created, Size};
use crate::commands::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::emit;
use crate::values::{self, Values};
use quintet::{Errno, Key, Namespace};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create sem --values 1            a lock: one semaphore of value 1
  quintet create sem --nsems 16            sixteen semaphores of value 0
  quintet create sem --nsems 4 --values 9 --key 0x4d2 --mode 0660
  quintet rm sem:$(quintet create sem --values 1,0,5)";

/// Create a semaphore set, or find the one that has the key, and print its identifier
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How many semaphores it has [default: as many as --values]
    #[arg(long, value_name = "N", required_unless_present = "values")]
    nsems: Option<u16>,

    #[arg(long, value_name = "V,V...", help = values::INITIAL_HELP)]
    values: Option<Values>,

    #[command(flatten)]
    naming: Naming,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let key = args.naming.key()?;
    let nsems = args.nsems.map_or_else(|| args.values.as_ref().map_or(0, Values::len), usize::from);
    let values = args.values.as_ref().map(|values| values.of(nsems)).transpose()?;
    let ns = context.namespace()?;
    let (id, created) = create(&ns, key, nsems as i32, args)?;
    if let (true, Some(values)) = (created, values)
        && let Err(errno) = ns.sem_set_values(id, &values)
    {
        // Nobody shall find it with other values than it was to have.
        let _ = ns.sem_remove(id);
        return Err(Failure::new(format!("cannot set the values of the new semaphore set: {errno}")).errno(errno));
    }
    let nsems = if created { nsems as u32 } else { ns.sem_stat(id).map_or(nsems as u32, |stat| stat.nsems) };
    let namespace = NamespaceView::new(&ns);
    emit(context, &Created { namespace, class: "sem", id, key: key.into(), size: Size::Semaphores { nsems }, created })?;
    Ok(Exit::Success)
}

/// The set, and whether it is new.
fn create(ns: &Namespace, key: Key, nsems: i32, args: &Args) -> Result<(i32, bool), Failure> {
    let flags = args.naming.mode as i32 | libc::IPC_CREAT;
    let failed = |errno| refusal(ns, key, nsems, errno);
    match ns.semget(key, nsems, flags | libc::IPC_EXCL) {
        Err(Errno::EXIST) if !args.naming.exclusive => Ok((ns.semget(key, nsems, flags).map_err(failed)?.raw(), false)),
        new => Ok((new.map_err(failed)?.raw(), true)),
    }
}

fn refusal(ns: &Namespace, key: Key, nsems: i32, errno: Errno) -> Failure {
    let limits = ns.limits().unwrap_or_default();
    let (why, remedy) = match errno {
        Errno::INVAL if nsems == 0 => ("a set has at least 1 semaphore (EINVAL)".to_owned(), None),
        Errno::INVAL if nsems as u32 > limits.semmsl => (
            format!("the limit semmsl is {} semaphores (EINVAL)", limits.semmsl),
            Some("raise it with 'quintet namespace limits --semmsl'"),
        ),
        Errno::INVAL => ("a smaller set has this key (EINVAL)".to_owned(), None),
        Errno::NOSPC => (
            format!("the limit semmni ({} sets) or semmns ({} semaphores) is reached (ENOSPC)", limits.semmni, limits.semmns),
            Some("remove sets, or raise the limit with 'quintet namespace limits'"),
        ),
        Errno::NOMEM => (
            "the file system of the namespace has no room for it (ENOMEM)".to_owned(),
            Some("'quintet doctor' tells how much there is"),
        ),
        Errno::EXIST => ("the key is in use (EEXIST)".to_owned(), None),
        _ => (errno.to_string(), None),
    };
    let failure = Failure::new(format!("cannot create a set of {nsems} semaphores with key {key}: {why}")).errno(errno);
    remedy.into_iter().fold(failure, Failure::remedy)
}
