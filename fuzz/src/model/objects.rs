//! The objects of the three classes.

use super::table::{Object, Perm, Table};

/// A segment.
pub struct Segment {
    /// Key, identifier, mode.
    pub perm: Perm,
    /// `shm_segsz`
    pub size: u64,
    /// `shm_nattch`
    pub nattch: u64,
    /// `SHM_DEST`
    pub dest: bool,
    /// `true` if it has been attached.
    pub atime: bool,
    /// `true` if it has been detached.
    pub dtime: bool,
    /// `shm_lpid`
    pub lpid: i32,
    /// Bytes that were written and are not 0.
    pub bytes: std::collections::BTreeMap<u64, u8>,
    /// The mode at creation, if its memory was reserved.
    pub(super) made_with: Option<u32>,
}

/// All segments.
#[derive(Default)]
pub struct Segments {
    /// By index.
    pub table: Table<Segment>,
    pub(super) kept: Option<u16>,
}

impl Object for Segment {
    fn perm(&self) -> &Perm {
        &self.perm
    }

    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

/// A set.
pub struct Set {
    /// Key, identifier, mode.
    pub perm: Perm,
    /// `semval`
    pub values: Vec<i32>,
    /// `sempid`
    pub pids: Vec<i32>,
    /// `semadj` of the calling process.
    pub adjustments: Vec<i32>,
    /// `true` after a `semop`. `None` if a process that has exited only attempted one with
    /// `SEM_UNDO`.
    pub otime: Option<bool>,
}

/// All sets.
pub type Sets = Table<Set>;

impl Object for Set {
    fn perm(&self) -> &Perm {
        &self.perm
    }

    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its type.
    pub mtype: i64,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A queue.
pub struct Queue {
    /// Key, identifier, mode.
    pub perm: Perm,
    /// In order of sending.
    pub messages: Vec<Message>,
    /// `msg_qbytes`
    pub capacity: u64,
    /// `msg_lspid`; 0 if nothing was sent.
    pub lspid: i32,
    /// `msg_lrpid`; 0 if nothing was received.
    pub lrpid: i32,
}

/// All queues.
pub type Queues = Table<Queue>;

impl Object for Queue {
    fn perm(&self) -> &Perm {
        &self.perm
    }

    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}
