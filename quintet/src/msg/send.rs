//! `msgsnd`.
//!
//! A call tries the cheapest way first:
//!
//! 1. One restartable sequence appends the message, or hands it to a blocked receiver
//!    ([`try_send`]).
//! 2. If the queue is full, the call tries this again for a short while ([`spin::until`]).
//! 3. All other calls take the lock with signals blocked. They may grow the file, copy a long
//!    message, or block.

use crate::layout::{Slot, SlotKind, SlotUse, halves, high, low, words};
use crate::msg::arena::MAX_COPY_UNDER_LOCK;
use crate::msg::blocked_call::BlockedCall;
use crate::msg::handover::{HandedOver, stage_delivery};
use crate::msg::lock::{QueueGuard, RseqGuard, check_live};
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::spin::{self, FastOutcome};
use crate::msg::waiters::{RETRY, Side, fits, own_stamp, owner_of, selector_of, stage_end_of_transfer};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::{fork, waiting};
use crate::sync::queue_lock::ThreadOwner;
use crate::sys::clock::Instant;
use crate::sys::ids;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::message_bytes::{Piece, Source};
use crate::types::msg::MsgFlags;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// The words of a message from its type to its stamp, which one copy stores into its slot.
type MessageHeader = [u64; 5];

impl Queues {
    /// `msgsnd` with the bytes of a slice.
    pub fn msgsnd(&'static self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        self.send(id, mtype, Source::new(data), flags, timeout)
    }

    /// `msgsnd`: tries the restartable sequence, then all other ways.
    #[inline(always)]
    pub fn send(&'static self, id: i32, mtype: i64, from: Source, flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        let max_len = (self.header.msgmax.load(Relaxed) as usize).min(MAX_COPY_UNDER_LOCK);
        let is_usual = !fork::is_raw_clone_child() && mtype >= 1 && from.len <= max_len;
        if is_usual
            && let Some(queue) = self.hot(id)
            && queue.may(true)
            && let FastOutcome::Done(()) = try_send(queue, mtype, from)
        {
            return Ok(());
        }
        self.send_slow(id, mtype, from, flags, timeout)
    }

    /// `msgsnd` in all other cases. The checks have the kernel's order.
    #[inline(never)]
    fn send_slow(&'static self, id: i32, mtype: i64, from: Source, flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        if from.len > self.header.msgmax.load(Relaxed) as usize || i32::try_from(from.len).is_err() || mtype < 1 {
            return Err(Errno::INVAL);
        }
        if fork::is_raw_clone_child() {
            fork::adopt_raw_clone_child();
        }
        let queue = self.live(id)?;
        if !queue.may(true) {
            return self.denied(id, Errno::ACCES);
        }
        let id = Id::from_raw(id)?;
        let nowait = flags.contains(MsgFlags::NOWAIT) || timeout == Some(Duration::ZERO);
        // A timeout beyond the range of the clock never expires.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if queue.is_fully_mapped() && from.len <= MAX_COPY_UNDER_LOCK {
            match try_send(queue, mtype, from) {
                FastOutcome::Done(()) => return Ok(()),
                FastOutcome::WouldBlock if nowait => return Err(Errno::AGAIN),
                FastOutcome::WouldBlock => {
                    if let FastOutcome::Done(()) = spin::until(&queue, spin::FOR_ROOM, deadline, || try_send(queue, mtype, from))
                    {
                        return Ok(());
                    }
                }
                FastOutcome::Failed(_) | FastOutcome::NeedsLock => {}
            }
        }
        self.send_locked(queue, id, mtype, from, nowait, deadline)
    }

    /// `msgsnd` under the queue lock.
    #[cold]
    fn send_locked(
        &'static self,
        queue: QueueView<'_>,
        id: Id,
        mtype: i64,
        from: Source,
        nowait: bool,
        deadline: Option<Instant>,
    ) -> Result<()> {
        loop {
            // A call that does not block knows neither a deadline nor `EINTR`.
            let patience = if nowait { Patience::Endless } else { Patience::Until(deadline, Errno::AGAIN) };
            let mut guard = check_live(self.lock(queue, patience)?, id)?;
            if !guard.queue.may(true) {
                return Err(Errno::ACCES);
            }
            guard.reclaim_before_growth(from.len);
            let late = nowait || deadline.is_some_and(|deadline| deadline <= Instant::now());
            let fits = guard.fits(from.len);
            if !fits && late {
                return Err(Errno::AGAIN);
            }
            let large = from.len > MAX_COPY_UNDER_LOCK;
            if fits && !large && low(guard.queue.header().waiting.load(Relaxed)) == 0 {
                return guard.append(mtype, from);
            }
            // The message gets its slots before there is room for it. A peer that makes room can
            // then send it for this call.
            let message = guard.reserve(mtype, from)?;
            if large {
                // The lock is not held during the copy. The slots belong to the busy list under the
                // name of this thread. If the process dies, the next sweep frees them.
                drop(guard);
                copy_in(&queue, message, from);
                guard = check_live(self.lock(queue, Patience::Endless)?, id)?;
                if !is_reserved(message, guard.owner()) {
                    // This is a child that a handler forked during the copy. The slots belong to
                    // its parent.
                    return Err(Errno::INTR);
                }
            }
            if guard.fits(from.len) {
                return guard.send_reserved(message, ids::pid()).or_else(|e| guard.discard(message).and(Err(e)));
            }
            if late {
                return guard.discard(message).and(Err(Errno::AGAIN));
            }
            let enqueued = guard.enqueue(Side::Senders, mtype, MsgFlags::empty(), from.len as u64, message.unit());
            let call = match enqueued {
                Ok(slot) => BlockedCall::new(guard.queue, id, Side::Senders, slot),
                Err(e) => return guard.discard(message).and(Err(e)),
            };
            waiting::announce(call.interruptible(self));
            // The call is in the list and announced to handlers before the lock is released.
            // Signals stay blocked until it sleeps.
            let signals = guard.release();
            let answer = waiting::sleep(&call, deadline, Errno::AGAIN, signals);
            call.end();
            match answer {
                Err(RETRY) => {}
                other => return other,
            }
        }
    }
}

/// Returns the words of a message. `number` is its owner while it is busy.
fn message_header(mtype: i64, links: u64, blocks: u32, number: u64) -> MessageHeader {
    [mtype as u64, links, halves(0, blocks), number, own_stamp().pack()]
}

/// Sends in a restartable sequence. `WouldBlock` means that there is no room.
#[inline(always)]
fn try_send(queue: QueueView<'_>, mtype: i64, from: Source) -> FastOutcome<()> {
    if !fits(&queue, from.len) {
        return FastOutcome::WouldBlock;
    }
    let mut handed_over: Option<HandedOver> = None;
    let sent = RseqGuard::with(queue, |guard| {
        let header = queue.header();
        if header.damaged.load(Relaxed) != 0 || !queue.is_live() {
            return FastOutcome::NeedsLock;
        }
        if !fits(&queue, from.len) {
            return if guard.release() { FastOutcome::WouldBlock } else { FastOutcome::NeedsLock };
        }
        guard.reset_waits(spin::FOR_MESSAGES);
        let mut writes = WriteSet::new(queue);
        let mut words = MessageHeader::default();
        let staged = match low(header.waiting.load(Relaxed)) {
            0 => stage_new(&mut writes, mtype, from, &mut words),
            _ => stage_handover(&mut writes, mtype, from, &mut words, &mut handed_over),
        };
        match staged {
            Ok(true) if writes.check().is_ok() && guard.commit(&writes) => FastOutcome::Done(()),
            _ => FastOutcome::NeedsLock,
        }
    })
    .unwrap_or(FastOutcome::NeedsLock);
    if let (FastOutcome::Done(()), Some(handed_over)) = (sent, handed_over) {
        handed_over.wake(queue);
    }
    sent
}

/// Stages a new message for the first blocked receiver that takes it, or for the end of the list.
/// Returns `false` if one write set cannot express this.
#[inline(never)]
fn stage_handover(
    writes: &mut WriteSet<'_>,
    mtype: i64,
    from: Source,
    words: &mut MessageHeader,
    handed_over: &mut Option<HandedOver>,
) -> Result<bool> {
    if waiting::has_interrupted() {
        // The call that this handler has interrupted is over in the kernel, and must not get a
        // message. Under the lock it is ended first.
        return Ok(false);
    }
    let queue = writes.queue();
    let Some(call) = queue.calls(Side::Receivers).find(|call| selector_of(*call).matches(mtype)) else {
        return stage_new(writes, mtype, from, words);
    };
    if call.get(words::SIZE) < from.len as u64 {
        // The receiver must be answered with `E2BIG`, and the next receiver tried.
        return Ok(false);
    }
    // The ticket in `answering` tells the receiver not to give up without the lock. If it has given
    // up already, it must be removed under the lock.
    if queue.claim(Side::Receivers, call).is_none() {
        return Ok(false);
    }
    let Some((slot, class, blocks)) = writes.allocate_message(from.len)? else { return Ok(false) };
    let number = high(queue.header().count.load(Relaxed));
    *words = message_header(mtype, 0, blocks, owner_of(call.sleeper()).0);
    // The number that the message has if it returns to the list.
    words[2] = halves(number, blocks);
    writes.copy(slot.bytes(8), words.as_ptr().cast(), size_of::<MessageHeader>());
    writes.copy_message(slot, class, blocks, from)?;
    // From the commit on, the message is being received by the thread of the blocked call.
    writes.put_in(slot, words::KIND, SlotKind { state: SlotUse::Receiving, class, number: from.len as u32 }.pack());
    writes.list_append(&queue.header().busy, slot)?;
    stage_delivery(writes, call, slot, ids::pid())?;
    *handed_over = Some(HandedOver::new(call, slot));
    Ok(true)
}

/// Stages a new message at the end of the list. `words` must live until the write set is committed.
/// Returns `false` if there are too few free slots.
#[inline(always)]
fn stage_new(writes: &mut WriteSet<'_>, mtype: i64, from: Source, words: &mut MessageHeader) -> Result<bool> {
    let Some((slot, class, blocks)) = writes.allocate_message(from.len)? else { return Ok(false) };
    let (links, number) = writes.tail_position();
    *words = message_header(mtype, links, blocks, number);
    writes.copy(slot.bytes(8), words.as_ptr().cast(), size_of::<MessageHeader>());
    writes.copy_message(slot, class, blocks, from)?;
    let sent = words[4];
    writes.append(slot, class, from.len, mtype, blocks)?;
    let header = writes.queue().header();
    writes.put(&header.sent, sent);
    Ok(true)
}

/// Copies the bytes of a reserved message into its slots, without the lock.
fn copy_in(queue: &QueueView<'_>, message: Slot, from: Source) {
    let mut done = 0;
    for Piece { at, len } in queue.pieces(message, from.len) {
        #[allow(unsafe_code)]
        // SAFETY: this call has reserved the slots, which are mapped writable, and the source has
        // as many bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(from.at.wrapping_add(done), at.cast_mut(), len);
        }
        done += len;
    }
}

/// Returns `true` if `owner` is sending the message.
fn is_reserved(message: Slot, owner: ThreadOwner) -> bool {
    message.kind().state == SlotUse::Sending && message.get(words::NUMBER) == owner.0
}

impl QueueGuard<'_> {
    /// Appends a new message.
    fn append(&self, mtype: i64, from: Source) -> Result<()> {
        self.ensure_message_slots(from.len)?;
        if self.queue.header().types.load(Relaxed) != 0 {
            self.ensure_two_smallest()?;
        }
        let mut writes = WriteSet::new(self.queue);
        let mut words = MessageHeader::default();
        if !stage_new(&mut writes, mtype, from, &mut words)? {
            return Err(Errno::NOMEM);
        }
        self.commit(&writes)
    }

    /// Allocates the slots of a message and enters it in the busy list as being sent. Copies its
    /// bytes, unless it is long.
    fn reserve(&self, mtype: i64, from: Source) -> Result<Slot> {
        self.ensure_message_slots(from.len)?;
        let mut writes = WriteSet::new(self.queue);
        let (slot, class, blocks) = writes.allocate_message(from.len)?.ok_or(Errno::NOMEM)?;
        let words = message_header(mtype, 0, blocks, self.owner().0);
        writes.copy(slot.bytes(8), words.as_ptr().cast(), size_of::<MessageHeader>());
        if from.len <= MAX_COPY_UNDER_LOCK {
            writes.copy_message(slot, class, blocks, from)?;
        }
        writes.set_in(slot, words::KIND, SlotKind { state: SlotUse::Sending, class, number: from.len as u32 }.pack());
        writes.list_append(&self.queue.header().busy, slot)?;
        self.commit(&writes)?;
        Ok(slot)
    }

    /// Frees a reserved message.
    fn discard(&self, message: Slot) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        stage_end_of_transfer(&mut writes, message.unit(), self.owner())?;
        self.commit(&writes)
    }
}
