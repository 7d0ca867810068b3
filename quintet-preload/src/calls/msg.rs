//! Message queues: `msgget`, `msgsnd`, `msgrcv`, `msgctl`.
//!
//! Errors of `msgsnd` are found in the kernel's order: the address of the type, the length, the
//! type, the address of the text. The engine checks the rest. `msgrcv` checks its buffer when there
//! is a message for it; a message that cannot be written there stays in the queue.
//!
//! # Safety
//!
//! See the crate. A message is a C `long`, its type, followed by its text. Neither need be aligned.
#![allow(unsafe_code)]

use crate::base::call::restore;
use crate::base::cancel::{c_value_at_point, point};
use crate::base::errno::errno;
use crate::base::preload_api::{self, Piece, Sink, Source};
use crate::base::user;
use crate::calls::{IPC_INFO, set_ipc_perm};
use crate::log::Line;
use crate::log::arguments::{self, Address, Command, Flags, Pointed};
use crate::log::trace::{is_plain, nothing, observed, observed_call};
use libc::{c_int, c_long, c_ulong, c_void, key_t, msginfo, msqid_ds, size_t, ssize_t};
use quintet::{Errno, Key, Limits, MsgFlags, QueueStat};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MSG_STAT: c_int = 11;
const MSG_INFO: c_int = 12;
const MSG_STAT_ANY: c_int = 13;

/// The offset of the text, in bytes.
const TEXT: usize = size_of::<c_long>();

/// msgget(2)
#[unsafe(no_mangle)]
pub extern "C-unwind" fn msgget(key: key_t, msgflg: c_int) -> c_int {
    observed_call(
        || preload_api::msgget(Key::new(key), msgflg).map(|id| id.raw()),
        |line| write!(line, "msgget({}, {}", arguments::Key(key), Flags::get(msgflg)),
        nothing,
    )
}

/// msgop(2)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn msgsnd(msqid: c_int, msgp: *const c_void, msgsz: size_t, msgflg: c_int) -> c_int {
    match is_plain() {
        true => msgsnd_inner(msqid, msgp, msgsz, msgflg),
        false => msgsnd_observed(msqid, msgp, msgsz, msgflg),
    }
}

/// Adds the trace and deferred cancellation.
#[cold]
#[inline(never)]
fn msgsnd_observed(id: c_int, message: *const c_void, len: size_t, flags: c_int) -> c_int {
    let arguments = |line: &mut Line| {
        write!(line, "msgsnd({id}, {}, {len}, {}", Pointed(message.cast(), arguments::message), Flags::message(flags))
    };
    observed(|_| msgsnd_inner(id, message, len, flags), arguments, nothing)
}

/// Sends the message at a cancellation point, with its panics contained.
#[inline(never)]
fn msgsnd_inner(id: c_int, message: *const c_void, len: size_t, flags: c_int) -> c_int {
    let send = || {
        // A negative length is no range.
        let mtype = if len <= isize::MAX as usize && user::is_known_readable(message, TEXT + len) {
            // SAFETY: readable, as the condition states.
            unsafe { message.cast::<c_long>().read_unaligned() }
        } else {
            check_readable(id, message, len)?
        };
        let text = Source { at: message.cast::<u8>().wrapping_add(TEXT), len };
        preload_api::msgsnd(id, mtype.into(), text, MsgFlags::from_bits_retain(flags)).map(|()| 0)
    };
    loop {
        point();
        let before = errno();
        let sent = restore(before, catch_unwind(AssertUnwindSafe(send)));
        if let Some(value) = c_value_at_point(-1, sent) {
            return value;
        }
    }
}

/// Checks that a message is readable, and returns its type.
#[cold]
#[inline(never)]
fn check_readable(id: c_int, message: *const c_void, len: usize) -> Result<c_long, Errno> {
    let mtype: c_long = user::read(message.cast())?;
    if id < 0 || len > preload_api::msgmax()? || mtype < 1 {
        return Err(Errno::INVAL);
    }
    user::ask_readable(message, TEXT + len)?;
    Ok(mtype)
}

/// msgop(2)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn msgrcv(msqid: c_int, msgp: *mut c_void, msgsz: size_t, msgtyp: c_long, msgflg: c_int) -> ssize_t {
    match is_plain() {
        true => msgrcv_inner(msqid, msgp, msgsz, msgtyp, msgflg),
        false => msgrcv_observed(msqid, msgp, msgsz, msgtyp, msgflg),
    }
}

#[cold]
#[inline(never)]
fn msgrcv_observed(id: c_int, buffer: *mut c_void, size: size_t, mtype: c_long, flags: c_int) -> ssize_t {
    let arguments =
        |line: &mut Line| write!(line, "msgrcv({id}, {}, {size}, {mtype}, {}", Address(buffer), Flags::message(flags));
    let filled = |line: &mut Line, done| match done {
        true => write!(line, ", {}", Pointed(buffer.cast(), arguments::message)),
        false => Ok(()),
    };
    observed(|_| msgrcv_inner(id, buffer, size, mtype, flags), arguments, filled)
}

/// Receives a message at a cancellation point, with its panics contained.
#[inline(never)]
fn msgrcv_inner(id: c_int, buffer: *mut c_void, size: size_t, mtype: c_long, flags: c_int) -> ssize_t {
    let receive = || {
        let flags = MsgFlags::from_bits_retain(flags);
        // The kernel's length is a `long`.
        if id < 0 || size > isize::MAX as usize {
            return Err(Errno::INVAL);
        }
        if flags.contains(MsgFlags::COPY) {
            check_room_for_copy(buffer, size, flags)?;
        }
        preload_api::msgrcv(id, &mut Buffer(buffer), size, mtype.into(), flags).map(|n| n as ssize_t)
    };
    loop {
        point();
        let before = errno();
        let received = restore(before, catch_unwind(AssertUnwindSafe(receive)));
        if let Some(value) = c_value_at_point(-1, received) {
            return value;
        }
    }
}

/// Checks the buffer for `MSG_COPY`. The kernel fills its copy from the buffer before it looks for
/// the queue.
#[cold]
#[inline(never)]
fn check_room_for_copy(buffer: *const c_void, size: usize, flags: MsgFlags) -> Result<(), Errno> {
    if !flags.contains(MsgFlags::NOWAIT) || flags.contains(MsgFlags::EXCEPT) {
        return Err(Errno::INVAL);
    }
    let len = size.min(preload_api::msgmax()?);
    if len == 0 || user::is_known_readable(buffer, len) { Ok(()) } else { user::ask_readable(buffer, len) }
}

/// The program's buffer for a message: its type, then its text.
struct Buffer(*mut c_void);

impl Sink for Buffer {
    #[inline(always)]
    fn ready(&mut self, len: usize) -> Option<*mut u8> {
        user::is_known_writable(self.0, TEXT + len).then(|| self.0.cast::<u8>().wrapping_add(TEXT))
    }

    #[inline(always)]
    fn put_type(&mut self, mtype: i64) {
        // SAFETY: writable: `ready` has found so before the engine calls this, and `put` before it
        // does.
        unsafe { self.0.cast::<c_long>().write_unaligned(mtype as c_long) };
    }

    #[cold]
    fn put(&mut self, mtype: i64, pieces: &[Piece]) -> Result<(), Errno> {
        let len: usize = pieces.iter().map(|piece| piece.len).sum();
        user::ensure_writable(self.0, TEXT + len)?;
        self.put_type(mtype);
        let mut to = self.0.cast::<u8>().wrapping_add(TEXT);
        for piece in pieces {
            // SAFETY: a piece is readable, and the buffer is writable, as checked above.
            unsafe { std::ptr::copy_nonoverlapping(piece.at, to, piece.len) };
            to = to.wrapping_add(piece.len);
        }
        Ok(())
    }
}

/// msgctl(2)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn msgctl(msqid: c_int, cmd: c_int, buf: *mut msqid_ds) -> c_int {
    let fills = matches!(cmd, libc::IPC_STAT | MSG_STAT | MSG_STAT_ANY);
    let arguments = |line: &mut Line| {
        write!(line, "msgctl({msqid}, {}, ", Command::msg(cmd))?;
        match cmd {
            libc::IPC_SET => write!(line, "{}", Pointed(buf, arguments::msqid_to_set)),
            _ if fills => Ok(()),
            _ => write!(line, "{}", Address(buf)),
        }
    };
    let filled = |line: &mut Line, done| if fills { arguments::result(line, done, buf, arguments::msqid_ds) } else { Ok(()) };
    observed_call(|| control(msqid, cmd, buf), arguments, filled)
}

fn control(msqid: c_int, cmd: c_int, buf: *mut msqid_ds) -> Result<c_int, Errno> {
    if msqid < 0 || cmd < 0 {
        return Err(Errno::INVAL);
    }
    match cmd {
        libc::IPC_STAT => user::write(buf, &to_c(&preload_api::msg_stat(msqid)?)).map(|()| 0),
        libc::IPC_SET => set(msqid, buf),
        libc::IPC_RMID => preload_api::msg_remove(msqid).map(|()| 0),
        MSG_STAT | MSG_STAT_ANY => {
            let stat = preload_api::msg_stat_index(msqid, cmd == MSG_STAT_ANY)?;
            user::write(buf, &to_c(&stat))?;
            Ok(stat.id.raw())
        }
        IPC_INFO | MSG_INFO => info(buf.cast(), cmd == MSG_INFO),
        _ => Err(Errno::INVAL),
    }
}

fn set(id: c_int, buf: *const msqid_ds) -> Result<c_int, Errno> {
    let ds: msqid_ds = user::read(buf)?;
    let perm = ds.msg_perm;
    // The kernel's value is an `int`.
    preload_api::msg_set(id, perm.uid, perm.gid, u32::from(perm.mode), ds.msg_qbytes as c_int as u64)?;
    Ok(0)
}

/// Writes the limits, with the constants that the kernel reports but does not use. `MSG_INFO`
/// reports three usage counts instead of three of them.
fn info(buf: *mut msginfo, usage: bool) -> Result<c_int, Errno> {
    const MSGMNI: c_int = Limits::DEFAULT.msgmni as c_int;
    const MSGMNB: c_int = Limits::DEFAULT.msgmnb as c_int;
    const MSGPOOL: c_int = MSGMNI * (MSGMNB / 1024);
    const MSGSSZ: c_int = 16;
    const MSGSEG: u16 = u16::MAX;
    let (limits, max_index) = preload_api::msg_limits()?;
    let (msgpool, msgmap, msgtql, max_index) = if usage {
        let usage = preload_api::msg_usage()?;
        let at_most = |number: u64| c_int::try_from(number).unwrap_or(c_int::MAX);
        (usage.queues as c_int, at_most(usage.messages), at_most(usage.bytes), usage.max_index)
    } else {
        (MSGPOOL, MSGMNB, MSGMNB, max_index)
    };
    let c = msginfo {
        msgpool,
        msgmap,
        msgmax: limits.msgmax as c_int,
        msgmnb: limits.msgmnb as c_int,
        msgmni: limits.msgmni as c_int,
        msgssz: MSGSSZ,
        msgtql,
        msgseg: MSGSEG,
    };
    user::write(buf, &c)?;
    Ok(max_index as c_int)
}

fn to_c(stat: &QueueStat) -> msqid_ds {
    // SAFETY: zeroes are a valid `msqid_ds`.
    let mut ds: msqid_ds = unsafe { std::mem::zeroed() };
    set_ipc_perm(&mut ds.msg_perm, stat.id, stat.key, &stat.perm);
    ds.msg_stime = stat.stime as _;
    ds.msg_rtime = stat.rtime as _;
    ds.msg_ctime = stat.ctime as _;
    ds.__msg_cbytes = stat.bytes as c_ulong;
    ds.msg_qnum = stat.messages as _;
    ds.msg_qbytes = stat.capacity as _;
    ds.msg_lspid = stat.lspid;
    ds.msg_lrpid = stat.lrpid;
    ds
}
