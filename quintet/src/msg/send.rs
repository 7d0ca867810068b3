//! `msgsnd`.

use crate::layout::{Slot, SlotKind, SlotUse, halves, high, low, words};
use crate::msg::arena::MOST_AT_ONCE;
use crate::msg::lock::{QueueGuard, RseqGuard, live};
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::spin::{self, Attempt};
use crate::msg::waiters::{ANEW, BlockedCall, Given, Side, fits, holder_of, own_stamp, stage_end_of, stage_given, wanted};
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

/// The words of a message from its type on, as they are copied into its slot together.
type Header = [u64; 5];

impl Queues {
    pub fn msgsnd(&'static self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        self.send(id, mtype, Source::new(data), flags, timeout)
    }

    /// `msgsnd`: tries it in a restartable sequence, and then in all generality.
    #[inline(always)]
    pub fn send(&'static self, id: i32, mtype: i64, from: Source, flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        let most = (self.core.header.msgmax.load(Relaxed) as usize).min(MOST_AT_ONCE);
        let is_usual = !fork::is_raw_clone_child() && mtype >= 1 && from.len <= most;
        if is_usual
            && let Some(queue) = self.hot(id)
            && queue.may(true)
            && let Attempt::Done(()) = try_send(queue, mtype, from)
        {
            return Ok(());
        }
        self.send_slow(id, mtype, from, flags, timeout)
    }

    /// In the order in which the kernel checks.
    #[inline(never)]
    fn send_slow(&'static self, id: i32, mtype: i64, from: Source, flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        if from.len > self.core.header.msgmax.load(Relaxed) as usize || i32::try_from(from.len).is_err() || mtype < 1 {
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
        // A time that cannot be reckoned is one without end.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if queue.is_whole() && from.len <= MOST_AT_ONCE {
            match try_send(queue, mtype, from) {
                Attempt::Done(()) => return Ok(()),
                Attempt::Not if nowait => return Err(Errno::AGAIN),
                Attempt::Not => {
                    if let Attempt::Done(()) = spin::until(&queue, spin::FOR_ROOM, deadline, || try_send(queue, mtype, from)) {
                        return Ok(());
                    }
                }
                Attempt::Failed(_) | Attempt::Slow => {}
            }
        }
        self.send_locked(queue, id, mtype, from, nowait, deadline)
    }

    /// Under the queue's lock.
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
            // One that never waits for others knows no time, and no `EINTR`.
            let patience = if nowait { Patience::Endless } else { Patience::Until(deadline, Errno::AGAIN) };
            let mut guard = live(self.lock(queue, patience)?, id)?;
            if !guard.queue.may(true) {
                return Err(Errno::ACCES);
            }
            guard.make_ready(from.len);
            let late = nowait || deadline.is_some_and(|deadline| deadline <= Instant::now());
            let fits = guard.fits(from.len);
            if !fits && late {
                return Err(Errno::AGAIN);
            }
            let large = from.len > MOST_AT_ONCE;
            if fits && !large && low(guard.queue.header().waiting.load(Relaxed)) == 0 {
                return guard.append(mtype, from);
            }
            let message = guard.reserve(mtype, from)?;
            if large {
                drop(guard);
                copy_in(&queue, message, from);
                guard = live(self.lock(queue, Patience::Endless)?, id)?;
                if !is_reserved(message, guard.holder()) {
                    // A handler's child goes on here.
                    return Err(Errno::INTR);
                }
            }
            if guard.fits(from.len) {
                return guard.pass_on(message, ids::pid()).or_else(|e| guard.discard(message).and(Err(e)));
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
            let signals = guard.leave();
            let answer = waiting::sleep(&call, deadline, Errno::AGAIN, signals);
            call.end();
            match answer {
                Err(ANEW) => {}
                other => return other,
            }
        }
    }
}

fn header(mtype: i64, links: u64, blocks: u32, number: u64) -> Header {
    [mtype as u64, links, halves(0, blocks), number, own_stamp().pack()]
}

/// Sends without holding signals off, if nobody is to be woken.
#[inline(always)]
fn try_send(queue: QueueView<'_>, mtype: i64, from: Source) -> Attempt<()> {
    if !fits(&queue, from.len) {
        return Attempt::Not;
    }
    let mut given: Option<Given> = None;
    let sent = RseqGuard::with(queue, |quick| {
        let header = queue.header();
        if header.damaged.load(Relaxed) != 0 || !queue.is_live() {
            return Attempt::Slow;
        }
        if !fits(&queue, from.len) {
            return if quick.leave() { Attempt::Not } else { Attempt::Slow };
        }
        quick.forget_waits(spin::FOR_MESSAGES);
        let mut writes = WriteSet::new(queue);
        let mut words = Header::default();
        let drafted = match low(header.waiting.load(Relaxed)) {
            0 => stage_new(&mut writes, mtype, from, &mut words),
            _ => stage_handed_over(&mut writes, mtype, from, &mut words, &mut given),
        };
        match drafted {
            Ok(true) if writes.check().is_ok() && quick.commit(&writes) => Attempt::Done(()),
            _ => Attempt::Slow,
        }
    })
    .unwrap_or(Attempt::Slow);
    if let (Attempt::Done(()), Some(given)) = (sent, given) {
        given.wake(queue);
    }
    sent
}

/// Drafts that a new message goes to the first of the waiting receivers that takes it; if none does, at the end of the line. `false`: that
/// cannot be said in one draft.
#[inline(never)]
fn stage_handed_over(
    writes: &mut WriteSet<'_>,
    mtype: i64,
    from: Source,
    words: &mut Header,
    given: &mut Option<Given>,
) -> Result<bool> {
    if waiting::has_interrupted() {
        // The call that this handler has interrupted waits for nothing any more, and must not get it.
        return Ok(false);
    }
    let queue = writes.queue();
    let Some(call) = queue.calls(Side::Receivers).find(|call| wanted(*call).takes(mtype)) else {
        return stage_new(writes, mtype, from, words);
    };
    if call.get(words::SIZE) < from.len as u64 {
        // He is to be told, and others are to be tried.
        return Ok(false);
    }
    if queue.claim(Side::Receivers, call).is_none() {
        return Ok(false);
    }
    let Some((slot, class, blocks)) = writes.take_message(from.len)? else { return Ok(false) };
    let number = high(queue.header().count.load(Relaxed));
    *words = header(mtype, 0, blocks, holder_of(call.sleeper()).0);
    // If it must be put back into the line.
    words[2] = halves(number, blocks);
    writes.fill(slot.bytes(8), words.as_ptr().cast(), size_of::<Header>());
    writes.fill_message(slot, class, blocks, from)?;
    writes.put_in(slot, words::KIND, SlotKind { state: SlotUse::Receiving, class, number: from.len as u32 }.pack());
    writes.enlist(&queue.header().busy, slot)?;
    stage_given(writes, call, slot, ids::pid())?;
    *given = Some(Given::new(call, slot));
    Ok(true)
}

/// Drafts a new message at the end of the line; `words` must live until the draft is committed. `false`: there is no slot at hand.
#[inline(always)]
fn stage_new(writes: &mut WriteSet<'_>, mtype: i64, from: Source, words: &mut Header) -> Result<bool> {
    let Some((slot, class, blocks)) = writes.take_message(from.len)? else { return Ok(false) };
    let (links, number) = writes.at_the_end();
    *words = header(mtype, links, blocks, number);
    writes.fill(slot.bytes(8), words.as_ptr().cast(), size_of::<Header>());
    writes.fill_message(slot, class, blocks, from)?;
    let sent = words[4];
    writes.append(slot, class, from.len, mtype, blocks)?;
    let header = writes.queue().header();
    writes.put(&header.sent, sent);
    Ok(true)
}

/// Copies a message's bytes into its slots, with the lock not held.
fn copy_in(queue: &QueueView<'_>, message: Slot, from: Source) {
    let mut done = 0;
    for Piece { at, len } in queue.pieces(message, from.len) {
        #[allow(unsafe_code)]
        // SAFETY: slots of a message that this call has reserved, mapped writable; the source has as many bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(from.at.wrapping_add(done), at.cast_mut(), len);
        }
        done += len;
    }
}

fn is_reserved(message: Slot, by: ThreadOwner) -> bool {
    message.kind().state == SlotUse::Sending && message.get(words::NUMBER) == by.0
}

impl QueueGuard<'_> {
    /// Puts a new message at the end of the line.
    fn append(&self, mtype: i64, from: Source) -> Result<()> {
        self.provide_message(from.len)?;
        if self.queue.header().types.load(Relaxed) != 0 {
            self.provide_two_smallest()?;
        }
        let mut writes = WriteSet::new(self.queue);
        let mut words = Header::default();
        if !stage_new(&mut writes, mtype, from, &mut words)? {
            return Err(Errno::NOMEM);
        }
        self.commit(&writes)
    }

    /// Gives a message its slots before it is sent; what is short is copied into them at once.
    fn reserve(&self, mtype: i64, from: Source) -> Result<Slot> {
        self.provide_message(from.len)?;
        let mut writes = WriteSet::new(self.queue);
        let (slot, class, blocks) = writes.take_message(from.len)?.ok_or(Errno::NOMEM)?;
        let words = header(mtype, 0, blocks, self.holder().0);
        writes.fill(slot.bytes(8), words.as_ptr().cast(), size_of::<Header>());
        if from.len <= MOST_AT_ONCE {
            writes.fill_message(slot, class, blocks, from)?;
        }
        writes.set_in(slot, words::KIND, SlotKind { state: SlotUse::Sending, class, number: from.len as u32 }.pack());
        writes.enlist(&self.queue.header().busy, slot)?;
        self.commit(&writes)?;
        Ok(slot)
    }

    /// Gives a message up that was not sent.
    fn discard(&self, message: Slot) -> Result<()> {
        let mut writes = WriteSet::new(self.queue);
        stage_end_of(&mut writes, message.unit(), self.holder())?;
        self.commit(&writes)
    }
}
