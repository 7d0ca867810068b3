//! What the safe faces of segments, sets and queues have in common: finding one, waiting, and saying what went wrong.

use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use std::time::{Duration, Instant};

/// How often an object may be removed under the hands of who finds it.
pub const MOST_RACES: usize = 100;

/// Finds the `what` of a key.
pub fn open(what: &str, key: Key, get: impl FnOnce() -> std::result::Result<Id, Errno>) -> Result<Id> {
    if key.is_private() {
        return Err(Error::new(Errno::NOENT, "cannot open the key IPC_PRIVATE")
            .reason(format!("it finds no {what}"))
            .hint(format!("open the {what} by its identifier")));
    }
    get().map_err(|e| Error::new(e, format!("cannot open the {what} with key {key}")))
}

/// Whether the `what` that was found at an identifier's index has that identifier.
pub fn open_id(what: &str, id: Id, found: std::result::Result<Id, Errno>) -> Result<()> {
    match found {
        Ok(there) if there == id => Ok(()),
        Ok(_) | Err(Errno::INVAL) => {
            Err(Error::new(Errno::INVAL, format!("cannot open {what} {id}")).reason("there is none with this identifier"))
        }
        Err(e) => Err(Error::new(e, format!("cannot open {what} {id}"))),
    }
}

/// Where creating an object and giving it what it should have are two steps. `get` is the C call, by its flags.
pub fn create_in_steps(
    mode: i32,
    exclusive: bool,
    get: impl Fn(i32) -> std::result::Result<Id, Errno>,
    initialise: impl Fn(Id) -> std::result::Result<(), Errno>,
    remove: impl Fn(Id) -> std::result::Result<(), Errno>,
) -> std::result::Result<Id, Errno> {
    for _ in 0..MOST_RACES {
        match get(mode | libc::IPC_CREAT | libc::IPC_EXCL) {
            Ok(id) => {
                return initialise(id).map(|()| id).inspect_err(|_| {
                    let _ = remove(id);
                });
            }
            Err(Errno::EXIST) if !exclusive => {}
            Err(errno) => return Err(errno),
        }
        match get(mode) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
    }
    Err(Errno::AGAIN)
}

/// What the creation of any object may fail with.
pub fn creation_error(errno: Errno, error: Error) -> Error {
    match errno {
        Errno::NOMEM => {
            error.reason("the file system of the namespace has no room for it").hint("'quintet doctor' tells how much there is")
        }
        Errno::EXIST => error.reason("the key is in use"),
        Errno::ACCES => error.reason("its mode does not grant this").hint("'quintet stat' shows owner and mode"),
        Errno::AGAIN => error.reason("others keep removing it"),
        _ => error,
    }
}

/// What a call about the `what` of an identifier may fail with.
pub fn error(verb: &str, what: &str, id: Id, errno: Errno) -> Error {
    let error = Error::new(errno, format!("cannot {verb} {what} {id}"));
    match errno {
        Errno::INVAL => error.reason("it does not exist (any more)"),
        Errno::IDRM => error.reason("it was removed meanwhile"),
        Errno::ACCES => error.reason("its mode does not grant this").hint("'quintet stat' shows owner and mode"),
        Errno::PERM => error.reason("only its owner or creator may do this"),
        Errno::INTR => error.reason("a signal was caught while it waited"),
        _ => error,
    }
}

/// What giving the `what` of an identifier other owners or another mode may fail with.
pub fn permissions_error(what: &str, id: Id, errno: Errno) -> Error {
    let error = error("change", what, id, errno);
    if errno == Errno::INVAL { error.reason("it does not exist (any more), or an id is -1") } else { error }
}

/// Calls with what is left of the time, again after each signal.
pub fn through_signals<T>(
    deadline: Option<Instant>,
    mut call: impl FnMut(Option<Duration>) -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match call(left) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}
