//! `quintet create sem`: a semaphore set.

use super::created::{Created, Size};
use super::key_options::KeyOptions;
use crate::args::values::{self, Values};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::emit;
use crate::view::namespace::NamespaceView;
use quintet::{Errno, Key, Namespace, SemaphoreSet};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create sem --values 1            a lock: one semaphore of value 1
  quintet create sem --nsems 16            16 semaphores of value 0
  quintet create sem --nsems 4 --values 9 --key 0x4d2 --mode 0660
  quintet rm sem:$(quintet create sem --values 1,0,5)";

/// Create a semaphore set, or find the one with this key, and print its id
///
/// A semop call sets the values, as semctl(2) recommends: a process that waits until sem_otime is
/// set never sees other values. An existing set keeps its values.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Number of semaphores [default: the number of --values]
    #[arg(long, value_name = "N", required_unless_present = "values")]
    nsems: Option<u16>,

    #[arg(long, value_name = "V,V...", help = values::INITIAL_HELP)]
    values: Option<Values>,

    #[command(flatten)]
    key: KeyOptions,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let key = args.key.key()?;
    let nsems = args.nsems.map_or_else(|| args.values.as_ref().map_or(0, Values::len), usize::from);
    let values = args.values.as_ref().map_or_else(|| Ok(vec![0; nsems]), |values| values.for_set(nsems))?;
    let ns = context.namespace()?;
    let (id, created) = create(&ns, key, &values, &args.key)?;
    let nsems = if created { nsems as u32 } else { ns.sem_stat(id).map_or(nsems as u32, |stat| stat.nsems) };
    let namespace = NamespaceView::new(&ns);
    emit(context, &Created { namespace, class: "sem", id, key: key.into(), size: Size::Semaphores { nsems }, created })?;
    Ok(Exit::Success)
}

/// Returns the set, and `true` if it is new. The creator of an existing set may not have set its
/// values yet.
fn create(ns: &Namespace, key: Key, values: &[u16], options: &KeyOptions) -> Result<(i32, bool), Failure> {
    let new = SemaphoreSet::options().mode(options.mode).exclusive().create(ns, key, values);
    match new {
        Err(error) if error.errno() == Errno::EXIST && !options.exclusive => {
            let found = ns.semget(key, values.len() as i32, options.mode as i32);
            let id = found.map_err(|errno| match errno {
                Errno::INVAL => {
                    Failure::new(format!("cannot use the set with key {key}: it has fewer semaphores (EINVAL)")).errno(errno)
                }
                _ => Failure::call(format_args!("use the set with key {key}"), errno),
            })?;
            Ok((id.raw(), false))
        }
        new => Ok((new?.id().raw(), true)),
    }
}
