//! `semop` that cannot be done at once, or not without the set's lock.

use crate::layout::{JournalKind, Sleeper, Waiter, WaiterState};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::waiting::{self, EndCall, Interruptible, Waiting};
use crate::sem::lock::{Ops, Verdict};
use crate::sem::mapping::{SetView, Sets};
use crate::sync::waiter;
use crate::sys::clock::Instant;
use crate::sys::ids;
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::sem::{SemFlags, SemOp};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// How often a waiting call looks whether somebody has died who has something to take back.
const WATCH: Duration = Duration::from_millis(50);
/// How many watch that often; more take turns.
const WATCHERS: u32 = 32;
/// How often it looks when nobody has: whoever was to wake it may have died.
const LOOK: Duration = Duration::from_secs(1);
/// A watcher asks again only if nobody has for so long, in nanoseconds.
const ASKED_LATELY: u64 = 20_000_000;

/// A call that waits, of this thread.
#[derive(Clone, Copy)]
struct BlockedSemop<'a> {
    set: SetView<'a>,
    id: Id,
    number: u32,
    waiter: &'static Waiter,
    ticket: u64,
    generation: u32,
}

impl Waiting for BlockedSemop<'_> {
    fn sleeper(&self) -> &'static Sleeper {
        &self.waiter.sleeper
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn is_live(&self) -> bool {
        self.set.is_live_as(self.id)
    }

    fn watch(&self) -> Duration {
        let waiting = self.set.header().waiting.load(Relaxed);
        if self.set.others_hold_undo() { WATCH * waiting.div_ceil(WATCHERS).max(1) } else { LOOK }
    }

    /// Somebody may have held the lock, or have something to take back.
    fn check_peers(&self) -> Result<()> {
        let guard = self.set.sets.lock(self.set, Patience::BriefInCall)?;
        if guard.set.is_reap_overdue(ASKED_LATELY) {
            guard.reap_undo();
        }
        Ok(())
    }

    fn leave_queue(&self) -> Result<bool> {
        let guard = self.set.sets.lock(self.set, Patience::BriefInCall)?;
        // No handler comes in between any more.
        let waits = self.is_own() && self.waiter.state() == WaiterState::Waiting;
        if waits {
            guard.drop_waiter(self.number, self.waiter);
        }
        Ok(waits)
    }

    fn abandon(&self) -> bool {
        let _signals = Blocked::all();
        self.is_own() && waiter::abandon(&self.waiter.state)
    }

    fn release(&self) {
        self.set.release_waiter(self.waiter);
    }

    /// POSIX makes it no place to end at, so only a thread does that ends anywhere.
    fn ends_when_cancelled(&self) -> bool {
        crate::process::cancel::anywhere()
    }
}

impl Sets {
    /// `semtimedop` under the set's lock.
    #[cold]
    pub fn semtimedop_locked(&'static self, id: Id, ops: &[SemOp], deadline: Option<Instant>) -> Result<()> {
        let set = self.live(id.raw())?;
        let guard = self.lock(set, patience(ops, deadline))?;
        let set = guard.set;
        if !set.is_live_as(id) {
            return Err(Errno::IDRM);
        }
        if set.is_reap_due() {
            guard.reap_undo();
        }
        if set.header().descriptors.iter().all(|descriptor| descriptor.owner.load(Relaxed) != 0) {
            guard.clear_descriptors();
        }
        let mine = Ops::Own(ops);
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = if undo { guard.own_record()? } else { 0 };
        let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
        let mut verdict = guard.judge_call(mine, record, ids::pid());
        let refuses = match verdict {
            Ok(Verdict::Failed(_)) => true,
            Ok(Verdict::Blocked(_)) => is_late(),
            _ => false,
        };
        if refuses && set.dead_hold_undo() {
            guard.let_go_of(mine);
            guard.reap_undo();
            verdict = guard.judge_call(mine, record, ids::pid());
        }
        let blocking = match verdict {
            Ok(Verdict::Done(changes)) => {
                guard.commit(JournalKind::Changes, changes, 0);
                if mine.alter() {
                    guard.update(Some(mine), true);
                } else {
                    set.stamp();
                }
                guard.let_go_of(mine);
                return Ok(());
            }
            Ok(Verdict::Blocked(blocking)) => blocking,
            Ok(Verdict::Failed(e)) | Err(e) => {
                guard.let_go_of(mine);
                return Err(e);
            }
        };
        if is_late() {
            guard.let_go_of(mine);
            return Err(Errno::AGAIN);
        }
        let (number, waiter) = guard.enqueue(ops, blocking, record).inspect_err(|_| guard.let_go_of(mine))?;
        let ticket = waiter.ticket.load(Relaxed);
        waiting::announce(Interruptible::new(self, id, 0, number, ticket));
        let signals = guard.leave();
        waiting::sleep(
            &BlockedSemop { set, id, number, waiter, ticket, generation: ids::generation() },
            deadline,
            Errno::AGAIN,
            signals,
        )
    }
}

/// How long a call waits for the set's lock. One that never waits for others knows no time, and no `EINTR`.
fn patience(ops: &[SemOp], deadline: Option<Instant>) -> Patience {
    let may_wait = ops.iter().any(|op| op.op <= 0 && !op.flags.contains(SemFlags::NOWAIT));
    if may_wait { Patience::Until(deadline, Errno::AGAIN) } else { Patience::Endless }
}

impl EndCall for Sets {
    fn end_call(&self, call: &Interruptible, forget: bool) {
        let Ok(set) = self.live(call.id.raw()) else { return };
        let Ok(waiter) = set.waiter(call.number) else { return };
        let own =
            BlockedSemop { set, id: call.id, number: call.number, waiter, ticket: call.ticket, generation: call.generation };
        let guard = self.lock(set, Patience::BriefInCall);
        if !own.is_own() {
            return;
        }
        match (waiter.state(), guard) {
            (WaiterState::Waiting, Err(_)) => _ = own.abandon(),
            (WaiterState::Waiting, Ok(guard)) if forget => guard.drop_waiter(call.number, waiter),
            (WaiterState::Waiting, Ok(guard)) => guard.answer(call.number, waiter, Errno::INTR),
            (WaiterState::Answered(_), _) if forget => set.release_waiter(waiter),
            _ => {}
        }
    }
}
