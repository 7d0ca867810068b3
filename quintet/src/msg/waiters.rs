//! The calls that wait, and whoever lets them go on.
//!
//! Receivers and senders wait in two lists, in the order in which they came. A sender hands its message to the first receiver that takes it. Whoever makes
//! room sends the messages of those for whom there is room now: first it is found out who these are (the others go to the end of the list), then
//! they are served in turn, and for whom there is no room any more goes to the end, too. That is what the kernel comes to.
//!
//! A call that has been answered leaves its list for that of what is busy, until its caller has given its place back.

use crate::layout::{Sleeper, Slot, SlotKind, SlotUse, Stamp, TypeIndex, WaiterState, halves, high, low, words};
use crate::msg::lock::{QueueGuard, RseqGuard};
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::message_list::{Selector, now};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::waiting::{self, EndCall, Interruptible, Waiting};
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::queue_lock::ThreadOwner;
use crate::sync::robust_mutex::LockOwner;
use crate::sync::waiter;
use crate::sys::signal::Blocked;
use crate::sys::{clock, futex, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::msg::MsgFlags;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// How often a waiting call looks whether whoever was to wake it has died.
const LOOK: Duration = Duration::from_millis(250);

/// The answer to a call that is to be judged anew by its caller: no errno.
pub const ANEW: Errno = Errno::from_raw(0xfff);

/// The two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Receivers,
    Senders,
}

impl Side {
    fn ends(self, queue: &QueueView<'_>) -> &'static AtomicU64 {
        match self {
            Side::Receivers => &queue.header().receivers,
            Side::Senders => &queue.header().senders,
        }
    }

    /// One more or one less in the word that counts both.
    fn count(self, waiting: u64, more: bool) -> u64 {
        let step = |n: u32| if more { n.saturating_add(1) } else { n.saturating_sub(1) };
        match self {
            Side::Receivers => halves(step(low(waiting)), high(waiting)),
            Side::Senders => halves(low(waiting), step(high(waiting))),
        }
    }
}

/// The word that holds a sleeper's state and the slot of its participant.
fn state_word(state: WaiterState, slot: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&state.pack().to_ne_bytes());
    bytes[4..].copy_from_slice(&slot.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// What a waiting receiver takes.
pub fn wanted(call: Slot) -> Selector {
    Selector::new(call.get(words::TYPE) as i64, MsgFlags::from_bits_retain(low(call.get(words::WANTS)) as i32))
}

impl QueueView<'_> {
    /// The calls of a list, in their order.
    pub fn calls(&self, side: Side) -> impl Iterator<Item = Slot> + use<'_> {
        self.list(side.ends(self), SlotUse::Waiter)
    }

    /// Says that a waiting call is about to be answered: the process id of its caller. `None`: that has given it up. The caller holds the lock.
    pub fn claim(&self, side: Side, call: Slot) -> Option<u32> {
        let sleeper = call.sleeper();
        waiter::claim(&self.header().answering[side as usize], sleeper.ticket.load(Relaxed), &sleeper.pid)
    }

    /// Whether the thread that waits is there to be woken.
    pub fn lives(&self, sleeper: &Sleeper) -> bool {
        let who = participant(sleeper);
        self.queues.core.participants.probe(None).alive(who)
            && self.queues.core.participants.has_thread(who, sleeper.tid.load(Relaxed))
    }
}

pub fn participant(sleeper: &Sleeper) -> ParticipantId {
    ParticipantId { slot: sleeper.slot.load(Relaxed), incarnation: sleeper.incarnation.load(Relaxed) as u16 }
}

/// A thread in the word that says whose a message is that is being sent or received.
pub fn holder_of(sleeper: &Sleeper) -> ThreadOwner {
    let who = participant(sleeper);
    ThreadOwner::new(LockOwner::new(who.slot, who.incarnation), sleeper.tid.load(Relaxed))
}

impl<'a> QueueGuard<'a> {
    /// Whether there is room for a message.
    pub fn fits(&self, len: usize) -> bool {
        fits(&self.queue, len)
    }

    /// Queues the calling thread's call. `message` is what it sends; 0: it receives.
    pub fn enqueue(&self, side: Side, mtype: i64, flags: MsgFlags, size: u64, message: u32) -> Result<Slot> {
        self.provide(0)?;
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        let slot = writes.take_slot(0)?.ok_or(Errno::NOMEM)?;
        let ticket = header.tickets.load(Relaxed).wrapping_add(1);
        // Nobody looks at it yet.
        let given = [
            (words::TYPE, mtype as u64),
            (words::WANTS, halves(flags.bits() as u32, message)),
            (words::SIZE, size),
            (words::PERMISSIONS_VERSION, self.queue.permissions_version().into()),
        ];
        given.into_iter().for_each(|(nth, value)| slot.word(nth).store(value, Relaxed));
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
        writes.put(&header.waiting, side.count(header.waiting.load(Relaxed), true));
        writes.enlist(side.ends(&self.queue), slot)?;
        self.commit(&writes)?;
        Ok(slot)
    }

    /// Takes a call out of its list, with the message that it was to send, and gives their slots back.
    pub fn drop_call(&self, side: Side, call: Slot) -> Result<()> {
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        writes.delist(side.ends(&self.queue), call)?;
        writes.put(&header.waiting, side.count(header.waiting.load(Relaxed), false));
        waiter::free(&call.sleeper().state);
        if side == Side::Senders {
            stage_end_of(&mut writes, high(call.get(words::WANTS)), holder_of(call.sleeper()))?;
        }
        writes.give_slot(call, 0);
        self.commit(&writes)
    }

    /// Answers a call and wakes it, unless it was given up. `false`: nobody was asleep.
    pub fn answer(&self, side: Side, call: Slot, errno: Errno) -> Result<bool> {
        if self.queue.claim(side, call).is_none() {
            return self.drop_call(side, call).map(|()| false);
        }
        let mut writes = WriteSet::new(self.queue);
        stage_answer(&mut writes, side, call, errno.raw() as u16, |_| {})?;
        self.commit(&writes)?;
        Ok(futex::wake_one(&call.sleeper().state) != 0)
    }

    /// The rights have a new version that says the same: whoever waits to send need not be asked anew.
    pub fn revalidate(&self, old: u32, new: u32) {
        for call in self.queue.calls(Side::Senders).filter(|call| call.get(words::PERMISSIONS_VERSION) == old.into()) {
            call.word(words::PERMISSIONS_VERSION).store(new.into(), Relaxed);
        }
    }

    /// Answers all calls of a list. `EINVAL`: it has no end, as a peer has scribbled.
    pub fn answer_all(&self, side: Side, errno: Errno) -> Result<()> {
        for _ in 0..=self.queue.most_slots() {
            let Some(call) = self.queue.calls(side).next() else { return Ok(()) };
            self.answer(side, call, errno)?;
        }
        Err(Errno::INVAL)
    }

    /// Sends a message that is in shared memory already: hands it to the first receiver that takes it, else puts it at the end of the line.
    pub fn pass_on(&self, message: Slot, sender: u32) -> Result<()> {
        let (mtype, len) = (message.get(words::TYPE) as i64, message.kind().number as usize);
        let from = message.get(words::NUMBER);
        'again: for _ in 0..=self.queue.most_slots() {
            for call in self.queue.calls(Side::Receivers) {
                if !wanted(call).takes(mtype) {
                    continue;
                }
                if call.get(words::SIZE) < len as u64 {
                    self.answer(Side::Receivers, call, Errno::TOOBIG)?;
                    continue 'again;
                }
                if self.queue.claim(Side::Receivers, call).is_none() {
                    self.drop_call(Side::Receivers, call)?;
                    continue 'again;
                }
                if self.exec_handoff(message, call, sender)? {
                    return Ok(());
                }
                self.take_back(message, call, from)?;
                continue 'again;
            }
            return self.append_reserved(message, sender);
        }
        // So many cannot wait: a peer has scribbled.
        Err(Errno::INVAL)
    }

    /// `false`: the receiver is dead.
    fn exec_handoff(&self, message: Slot, call: Slot, sender: u32) -> Result<bool> {
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        self.stage_receiving(&mut writes, message, holder_of(call.sleeper()), high(header.count.load(Relaxed)));
        stage_given(&mut writes, call, message, sender)?;
        self.commit(&writes)?;
        Ok(has_woken(&self.queue, call))
    }

    /// The receiver of a message was dead: it is to be sent still, by `from`.
    fn take_back(&self, message: Slot, call: Slot, from: u64) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        writes.put_in(message, words::KIND, SlotKind { state: SlotUse::Sending, ..message.kind() }.pack());
        writes.put_in(message, words::NUMBER, from);
        let header = self.queue.header();
        writes.delist(&header.busy, call)?;
        // Unless somebody has received another one since.
        if Stamp::unpack(writes.get(&header.received)).pid == call.sleeper().tid.load(Relaxed) {
            writes.set(&header.received, call.get(words::BEFORE));
        }
        waiter::free(&call.sleeper().state);
        writes.give_slot(call, 0);
        self.commit(&writes)
    }

    /// A message was given to a receiver that turns out to be dead: it is sent anew, unless somebody has seen to it already.
    pub fn rescue(&self, given: &Given) -> Result<()> {
        let Given { call, ticket, message } = *given;
        let sleeper = call.sleeper();
        let still = call.kind().state == SlotUse::Waiter
            && sleeper.ticket.load(Relaxed) == ticket
            && sleeper.state() == WaiterState::Answered(0)
            && high(call.get(words::WANTS)) == message.unit()
            && message.kind().state == SlotUse::Receiving
            && message.get(words::NUMBER) == holder_of(sleeper).0;
        if !still {
            return Ok(());
        }
        self.take_back(message, call, self.holder().0)?;
        self.pass_on(message, ids::pid())
    }

    /// Drafts that a message is being received, and what number it had.
    pub fn stage_receiving(&self, writes: &mut WriteSet<'_>, message: Slot, by: ThreadOwner, number: u32) {
        let kind = message.kind();
        let blocks = high(message.get(words::CHAIN));
        writes.set_in(message, words::KIND, SlotKind { state: SlotUse::Receiving, ..kind }.pack());
        writes.set_in(message, words::NUMBER, by.0);
        writes.set_in(message, words::CHAIN, halves(number, blocks));
    }

    fn append_reserved(&self, message: Slot, sender: u32) -> Result<()> {
        if self.queue.header().types.load(Relaxed) != 0 {
            self.provide(0)?;
        }
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        writes.delist(&header.busy, message)?;
        let (links, number) = writes.at_the_end();
        writes.put_in(message, words::LINKS, links);
        writes.put_in(message, words::NUMBER, number);
        let (kind, blocks) = (message.kind(), high(message.get(words::CHAIN)));
        writes.put_in(message, words::CHAIN, halves(0, blocks));
        let mtype = message.get(words::TYPE) as i64;
        writes.append(message, kind.class, kind.number as usize, mtype, blocks)?;
        writes.stamp(&header.sent, sender);
        self.commit(&writes)
    }

    /// There is room: whoever waits to send, and for whom there is enough now, has his message sent.
    pub fn admit_senders(&self) -> Result<()> {
        if high(self.queue.header().waiting.load(Relaxed)) == 0 {
            return Ok(());
        }
        let len = |call: Slot| call.get(words::SIZE) as usize;
        let calls = || self.queue.calls(Side::Senders);
        if !calls().any(|call| self.fits(len(call))) {
            // All would go to the end: the order stays.
            return Ok(());
        }
        // Another number each time.
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
        for _ in 0..waiting.min(self.queue.most_slots() as usize) {
            let Some(call) = calls().next().filter(|call| call.get(words::ROUND) == round) else { break };
            call.word(words::ROUND).store(0, Relaxed);
            if call.get(words::PERMISSIONS_VERSION) != u64::from(self.queue.permissions_version()) {
                self.answer(Side::Senders, call, ANEW)?;
            } else if !self.fits(len(call)) {
                self.move_to_end(call)?;
            } else if let Some(pid) = self.queue.claim(Side::Senders, call).filter(|_| self.queue.lives(call.sleeper())) {
                self.send_for(call, pid)?;
            } else {
                self.drop_call(Side::Senders, call)?;
            }
        }
        Ok(())
    }

    fn move_to_end(&self, call: Slot) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        writes.delist(&self.queue.header().senders, call)?;
        writes.enlist(&self.queue.header().senders, call)?;
        self.commit(&writes)
    }

    /// Sends the message of a waiting call of process `pid`, and answers it.
    fn send_for(&self, call: Slot, pid: u32) -> Result<()> {
        let message = self.queue.slot(high(call.get(words::WANTS)))?;
        if is_sending(message, call) {
            self.pass_on(message, pid)?;
        }
        let mut writes = WriteSet::new(self.queue);
        stage_answer(&mut writes, Side::Senders, call, 0, |_| {})?;
        self.commit(&writes)?;
        futex::wake_one(&call.sleeper().state);
        Ok(())
    }

    /// Ends what a dead holder of the lock had begun.
    pub fn repair(&self) {
        let types = TypeIndex::unpack(self.queue.header().types.load(Relaxed));
        if matches!(types, TypeIndex::Building(_) | TypeIndex::Freeing(_)) {
            let _ = self.forget_types();
        }
        if !self.queue.is_live() {
            // He was removing it.
            for side in [Side::Receivers, Side::Senders] {
                let _ = self.answer_all(side, Errno::IDRM);
            }
        }
        self.reap();
        // He may have made room.
        let _ = self.admit_senders();
    }

    /// Forgets the calls of the dead, and those that were given up, and the messages that they were sending or receiving.
    pub fn reap(&self) {
        for side in [Side::Receivers, Side::Senders] {
            for call in self.queue.calls(side) {
                if !self.queue.lives(call.sleeper()) {
                    let _ = self.drop_call(side, call);
                } else if side == Side::Senders
                    && self.queue.slot(high(call.get(words::WANTS))).is_ok_and(|message| !is_sending(message, call))
                {
                    // Whoever sent it has died before he could say so.
                    let _ = self.send_for(call, 0);
                } else if call.sleeper().pid.load(Relaxed) == 0 {
                    let _ = self.drop_call(side, call);
                }
            }
        }
        for slot in self.queue.list(&self.queue.header().busy, SlotUse::Free) {
            let mut writes = WriteSet::new(self.queue);
            let ended = match slot.kind().state {
                SlotUse::Sending | SlotUse::Receiving
                    if self.queue.queues.core.participants.holds_on(ThreadOwner(slot.get(words::NUMBER))) =>
                {
                    Ok(())
                }
                SlotUse::Sending => stage_end_of(&mut writes, slot.unit(), ThreadOwner(slot.get(words::NUMBER))),
                // Perhaps it was given to one who was dead already, and whoever has sent it thinks that it arrives.
                SlotUse::Receiving => self.restore(slot),
                SlotUse::Waiter if self.queue.lives(slot.sleeper()) => {
                    // Perhaps nobody has woken it yet.
                    futex::wake_one(&slot.sleeper().state);
                    Ok(())
                }
                SlotUse::Waiter => writes.delist(&self.queue.header().busy, slot).map(|()| writes.give_slot(slot, 0)),
                _ => Ok(()),
            };
            if ended.is_ok() && !writes.stores().is_empty() {
                let _ = self.commit(&writes);
            }
        }
    }
}

/// Drafts the answer to a call; what `more` drafts is there before the caller sees the answer.
pub fn stage_answer<'a>(
    writes: &mut WriteSet<'a>,
    side: Side,
    call: Slot,
    errno: u16,
    more: impl FnOnce(&mut WriteSet<'a>),
) -> Result<()> {
    let queue = writes.queue();
    let header = queue.header();
    writes.delist(side.ends(&queue), call)?;
    writes.enlist(&header.busy, call)?;
    writes.put(&header.waiting, side.count(header.waiting.load(Relaxed), false));
    more(writes);
    let slot = call.sleeper().slot.load(Relaxed);
    writes.put_in(call, words::STATE, state_word(WaiterState::Answered(errno), slot));
    Ok(())
}

/// Drafts that a waiting receiver has been given a message, which is one of those that are busy and says so.
pub fn stage_given(writes: &mut WriteSet<'_>, call: Slot, message: Slot, sender: u32) -> Result<()> {
    stage_answer(writes, Side::Receivers, call, 0, |writes| {
        let header = writes.queue().header();
        let flags = low(call.get(words::WANTS));
        writes.put_in(call, words::WANTS, halves(flags, message.unit()));
        // Its number is its own, also if it comes back into the line.
        let count = writes.get(&header.count);
        writes.set(&header.count, halves(low(count), high(count).wrapping_add(1)));
        writes.stamp(&header.sent, sender);
        // If the receiver turns out to be dead, nothing was received.
        writes.put_in(call, words::BEFORE, header.received.load(Relaxed));
        // The kernel, too, names the thread here, and the process of one that has not waited.
        writes.stamp(&header.received, call.sleeper().tid.load(Relaxed));
    })
}

/// Drafts the end of a message that is being sent or received by `holder`, if it is.
pub fn stage_end_of(writes: &mut WriteSet<'_>, unit: u32, holder: ThreadOwner) -> Result<()> {
    let queue = writes.queue();
    let Ok(slot) = queue.slot(unit) else { return Ok(()) };
    let kind = slot.kind();
    if !matches!(kind.state, SlotUse::Sending | SlotUse::Receiving) || slot.get(words::NUMBER) != holder.0 {
        return Ok(());
    }
    writes.delist(&queue.header().busy, slot)?;
    writes.give_message(slot, kind.class, kind.number as usize)
}

/// Drafts that an answered call's place is given back, and that of the message that it was receiving or could not send.
fn stage_end_of_call(writes: &mut WriteSet<'_>, call: &BlockedCall<'_>, holder: ThreadOwner) -> Result<()> {
    let slot = call.slot;
    writes.delist(&writes.queue().header().busy, slot)?;
    stage_end_of(writes, call.message(), holder)?;
    writes.give_slot(slot, 0);
    let state = state_word(WaiterState::Free, slot.sleeper().slot.load(Relaxed));
    writes.put_in(slot, words::STATE, state);
    Ok(())
}

/// Whether the message of a waiting call is still to be sent.
fn is_sending(message: Slot, call: Slot) -> bool {
    message.kind().state == SlotUse::Sending && message.get(words::NUMBER) == holder_of(call.sleeper()).0
}

/// Whether there is room for a message.
#[inline(always)]
pub fn fits(queue: &QueueView<'_>, len: usize) -> bool {
    let header = queue.header();
    let capacity = header.capacity.load(Relaxed);
    let bytes = header.bytes.load(Relaxed).saturating_add(len as u64);
    bytes <= capacity && u64::from(low(header.count.load(Relaxed))) < capacity
}

/// Wakes the caller of an answered call. `false`: it is dead.
fn has_woken(queue: &QueueView<'_>, call: Slot) -> bool {
    // Who was asleep is alive. Who was not may be on the way to sleep, or be gone.
    futex::wake_one(&call.sleeper().state) != 0 || queue.lives(call.sleeper())
}

/// A message that was given to a waiting receiver, who has not been woken yet.
#[derive(Clone, Copy)]
pub struct Given {
    call: Slot,
    ticket: u64,
    message: Slot,
}

impl Given {
    pub fn new(call: Slot, message: Slot) -> Given {
        Given { call, ticket: call.sleeper().ticket.load(Relaxed), message }
    }

    /// Wakes the receiver; if that is dead, the message goes to somebody else.
    pub fn wake(&self, queue: QueueView<'_>) {
        if !has_woken(&queue, self.call)
            && let Ok(guard) = queue.queues.lock(queue, Patience::EndlessInCall)
        {
            // What is left is found when the dead are buried.
            let _ = guard.rescue(self);
        }
    }
}

/// A call of the calling thread that waits.
pub struct BlockedCall<'a> {
    pub queue: QueueView<'a>,
    pub id: Id,
    pub side: Side,
    pub slot: Slot,
    ticket: u64,
    generation: u32,
}

impl<'a> BlockedCall<'a> {
    pub fn new(queue: QueueView<'a>, id: Id, side: Side, slot: Slot) -> BlockedCall<'a> {
        let ticket = slot.sleeper().ticket.load(Relaxed);
        BlockedCall { queue, id, side, slot, ticket, generation: ids::generation() }
    }

    /// What a handler has to know of it.
    pub fn interruptible(&self, queues: &'static Queues) -> Interruptible {
        Interruptible::new(queues, self.id, self.side as u8, self.slot.unit(), self.ticket)
    }

    /// Whether it has been answered, and its place has not been given back yet.
    pub fn is_answered(&self) -> bool {
        self.is_own() && matches!(self.slot.sleeper().state(), WaiterState::Answered(_))
    }

    /// Gives the place of an answered call back, and that of its message.
    pub fn end(&self) {
        if self.is_answered()
            && !self.end_fast()
            && let Ok(guard) = self.queue.queues.lock(self.queue, Patience::EndlessInCall)
            && self.is_own()
        {
            // If the queue is gone, there is nothing to be given back.
            let _ = guard.end_call(self);
        }
    }

    fn end_fast(&self) -> bool {
        let ended = RseqGuard::with(self.queue, |quick| {
            let mut writes = WriteSet::new(self.queue);
            // It is its parent's in a handler's child.
            self.is_own()
                && stage_end_of_call(&mut writes, self, quick.holder()).is_ok()
                && writes.check().is_ok()
                && quick.commit(&writes)
        });
        ended == Some(true)
    }

    /// The message that it was given, or has sent.
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
        LOOK
    }

    fn check_peers(&self) -> Result<()> {
        self.queue.queues.lock(self.queue, Patience::BriefInCall).map(drop)
    }

    fn leave_queue(&self) -> Result<bool> {
        let guard = self.queue.queues.lock(self.queue, Patience::BriefInCall)?;
        // No handler comes in between any more.
        let waits = self.is_own() && self.sleeper().state() == WaiterState::Waiting;
        if waits && guard.drop_call(self.side, self.slot).is_err() {
            // In a damaged queue its place is left behind.
            waiter::free(&self.sleeper().state);
        }
        Ok(waits)
    }

    fn abandon(&self) -> bool {
        let _signals = Blocked::all();
        let (sleeper, header) = (self.sleeper(), self.queue.header());
        let given_up = self.is_own()
            && waiter::withdraw(&header.answering[self.side as usize], self.ticket, &sleeper.pid, ids::pid())
            && sleeper.state() == WaiterState::Waiting;
        if given_up {
            // Whoever comes next looks at everything.
            header.damaged.store(1, Relaxed);
        }
        given_up
    }

    /// Its caller does, when it has the message.
    fn release(&self) {}

    fn ends_when_cancelled(&self) -> bool {
        crate::process::cancel::is_told()
    }
}

impl EndCall for Queues {
    fn end_call(&self, call: &Interruptible, forget: bool) {
        let side = if call.queue == Side::Receivers as u8 { Side::Receivers } else { Side::Senders };
        let Ok(queue) = self.live(call.id.raw()) else { return };
        let Ok(slot) = queue.slot(call.number) else { return };
        let own = BlockedCall { queue, id: call.id, side, slot, ticket: call.ticket, generation: call.generation };
        let guard = loop {
            match self.lock(queue, Patience::BriefInCall) {
                Ok(guard) => break guard,
                Err(e) => {
                    let waits = own.is_own() && own.sleeper().state() == WaiterState::Waiting;
                    if !waits || own.abandon() || waiting::is_gone(e) {
                        return;
                    }
                    // It is just being answered.
                    futex::wait(&own.sleeper().state, WaiterState::Waiting.pack(), waiting::RETRY_INTERVAL);
                }
            }
        };
        if !own.is_own() {
            return;
        }
        let _ = match own.sleeper().state() {
            WaiterState::Waiting if forget => guard.drop_call(side, slot),
            WaiterState::Waiting => guard.answer(side, slot, Errno::INTR).map(drop),
            WaiterState::Answered(_) if forget => guard.end_call(&own),
            _ => Ok(()),
        };
    }
}

impl QueueGuard<'_> {
    /// Gives an answered call's place back, and that of the message that it was receiving or could not send.
    pub fn end_call(&self, call: &BlockedCall<'_>) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        stage_end_of_call(&mut writes, call, self.holder())?;
        self.commit(&writes)
    }
}

/// The stamp of the calling process.
pub fn own_stamp() -> Stamp {
    now(ids::pid())
}
