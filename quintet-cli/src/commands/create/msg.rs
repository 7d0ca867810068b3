//! `quintet create msg`: a message queue.

use super::created::{Created, Size};
use super::key_options::KeyOptions;
use crate::args::size;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hint;
use crate::output::emit;
use crate::view::namespace::NamespaceView;
use crate::words::count;
use quintet::{Errno, Id, Key, Namespace};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create msg                       with the capacity msgmnb
  quintet create msg --capacity 4K --key 0x4d2 --mode 0660
  queue=$(quintet create msg)
  echo hello | quintet msg send $queue";

/// Create a message queue, or find the one with this key, and print its id
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Capacity in bytes, or with K, M, G; more than msgmnb needs privilege, and an existing queue
    /// keeps its capacity [default: msgmnb]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    capacity: Option<u64>,

    #[command(flatten)]
    key: KeyOptions,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let key = args.key.key()?;
    let ns = context.namespace()?;
    let (id, created) = create(&ns, key, &args.key).map_err(|errno| create_failure(&ns, key, errno))?;
    if let Some(capacity) = args.capacity.filter(|_| created) {
        set_capacity(&ns, id, args.key.mode, capacity)?;
    }
    let stat = ns.msg_stat_index(i32::from(id.index()), true).ok().filter(|stat| stat.id == id);
    let capacity = stat.map_or(args.capacity.unwrap_or(0), |stat| stat.capacity);
    let (namespace, id) = (NamespaceView::new(&ns), id.raw());
    emit(context, &Created { namespace, class: "msg", id, key: key.into(), size: Size::Capacity { capacity }, created })?;
    Ok(Exit::Success)
}

/// Returns the queue, and `true` if it is new.
fn create(ns: &Namespace, key: Key, options: &KeyOptions) -> Result<(Id, bool), Errno> {
    let mode = options.mode as i32;
    // Another process may remove the queue between the two calls, but hardly each time.
    for _ in 0..100 {
        match ns.msgget(key, mode | libc::IPC_CREAT | libc::IPC_EXCL) {
            Err(Errno::EXIST) if !options.exclusive => match ns.msgget(key, mode) {
                Err(Errno::NOENT) => {}
                found => return found.map(|id| (id, false)),
            },
            new => return new.map(|id| (id, true)),
        }
    }
    Err(Errno::AGAIN)
}

/// Sets the capacity of a new queue. Removes the queue if that fails.
fn set_capacity(ns: &Namespace, id: Id, mode: u32, capacity: u64) -> Result<(), Failure> {
    let set = ns.msg_stat(id.raw()).and_then(|stat| ns.msg_set(id.raw(), stat.perm.uid, stat.perm.gid, mode, capacity));
    set.map_err(|errno| {
        let _ = ns.msg_remove(id.raw());
        let what = format!("create a queue with a capacity of {}", count(capacity, "byte"));
        if errno != Errno::PERM {
            return Failure::call(what, errno);
        }
        let msgmnb = ns.limits().unwrap_or_default().msgmnb;
        let raise = hint::on(ns, format_args!("namespace limits --msgmnb {capacity}"));
        Failure::new(format!("cannot {what}: more than msgmnb ({msgmnb} bytes) needs privilege (EPERM)"))
            .errno(errno)
            .remedy(format_args!("{raise} raises the limit"))
    })
}

fn create_failure(ns: &Namespace, key: Key, errno: Errno) -> Failure {
    let reason = match errno {
        Errno::EXIST => "the key is in use".to_owned(),
        Errno::ACCES => "its mode denies access".to_owned(),
        Errno::NOSPC => format!("the limit msgmni ({}) is reached", count(ns.limits().unwrap_or_default().msgmni, "queue")),
        Errno::NOMEM => "the file system of the namespace is full".to_owned(),
        Errno::AGAIN => "other processes keep removing it".to_owned(),
        _ => errno.description().to_owned(),
    };
    let failure = Failure::new(format!("cannot create a queue with key {key}: {reason} ({errno:?})")).errno(errno);
    match errno {
        Errno::ACCES => failure.remedy(format_args!("{} shows owner and mode", hint::on(ns, format_args!("stat msg:key:{key}")))),
        Errno::NOSPC => {
            let more = u64::from(ns.limits().unwrap_or_default().msgmni) * 2;
            let raise = hint::on(ns, format_args!("namespace limits --msgmni {}", more.clamp(1, 32768)));
            failure.remedy(format_args!("remove queues, or raise the limit: {raise}"))
        }
        Errno::NOMEM => failure.remedy(format_args!("{} shows the free space", hint::on(ns, "doctor"))),
        _ => failure,
    }
}
