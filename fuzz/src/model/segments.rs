//! shmget(2), shmop(2), shmctl(2).

use super::{Caller, Model, Object, Outcome, Perm, READ, Table, WRITE, may_create, open, set_mode};
use libc::{SHM_NORESERVE, SHM_RDONLY};
use quintet::{Errno, Id, Key};

const PAGE: u64 = 4096;
/// The library keeps the memory of one removed segment up to this size. The next segment reuses it
/// with its index.
const KEPT: u64 = 65536;
/// More memory than any machine has.
const HUGE: u64 = 1 << 40;

/// A segment.
pub struct Segment {
    /// Key, identifier, mode.
    pub perm: Perm,
    /// `shm_segsz`
    pub size: u64,
    /// `shm_nattch`
    pub nattch: u64,
    /// `SHM_DEST`
    pub dest: bool,
    /// `true` if it has been attached.
    pub atime: bool,
    /// `true` if it has been detached.
    pub dtime: bool,
    /// `shm_lpid`
    pub lpid: i32,
    /// Bytes that were written and are not 0.
    pub bytes: std::collections::BTreeMap<u64, u8>,
    /// The mode at creation, if its memory was reserved.
    made_with: Option<u32>,
}

/// All segments.
#[derive(Default)]
pub struct Segments {
    /// By index.
    pub table: Table<Segment>,
    kept: Option<u16>,
}

impl Object for Segment {
    fn perm(&self) -> &Perm {
        &self.perm
    }

    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

impl Segment {
    /// Its share of `shm_tot`.
    pub fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE)
    }
}

impl Model {
    /// `shmget`
    pub fn shmget(&mut self, key: Key, size: u64, flags: i32) -> Outcome<Id> {
        if let Some(segment) = self.segments.table.by_key(key) {
            let size_fits = size <= segment.size;
            return open(segment, self.caller, flags, size_fits);
        }
        may_create(key, flags)?;
        if size == 0 || size > self.limits.shmmax || i64::try_from(size).is_err() {
            return Err(Errno::INVAL);
        }
        let used: u64 = self.segments.table.iter().map(Segment::pages).sum();
        let (full, too_much) = (self.segments.table.count() >= self.limits.shmmni, size >= HUGE);
        // Memory is checked before the number of segments.
        if used + size.div_ceil(PAGE) > self.limits.shmall || full && !too_much {
            return Err(Errno::NOSPC);
        }
        if full {
            return Err(Errno::NOMEM);
        }
        let mode = flags as u32 & 0o777;
        let preferred = self.segments.kept.filter(|_| size.next_multiple_of(PAGE) <= KEPT);
        if too_much {
            // Creation is tried twice, the second time without kept memory. Both attempts use up an
            // identifier, except a requested one.
            let requested = self.segments.table.next_id;
            for kept in [preferred, None] {
                self.segments.table.next(kept);
                self.segments.table.next_id = requested;
            }
            self.segments.kept = None;
            return Err(Errno::NOMEM);
        }
        let id = self.segments.table.next(preferred);
        self.segments.kept = self.segments.kept.filter(|index| *index != id.index());
        Ok(self.segments.table.insert(Segment {
            perm: Perm { key, id, mode },
            size,
            nattch: 0,
            dest: false,
            atime: false,
            dtime: false,
            lpid: 0,
            bytes: Default::default(),
            made_with: (flags & SHM_NORESERVE == 0).then_some(mode),
        }))
    }

    /// `shmat` at an address that the system chooses, or at an address in use if `in_use`.
    pub fn shmat(&mut self, id: i32, flags: i32, in_use: bool) -> Outcome<()> {
        let Caller { pid, .. } = self.caller;
        let segment = self.segments.table.get(id)?;
        segment.perm.check(self.caller, READ | if flags & SHM_RDONLY == 0 { WRITE } else { 0 })?;
        if in_use {
            let unattached = segment.nattch == 0;
            if unattached && self.limits.shm_rmid_forced {
                self.destroy(id);
            }
            return Err(Errno::INVAL);
        }
        segment.nattch += 1;
        (segment.atime, segment.lpid) = (true, pid);
        Ok(())
    }

    /// `shmdt` of this segment by process `pid`.
    pub fn shmdt(&mut self, id: i32, pid: i32) -> Outcome<()> {
        let segment = self.segments.table.get(id)?;
        segment.nattch -= 1;
        (segment.dtime, segment.lpid) = (true, pid);
        if segment.nattch == 0 && (segment.dest || self.limits.shm_rmid_forced) {
            self.destroy(id);
        }
        Ok(())
    }

    /// `IPC_RMID`
    pub fn shm_remove(&mut self, id: i32) -> Outcome<()> {
        let segment = self.segments.table.get(id)?;
        (segment.dest, segment.perm.key) = (true, Key::PRIVATE);
        if segment.nattch == 0 {
            self.destroy(id);
        }
        Ok(())
    }

    fn destroy(&mut self, id: i32) {
        let Some(removed) = Id::from_raw(id).ok().and_then(|id| self.segments.table.remove(id)) else { return };
        let small = removed.pages() * PAGE <= KEPT;
        if small && self.segments.kept.is_none() && removed.made_with == Some(removed.perm.mode) {
            self.segments.kept = Some(removed.perm.id.index());
        }
    }

    /// Frees the kept memory.
    pub fn sweep(&mut self) {
        self.segments.kept = None;
    }

    /// `IPC_STAT`
    pub fn shm_stat(&mut self, id: i32) -> Outcome<&Segment> {
        let segment = self.segments.table.get(id)?;
        segment.perm.check(self.caller, READ)?;
        Ok(segment)
    }

    /// `SHM_STAT`, or `SHM_STAT_ANY` if `any`.
    pub fn shm_stat_index(&mut self, index: i32, any: bool) -> Outcome<&Segment> {
        let segment = self.segments.table.at(index)?;
        segment.perm.check(self.caller, if any { 0 } else { READ })?;
        Ok(segment)
    }

    /// `IPC_SET`
    pub fn shm_set(&mut self, id: i32, ids_valid: bool, mode: u32) -> Outcome<()> {
        set_mode(self.segments.table.get(id)?.perm_mut(), ids_valid, mode)
    }
}
