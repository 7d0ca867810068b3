//! Semaphore sets: `semget`, `semop`, `semtimedop`, `semctl`.
//!
//! What is wrong with a call is found in the kernel's order: the timeout's address, the number of operations, their
//! address, the timeout; then the engine looks at the rest.
//!
//! # Safety
//!
//! As in the module above. The operations are copied before anything is done with them.
#![allow(unsafe_code)]

use crate::base::call::run;
use crate::base::preload_api;
use crate::base::{cancel, user};
use crate::calls::IPC_INFO;
use crate::log::arguments::{self, Address, Command, Flags, Operations, Pointed};
use crate::log::trace::{nothing, traced, traced_call};
use crate::log::{self, Line};
use libc::{c_int, c_uint, c_ushort, key_t, sembuf, size_t, timespec};
use quintet::abi::{self, semid_ds, seminfo};
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
    traced_call(
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
    cancel::export(|_| match log::may_trace() {
        false => semop_here(semid, sops.cast(), nsops),
        true => semop_told(semid, sops, nsops),
    })
}

#[cold]
#[inline(never)]
fn semop_told(id: c_int, sops: *mut sembuf, nsops: size_t) -> c_int {
    let arguments = |line: &mut Line| write!(line, "semop({id}, {}, {nsops}", Operations(sops, nsops));
    traced(|| semop_here(id, sops.cast(), nsops), arguments, nothing)
}

#[inline(never)]
fn semop_here(id: c_int, sops: *const SemOp, nsops: size_t) -> c_int {
    if nsops as c_uint == 1 && user::is_known_readable(sops.cast(), size_of::<SemOp>()) {
        // SAFETY: can be read, as was just said.
        let op = unsafe { sops.read_unaligned() };
        return match catch_unwind(|| preload_api::sem_at_once(id, &[op])) {
            Ok(true) => 0,
            _ => semop_tried(id, op),
        };
    }
    semop_whole(id, sops, nsops)
}

/// One operation that could not be done at once.
#[inline(never)]
fn semop_tried(id: c_int, op: SemOp) -> c_int {
    run(-1, || preload_api::semtimedop_tried(id, &[op], None).map(|()| 0))
}

#[inline(never)]
fn semop_whole(id: c_int, sops: *const SemOp, nsops: size_t) -> c_int {
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
    cancel::export(|spent| traced(|| semtimedop_here(semid, sops.cast(), nsops, timeout, spent), arguments, nothing))
}

#[inline(never)]
fn semtimedop_here(id: c_int, sops: *const SemOp, nsops: size_t, timeout: *const timespec, spent: Duration) -> c_int {
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

/// So many operations are copied without a call.
const FEW: usize = 4;

#[inline(always)]
fn operate(
    id: c_int,
    sops: *const SemOp,
    nsops: size_t,
    timeout: impl Fn() -> Result<Option<Duration>, Errno>,
) -> Result<c_int, Errno> {
    // The kernel's argument is an `unsigned int`.
    let nsops = nsops as c_uint as usize;
    if nsops.wrapping_sub(1) < FEW
        && user::is_known_readable(sops.cast(), nsops * size_of::<SemOp>())
        && let Ok(timeout) = timeout()
    {
        let mut ops = [SemOp::default(); FEW];
        for (index, op) in ops.iter_mut().enumerate() {
            if index < nsops {
                // SAFETY: can be read, as was just said.
                *op = unsafe { sops.add(index).read_unaligned() };
            }
        }
        // If that is too many already, the engine says so.
        return preload_api::semtimedop(id, &ops[..nsops], timeout).map(|()| 0);
    }
    operate_checking(id, sops, nsops, timeout)
}

/// Many operations, or where they are must be asked of the kernel, or something is wrong.
#[cold]
#[inline(never)]
fn operate_checking(
    id: c_int,
    sops: *const SemOp,
    nsops: usize,
    timeout: impl Fn() -> Result<Option<Duration>, Errno>,
) -> Result<c_int, Errno> {
    const MOST: usize = Limits::MOST_SEMOPM as usize;
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
    // SAFETY: wholly written, and an operation is three integers.
    let ops = unsafe { std::slice::from_raw_parts(ops.as_ptr().cast::<SemOp>(), nsops) };
    preload_api::semtimedop(id, ops, timeout()?).map(|()| 0)
}

/// semctl(2)
///
/// In C the fourth argument, a union of an `int` and pointers, is one of a variable number. On x86-64 and aarch64 it arrives in the
/// register, and on 32-bit x86 in the place on the stack, where a fourth one with a name and a pointer's size would; so it
/// is declared as that. A caller who leaves it out leaves something there that is not looked at.
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn semctl(semid: c_int, semnum: c_int, cmd: c_int, arg: usize) -> c_int {
    cancel::export(|_| match log::may_trace() {
        false => semctl_here(semid, semnum, cmd, arg),
        true => semctl_told(semid, semnum, cmd, arg),
    })
}

#[cold]
#[inline(never)]
fn semctl_told(id: c_int, num: c_int, cmd: c_int, arg: usize) -> c_int {
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
    traced(|| semctl_here(id, num, cmd, arg), arguments, filled)
}

#[inline(never)]
fn semctl_here(semid: c_int, semnum: c_int, cmd: c_int, arg: usize) -> c_int {
    if cmd == GETVAL
        && let Ok(Some(value)) = catch_unwind(|| preload_api::sem_value_at_once(semid, semnum))
    {
        return value.into();
    }
    semctl_whole(semid, semnum, cmd, arg)
}

#[inline(never)]
fn semctl_whole(semid: c_int, semnum: c_int, cmd: c_int, arg: usize) -> c_int {
    run(-1, || {
        if semid < 0 {
            return Err(Errno::INVAL);
        }
        match cmd {
            GETVAL => preload_api::sem_value(semid, semnum).map(c_int::from),
            // All these machines have the union's `int` in the low half.
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

/// For `SETALL`: as many values as the set has semaphores.
fn read_values(from: *const c_ushort, values: &mut [u16]) -> Result<(), Errno> {
    let len = size_of_val(values);
    // SAFETY: the values' own bytes, for which every content is a value.
    user::read_bytes(from.cast(), unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), len) })
}

fn set(id: c_int, buf: *const semid_ds) -> Result<c_int, Errno> {
    let ds: semid_ds = user::read(buf)?;
    preload_api::sem_set(id, ds.sem_perm.uid, ds.sem_perm.gid, u32::from(ds.sem_perm.mode))?;
    Ok(0)
}

/// The limits, with numbers of which the kernel makes no use; of what is in use, `SEM_INFO` tells two.
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
    // SAFETY: zeroes are a valid semid_ds.
    let mut ds: semid_ds = unsafe { std::mem::zeroed() };
    abi::set_key(&mut ds.sem_perm, stat.key.raw());
    ds.sem_perm.uid = stat.perm.uid;
    ds.sem_perm.gid = stat.perm.gid;
    ds.sem_perm.cuid = stat.perm.cuid;
    ds.sem_perm.cgid = stat.perm.cgid;
    ds.sem_perm.mode = stat.perm.mode as _;
    ds.sem_perm.__seq = stat.id.sequence() as _;
    ds.sem_otime = stat.otime as _;
    ds.sem_ctime = stat.ctime as _;
    ds.sem_nsems = stat.nsems as _;
    ds
}
