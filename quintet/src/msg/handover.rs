//! Handing a message to a blocked receiver.
//!
//! A message that is handed over has these steps:
//!
//! 1. The sender claims the receiver's call, so that the call cannot be given up without the lock.
//! 2. One commit marks the message as being received by the receiver's thread and answers the call.
//! 3. The sender wakes the receiver, which copies the message and frees its slots and that of the
//!    call.
//!
//! If the receiver turns out to have exited, the sender takes the message back and sends it again.
//! If the sender dies before it notices, `reap` returns the message to the list.

use crate::layout::{Slot, SlotKind, SlotUse, Stamp, WaiterState, halves, high, low, words};
use crate::msg::lock::QueueGuard;
use crate::msg::mapping::QueueView;
use crate::msg::waiters::{Side, owner_of, selector_of, stage_answer};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::MappedObject;
use crate::process::acquire::Patience;
use crate::sync::queue_lock::ThreadOwner;
use crate::sync::waiter;
use crate::sys::{futex, ids};
use crate::types::error::Errno;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl QueueGuard<'_> {
    /// Sends a reserved message: hands it to the first receiver that takes it, or appends it to the
    /// list.
    pub fn send_reserved(&self, message: Slot, sender: u32) -> Result<()> {
        let (mtype, len) = (message.get(words::TYPE) as i64, message.kind().number as usize);
        let from = message.get(words::NUMBER);
        'again: for _ in 0..=self.queue.max_slots() {
            for call in self.queue.calls(Side::Receivers) {
                if !selector_of(call).matches(mtype) {
                    continue;
                }
                if call.get(words::SIZE) < len as u64 {
                    // As in the kernel, a receiver with too small a buffer ends with `E2BIG`, and
                    // the message goes on.
                    self.answer(Side::Receivers, call, Errno::TOOBIG)?;
                    continue 'again;
                }
                if self.queue.claim(Side::Receivers, call).is_none() {
                    self.remove_call(Side::Receivers, call)?;
                    continue 'again;
                }
                if self.hand_over(message, call, sender)? {
                    return Ok(());
                }
                self.take_back(message, call, from)?;
                continue 'again;
            }
            return self.append_reserved(message, sender);
        }
        // There are not so many calls, so a peer has linked them in a cycle.
        Err(Errno::INVAL)
    }

    /// Hands a message to a blocked receiver and wakes it. Returns `false` if the receiver has
    /// exited.
    fn hand_over(&self, message: Slot, call: Slot, sender: u32) -> Result<bool> {
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        self.stage_receiving(&mut writes, message, owner_of(call.sleeper()), high(header.count.load(Relaxed)));
        stage_delivery(&mut writes, call, message, sender)?;
        self.commit(&writes)?;
        Ok(wake_caller(&self.queue, call))
    }

    /// Takes a message back from a receiver that has exited. The message is then being sent by
    /// `from`.
    fn take_back(&self, message: Slot, call: Slot, from: u64) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        // One commit frees the call and returns the message to its sender. A crash before it leaves
        // both in the busy list, and `reap` returns the message to the list.
        writes.put_in(message, words::KIND, SlotKind { state: SlotUse::Sending, ..message.kind() }.pack());
        writes.put_in(message, words::NUMBER, from);
        let header = self.queue.header();
        writes.list_remove(&header.busy, call)?;
        // The stamp of the last receive is restored, unless there was another receive since.
        if Stamp::unpack(writes.get(&header.received)).pid == call.sleeper().tid.load(Relaxed) {
            writes.set(&header.received, call.get(words::BEFORE));
        }
        waiter::free(&call.sleeper().state);
        writes.free_slot(call, 0);
        self.commit(&writes)
    }

    /// Sends a message again after its receiver has exited, unless another process has noticed this
    /// first.
    pub fn redirect(&self, handed_over: &HandedOver) -> Result<()> {
        let HandedOver { call, ticket, message } = *handed_over;
        let sleeper = call.sleeper();
        // The lock was not held since the handover, so the slots can be in use for something else.
        // The ticket is the same only if they are not.
        let still = call.kind().state == SlotUse::Waiter
            && sleeper.ticket.load(Relaxed) == ticket
            && sleeper.state() == WaiterState::Answered(0)
            && high(call.get(words::WANTS)) == message.unit()
            && message.kind().state == SlotUse::Receiving
            && message.get(words::NUMBER) == owner_of(sleeper).0;
        if !still {
            return Ok(());
        }
        self.take_back(message, call, self.owner().0)?;
        self.send_reserved(message, ids::pid())
    }

    /// Stages that `owner` is receiving a message. Its number is kept in case it returns to the
    /// list.
    pub fn stage_receiving(&self, writes: &mut WriteSet<'_>, message: Slot, owner: ThreadOwner, number: u32) {
        let kind = message.kind();
        let blocks = high(message.get(words::CHAIN));
        writes.set_in(message, words::KIND, SlotKind { state: SlotUse::Receiving, ..kind }.pack());
        writes.set_in(message, words::NUMBER, owner.0);
        writes.set_in(message, words::CHAIN, halves(number, blocks));
    }

    /// Appends a reserved message to the list.
    fn append_reserved(&self, message: Slot, sender: u32) -> Result<()> {
        if self.queue.header().types.load(Relaxed) != 0 {
            self.ensure_slot(0)?;
        }
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        writes.list_remove(&header.busy, message)?;
        let (links, number) = writes.tail_position();
        writes.put_in(message, words::LINKS, links);
        writes.put_in(message, words::NUMBER, number);
        let (kind, blocks) = (message.kind(), high(message.get(words::CHAIN)));
        writes.put_in(message, words::CHAIN, halves(0, blocks));
        let mtype = message.get(words::TYPE) as i64;
        writes.append(message, kind.class, kind.number as usize, mtype, blocks)?;
        writes.stamp(&header.sent, sender);
        self.commit(&writes)
    }
}

/// Stages that a blocked receiver gets a message. The message is in the busy list as being
/// received.
pub fn stage_delivery(writes: &mut WriteSet<'_>, call: Slot, message: Slot, sender: u32) -> Result<()> {
    stage_answer(writes, Side::Receivers, call, 0, |writes| {
        let header = writes.queue().header();
        let flags = low(call.get(words::WANTS));
        writes.put_in(call, words::WANTS, halves(flags, message.unit()));
        // The number counts as used, because the message keeps it if it returns to the list.
        let count = writes.get(&header.count);
        writes.set(&header.count, halves(low(count), high(count).wrapping_add(1)));
        writes.stamp(&header.sent, sender);
        // The former stamp, in case the receiver has exited and received nothing.
        writes.put_in(call, words::BEFORE, header.received.load(Relaxed));
        // The kernel also stamps the thread of a blocked receiver, and the process of one that did
        // not block.
        writes.stamp(&header.received, call.sleeper().tid.load(Relaxed));
    })
}

/// Wakes the thread of an answered call. Returns `false` if it has exited.
fn wake_caller(queue: &QueueView<'_>, call: Slot) -> bool {
    // A thread that was asleep is alive. One that was not may be about to sleep, or may have
    // exited.
    futex::wake_one(&call.sleeper().state) != 0 || queue.is_waiter_alive(call.sleeper())
}

/// A message that was handed to a blocked receiver, which has not been woken yet.
#[derive(Clone, Copy)]
pub struct HandedOver {
    call: Slot,
    ticket: u64,
    message: Slot,
}

impl HandedOver {
    /// Describes the handover. The caller holds the lock.
    pub fn new(call: Slot, message: Slot) -> HandedOver {
        HandedOver { call, ticket: call.sleeper().ticket.load(Relaxed), message }
    }

    /// Wakes the receiver. If it has exited, sends the message again.
    pub fn wake(&self, queue: QueueView<'_>) {
        if !wake_caller(&queue, self.call)
            && let Ok(guard) = queue.queues.lock(queue, Patience::EndlessInCall)
        {
            // A message that cannot be sent stays in the busy list, and `reap` finds it.
            let _ = guard.redirect(self);
        }
    }
}
