//! Creation of sets and queues.

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
    /// Finds or creates the object of `key`, as `semget` and `msgget` do. The checks run in the
    /// kernel's order. `check` decides whether an existing object suits the caller.
    pub fn find_or_create<'a, V: MappedObject<'a>>(
        &self,
        files: &'a V::Files,
        key: Key,
        flags: i32,
        check: impl Fn(&V) -> Result<()>,
        create: impl Fn(&RegistryGuard<'_>) -> Result<Id>,
    ) -> Result<Id> {
        fd_thread::run(|| self.find_or_create_inner(files, key, flags, &check, &create))
    }

    fn find_or_create_inner<'a, V: MappedObject<'a>>(
        &self,
        files: &'a V::Files,
        key: Key,
        flags: i32,
        check: impl Fn(&V) -> Result<()>,
        create: impl Fn(&RegistryGuard<'_>) -> Result<Id>,
    ) -> Result<Id> {
        let open = |object: &V, id| {
            let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
            if flags & exclusive == exclusive {
                return Err(Errno::EXIST);
            }
            check(object)?;
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
        let guard = self.lock()?;
        if !key.is_private() {
            if let Found::Object(object, id) = self.find::<V>(files, key)? {
                drop(guard);
                return open(&object, id);
            }
            if !creates {
                return Err(Errno::NOENT);
            }
        }
        create(&guard)
    }

    /// Creates an object at the first free index, or at that of `sem_next_id` or `msg_next_id`.
    pub fn create_at_free_index<'a, V: MappedObject<'a>>(
        &self,
        files: &'a V::Files,
        guard: &RegistryGuard<'_>,
        create: impl Fn(Id) -> Result<()>,
    ) -> Result<Id> {
        let requested = Id::from_raw(self.registry.class(V::OF).next_id.swap(-1, Relaxed)).ok();
        for index in self.free_indexes(V::OF, requested.map_or(0, Id::index), requested.is_none()) {
            let foreign = &files.file(index).foreign;
            if foreign.load(Relaxed) != 0 {
                continue;
            }
            let sequence = match requested {
                Some(id) => id.sequence(),
                None => self.next_sequence(guard, V::OF, index),
            };
            let id = Id::new(sequence, index);
            self.reserve_key(V::OF, index).map_err(|e| self.restore_next_id(V::OF, requested, e))?;
            self.mark_used(guard, V::OF, index, true);
            match create(id) {
                Ok(()) => return Ok(id),
                Err(e) => {
                    self.mark_used(guard, V::OF, index, false);
                    match e {
                        // A peer cleared the index's bit although the object is live.
                        Errno::EXIST if is_live_at::<V>(files, index) => self.mark_used(guard, V::OF, index, true),
                        // A process that ignores the lock put a file there.
                        Errno::EXIST => foreign.store(1, Relaxed),
                        e => return Err(self.restore_next_id(V::OF, requested, e)),
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    /// Stores the requested identifier again after a failed creation, so that the next one gets it
    /// as in the kernel. Returns `e`.
    pub fn restore_next_id(&self, of: Mechanism, requested: Option<Id>, e: Errno) -> Errno {
        if let Some(id) = requested {
            self.registry.class(of).next_id.store(id.raw(), Relaxed);
        }
        e
    }
}

/// Returns `true` if `index` has a live object. Reads the object's file, not the registry.
pub fn is_live_at<'a, V: MappedObject<'a>>(files: &'a V::Files, index: u16) -> bool {
    matches!(V::at(files, index), Ok(Some(object)) if object.is_live())
}
