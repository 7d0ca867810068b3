//! semget(2), semop(2), semctl(2).

use super::{Model, Object, Outcome, Perm, READ, Table, WRITE, may_create, open, set_mode};
use quintet::{Errno, Id, Key, Limits, SemFlags, SemOp};

const SEMVMX: i32 = Limits::SEMVMX as i32;

/// A set.
pub struct Set {
    /// Key, identifier, mode.
    pub perm: Perm,
    /// `semval`
    pub values: Vec<i32>,
    /// `sempid`
    pub pids: Vec<i32>,
    /// `semadj` of the calling process.
    pub adjustments: Vec<i32>,
    /// `true` after a `semop`. `None` if a process that has exited only attempted one with
    /// `SEM_UNDO`.
    pub otime: Option<bool>,
}

/// All sets.
pub type Sets = Table<Set>;

impl Object for Set {
    fn perm(&self) -> &Perm {
        &self.perm
    }

    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

impl Set {
    /// Performs all of `ops` or none, for a process with `adjustments`. An operation that would
    /// block fails.
    pub fn perform(&mut self, ops: &[SemOp], pid: i32, adjustments: &mut [i32]) -> Outcome<()> {
        let (mut values, mut adjusted) = (self.values.clone(), adjustments.to_owned());
        for op in ops {
            let (num, add) = (usize::from(op.num), i32::from(op.op));
            let (value, adjustment) = (&mut values[num], &mut adjusted[num]);
            if *value + add < 0 || add == 0 && *value != 0 {
                return Err(Errno::AGAIN);
            }
            *value += add;
            if *value > SEMVMX {
                return Err(Errno::RANGE);
            }
            if op.flags.contains(SemFlags::UNDO) {
                *adjustment -= add;
                i16::try_from(*adjustment).map_err(|_| Errno::RANGE)?;
            }
        }
        self.values = values;
        adjustments.copy_from_slice(&adjusted);
        ops.iter().for_each(|op| self.pids[usize::from(op.num)] = pid);
        self.otime = Some(true);
        Ok(())
    }

    /// Applies the exit of a process with `adjustments`.
    pub fn undo(&mut self, pid: i32, adjustments: &[i32]) {
        for (num, adjustment) in adjustments.iter().enumerate().filter(|(_, adjustment)| **adjustment != 0) {
            self.values[num] = (self.values[num] + adjustment).clamp(0, SEMVMX);
            self.pids[num] = pid;
        }
        self.otime = self.otime.filter(|done| *done);
    }

    fn num(&self, num: i32) -> Outcome<usize> {
        usize::try_from(num).ok().filter(|num| *num < self.values.len()).ok_or(Errno::INVAL)
    }
}

impl Model {
    /// `semget`
    pub fn semget(&mut self, key: Key, nsems: i32, flags: i32) -> Outcome<Id> {
        let nsems = usize::try_from(nsems).map_err(|_| Errno::INVAL)?;
        if nsems > self.limits.semmsl as usize {
            return Err(Errno::INVAL);
        }
        if let Some(set) = self.sets.by_key(key) {
            let size_fits = nsems <= set.values.len();
            return open(set, self.caller, flags, size_fits);
        }
        may_create(key, flags)?;
        if nsems == 0 {
            return Err(Errno::INVAL);
        }
        if self.semaphores() + nsems > self.limits.semmns as usize || self.sets.count() >= self.limits.semmni {
            return Err(Errno::NOSPC);
        }
        let perm = Perm { key, id: self.sets.next(None), mode: flags as u32 & 0o777 };
        let zeroes = || vec![0; nsems];
        Ok(self.sets.insert(Set { perm, values: zeroes(), pids: zeroes(), adjustments: zeroes(), otime: Some(false) }))
    }

    /// Returns the number of semaphores in all sets.
    pub fn semaphores(&self) -> usize {
        self.sets.iter().map(|set| set.values.len()).sum()
    }

    /// Returns the set if `ops` may be tried on it.
    pub fn set_for(&mut self, id: i32, ops: &[SemOp]) -> Outcome<&mut Set> {
        if ops.is_empty() {
            return Err(Errno::INVAL);
        }
        if ops.len() > self.limits.semopm as usize {
            return Err(Errno::TOOBIG);
        }
        let set = self.sets.get(id)?;
        if ops.iter().any(|op| usize::from(op.num) >= set.values.len()) {
            return Err(Errno::FBIG);
        }
        let alters = ops.iter().any(|op| op.op != 0);
        set.perm.check(self.caller, if alters { WRITE } else { READ })?;
        Ok(set)
    }

    /// `semop` without blocking.
    pub fn semop(&mut self, id: i32, ops: &[SemOp]) -> Outcome<()> {
        let pid = self.caller.pid;
        let set = self.set_for(id, ops)?;
        let mut adjustments = std::mem::take(&mut set.adjustments);
        let done = set.perform(ops, pid, &mut adjustments);
        set.adjustments = adjustments;
        done
    }

    /// `GETVAL` and `GETPID`.
    pub fn sem_value(&mut self, id: i32, num: i32) -> Outcome<(i32, i32)> {
        let set = self.sets.get(id)?;
        set.perm.check(self.caller, READ)?;
        let num = set.num(num)?;
        Ok((set.values[num], set.pids[num]))
    }

    /// `SETVAL`
    pub fn sem_set_value(&mut self, id: i32, num: i32, value: i32) -> Outcome<()> {
        Id::from_raw(id)?;
        if !(0..=SEMVMX).contains(&value) {
            return Err(Errno::RANGE);
        }
        let (caller, set) = (self.caller, self.sets.get(id)?);
        let num = set.num(num)?;
        set.perm.check(caller, WRITE)?;
        (set.values[num], set.pids[num], set.adjustments[num]) = (value, caller.pid, 0);
        Ok(())
    }

    /// `SETALL`
    pub fn sem_set_values(&mut self, id: i32, values: &[u16]) -> Outcome<()> {
        let (caller, set) = (self.caller, self.sets.get(id)?);
        set.perm.check(caller, WRITE)?;
        if values.len() != set.values.len() {
            return Err(Errno::INVAL);
        }
        if values.iter().any(|value| i32::from(*value) > SEMVMX) {
            return Err(Errno::RANGE);
        }
        set.values = values.iter().map(|value| i32::from(*value)).collect();
        set.pids.fill(caller.pid);
        set.adjustments.fill(0);
        Ok(())
    }

    /// `IPC_STAT`, `GETALL`
    pub fn sem_stat(&mut self, id: i32) -> Outcome<&Set> {
        let set = self.sets.get(id)?;
        set.perm.check(self.caller, READ)?;
        Ok(set)
    }

    /// `SEM_STAT`; `any`: `SEM_STAT_ANY`
    pub fn sem_stat_index(&mut self, index: i32, any: bool) -> Outcome<&Set> {
        let set = self.sets.at(index)?;
        set.perm.check(self.caller, if any { 0 } else { READ })?;
        Ok(set)
    }

    /// `SEM_STAT`, or `SEM_STAT_ANY` if `any`.
    pub fn sem_set(&mut self, id: i32, ids_valid: bool, mode: u32) -> Outcome<()> {
        set_mode(self.sets.get(id)?.perm_mut(), ids_valid, mode)
    }

    /// `IPC_RMID`
    pub fn sem_remove(&mut self, id: i32) -> Outcome<()> {
        let id = self.sets.get(id)?.perm.id;
        self.sets.remove(id);
        Ok(())
    }
}
