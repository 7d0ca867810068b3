//! Calls on semaphore sets: `semget`, `semtimedop`, `semctl`.

use super::{MODES, Run, check_time, compare, names, owners};
use crate::model::{Caller, Model, Set};
use quintet::{Errno, Id, SemFlags, SemOp, SetStat};
use std::fmt::Debug;
use std::time::Duration;

const NSEMS: [i32; 12] = [1, 1, 2, 3, 5, 17, 300, 0, -1, 32000, 32001, i32::MAX];
const GOOD_NSEMS: usize = 7;
const ADD: [i16; 12] = [0, 1, -1, 1, -1, 2, -2, 5, -7, i16::MAX, i16::MIN, i16::MAX - 1];

impl Run<'_> {
    pub fn semget(&mut self, byte: u8) {
        let (register, _) = self.id(self.sets);
        let (key, flags) = self.key_and_flags();
        let nsems = if byte.is_multiple_of(4) { self.input.of(&NSEMS) } else { self.input.of(&NSEMS[..GOOD_NSEMS]) };
        // Large sets take long.
        let nsems = if nsems > 30000 && self.model.semaphores() > 30000 { 1 } else { nsems };
        let got = self.ns(byte).semget(key, nsems, flags);
        compare(("semget", key, nsems, flags), got, self.model.semget(key, nsems, flags));
        self.sets[register] = got.map_or(self.sets[register], Id::raw);
    }

    /// Picks operations on the semaphores of a set.
    pub fn operations(&mut self, id: i32, always: SemFlags) -> Vec<SemOp> {
        let nsems = self.model.sets.get(id).map_or(1, |set| set.values.len());
        let count = match self.input.byte() {
            0..0xc0 => 1,
            byte @ 0xc0..0xf0 => usize::from(byte - 0xc0) / 4,
            byte @ 0xf0..0xff => usize::from(byte - 0xf0) * 4,
            0xff => 501,
        };
        let mut op = || {
            let (num, add, flags) = (self.input.byte(), self.input.of(&ADD), self.input.byte());
            let num = if num == 0xff { nsems as u16 } else { u16::from(num) % nsems.max(1) as u16 };
            let mut of = always;
            of.set(SemFlags::UNDO, of.contains(SemFlags::UNDO) || flags & 1 != 0);
            of.set(SemFlags::NOWAIT, flags & 2 != 0);
            SemOp::new(num, add).flags(of)
        };
        (0..count).map(|_| op()).collect()
    }

    pub fn semop(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        let ops = self.operations(id, SemFlags::empty());
        let patient = ops.iter().all(|op| op.flags.contains(SemFlags::NOWAIT)) && byte & 1 != 0;
        let timeout = if patient { None } else { Some(Duration::ZERO) };
        compare(("semop", id, &ops), self.ns(byte).semtimedop(id, &ops, timeout), self.model.semop(id, &ops));
    }

    pub fn sem_value(&mut self, byte: u8) {
        let ((_, id), num) = (self.id(self.sets), i32::from(self.input.byte() as i8));
        let model = self.model.sem_value(id, num);
        let ns = self.ns(byte);
        compare(("sem_value", id, num), ns.sem_value(id, num).map(i32::from), model.map(|(value, _)| value));
        compare(("sem_pid", id, num), ns.sem_pid(id, num), model.map(|(_, pid)| pid));
        compare(("sem_ncnt", id, num), ns.sem_ncnt(id, num), model.map(|_| 0));
        compare(("sem_zcnt", id, num), ns.sem_zcnt(id, num), model.map(|_| 0));
    }

    pub fn sem_set_value(&mut self, byte: u8) {
        let ((_, id), num) = (self.id(self.sets), i32::from(self.input.byte() as i8));
        let value = self.input.of(&[0, 1, 2, 5, 32766, 32767, 32768, -1, i32::MIN, 65536]);
        let model = self.model.sem_set_value(id, num, value);
        compare(("sem_set_value", id, num, value), self.ns(byte).sem_set_value(id, num, value), model);
    }

    pub fn sem_set_values(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        let nsems = self.model.sets.get(id).map_or(1, |set| set.values.len());
        let (seed, how) = (self.input.byte(), self.input.byte());
        let mut values: Vec<u16> = (0..nsems).map(|num| u16::from(seed).wrapping_mul(num as u16) % 7).collect();
        match how {
            0..0xe0 => {}
            0xe0..0xf0 => values[nsems - 1] = 32768,
            _ => values.push(1),
        }
        let model = self.model.sem_set_values(id, &values);
        compare(("sem_set_values", id, nsems), self.ns(byte).sem_set_values(id, &values), model);
    }

    pub fn sem_stat(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        let (ns, start) = (self.ns(byte), self.start);
        let (by_id, index, any) = (ns.sem_stat(id), ns.sem_stat_index(id, false), ns.sem_stat_index(id, true));
        let values = ns.sem_values(id).map(|values| values.into_iter().map(i32::from).collect());
        compare(("sem_values", id), values, self.model.sem_stat(id).map(|set| set.values.clone()));
        self.compare_set(("sem_stat", id), by_id, |model| model.sem_stat(id), start);
        self.compare_set(("sem_stat_index", id), index, |model| model.sem_stat_index(id, false), start);
        self.compare_set(("sem_stat_index any", id), any, |model| model.sem_stat_index(id, true), start);
    }

    fn compare_set(
        &mut self,
        call: impl Debug,
        got: Result<SetStat, Errno>,
        of: impl FnOnce(&mut Model) -> Result<&Set, Errno>,
        start: i64,
    ) {
        let Caller { uid, gid, .. } = self.model.caller;
        match (got, of(&mut self.model)) {
            (Ok(stat), Ok(set)) => {
                compare((&call, "names"), (stat.key, stat.id, stat.perm.mode), names(&set.perm));
                compare((&call, "owners"), owners(&stat.perm), (uid, gid, uid, gid));
                compare((&call, "nsems"), stat.nsems as usize, set.values.len());
                let times = [(stat.otime, set.otime.unwrap_or(stat.otime != 0)), (stat.ctime, true)];
                times.into_iter().for_each(|(time, set)| check_time(&call, time, set, start));
            }
            (got, model) => compare(call, got.map(drop), model.map(drop)),
        }
    }

    pub fn sem_set(&mut self, byte: u8) {
        let ((_, id), mode) = (self.id(self.sets), self.input.of(&MODES) as u32);
        let (uid, gid, valid) = self.owners();
        compare(("sem_set", id, uid, mode), self.ns(byte).sem_set(id, uid, gid, mode), self.model.sem_set(id, valid, mode));
    }

    pub fn sem_remove(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        compare(("sem_remove", id), self.ns(byte).sem_remove(id), self.model.sem_remove(id));
    }
}
