//! The blocked call of the calling thread.
//!
//! The call has a slot in the queue. Its thread sleeps on the state word there
//! (`process::waiting`). The slot belongs to this call while its ticket is the same.

use crate::layout::{Sleeper, Slot, WaiterState, high, words};
use crate::msg::lock::{QueueGuard, RseqGuard};
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::waiters::{Side, stage_end_of_transfer, state_word};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::waiting::{self, EndCall, Interruptible, Waiting};
use crate::sync::queue_lock::ThreadOwner;
use crate::sync::waiter;
use crate::sys::signal::Blocked;
use crate::sys::{futex, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// How long a blocked call sleeps before it checks its peers. The process that was to wake it may
/// have died.
const PEER_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A blocked call of the calling thread.
pub struct BlockedCall<'a> {
    /// The queue.
    pub queue: QueueView<'a>,
    /// The identifier with which the call was made.
    pub id: Id,
    /// The list that the call is in.
    pub side: Side,
    /// The slot of the call.
    pub slot: Slot,
    ticket: u64,
    generation: u32,
}

impl<'a> BlockedCall<'a> {
    /// Describes a call that the thread has just enqueued. The caller holds the lock.
    pub fn new(queue: QueueView<'a>, id: Id, side: Side, slot: Slot) -> BlockedCall<'a> {
        let ticket = slot.sleeper().ticket.load(Relaxed);
        BlockedCall { queue, id, side, slot, ticket, generation: ids::generation() }
    }

    /// Returns what a handler that interrupts the call needs to know.
    pub fn interruptible(&self, queues: &'static Queues) -> Interruptible {
        Interruptible::new(queues, self.id, self.side as u8, self.slot.unit(), self.ticket)
    }

    /// Returns `true` if the call is answered and its slot has not been freed yet.
    pub fn is_answered(&self) -> bool {
        self.is_own() && matches!(self.slot.sleeper().state(), WaiterState::Answered(_))
    }

    /// Frees the slot of an answered call, and its message.
    pub fn end(&self) {
        if self.is_answered()
            && !self.end_fast()
            && let Ok(guard) = self.queue.queues.lock(self.queue, Patience::EndlessInCall)
            && self.is_own()
        {
            // A queue that is gone has nothing to free.
            let _ = guard.end_call(self);
        }
    }

    /// Does the same in a restartable sequence. Returns `false` if that is not possible.
    fn end_fast(&self) -> bool {
        let ended = RseqGuard::with(self.queue, |guard| {
            let mut writes = WriteSet::new(self.queue);
            // In a child that a handler forked, the slot belongs to the parent.
            self.is_own()
                && stage_end_of_call(&mut writes, self, guard.owner()).is_ok()
                && writes.check().is_ok()
                && guard.commit(&writes)
        });
        ended == Some(true)
    }

    /// Returns the unit of the message that the call was handed, or that it sends.
    pub fn message(&self) -> u32 {
        high(self.slot.get(words::WANTS))
    }
}

impl Waiting for BlockedCall<'_> {
    fn sleeper(&self) -> &'static Sleeper {
        self.slot.sleeper()
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn is_live(&self) -> bool {
        self.queue.is_live_as(self.id)
    }

    fn watch(&self) -> Duration {
        PEER_CHECK_INTERVAL
    }

    fn check_peers(&self) -> Result<()> {
        // Taking the lock repairs the queue if the lock's owner has died.
        self.queue.queues.lock(self.queue, Patience::BriefInCall).map(drop)
    }

    fn leave_queue(&self) -> Result<bool> {
        let guard = self.queue.queues.lock(self.queue, Patience::BriefInCall)?;
        // Signals are blocked, so no handler ends the call from here on.
        let waits = self.is_own() && self.sleeper().state() == WaiterState::Waiting;
        if waits && guard.remove_call(self.side, self.slot).is_err() {
            // In a damaged queue, the call cannot be unlinked. It ends, and its slot stays in use
            // until the thread has exited or the queue is rebuilt.
            waiter::free(&self.sleeper().state);
        }
        Ok(waits)
    }

    fn abandon(&self) -> bool {
        let _signals = Blocked::all();
        let (sleeper, header) = (self.sleeper(), self.queue.header());
        // The process id is cleared before `answering` is read. An owner of the lock that answers
        // this call stores its ticket in `answering` before it reads the process id. So the owner
        // finds no caller, or this call finds its ticket there and is not given up.
        let given_up = self.is_own()
            && waiter::withdraw(&header.answering[self.side as usize], self.ticket, &sleeper.pid, ids::pid())
            && sleeper.state() == WaiterState::Waiting;
        if given_up {
            // The call stays in its list. The mark makes the next owner of the lock remove it.
            header.damaged.store(1, Relaxed);
        }
        given_up
    }

    /// `end` does this, when the caller has copied its message.
    fn release(&self) {}

    fn ends_when_cancelled(&self) -> bool {
        crate::process::cancel::is_intercepted()
    }
}

impl EndCall for Queues {
    fn end_call(&self, call: &Interruptible, forget: bool) {
        let side = if call.queue == Side::Receivers as u8 { Side::Receivers } else { Side::Senders };
        let Ok(queue) = self.live(call.id.raw()) else { return };
        let Ok(slot) = queue.slot(call.number) else { return };
        let blocked = BlockedCall { queue, id: call.id, side, slot, ticket: call.ticket, generation: call.generation };
        let guard = loop {
            match self.lock(queue, Patience::BriefInCall) {
                Ok(guard) => break guard,
                Err(e) => {
                    let waits = blocked.is_own() && blocked.sleeper().state() == WaiterState::Waiting;
                    if !waits || blocked.abandon() || waiting::is_gone(e) {
                        return;
                    }
                    // A peer is answering the call at this moment.
                    futex::wait(&blocked.sleeper().state, WaiterState::Waiting.pack(), waiting::RETRY_INTERVAL);
                }
            }
        };
        if !blocked.is_own() {
            return;
        }
        let _ = match blocked.sleeper().state() {
            WaiterState::Waiting if forget => guard.remove_call(side, slot),
            WaiterState::Waiting => guard.answer(side, slot, Errno::INTR).map(drop),
            WaiterState::Answered(_) if forget => guard.end_call(&blocked),
            _ => Ok(()),
        };
    }
}

impl QueueGuard<'_> {
    /// Frees the slot of an answered call, and the message that it was receiving or could not send.
    pub fn end_call(&self, call: &BlockedCall<'_>) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        stage_end_of_call(&mut writes, call, self.owner())?;
        self.commit(&writes)
    }
}

/// Stages the return of the slot of an answered call, and of the message that it was receiving or
/// could not send. A crash before the commit leaves both in the busy list, and `reap` frees them.
fn stage_end_of_call(writes: &mut WriteSet<'_>, call: &BlockedCall<'_>, owner: ThreadOwner) -> Result<()> {
    let slot = call.slot;
    writes.list_remove(&writes.queue().header().busy, slot)?;
    stage_end_of_transfer(writes, call.message(), owner)?;
    writes.free_slot(slot, 0);
    let state = state_word(WaiterState::Free, slot.sleeper().slot.load(Relaxed));
    writes.put_in(slot, words::STATE, state);
    Ok(())
}
