//! `semget`: finding a set, or making one.

use super::place::SetView;
use crate::engine::Engine;
use crate::layout::{Mechanism, Rights, SetHeader, SetMemory, SetState};
use crate::process::Inside;
use crate::registry::{Found, Held};
use crate::sys::file::{self, Name};
use crate::sys::{self, credentials};
use crate::{Errno, Id, Key, Kind, MAX_OBJECTS};
use rustix::fs;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Engine {
    /// `semget`, in the order in which the kernel checks.
    pub fn semget(&self, key: Key, nsems: i32, flags: i32) -> Result<Id> {
        let limits = self.limits()?;
        let nsems = u32::try_from(nsems).ok().filter(|nsems| *nsems <= limits.semmsl).ok_or(Errno::INVAL)?;
        if key.is_private() {
            let _inside = Inside::enter();
            return self.make_set(&self.lock()?, key, nsems, flags);
        }
        let creates = flags & libc::IPC_CREAT != 0;
        match if creates { self.find_by_hint(key) } else { self.find::<SetView<'_>>(key)? } {
            Found::Object(set, id) => return open_existing(&set, id, nsems, flags),
            Found::Nothing if !creates => return Err(Errno::NOENT),
            _ => {}
        }
        let _inside = Inside::enter();
        let held = self.lock()?;
        if let Found::Object(set, id) = self.find::<SetView<'_>>(key)? {
            drop(held);
            return open_existing(&set, id, nsems, flags);
        }
        if !creates {
            return Err(Errno::NOENT);
        }
        self.make_set(&held, key, nsems, flags)
    }

    fn make_set(&self, held: &Held<'_>, key: Key, nsems: u32, flags: i32) -> Result<Id> {
        let limits = self.limits()?;
        if nsems == 0 {
            return Err(Errno::INVAL);
        }
        let class = self.registry.class(Mechanism::Sem);
        if class.sum.load(Relaxed).saturating_add(nsems.into()) > limits.semmns.into() {
            return Err(Errno::NOSPC);
        }
        if class.in_use.load(Relaxed) >= limits.semmni.min(MAX_OBJECTS) {
            return Err(Errno::NOSPC);
        }
        let asked = Id::from_raw(class.next_id.swap(-1, Relaxed)).ok();
        for index in self.free_indexes(Mechanism::Sem, asked.map_or(0, Id::index), asked.is_none()) {
            let foreign = &self.sets[usize::from(index)].foreign;
            if foreign.load(Relaxed) != 0 {
                continue;
            }
            if !self.clear_place(index) {
                foreign.store(1, Relaxed);
                continue;
            }
            let sequence = match asked {
                Some(id) => id.sequence(),
                None => self.next_sequence(held, Mechanism::Sem, index),
            };
            let id = Id::new(sequence, index);
            self.reserve_key(Mechanism::Sem, index)?;
            self.mark_used(held, Mechanism::Sem, index, true);
            match self.make_set_at(held, id, key, nsems, flags as u32 & 0o777) {
                Ok(()) => return Ok(id),
                Err(e) => {
                    self.mark_used(held, Mechanism::Sem, index, false);
                    match e {
                        // Somebody who does not keep to the lock.
                        Errno::EXIST => foreign.store(1, Relaxed),
                        e => return Err(e),
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    /// Takes away what an earlier set has left at a free index. `false`: it is another user's.
    fn clear_place(&self, index: u16) -> bool {
        if let Ok(Some(old)) = self.writable_set(index)
            && old.writable()
        {
            old.header().retire();
        }
        matches!(fs::unlink(self.set_path(index).c_str()), Ok(()) | Err(rustix::io::Errno::NOENT))
    }

    fn make_set_at(&self, held: &Held<'_>, id: Id, key: Key, nsems: u32, mode: u32) -> Result<()> {
        let folder = Name::new(self.directory(), format_args!("/sem"));
        let bytes = SetMemory::bytes(nsems);
        let path = self.set_path(id.index());
        let file_mode = self.set_mode(mode);
        let fd = file::unpublished(folder.c_str(), file_mode, bytes, bytes, &SetHeader::blank(nsems)).map_err(no_memory)?;
        // Under its name it is not a set yet, but one being made.
        file::publish(&fd, path.c_str()).map_err(no_memory)?;
        let made = self.set(id.index()).and_then(|set| set.ok_or(Errno::NOMEM)).and_then(|set| {
            let header = set.header();
            let (uid, gid) = (credentials::euid(), credentials::egid());
            set.set_head(id, SetState::Making);
            header.cuid.store(uid, Relaxed);
            header.cgid.store(gid, Relaxed);
            header.creator.store(held.me.slot | u32::from(held.me.incarnation) << 16, Relaxed);
            header.set_rights(Rights { uid, gid, mode, ctime: sys::now() });
            header.key.store(key.raw() as u32, Relaxed);
            if !key.is_private() {
                self.link_key(held, Mechanism::Sem, key, id)?;
            }
            set.set_head(id, SetState::Live);
            Ok(())
        });
        if let Err(e) = made {
            if let Ok(Some(set)) = self.set(id.index()) {
                set.header().retire();
            }
            let _ = fs::unlink(path.c_str());
            return Err(e);
        }
        let class = self.registry.class(Mechanism::Sem);
        class.in_use.fetch_add(1, Relaxed);
        class.sum.fetch_add(nsems.into(), Relaxed);
        Ok(())
    }

    /// The mode of a set's file: whoever may alter the set writes it; all others may look at it.
    pub fn set_mode(&self, mode: u32) -> u32 {
        match self.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | mode & 0o022,
        }
    }
}

/// What of an existing set a caller of `semget` may have.
fn open_existing(set: &SetView<'_>, id: Id, nsems: u32, flags: i32) -> Result<Id> {
    let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
    if flags & exclusive == exclusive {
        return Err(Errno::EXIST);
    }
    if nsems > set.nsems() {
        return Err(Errno::INVAL);
    }
    if set.permits(flags as u32 & 0o777) { Ok(id) } else { Err(Errno::ACCES) }
}

/// A full file system is to a caller of `semget` what full memory is.
fn no_memory(errno: Errno) -> Errno {
    match errno {
        Errno::NOSPC | Errno::FBIG => Errno::NOMEM,
        other => other,
    }
}
