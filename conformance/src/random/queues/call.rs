//! Calls of programs on queues, and their text.

use crate::MsgFlags;
use std::fmt;

/// Number of registers for identifiers, which all processes of a program share.
pub(super) const REGISTERS: usize = 4;

/// The text of a message: length and first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text {
    pub(super) len: usize,
    pub(super) first: u8,
}

impl Text {
    pub(super) fn bytes(self) -> Vec<u8> {
        (0..self.len).map(|i| self.first.wrapping_add((i * 7 + i / 256) as u8)).collect()
    }
}

/// A call. `register` holds an identifier. A `racy` call is made even if the kernel does not define
/// the order in which it lets blocked calls proceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Call {
    Get {
        register: usize,
        key: i32,
        flags: i32,
    },
    Send {
        register: usize,
        mtype: i64,
        text: Text,
        flags: MsgFlags,
    },
    Receive {
        register: usize,
        size: usize,
        mtype: i64,
        flags: MsgFlags,
        racy: bool,
    },
    Stat {
        register: usize,
    },
    StatIndex {
        register: usize,
        any: bool,
    },
    Set {
        register: usize,
        uid: u32,
        gid: u32,
        mode: u32,
        qbytes: u64,
        racy: bool,
    },
    /// `IPC_SET` with the current owner and mode.
    SetCapacity {
        register: usize,
        qbytes: u64,
        racy: bool,
    },
    Remove {
        register: usize,
    },
    Limits,
    Usage,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = |flags: &MsgFlags| {
            let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
            if names.is_empty() { "0".to_owned() } else { names.join("|") }
        };
        match self {
            Call::Get { register, key, flags } => write!(f, "r{register} = msgget({key}, {flags:#o})"),
            Call::Send { register, mtype, text: Text { len, first }, flags: bits } => {
                write!(f, "msgsnd(r{register}, type {mtype}, {len} bytes from {first}, {})", flags(bits))
            }
            Call::Receive { register, size, mtype, flags: bits, .. } => {
                write!(f, "msgrcv(r{register}, {size} bytes, type {mtype}, {})", flags(bits))
            }
            Call::Set { register, uid, gid, mode, qbytes, .. } => {
                write!(f, "IPC_SET(queue r{register}, {uid}, {gid}, {mode:#o}, {qbytes} bytes)")
            }
            Call::SetCapacity { register, qbytes, .. } => write!(f, "IPC_SET(queue r{register}, {qbytes} bytes)"),
            Call::Stat { register } => write!(f, "IPC_STAT(queue r{register})"),
            Call::Remove { register } => write!(f, "IPC_RMID(queue r{register})"),
            call => write!(f, "queues: {call:?}"),
        }
    }
}
