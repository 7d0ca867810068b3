//! shmget(2), shmop(2), shmctl(2).

use super::{Caller, Object, Outcome, Perm, READ, Table, WRITE, World, may_create, open, set_mode};
use libc::{SHM_NORESERVE, SHM_RDONLY};
use quintet::{Errno, Id, Key};

const PAGE: u64 = 4096;
/// Of so many bytes at the most, the memory of one removed segment is kept for the next one, which then gets its index.
const KEPT: u64 = 65536;
/// So much memory no machine has.
const MORE_THAN_THERE_IS: u64 = 1 << 40;

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
    /// Whether it has ever been attached.
    pub atime: bool,
    /// Whether it has ever been detached.
    pub dtime: bool,
    /// `shm_lpid`
    pub lpid: i32,
    /// The bytes that were written and are not 0.
    pub bytes: std::collections::BTreeMap<u64, u8>,
    /// The mode with which its memory was made, if it was promised.
    made_with: Option<u32>,
}

/// All of them.
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
    /// `shm_tot`'s share.
    pub fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE)
    }
}

impl World {
    /// `shmget`
    pub fn shmget(&mut self, key: Key, size: u64, flags: i32) -> Outcome<Id> {
        if let Some(segment) = self.segments.table.by_key(key) {
            let suits = size <= segment.size;
            return open(segment, self.caller, flags, suits);
        }
        may_create(key, flags)?;
        if size == 0 || size > self.limits.shmmax || i64::try_from(size).is_err() {
            return Err(Errno::INVAL);
        }
        let used: u64 = self.segments.table.iter().map(Segment::pages).sum();
        let (full, too_much) = (self.segments.table.count() >= self.limits.shmmni, size >= MORE_THAN_THERE_IS);
        // The memory is looked for before the number.
        if used + size.div_ceil(PAGE) > self.limits.shmall || full && !too_much {
            return Err(Errno::NOSPC);
        }
        if full {
            return Err(Errno::NOMEM);
        }
        let mode = flags as u32 & 0o777;
        let sooner = self.segments.kept.filter(|_| size.next_multiple_of(PAGE) <= KEPT);
        if too_much {
            // It is tried twice, the second time with nothing kept. The identifiers are used up, but not one that was asked for.
            let asked = self.segments.table.next_id;
            for kept in [sooner, None] {
                self.segments.table.next(kept);
                self.segments.table.next_id = asked;
            }
            self.segments.kept = None;
            return Err(Errno::NOMEM);
        }
        let id = self.segments.table.next(sooner);
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

    /// `shmat`, where the system chooses the address. `in_use`: at an address that is taken.
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

    /// `shmdt` of an attachment by process `pid` of this segment.
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
        let Some(gone) = Id::from_raw(id).ok().and_then(|id| self.segments.table.remove(id)) else { return };
        let small = gone.pages() * PAGE <= KEPT;
        if small && self.segments.kept.is_none() && gone.made_with == Some(gone.perm.mode) {
            self.segments.kept = Some(gone.perm.id.index());
        }
    }

    /// Gives up what is kept.
    pub fn sweep(&mut self) {
        self.segments.kept = None;
    }

    /// `IPC_STAT`
    pub fn shm_stat(&mut self, id: i32) -> Outcome<&Segment> {
        let segment = self.segments.table.get(id)?;
        segment.perm.check(self.caller, READ)?;
        Ok(segment)
    }

    /// `SHM_STAT`; `any`: `SHM_STAT_ANY`
    pub fn shm_stat_index(&mut self, index: i32, any: bool) -> Outcome<&Segment> {
        let segment = self.segments.table.at(index)?;
        segment.perm.check(self.caller, if any { 0 } else { READ })?;
        Ok(segment)
    }

    /// `IPC_SET`
    pub fn shm_set(&mut self, id: i32, ids_are_good: bool, mode: u32) -> Outcome<()> {
        set_mode(self.segments.table.get(id)?.perm_mut(), ids_are_good, mode)
    }
}
