//! `semctl` except for `IPC_RMID`, `GETVAL` and `GETPID`.

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

/// The number of values for which no memory is allocated.
const INLINE_VALUES: usize = 256;

/// Returns a buffer with one value for each semaphore.
fn value_buffer<'a>(inline: &'a mut [u16; INLINE_VALUES], heap: &'a mut Vec<u16>, nsems: u32) -> &'a mut [u16] {
    let nsems = nsems as usize;
    if nsems <= INLINE_VALUES {
        return &mut inline[..nsems];
    }
    heap.resize(nsems, 0);
    heap
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
        // The word is slow from here on, so the value cannot change between this read and the
        // journal.
        let old = guard.hold(num)?;
        let new = old.without_undo().with_value(value).with_pid(ids::pid());
        guard.stage_change(0, num, old, new, 0, (0, 0))?;
        // `Reset` also clears the adjustments of all undo records for this semaphore, as `SETVAL`
        // must. A crash before the decision changes nothing; a crash after it leaves the rest to
        // the lock's next holder.
        guard.commit(JournalKind::Reset, 1, 0);
        stamp_set_time(&guard.set);
        guard.update(None, false);
        guard.release_word(num);
        Ok(())
    }

    /// `SETALL`. `from` fills in the values after the permissions have been checked.
    pub fn sem_set_values_from(&self, id: i32, from: impl FnOnce(&mut [u16]) -> Result<()>) -> Result<()> {
        let set = self.live(id)?;
        if !set.may(true) {
            return self.denied(id, Errno::ACCES);
        }
        let mut inline = [0; INLINE_VALUES];
        let mut heap = Vec::new();
        let values = value_buffer(&mut inline, &mut heap, set.nsems());
        from(values)?;
        if values.iter().any(|value| *value > Limits::SEMVMX) {
            return Err(Errno::RANGE);
        }
        let guard = self.lock(set, Patience::Endless)?;
        let set = guard.set;
        if !set.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::IDRM);
        }
        // The values go to their own place in the file, because the journal has only 500 entries. A
        // crash in this loop leaves slow words and values that no process reads.
        for (num, value) in (0..).zip(values.iter()) {
            guard.hold(num)?;
            if let Some(place) = set.memory().value(num) {
                place.store(*value, Relaxed);
            }
        }
        set.header().journal_pid.store(ids::pid(), Relaxed);
        // From the decision on, the lock's next holder would store all values if this process died.
        guard.commit(JournalKind::ResetAll, 0, 0);
        stamp_set_time(&set);
        guard.update(None, false);
        (0..set.nsems()).for_each(|num| guard.release_word(num));
        Ok(())
    }

    /// `SETALL` with the values of a slice, which has one for each semaphore.
    pub fn sem_set_values(&self, id: i32, values: &[u16]) -> Result<()> {
        self.sem_set_values_from(id, |room| {
            if room.len() != values.len() {
                return Err(Errno::INVAL);
            }
            room.copy_from_slice(values);
            Ok(())
        })
    }

    /// `GETALL` into a vector.
    pub fn sem_values(&self, id: i32) -> Result<Vec<u16>> {
        let mut all = Vec::new();
        self.sem_values_to(id, |values| {
            all.extend_from_slice(values);
            Ok(())
        })?;
        Ok(all)
    }

    /// `GETALL`. Passes the values to `to`.
    pub fn sem_values_to(&self, id: i32, to: impl FnOnce(&[u16]) -> Result<()>) -> Result<()> {
        let set = self.live(id)?;
        if !set.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let mut inline = [0; INLINE_VALUES];
        let mut heap = Vec::new();
        let values = value_buffer(&mut inline, &mut heap, set.nsems());
        match self.lock(set, Patience::Endless) {
            Ok(guard) => {
                if !guard.set.is_live_as(Id::from_raw(id)?) {
                    return Err(Errno::IDRM);
                }
                if guard.set.has_orphaned_undo() {
                    guard.reap_undo();
                }
                for (num, value) in (0..).zip(values.iter_mut()) {
                    // All words read so far are slow, so all values are those of one instant.
                    *value = guard.hold(num)?.value();
                }
                (0..set.nsems()).for_each(|num| guard.release_word(num));
            }
            // A process that may not write the file cannot hold the words. It reads all values
            // until two passes agree, or 100 passes are made.
            Err(Errno::ACCES) => {
                let read_all = || -> Option<Vec<Word>> { (0..set.nsems()).map(|num| set.stable_word(num)).collect() };
                let mut last = read_all();
                for _ in 0..100 {
                    let now = read_all();
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

    /// Returns the number of calls blocked on a semaphore. `EIDRM` means that the set was removed
    /// meanwhile.
    fn count_waiting(&self, id: i32, num: i32, zero: bool) -> Result<u32> {
        let set = self.live(id)?;
        if !set.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let num = u32::try_from(num).ok().filter(|num| *num < set.nsems()).ok_or(Errno::INVAL)?;
        if set.header().waiting.load(Acquire) == 0 && set.header().records.load(Relaxed) == 0 {
            return Ok(0);
        }
        let set = self.with_all_pages(set);
        match self.lock(set, Patience::Endless) {
            Ok(guard) if guard.set.is_live_as(Id::from_raw(id)?) => {
                if guard.set.has_orphaned_undo() {
                    guard.reap_undo();
                }
                Ok(guard.count_waiting(num, zero))
            }
            Ok(_) => Err(Errno::IDRM),
            Err(Errno::ACCES) => Ok(set.count_waiting_unlocked(num, zero)),
            Err(e) => Err(e),
        }
    }

    /// `IPC_STAT`.
    pub fn sem_stat(&self, id: i32) -> Result<crate::types::sem::SetStat> {
        let set = self.live(id)?;
        if !set.permits(permissions::READ) {
            return self.denied(id, Errno::ACCES);
        }
        self.reap_orphaned_undo(&set);
        Ok(set.stat(Id::from_raw(id)?))
    }

    /// `SEM_STAT` and, for `any`, `SEM_STAT_ANY`. Like the kernel, uses only the low bits of the
    /// index.
    pub fn sem_stat_index(&self, index: i32, any: bool) -> Result<crate::types::sem::SetStat> {
        let index = Id::from_raw(index)?.index();
        let set = self.at(index)?.filter(SetView::is_live).ok_or(Errno::INVAL)?;
        let (id, _) = set.head();
        if !any && !set.permits(permissions::READ) {
            return self.denied(id.raw(), Errno::ACCES);
        }
        self.reap_orphaned_undo(&set);
        if set.is_live_as(id) { Ok(set.stat(id)) } else { Err(Errno::INVAL) }
    }

    /// Applies the undo records of exited processes, if there are any.
    pub fn reap_orphaned_undo(&self, set: &SetView<'_>) {
        if set.has_orphaned_undo()
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
        let _registry = self.core.lock()?;
        let guard = self.lock(set, Patience::Endless)?;
        if !guard.set.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::INVAL);
        }
        let (perm, old) = set.permissions();
        let new = StoredPermissions { uid, gid, mode: mode & 0o777, ctime: clock::now() };
        if (old.uid, old.gid, old.mode) != (new.uid, new.gid, new.mode) && self.core.kind() == Kind::Shared {
            let request = Permissions { uid, gid, mode: new.mode, ..perm };
            self.set_file_permissions(set.index, &request).map_err(|e| {
                // The access control list may have changed already, although the mode has not.
                let _ = self.set_file_permissions(set.index, &perm);
                file::not_permitted(e)
            })?;
        }
        set.header().set_permissions(new);
        Ok(())
    }

    /// Gives the set's file the permissions of the set, because the file system guards the words.
    pub fn set_file_permissions(&self, index: u16, perm: &Permissions) -> Result<()> {
        let further = |id: u32, first: u32| (id != first).then_some(id);
        let mode = self.file_mode(perm.mode);
        let acl = Acl { mode, user: further(perm.uid, perm.cuid), group: further(perm.gid, perm.cgid) };
        file::set_acl(self.path(index).c_str(), acl)
    }
}

/// Sets the time of the last `SETVAL` or `SETALL`.
fn stamp_set_time(set: &SetView<'_>) {
    set.header().set_time.store(clock::time() as u64, Relaxed);
}

/// `SETVAL` without the lock. Returns `false` if a call is blocked on the set, if the set has undo
/// records, or if the word is not plain.
fn set_value_fast(set: SetView<'_>, num: u32, value: u16) -> bool {
    let header = set.header();
    let Some(at) = set.memory().word(num).filter(|_| set.writable()) else { return false };
    let is_unused = || header.waiting.load(Relaxed) == 0 && header.records.load(Relaxed) == 0;
    let word = Word(at.load(Acquire));
    let new = word.with_value(value).with_pid(ids::pid());
    let is_simple = is_unused() && word.is_plain() && word.undo().1 == 0;
    // A call makes a word slow before it blocks on it. An undo record changes only under the lock,
    // with the word slow. The exchange fails if one of them has happened since the load.
    if is_simple && at.compare_exchange(word.0, new.0, AcqRel, Relaxed).is_ok() {
        stamp_set_time(&set);
        return true;
    }
    false
}
