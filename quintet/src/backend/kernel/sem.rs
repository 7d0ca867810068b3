//! Semaphore sets of the kernel.
//!
//! # Safety
//!
//! As in the module above: numbers, or locals of the kernel's layout.
#![allow(unsafe_code)]

use crate::backend::kernel::{IPC_64, check, number, set_sysctl, sysctl};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::permissions::Permissions;
use crate::types::sem::SemOp;
use crate::types::sem::{SemUsage, SemaphoreStatus, SetStat, SetStatus};
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

pub fn semget(key: Key, nsems: i32, flags: i32) -> Result<Id> {
    // SAFETY: numbers only.
    let id = check(unsafe { syscall!(Sysno::semget, key.raw(), nsems, flags) })?;
    Id::from_raw(id as i32)
}

#[cfg(target_pointer_width = "64")]
pub fn semtimedop(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    let timeout =
        timeout.map(|t| libc::timespec { tv_sec: t.as_secs().min(i64::MAX as u64) as _, tv_nsec: t.subsec_nanos() as _ });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `SemOp` is laid out as `sembuf`; the timeout is null or a local.
    check(unsafe { syscall!(Sysno::semtimedop, id, ops.as_ptr(), ops.len(), timeout) }).map(drop)
}

#[cfg(target_pointer_width = "32")]
pub fn semtimedop(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    let timeout = timeout.map(|t| [t.as_secs().min(i64::MAX as u64) as i64, i64::from(t.subsec_nanos())]);
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `SemOp` is laid out as `sembuf`; the timeout is null or a local `__kernel_timespec`.
    check(unsafe { syscall!(Sysno::semtimedop_time64, id, ops.as_ptr(), ops.len(), timeout) }).map(drop)
}

fn semctl(id: i32, num: i32, command: i32, arg: usize) -> Result<i32> {
    // SAFETY: every caller passes a number, or the address of a local that `command` reads or fills.
    check(unsafe { syscall!(Sysno::semctl, id, num, command | IPC_64, arg) }).map(|r| r as i32)
}

pub fn sem_value(id: i32, num: i32) -> Result<u16> {
    semctl(id, num, GETVAL, 0).map(|value| value as u16)
}

pub fn sem_pid(id: i32, num: i32) -> Result<i32> {
    semctl(id, num, GETPID, 0)
}

pub fn sem_ncnt(id: i32, num: i32) -> Result<u32> {
    semctl(id, num, GETNCNT, 0).map(|n| n as u32)
}

pub fn sem_zcnt(id: i32, num: i32) -> Result<u32> {
    semctl(id, num, GETZCNT, 0).map(|n| n as u32)
}

/// How many semaphores the set of an index has, also if the caller may not read it.
fn nsems(id: i32) -> Result<usize> {
    let stat = sem_stat_index(id, true)?;
    if stat.id.raw() == id { Ok(stat.nsems as usize) } else { Err(Errno::INVAL) }
}

pub fn sem_values(id: i32) -> Result<Vec<u16>> {
    Id::from_raw(id)?;
    let mut values = vec![0u16; nsems(id)?];
    semctl(id, 0, GETALL, values.as_mut_ptr() as usize)?;
    Ok(values)
}

pub fn sem_set_value(id: i32, num: i32, value: i32) -> Result<()> {
    semctl(id, num, SETVAL, value as usize).map(drop)
}

pub fn sem_set_values(id: i32, values: &[u16]) -> Result<()> {
    Id::from_raw(id)?;
    if values.len() != nsems(id)? {
        return Err(Errno::INVAL);
    }
    semctl(id, 0, SETALL, values.as_ptr() as usize).map(drop)
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

pub fn sem_stat(id: i32) -> Result<SetStat> {
    read_stat(id, libc::IPC_STAT)
}

pub fn sem_stat_index(index: i32, any: bool) -> Result<SetStat> {
    read_stat(index, if any { SEM_STAT_ANY } else { SEM_STAT })
}

pub fn sem_set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    // SAFETY: zeroes are a valid semid_ds.
    let mut ds: crate::types::abi::semid_ds = unsafe { MaybeUninit::zeroed().assume_init() };
    ds.sem_perm.uid = uid;
    ds.sem_perm.gid = gid;
    ds.sem_perm.mode = (mode & 0o777) as _;
    semctl(id, 0, libc::IPC_SET, (&raw mut ds) as usize).map(drop)
}

pub fn sem_remove(id: i32) -> Result<()> {
    semctl(id, 0, libc::IPC_RMID, 0).map(drop)
}

pub fn sem_usage() -> Result<SemUsage> {
    let mut info = MaybeUninit::<crate::types::abi::seminfo>::zeroed();
    let max_index = semctl(0, 0, SEM_INFO, info.as_mut_ptr() as usize)?;
    // SAFETY: zeroes are a valid seminfo, and the kernel has filled it.
    let info = unsafe { info.assume_init() };
    Ok(SemUsage { sets: info.semusz as u32, semaphores: info.semaem as u32, max_index: max_index as u32 })
}

pub fn sem_next_id() -> Result<Option<Id>> {
    Ok(Id::from_raw(number("sem_next_id")?).ok())
}

pub fn set_sem_next_id(id: Option<Id>) -> Result<()> {
    set_sysctl("sem_next_id", &id.map_or(-1, Id::raw).to_string())
}

/// The four numbers of `/proc/sys/kernel/sem`, put into `limits`.
pub fn read_limits(limits: Limits) -> Result<Limits> {
    let text = sysctl("sem")?;
    let numbers: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [semmsl, semmns, semopm, semmni] = numbers[..] else { return Err(Errno::IO) };
    Ok(Limits { semmsl, semmns, semopm, semmni, ..limits })
}

pub fn write_limits(limits: &Limits) -> Result<()> {
    let Limits { semmsl, semmns, semopm, semmni, .. } = limits;
    set_sysctl("sem", &format!("{semmsl} {semmns} {semopm} {semmni}"))
}

pub fn sets() -> Result<Vec<SetStatus>> {
    let usage = sem_usage()?;
    let mut all = Vec::new();
    for index in 0..=usage.max_index as i32 {
        let Ok(stat) = sem_stat_index(index, true) else { continue };
        let id = stat.id.raw();
        let semaphore = |num: u32| {
            let num = num as i32;
            Some(SemaphoreStatus {
                value: sem_value(id, num).ok()?,
                pid: sem_pid(id, num).ok()?,
                waiting: sem_ncnt(id, num).ok()?,
                waiting_for_zero: sem_zcnt(id, num).ok()?,
            })
        };
        // What the mode does not let the caller read stays unsaid.
        let semaphores = (0..stat.nsems).map_while(semaphore).collect();
        all.push(SetStatus { stat, semaphores, waiters: Vec::new(), undo: Vec::new(), orphan: false });
    }
    Ok(all)
}
