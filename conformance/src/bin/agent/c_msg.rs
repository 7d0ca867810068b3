//! The C calls on message queues.
//!
//! # Safety
//!
//! As in `c.rs`: the callee checks each pointer that the controller sends; all other pointers refer
//! to locals.
#![allow(unsafe_code)]

use crate::c::{bare, call};
use std::ffi::{c_int, c_long};

pub const IPC_INFO: c_int = 3;
pub const MSG_STAT: c_int = 11;
pub const MSG_INFO: c_int = 12;
pub const MSG_STAT_ANY: c_int = 13;

/// The size of a message's type, which precedes its text.
const TYPE: usize = size_of::<c_long>();
/// The real size of a receive buffer if the stated size is larger. No message is longer.
pub const ROOM: usize = 1 << 20;
/// The fill byte of a receive buffer. The call must not change it outside the message.
pub const UNTOUCHED: u8 = 0xee;
/// Bytes after the buffer that must stay unchanged.
const GUARD: usize = 64;
/// Reported instead of an errno: the call wrote past the buffer.
pub const OVERRUN: c_int = 200_000;
/// Reported instead of an errno: the call wrote past the message, within the buffer.
pub const SPILLED: c_int = 200_001;

pub fn msgget(key: i32, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: numbers only.
    call(-1, || unsafe { if bare() { libc::syscall(libc::SYS_msgget, key, flags) as c_int } else { libc::msgget(key, flags) } })
}

pub fn msgsnd(id: c_int, message: usize, size: usize, flags: c_int) -> Result<(), c_int> {
    // SAFETY: the callee checks the pointer (EFAULT), or it is a local of the caller.
    call(-1, || unsafe {
        match bare() {
            true => libc::syscall(libc::SYS_msgsnd, id, message, size, flags) as c_int,
            false => libc::msgsnd(id, message as *const _, size, flags),
        }
    })
    .map(drop)
}

pub fn msgrcv(id: c_int, buffer: usize, size: usize, mtype: i64, flags: c_int) -> Result<usize, c_int> {
    // SAFETY: the callee checks the pointer (EFAULT), or it is a local of the caller.
    call(-1, || unsafe {
        match bare() {
            true => libc::syscall(libc::SYS_msgrcv, id, buffer, size, mtype, flags) as isize,
            false => libc::msgrcv(id, buffer as *mut _, size, mtype as c_long, flags),
        }
    })
    .map(|len| len as usize)
}

pub fn msgctl(id: c_int, command: c_int, buffer: usize) -> Result<c_int, c_int> {
    // SAFETY: the callee checks the pointer (EFAULT), or it is a local of the callers below.
    call(-1, || unsafe {
        match bare() {
            true => libc::syscall(libc::SYS_msgctl, id, command, buffer) as c_int,
            false => libc::msgctl(id, command, buffer as *mut libc::msqid_ds),
        }
    })
}

/// Returns a message in the layout of `struct msgbuf`.
pub fn laid_out(mtype: i64, text: &[u8]) -> Vec<u8> {
    [&(mtype as c_long).to_ne_bytes(), text].concat()
}

/// Sends a message from [`laid_out`].
pub fn send(id: c_int, message: &[u8], flags: c_int) -> Result<(), c_int> {
    msgsnd(id, message.as_ptr() as usize, message.len() - TYPE, flags)
}

/// Receives a message. Checks that the call writes nothing else.
pub fn receive(id: c_int, size: usize, mtype: i64, flags: c_int) -> Result<(i64, Vec<u8>), c_int> {
    let mut buffer = vec![UNTOUCHED; TYPE + size.min(ROOM) + GUARD];
    let received = msgrcv(id, buffer.as_mut_ptr() as usize, size, mtype, flags);
    let written = received.map_or(0, |len| TYPE + len);
    let touched = |bytes: Option<&[u8]>| bytes.is_none_or(|rest| rest.iter().any(|byte| *byte != UNTOUCHED));
    if touched(buffer.get(TYPE + size.min(ROOM)..)) {
        return Err(OVERRUN);
    }
    if touched(buffer.get(written..)) {
        return Err(SPILLED);
    }
    received?;
    let (mtype, text) = buffer[..written].split_at(TYPE);
    Ok((c_long::from_ne_bytes(mtype.try_into().expect("the size of a type")) as i64, text.to_vec()))
}

/// Calls `msgctl` with a command that fills a `msqid_ds`.
pub fn stat(id: c_int, command: c_int) -> Result<(c_int, libc::msqid_ds), c_int> {
    // SAFETY: zeroes are a valid msqid_ds.
    let mut ds: libc::msqid_ds = unsafe { std::mem::zeroed() };
    let ret = msgctl(id, command, &raw mut ds as usize)?;
    Ok((ret, ds))
}

/// Calls `msgctl` with a command that fills a `msginfo`.
pub fn info(command: c_int) -> Result<(c_int, libc::msginfo), c_int> {
    // SAFETY: zeroes are a valid msginfo.
    let mut info: libc::msginfo = unsafe { std::mem::zeroed() };
    let ret = msgctl(0, command, &raw mut info as usize)?;
    Ok((ret, info))
}

pub fn set(id: c_int, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<(), c_int> {
    // SAFETY: zeroes are a valid msqid_ds.
    let mut ds: libc::msqid_ds = unsafe { std::mem::zeroed() };
    ds.msg_perm.uid = uid;
    ds.msg_perm.gid = gid;
    ds.msg_perm.mode = mode as _;
    ds.msg_qbytes = capacity as _;
    msgctl(id, libc::IPC_SET, &raw mut ds as usize).map(drop)
}
