//! The errors of calls on a message queue.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::hint;
use quintet::{Errno, Id, Namespace};

/// Returns the failure of a call on queue `id`: "cannot `what`: REASON".
pub fn call_failure(ns: &Namespace, id: Id, what: &str, errno: Errno) -> Failure {
    let exists = || ns.msg_stat_index(i32::from(id.index()), true).is_ok_and(|stat| stat.id == id);
    let failed = |reason: &str| Failure::new(format!("cannot {what}: {reason} ({errno:?})")).errno(errno);
    match errno {
        Errno::INVAL if !exists() => failed("it has just been removed"),
        Errno::IDRM => failed("it was removed during the call"),
        Errno::ACCES => {
            let stat = hint::on(ns, format_args!("stat msg:{id}"));
            failed("its mode denies access").remedy(format_args!("{stat} shows owner and mode"))
        }
        Errno::OPNOTSUPP => {
            failed("the kernel's queues have no timeout").remedy("leave out --timeout, give --no-wait, or use timeout(1)")
        }
        Errno::NOMEM => {
            let doctor = hint::on(ns, "doctor");
            failed("memory or the file system of the namespace is full").remedy(format_args!("{doctor} shows the free space"))
        }
        _ => failed(errno.description()),
    }
}

/// Returns the failure of a call that would block, or that timed out. The exit code is 124.
pub fn would_block(ns: &Namespace, id: Id, what: &str, reason: &str, errno: Errno) -> Failure {
    let stat = hint::on(ns, format_args!("stat msg:{id}"));
    Failure::new(format!("cannot {what}: {reason} ({errno:?})"))
        .errno(errno)
        .exit(Exit::WouldBlock)
        .remedy(format_args!("{stat} shows its messages and waiters"))
}
