//! Semaphore sets: `semget`, `semop`, `semtimedop`, `semctl`.
//!
//! Errors are found in the kernel's order: the address of the timeout, the number of operations,
//! their address, the timeout. The engine checks the rest.
//!
//! # Safety
//!
//! See the crate. The operations are copied before they are used.
#![allow(unsafe_code)]

use crate::base::call::run;
use crate::base::preload_api;
use crate::base::user;
use crate::calls::{IPC_INFO, set_ipc_perm};
use crate::log::Line;
use crate::log::arguments::{self, Address, Command, Flags, Operations, Pointed};
use crate::log::trace::{is_plain, nothing, observed, observed_call};
use libc::{c_int, c_uint, c_ushort, key_t, sembuf, size_t, timespec};
use quintet::abi::{semid_ds, seminfo};
use quintet::{Errno, Key, Limits, SemOp, SetStat};
use std::fmt::Write;
use std::mem::MaybeUninit;
use std::panic::catch_unwind;
use std::time::Duration;

const GETPID: c_int = 11;
const GETVAL: c_int = 12;
const GETALL: c_int = 13;
const GETNCNT: c_int = 14;
const GETZCNT: c_int = 15;
const SETVAL: c_int = 16;
const SETALL: c_int = 17;
const SEM_STAT: c_int = 18;
const SEM_INFO: c_int = 19;
const SEM_STAT_ANY: c_int = 20;

/// semget(2)
#[unsafe(no_mangle)]
pub extern "C-unwind" fn semget(key: key_t, nsems: c_int, semflg: c_int) -> c_int {
    observed_call(
        || preload_api::semget(Key::new(key), nsems, semflg).map(|id| id.raw()),
        |line| write!(line, "semget({}, {nsems}, {}", arguments::Key(key), Flags::get(semflg)),
        nothing,
    )
}

/// semop(2)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn semop(semid: c_int, sops: *mut sembuf, nsops: size_t) -> c_int {
    match is_plain() {
        true => semop_inner(semid, sops.cast(), nsops),
        false => semop_observed(semid, sops, nsops),
    }
}

/// Adds the trace and deferred cancellation.
#[cold]
#[inline(never)]
fn semop_observed(id: c_int, sops: *mut sembuf, nsops: size_t) -> c_int {
    let arguments = |line: &mut Line| write!(line, "semop({id}, {}, {nsops}", Operations(sops, nsops));
    observed(|_| semop_inner(id, sops.cast(), nsops), arguments, nothing)
}

/// Performs a single operation in memory that is known to be readable; leaves every other call to
/// the slower functions.
#[inline(never)]
fn semop_inner(id: c_int, sops: *const SemOp, nsops: size_t) -> c_int {
    if nsops as c_uint == 1 && user::is_known_readable(sops.cast(), size_of::<SemOp>()) {
        // SAFETY: readable, as the condition states.
        let op = unsafe { sops.read_unaligned() };
        return match catch_unwind(|| preload_api::sets().is_some_and(|sets| sets.semop_fast(id, &[op]))) {
            Ok(true) => 0,
            _ => semop_slow(id, op),
        };
    }
    semop_copied(id, sops, nsops)
}

/// Performs one operation that the fast path could not perform.
#[inline(never)]
fn semop_slow(id: c_int, op: SemOp) -> c_int {
    run(-1, || preload_api::semtimedop_slow(id, &[op], None).map(|()| 0))
}

/// Copies the operations first, and asks the kernel about their memory if it is unknown.
#[inline(never)]
fn semop_copied(id: c_int, sops: *const SemOp, nsops: size_t) -> c_int {
    run(-1, || operate(id, sops, nsops, || Ok(None)))
}

/// semop(2)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn semtimedop(semid: c_int, sops: *mut sembuf, nsops: size_t, timeout: *const timespec) -> c_int {
    let arguments = |line: &mut Line| {
        write!(line, "semtimedop({semid}, {}, {nsops}, {}", Operations(sops, nsops), Pointed(timeout, arguments::time))
    };
    observed(|spent| semtimedop_inner(semid, sops.cast(), nsops, timeout, spent), arguments, nothing)
}

#[inline(never)]
fn semtimedop_inner(id: c_int, sops: *const SemOp, nsops: size_t, timeout: *const timespec, spent: Duration) -> c_int {
    run(-1, || {
        let timeout = if timeout.is_null() { None } else { Some(user::read(timeout)?) };
        operate(id, sops, nsops, || timeout.map(|time| Ok(duration(time)?.saturating_sub(spent))).transpose())
    })
}

fn duration(time: timespec) -> Result<Duration, Errno> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::INVAL)?;
    let nanoseconds = u32::try_from(time.tv_nsec).map_err(|_| Errno::INVAL)?;
    if nanoseconds < 1_000_000_000 { Ok(Duration::new(seconds, nanoseconds)) } else { Err(Errno::INVAL) }
}

/// The number of operations that are copied without a call.
const FEW: usize = 4;

#[inline(always)]
fn operate(
    id: c_int,
    sops: *const SemOp,
    nsops: size_t,
    timeout: impl Fn() -> Result<Option<Duration>, Errno>,
) -> Result<c_int, Errno> {
    // The kernel's parameter is an `unsigned int`.
    let nsops = nsops as c_uint as usize;
    if nsops.wrapping_sub(1) < FEW
        && user::is_known_readable(sops.cast(), nsops * size_of::<SemOp>())
        && let Ok(timeout) = timeout()
    {
        let mut ops = [SemOp::default(); FEW];
        for (index, op) in ops.iter_mut().enumerate() {
            if index < nsops {
                // SAFETY: readable, as the condition states.
                *op = unsafe { sops.add(index).read_unaligned() };
            }
        }
        // The engine checks the limit.
        return preload_api::semtimedop(id, &ops[..nsops], timeout).map(|()| 0);
    }
    operate_checked(id, sops, nsops, timeout)
}

/// Handles many operations, memory that must be checked, and errors.
#[cold]
#[inline(never)]
fn operate_checked(
    id: c_int,
    sops: *const SemOp,
    nsops: usize,
    timeout: impl Fn() -> Result<Option<Duration>, Errno>,
) -> Result<c_int, Errno> {
    const MOST: usize = Limits::MAX_SEMOPM as usize;
    if nsops > preload_api::semopm()?.min(MOST) {
        return Err(Errno::TOOBIG);
    }
    if nsops == 0 {
        return Err(Errno::INVAL);
    }
    let mut ops = [const { MaybeUninit::<SemOp>::uninit() }; MOST];
    let len = nsops * size_of::<SemOp>();
    // SAFETY: the bytes of the first `nsops` elements.
    user::read_bytes(sops.cast(), unsafe { std::slice::from_raw_parts_mut(ops.as_mut_ptr().cast(), len) })?;
    // SAFETY: fully written, and an operation consists of three integers.
    let ops = unsafe { std::slice::from_raw_parts(ops.as_ptr().cast::<SemOp>(), nsops) };
    preload_api::semtimedop(id, ops, timeout()?).map(|()| 0)
}

/// semctl(2)
///
/// In C the fourth argument is variadic: a union of an `int` and pointers. On x86-64 and aarch64 it
/// arrives in the register of a fourth named argument of a pointer's size. On 32-bit x86 it arrives
/// in the same place on the stack. It is therefore declared as one. If the caller omits it, the
/// value is undefined and not used.
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn semctl(semid: c_int, semnum: c_int, cmd: c_int, arg: usize) -> c_int {
    match is_plain() {
        true => semctl_inner(semid, semnum, cmd, arg),
        false => semctl_observed(semid, semnum, cmd, arg),
    }
}

#[cold]
#[inline(never)]
fn semctl_observed(id: c_int, num: c_int, cmd: c_int, arg: usize) -> c_int {
    let fills = matches!(cmd, libc::IPC_STAT | SEM_STAT | SEM_STAT_ANY);
    let arguments = |line: &mut Line| {
        write!(line, "semctl({id}, {num}, {}", Command::sem(cmd))?;
        match cmd {
            libc::IPC_RMID | GETVAL | GETPID | GETNCNT | GETZCNT => Ok(()),
            libc::IPC_SET => write!(line, ", {}", Pointed(arg as *const semid_ds, arguments::semid_to_set)),
            SETVAL => write!(line, ", {}", arg as c_int),
            _ if fills => line.write_str(", "),
            _ => write!(line, ", {}", Address(arg as *const semid_ds)),
        }
    };
    let filled = |line: &mut Line, done| match fills {
        true => arguments::result(line, done, arg as *const semid_ds, arguments::semid_ds),
        false => Ok(()),
    };
    observed(|_| semctl_inner(id, num, cmd, arg), arguments, filled)
}

#[inline(never)]
fn semctl_inner(semid: c_int, semnum: c_int, cmd: c_int, arg: usize) -> c_int {
    if cmd == GETVAL
        && let Ok(Some(value)) = catch_unwind(|| preload_api::sem_value_fast(semid, semnum))
    {
        return value.into();
    }
    semctl_slow(semid, semnum, cmd, arg)
}

#[inline(never)]
fn semctl_slow(semid: c_int, semnum: c_int, cmd: c_int, arg: usize) -> c_int {
    run(-1, || {
        if semid < 0 {
            return Err(Errno::INVAL);
        }
        match cmd {
            GETVAL => preload_api::sem_value(semid, semnum).map(c_int::from),
            // On all these machines the `int` is the low half of the union.
            SETVAL => preload_api::sem_set_value(semid, semnum, arg as c_int).map(|()| 0),
            GETPID => preload_api::sem_pid(semid, semnum),
            GETNCNT => preload_api::sem_ncnt(semid, semnum).map(|n| n as c_int),
            GETZCNT => preload_api::sem_zcnt(semid, semnum).map(|n| n as c_int),
            GETALL => preload_api::sem_values_to(semid, |values| user::write_all(arg as *mut c_ushort, values)).map(|()| 0),
            SETALL => preload_api::sem_set_values(semid, |values| read_values(arg as *const c_ushort, values)).map(|()| 0),
            libc::IPC_STAT => user::write(arg as *mut semid_ds, &to_c(&preload_api::sem_stat(semid)?)).map(|()| 0),
            libc::IPC_SET => set(semid, arg as *const semid_ds),
            libc::IPC_RMID => preload_api::sem_remove(semid).map(|()| 0),
            SEM_STAT | SEM_STAT_ANY => {
                let stat = preload_api::sem_stat_index(semid, cmd == SEM_STAT_ANY)?;
                user::write(arg as *mut semid_ds, &to_c(&stat))?;
                Ok(stat.id.raw())
            }
            IPC_INFO | SEM_INFO => info(arg as *mut seminfo, cmd == SEM_INFO),
            _ => Err(Errno::INVAL),
        }
    })
}

/// Reads the values for `SETALL`: one for each semaphore of the set.
fn read_values(from: *const c_ushort, values: &mut [u16]) -> Result<(), Errno> {
    let len = size_of_val(values);
    // SAFETY: the bytes of the values, for which every content is valid.
    user::read_bytes(from.cast(), unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), len) })
}

fn set(id: c_int, buf: *const semid_ds) -> Result<c_int, Errno> {
    let ds: semid_ds = user::read(buf)?;
    preload_api::sem_set(id, ds.sem_perm.uid, ds.sem_perm.gid, u32::from(ds.sem_perm.mode))?;
    Ok(0)
}

/// Writes the limits, with the constants that the kernel reports but does not use. `SEM_INFO`
/// reports two usage counts instead of two of them.
fn info(buf: *mut seminfo, usage: bool) -> Result<c_int, Errno> {
    const SEMMNI: c_int = Limits::DEFAULT.semmni as c_int;
    const SEMMNS: c_int = Limits::DEFAULT.semmns as c_int;
    const SEMUSZ: c_int = 20;
    const _: () = assert!(SEMMNI == 32000 && SEMMNS == 1_024_000_000);
    let (limits, max_index) = preload_api::sem_limits()?;
    let semvmx = c_int::from(Limits::SEMVMX);
    let (semusz, semaem, max_index) = if usage {
        let usage = preload_api::sem_usage()?;
        (usage.sets as c_int, usage.semaphores as c_int, usage.max_index)
    } else {
        (SEMUSZ, semvmx, max_index)
    };
    let c = seminfo {
        semmap: SEMMNS,
        semmni: limits.semmni as c_int,
        semmns: limits.semmns as c_int,
        semmnu: SEMMNS,
        semmsl: limits.semmsl as c_int,
        semopm: limits.semopm as c_int,
        semume: Limits::DEFAULT.semopm as c_int,
        semusz,
        semvmx,
        semaem,
    };
    user::write(buf, &c)?;
    Ok(max_index as c_int)
}

fn to_c(stat: &SetStat) -> semid_ds {
    // SAFETY: zeroes are a valid `semid_ds`.
    let mut ds: semid_ds = unsafe { std::mem::zeroed() };
    set_ipc_perm(&mut ds.sem_perm, stat.id, stat.key, &stat.perm);
    ds.sem_otime = stat.otime as _;
    ds.sem_ctime = stat.ctime as _;
    ds.sem_nsems = stat.nsems as _;
    ds
}
