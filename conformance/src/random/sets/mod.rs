//! Programs over semaphore sets, whose calls may wait.

mod generate;
mod scene;

pub(super) use generate::{beginning, call, regimes};
pub(super) use scene::Sets;

use crate::SemOp;
use std::fmt;

/// Identifiers are kept in so many registers, which all processes of a program share.
pub(super) const REGISTERS: usize = 4;
/// A call has at most so many operations.
const OPERATIONS: usize = 4;
/// A set has at most so many semaphores.
const SEMAPHORES: usize = 4;

/// The operations of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ops {
    ops: [SemOp; OPERATIONS],
    count: usize,
}

impl Ops {
    fn list(&self) -> &[SemOp] {
        &self.ops[..self.count]
    }
}

/// What is asked of one semaphore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Question {
    Value,
    Pid,
    Ncnt,
    Zcnt,
}

/// What a process does. `register` holds an identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Call {
    Get {
        register: usize,
        key: i32,
        nsems: i32,
        flags: i32,
    },
    Operate {
        register: usize,
        ops: Ops,
    },
    /// With a timeout of nothing.
    Try {
        register: usize,
        ops: Ops,
    },
    /// By a thread that ends with it; all operations with `IPC_NOWAIT`.
    InThread {
        register: usize,
        ops: Ops,
    },
    SetValue {
        register: usize,
        num: i32,
        value: i32,
    },
    SetAll {
        register: usize,
        values: [u16; SEMAPHORES],
    },
    Ask {
        register: usize,
        num: i32,
        question: Question,
    },
    GetAll {
        register: usize,
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
    Limits,
    Usage,
}

impl fmt::Display for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.list().iter().map(ToString::to_string).collect();
        f.write_str(&words.join(", "))
    }
}

impl Call {
    /// Whether it tells something of a set, and changes nothing.
    pub(super) fn only_asks(self) -> bool {
        matches!(self, Call::Ask { .. } | Call::GetAll { .. } | Call::Stat { .. } | Call::StatIndex { .. })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Get { register, key, nsems, flags } => write!(f, "r{register} = semget({key}, {nsems}, {flags:#o})"),
            Call::Operate { register, ops } => write!(f, "semop(r{register}, {ops})"),
            Call::Try { register, ops } => write!(f, "semtimedop(r{register}, {ops}, 0 s)"),
            Call::InThread { register, ops } => write!(f, "in a thread: semop(r{register}, {ops})"),
            Call::SetValue { register, num, value } => write!(f, "SETVAL(r{register}, {num}, {value})"),
            Call::SetAll { register, values } => write!(f, "SETALL(r{register}, {values:?})"),
            Call::Set { register, uid, gid, mode } => write!(f, "IPC_SET(set r{register}, {uid}, {gid}, {mode:#o})"),
            Call::Stat { register } => write!(f, "IPC_STAT(set r{register})"),
            Call::Remove { register } => write!(f, "IPC_RMID(set r{register})"),
            call => write!(f, "sets: {call:?}"),
        }
    }
}
