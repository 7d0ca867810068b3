//! Creating an object that is one file, made in one step: sets and queues.

use crate::object::core::Core;
use crate::object::keys::{Found, Keyed};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::process::fork::Inside;
use crate::sys::fd_thread;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Core {
    /// The object of a key, as `semget` and `msgget` find it or have it made, in the order in which the kernel checks. `suits` says whether
    /// one that is there is what the caller wants.
    pub fn find_or_create<'a, V: MappedObject<'a>>(
        &self,
        files: &'a V::Files,
        key: Key,
        flags: i32,
        suits: impl Fn(&V) -> Result<()>,
        create: impl Fn(&RegistryGuard<'_>) -> Result<Id>,
    ) -> Result<Id> {
        fd_thread::run(|| self.find_or_create_inner(files, key, flags, &suits, &create))
    }

    fn find_or_create_inner<'a, V: MappedObject<'a>>(
        &self,
        files: &'a V::Files,
        key: Key,
        flags: i32,
        suits: impl Fn(&V) -> Result<()>,
        create: impl Fn(&RegistryGuard<'_>) -> Result<Id>,
    ) -> Result<Id> {
        let open = |object: &V, id| {
            let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
            if flags & exclusive == exclusive {
                return Err(Errno::EXIST);
            }
            suits(object)?;
            if object.permits(flags as u32 & 0o777) { Ok(id) } else { Err(Errno::ACCES) }
        };
        let creates = flags & libc::IPC_CREAT != 0;
        if !key.is_private() {
            match if creates { self.find_by_hint(files, key) } else { self.find::<V>(files, key)? } {
                Found::Object(object, id) => return open(&object, id),
                Found::Nothing if !creates => return Err(Errno::NOENT),
                _ => {}
            }
        }
        let _inside = Inside::enter();
        let held = self.lock()?;
        if !key.is_private() {
            if let Found::Object(object, id) = self.find::<V>(files, key)? {
                drop(held);
                return open(&object, id);
            }
            if !creates {
                return Err(Errno::NOENT);
            }
        }
        create(&held)
    }

    /// Makes an object at the first free index, or at that of `sem_next_id` or `msg_next_id`.
    pub fn create_at_free_index<'a, V: MappedObject<'a>>(
        &self,
        files: &'a V::Files,
        held: &RegistryGuard<'_>,
        create: impl Fn(Id) -> Result<()>,
    ) -> Result<Id> {
        let asked = Id::from_raw(self.registry.class(V::OF).next_id.swap(-1, Relaxed)).ok();
        for index in self.free_indexes(V::OF, asked.map_or(0, Id::index), asked.is_none()) {
            let foreign = &files.file(index).foreign;
            if foreign.load(Relaxed) != 0 {
                continue;
            }
            let sequence = match asked {
                Some(id) => id.sequence(),
                None => self.next_sequence(held, V::OF, index),
            };
            let id = Id::new(sequence, index);
            self.reserve_key(V::OF, index).map_err(|e| self.restore_next_id(V::OF, asked, e))?;
            self.mark_used(held, V::OF, index, true);
            match create(id) {
                Ok(()) => return Ok(id),
                Err(e) => {
                    self.mark_used(held, V::OF, index, false);
                    match e {
                        // Somebody has falsified the registry: the index is not free.
                        Errno::EXIST if is_live_at::<V>(files, index) => self.mark_used(held, V::OF, index, true),
                        // Somebody who does not keep to the lock.
                        Errno::EXIST => foreign.store(1, Relaxed),
                        e => return Err(self.restore_next_id(V::OF, asked, e)),
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    /// A creation has failed. The identifier that was asked for is the next one's, as in the kernel: this one's, too, if it is tried again.
    pub fn restore_next_id(&self, of: Mechanism, asked: Option<Id>, e: Errno) -> Errno {
        if let Some(id) = asked {
            self.registry.class(of).next_id.store(id.raw(), Relaxed);
        }
        e
    }
}

/// Whether an object is at an index, whatever the registry says.
pub fn is_live_at<'a, V: MappedObject<'a>>(files: &'a V::Files, index: u16) -> bool {
    matches!(V::at(files, index), Ok(Some(object)) if object.is_live())
}
