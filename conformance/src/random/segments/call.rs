//! Calls of programs on segments, and their text.

use std::fmt;

/// Number of registers for identifiers, which all processes of a program share.
pub(super) const REGISTERS: usize = 5;
/// Number of addresses that each process keeps.
pub(in crate::random) const ADDRESSES: usize = 3;

/// Where to attach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The kernel chooses.
    Anywhere,
    /// At a page of the pad, plus an offset in bytes.
    Pad(usize, usize),
}

/// A call. `register` holds an identifier, `address` selects an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Call {
    Get {
        register: usize,
        key: i32,
        size: u64,
        flags: i32,
    },
    Attach {
        register: usize,
        place: Place,
        flags: i32,
        address: usize,
    },
    Detach {
        address: usize,
    },
    DetachPad {
        page: usize,
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
    },
    Remove {
        register: usize,
    },
    Lock {
        register: usize,
    },
    Unlock {
        register: usize,
    },
    Info,
    Usage,
    List,
    Poke {
        address: usize,
        offset: usize,
        byte: u8,
    },
    Peek {
        address: usize,
        offset: usize,
    },
    Probe {
        address: usize,
    },
    /// Unmaps a page of the pad that no segment uses.
    Free {
        page: usize,
    },
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Get { register, key, size, flags } => write!(f, "r{register} = shmget({key}, {size}, {flags:#o})"),
            Call::Attach { register, place, flags, address } => {
                write!(f, "a{address} = shmat(r{register}, {place:?}, {flags:#o})")
            }
            Call::Stat { register } => write!(f, "IPC_STAT(segment r{register})"),
            Call::Set { register, uid, gid, mode } => write!(f, "IPC_SET(segment r{register}, {uid}, {gid}, {mode:#o})"),
            Call::Remove { register } => write!(f, "IPC_RMID(segment r{register})"),
            call => write!(f, "segments: {call:?}"),
        }
    }
}
