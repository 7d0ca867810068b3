//! The kernel's semaphore sets.
//!
//! # Safety
//!
//! Each system call gets numbers, or pointers to local values with the layout that the kernel
//! expects.
#![allow(unsafe_code)]

use crate::backend::kernel::call::{IPC_64, Kernel, check, set_sysctl, sysctl};
use crate::backend::verbs::SetVerbs;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::permissions::Permissions;
use crate::types::sem::{SemOp, SemUsage, SemaphoreStatus, SetStat, SetStatus};
use std::mem::MaybeUninit;
use std::time::Duration;
use syscalls::{Sysno, syscall};

type Result<T> = std::result::Result<T, Errno>;

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;

impl SetVerbs for Kernel {
    fn semget(&self, key: Key, nsems: i32, flags: i32) -> Result<Id> {
        // SAFETY: numbers only.
        let id = check(unsafe { syscall!(Sysno::semget, key.raw(), nsems, flags) })?;
        Id::from_raw(id as i32)
    }

    #[cfg(target_pointer_width = "64")]
    fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        let timeout =
            timeout.map(|t| libc::timespec { tv_sec: t.as_secs().min(i64::MAX as u64) as _, tv_nsec: t.subsec_nanos() as _ });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `SemOp` is laid out as `sembuf`; the timeout is null or a local.
        check(unsafe { syscall!(Sysno::semtimedop, id, ops.as_ptr(), ops.len(), timeout) }).map(drop)
    }

    #[cfg(target_pointer_width = "32")]
    fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        let timeout = timeout.map(|t| [t.as_secs().min(i64::MAX as u64) as i64, i64::from(t.subsec_nanos())]);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `SemOp` is laid out as `sembuf`; the timeout is null or a local
        // `__kernel_timespec`.
        check(unsafe { syscall!(Sysno::semtimedop_time64, id, ops.as_ptr(), ops.len(), timeout) }).map(drop)
    }

    fn sem_value(&self, id: i32, num: i32) -> Result<u16> {
        semctl(id, num, GETVAL, 0).map(|value| value as u16)
    }

    fn sem_pid(&self, id: i32, num: i32) -> Result<i32> {
        semctl(id, num, GETPID, 0)
    }

    fn sem_ncnt(&self, id: i32, num: i32) -> Result<u32> {
        semctl(id, num, GETNCNT, 0).map(|n| n as u32)
    }

    fn sem_zcnt(&self, id: i32, num: i32) -> Result<u32> {
        semctl(id, num, GETZCNT, 0).map(|n| n as u32)
    }

    fn sem_values(&self, id: i32) -> Result<Vec<u16>> {
        Id::from_raw(id)?;
        let mut values = vec![0u16; nsems(self, id)?];
        semctl(id, 0, GETALL, values.as_mut_ptr() as usize)?;
        Ok(values)
    }

    fn sem_set_value(&self, id: i32, num: i32, value: i32) -> Result<()> {
        semctl(id, num, SETVAL, value as usize).map(drop)
    }

    fn sem_set_values(&self, id: i32, values: &[u16]) -> Result<()> {
        Id::from_raw(id)?;
        if values.len() != nsems(self, id)? {
            return Err(Errno::INVAL);
        }
        semctl(id, 0, SETALL, values.as_ptr() as usize).map(drop)
    }

    fn sem_stat(&self, id: i32) -> Result<SetStat> {
        read_stat(id, libc::IPC_STAT)
    }

    fn sem_stat_index(&self, index: i32, any: bool) -> Result<SetStat> {
        read_stat(index, if any { SEM_STAT_ANY } else { SEM_STAT })
    }

    fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
        // SAFETY: zeroes are a valid semid_ds.
        let mut ds: crate::types::abi::semid_ds = unsafe { MaybeUninit::zeroed().assume_init() };
        ds.sem_perm.uid = uid;
        ds.sem_perm.gid = gid;
        ds.sem_perm.mode = (mode & 0o777) as _;
        semctl(id, 0, libc::IPC_SET, (&raw mut ds) as usize).map(drop)
    }

    fn sem_remove(&self, id: i32) -> Result<()> {
        semctl(id, 0, libc::IPC_RMID, 0).map(drop)
    }

    fn sem_usage(&self) -> Result<SemUsage> {
        let mut info = MaybeUninit::<crate::types::abi::seminfo>::zeroed();
        let max_index = semctl(0, 0, SEM_INFO, info.as_mut_ptr() as usize)?;
        // SAFETY: zeroes are a valid seminfo, and the kernel has filled it.
        let info = unsafe { info.assume_init() };
        Ok(SemUsage { sets: info.semusz as u32, semaphores: info.semaem as u32, max_index: max_index as u32 })
    }

    fn sets(&self) -> Result<Vec<SetStatus>> {
        let usage = self.sem_usage()?;
        let mut all = Vec::new();
        for index in 0..=usage.max_index as i32 {
            let Ok(stat) = self.sem_stat_index(index, true) else { continue };
            let id = stat.id.raw();
            let semaphore = |num: u32| {
                let num = num as i32;
                Some(SemaphoreStatus {
                    value: self.sem_value(id, num).ok()?,
                    pid: self.sem_pid(id, num).ok()?,
                    waiting: self.sem_ncnt(id, num).ok()?,
                    waiting_for_zero: self.sem_zcnt(id, num).ok()?,
                })
            };
            // The list is empty if the caller may not read the set.
            let semaphores = (0..stat.nsems).map_while(semaphore).collect();
            all.push(SetStatus { stat, semaphores, waiters: Vec::new(), undo: Vec::new(), orphan: false });
        }
        Ok(all)
    }

    fn semget_with(&self, _key: Key, _flags: i32, _values: &[u16]) -> Option<Result<Id>> {
        None
    }
}

fn semctl(id: i32, num: i32, command: i32, arg: usize) -> Result<i32> {
    // SAFETY: every caller passes a number, or the address of a local that `command` reads or
    // fills.
    check(unsafe { syscall!(Sysno::semctl, id, num, command | IPC_64, arg) }).map(|r| r as i32)
}

/// Returns the number of semaphores of a set, even if the caller may not read the set.
fn nsems(kernel: &Kernel, id: i32) -> Result<usize> {
    let stat = kernel.sem_stat_index(id, true)?;
    if stat.id.raw() == id { Ok(stat.nsems as usize) } else { Err(Errno::INVAL) }
}

fn read_stat(id: i32, command: i32) -> Result<SetStat> {
    let mut ds = MaybeUninit::<crate::types::abi::semid_ds>::zeroed();
    let ret = semctl(id, 0, command, ds.as_mut_ptr() as usize)?;
    // SAFETY: zeroes are a valid semid_ds, and the kernel has filled it.
    let ds = unsafe { ds.assume_init() };
    let id = if command == libc::IPC_STAT { id } else { ret };
    Ok(SetStat {
        key: Key::new(crate::types::abi::key(&ds.sem_perm)),
        id: Id::from_raw(id)?,
        perm: Permissions {
            uid: ds.sem_perm.uid,
            gid: ds.sem_perm.gid,
            cuid: ds.sem_perm.cuid,
            cgid: ds.sem_perm.cgid,
            mode: u32::from(ds.sem_perm.mode) & 0o777,
        },
        otime: ds.sem_otime as i64,
        ctime: ds.sem_ctime as i64,
        nsems: ds.sem_nsems as u32,
    })
}

/// Returns `limits` with the four limits of `/proc/sys/kernel/sem`.
pub fn read_limits(limits: Limits) -> Result<Limits> {
    let text = sysctl("sem")?;
    let numbers: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [semmsl, semmns, semopm, semmni] = numbers[..] else { return Err(Errno::IO) };
    Ok(Limits { semmsl, semmns, semopm, semmni, ..limits })
}

/// Sets the four limits of `/proc/sys/kernel/sem`.
pub fn write_limits(limits: &Limits) -> Result<()> {
    let Limits { semmsl, semmns, semopm, semmni, .. } = limits;
    set_sysctl("sem", &format!("{semmsl} {semmns} {semopm} {semmni}"))
}
