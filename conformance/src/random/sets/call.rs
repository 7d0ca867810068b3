//! Calls of programs on sets, and their text.

use crate::SemOp;
use std::fmt;

/// Number of registers for identifiers, which all processes of a program share.
pub(super) const REGISTERS: usize = 4;
/// Maximal number of operations in a call.
pub(super) const OPERATIONS: usize = 4;
/// Maximal number of semaphores in a set.
pub(super) const SEMAPHORES: usize = 4;

/// The operations of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ops {
    pub(super) ops: [SemOp; OPERATIONS],
    pub(super) count: usize,
}

impl Ops {
    pub(super) fn list(&self) -> &[SemOp] {
        &self.ops[..self.count]
    }
}

/// A query on one semaphore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Question {
    Value,
    Pid,
    Ncnt,
    Zcnt,
}

/// A call. `register` holds an identifier.
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
    /// With a timeout of 0.
    Try {
        register: usize,
        ops: Ops,
    },
    /// In a thread that ends afterwards; all operations have `IPC_NOWAIT`.
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
    /// Returns `true` if the call reads a set and changes nothing.
    pub(in crate::random) fn is_query(self) -> bool {
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
