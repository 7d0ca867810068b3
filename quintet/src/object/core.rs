//! An open namespace without its objects.

use crate::layout::{Header, Registry, Shared};
use crate::object::hints::Hints;
use crate::object::registry::RegistryGuard;
use crate::process::participants::Participants;
use crate::sys::credentials::{self, capable};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use rustix::fs;
use rustix::thread::CapabilitySet;
use std::ffi::CStr;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// The operations of a class that code for all classes needs.
pub trait ObjectClass: Sync {
    /// Returns `true` if `index` has a live object. Reads the object's file, not the registry.
    fn is_live(&self, index: u16) -> bool;

    /// Repairs the class after the owner of the registry's lock exited: undoes an unfinished
    /// creation, finishes an unfinished removal, and recounts the objects.
    fn repair(&self, guard: &RegistryGuard<'_>);

    /// Reclaims from the objects what participants that exited left.
    fn sweep(&self, guard: &RegistryGuard<'_>);

    /// Frees memory that is kept for reuse, and files without an object.
    fn trim(&self, _guard: &RegistryGuard<'_>) {}

    /// Removes the names of `key` that lead to no object.
    fn drop_stale_names(&self, guard: &RegistryGuard<'_>, key: Key);
}

/// An open namespace without its objects.
///
/// The fields that a fork writes come first.
#[repr(C)]
pub struct Core {
    pub participants: Participants,
    pub header: Shared<Header>,
    pub registry: Shared<Registry>,
    kind: Kind,
    /// The device and inode of the header's file.
    pub identity: (u64, u64),
    pub hints: Hints,
    /// One bit for each page of the registry's key table: set if the page is known to have its
    /// blocks on the file system.
    pub key_pages: [AtomicU32; Mechanism::ALL.len()],
    classes: OnceLock<[&'static dyn ObjectClass; Mechanism::ALL.len()]>,
}

impl Core {
    pub fn new(participants: Participants, header: Shared<Header>, kind: Kind, identity: (u64, u64), hints: Hints) -> Core {
        Core {
            registry: participants.registry,
            participants,
            header,
            kind,
            identity,
            hints,
            key_pages: [const { AtomicU32::new(0) }; Mechanism::ALL.len()],
            classes: OnceLock::new(),
        }
    }

    /// Sets the classes, in the order of [`Mechanism`]. The caller has not shared the namespace
    /// yet.
    pub fn set_classes(&self, classes: [&'static dyn ObjectClass; Mechanism::ALL.len()]) {
        let _ = self.classes.set(classes);
    }

    /// Returns the classes, in the order of [`Mechanism`].
    pub fn classes(&self) -> impl Iterator<Item = &'static dyn ObjectClass> {
        self.classes.get().into_iter().flatten().copied()
    }

    /// Returns the class of `of`.
    pub fn class(&self, of: Mechanism) -> Option<&'static dyn ObjectClass> {
        self.classes().nth(of as usize)
    }

    /// Returns the path of the directory at the time when the namespace was opened.
    pub fn path(&self) -> &Path {
        self.participants.path.path()
    }

    /// Returns the path by which the calling thread reaches the directory.
    pub fn directory(&self) -> &[u8] {
        self.participants.path.directory()
    }

    /// Returns the path by which the calling thread reaches the registry.
    pub fn registry_path(&self) -> &CStr {
        self.participants.path.registry()
    }

    /// Returns whether the namespace is private or shared.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> std::result::Result<Limits, Errno> {
        Ok(Limits {
            shmmax: self.header.shmmax.load(Relaxed),
            shmall: self.header.shmall.load(Relaxed),
            shmmni: self.header.shmmni.load(Relaxed).min(MAX_OBJECTS),
            shm_rmid_forced: self.rmid_forced(),
            semmsl: self.header.semmsl.load(Relaxed).min(Limits::MAX_SEMMSL),
            semmns: self.header.semmns.load(Relaxed),
            semopm: self.header.semopm.load(Relaxed).min(Limits::MAX_SEMOPM),
            semmni: self.header.semmni.load(Relaxed).min(MAX_OBJECTS),
            msgmax: self.header.msgmax.load(Relaxed),
            msgmnb: self.header.msgmnb.load(Relaxed),
            msgmni: self.header.msgmni.load(Relaxed).min(MAX_OBJECTS),
        })
    }

    /// Returns `true` if `shm_rmid_forced` is set.
    pub(crate) fn rmid_forced(&self) -> bool {
        self.header.shm_rmid_forced.load(Relaxed) != 0
    }

    /// Returns the identifier for the next object: `shm_next_id`, `sem_next_id` or `msg_next_id`.
    /// `None` if none is set.
    pub fn next_id(&self, of: Mechanism) -> std::result::Result<Option<Id>, Errno> {
        Ok(Id::from_raw(self.registry.class(of).next_id.load(Relaxed)).ok())
    }

    /// Sets the identifier for the next object. Fails with `EPERM` unless [`Core::is_owner`].
    pub fn set_next_id(&self, of: Mechanism, id: Option<Id>) -> std::result::Result<(), Errno> {
        if !self.is_owner() {
            return Err(Errno::PERM);
        }
        self.registry.class(of).next_id.store(id.map_or(-1, Id::raw), Relaxed);
        Ok(())
    }

    /// Returns `true` if the calling thread owns the directory, is root or has `CAP_SYS_ADMIN`.
    pub fn is_owner(&self) -> bool {
        let euid = credentials::euid();
        euid == 0 || fs::stat(self.path()).is_ok_and(|stat| stat.st_uid == euid) || capable(CapabilitySet::SYS_ADMIN)
    }
}
