//! Lists all sets, with their blocked calls and undo adjustments.

use crate::layout::{Waiter, WaiterState};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::fork::Inside;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::types::error::Errno;
use crate::types::mechanism::Mechanism;
use crate::types::sem::{SemUndo, SemUsage, SemWaiter, SemaphoreStatus, SetStatus};
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl SetView<'_> {
    /// Returns the blocked calls of live threads in the order in which they blocked.
    fn live_waiters(&self) -> Vec<&'static Waiter> {
        let waits = |waiter: &&'static Waiter| waiter.state() == WaiterState::Waiting && self.is_waiter_alive(waiter);
        let mut all: Vec<_> = self.waiters().map(|(_, waiter)| waiter).filter(waits).collect();
        all.sort_by_key(|waiter| waiter.ticket.load(Relaxed));
        all
    }

    /// Returns the number of calls blocked on a semaphore, for a caller that cannot take the lock.
    /// The kernel counts a call only for the operation that blocks it.
    pub fn count_waiting_unlocked(&self, num: u32, zero: bool) -> u32 {
        self.live_waiters().into_iter().filter(|waiter| self.is_blocked_on(waiter, num, zero)).count() as u32
    }

    /// Returns the state of the set. Takes no lock, so parts of it can be of different instants.
    fn status(&self) -> SetStatus {
        let (id, _) = self.head();
        let waiting = self.live_waiters();
        let mut semaphores: Vec<SemaphoreStatus> = (0..self.nsems())
            .map(|num| {
                let word = self.stable_word(num).unwrap_or_default();
                SemaphoreStatus { value: word.value(), pid: word.pid() as i32, ..SemaphoreStatus::default() }
            })
            .collect();
        for op in waiting.iter().filter_map(|waiter| self.blocking_op(waiter)) {
            match semaphores.get_mut(usize::from(op.num)) {
                Some(semaphore) if op.op == 0 => semaphore.waiting_for_zero += 1,
                Some(semaphore) => semaphore.waiting += 1,
                None => {}
            }
        }
        let waiters = waiting.into_iter().map(|waiter| self.waiter_status(waiter)).collect();
        let probe = self.sets.core.participants.probe(None);
        let undo = self.records().filter(|(.., owner, _)| probe.holds_undo(*owner));
        let undo: Vec<SemUndo> = undo.map(|(record, _, owner, pid)| self.undo_status(record, owner, pid)).collect();
        let undo: Vec<SemUndo> = undo.into_iter().filter(|undo| !undo.adjustments.is_empty()).collect();
        let creator = ParticipantId::from_word(self.header().creator.load(Relaxed));
        let orphan = undo.is_empty() && self.header().waiting.load(Relaxed) == 0 && !probe.alive(creator);
        SetStatus { stat: self.stat(id), semaphores, waiters, undo, orphan }
    }

    /// Returns a blocked call as `quintet ls` shows it.
    fn waiter_status(&self, waiter: &'static Waiter) -> SemWaiter {
        let owner = ParticipantId { slot: waiter.slot.load(Relaxed), incarnation: waiter.incarnation.load(Relaxed) as u16 };
        let ops: Vec<_> = self.ops_of(waiter).iter().collect();
        SemWaiter {
            pid: waiter.pid.load(Relaxed) as i32,
            tid: waiter.tid.load(Relaxed) as i32,
            uid: self.sets.core.participants.uid_of(owner),
            pid_visible: self.sets.core.participants.shares_pids(owner),
            blocking: (waiter.blocking.load(Relaxed) as usize).min(ops.len().saturating_sub(1)),
            ops,
            since: waiter.since.load(Relaxed),
        }
    }

    /// Returns the adjustments of an undo record that are not 0.
    fn undo_status(&self, record: u32, owner: ParticipantId, pid: u32) -> SemUndo {
        let adjustment = |num: u32| {
            let adjustment = self.adjustment(record, num, self.stable_word(num)?);
            (adjustment != 0).then_some((num as u16, adjustment.clamp(i16::MIN.into(), i16::MAX.into()) as i16))
        };
        SemUndo {
            pid: pid as i32,
            uid: self.sets.core.participants.uid_of(owner),
            pid_visible: self.sets.core.participants.shares_pids(owner),
            adjustments: (0..self.nsems()).filter_map(adjustment).collect(),
        }
    }
}

impl Sets {
    /// Returns the state of all sets.
    pub fn sets(&self) -> Result<Vec<SetStatus>> {
        let _inside = Inside::enter();
        let mut all = Vec::new();
        for index in self.core.used_indexes(Mechanism::Sem) {
            if self.sem_stat_index(index.into(), true).is_ok()
                && let Ok(Some(set)) = self.at(index)
            {
                all.push(self.with_all_pages(set).status());
            }
        }
        Ok(all)
    }

    /// `SEM_INFO`.
    pub fn sem_usage(&self) -> Result<SemUsage> {
        let class = self.core.registry.class(Mechanism::Sem);
        Ok(SemUsage {
            sets: class.in_use.load(Relaxed),
            semaphores: class.sum.load(Relaxed) as u32,
            max_index: self.core.max_index(Mechanism::Sem),
        })
    }
}
