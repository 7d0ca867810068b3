//! `quintet create sem`: a semaphore set.

use super::naming::Naming;
use super::{Created, Size};
use crate::commands::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::emit;
use crate::values::{self, Values};
use quintet::{Errno, Key, Namespace, SemaphoreSet};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create sem --values 1            a lock: one semaphore of value 1
  quintet create sem --nsems 16            sixteen semaphores of value 0
  quintet create sem --nsems 4 --values 9 --key 0x4d2 --mode 0660
  quintet rm sem:$(quintet create sem --values 1,0,5)";

/// Create a semaphore set, or find the one that has the key, and print its identifier
///
/// The values are given by the first operation, as the manual page of semctl advises: who waits for the time of the last semop
/// to be set sees no other values. A set that is there already keeps its values.
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
    let values = args.values.as_ref().map_or_else(|| Ok(vec![0; nsems]), |values| values.of(nsems))?;
    let ns = context.namespace()?;
    let (id, created) = create(&ns, key, &values, &args.naming)?;
    let nsems = if created { nsems as u32 } else { ns.sem_stat(id).map_or(nsems as u32, |stat| stat.nsems) };
    let namespace = NamespaceView::new(&ns);
    emit(context, &Created { namespace, class: "sem", id, key: key.into(), size: Size::Semaphores { nsems }, created })?;
    Ok(Exit::Success)
}

/// The set, and whether it is new. One that is there is taken as it is, also if its creator has yet to give it its values.
fn create(ns: &Namespace, key: Key, values: &[u16], naming: &Naming) -> Result<(i32, bool), Failure> {
    let new = SemaphoreSet::options().mode(naming.mode).exclusive().create(ns, key, values);
    match new {
        Err(error) if error.errno() == Errno::EXIST && !naming.exclusive => {
            let found = ns.semget(key, values.len() as i32, naming.mode as i32);
            let id = found.map_err(|errno| {
                let why = match errno {
                    Errno::INVAL => "it has fewer semaphores (EINVAL)".to_owned(),
                    _ => errno.to_string(),
                };
                Failure::new(format!("cannot use the set that has the key {key}: {why}")).errno(errno)
            })?;
            Ok((id.raw(), false))
        }
        new => Ok((new?.id().raw(), true)),
    }
}
