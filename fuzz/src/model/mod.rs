//! System V IPC for one process that never blocks, as the man pages define it: a model in plain
//! Rust without shared memory, locks or files.
//!
//! Each call reads like its man page: the errors in the kernel's order, then the change.

mod queues;
mod segments;
mod sets;

pub use queues::{Message, Queue, Queues};
pub use segments::{Segment, Segments};
pub use sets::{Set, Sets};

use quintet::{Errno, Id, Key, Limits};
use std::collections::BTreeMap;

/// The result of a call.
pub type Outcome<T> = Result<T, Errno>;

/// The state of the model.
pub struct Model {
    /// The calling process.
    pub caller: Caller,
    /// The limits.
    pub limits: Limits,
    /// Shared memory segments.
    pub segments: Segments,
    /// Semaphore sets.
    pub sets: Sets,
    /// Message queues.
    pub queues: Queues,
}

/// The calling process. Its user owns all objects.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The process id.
    pub pid: i32,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// `CAP_IPC_OWNER`: modes are ignored.
    pub ignores_modes: bool,
    /// `CAP_SYS_RESOURCE`: `msgmnb` is ignored.
    pub ignores_msgmnb: bool,
}

impl Model {
    /// Returns a model without objects and with the default limits.
    pub fn new(caller: Caller) -> Model {
        let (segments, sets, queues) = (Segments::default(), Sets::default(), Queues::default());
        Model { caller, limits: Limits::DEFAULT, segments, sets, queues }
    }
}

/// `struct ipc_perm` without owner and creator, which are the caller.
#[derive(Clone, Debug)]
pub struct Perm {
    /// The key; `IPC_PRIVATE` for a removed segment.
    pub key: Key,
    /// The identifier.
    pub id: Id,
    /// The nine bits of the mode.
    pub mode: u32,
}

impl Perm {
    /// Checks the permissions in `wanted`, which may stand in any of the three classes.
    fn check(&self, caller: Caller, wanted: u32) -> Outcome<()> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        if caller.ignores_modes || wanted & !(self.mode >> 6) == 0 { Ok(()) } else { Err(Errno::ACCES) }
    }
}

const READ: u32 = 0o444;
const WRITE: u32 = 0o222;

/// What objects of all classes have in common.
pub trait Object {
    /// Key, identifier and mode.
    fn perm(&self) -> &Perm;
    /// As [`Object::perm`], mutable.
    fn perm_mut(&mut self) -> &mut Perm;
}

/// The objects of a class by index, and the state that determines the next identifier.
pub struct Table<T> {
    objects: BTreeMap<u16, T>,
    sequence: u16,
    last_index: Option<u16>,
    /// `shm_next_id`, `sem_next_id` or `msg_next_id`.
    pub next_id: Option<Id>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { objects: BTreeMap::new(), sequence: 0, last_index: None, next_id: None }
    }
}

impl<T: Object> Table<T> {
    /// Looks up an object by identifier.
    pub fn get(&mut self, id: i32) -> Outcome<&mut T> {
        let index = Id::from_raw(id)?.index();
        self.objects.get_mut(&index).filter(|object| object.perm().id.raw() == id).ok_or(Errno::INVAL)
    }

    /// Looks up an object by index. The low 15 bits count.
    pub fn at(&mut self, index: i32) -> Outcome<&mut T> {
        self.objects.get_mut(&Id::from_raw(index)?.index()).ok_or(Errno::INVAL)
    }

    /// Returns all objects by index.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.objects.values()
    }

    /// Returns the number of objects.
    pub fn count(&self) -> u32 {
        self.objects.len() as u32
    }

    /// Returns the highest index in use; 0 if there is none.
    pub fn max_index(&self) -> u32 {
        self.objects.keys().next_back().map_or(0, |index| u32::from(*index))
    }

    fn by_key(&mut self, key: Key) -> Option<&mut T> {
        if key.is_private() { None } else { self.objects.values_mut().find(|object| object.perm().key == key) }
    }

    /// Returns the next identifier. If one was requested, it is that one or the next free index.
    /// Otherwise it is the lowest free index (`preferred` if free), with a new sequence number if
    /// the index does not rise.
    fn next(&mut self, preferred: Option<u16>) -> Id {
        let free = |index: &u16| !self.objects.contains_key(index);
        if let Some(requested) = self.next_id.take() {
            let index = (requested.index()..0x8000).find(free).unwrap_or_default();
            return Id::new(requested.sequence(), index);
        }
        let index = preferred.filter(free).unwrap_or_else(|| (0..0x8000).find(free).unwrap_or_default());
        if self.last_index.is_some_and(|last| index <= last) {
            self.sequence += 1;
        }
        self.last_index = Some(index);
        Id::new(self.sequence, index)
    }

    fn insert(&mut self, object: T) -> Id {
        let id = object.perm().id;
        self.objects.insert(id.index(), object);
        id
    }

    fn remove(&mut self, id: Id) -> Option<T> {
        self.objects.remove(&id.index())
    }
}

/// Opens an existing object as `shmget`, `semget` and `msgget` do. `size_fits` is the check that
/// depends on the class.
fn open<T: Object>(object: &T, caller: Caller, flags: i32, size_fits: bool) -> Outcome<Id> {
    let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
    if flags & exclusive == exclusive {
        return Err(Errno::EXIST);
    }
    if !size_fits {
        return Err(Errno::INVAL);
    }
    object.perm().check(caller, flags as u32 & 0o777)?;
    Ok(object.perm().id)
}

/// Returns an error if a free key may not be given to a new object.
fn may_create(key: Key, flags: i32) -> Outcome<()> {
    if key.is_private() || flags & libc::IPC_CREAT != 0 { Ok(()) } else { Err(Errno::NOENT) }
}

/// `IPC_SET` by an owner that stays the owner. An id of -1 is refused.
fn set_mode(perm: &mut Perm, ids_valid: bool, mode: u32) -> Outcome<()> {
    if !ids_valid {
        return Err(Errno::INVAL);
    }
    perm.mode = mode & 0o777;
    Ok(())
}
