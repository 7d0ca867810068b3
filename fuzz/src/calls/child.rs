//! Calls of a child, which then is no more.
//!
//! `unsafe`: a fork in a process of one thread, and the end of its child; memory is attached where nothing is replaced.
#![allow(unsafe_code)]

use super::{LENGTHS, Run, pattern, same};
use crate::model::World;
use libc::SHM_RDONLY;
use quintet::{Errno, MsgFlags, Namespace, SemFlags, SemOp};
use std::time::Duration;

impl Run<'_> {
    /// A child that makes some calls and then is no more: what it holds is given back by whoever looks next.
    pub fn child(&mut self, byte: u8) {
        let (set, segment, queue) = (self.id(self.sets).1, self.id(self.segments).1, self.id(self.queues).1);
        let (ops, len) = (self.operations(set, SemFlags::UNDO), self.input.of(&LENGTHS));
        let killed = byte & 0x40 != 0;
        if self.children == 0 {
            return;
        }
        self.children -= 1;
        let deed = Deed { set, segment, queue, ops, data: pattern(byte, len) };
        // The parent's calls by which it has its attachments hold for the child, too.
        for (_, id, _) in self.holds.into_iter().flatten() {
            let segment = self.world.segments.table.get(id).expect("it is attached");
            segment.nattch += 1;
            (segment.atime, segment.lpid) = (true, self.world.caller.pid);
        }
        // SAFETY: there is one thread; the child ends below.
        match unsafe { libc::fork() } {
            0 => {
                let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let pid = std::process::id() as i32;
                    let real = deed.perform(self.ns(byte));
                    same("child", real, deed.model(&mut self.world, pid).0);
                }));
                if killed {
                    // SAFETY: the process's own.
                    unsafe { libc::raise(if judged.is_ok() { libc::SIGKILL } else { libc::SIGABRT }) };
                }
                // SAFETY: nothing runs after it.
                unsafe { libc::_exit(i32::from(judged.is_err())) };
            }
            -1 => panic!("no child can be had"),
            pid => {
                let mut status = 0;
                // SAFETY: a child of ours, and a place for its status.
                while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
                assert_eq!(status, if killed { libc::SIGKILL } else { 0 }, "the child has seen a difference");
                let (_, adjustments) = deed.model(&mut self.world, pid);
                self.bury(&deed, pid, &adjustments);
                // Who changes a set need not know of a death for 4 ms, and a segment that has ended with its last user keeps its index until somebody
                // looks (docs/semantics.md).
                self.ns(byte).sets().expect("they can be listed");
                self.ns(byte).segments().expect("they can be listed");
            }
        }
    }

    /// What a child's end does.
    fn bury(&mut self, deed: &Deed, pid: i32, adjustments: &[i32]) {
        if let Ok(set) = self.world.sets.get(deed.set) {
            set.undo(pid, adjustments);
        }
        let attached = self.world.segments.table.get(deed.segment).is_ok_and(|segment| segment.lpid == pid);
        let inherited = self.holds.iter().flatten().map(|(_, id, _)| *id);
        let mut ended: Vec<i32> = inherited.chain(attached.then_some(deed.segment)).collect();
        // In the order in which they are looked at: the memory of the first that goes is kept.
        ended.sort_by_key(|id| id & 0x7fff);
        for id in ended {
            self.world.shmdt(id, pid).expect("it was attached");
        }
    }
}

/// What a child does.
struct Deed {
    set: i32,
    segment: i32,
    queue: i32,
    ops: Vec<SemOp>,
    data: Vec<u8>,
}

/// What its calls give.
type Given = [Result<(), Errno>; 4];

impl Deed {
    fn perform(&self, ns: &Namespace) -> Given {
        let flags = MsgFlags::NOWAIT;
        [
            ns.semtimedop(self.set, &self.ops, Some(Duration::ZERO)),
            ns.msgsnd(self.queue, 3, &self.data, flags, None),
            // SAFETY: without SHM_REMAP nothing is replaced.
            unsafe { ns.shmat(self.segment, 0, SHM_RDONLY) }.map(drop),
            ns.semtimedop(self.set, &self.ops, Some(Duration::ZERO)),
        ]
    }

    /// What the model has it give, and what is left to be undone.
    fn model(&self, world: &mut World, pid: i32) -> (Given, Vec<i32>) {
        let nsems = world.sets.get(self.set).map_or(0, |set| set.values.len());
        let (parent, mut adjustments) = (world.caller.pid, vec![0; nsems]);
        world.caller.pid = pid;
        let mut semop = |world: &mut World| {
            let set = world.set_for(self.set, &self.ops)?;
            set.perform(&self.ops, pid, &mut adjustments)
        };
        let first = semop(world);
        let sent = world.msgsnd(self.queue, 3, &self.data, pid);
        let attached = world.shmat(self.segment, SHM_RDONLY, false);
        let second = semop(world);
        world.caller.pid = parent;
        ([first, sent, attached, second], adjustments)
    }
}
