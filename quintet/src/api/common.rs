//! What segments, sets and queues share: opening, waiting through signals, and error messages.

use crate::api::namespace::Namespace;
use crate::types::error::{Errno, Error, Result, shell_word};
use crate::types::id::Id;
use crate::types::key::Key;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// The number of times that a creation starts again because the object was removed meanwhile.
pub const MAX_ATTEMPTS: usize = 100;

/// A class of objects, as messages name it.
#[derive(Clone, Copy)]
pub struct Class {
    /// "segment", "set" or "queue".
    pub noun: &'static str,
    /// The word of the command line tool: `shm`, `sem` or `msg`.
    pub word: &'static str,
}

impl Class {
    pub const SEGMENT: Class = Class { noun: "segment", word: "shm" };
    pub const SET: Class = Class { noun: "set", word: "sem" };
    pub const QUEUE: Class = Class { noun: "queue", word: "msg" };
}

/// Opens the object of a key. `get` is the C call without `IPC_CREAT`.
pub fn open(class: Class, key: Key, get: impl FnOnce() -> std::result::Result<Id, Errno>) -> Result<Id> {
    let noun = class.noun;
    if key.is_private() {
        return Err(Error::new(Errno::NOENT, format!("cannot open a {noun} with the key IPC_PRIVATE"))
            .reason("this key finds no object")
            .hint(format!("open the {noun} by its identifier")));
    }
    get().map_err(|e| Error::new(e, format!("cannot open the {noun} with key {key}")))
}

/// Checks that the object `found` at the index of `id` has this identifier.
pub fn open_id(class: Class, id: Id, found: std::result::Result<Id, Errno>) -> Result<()> {
    let noun = class.noun;
    match found {
        Ok(found) if found == id => Ok(()),
        Ok(_) | Err(Errno::INVAL) => {
            Err(Error::new(Errno::INVAL, format!("cannot open {noun} {id}")).reason("there is none with this identifier"))
        }
        Err(e) => Err(Error::new(e, format!("cannot open {noun} {id}"))),
    }
}

/// Creates and initialises an object in two calls, for the kernel, which cannot do both in one.
///
/// `get` is the C call with the given flags. An object that exists is returned as it is, unless
/// `exclusive` is set.
pub fn create_in_steps(
    mode: i32,
    exclusive: bool,
    get: impl Fn(i32) -> std::result::Result<Id, Errno>,
    initialise: impl Fn(Id) -> std::result::Result<(), Errno>,
    remove: impl Fn(Id) -> std::result::Result<(), Errno>,
) -> std::result::Result<Id, Errno> {
    for _ in 0..MAX_ATTEMPTS {
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

/// Returns a quoted command line of the tool for the namespace. It works when it is pasted.
pub fn command(ns: &Namespace, arguments: impl Display) -> String {
    match ns.path() {
        Some(path) => format!("'quintet --namespace {} {arguments}'", shell_word(&path.to_string_lossy())),
        None => format!("'quintet --kernel {arguments}'"),
    }
}

/// Adds the reason why the creation of any object failed.
pub fn creation_error(ns: &Namespace, class: Class, key: Key, error: Error) -> Error {
    match error.errno() {
        Errno::NOMEM => error
            .reason("the file system of the namespace has no room for it")
            .hint(format!("{} shows how much room there is", command(ns, "doctor"))),
        Errno::EXIST => error.reason("the key is in use"),
        Errno::ACCES => error
            .reason("its mode does not grant this")
            .hint(format!("{} shows owner and mode", command(ns, format_args!("stat {}:key:{key}", class.word)))),
        Errno::AGAIN => error.reason("other processes keep removing it"),
        _ => error,
    }
}

/// Returns the error of a call on the object `id`.
pub fn error(ns: &Namespace, verb: &str, class: Class, id: Id, errno: Errno) -> Error {
    let error = Error::new(errno, format!("cannot {verb} {} {id}", class.noun));
    match errno {
        Errno::INVAL => error.reason("it does not exist (any more)"),
        Errno::IDRM => error.reason("it was removed meanwhile"),
        Errno::ACCES => error
            .reason("its mode does not grant this")
            .hint(format!("{} shows owner and mode", command(ns, format_args!("stat {}:{id}", class.word)))),
        Errno::PERM => error.reason("only its owner or creator may do this"),
        Errno::INTR => error.reason("a signal was caught while the call waited"),
        _ => error,
    }
}

/// Returns the error of a change of owner, group or mode.
pub fn permissions_error(ns: &Namespace, class: Class, id: Id, errno: Errno) -> Error {
    let error = error(ns, "change", class, id, errno);
    if errno == Errno::INVAL { error.reason("it does not exist (any more), or an id is -1") } else { error }
}

/// Repeats `call` after each signal, with the time that is left until `deadline`.
pub fn restart_after_signals<T>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_name_the_namespace() {
        assert_eq!(command(&Namespace::kernel(), "stat shm:3"), "'quintet --kernel stat shm:3'");
        assert_eq!(shell_word("/srv/my ipc/$x"), r"/srv/my\ ipc/\$x");
    }
}
