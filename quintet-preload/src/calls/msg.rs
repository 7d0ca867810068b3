//! Message queues: `msgget`, `msgsnd`, `msgrcv`, `msgctl`.
//!
//! What is wrong with a call is found in the kernel's order. Of a message to be sent that is: the type's address, the length, the type,
//! the text's address; then the engine looks at the rest. Where a message is received, the buffer's address is looked at when there is one
//! for it: it stays in the queue if it cannot be written there.
//!
//! # Safety
//!
//! As in the module above. A message has a C `long`, its type, and then its text; neither need be aligned.
#![allow(unsafe_code)]

use crate::base::cancel::{self, carry_and_end};
use crate::base::preload_api::{self, Piece, Sink, Source};
use crate::base::user;
use crate::calls::IPC_INFO;
use crate::log::arguments::{self, Address, Command, Flags, Pointed};
use crate::log::trace::{nothing, traced, traced_call};
use crate::log::{self, Line};
use libc::{c_int, c_long, c_ulong, c_void, key_t, msginfo, msqid_ds, size_t, ssize_t};
use quintet::{Errno, Key, Limits, MsgFlags, QueueStat, abi};
use std::fmt::Write;

const MSG_STAT: c_int = 11;
const MSG_INFO: c_int = 12;
const MSG_STAT_ANY: c_int = 13;

/// The text begins so many bytes after the type.
const TEXT: usize = size_of::<c_long>();

/// msgget(2)
#[unsafe(no_mangle)]
pub extern "C-unwind" fn msgget(key: key_t, msgflg: c_int) -> c_int {
    traced_call(
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
    cancel::export(|_| match log::may_trace() {
        false => msgsnd_here(msqid, msgp, msgsz, msgflg),
        true => msgsnd_told(msqid, msgp, msgsz, msgflg),
    })
}

#[cold]
#[inline(never)]
fn msgsnd_told(id: c_int, message: *const c_void, len: size_t, flags: c_int) -> c_int {
    let arguments = |line: &mut Line| {
        write!(line, "msgsnd({id}, {}, {len}, {}", Pointed(message.cast(), arguments::message), Flags::message(flags))
    };
    traced(|| msgsnd_here(id, message, len, flags), arguments, nothing)
}

#[inline(never)]
fn msgsnd_here(msqid: c_int, msgp: *const c_void, msgsz: size_t, msgflg: c_int) -> c_int {
    carry_and_end(-1, || send(msqid, msgp, msgsz, MsgFlags::from_bits_retain(msgflg)).map(|()| 0))
}

#[inline(always)]
fn send(id: c_int, message: *const c_void, len: usize, flags: MsgFlags) -> Result<(), Errno> {
    // A negative length is no range.
    let mtype = if len <= isize::MAX as usize && user::is_known_readable(message, TEXT + len) {
        // SAFETY: can be read, as was just said.
        unsafe { message.cast::<c_long>().read_unaligned() }
    } else {
        check_readable(id, message, len)?
    };
    preload_api::msgsnd(id, mtype.into(), Source { at: message.cast::<u8>().wrapping_add(TEXT), len }, flags)
}

/// The type of a message of which it must be asked whether it can be read.
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
    cancel::export(|_| match log::may_trace() {
        false => msgrcv_here(msqid, msgp, msgsz, msgtyp, msgflg),
        true => msgrcv_told(msqid, msgp, msgsz, msgtyp, msgflg),
    })
}

#[cold]
#[inline(never)]
fn msgrcv_told(id: c_int, buffer: *mut c_void, size: size_t, mtype: c_long, flags: c_int) -> ssize_t {
    let arguments =
        |line: &mut Line| write!(line, "msgrcv({id}, {}, {size}, {mtype}, {}", Address(buffer), Flags::message(flags));
    let filled = |line: &mut Line, done| match done {
        true => write!(line, ", {}", Pointed(buffer.cast(), arguments::message)),
        false => Ok(()),
    };
    traced(|| msgrcv_here(id, buffer, size, mtype, flags), arguments, filled)
}

#[inline(never)]
fn msgrcv_here(msqid: c_int, msgp: *mut c_void, msgsz: size_t, msgtyp: c_long, msgflg: c_int) -> ssize_t {
    carry_and_end(-1, || {
        let flags = MsgFlags::from_bits_retain(msgflg);
        // The kernel's length is a `long`.
        if msqid < 0 || msgsz > isize::MAX as usize {
            return Err(Errno::INVAL);
        }
        if flags.contains(MsgFlags::COPY) {
            check_room_for_copy(msgp, msgsz, flags)?;
        }
        preload_api::msgrcv(msqid, &mut Buffer(msgp), msgsz, msgtyp.into(), flags).map(|n| n as ssize_t)
    })
}

/// For a copy the kernel makes room by filling it from the buffer, before it looks for the queue.
#[cold]
#[inline(never)]
fn check_room_for_copy(buffer: *const c_void, size: usize, flags: MsgFlags) -> Result<(), Errno> {
    if !flags.contains(MsgFlags::NOWAIT) || flags.contains(MsgFlags::EXCEPT) {
        return Err(Errno::INVAL);
    }
    let len = size.min(preload_api::msgmax()?);
    if len == 0 || user::is_known_readable(buffer, len) { Ok(()) } else { user::ask_readable(buffer, len) }
}

/// Where the program wants a message: first its type, then its text.
struct Buffer(*mut c_void);

impl Sink for Buffer {
    #[inline(always)]
    fn ready(&mut self, len: usize) -> Option<*mut u8> {
        user::is_known_writable(self.0, TEXT + len).then(|| self.0.cast::<u8>().wrapping_add(TEXT))
    }

    #[inline(always)]
    fn put_type(&mut self, mtype: i64) {
        // SAFETY: called where it has been found that it can be written.
        unsafe { self.0.cast::<c_long>().write_unaligned(mtype as c_long) };
    }

    #[cold]
    fn put(&mut self, mtype: i64, pieces: &[Piece]) -> Result<(), Errno> {
        let len: usize = pieces.iter().map(|piece| piece.len).sum();
        user::make_sure_writable(self.0, TEXT + len)?;
        self.put_type(mtype);
        let mut to = self.0.cast::<u8>().wrapping_add(TEXT);
        for piece in pieces {
            // SAFETY: a piece can be read, and the buffer written, as was just found.
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
    traced_call(|| control(msqid, cmd, buf), arguments, filled)
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
    // To the kernel it is an `int`.
    preload_api::msg_set(id, perm.uid, perm.gid, u32::from(perm.mode), ds.msg_qbytes as c_int as u64)?;
    Ok(0)
}

/// The limits, with numbers of which the kernel makes no use; of what is in use, `MSG_INFO` tells three.
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
    // SAFETY: zeroes are a valid msqid_ds.
    let mut ds: msqid_ds = unsafe { std::mem::zeroed() };
    abi::set_key(&mut ds.msg_perm, stat.key.raw());
    ds.msg_perm.uid = stat.perm.uid;
    ds.msg_perm.gid = stat.perm.gid;
    ds.msg_perm.cuid = stat.perm.cuid;
    ds.msg_perm.cgid = stat.perm.cgid;
    ds.msg_perm.mode = stat.perm.mode as _;
    ds.msg_perm.__seq = stat.id.sequence() as _;
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
