//! Programs over segments.

mod generate;
mod scene;

pub(super) use generate::{beginning, call, regimes};
pub(super) use scene::Segments;

use std::fmt;

/// Identifiers are kept in so many registers, which all processes of a program share.
pub(super) const REGISTERS: usize = 5;
/// Each process keeps so many addresses.
pub(super) const HOLDS: usize = 3;

/// Where to attach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Where the system chooses.
    Anywhere,
    /// At a page of the pad, and so many bytes further.
    Pad(usize, usize),
}

/// What a process does. `register` holds an identifier, `hold` an address.
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
        hold: usize,
    },
    Detach {
        hold: usize,
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
        hold: usize,
        offset: usize,
        byte: u8,
    },
    Peek {
        hold: usize,
        offset: usize,
    },
    Probe {
        hold: usize,
    },
    /// Unmaps a page of the pad where no segment is.
    Free {
        page: usize,
    },
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Get { register, key, size, flags } => write!(f, "r{register} = shmget({key}, {size}, {flags:#o})"),
            Call::Attach { register, place, flags, hold } => {
                write!(f, "a{hold} = shmat(r{register}, {place:?}, {flags:#o})")
            }
            Call::Stat { register } => write!(f, "IPC_STAT(segment r{register})"),
            Call::Set { register, uid, gid, mode } => write!(f, "IPC_SET(segment r{register}, {uid}, {gid}, {mode:#o})"),
            Call::Remove { register } => write!(f, "IPC_RMID(segment r{register})"),
            call => write!(f, "segments: {call:?}"),
        }
    }
}
