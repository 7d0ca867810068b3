//! The calls that wait, and whoever lets them go on.
//!
//! There are two queues, as in the kernel: calls that alter the set, and calls that only wait for zero. Whoever changes a
//! value performs, before it lets go of the lock, every waiting call that can proceed: first those that wait for zero, then the others in
//! the order in which they came, from the beginning after each success. The queues are a cache: a call's own state is the truth.

use crate::layout::{JournalKind, Page, PageKind, WAITERS_PER_PAGE, Waiter, WaiterState};
use crate::object::mapping::MappedObject;
use crate::sem::lock::{Ops, SetGuard, Verdict, pack_op};
use crate::sem::mapping::SetView;
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::waiter;
use crate::sys::{clock, futex, ids};
use crate::types::error::Errno;
use crate::types::sem::SemOp;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

/// The queues, by their number in the header.
const ALTERING: usize = 0;
const FOR_ZERO: usize = 1;

impl SetView<'_> {
    /// A waiting call; the number 0 is none.
    pub fn waiter(&self, number: u32) -> Result<&'static Waiter> {
        let number = number.checked_sub(1).ok_or(Errno::INVAL)?;
        let page = self.page(number / WAITERS_PER_PAGE)?;
        if page.kind() != PageKind::Waiters {
            return Err(Errno::INVAL);
        }
        Ok(page.waiter(number % WAITERS_PER_PAGE))
    }

    pub fn ops_of(&self, waiter: &'static Waiter) -> Ops<'static> {
        let page = waiter.ops_page.load(Relaxed).checked_sub(1);
        let page = page.and_then(|number| self.page(number).ok()).filter(|page| page.kind() == PageKind::Ops);
        Ops::Waiting(waiter, page)
    }

    /// Which operation stands in a waiting call's way.
    pub fn stuck_at(&self, waiter: &'static Waiter) -> Option<SemOp> {
        let (ops, blocking) = (self.ops_of(waiter), waiter.blocking.load(Relaxed) as usize);
        (blocking < ops.len()).then(|| ops.get(blocking))
    }

    /// Whether it is one that waits for the semaphore to grow, or (`zero`) to become zero.
    pub fn is_stuck(&self, waiter: &'static Waiter, num: u32, zero: bool) -> bool {
        let waits = |op: SemOp| u32::from(op.num) == num && if zero { op.op == 0 } else { op.op < 0 };
        waiter.state() == WaiterState::Waiting && self.stuck_at(waiter).is_some_and(waits)
    }

    /// The pages, as many as there are whatever the file says.
    pub fn all_pages(&self) -> impl Iterator<Item = (u32, Page)> + '_ {
        (0..self.pages()).map_while(|number| Some((number, self.page(number).ok()?)))
    }

    /// All calls that wait, by the pages (in no order).
    pub fn waiters(&self) -> impl Iterator<Item = (u32, &'static Waiter)> + '_ {
        self.all_pages().filter(|(_, page)| page.kind() == PageKind::Waiters).flat_map(|(number, page)| {
            (0..WAITERS_PER_PAGE).map(move |nth| (number * WAITERS_PER_PAGE + nth + 1, page.waiter(nth)))
        })
    }

    /// Whether the thread that waits is there to be woken.
    pub fn lives(&self, waiter: &Waiter) -> bool {
        let who = ParticipantId { slot: waiter.slot.load(Relaxed), incarnation: waiter.incarnation.load(Relaxed) as u16 };
        let alive = self.sets.core.participants.probe(None).alive(who);
        let (pid, tid) = (waiter.pid.load(Relaxed), waiter.tid.load(Relaxed));
        alive && (!self.sets.core.participants.shares_pids(who) || ids::thread_exists(pid, tid))
    }

    /// Gives a waiting call's place back. Its caller does, or the lock's holder for one that has died.
    pub fn release_waiter(&self, waiter: &Waiter) {
        if let Some(page) = waiter.ops_page.swap(0, Relaxed).checked_sub(1).and_then(|number| self.page(number).ok())
            && page.kind() == PageKind::Ops
        {
            page.set_kind(PageKind::Free);
        }
        waiter::free(&waiter.state);
    }
}

impl SetGuard<'_> {
    pub fn waiter(&self, number: u32) -> Result<&'static Waiter> {
        self.set.waiter(number)
    }

    /// More steps than this a walk through a queue does not take, whatever a peer has made of it.
    fn most_steps(&self) -> u32 {
        self.set.pages().saturating_mul(WAITERS_PER_PAGE)
    }

    /// The calls of a queue, in their order.
    fn queue(&self, queue: usize) -> impl Iterator<Item = (u32, &'static Waiter)> + '_ {
        let mut at = self.set.header().queues[queue][0].load(Relaxed);
        let mut last = 0;
        std::iter::from_fn(move || {
            let number = at;
            let waiter = self.waiter(number).inspect_err(|_| self.leave_to_others(number != 0)).ok()?;
            at = waiter.next.load(Relaxed);
            // Tickets rise: whatever a peer has made of the queue, it has an end.
            let ticket = waiter.ticket.load(Relaxed);
            (ticket > std::mem::replace(&mut last, ticket)).then_some((number, waiter))
        })
    }

    pub fn queue_of(ops: Ops<'_>) -> usize {
        if ops.alter() { ALTERING } else { FOR_ZERO }
    }

    fn append(&self, queue: usize, number: u32, waiter: &Waiter) {
        let [first, last] = &self.set.header().queues[queue];
        waiter.next.store(0, Relaxed);
        match self.waiter(last.load(Relaxed)) {
            Ok(before) if first.load(Relaxed) != 0 => before.next.store(number, Relaxed),
            _ => first.store(number, Relaxed),
        }
        last.store(number, Relaxed);
        self.set.header().waiting.fetch_add(1, SeqCst);
        self.count_for_zero(queue);
    }

    /// Counts the calls with several operations that only wait for zero.
    fn count_for_zero(&self, queue: usize) {
        if queue == FOR_ZERO {
            let several = self.queue(FOR_ZERO).filter(|(_, waiter)| self.set.ops_of(waiter).len() > 1).count();
            self.set.header().for_zero.store(several as u32, SeqCst);
        }
    }

    /// Takes a call out of its queue.
    pub fn unlink(&self, queue: usize, number: u32, waiter: &'static Waiter) {
        let [first, last] = &self.set.header().queues[queue];
        let before = self.queue(queue).take_while(|(at, _)| *at != number).last();
        let next = waiter.next.load(Relaxed);
        match before {
            // It was not there at all.
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

    /// Makes the queues anew from what the calls themselves say.
    pub fn salvage_queues(&self) {
        let header = self.set.header();
        header.queues.iter().flatten().for_each(|end| end.store(0, Relaxed));
        for (_, waiter) in self.set.waiters().filter(|(_, waiter)| waiter.state() == WaiterState::Preparing) {
            // The dead holder's own, or given up. (One that is given up from now on stays in its queue until somebody comes to it.)
            self.set.release_waiter(waiter);
        }
        let mut all: Vec<_> = self.set.waiters().filter(|(_, waiter)| waiter.state() == WaiterState::Waiting).collect();
        all.sort_by_key(|(_, waiter)| waiter.ticket.load(Relaxed));
        let waiting = all.len() as u32;
        for (number, waiter) in all {
            self.append(SetGuard::queue_of(self.set.ops_of(waiter)), number, waiter);
        }
        // Others read it without the lock: it is never less than it should be.
        header.waiting.store(waiting, SeqCst);
        for (_, waiter) in self.set.waiters().filter(|(_, waiter)| matches!(waiter.state(), WaiterState::Answered(_))) {
            // Perhaps nobody has woken it yet.
            futex::wake_one(&waiter.state);
        }
        // What belonged to a call that was being made or given back.
        let used: Vec<u32> = self.set.waiters().map(|(_, waiter)| waiter.ops_page.load(Relaxed)).collect();
        for (number, page) in self.set.all_pages() {
            if page.kind() == PageKind::Ops && !used.contains(&(number + 1)) {
                page.set_kind(PageKind::Free);
            }
        }
    }

    /// Queues the caller's operations, the `blocking`th of which stands in the way.
    pub fn enqueue(&self, ops: &[SemOp], blocking: usize, record: u32) -> Result<(u32, &'static Waiter)> {
        let (number, waiter) = self.free_waiter()?;
        waiter::prepare(&waiter.state);
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
            let (page_number, page) = self.free_page(PageKind::Ops).inspect_err(|_| self.set.release_waiter(waiter))?;
            ops.iter().enumerate().for_each(|(nth, op)| page.op(nth).store(pack_op(*op), Relaxed));
            waiter.ops_page.store(page_number + 1, Relaxed);
        }
        waiter.ticket.store(self.set.header().tickets.fetch_add(1, Relaxed).wrapping_add(1), Relaxed);
        waiter::publish(&waiter.state);
        self.append(SetGuard::queue_of(Ops::Own(ops)), number, waiter);
        Ok((number, waiter))
    }

    fn free_waiter(&self) -> Result<(u32, &'static Waiter)> {
        let free = || self.set.waiters().find(|(_, waiter)| waiter.state() == WaiterState::Free);
        if let Some(found) = free() {
            return Ok(found);
        }
        self.reap_waiters();
        if let Some(found) = free() {
            return Ok(found);
        }
        self.free_page(PageKind::Waiters)?;
        free().ok_or(Errno::NOMEM)
    }

    /// A page that is nobody's, cleared, now of this kind.
    pub fn free_page(&self, kind: PageKind) -> Result<(u32, Page)> {
        loop {
            if let Some((number, page)) = self.set.all_pages().find(|(_, page)| page.kind() == PageKind::Free) {
                page.clear();
                page.set_kind(kind);
                return Ok((number, page));
            }
            self.set.grow()?;
        }
    }

    /// Forgets the calls of the dead, and those that were given up.
    pub fn reap_waiters(&self) {
        for (number, waiter) in self.set.waiters() {
            let over = match waiter.state() {
                WaiterState::Free => false,
                WaiterState::Preparing => true,
                _ => !self.set.lives(waiter),
            };
            if over {
                self.drop_waiter(number, waiter);
            }
        }
    }

    /// Takes a call out of its queue, and gives its place back.
    pub fn drop_waiter(&self, number: u32, waiter: &'static Waiter) {
        let ops = self.set.ops_of(waiter);
        if matches!(waiter.state(), WaiterState::Waiting | WaiterState::Preparing) {
            self.unlink(SetGuard::queue_of(ops), number, waiter);
            // Not in the queue any more, so nobody finds its words waited for.
            waiter::prepare(&waiter.state);
            self.let_go_of(ops);
        }
        self.set.release_waiter(waiter);
    }

    /// Whether any call that waits looks at the semaphore.
    pub fn is_waited_for(&self, num: u32) -> bool {
        let looks = |waiter| self.set.ops_of(waiter).iter().any(|op| u32::from(op.num) == num);
        self.set.header().waiting.load(Relaxed) != 0
            && [ALTERING, FOR_ZERO].into_iter().any(|queue| self.queue(queue).any(|(_, waiter)| looks(waiter)))
    }

    /// How many calls wait for the semaphore to grow, or (`zero`) to become zero. The dead do not count.
    pub fn count_waiting(&self, num: u32, zero: bool) -> u32 {
        let both = [ALTERING, FOR_ZERO].into_iter().flat_map(|queue| self.queue(queue));
        both.filter(|(_, waiter)| self.set.is_stuck(waiter, num, zero) && self.set.lives(waiter)).count() as u32
    }

    /// Answers a call that waits with an error, and wakes it.
    pub fn answer(&self, number: u32, waiter: &'static Waiter, errno: Errno) {
        let ops = self.set.ops_of(waiter);
        self.unlink(SetGuard::queue_of(ops), number, waiter);
        waiter::answer(&waiter.state, errno.raw() as u16);
        futex::wake_one(&waiter.state);
        self.let_go_of(ops);
    }

    /// Answers all calls that wait.
    pub fn answer_all(&self, errno: Errno) {
        for queue in [ALTERING, FOR_ZERO] {
            while let Some((number, waiter)) = self.queue(queue).next() {
                let before = self.set.header().queues[queue][0].load(Relaxed);
                self.answer(number, waiter, errno);
                if self.set.header().queues[queue][0].load(Relaxed) == before {
                    break;
                }
            }
        }
    }

    /// Performs the calls that can proceed, after the semaphores of `changed` (`None`: any) have changed. `done`: an operation has
    /// been done, and the time of it is to be noted.
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

    fn is_zero(&self, num: u32) -> bool {
        self.set.settle(num).is_ok_and(|word| word.value() == 0)
    }

    /// Those that wait for zero: calls with one operation first; the others only if one of the changed semaphores is zero.
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
            // The next is found before the call at hand leaves the queue.
            let mut queue = self.queue(FOR_ZERO);
            let mut at = queue.next();
            while let Some((number, waiter)) = at {
                at = queue.next();
                if (self.set.ops_of(waiter).len() == 1) == single {
                    done |= self.try_waiter(number, waiter) == Tried::Done;
                }
            }
        }
        done
    }

    /// This process cannot see all that waits: it has given up the right to the file, or is out of memory. Whoever comes next looks at
    /// everything.
    fn leave_to_others(&self, unseen: bool) {
        if unseen {
            self.set.header().damaged.store(1, Relaxed);
        }
    }

    fn update_altering(&self) -> bool {
        let mut done = false;
        let complex = self.queue(ALTERING).any(|(_, waiter)| self.set.ops_of(waiter).len() > 1);
        let mut steps = self.most_steps().saturating_mul(4).max(1000);
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
                if self.try_waiter(number, waiter) == Tried::Done {
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

    /// Performs a call that waits, if it can proceed.
    fn try_waiter(&self, number: u32, waiter: &'static Waiter) -> Tried {
        if waiter.state() == WaiterState::Preparing {
            // It was given up.
            self.drop_waiter(number, waiter);
            return Tried::Over;
        }
        let ops = self.set.ops_of(waiter);
        match self.judge_call(ops, waiter.record.load(Relaxed), waiter.pid.load(Relaxed)) {
            Ok(Verdict::Blocked(blocking)) => {
                waiter.blocking.store(blocking as u32, Relaxed);
                Tried::Waits
            }
            Ok(Verdict::Failed(e)) => {
                self.answer(number, waiter, e);
                Tried::Over
            }
            Ok(Verdict::Done(changes)) => {
                // From the answer on the call's place is its caller's again.
                let queue = SetGuard::queue_of(ops);
                let performed = self.commit(JournalKind::Changes, changes, number);
                self.unlink(queue, number, waiter);
                if !performed {
                    self.set.release_waiter(waiter);
                }
                self.let_go_of(ops);
                if performed { Tried::Done } else { Tried::Over }
            }
            Err(_) => {
                self.leave_to_others(true);
                Tried::Waits
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tried {
    Waits,
    Done,
    Over,
}
