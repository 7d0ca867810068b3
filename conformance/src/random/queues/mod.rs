//! Programs over message queues, whose calls may wait.
//!
//! Where a call would let several others go on at once, the kernel does not say in
//! which order they come to it: receivers after `IPC_SET`, and senders for whom each by himself there is room. Such a call is left out, or it is
//! the last of its program, after which only that is told which holds whoever was first.

mod generate;
mod scene;

pub(super) use generate::{beginning, call, regimes};
pub(super) use scene::{Queues, for_all, take_answers, tell_what_holds};

use crate::MsgFlags;
use std::fmt;

/// Identifiers are kept in so many registers, which all processes of a program share.
pub(super) const REGISTERS: usize = 4;

/// The bytes of a message: so many, which count on from one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text {
    len: usize,
    first: u8,
}

impl Text {
    fn bytes(self) -> Vec<u8> {
        (0..self.len).map(|i| self.first.wrapping_add((i * 7 + i / 256) as u8)).collect()
    }
}

/// What a process does. `register` holds an identifier; `bold` calls are made also where others would go on in any order.
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
        bold: bool,
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
        bold: bool,
    },
    /// `IPC_SET` that leaves owner and mode as they are.
    SetCapacity {
        register: usize,
        qbytes: u64,
        bold: bool,
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
