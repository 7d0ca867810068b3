//! System V IPC as the man pages have it, for one process that never waits: a model in plain Rust, without shared memory, locks or files.
//!
//! Every call is a few lines that read like its page: what is refused, in the kernel's order, and what changes.

mod queues;
mod segments;
mod sets;

pub use queues::{Message, Queue, Queues};
pub use segments::{Segment, Segments};
pub use sets::{Set, Sets};

use quintet::{Errno, Id, Key, Limits};
use std::collections::BTreeMap;

/// What a call gives.
pub type Outcome<T> = Result<T, Errno>;

/// All there is.
pub struct World {
    /// Who calls.
    pub caller: Caller,
    /// The limits.
    pub limits: Limits,
    /// Shared memory.
    pub segments: Segments,
    /// Semaphores.
    pub sets: Sets,
    /// Messages.
    pub queues: Queues,
}

/// Who calls: one user, who owns all there is.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The process.
    pub pid: i32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// `CAP_IPC_OWNER`: modes do not bind.
    pub passes_modes: bool,
    /// `CAP_SYS_RESOURCE`: `msgmnb` does not bind.
    pub passes_msgmnb: bool,
}

impl World {
    /// Nothing, under the default limits.
    pub fn new(caller: Caller) -> World {
        let (segments, sets, queues) = (Segments::default(), Sets::default(), Queues::default());
        World { caller, limits: Limits::DEFAULT, segments, sets, queues }
    }
}

/// `struct ipc_perm`, but for the creator, who is the caller.
#[derive(Clone, Debug)]
pub struct Perm {
    /// The key; of a removed segment `IPC_PRIVATE`.
    pub key: Key,
    /// The identifier.
    pub id: Id,
    /// The nine bits of the mode.
    pub mode: u32,
}

impl Perm {
    /// Whether the owner has the rights that the bits of `wanted` name, in whichever of the three classes they stand.
    fn check(&self, caller: Caller, wanted: u32) -> Outcome<()> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        if caller.passes_modes || wanted & !(self.mode >> 6) == 0 { Ok(()) } else { Err(Errno::ACCES) }
    }
}

const READ: u32 = 0o444;
const WRITE: u32 = 0o222;

/// What all objects of a class have in common.
pub trait Object {
    /// Key, identifier and mode.
    fn perm(&self) -> &Perm;
    /// The same, to change.
    fn perm_mut(&mut self) -> &mut Perm;
}

/// The objects of a class, by index, and which identifier the next one gets.
pub struct Table<T> {
    objects: BTreeMap<u16, T>,
    sequence: u16,
    last_index: Option<u16>,
    /// `shm_next_id` and its like.
    pub next_id: Option<Id>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { objects: BTreeMap::new(), sequence: 0, last_index: None, next_id: None }
    }
}

impl<T: Object> Table<T> {
    /// The object of an identifier.
    pub fn get(&mut self, id: i32) -> Outcome<&mut T> {
        let index = Id::from_raw(id)?.index();
        self.objects.get_mut(&index).filter(|object| object.perm().id.raw() == id).ok_or(Errno::INVAL)
    }

    /// The object at an index; the low 15 bits count.
    pub fn at(&mut self, index: i32) -> Outcome<&mut T> {
        self.objects.get_mut(&Id::from_raw(index)?.index()).ok_or(Errno::INVAL)
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.objects.values()
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.objects.len() as u32
    }

    /// The highest index in use; 0 for none.
    pub fn max_index(&self) -> u32 {
        self.objects.keys().next_back().map_or(0, |index| u32::from(*index))
    }

    fn by_key(&mut self, key: Key) -> Option<&mut T> {
        if key.is_private() { None } else { self.objects.values_mut().find(|object| object.perm().key == key) }
    }

    /// The lowest free index (`sooner`, if that is free), and a new sequence number if the index does not rise; or
    /// what has been asked for, or the next free index after that.
    fn next(&mut self, sooner: Option<u16>) -> Id {
        let free = |index: &u16| !self.objects.contains_key(index);
        if let Some(asked) = self.next_id.take() {
            let index = (asked.index()..0x8000).find(free).unwrap_or_default();
            return Id::new(asked.sequence(), index);
        }
        let index = sooner.filter(free).unwrap_or_else(|| (0..0x8000).find(free).unwrap_or_default());
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

/// What `shmget`, `semget` and `msgget` do with a key that is in use: `suits` is what only some of them ask.
fn open<T: Object>(object: &T, caller: Caller, flags: i32, suits: bool) -> Outcome<Id> {
    let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
    if flags & exclusive == exclusive {
        return Err(Errno::EXIST);
    }
    if !suits {
        return Err(Errno::INVAL);
    }
    object.perm().check(caller, flags as u32 & 0o777)?;
    Ok(object.perm().id)
}

/// Whether a key that is not in use may be given to a new object.
fn may_create(key: Key, flags: i32) -> Outcome<()> {
    if key.is_private() || flags & libc::IPC_CREAT != 0 { Ok(()) } else { Err(Errno::NOENT) }
}

/// `IPC_SET`, of an owner who stays the owner; an id of -1 is refused.
fn set_mode(perm: &mut Perm, ids_are_good: bool, mode: u32) -> Outcome<()> {
    if !ids_are_good {
        return Err(Errno::INVAL);
    }
    perm.mode = mode & 0o777;
    Ok(())
}
