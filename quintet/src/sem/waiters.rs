//! The queues of blocked calls, and how they proceed.
//!
//! As in the kernel, there are two queues: calls that alter the set, and calls that only wait for
//! zero. A process that changes a value performs every blocked call that can proceed, before it
//! releases the lock. It tries the calls that wait for zero first, then the altering calls in their
//! order. After a success that may help an earlier call, it starts again.
//!
//! A queue entry is a [`Waiter`] in a page of the set. Its state word decides what the entry is
//! (`sync/waiter.rs`). The queues only link entries together. After a holder of the lock has died,
//! [`SetGuard::salvage_queues`] rebuilds them from the states and tickets.
//!
//! Invariant: while a call is blocked, the words of its operations, up to the one that blocks it,
//! are slow. No operation without the lock can change them.

use crate::layout::{JournalKind, Page, PageKind, WAITERS_PER_PAGE, Waiter, WaiterState};
use crate::object::mapping::MappedObject;
use crate::sem::lock::{Ops, SetGuard, Staged, pack_op};
use crate::sem::mapping::SetView;
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::waiter;
use crate::sys::{clock, futex, ids};
use crate::types::error::Errno;
use crate::types::sem::SemOp;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

/// The indexes of the queues in the header.
const ALTERING: usize = 0;
const FOR_ZERO: usize = 1;

impl SetView<'_> {
    /// Returns the entry of a blocked call by its number. The number 0 names none.
    pub fn waiter(&self, number: u32) -> Result<&'static Waiter> {
        let number = number.checked_sub(1).ok_or(Errno::INVAL)?;
        let page = self.page(number / WAITERS_PER_PAGE)?;
        if page.kind() != PageKind::Waiters {
            return Err(Errno::INVAL);
        }
        Ok(page.waiter(number % WAITERS_PER_PAGE))
    }

    /// Returns the operations of a blocked call.
    pub fn ops_of(&self, waiter: &'static Waiter) -> Ops<'static> {
        let page = waiter.ops_page.load(Relaxed).checked_sub(1);
        let page = page.and_then(|number| self.page(number).ok()).filter(|page| page.kind() == PageKind::Ops);
        Ops::Waiting(waiter, page)
    }

    /// Returns the operation that blocks a call.
    pub fn blocking_op(&self, waiter: &'static Waiter) -> Option<SemOp> {
        let (ops, blocking) = (self.ops_of(waiter), waiter.blocking.load(Relaxed) as usize);
        (blocking < ops.len()).then(|| ops.get(blocking))
    }

    /// Returns `true` if the call waits for the semaphore to become zero (`zero`), or to grow.
    pub fn is_blocked_on(&self, waiter: &'static Waiter, num: u32, zero: bool) -> bool {
        let waits = |op: SemOp| u32::from(op.num) == num && if zero { op.op == 0 } else { op.op < 0 };
        waiter.state() == WaiterState::Waiting && self.blocking_op(waiter).is_some_and(waits)
    }

    /// Returns the pages of the set, up to the first that cannot be mapped.
    pub fn all_pages(&self) -> impl Iterator<Item = (u32, Page)> + '_ {
        (0..self.pages()).map_while(|number| Some((number, self.page(number).ok()?)))
    }

    /// Returns all entries, in use or not, in the order of the pages.
    pub fn waiters(&self) -> impl Iterator<Item = (u32, &'static Waiter)> + '_ {
        self.all_pages().filter(|(_, page)| page.kind() == PageKind::Waiters).flat_map(|(number, page)| {
            (0..WAITERS_PER_PAGE).map(move |nth| (number * WAITERS_PER_PAGE + nth + 1, page.waiter(nth)))
        })
    }

    /// Returns `true` if the thread of a blocked call is alive, as far as the caller can tell.
    pub fn is_waiter_alive(&self, waiter: &Waiter) -> bool {
        let owner = ParticipantId { slot: waiter.slot.load(Relaxed), incarnation: waiter.incarnation.load(Relaxed) as u16 };
        let alive = self.sets.core.participants.probe(None).alive(owner);
        let (pid, tid) = (waiter.pid.load(Relaxed), waiter.tid.load(Relaxed));
        alive && (!self.sets.core.participants.shares_pids(owner) || ids::thread_exists(pid, tid))
    }

    /// Frees an entry, and the page of its operations. The call's own thread does this, or the
    /// holder of the lock if the thread has died.
    pub fn release_waiter(&self, waiter: &Waiter) {
        if let Some(page) = waiter.ops_page.swap(0, Relaxed).checked_sub(1).and_then(|number| self.page(number).ok())
            && page.kind() == PageKind::Ops
        {
            page.set_kind(PageKind::Free);
        }
        // This store frees the entry. A crash before it leaves an answered or abandoned entry
        // without its page of operations, and a later holder of the lock frees that entry.
        waiter::free(&waiter.state);
    }
}

impl SetGuard<'_> {
    pub fn waiter(&self, number: u32) -> Result<&'static Waiter> {
        self.set.waiter(number)
    }

    /// Returns the greatest number of entries in a queue. A peer can link entries in a cycle, so
    /// each walk counts its steps.
    fn max_steps(&self) -> u32 {
        self.set.pages().saturating_mul(WAITERS_PER_PAGE)
    }

    /// Returns the calls of a queue, in their order.
    fn queue(&self, queue: usize) -> impl Iterator<Item = (u32, &'static Waiter)> + '_ {
        let mut at = self.set.header().queues[queue][0].load(Relaxed);
        let mut last = 0;
        std::iter::from_fn(move || {
            let number = at;
            let waiter = self.waiter(number).inspect_err(|_| self.mark_damaged(number != 0)).ok()?;
            at = waiter.next.load(Relaxed);
            // Tickets grow along a queue, so a walk ends even if a peer has linked entries in a
            // cycle.
            let ticket = waiter.ticket.load(Relaxed);
            (ticket > std::mem::replace(&mut last, ticket)).then_some((number, waiter))
        })
    }

    /// Returns the index of the queue for a call with these operations.
    pub fn queue_of(ops: Ops<'_>) -> usize {
        if ops.alter() { ALTERING } else { FOR_ZERO }
    }

    /// Appends a call to a queue, and counts it.
    fn append(&self, queue: usize, number: u32, waiter: &Waiter) {
        let [first, last] = &self.set.header().queues[queue];
        waiter.next.store(0, Relaxed);
        match self.waiter(last.load(Relaxed)) {
            Ok(before) if first.load(Relaxed) != 0 => before.next.store(number, Relaxed),
            _ => first.store(number, Relaxed),
        }
        last.store(number, Relaxed);
        // A process without the lock reads this counter (`SETVAL`, `GETNCNT`). A crash before the
        // store leaves a linked call that is not counted; `salvage_queues` counts again.
        self.set.header().waiting.fetch_add(1, SeqCst);
        self.count_for_zero(queue);
    }

    /// Counts the calls that wait for several zeroes.
    fn count_for_zero(&self, queue: usize) {
        if queue == FOR_ZERO {
            let several = self.queue(FOR_ZERO).filter(|(_, waiter)| self.set.ops_of(waiter).len() > 1).count();
            self.set.header().for_zero.store(several as u32, SeqCst);
        }
    }

    /// Removes a call from its queue. Does nothing if the call is not in the queue.
    pub fn unlink(&self, queue: usize, number: u32, waiter: &'static Waiter) {
        let [first, last] = &self.set.header().queues[queue];
        let before = self.queue(queue).take_while(|(at, _)| *at != number).last();
        let next = waiter.next.load(Relaxed);
        match before {
            // The call is not in the queue.
            Some((_, before)) if before.next.load(Relaxed) != number => return,
            Some((_, before)) => before.next.store(next, Relaxed),
            None if first.load(Relaxed) == number => first.store(next, Relaxed),
            None => return,
        }
        if last.load(Relaxed) == number {
            last.store(before.map_or(0, |(at, _)| at), Relaxed);
        }
        let waiting = &self.set.header().waiting;
        waiting.store(waiting.load(Relaxed).saturating_sub(1), SeqCst);
        self.count_for_zero(queue);
    }

    /// Rebuilds the queues from the states of the entries, after a holder of the lock has died.
    ///
    /// The holder may have died in the middle of a change of the links. An entry's state is one
    /// word, and its ticket gives its place in the queue, so neither can be half changed.
    pub fn salvage_queues(&self) {
        let header = self.set.header();
        header.queues.iter().flatten().for_each(|end| end.store(0, Relaxed));
        for (_, waiter) in self.set.waiters().filter(|(_, waiter)| waiter.state() == WaiterState::Preparing) {
            // The dead holder was describing the call, or the call was given up. A call that is
            // given up from here on stays in its queue until `try_waiter` meets it.
            self.set.release_waiter(waiter);
        }
        let mut all: Vec<_> = self.set.waiters().filter(|(_, waiter)| waiter.state() == WaiterState::Waiting).collect();
        all.sort_by_key(|(_, waiter)| waiter.ticket.load(Relaxed));
        let waiting = all.len() as u32;
        for (number, waiter) in all {
            self.append(SetGuard::queue_of(self.set.ops_of(waiter)), number, waiter);
        }
        // Processes read the counter without the lock. `append` has counted up from the old value,
        // so the counter was never lower than the number of linked calls.
        header.waiting.store(waiting, SeqCst);
        for (_, waiter) in self.set.waiters().filter(|(_, waiter)| matches!(waiter.state(), WaiterState::Answered(_))) {
            // The dead holder may have answered the call without waking its thread.
            futex::wake_one(&waiter.state);
        }
        // A page of operations belongs to the entry that names it. The process died before it
        // stored that number, or after it cleared it.
        let used: Vec<u32> = self.set.waiters().map(|(_, waiter)| waiter.ops_page.load(Relaxed)).collect();
        for (number, page) in self.set.all_pages() {
            if page.kind() == PageKind::Ops && !used.contains(&(number + 1)) {
                page.set_kind(PageKind::Free);
            }
        }
    }

    /// Enqueues the caller's operations, of which number `blocking` blocks the call.
    pub fn enqueue(&self, ops: &[SemOp], blocking: usize, record: u32) -> Result<(u32, &'static Waiter)> {
        let (number, waiter) = self.allocate_waiter()?;
        waiter::prepare(&waiter.state);
        // Until the entry says that it waits, a crash leaves an entry that is being described, and
        // `salvage_queues` frees it.
        waiter.slot.store(self.me.slot, Relaxed);
        waiter.incarnation.store(self.me.incarnation.into(), Relaxed);
        waiter.pid.store(ids::pid(), Relaxed);
        waiter.tid.store(ids::known_tid(), Relaxed);
        waiter.record.store(record, Relaxed);
        waiter.since.store(clock::nanos() as u64, Relaxed);
        waiter.nops.store(ops.len() as u32, Relaxed);
        waiter.blocking.store(blocking as u32, Relaxed);
        waiter.ops_page.store(0, Relaxed);
        if Waiter::fits_inline(ops.len()) {
            let places = (0..ops.len()).filter_map(|nth| waiter.inline_op(nth));
            places.zip(ops).for_each(|(place, op)| place.store(pack_op(*op), Relaxed));
        } else {
            let (page_number, page) = self.allocate_page(PageKind::Ops).inspect_err(|_| self.set.release_waiter(waiter))?;
            ops.iter().enumerate().for_each(|(nth, op)| page.op(nth).store(pack_op(*op), Relaxed));
            waiter.ops_page.store(page_number + 1, Relaxed);
        }
        waiter.ticket.store(self.set.header().tickets.fetch_add(1, Relaxed).wrapping_add(1), Relaxed);
        // The ticket orders the queue, and tells this call from an earlier one in the same entry.
        // The next store publishes the description: from it on, the call is blocked, and a crash
        // before `append` leaves the linking to `salvage_queues`.
        waiter::publish(&waiter.state);
        self.append(SetGuard::queue_of(Ops::Own(ops)), number, waiter);
        Ok((number, waiter))
    }

    /// Returns a free entry. Removes the calls of dead threads, or adds a page, if there is none.
    fn allocate_waiter(&self) -> Result<(u32, &'static Waiter)> {
        let free = || self.set.waiters().find(|(_, waiter)| waiter.state() == WaiterState::Free);
        if let Some(found) = free() {
            return Ok(found);
        }
        self.reap_waiters();
        if let Some(found) = free() {
            return Ok(found);
        }
        self.allocate_page(PageKind::Waiters)?;
        free().ok_or(Errno::NOMEM)
    }

    /// Allocates a cleared page of this kind. Adds pages to the file if none is free.
    pub fn allocate_page(&self, kind: PageKind) -> Result<(u32, Page)> {
        loop {
            if let Some((number, page)) = self.set.all_pages().find(|(_, page)| page.kind() == PageKind::Free) {
                page.clear();
                page.set_kind(kind);
                return Ok((number, page));
            }
            self.set.grow()?;
        }
    }

    /// Removes the calls of dead threads, and calls that were given up.
    pub fn reap_waiters(&self) {
        for (number, waiter) in self.set.waiters() {
            let over = match waiter.state() {
                WaiterState::Free => false,
                WaiterState::Preparing => true,
                _ => !self.set.is_waiter_alive(waiter),
            };
            if over {
                self.remove_waiter(number, waiter);
            }
        }
    }

    /// Removes a call from its queue, and frees its entry.
    pub fn remove_waiter(&self, number: u32, waiter: &'static Waiter) {
        let ops = self.set.ops_of(waiter);
        if matches!(waiter.state(), WaiterState::Waiting | WaiterState::Preparing) {
            self.unlink(SetGuard::queue_of(ops), number, waiter);
            // A crash before this store leaves a call that waits, and `salvage_queues` links it
            // again. A crash after it leaves an entry that `salvage_queues` frees. The words come
            // last, because `has_waiters` must not find this call any more.
            waiter::prepare(&waiter.state);
            self.release_words(ops);
        }
        self.set.release_waiter(waiter);
    }

    /// Returns `true` if a blocked call names the semaphore.
    pub fn has_waiters(&self, num: u32) -> bool {
        let names_it = |waiter| self.set.ops_of(waiter).iter().any(|op| u32::from(op.num) == num);
        self.set.header().waiting.load(Relaxed) != 0
            && [ALTERING, FOR_ZERO].into_iter().any(|queue| self.queue(queue).any(|(_, waiter)| names_it(waiter)))
    }

    /// Returns the number of calls of live threads that wait for the semaphore to become zero
    /// (`zero`), or to grow.
    pub fn count_waiting(&self, num: u32, zero: bool) -> u32 {
        let both = [ALTERING, FOR_ZERO].into_iter().flat_map(|queue| self.queue(queue));
        both.filter(|(_, waiter)| self.set.is_blocked_on(waiter, num, zero) && self.set.is_waiter_alive(waiter)).count() as u32
    }

    /// Ends a blocked call with an error, and wakes its thread.
    pub fn answer(&self, number: u32, waiter: &'static Waiter, errno: Errno) {
        let ops = self.set.ops_of(waiter);
        self.unlink(SetGuard::queue_of(ops), number, waiter);
        // The call leaves the queue first, because its thread may free the entry from the answer
        // on. A crash in between leaves a waiting call that is not linked; `salvage_queues` links
        // it again.
        waiter::answer(&waiter.state, errno.raw() as u16);
        futex::wake_one(&waiter.state);
        self.release_words(ops);
    }

    /// Ends all blocked calls with an error.
    pub fn answer_all(&self, errno: Errno) {
        for queue in [ALTERING, FOR_ZERO] {
            while let Some((number, waiter)) = self.queue(queue).next() {
                let before = self.set.header().queues[queue][0].load(Relaxed);
                self.answer(number, waiter, errno);
                // A peer has broken the links, so that `unlink` cannot remove the first call.
                if self.set.header().queues[queue][0].load(Relaxed) == before {
                    break;
                }
            }
        }
    }

    /// Performs the blocked calls that can proceed after the semaphores of `changed` (any, for
    /// `None`) have changed. If `done`, or if a call was performed, sets `sem_otime`.
    pub fn update(&self, changed: Option<Ops<'_>>, done: bool) {
        let mut done = done;
        if self.set.header().waiting.load(Relaxed) != 0 {
            done |= self.update_for_zero(changed);
            done |= self.update_altering();
        }
        if done {
            self.set.stamp();
        }
    }

    /// Returns `true` if the value of a semaphore is zero.
    fn is_zero(&self, num: u32) -> bool {
        self.set.settle(num).is_ok_and(|word| word.value() == 0)
    }

    /// Performs calls that wait for zero, if one of the changed semaphores is zero. Tries calls
    /// with one operation first. Returns `true` if a call was performed.
    fn update_for_zero(&self, changed: Option<Ops<'_>>) -> bool {
        if self.queue(FOR_ZERO).next().is_none() {
            return false;
        }
        let got_zero = match changed {
            Some(ops) => ops.iter().any(|op| self.is_zero(op.num.into())),
            None => (0..self.set.nsems()).any(|num| self.is_zero(num)),
        };
        if !got_zero {
            return false;
        }
        let mut done = false;
        for single in [true, false] {
            // `try_waiter` can remove the call at hand, so the next one is found before.
            let mut queue = self.queue(FOR_ZERO);
            let mut at = queue.next();
            while let Some((number, waiter)) = at {
                at = queue.next();
                if (self.set.ops_of(waiter).len() == 1) == single {
                    done |= self.try_waiter(number, waiter) == WaiterOutcome::Performed;
                }
            }
        }
        done
    }

    /// Notes, if `unmapped`, that this process cannot map a page of blocked calls: it has lost
    /// write permission or is out of memory. The next holder of the lock that can map the page
    /// repairs the set.
    fn mark_damaged(&self, unmapped: bool) {
        if unmapped {
            self.set.header().damaged.store(1, Relaxed);
        }
    }

    /// Performs altering calls in their order. Returns `true` if a call was performed.
    fn update_altering(&self) -> bool {
        let mut done = false;
        // A call with one operation blocks on a decrement, so performing it helps no earlier
        // altering call. A call with several operations may also increment a value. The walk then
        // starts again.
        let complex = self.queue(ALTERING).any(|(_, waiter)| self.set.ops_of(waiter).len() > 1);
        // Only a queue that a peer has forged needs more steps than this.
        let mut steps = self.max_steps().saturating_mul(4).max(1000);
        'again: loop {
            let mut queue = self.queue(ALTERING);
            let mut at = queue.next();
            while let Some((number, waiter)) = at {
                steps = match steps.checked_sub(1) {
                    Some(steps) => steps,
                    None => return done,
                };
                at = queue.next();
                let ops = self.set.ops_of(waiter);
                if self.try_waiter(number, waiter) == WaiterOutcome::Performed {
                    done = true;
                    self.update_for_zero(Some(ops));
                    if complex {
                        continue 'again;
                    }
                }
            }
            return done;
        }
    }

    /// Performs a blocked call if it can proceed.
    fn try_waiter(&self, number: u32, waiter: &'static Waiter) -> WaiterOutcome {
        if waiter.state() == WaiterState::Preparing {
            // Its thread has given the call up without the lock.
            self.remove_waiter(number, waiter);
            return WaiterOutcome::Removed;
        }
        let ops = self.set.ops_of(waiter);
        match self.stage(ops, waiter.record.load(Relaxed), waiter.pid.load(Relaxed)) {
            // `stage` has made the words slow that the call needs now, so the invariant still
            // holds.
            Ok(Staged::Blocked(blocking)) => {
                waiter.blocking.store(blocking as u32, Relaxed);
                WaiterOutcome::Blocked
            }
            Ok(Staged::Failed(e)) => {
                self.answer(number, waiter, e);
                WaiterOutcome::Removed
            }
            Ok(Staged::Ready(changes)) => {
                // `commit` answers the call. From then on its thread may free the entry, so the
                // queue is computed before. The links stay intact, because only the lock's holder
                // allocates entries. A crash before `unlink` leaves an answered call in the queue,
                // and `salvage_queues` drops it.
                let queue = SetGuard::queue_of(ops);
                let performed = self.commit(JournalKind::Changes, changes, number);
                self.unlink(queue, number, waiter);
                if !performed {
                    self.set.release_waiter(waiter);
                }
                self.release_words(ops);
                if performed { WaiterOutcome::Performed } else { WaiterOutcome::Removed }
            }
            Err(_) => {
                self.mark_damaged(true);
                WaiterOutcome::Blocked
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WaiterOutcome {
    /// It still cannot proceed.
    Blocked,
    /// It was performed and answered.
    Performed,
    /// It left the queue with an error, or because its thread had given it up or died.
    Removed,
}
