//! What is needed to explain who waits, and for whom.

use super::queue::{Peer, QueueWaitView};
use super::wait::{Busy, Holder, Holding, Last, Place, QueuePlace, WaitView};
use crate::commands::view::Who;
use crate::commands::view::queue::{QueueWaiterView, TypeView};
use crate::commands::view::set::{UndoView, WaiterView};
use crate::deadlock::{Graph, Reason, blocking, helps};
use crate::process;
use crate::users::Users;
use quintet::{Attacher, MsgWaiter, Namespace, QueueStatus, SemOp, SemUndo, SemWaiter, SetStatus};
use std::collections::BTreeMap;

/// All of it.
pub struct Scene<'a> {
    pub sets: &'a [SetStatus],
    pub queues: &'a [QueueStatus],
    users: &'a Users,
    pub graph: Graph,
    /// Who uses the namespace; `None` for the kernel's.
    participants: Option<Vec<Attacher>>,
}

impl<'a> Scene<'a> {
    pub fn new(ns: &Namespace, sets: &'a [SetStatus], queues: &'a [QueueStatus], users: &'a Users) -> Scene<'a> {
        let participants = ns.path().map(|_| ns.participants().unwrap_or_default());
        Scene { sets, queues, users, graph: Graph::new(sets, process::awaited_children), participants }
    }

    /// Whether a process of this PID namespace uses the namespace, if that can be known.
    pub fn uses_namespace(&self, pid: i32) -> Option<bool> {
        self.participants.as_ref().map(|all| all.iter().any(|p| p.pid_visible && p.pid == pid))
    }

    /// What a process of this PID namespace waits for.
    pub fn waits(&self, pid: i32) -> Waits {
        let sets = self.sets.iter().flat_map(|set| set.waiters.iter().enumerate().map(move |(place, w)| (set, place, w)));
        let sets = sets.filter(|(.., w)| w.pid_visible && w.pid == pid).map(|(set, place, _)| self.wait(set, place));
        let queues =
            self.queues.iter().flat_map(|queue| queue.waiters.iter().enumerate().map(move |(place, w)| (queue, place, w)));
        let queues =
            queues.filter(|(.., w)| w.pid_visible && w.pid == pid).map(|(queue, place, _)| self.queue_wait(queue, place));
        Waits { sets: sets.collect(), queues: queues.collect() }
    }

    /// What a process of this PID namespace has.
    pub fn holds(&self, pid: i32) -> Vec<Holding> {
        let all = self.sets.iter().flat_map(|set| set.undo.iter().map(move |undo| (set, undo)));
        all.filter(|(_, u)| u.pid_visible && u.pid == pid).map(|(set, undo)| self.holding(set, undo)).collect()
    }

    pub fn holding(&self, set: &SetStatus, undo: &SemUndo) -> Holding {
        Holding { id: set.stat.id.raw(), undo: UndoView::new(undo, self.users) }
    }

    /// The call at `place` in the row of those who wait for `set`.
    pub fn wait(&self, set: &SetStatus, place: usize) -> WaitView {
        let waiter = &set.waiters[place];
        let op = blocking(waiter);
        let semaphore = op.and_then(|op| set.semaphores.get(usize::from(op.num)));
        let same = |other: &&SemWaiter| op.is_some_and(|op| blocking(other).is_some_and(|o| o.num == op.num));
        WaitView {
            id: set.stat.id.raw(),
            key: set.stat.key.into(),
            waiter: WaiterView::new(waiter, self.users),
            num: op.map(|op| op.num),
            value: semaphore.map(|s| s.value),
            last: semaphore.and_then(|s| self.last(s.pid)),
            holders: op.map_or(Vec::new(), |op| self.holders(set, op)),
            before: set.waiters[..place].iter().filter(same).map(|w| WaiterView::new(w, self.users)).collect(),
            now: jiff::Timestamp::now().as_second(),
        }
    }

    /// Who changed a semaphore last, if anybody has.
    pub fn last(&self, pid: i32) -> Option<Last> {
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
        Some(Last { pid, running, command })
    }

    /// Who has units that `op` waits for.
    fn holders(&self, set: &SetStatus, op: &SemOp) -> Vec<Holder> {
        let held = set.undo.iter().flat_map(|undo| undo.adjustments.iter().map(move |adjustment| (undo, adjustment)));
        held.filter(|(_, (num, adjust))| *num == op.num && helps(*adjust, op))
            .map(|(undo, (_, adjust))| Holder {
                who: Who::new(undo.pid, undo.pid_visible, undo.uid, self.users),
                adjust: *adjust,
                busy: if undo.pid_visible { self.busy(undo.pid) } else { Busy::default() },
            })
            .collect()
    }

    /// What a process of this PID namespace waits for, in short.
    fn busy(&self, pid: i32) -> Busy {
        let semaphores = self.sets.iter().flat_map(|set| set.waiters.iter().map(move |waiter| (set.stat.id.raw(), waiter)));
        let semaphores = semaphores.filter(|(_, waiter)| waiter.pid_visible && waiter.pid == pid);
        let calls = self.queues.iter().flat_map(|queue| queue.waiters.iter().map(move |waiter| (queue.stat.id.raw(), waiter)));
        let calls = calls.filter(|(_, waiter)| waiter.pid_visible && waiter.pid == pid);
        let children = self.graph.links(pid).filter(|link| link.reason == Reason::Child);
        Busy {
            waits: semaphores.filter_map(|(id, waiter)| Some(Place { id, num: blocking(waiter)?.num })).collect(),
            queues: calls.map(|(id, waiter)| QueuePlace { id, wants: waiter.wants.into() }).collect(),
            children: children.map(|link| link.next).collect(),
        }
    }

    /// The call at `place` in the row of those who wait at `queue`.
    pub fn queue_wait(&self, queue: &QueueStatus, place: usize) -> QueueWaitView {
        let view = |waiter: &MsgWaiter| QueueWaiterView::new(waiter, self.users);
        let (stat, waiter) = (&queue.stat, view(&queue.waiters[place]));
        let sends = waiter.wants.sends();
        let others = || queue.waiters.iter().map(view);
        QueueWaitView {
            id: stat.id.raw(),
            key: stat.key.into(),
            messages: stat.messages,
            bytes: stat.bytes,
            capacity: stat.capacity,
            types: queue.types.iter().map(TypeView::from).collect(),
            last: self.peer(if sends { stat.lrpid } else { stat.lspid }),
            would_send: others().filter(|other| waiter.wants.is_served_by(&other.wants)).collect(),
            before: others().take(place).filter(|other| other.wants.sends() == sends).collect(),
            waiter,
            now: jiff::Timestamp::now().as_second(),
        }
    }

    /// Who sent or received last, if anybody has.
    pub fn peer(&self, pid: i32) -> Option<Peer> {
        let last = self.last(pid)?;
        let here = last.running == Some(true) && self.participants.is_some();
        Some(Peer { busy: if here { self.busy(pid) } else { Busy::default() }, last })
    }

    /// How many processes use the namespace besides this one, if none of them can go on unless another one lets it, because all their
    /// threads wait; `None` also if that cannot be known.
    pub fn all_wait(&self) -> Option<usize> {
        let mut threads: BTreeMap<i32, usize> = BTreeMap::new();
        let semaphores = self.sets.iter().flat_map(|set| set.waiters.iter().map(|w| (w.pid_visible, w.pid)));
        let queues = self.queues.iter().flat_map(|queue| queue.waiters.iter().map(|w| (w.pid_visible, w.pid)));
        for (_, pid) in semaphores.chain(queues).filter(|(visible, _)| *visible) {
            *threads.entry(pid).or_default() += 1;
        }
        let waits = |pid: i32| threads.get(&pid).is_some_and(|waiting| process::threads(pid) == Some(*waiting));
        let held_up = |pid: i32| {
            let children = process::awaited_children(pid);
            !children.is_empty() && process::threads(pid) == Some(1) && children.iter().all(|child| waits(*child))
        };
        let ours = std::process::id() as i32;
        let others: Vec<&Attacher> = self.participants.as_ref()?.iter().filter(|p| !(p.pid_visible && p.pid == ours)).collect();
        others.iter().all(|p| p.pid_visible && (waits(p.pid) || held_up(p.pid))).then_some(others.len())
    }
}

/// What somebody waits for.
#[derive(Default)]
pub struct Waits {
    pub sets: Vec<WaitView>,
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
