//! Shared memory: `shmget`, `shmat`, `shmdt`, `shmctl`.
//!
//! # Safety
//!
//! See the crate. `shmat` and `shmdt` change the program's mappings as its caller asks.
#![allow(unsafe_code)]

use crate::base::call::{c_value, restore};
use crate::base::errno::errno;
use crate::base::preload_api;
use crate::base::user;
use crate::calls::{IPC_INFO, set_ipc_perm};
use crate::log::Line;
use crate::log::arguments::{self, Address, Command, Flags, Pointed};
use crate::log::trace::{is_plain, nothing, observed, observed_call};
use libc::{c_int, c_void, key_t, shmid_ds, size_t};
use quintet::{Errno, Key, Permissions, SegmentStat};
use std::fmt::Write;
use std::panic::catch_unwind;

const SHM_LOCK: c_int = 11;
const SHM_UNLOCK: c_int = 12;
const SHM_STAT: c_int = 13;
const SHM_INFO: c_int = 14;
const SHM_STAT_ANY: c_int = 15;

/// The value of `shmat` on failure, `(void *) -1`.
const SHMAT_FAILED: *mut c_void = usize::MAX as *mut c_void;

/// shmget(2)
#[unsafe(no_mangle)]
pub extern "C-unwind" fn shmget(key: key_t, size: size_t, shmflg: c_int) -> c_int {
    observed_call(
        || preload_api::shmget(Key::new(key), size as u64, shmflg).map(|id| id.raw()),
        |line| write!(line, "shmget({}, {size}, {}", arguments::Key(key), Flags::shmget(shmflg)),
        nothing,
    )
}

/// shmop(2)
///
/// # Safety
///
/// As the C function: `SHM_REMAP` replaces existing mappings at the address.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn shmat(shmid: c_int, shmaddr: *const c_void, shmflg: c_int) -> *mut c_void {
    match is_plain() {
        true => shmat_inner(shmid, shmaddr, shmflg),
        false => shmat_observed(shmid, shmaddr, shmflg),
    }
}

/// Adds the trace and deferred cancellation.
#[cold]
#[inline(never)]
fn shmat_observed(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void {
    let arguments = |line: &mut Line| write!(line, "shmat({id}, {}, {}", Address(address), Flags::shmat(flags));
    observed(|_| shmat_inner(id, address, flags), arguments, nothing)
}

/// Attaches the segment, with its panics contained.
#[inline(never)]
fn shmat_inner(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void {
    let before = errno();
    // SAFETY: the contract of `shmat`, which the program upholds.
    let attached = catch_unwind(|| unsafe { preload_api::shmat(id, address as usize, flags) });
    c_value(SHMAT_FAILED, restore(before, attached))
}

/// shmop(2)
///
/// # Safety
///
/// As the C function: the memory is unmapped.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn shmdt(shmaddr: *const c_void) -> c_int {
    observed_call(
        // SAFETY: the caller's contract is the same.
        || unsafe { preload_api::shmdt(shmaddr as usize) }.map(|()| 0),
        |line| write!(line, "shmdt({}", Address(shmaddr)),
        nothing,
    )
}

/// shmctl(2)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn shmctl(shmid: c_int, cmd: c_int, buf: *mut shmid_ds) -> c_int {
    let fills = matches!(cmd, libc::IPC_STAT | SHM_STAT | SHM_STAT_ANY);
    let arguments = |line: &mut Line| {
        write!(line, "shmctl({shmid}, {}, ", Command::shm(cmd))?;
        match cmd {
            libc::IPC_SET => write!(line, "{}", Pointed(buf, arguments::shmid_to_set)),
            _ if fills => Ok(()),
            _ => write!(line, "{}", Address(buf)),
        }
    };
    let filled = |line: &mut Line, done| if fills { arguments::result(line, done, buf, arguments::shmid_ds) } else { Ok(()) };
    observed_call(|| control(shmid, cmd, buf), arguments, filled)
}

fn control(shmid: c_int, cmd: c_int, buf: *mut shmid_ds) -> Result<c_int, Errno> {
    if shmid < 0 || cmd < 0 {
        return Err(Errno::INVAL);
    }
    match cmd {
        libc::IPC_STAT => user::write(buf, &to_c(&preload_api::shm_stat(shmid)?)).map(|()| 0),
        libc::IPC_SET => set(shmid, buf),
        libc::IPC_RMID => preload_api::shm_remove(shmid).map(|()| 0),
        SHM_LOCK | SHM_UNLOCK => preload_api::shm_lock(shmid, cmd == SHM_LOCK).map(|()| 0),
        SHM_STAT | SHM_STAT_ANY => {
            let stat = preload_api::shm_stat_index(shmid, cmd == SHM_STAT_ANY)?;
            user::write(buf, &to_c(&stat))?;
            Ok(stat.id.raw())
        }
        IPC_INFO => info(buf.cast()),
        SHM_INFO => usage(buf.cast()),
        _ => Err(Errno::INVAL),
    }
}

fn set(id: c_int, buf: *const shmid_ds) -> Result<c_int, Errno> {
    let ds: shmid_ds = user::read(buf)?;
    preload_api::shm_set(id, ds.shm_perm.uid, ds.shm_perm.gid, u32::from(ds.shm_perm.mode))?;
    Ok(0)
}

/// `struct shminfo` of `<sys/shm.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ShmInfo64 {
    shmmax: libc::c_ulong,
    shmmin: libc::c_ulong,
    shmmni: libc::c_ulong,
    shmseg: libc::c_ulong,
    shmall: libc::c_ulong,
    unused: [libc::c_ulong; 4],
}

fn info(buf: *mut ShmInfo64) -> Result<c_int, Errno> {
    let (limits, max_index) = preload_api::shm_limits()?;
    let shmmni = limits.shmmni.into();
    let shmmax = libc::c_ulong::try_from(limits.shmmax).unwrap_or(libc::c_ulong::MAX);
    let shmall = libc::c_ulong::try_from(limits.shmall).unwrap_or(libc::c_ulong::MAX);
    user::write(buf, &ShmInfo64 { shmmax, shmmin: 1, shmmni, shmseg: shmmni, shmall, unused: [0; 4] })?;
    Ok(max_index as c_int)
}

/// `struct shm_info` of `<sys/shm.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ShmUsage {
    used_ids: c_int,
    shm_tot: libc::c_ulong,
    shm_rss: libc::c_ulong,
    shm_swp: libc::c_ulong,
    swap_attempts: libc::c_ulong,
    swap_successes: libc::c_ulong,
}

fn usage(buf: *mut ShmUsage) -> Result<c_int, Errno> {
    let usage = preload_api::shm_usage()?;
    let c = ShmUsage {
        used_ids: usage.segments as c_int,
        shm_tot: usage.pages as libc::c_ulong,
        shm_rss: usage.resident as libc::c_ulong,
        shm_swp: usage.swapped as libc::c_ulong,
        swap_attempts: 0,
        swap_successes: 0,
    };
    user::write(buf, &c)?;
    Ok(usage.max_index as c_int)
}

fn to_c(stat: &SegmentStat) -> shmid_ds {
    // SAFETY: zeroes are a valid `shmid_ds`.
    let mut ds: shmid_ds = unsafe { std::mem::zeroed() };
    let perm = Permissions { mode: stat.perm.mode | stat.flags.bits(), ..stat.perm };
    set_ipc_perm(&mut ds.shm_perm, stat.id, stat.key, &perm);
    ds.shm_segsz = stat.size as _;
    ds.shm_atime = stat.atime as _;
    ds.shm_dtime = stat.dtime as _;
    ds.shm_ctime = stat.ctime as _;
    ds.shm_cpid = stat.cpid;
    ds.shm_lpid = stat.lpid;
    ds.shm_nattch = stat.nattch as _;
    ds
}
