//! The exported System V IPC calls.
//!
//! The name of a function says what it adds. A frequent call has these, from the outside in:
//!
//! | function | adds |
//! |---|---|
//! | `semop` | the C signature; has nothing to drop or catch, see [`crate::base::cancel`] |
//! | `semop_observed` | deferred cancellation and a line in the log, if either is wanted |
//! | `semop_inner` | containment of panics; the fast path |
//! | `semop_slow`, `semop_copied` | every other case of the call |
//!
//! `semop_inner` calls [`crate::base::preload_api`] directly. The other calls run their body
//! through [`crate::log::trace::observed_call`], which does the same for a closure.

pub mod key;
pub mod msg;
pub mod sem;
pub mod shm;

use libc::{c_int, ipc_perm};
use quintet::{Id, Key, Permissions, abi};

/// The command that `shmctl`, `semctl` and `msgctl` share and the `libc` crate lacks.
const IPC_INFO: c_int = 3;

/// Fills the part that `shmid_ds`, `semid_ds` and `msqid_ds` share.
fn set_ipc_perm(c: &mut ipc_perm, id: Id, key: Key, perm: &Permissions) {
    abi::set_key(c, key.raw());
    c.uid = perm.uid;
    c.gid = perm.gid;
    c.cuid = perm.cuid;
    c.cgid = perm.cgid;
    c.mode = perm.mode as _;
    c.__seq = id.sequence() as _;
}
