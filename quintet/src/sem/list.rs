//! The lists of sets, of those who wait, and of what will be taken back.

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
    /// The waiting calls of the living, the longest first.
    fn living_waiters(&self) -> Vec<&'static Waiter> {
        let waits = |waiter: &&'static Waiter| waiter.state() == WaiterState::Waiting && self.lives(waiter);
        let mut all: Vec<_> = self.waiters().map(|(_, waiter)| waiter).filter(waits).collect();
        all.sort_by_key(|waiter| waiter.ticket.load(Relaxed));
        all
    }

    /// How many wait for a semaphore, counted without the lock.
    pub fn count_stuck(&self, num: u32, zero: bool) -> u32 {
        self.living_waiters().into_iter().filter(|waiter| self.is_stuck(waiter, num, zero)).count() as u32
    }

    fn status(&self) -> SetStatus {
        let (id, _) = self.head();
        let waiting = self.living_waiters();
        let mut semaphores: Vec<SemaphoreStatus> = (0..self.nsems())
            .map(|num| {
                let word = self.whole(num).unwrap_or_default();
                SemaphoreStatus { value: word.value(), pid: word.pid() as i32, ..SemaphoreStatus::default() }
            })
            .collect();
        for op in waiting.iter().filter_map(|waiter| self.stuck_at(waiter)) {
            match semaphores.get_mut(usize::from(op.num)) {
                Some(semaphore) if op.op == 0 => semaphore.waiting_for_zero += 1,
                Some(semaphore) => semaphore.waiting += 1,
                None => {}
            }
        }
        let waiters = waiting.into_iter().map(|waiter| self.waiter_status(waiter)).collect();
        let living = self.sets.core.participants.probe(None);
        let undo = self.records().filter(|(.., who, _)| living.holds_undo(*who));
        let undo: Vec<SemUndo> = undo.map(|(record, _, who, pid)| self.undo_status(record, who, pid)).collect();
        let undo: Vec<SemUndo> = undo.into_iter().filter(|undo| !undo.adjustments.is_empty()).collect();
        let creator = ParticipantId::from_word(self.header().creator.load(Relaxed));
        let orphan = undo.is_empty() && self.header().waiting.load(Relaxed) == 0 && !living.alive(creator);
        SetStatus { stat: self.stat(id), semaphores, waiters, undo, orphan }
    }

    fn waiter_status(&self, waiter: &'static Waiter) -> SemWaiter {
        let who = ParticipantId { slot: waiter.slot.load(Relaxed), incarnation: waiter.incarnation.load(Relaxed) as u16 };
        let ops: Vec<_> = self.ops_of(waiter).iter().collect();
        SemWaiter {
            pid: waiter.pid.load(Relaxed) as i32,
            tid: waiter.tid.load(Relaxed) as i32,
            uid: self.sets.core.participants.uid_of(who),
            pid_visible: self.sets.core.participants.shares_pids(who),
            blocking: (waiter.blocking.load(Relaxed) as usize).min(ops.len().saturating_sub(1)),
            ops,
            since: waiter.since.load(Relaxed),
        }
    }

    fn undo_status(&self, record: u32, who: ParticipantId, pid: u32) -> SemUndo {
        let adjustment = |num: u32| {
            let adjustment = self.adjustment(record, num, self.whole(num)?);
            (adjustment != 0).then_some((num as u16, adjustment.clamp(i16::MIN.into(), i16::MAX.into()) as i16))
        };
        SemUndo {
            pid: pid as i32,
            uid: self.sets.core.participants.uid_of(who),
            pid_visible: self.sets.core.participants.shares_pids(who),
            adjustments: (0..self.nsems()).filter_map(adjustment).collect(),
        }
    }
}

impl Sets {
    /// All sets.
    pub fn sets(&self) -> Result<Vec<SetStatus>> {
        let _inside = Inside::enter();
        let mut all = Vec::new();
        for index in self.core.used_indexes(Mechanism::Sem) {
            if self.sem_stat_index(index.into(), true).is_ok()
                && let Ok(Some(set)) = self.at(index)
            {
                all.push(self.to_look_at(set).status());
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
