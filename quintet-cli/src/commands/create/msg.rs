//! `quintet create msg`: a message queue.

use super::naming::Naming;
use super::{Created, Size};
use crate::commands::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::emit;
use crate::size;
use quintet::{Errno, Id, Key, Namespace};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create msg                       takes msgmnb bytes of messages
  quintet create msg --capacity 4K --key 0x4d2 --mode 0660
  queue=$(quintet create msg)
  echo hello | quintet msg send $queue";

/// Create a message queue, or find the one that has the key, and print its identifier
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How many bytes of messages it takes: bytes, or with K, M, G; over msgmnb only the privileged may ask for. A queue that is there
    /// already keeps its own [default: msgmnb]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    capacity: Option<u64>,

    #[command(flatten)]
    naming: Naming,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let key = args.naming.key()?;
    let ns = context.namespace()?;
    let (id, created) = create(&ns, key, &args.naming).map_err(|errno| explain(&ns, key, errno))?;
    if let Some(capacity) = args.capacity.filter(|_| created) {
        give(&ns, id, args.naming.mode, capacity)?;
    }
    let stat = ns.msg_stat_index(i32::from(id.index()), true).ok().filter(|stat| stat.id == id);
    let capacity = stat.map_or(args.capacity.unwrap_or(0), |stat| stat.capacity);
    let (namespace, id) = (NamespaceView::new(&ns), id.raw());
    emit(context, &Created { namespace, class: "msg", id, key: key.into(), size: Size::Capacity { capacity }, created })?;
    Ok(Exit::Success)
}

/// The queue, and whether it is new.
fn create(ns: &Namespace, key: Key, naming: &Naming) -> Result<(Id, bool), Errno> {
    let mode = naming.mode as i32;
    // Others may remove it under our hands, but hardly each time.
    for _ in 0..100 {
        match ns.msgget(key, mode | libc::IPC_CREAT | libc::IPC_EXCL) {
            Err(Errno::EXIST) if !naming.exclusive => match ns.msgget(key, mode) {
                Err(Errno::NOENT) => {}
                found => return found.map(|id| (id, false)),
            },
            new => return new.map(|id| (id, true)),
        }
    }
    Err(Errno::AGAIN)
}

/// Sets how much a new queue takes; one that cannot have it goes again.
fn give(ns: &Namespace, id: Id, mode: u32, capacity: u64) -> Result<(), Failure> {
    let set = ns.msg_stat(id.raw()).and_then(|stat| ns.msg_set(id.raw(), stat.perm.uid, stat.perm.gid, mode, capacity));
    set.map_err(|errno| {
        let _ = ns.msg_remove(id.raw());
        let what = format!("cannot create a queue of {capacity} bytes");
        match errno {
            Errno::PERM => {
                let msgmnb = ns.limits().unwrap_or_default().msgmnb;
                Failure::new(format!("{what}: the limit msgmnb is {msgmnb} bytes, and you are not privileged (EPERM)"))
                    .remedy("raise it with 'quintet namespace limits --msgmnb'")
            }
            _ => Failure::new(format!("{what}: {errno}")),
        }
        .errno(errno)
    })
}

fn explain(ns: &Namespace, key: Key, errno: Errno) -> Failure {
    let why = match errno {
        Errno::EXIST => "the key is in use".to_owned(),
        Errno::ACCES => "its mode does not grant this".to_owned(),
        Errno::NOSPC => format!("the limit msgmni ({} queues) is reached", ns.limits().unwrap_or_default().msgmni),
        Errno::NOMEM => "the file system of the namespace has no room for it".to_owned(),
        Errno::AGAIN => "others keep removing it".to_owned(),
        _ => errno.description().to_owned(),
    };
    let failure = Failure::new(format!("cannot create a queue with key {key}: {why} ({errno:?})")).errno(errno);
    match errno {
        Errno::ACCES => failure.remedy("'quintet stat' shows owner and mode"),
        Errno::NOSPC => failure.remedy("remove queues, or raise the limit with 'quintet namespace limits --msgmni'"),
        Errno::NOMEM => failure.remedy("'quintet doctor' tells how much there is"),
        _ => failure,
    }
}
