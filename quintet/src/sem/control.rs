//! `semctl` but for reading one value: setting values, rights, removal, what the dead leave.

use crate::layout::{JournalKind, StoredPermissions};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::permissions;
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::word::Word;
use crate::sys::file::{self, Acl};
use crate::sys::{clock, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::permissions::Permissions;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

/// For so many values no memory need be asked for.
const FEW: usize = 256;

/// Room for a value of each semaphore.
fn room<'a>(few: &'a mut [u16; FEW], many: &'a mut Vec<u16>, nsems: u32) -> &'a mut [u16] {
    let nsems = nsems as usize;
    if nsems <= FEW {
        return &mut few[..nsems];
    }
    many.resize(nsems, 0);
    many
}

impl Sets {
    /// `SETVAL`.
    pub fn sem_set_value(&self, id: i32, num: i32, value: i32) -> Result<()> {
        Id::from_raw(id)?;
        let value = u16::try_from(value).ok().filter(|value| *value <= Limits::SEMVMX).ok_or(Errno::RANGE)?;
        let set = self.live(id)?;
        let num = u32::try_from(num).ok().filter(|num| *num < set.nsems()).ok_or(Errno::INVAL)?;
        if !set.may(true) {
            return self.denied(id, Errno::ACCES);
        }
        if set_value_fast(set, num, value) {
            return Ok(());
        }
        let guard = self.lock(set, Patience::Endless)?;
        if !guard.set.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::IDRM);
        }
        let old = guard.hold(num)?;
        let new = old.without_undo().with_value(value).with_pid(ids::pid());
        guard.plan(0, num, old, new, 0, (0, 0))?;
        guard.commit(JournalKind::Reset, 1, 0);
        stamp_set(&guard.set);
        guard.update(None, false);
        guard.let_go(num);
        Ok(())
    }

    /// `SETALL`, where `from` fills in the values, after the rights have been checked.
    pub fn sem_set_values_from(&self, id: i32, from: impl FnOnce(&mut [u16]) -> Result<()>) -> Result<()> {
        let set = self.live(id)?;
        if !set.may(true) {
            return self.denied(id, Errno::ACCES);
        }
        let mut few = [0; FEW];
        let mut many = Vec::new();
        let values = room(&mut few, &mut many, set.nsems());
        from(values)?;
        if values.iter().any(|value| *value > Limits::SEMVMX) {
            return Err(Errno::RANGE);
        }
        let guard = self.lock(set, Patience::Endless)?;
        let set = guard.set;
        if !set.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::IDRM);
        }
        for (num, value) in (0..).zip(values.iter()) {
            guard.hold(num)?;
            if let Some(place) = set.memory().value(num) {
                place.store(*value, Relaxed);
            }
        }
        set.header().journal_pid.store(ids::pid(), Relaxed);
        guard.commit(JournalKind::ResetAll, 0, 0);
        stamp_set(&set);
        guard.update(None, false);
        (0..set.nsems()).for_each(|num| guard.let_go(num));
        Ok(())
    }

    pub fn sem_set_values(&self, id: i32, values: &[u16]) -> Result<()> {
        self.sem_set_values_from(id, |room| {
            if room.len() != values.len() {
                return Err(Errno::INVAL);
            }
            room.copy_from_slice(values);
            Ok(())
        })
    }

    pub fn sem_values(&self, id: i32) -> Result<Vec<u16>> {
        let mut all = Vec::new();
        self.sem_values_to(id, |values| {
            all.extend_from_slice(values);
            Ok(())
        })?;
        Ok(all)
    }

    /// `GETALL`: `to` gets the values.
    pub fn sem_values_to(&self, id: i32, to: impl FnOnce(&[u16]) -> Result<()>) -> Result<()> {
        let set = self.live(id)?;
        if !set.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let mut few = [0; FEW];
        let mut many = Vec::new();
        let values = room(&mut few, &mut many, set.nsems());
        match self.lock(set, Patience::Endless) {
            Ok(guard) => {
                if !guard.set.is_live_as(Id::from_raw(id)?) {
                    return Err(Errno::IDRM);
                }
                if guard.set.dead_hold_undo() {
                    guard.reap_undo();
                }
                for (num, value) in (0..).zip(values.iter_mut()) {
                    *value = guard.hold(num)?.value();
                }
                (0..set.nsems()).for_each(|num| guard.let_go(num));
            }
            // Who may not write cannot keep others from changing values meanwhile; he looks until nothing has changed.
            Err(Errno::ACCES) => {
                let look = || -> Option<Vec<Word>> { (0..set.nsems()).map(|num| set.whole(num)).collect() };
                let mut last = look();
                for _ in 0..100 {
                    let now = look();
                    if now.is_some() && now == last {
                        break;
                    }
                    last = now;
                }
                let words = last.ok_or(Errno::INVAL)?;
                values.iter_mut().zip(words).for_each(|(value, word)| *value = word.value());
            }
            Err(e) => return Err(e),
        }
        to(values)
    }

    /// `GETNCNT`.
    pub fn sem_ncnt(&self, id: i32, num: i32) -> Result<u32> {
        self.count_waiting(id, num, false)
    }

    /// `GETZCNT`.
    pub fn sem_zcnt(&self, id: i32, num: i32) -> Result<u32> {
        self.count_waiting(id, num, true)
    }

    fn count_waiting(&self, id: i32, num: i32, zero: bool) -> Result<u32> {
        let set = self.live(id)?;
        if !set.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let num = u32::try_from(num).ok().filter(|num| *num < set.nsems()).ok_or(Errno::INVAL)?;
        if set.header().waiting.load(Acquire) == 0 && set.header().records.load(Relaxed) == 0 {
            return Ok(0);
        }
        let set = self.to_look_at(set);
        match self.lock(set, Patience::Endless) {
            Ok(guard) if guard.set.is_live_as(Id::from_raw(id)?) => {
                if guard.set.dead_hold_undo() {
                    guard.reap_undo();
                }
                Ok(guard.count_waiting(num, zero))
            }
            Ok(_) => Err(Errno::IDRM),
            Err(Errno::ACCES) => Ok(set.count_stuck(num, zero)),
            Err(e) => Err(e),
        }
    }

    /// `IPC_STAT`.
    pub fn sem_stat(&self, id: i32) -> Result<crate::types::sem::SetStat> {
        let set = self.live(id)?;
        if !set.permits(permissions::READ) {
            return self.denied(id, Errno::ACCES);
        }
        self.settle_undo(&set);
        Ok(set.stat(Id::from_raw(id)?))
    }

    /// `SEM_STAT`, `SEM_STAT_ANY`: of the index the kernel uses the low bits, too.
    pub fn sem_stat_index(&self, index: i32, any: bool) -> Result<crate::types::sem::SetStat> {
        let index = Id::from_raw(index)?.index();
        let set = self.at(index)?.filter(SetView::is_live).ok_or(Errno::INVAL)?;
        let (id, _) = set.head();
        if !any && !set.permits(permissions::READ) {
            return self.denied(id.raw(), Errno::ACCES);
        }
        self.settle_undo(&set);
        if set.is_live_as(id) { Ok(set.stat(id)) } else { Err(Errno::INVAL) }
    }

    /// What the dead have to take back is taken back.
    pub fn settle_undo(&self, set: &SetView<'_>) {
        if set.dead_hold_undo()
            && let Ok(guard) = self.lock(*set, Patience::Endless)
        {
            guard.reap_undo();
        }
    }

    /// `IPC_SET`.
    pub fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let _inside = Inside::enter();
        let set = self.controllable(id)?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let _held = self.core.lock()?;
        let guard = self.lock(set, Patience::Endless)?;
        if !guard.set.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::INVAL);
        }
        let (perm, old) = set.permissions();
        let new = StoredPermissions { uid, gid, mode: mode & 0o777, ctime: clock::now() };
        if (old.uid, old.gid, old.mode) != (new.uid, new.gid, new.mode) && self.core.kind() == Kind::Shared {
            let wanted = Permissions { uid, gid, mode: new.mode, ..perm };
            self.set_file_permissions(set.index, &wanted).map_err(|e| {
                // Its list may have gone already, if not its mode.
                let _ = self.set_file_permissions(set.index, &perm);
                file::not_permitted(e)
            })?;
        }
        set.header().set_permissions(new);
        Ok(())
    }

    /// The file system's rights are what keeps a process from the words: they follow the set's.
    pub fn set_file_permissions(&self, index: u16, perm: &Permissions) -> Result<()> {
        let further = |id: u32, first: u32| (id != first).then_some(id);
        let mode = self.file_mode(perm.mode);
        let acl = Acl { mode, user: further(perm.uid, perm.cuid), group: further(perm.gid, perm.cgid) };
        file::set_rights(self.path(index).c_str(), acl)
    }
}

/// Notes that values were set.
fn stamp_set(set: &SetView<'_>) {
    set.header().set_time.store(clock::time() as u64, Relaxed);
}

/// `SETVAL` where nobody waits, and nobody has anything to take back.
fn set_value_fast(set: SetView<'_>, num: u32, value: u16) -> bool {
    let header = set.header();
    let Some(at) = set.memory().word(num).filter(|_| set.writable()) else { return false };
    let alone = || header.waiting.load(Relaxed) == 0 && header.records.load(Relaxed) == 0;
    let word = Word(at.load(Acquire));
    let new = word.with_value(value).with_pid(ids::pid());
    let set_it = alone() && word.is_plain() && word.undo().1 == 0;
    if set_it && at.compare_exchange(word.0, new.0, AcqRel, Relaxed).is_ok() {
        stamp_set(&set);
        return true;
    }
    false
}
