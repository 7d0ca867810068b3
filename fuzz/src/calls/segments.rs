//! Calls on segments: `shmget`, `shmat`, `shmdt`, `shmctl`.
//!
//! `unsafe`: bytes are read and written through raw pointers where the model says that a segment is
//! attached.
#![allow(unsafe_code)]

use super::{ATTACHMENTS, MODES, Run, check_time, compare, names, owners};
use crate::model::{Caller, Model, Segment};
use libc::{SHM_NORESERVE, SHM_RDONLY, SHM_RND};
use quintet::{Errno, Id, ModeFlags, SegmentStat};
use std::fmt::Debug;

const SIZES: [u64; 12] = [1, 100, 4096, 4097, 8192, 65536, 65537, 0, 1 << 40, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];
/// The first entries of [`SIZES`] are valid.
const GOOD_SIZES: usize = 7;

impl Run<'_> {
    pub fn shmget(&mut self, byte: u8) {
        let (register, _) = self.id(self.segments);
        let (key, flags) = self.key_and_flags();
        let size = if byte.is_multiple_of(4) { self.input.of(&SIZES) } else { self.input.of(&SIZES[..GOOD_SIZES]) };
        // A large segment is valid without a reservation.
        let flags = if size >= 1 << 40 { flags & !SHM_NORESERVE } else { flags };
        let got = self.ns(byte).shmget(key, size, flags);
        compare(("shmget", key, size, flags), got, self.model.shmget(key, size, flags));
        self.segments[register] = got.map_or(self.segments[register], Id::raw);
    }

    pub fn shmat(&mut self, byte: u8) {
        let (_, id) = self.id(self.segments);
        let slot = usize::from(self.input.byte()) % ATTACHMENTS;
        let flags = self.input.of(&[0, 0, SHM_RDONLY, SHM_RND]);
        let Some(free) = (0..ATTACHMENTS).map(|i| (slot + i) % ATTACHMENTS).find(|slot| self.attachments[*slot].is_none()) else {
            return;
        };
        let taken = self.attachments.iter().flatten().next().filter(|_| byte % 4 == 3).map(|(at, ..)| *at);
        // SAFETY: without SHM_REMAP nothing is replaced.
        let got = unsafe { self.ns(byte).shmat(id, taken.unwrap_or(0), flags) };
        compare(("shmat", id, taken, flags), got.map(drop), self.model.shmat(id, flags, taken.is_some()));
        if let Ok(at) = got {
            self.attachments[free] = Some((at as usize, id, flags & SHM_RDONLY == 0));
            self.compare_bytes(at as usize, id);
        }
    }

    /// Compares the first and last byte of each page, and all written bytes.
    pub fn compare_bytes(&mut self, at: usize, id: i32) {
        let Ok(segment) = self.model.segments.table.get(id) else { return };
        let pages = (0..segment.size).step_by(4096);
        let ends = pages.flat_map(|page| [page, (page + 4095).min(segment.size - 1)]);
        for offset in ends.chain(segment.bytes.keys().copied()) {
            // SAFETY: attached there and in bounds.
            let byte = unsafe { ((at + offset as usize) as *const u8).read_volatile() };
            compare(("byte", id, offset), byte, segment.bytes.get(&offset).copied().unwrap_or(0));
        }
    }

    pub fn shmdt(&mut self, byte: u8) {
        let slot = usize::from(self.input.byte()) % ATTACHMENTS;
        match self.attachments[slot].take() {
            Some((at, id, _)) => {
                self.compare_bytes(at, id);
                // SAFETY: the address is not used again.
                compare("shmdt", unsafe { self.ns(byte).shmdt(at) }, self.model.shmdt(id, self.model.caller.pid));
            }
            None => {
                let at = self.input.of(&[0, 1, 4096, usize::MAX, usize::MAX - 4095]);
                // SAFETY: nothing is attached there.
                compare(("shmdt", at), unsafe { self.ns(byte).shmdt(at) }, Err(Errno::INVAL));
            }
        }
    }

    pub fn poke(&mut self) {
        let (slot, value, offset) = (usize::from(self.input.byte()) % ATTACHMENTS, self.input.byte(), self.input.short());
        let Some((at, id, true)) = self.attachments[slot] else { return };
        let segment = self.model.segments.table.get(id).expect("it is attached");
        let offset = u64::from(offset) % segment.size;
        // SAFETY: attached there, writable and in bounds.
        unsafe { ((at + offset as usize) as *mut u8).write_volatile(value) };
        segment.bytes.insert(offset, value);
    }

    pub fn shm_stat(&mut self, byte: u8) {
        let (_, id) = self.id(self.segments);
        let (engine, start) = (self.ns(byte), self.start);
        let (by_id, index, any) = (engine.shm_stat(id), engine.shm_stat_index(id, false), engine.shm_stat_index(id, true));
        self.compare_segment(("shm_stat", id), by_id, |model| model.shm_stat(id), start);
        self.compare_segment(("shm_stat_index", id), index, |model| model.shm_stat_index(id, false), start);
        self.compare_segment(("shm_stat_index any", id), any, |model| model.shm_stat_index(id, true), start);
    }

    fn compare_segment(
        &mut self,
        call: impl Debug,
        got: Result<SegmentStat, Errno>,
        of: impl FnOnce(&mut Model) -> Result<&Segment, Errno>,
        start: i64,
    ) {
        let Caller { pid, uid, gid, .. } = self.model.caller;
        let model = of(&mut self.model);
        match (got, model) {
            (Ok(stat), Ok(segment)) => {
                let mut flags = ModeFlags::empty();
                flags.set(ModeFlags::DEST, segment.dest);
                compare((&call, "names"), (stat.key, stat.id, stat.perm.mode), names(&segment.perm));
                compare((&call, "owners"), owners(&stat.perm), (uid, gid, uid, gid));
                compare((&call, "counts"), (stat.size, stat.nattch, stat.flags), (segment.size, segment.nattch, flags));
                compare((&call, "pids"), (stat.cpid, stat.lpid), (pid, segment.lpid));
                let times = [(stat.atime, segment.atime), (stat.dtime, segment.dtime), (stat.ctime, true)];
                times.into_iter().for_each(|(time, set)| check_time(&call, time, set, start));
            }
            (got, model) => compare(call, got.map(drop), model.map(drop)),
        }
    }

    pub fn shm_set(&mut self, byte: u8) {
        let ((_, id), mode) = (self.id(self.segments), self.input.of(&MODES) as u32);
        let (uid, gid, valid) = self.owners();
        compare(("shm_set", id, uid, mode), self.ns(byte).shm_set(id, uid, gid, mode), self.model.shm_set(id, valid, mode));
    }

    pub fn shm_remove(&mut self, byte: u8) {
        let (_, id) = self.id(self.segments);
        compare(("shm_remove", id), self.ns(byte).shm_remove(id), self.model.shm_remove(id));
    }

    pub fn shm_usage(&mut self, byte: u8) {
        let usage = self.ns(byte).shm_usage().expect("usage does not fail");
        let table = &self.model.segments.table;
        let pages = table.iter().map(Segment::pages).sum();
        compare("shm_usage", (usage.segments, usage.pages, usage.max_index), (table.count(), pages, table.max_index()));
    }
}
