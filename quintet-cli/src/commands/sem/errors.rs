//! The errors of calls on a semaphore set.

use crate::failure::Failure;
use crate::hint;
use quintet::{Errno, Id, Namespace};

/// Returns the failure of a call on set `id`: "cannot `verb` semaphore set `id`: REASON".
///
/// `num` is the greatest semaphore that the call names.
pub fn call_failure(ns: &Namespace, id: Id, verb: &str, num: Option<u16>, errno: Errno) -> Failure {
    let stat = ns.sem_stat_index(i32::from(id.index()), true).ok().filter(|stat| stat.id == id);
    let nsems = stat.map(|stat| stat.nsems);
    let failed = |reason: &str| Failure::new(format!("cannot {verb} semaphore set {id}: {reason} ({errno:?})")).errno(errno);
    match (errno, nsems, num) {
        (Errno::INVAL | Errno::FBIG, Some(nsems), Some(num)) if u32::from(num) >= nsems => {
            failed(&format!("semaphore {num} does not exist")).remedy(format_args!("give 0 to {}", nsems.saturating_sub(1)))
        }
        (Errno::INVAL, None, _) => failed("it has just been removed"),
        (Errno::IDRM, ..) => failed("it was removed during the call"),
        (Errno::ACCES, ..) => {
            let stat = hint::on(ns, format_args!("stat sem:{id}"));
            failed("its mode denies access").remedy(format_args!("{stat} shows owner and mode"))
        }
        _ => failed(errno.description()),
    }
}
