//! The kernel's message queues.
//!
//! # Safety
//!
//! Each system call gets numbers, or pointers to local values with the layout that the kernel
//! expects.
#![allow(unsafe_code)]

use crate::backend::kernel::call::{IPC_64, Kernel, check, number, set_sysctl};
use crate::backend::verbs::QueueVerbs;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::msg::{MessageStat, MsgFlags, MsgUsage, QueueRepair, QueueStat, QueueStatus};
use crate::types::permissions::Permissions;
use crate::types::whole_message::WholeMessage;
use std::ffi::c_long;
use std::mem::MaybeUninit;
use std::time::Duration;
use syscalls::{Sysno, syscall};

type Result<T> = std::result::Result<T, Errno>;

const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;
const TYPE: usize = size_of::<c_long>();

impl QueueVerbs for Kernel {
    fn msgget(&self, key: Key, flags: i32) -> Result<Id> {
        // SAFETY: numbers only.
        let id = check(unsafe { syscall!(Sysno::msgget, key.raw(), flags) })?;
        Id::from_raw(id as i32)
    }

    fn msgsnd(&self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        let flags = with_timeout(flags, timeout)?;
        let mut message = Vec::with_capacity(TYPE + data.len());
        message.extend_from_slice(&c_type(mtype)?.to_ne_bytes());
        message.extend_from_slice(data);
        // SAFETY: `message` holds a type and `data.len()` bytes.
        check(unsafe { syscall!(Sysno::msgsnd, id, message.as_ptr(), data.len(), flags.bits()) }).map(drop)
    }

    fn msgrcv(&self, id: i32, buffer: &mut [u8], mtype: i64, flags: MsgFlags, timeout: Option<Duration>) -> Result<(i64, usize)> {
        let flags = with_timeout(flags, timeout)?;
        let mut message = vec![0u8; TYPE + buffer.len()];
        let (at, size) = (message.as_mut_ptr(), buffer.len());
        // SAFETY: `message` has room for a type and `size` bytes.
        let ret = check(unsafe { syscall!(Sysno::msgrcv, id, at, size, c_type(mtype)?, flags.bits()) })?;
        let (mtype, text) = message.split_at(TYPE);
        let len = (ret as usize).min(size);
        buffer[..len].copy_from_slice(&text[..len]);
        Ok((c_long::from_ne_bytes(mtype.try_into().map_err(|_| Errno::IO)?) as i64, len))
    }

    /// Receives a message of any length. The kernel keeps a message that is longer than the buffer,
    /// and the next attempt has a larger buffer.
    fn take(&self, id: i32, mtype: i64, flags: MsgFlags, timeout: Option<Duration>) -> Result<(i64, Vec<u8>)> {
        let mut size = Limits::DEFAULT.msgmax as usize;
        loop {
            let mut buffer = vec![0; size];
            match self.msgrcv(id, &mut buffer, mtype, flags, timeout) {
                Err(Errno::TOOBIG) if size < WholeMessage::MAX_LEN => size = (2 * size).min(WholeMessage::MAX_LEN),
                received => {
                    let (mtype, len) = received?;
                    buffer.truncate(len);
                    buffer.shrink_to_fit();
                    return Ok((mtype, buffer));
                }
            }
        }
    }

    fn peek(&self, id: i32, see: &mut dyn FnMut(MessageStat, &[u8]) -> bool) -> Result<()> {
        let mut buffer = vec![0; number::<usize>("msgmax")?];
        for position in 0.. {
            match self.msgrcv(id, &mut buffer, position, MsgFlags::COPY | MsgFlags::NOWAIT | MsgFlags::NOERROR, None) {
                Ok((mtype, len)) => {
                    if !see(MessageStat { mtype, len, sender: 0, sent: 0 }, &buffer[..len]) {
                        break;
                    }
                }
                Err(Errno::NOMSG) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn msg_stat(&self, id: i32) -> Result<QueueStat> {
        read_stat(id, libc::IPC_STAT)
    }

    fn msg_stat_index(&self, index: i32, any: bool) -> Result<QueueStat> {
        read_stat(index, if any { MSG_STAT_ANY } else { MSG_STAT })
    }

    fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
        // SAFETY: zeroes are a valid msqid_ds.
        let mut ds: libc::msqid_ds = unsafe { MaybeUninit::zeroed().assume_init() };
        ds.msg_perm.uid = uid;
        ds.msg_perm.gid = gid;
        ds.msg_perm.mode = (mode & 0o777) as _;
        ds.msg_qbytes = capacity.try_into().map_err(|_| Errno::INVAL)?;
        msgctl(id, libc::IPC_SET, &raw mut ds).map(drop)
    }

    fn msg_remove(&self, id: i32) -> Result<()> {
        msgctl(id, libc::IPC_RMID, std::ptr::null_mut::<u8>()).map(drop)
    }

    fn msg_usage(&self) -> Result<MsgUsage> {
        // SAFETY: zeroes are a valid msginfo.
        let mut info: libc::msginfo = unsafe { MaybeUninit::zeroed().assume_init() };
        let max_index = msgctl(0, MSG_INFO, &raw mut info)?;
        Ok(MsgUsage {
            queues: info.msgpool as u32,
            messages: info.msgmap as u64,
            bytes: info.msgtql as u64,
            max_index: max_index as u32,
        })
    }

    fn queues(&self) -> Result<Vec<QueueStatus>> {
        let mut all = Vec::new();
        for index in 0..=self.msg_usage()?.max_index as i32 {
            let Ok(stat) = self.msg_stat_index(index, true) else { continue };
            all.push(QueueStatus { stat, oldest: None, types: Vec::new(), waiters: Vec::new(), orphan: false });
        }
        Ok(all)
    }

    fn msgget_with(&self, _key: Key, _flags: i32, _capacity: u64) -> Option<Result<Id>> {
        None
    }

    fn damaged_queues(&self, _repair: bool) -> Result<Vec<QueueRepair>> {
        Ok(Vec::new())
    }
}

/// Converts a timeout to flags. Fails with `EOPNOTSUPP` for a finite timeout, which the kernel
/// lacks.
fn with_timeout(flags: MsgFlags, timeout: Option<Duration>) -> Result<MsgFlags> {
    match timeout {
        None => Ok(flags),
        Some(Duration::ZERO) => Ok(flags | MsgFlags::NOWAIT),
        Some(_) if flags.contains(MsgFlags::NOWAIT) => Ok(flags),
        Some(_) => Err(Errno::OPNOTSUPP),
    }
}

fn c_type(mtype: i64) -> Result<c_long> {
    c_long::try_from(mtype).map_err(|_| Errno::INVAL)
}

fn msgctl<T>(id: i32, command: i32, buffer: *mut T) -> Result<i32> {
    // SAFETY: every caller passes null or a local of the type that `command` reads or fills.
    check(unsafe { syscall!(Sysno::msgctl, id, command | IPC_64, buffer) }).map(|r| r as i32)
}

fn read_stat(id: i32, command: i32) -> Result<QueueStat> {
    let mut ds = MaybeUninit::<libc::msqid_ds>::zeroed();
    let ret = msgctl(id, command, ds.as_mut_ptr())?;
    // SAFETY: zeroes are a valid msqid_ds, and the kernel has filled it.
    let ds = unsafe { ds.assume_init() };
    let id = if command == libc::IPC_STAT { id } else { ret };
    Ok(QueueStat {
        key: Key::new(crate::types::abi::key(&ds.msg_perm)),
        id: Id::from_raw(id)?,
        perm: Permissions {
            uid: ds.msg_perm.uid,
            gid: ds.msg_perm.gid,
            cuid: ds.msg_perm.cuid,
            cgid: ds.msg_perm.cgid,
            mode: u32::from(ds.msg_perm.mode) & 0o777,
        },
        stime: ds.msg_stime as i64,
        rtime: ds.msg_rtime as i64,
        ctime: ds.msg_ctime as i64,
        bytes: ds.__msg_cbytes as u64,
        messages: ds.msg_qnum as u64,
        capacity: ds.msg_qbytes as u64,
        lspid: ds.msg_lspid,
        lrpid: ds.msg_lrpid,
    })
}

/// Returns `limits` with the limits of queues.
pub fn read_limits(limits: Limits) -> Result<Limits> {
    Ok(Limits { msgmax: number("msgmax")?, msgmnb: number("msgmnb")?, msgmni: number("msgmni")?, ..limits })
}

/// Sets the limits of queues.
pub fn write_limits(limits: &Limits) -> Result<()> {
    set_sysctl("msgmax", &limits.msgmax.to_string())?;
    set_sysctl("msgmnb", &limits.msgmnb.to_string())?;
    set_sysctl("msgmni", &limits.msgmni.to_string())
}
