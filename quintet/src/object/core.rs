//! A namespace as this process has it open, without its objects.

use crate::layout::{Header, Registry, Shared};
use crate::object::keys::Hints;
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

/// What the layers that do not know the classes of objects ask of each class.
pub trait ObjectClass: Sync {
    /// Returns `true` if an object is at `index`, whatever the registry says.
    fn is_live(&self, index: u16) -> bool;

    /// Undoes what an owner of the registry's lock that exited has half created, ends what it has
    /// half removed, and counts the objects anew.
    fn repair(&self, held: &RegistryGuard<'_>);

    /// Reclaims what participants that exited have left in the objects.
    fn sweep(&self, held: &RegistryGuard<'_>);

    /// Gives back memory that is kept for reuse, and files that no object has any more.
    fn trim(&self, _held: &RegistryGuard<'_>) {}

    /// Removes the names of `key` that lead to no object.
    fn drop_stale_names(&self, held: &RegistryGuard<'_>, key: Key);
}

/// A namespace without its objects.
///
/// What a fork writes to comes first.
#[repr(C)]
pub struct Core {
    pub participants: Participants,
    pub header: Shared<Header>,
    pub registry: Shared<Registry>,
    kind: Kind,
    /// The device and inode of the header's file.
    pub identity: (u64, u64),
    pub hints: Hints,
    /// The pages of the registry's key table that are known to be on the file system, a bit each.
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

    /// Names the classes, in the order of [`Mechanism`], before the namespace is used.
    pub fn set_classes(&self, classes: [&'static dyn ObjectClass; Mechanism::ALL.len()]) {
        let _ = self.classes.set(classes);
    }

    /// Returns the classes, in the order of [`Mechanism`].
    pub fn classes(&self) -> impl Iterator<Item = &'static dyn ObjectClass> {
        self.classes.get().into_iter().flatten().copied()
    }

    /// Returns one class.
    pub fn class(&self, of: Mechanism) -> Option<&'static dyn ObjectClass> {
        self.classes().nth(of as usize)
    }

    /// Returns the directory as it was when the namespace was opened.
    pub fn path(&self) -> &Path {
        self.participants.path.path()
    }

    /// Returns the directory as the calling thread reaches it.
    pub fn directory(&self) -> &[u8] {
        self.participants.path.directory()
    }

    /// Returns the path of the registry as the calling thread reaches it.
    pub fn registry_path(&self) -> &CStr {
        self.participants.path.registry()
    }

    /// Returns whether the namespace is private or shared.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The limits in force.
    pub fn limits(&self) -> std::result::Result<Limits, Errno> {
        Ok(Limits {
            shmmax: self.header.shmmax.load(Relaxed),
            shmall: self.header.shmall.load(Relaxed),
            shmmni: self.header.shmmni.load(Relaxed).min(MAX_OBJECTS),
            shm_rmid_forced: self.forced(),
            semmsl: self.header.semmsl.load(Relaxed).min(Limits::MAX_SEMMSL),
            semmns: self.header.semmns.load(Relaxed),
            semopm: self.header.semopm.load(Relaxed).min(Limits::MAX_SEMOPM),
            semmni: self.header.semmni.load(Relaxed).min(MAX_OBJECTS),
            msgmax: self.header.msgmax.load(Relaxed),
            msgmnb: self.header.msgmnb.load(Relaxed),
            msgmni: self.header.msgmni.load(Relaxed).min(MAX_OBJECTS),
        })
    }

    /// `shm_rmid_forced`.
    pub(crate) fn forced(&self) -> bool {
        self.header.shm_rmid_forced.load(Relaxed) != 0
    }

    /// Returns the identifier that the next object is to have, `shm_next_id` and the like.
    pub fn next_id(&self, of: Mechanism) -> std::result::Result<Option<Id>, Errno> {
        Ok(Id::from_raw(self.registry.class(of).next_id.load(Relaxed)).ok())
    }

    pub fn set_next_id(&self, of: Mechanism, id: Option<Id>) -> std::result::Result<(), Errno> {
        if !self.is_owner() {
            return Err(Errno::PERM);
        }
        self.registry.class(of).next_id.store(id.map_or(-1, Id::raw), Relaxed);
        Ok(())
    }

    pub fn is_owner(&self) -> bool {
        let euid = credentials::euid();
        euid == 0 || fs::stat(self.path()).is_ok_and(|stat| stat.st_uid == euid) || capable(CapabilitySet::SYS_ADMIN)
    }
}
