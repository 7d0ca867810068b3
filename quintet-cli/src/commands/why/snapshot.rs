//! A snapshot of a namespace: its sets, its queues, and the processes that wait for each other.

use super::queue_wait::{LastPeer, QueueWaitView};
use super::semaphore_wait::{Holder, LastProcess, OwnWaits, QueueRef, SemaphoreRef, SemaphoreWaitView, SetUndo};
use crate::deadlock::{Reason, WaitGraph, blocking_op, helps};
use crate::system::process;
use crate::system::users::Users;
use crate::view::process::ProcessView;
use crate::view::queue::{QueueWaiterView, TypeView};
use crate::view::set::{SetWaiterView, UndoView};
use quintet::{Attacher, MsgWaiter, Namespace, QueueStatus, SemOp, SemUndo, SemWaiter, SetStatus};
use std::collections::BTreeMap;

pub struct Snapshot<'a> {
    pub sets: &'a [SetStatus],
    pub queues: &'a [QueueStatus],
    users: &'a Users,
    pub graph: WaitGraph,
    /// The processes that use the namespace. `None` for the kernel's namespace.
    participants: Option<Vec<Attacher>>,
}

impl<'a> Snapshot<'a> {
    pub fn new(ns: &Namespace, sets: &'a [SetStatus], queues: &'a [QueueStatus], users: &'a Users) -> Snapshot<'a> {
        let participants = ns.path().map(|_| ns.participants().unwrap_or_default());
        Snapshot { sets, queues, users, graph: WaitGraph::new(sets, process::awaited_children), participants }
    }

    /// Returns whether a process of this PID namespace uses the namespace, if that is known.
    pub fn uses_namespace(&self, pid: i32) -> Option<bool> {
        self.participants.as_ref().map(|all| all.iter().any(|p| p.pid_visible && p.pid == pid))
    }

    /// Returns the blocked calls of a process of this PID namespace.
    pub fn waits(&self, pid: i32) -> Waits {
        let sets = self.sets.iter().flat_map(|set| set.waiters.iter().enumerate().map(move |(place, w)| (set, place, w)));
        let sets = sets.filter(|(.., w)| w.pid_visible && w.pid == pid).map(|(set, place, _)| self.semaphore_wait(set, place));
        let queues =
            self.queues.iter().flat_map(|queue| queue.waiters.iter().enumerate().map(move |(place, w)| (queue, place, w)));
        let queues =
            queues.filter(|(.., w)| w.pid_visible && w.pid == pid).map(|(queue, place, _)| self.queue_wait(queue, place));
        Waits { sets: sets.collect(), queues: queues.collect() }
    }

    /// Returns the undo adjustments of a process of this PID namespace.
    pub fn holds(&self, pid: i32) -> Vec<SetUndo> {
        let all = self.sets.iter().flat_map(|set| set.undo.iter().map(move |undo| (set, undo)));
        all.filter(|(_, u)| u.pid_visible && u.pid == pid).map(|(set, undo)| self.set_undo(set, undo)).collect()
    }

    pub fn set_undo(&self, set: &SetStatus, undo: &SemUndo) -> SetUndo {
        SetUndo { id: set.stat.id.raw(), undo: UndoView::new(undo, self.users) }
    }

    /// Returns the blocked call at index `place` of the waiters of `set`.
    pub fn semaphore_wait(&self, set: &SetStatus, place: usize) -> SemaphoreWaitView {
        let waiter = &set.waiters[place];
        let op = blocking_op(waiter);
        let semaphore = op.and_then(|op| set.semaphores.get(usize::from(op.num)));
        let waits_for_same = |other: &&SemWaiter| op.is_some_and(|op| blocking_op(other).is_some_and(|o| o.num == op.num));
        let before = set.waiters[..place].iter().filter(waits_for_same);
        SemaphoreWaitView {
            id: set.stat.id.raw(),
            key: set.stat.key.into(),
            waiter: SetWaiterView::new(waiter, self.users),
            num: op.map(|op| op.num),
            value: semaphore.map(|s| s.value),
            last: semaphore.and_then(|s| self.last_process(s.pid)),
            holders: op.map_or(Vec::new(), |op| self.holders(set, op)),
            before: before.map(|w| SetWaiterView::new(w, self.users)).collect(),
            now: jiff::Timestamp::now().as_second(),
        }
    }

    /// Returns the process that last used an object. `pid` is 0 if there is none.
    pub fn last_process(&self, pid: i32) -> Option<LastProcess> {
        if pid == 0 {
            return None;
        }
        let running = match &self.participants {
            None => Some(process::exists(pid)),
            Some(all) => match all.iter().find(|p| p.pid == pid) {
                None => Some(false),
                Some(participant) => participant.pid_visible.then_some(true),
            },
        };
        let command = if running == Some(true) { process::command(pid) } else { None };
        Some(LastProcess { pid, running, command })
    }

    /// Returns the processes that hold what `op` waits for.
    fn holders(&self, set: &SetStatus, op: &SemOp) -> Vec<Holder> {
        let held = set.undo.iter().flat_map(|undo| undo.adjustments.iter().map(move |adjustment| (undo, adjustment)));
        held.filter(|(_, (num, adjust))| *num == op.num && helps(*adjust, op))
            .map(|(undo, (_, adjust))| Holder {
                process: ProcessView::new(undo.pid, undo.pid_visible, undo.uid, self.users),
                adjust: *adjust,
                own_waits: if undo.pid_visible { self.own_waits(undo.pid) } else { OwnWaits::default() },
            })
            .collect()
    }

    /// Returns what a process of this PID namespace waits for, in short.
    fn own_waits(&self, pid: i32) -> OwnWaits {
        let semaphores = self.sets.iter().flat_map(|set| set.waiters.iter().map(move |waiter| (set.stat.id.raw(), waiter)));
        let semaphores = semaphores.filter(|(_, waiter)| waiter.pid_visible && waiter.pid == pid);
        let queues = self.queues.iter().flat_map(|queue| queue.waiters.iter().map(move |waiter| (queue.stat.id.raw(), waiter)));
        let queues = queues.filter(|(_, waiter)| waiter.pid_visible && waiter.pid == pid);
        let children = self.graph.edges(pid).filter(|edge| edge.reason == Reason::Child);
        OwnWaits {
            semaphores: semaphores.filter_map(|(id, waiter)| Some(SemaphoreRef { id, num: blocking_op(waiter)?.num })).collect(),
            queues: queues.map(|(id, waiter)| QueueRef { id, call: waiter.wants.into() }).collect(),
            children: children.map(|edge| edge.next).collect(),
        }
    }

    /// Returns the blocked call at index `place` of the waiters of `queue`.
    pub fn queue_wait(&self, queue: &QueueStatus, place: usize) -> QueueWaitView {
        let view = |waiter: &MsgWaiter| QueueWaiterView::new(waiter, self.users);
        let (stat, waiter) = (&queue.stat, view(&queue.waiters[place]));
        let sends = waiter.call.sends();
        let others = || queue.waiters.iter().map(view);
        QueueWaitView {
            id: stat.id.raw(),
            key: stat.key.into(),
            messages: stat.messages,
            bytes: stat.bytes,
            capacity: stat.capacity,
            types: queue.types.iter().map(TypeView::from).collect(),
            last: self.last_peer(if sends { stat.lrpid } else { stat.lspid }),
            would_send: others().filter(|other| waiter.call.is_served_by(&other.call)).collect(),
            before: others().take(place).filter(|other| other.call.sends() == sends).collect(),
            waiter,
            now: jiff::Timestamp::now().as_second(),
        }
    }

    /// Returns the process that last sent or received, and what it waits for.
    pub fn last_peer(&self, pid: i32) -> Option<LastPeer> {
        let last = self.last_process(pid)?;
        let is_participant = last.running == Some(true) && self.participants.is_some();
        Some(LastPeer { own_waits: if is_participant { self.own_waits(pid) } else { OwnWaits::default() }, last })
    }

    /// Returns the number of other processes that use the namespace, if all their threads are
    /// blocked.
    ///
    /// Returns `None` if one of them can run, or if that is unknown.
    pub fn all_blocked(&self) -> Option<usize> {
        let mut blocked: BTreeMap<i32, usize> = BTreeMap::new();
        let sets = self.sets.iter().flat_map(|set| set.waiters.iter().map(|w| (w.pid_visible, w.pid)));
        let queues = self.queues.iter().flat_map(|queue| queue.waiters.iter().map(|w| (w.pid_visible, w.pid)));
        for (_, pid) in sets.chain(queues).filter(|(visible, _)| *visible) {
            *blocked.entry(pid).or_default() += 1;
        }
        let is_blocked = |pid: i32| blocked.get(&pid).is_some_and(|threads| process::threads(pid) == Some(*threads));
        let waits_for_blocked_children = |pid: i32| {
            let children = process::awaited_children(pid);
            !children.is_empty() && process::threads(pid) == Some(1) && children.iter().all(|child| is_blocked(*child))
        };
        let own = std::process::id() as i32;
        let others: Vec<&Attacher> = self.participants.as_ref()?.iter().filter(|p| !(p.pid_visible && p.pid == own)).collect();
        let all = others.iter().all(|p| p.pid_visible && (is_blocked(p.pid) || waits_for_blocked_children(p.pid)));
        all.then_some(others.len())
    }
}

/// The blocked calls of a process.
#[derive(Default)]
pub struct Waits {
    pub sets: Vec<SemaphoreWaitView>,
    pub queues: Vec<QueueWaitView>,
}

impl Waits {
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.queues.is_empty()
    }

    pub fn extend(&mut self, other: Waits) {
        self.sets.extend(other.sets);
        self.queues.extend(other.queues);
    }
}
