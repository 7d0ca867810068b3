//! Calls of a child that then exits or is killed.
//!
//! `unsafe`: a fork in a process with one thread, the exit of the child, and attachments where
//! nothing is replaced.
#![allow(unsafe_code)]

use super::{LENGTHS, Run, compare, pattern};
use crate::model::Model;
use libc::SHM_RDONLY;
use quintet::{Errno, MsgFlags, Namespace, SemFlags, SemOp};
use std::time::Duration;

impl Run<'_> {
    /// Forks a child that makes some calls and ends. The next call reclaims what it held.
    pub fn child(&mut self, byte: u8) {
        let (set, segment, queue) = (self.id(self.sets).1, self.id(self.segments).1, self.id(self.queues).1);
        let (ops, len) = (self.operations(set, SemFlags::UNDO), self.input.of(&LENGTHS));
        let killed = byte & 0x40 != 0;
        if self.children == 0 {
            return;
        }
        self.children -= 1;
        let calls = ChildCalls { set, segment, queue, ops, data: pattern(byte, len) };
        // The child inherits the parent's attachments.
        for (_, id, _) in self.attachments.into_iter().flatten() {
            let segment = self.model.segments.table.get(id).expect("it is attached");
            segment.nattch += 1;
            (segment.atime, segment.lpid) = (true, self.model.caller.pid);
        }
        // SAFETY: there is one thread; the child ends below.
        match unsafe { libc::fork() } {
            0 => {
                let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let pid = std::process::id() as i32;
                    let real = calls.perform(self.ns(byte));
                    compare("child", real, calls.model(&mut self.model, pid).0);
                }));
                if killed {
                    // SAFETY: a signal to the calling process.
                    unsafe { libc::raise(if verdict.is_ok() { libc::SIGKILL } else { libc::SIGABRT }) };
                }
                // SAFETY: nothing runs after it.
                unsafe { libc::_exit(i32::from(verdict.is_err())) };
            }
            -1 => panic!("fork failed"),
            pid => {
                let mut status = 0;
                // SAFETY: a child of this process, and a local for its status.
                while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
                assert_eq!(status, if killed { libc::SIGKILL } else { 0 }, "the child found a difference");
                let (_, adjustments) = calls.model(&mut self.model, pid);
                self.apply_exit(&calls, pid, &adjustments);
                // A call that changes a set need not notice an exit for 4 ms. A segment that ended
                // with its last user keeps its index until the next call that lists
                // (docs/semantics.md).
                self.ns(byte).sets().expect("listing does not fail");
                self.ns(byte).segments().expect("listing does not fail");
            }
        }
    }

    /// Applies the exit of a child to the model.
    fn apply_exit(&mut self, calls: &ChildCalls, pid: i32, adjustments: &[i32]) {
        if let Ok(set) = self.model.sets.get(calls.set) {
            set.undo(pid, adjustments);
        }
        let attached = self.model.segments.table.get(calls.segment).is_ok_and(|segment| segment.lpid == pid);
        let inherited = self.attachments.iter().flatten().map(|(_, id, _)| *id);
        let mut ended: Vec<i32> = inherited.chain(attached.then_some(calls.segment)).collect();
        // In the order in which the library checks them: the memory of the first one is kept.
        ended.sort_by_key(|id| id & 0x7fff);
        for id in ended {
            self.model.shmdt(id, pid).expect("it was attached");
        }
    }
}

/// The calls of a child.
struct ChildCalls {
    set: i32,
    segment: i32,
    queue: i32,
    ops: Vec<SemOp>,
    data: Vec<u8>,
}

/// The results of the calls.
type Results = [Result<(), Errno>; 4];

impl ChildCalls {
    fn perform(&self, ns: &Namespace) -> Results {
        let flags = MsgFlags::NOWAIT;
        [
            ns.semtimedop(self.set, &self.ops, Some(Duration::ZERO)),
            ns.msgsnd(self.queue, 3, &self.data, flags, None),
            // SAFETY: without SHM_REMAP nothing is replaced.
            unsafe { ns.shmat(self.segment, 0, SHM_RDONLY) }.map(drop),
            ns.semtimedop(self.set, &self.ops, Some(Duration::ZERO)),
        ]
    }

    /// Returns the results by the model, and the adjustments to undo.
    fn model(&self, model: &mut Model, pid: i32) -> (Results, Vec<i32>) {
        let nsems = model.sets.get(self.set).map_or(0, |set| set.values.len());
        let (parent, mut adjustments) = (model.caller.pid, vec![0; nsems]);
        model.caller.pid = pid;
        let mut semop = |model: &mut Model| {
            let set = model.set_for(self.set, &self.ops)?;
            set.perform(&self.ops, pid, &mut adjustments)
        };
        let first = semop(model);
        let sent = model.msgsnd(self.queue, 3, &self.data, pid);
        let attached = model.shmat(self.segment, SHM_RDONLY, false);
        let second = semop(model);
        model.caller.pid = parent;
        ([first, sent, attached, second], adjustments)
    }
}
