//! `semop` under the set's lock: a call that must block, or that needs the lock for another reason.

use crate::layout::{JournalKind, Sleeper, Waiter, WaiterState};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::waiting::{self, EndCall, Interruptible, Waiting};
use crate::sem::lock::{Ops, Staged};
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

/// How long a blocked call sleeps before it probes the processes that have undo in the set.
const PEER_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// The number of blocked calls up to which each of them probes at this interval. More calls take
/// turns.
const MAX_WATCHERS: u32 = 32;
/// How long a blocked call sleeps before it checks its peers if no other process has undo. The
/// process that was to wake it may have died.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time since the last probe, by any process, before which a blocked call does not probe, in
/// nanoseconds.
const MIN_PROBE_INTERVAL: u64 = 20_000_000;

/// The blocked call of this thread.
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
        if self.set.peers_hold_undo() { PEER_CHECK_INTERVAL * waiting.div_ceil(MAX_WATCHERS).max(1) } else { IDLE_CHECK_INTERVAL }
    }

    /// Repairs the set if a holder of the lock died, and applies the undo of exited processes. Both
    /// can let the call proceed.
    fn check_peers(&self) -> Result<()> {
        let guard = self.set.sets.lock(self.set, Patience::BriefInCall)?;
        // `lock` has repaired the set if a holder had died.
        if guard.set.is_reap_overdue(MIN_PROBE_INTERVAL) {
            guard.reap_undo();
        }
        Ok(())
    }

    fn leave_queue(&self) -> Result<bool> {
        let guard = self.set.sets.lock(self.set, Patience::BriefInCall)?;
        // Signals are blocked, so no handler ends the call between this check and its removal.
        let waits = self.is_own() && self.waiter.state() == WaiterState::Waiting;
        if waits {
            guard.remove_waiter(self.number, self.waiter);
        }
        Ok(waits)
    }

    fn abandon(&self) -> bool {
        let _signals = Blocked::all();
        // Signals are blocked for the same reason as in `leave_queue`. The exchange in `abandon`
        // competes with the answer of a waker: exactly one succeeds.
        self.is_own() && waiter::abandon(&self.waiter.state)
    }

    fn release(&self) {
        self.set.release_waiter(self.waiter);
    }

    /// POSIX does not make `semop` a cancellation point. The call ends only in a thread that may be
    /// cancelled in any call.
    fn ends_when_cancelled(&self) -> bool {
        crate::process::cancel::in_any_call()
    }
}

impl Sets {
    /// Performs `semtimedop` under the set's lock, and blocks until the call is answered.
    #[cold]
    pub fn semtimedop_locked(&'static self, id: Id, ops: &[SemOp], deadline: Option<Instant>) -> Result<()> {
        let set = self.live(id.raw())?;
        let guard = self.lock(set, patience(ops, deadline))?;
        let set = guard.set;
        if !set.is_live_as(id) {
            return Err(Errno::IDRM);
        }
        // Undo that is due may let this call proceed, or make it block.
        if set.is_reap_due() {
            guard.reap_undo();
        }
        // If dead processes hold all descriptors, no call on several semaphores could do without
        // the lock.
        if set.header().descriptors.iter().all(|descriptor| descriptor.owner.load(Relaxed) != 0) {
            guard.clear_descriptors();
        }
        let request = Ops::Own(ops);
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = if undo { guard.find_or_create_record()? } else { 0 };
        let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
        let mut staged = guard.stage(request, record, ids::pid());
        let is_refused = match staged {
            Ok(Staged::Failed(_)) => true,
            Ok(Staged::Blocked(_)) => is_late(),
            _ => false,
        };
        // A refusal counts only if no exited process has undo to apply: the caller may have seen
        // that process end. The staged changes are out of date after the reaping, so the call is
        // staged again.
        if is_refused && set.has_orphaned_undo() {
            guard.release_words(request);
            guard.reap_undo();
            staged = guard.stage(request, record, ids::pid());
        }
        let blocking = match staged {
            Ok(Staged::Ready(changes)) => {
                // Here the call happens. A crash before it changes nothing. After a crash the next
                // holder applies the journal and lets blocked calls proceed.
                guard.commit(JournalKind::Changes, changes, 0);
                if request.alter() {
                    guard.update(Some(request), true);
                } else {
                    set.stamp();
                }
                guard.release_words(request);
                return Ok(());
            }
            Ok(Staged::Blocked(blocking)) => blocking,
            Ok(Staged::Failed(e)) | Err(e) => {
                guard.release_words(request);
                return Err(e);
            }
        };
        if is_late() {
            guard.release_words(request);
            return Err(Errno::AGAIN);
        }
        // The words stay slow. An operation on one of them takes the lock, and finds this call in
        // the queue.
        let (number, waiter) = guard.enqueue(ops, blocking, record).inspect_err(|_| guard.release_words(request))?;
        let ticket = waiter.ticket.load(Relaxed);
        // Signals are blocked from before the call is enqueued until it sleeps, so a handler finds
        // the announcement. A waker may answer the call as soon as the lock is released. The sleep
        // then ends at once, because the state word has changed.
        waiting::announce(Interruptible::new(self, id, 0, number, ticket));
        let signals = guard.unlock();
        waiting::sleep(
            &BlockedSemop { set, id, number, waiter, ticket, generation: ids::generation() },
            deadline,
            Errno::AGAIN,
            signals,
        )
    }
}

/// Returns how long a call waits for the set's lock. A call that can never block has no deadline,
/// and no signal ends it with `EINTR`.
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
        // This runs in a handler that has interrupted the call, or in a thread that is about to
        // jump out of it. Only this thread frees the entry, so an answered call keeps its answer
        // until the interrupted code collects it. A thread that jumps out (`forget`) never does, so
        // its entry is freed here. Without the lock, the call is given up; a later holder of the
        // lock removes it.
        match (waiter.state(), guard) {
            (WaiterState::Waiting, Err(_)) => _ = own.abandon(),
            (WaiterState::Waiting, Ok(guard)) if forget => guard.remove_waiter(call.number, waiter),
            (WaiterState::Waiting, Ok(guard)) => guard.answer(call.number, waiter, Errno::INTR),
            (WaiterState::Answered(_), _) if forget => set.release_waiter(waiter),
            _ => {}
        }
    }
}
