//! The lists of blocked calls, and how they proceed.
//!
//! Receivers and senders block in two lists, in the order in which they came. A sender hands its
//! message to the first receiver that takes it (`handover`). A process that makes room admits
//! senders as the kernel does:
//!
//! 1. It marks the senders with a message that fits now, and moves the other ones to the end of the
//!    list.
//! 2. It sends the messages of the marked senders in their order. If a message does not fit any
//!    more, its sender moves to the end, too.
//!
//! An answered call moves from its list to the busy list. It stays there until its thread has freed
//! its slot. Messages that are being sent or received are in the busy list, too.
//!
//! After an owner of the lock has died, [`QueueGuard::repair`] completes its operation. Each commit
//! leaves a state from which this is possible.

use crate::layout::{Sleeper, Slot, SlotKind, SlotUse, Stamp, TypeIndex, WaiterState, halves, high, low, words};
use crate::msg::lock::QueueGuard;
use crate::msg::mapping::QueueView;
use crate::msg::message_list::{Selector, stamp_now};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::MappedObject;
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::queue_lock::ThreadOwner;
use crate::sync::robust_mutex::LockOwner;
use crate::sync::waiter;
use crate::sys::{clock, futex, ids};
use crate::types::error::Errno;
use crate::types::msg::MsgFlags;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The answer that makes the caller check everything again. It is no errno.
pub const RETRY: Errno = Errno::from_raw(0xfff);

/// The two lists of blocked calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Calls that wait for a message.
    Receivers,
    /// Calls that wait for room.
    Senders,
}

impl Side {
    /// Returns the header word with the first and last call.
    fn ends(self, queue: &QueueView<'_>) -> &'static AtomicU64 {
        match self {
            Side::Receivers => &queue.header().receivers,
            Side::Senders => &queue.header().senders,
        }
    }

    /// Returns the word that counts the calls of both lists, with one call more or less.
    fn adjust_count(self, waiting: u64, more: bool) -> u64 {
        let step = |n: u32| if more { n.saturating_add(1) } else { n.saturating_sub(1) };
        match self {
            Side::Receivers => halves(step(low(waiting)), high(waiting)),
            Side::Senders => halves(low(waiting), step(high(waiting))),
        }
    }
}

/// Returns the word that holds a sleeper's state and the slot of its participant.
pub fn state_word(state: WaiterState, slot: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&state.pack().to_ne_bytes());
    bytes[4..].copy_from_slice(&slot.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// Returns the messages that a blocked receiver takes.
pub fn selector_of(call: Slot) -> Selector {
    Selector::new(call.get(words::TYPE) as i64, MsgFlags::from_bits_retain(low(call.get(words::WANTS)) as i32))
}

impl QueueView<'_> {
    /// Returns the calls of a list, in their order.
    pub fn calls(&self, side: Side) -> impl Iterator<Item = Slot> + use<'_> {
        self.list(side.ends(self), SlotUse::Waiter)
    }

    /// Announces that a blocked call is about to be answered. Returns the process id of its caller,
    /// or `None` if the caller has given the call up. The caller of this function holds the lock.
    pub fn claim(&self, side: Side, call: Slot) -> Option<u32> {
        let sleeper = call.sleeper();
        waiter::claim(&self.header().answering[side as usize], sleeper.ticket.load(Relaxed), &sleeper.pid)
    }

    /// Returns `true` if the thread of a blocked call is alive, as far as the caller can tell.
    pub fn is_waiter_alive(&self, sleeper: &Sleeper) -> bool {
        let caller = participant(sleeper);
        self.queues.core.participants.probe(None).alive(caller)
            && self.queues.core.participants.has_thread(caller, sleeper.tid.load(Relaxed))
    }
}

/// Returns the process of a blocked call.
pub fn participant(sleeper: &Sleeper) -> ParticipantId {
    ParticipantId { slot: sleeper.slot.load(Relaxed), incarnation: sleeper.incarnation.load(Relaxed) as u16 }
}

/// Returns the thread of a blocked call, as busy messages name it.
pub fn owner_of(sleeper: &Sleeper) -> ThreadOwner {
    let caller = participant(sleeper);
    ThreadOwner::new(LockOwner::new(caller.slot, caller.incarnation), sleeper.tid.load(Relaxed))
}

impl<'a> QueueGuard<'a> {
    /// Returns `true` if there is room for a message.
    pub fn fits(&self, len: usize) -> bool {
        fits(&self.queue, len)
    }

    /// Appends a call of the calling thread to a list. `message` is the unit of the message that it
    /// sends, or 0 for a receiver.
    pub fn enqueue(&self, side: Side, mtype: i64, flags: MsgFlags, size: u64, message: u32) -> Result<Slot> {
        self.ensure_slot(0)?;
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        let slot = writes.allocate_slot(0)?.ok_or(Errno::NOMEM)?;
        let ticket = header.tickets.load(Relaxed).wrapping_add(1);
        // The slot is free until the commit, so no process reads these words. A crash before the
        // commit leaves the slot in the list of free slots. The commit publishes the description
        // and links the call in one step.
        let description = [
            (words::TYPE, mtype as u64),
            (words::WANTS, halves(flags.bits() as u32, message)),
            (words::SIZE, size),
            (words::PERMISSIONS_VERSION, self.queue.permissions_version().into()),
        ];
        description.into_iter().for_each(|(nth, value)| slot.word(nth).store(value, Relaxed));
        let sleeper = slot.sleeper();
        sleeper.slot.store(self.me.slot, Relaxed);
        sleeper.incarnation.store(self.me.incarnation.into(), Relaxed);
        sleeper.pid.store(ids::pid(), Relaxed);
        sleeper.tid.store(ids::known_tid(), Relaxed);
        sleeper.ticket.store(ticket, Relaxed);
        sleeper.since.store(clock::nanos() as u64, Relaxed);
        waiter::publish(&sleeper.state);
        writes.set_in(slot, words::KIND, SlotKind { state: SlotUse::Waiter, class: 0, number: 0 }.pack());
        writes.put(&header.tickets, ticket);
        writes.put(&header.waiting, side.adjust_count(header.waiting.load(Relaxed), true));
        writes.list_append(side.ends(&self.queue), slot)?;
        self.commit(&writes)?;
        Ok(slot)
    }

    /// Removes a call from its list, and frees its slot and those of the message that it was to
    /// send.
    pub fn remove_call(&self, side: Side, call: Slot) -> Result<()> {
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        writes.list_remove(side.ends(&self.queue), call)?;
        writes.put(&header.waiting, side.adjust_count(header.waiting.load(Relaxed), false));
        // The call is of an exited thread, was given up, or is ended by its own thread. A crash
        // before the commit leaves a call of one of the first two kinds, and `reap` removes it.
        waiter::free(&call.sleeper().state);
        if side == Side::Senders {
            stage_end_of_transfer(&mut writes, high(call.get(words::WANTS)), owner_of(call.sleeper()))?;
        }
        writes.free_slot(call, 0);
        self.commit(&writes)
    }

    /// Answers a call and wakes its thread, or removes the call if it was given up. Returns `true`
    /// if the thread was asleep.
    pub fn answer(&self, side: Side, call: Slot, errno: Errno) -> Result<bool> {
        if self.queue.claim(side, call).is_none() {
            return self.remove_call(side, call).map(|()| false);
        }
        let mut writes = WriteSet::new(self.queue);
        stage_answer(&mut writes, side, call, errno.raw() as u16, |_| {})?;
        self.commit(&writes)?;
        Ok(futex::wake_one(&call.sleeper().state) != 0)
    }

    /// Gives blocked senders the new version of the permissions, because these say the same as
    /// before. A crash in between leaves senders that check their permission again.
    pub fn revalidate(&self, old: u32, new: u32) {
        for call in self.queue.calls(Side::Senders).filter(|call| call.get(words::PERMISSIONS_VERSION) == old.into()) {
            call.word(words::PERMISSIONS_VERSION).store(new.into(), Relaxed);
        }
    }

    /// Answers all calls of a list. `EINVAL` means that a peer has linked them in a cycle.
    pub fn answer_all(&self, side: Side, errno: Errno) -> Result<()> {
        for _ in 0..=self.queue.max_slots() {
            let Some(call) = self.queue.calls(side).next() else { return Ok(()) };
            self.answer(side, call, errno)?;
        }
        Err(Errno::INVAL)
    }

    /// Sends the messages of blocked senders for which there is room.
    pub fn admit_senders(&self) -> Result<()> {
        if high(self.queue.header().waiting.load(Relaxed)) == 0 {
            return Ok(());
        }
        let len = |call: Slot| call.get(words::SIZE) as usize;
        let calls = || self.queue.calls(Side::Senders);
        if !calls().any(|call| self.fits(len(call))) {
            // All calls would move to the end, so the order stays.
            return Ok(());
        }
        // Each round has its own number, so marks that a crash leaves are not taken for those of a
        // later round.
        let round = self.queue.header().changes.load(Relaxed) | 1;
        let waiting = high(self.queue.header().waiting.load(Relaxed)) as usize;
        for call in calls().take(waiting) {
            if self.fits(len(call)) {
                call.word(words::ROUND).store(round, Relaxed);
            } else {
                call.word(words::ROUND).store(0, Relaxed);
                self.move_to_end(call)?;
            }
        }
        for _ in 0..waiting.min(self.queue.max_slots() as usize) {
            let Some(call) = calls().next().filter(|call| call.get(words::ROUND) == round) else { break };
            call.word(words::ROUND).store(0, Relaxed);
            if call.get(words::PERMISSIONS_VERSION) != u64::from(self.queue.permissions_version()) {
                self.answer(Side::Senders, call, RETRY)?;
            } else if !self.fits(len(call)) {
                self.move_to_end(call)?;
            } else if let Some(pid) = self.queue.claim(Side::Senders, call).filter(|_| self.queue.is_waiter_alive(call.sleeper()))
            {
                // `claim` has announced the answer, so the caller cannot give the call up without
                // the lock.
                self.send_for(call, pid)?;
            } else {
                self.remove_call(Side::Senders, call)?;
            }
        }
        Ok(())
    }

    fn move_to_end(&self, call: Slot) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        writes.list_remove(&self.queue.header().senders, call)?;
        writes.list_append(&self.queue.header().senders, call)?;
        self.commit(&writes)
    }

    /// Sends the message of a blocked call of process `pid`, and answers the call.
    fn send_for(&self, call: Slot, pid: u32) -> Result<()> {
        let message = self.queue.slot(high(call.get(words::WANTS)))?;
        if is_sending(message, call) {
            self.send_reserved(message, pid)?;
        }
        let mut writes = WriteSet::new(self.queue);
        // A crash before this commit leaves a blocked sender that waits although its message is
        // sent. `reap` finds the call and only answers.
        stage_answer(&mut writes, Side::Senders, call, 0, |_| {})?;
        self.commit(&writes)?;
        futex::wake_one(&call.sleeper().state);
        Ok(())
    }

    /// Completes the operation of an owner that has died. The decided change is complete already.
    pub fn repair(&self) {
        let types = TypeIndex::unpack(self.queue.header().types.load(Relaxed));
        if matches!(types, TypeIndex::Building(_) | TypeIndex::Freeing(_)) {
            let _ = self.drop_type_index();
        }
        if !self.queue.is_live() {
            // The owner was removing the queue.
            for side in [Side::Receivers, Side::Senders] {
                let _ = self.answer_all(side, Errno::IDRM);
            }
        }
        self.reap();
        // The owner may have removed a message and not admitted senders yet.
        let _ = self.admit_senders();
    }

    /// Removes calls of exited threads, calls that were given up, and the messages that exited
    /// threads were sending or receiving.
    pub fn reap(&self) {
        for side in [Side::Receivers, Side::Senders] {
            for call in self.queue.calls(side) {
                if !self.queue.is_waiter_alive(call.sleeper()) {
                    let _ = self.remove_call(side, call);
                } else if side == Side::Senders
                    && self.queue.slot(high(call.get(words::WANTS))).is_ok_and(|message| !is_sending(message, call))
                {
                    // The process that sent the message for this call died before it answered.
                    let _ = self.send_for(call, 0);
                } else if call.sleeper().pid.load(Relaxed) == 0 {
                    let _ = self.remove_call(side, call);
                }
            }
        }
        for slot in self.queue.list(&self.queue.header().busy, SlotUse::Free) {
            let mut writes = WriteSet::new(self.queue);
            let ended = match slot.kind().state {
                SlotUse::Sending | SlotUse::Receiving
                    if self.queue.queues.core.participants.is_thread_alive(ThreadOwner(slot.get(words::NUMBER))) =>
                {
                    Ok(())
                }
                SlotUse::Sending => stage_end_of_transfer(&mut writes, slot.unit(), ThreadOwner(slot.get(words::NUMBER))),
                // The message was taken off the list, or was handed to a receiver that had exited.
                // Its sender has counted it as sent, so it returns to the list.
                SlotUse::Receiving => self.restore(slot),
                SlotUse::Waiter if self.queue.is_waiter_alive(slot.sleeper()) => {
                    // The waker may have died between the answer and the wake-up.
                    futex::wake_one(&slot.sleeper().state);
                    Ok(())
                }
                SlotUse::Waiter => writes.list_remove(&self.queue.header().busy, slot).map(|()| writes.free_slot(slot, 0)),
                _ => Ok(()),
            };
            if ended.is_ok() && !writes.stores().is_empty() {
                let _ = self.commit(&writes);
            }
        }
    }
}

/// Stages the answer to a call. `more` stages what the caller must find when it sees the answer.
///
/// Stores are made in the order in which they are staged. The state word is the last one. A caller
/// that reads the answer, without the lock, therefore sees all other stores.
pub fn stage_answer<'a>(
    writes: &mut WriteSet<'a>,
    side: Side,
    call: Slot,
    errno: u16,
    more: impl FnOnce(&mut WriteSet<'a>),
) -> Result<()> {
    let queue = writes.queue();
    let header = queue.header();
    writes.list_remove(side.ends(&queue), call)?;
    writes.list_append(&header.busy, call)?;
    writes.put(&header.waiting, side.adjust_count(header.waiting.load(Relaxed), false));
    more(writes);
    let slot = call.sleeper().slot.load(Relaxed);
    writes.put_in(call, words::STATE, state_word(WaiterState::Answered(errno), slot));
    Ok(())
}

/// Stages the return of the slots of a message that `owner` is sending or receiving. Does nothing
/// if it is not.
pub fn stage_end_of_transfer(writes: &mut WriteSet<'_>, unit: u32, owner: ThreadOwner) -> Result<()> {
    let queue = writes.queue();
    let Ok(slot) = queue.slot(unit) else { return Ok(()) };
    let kind = slot.kind();
    if !matches!(kind.state, SlotUse::Sending | SlotUse::Receiving) || slot.get(words::NUMBER) != owner.0 {
        return Ok(());
    }
    writes.list_remove(&queue.header().busy, slot)?;
    writes.free_message(slot, kind.class, kind.number as usize)
}

/// Returns `true` if the message of a blocked sender is still to be sent.
fn is_sending(message: Slot, call: Slot) -> bool {
    message.kind().state == SlotUse::Sending && message.get(words::NUMBER) == owner_of(call.sleeper()).0
}

/// Returns `true` if there is room for a message, in bytes and in number.
#[inline(always)]
pub fn fits(queue: &QueueView<'_>, len: usize) -> bool {
    let header = queue.header();
    let capacity = header.capacity.load(Relaxed);
    let bytes = header.bytes.load(Relaxed).saturating_add(len as u64);
    bytes <= capacity && u64::from(low(header.count.load(Relaxed))) < capacity
}

/// Returns the stamp of the calling process and the current time.
pub fn own_stamp() -> Stamp {
    stamp_now(ids::pid())
}
