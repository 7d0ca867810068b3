//! `msgsnd`.

use super::arena::MOST_AT_ONCE;
use super::bytes::{Piece, Source};
use super::draft::Draft;
use super::place::QueueView;
use super::section::{Quick, Section, standing};
use super::spin::{self, Attempt};
use super::wait::{ANEW, Call, Given, Side, draft_end_of, draft_given, fits, holder_of, own_stamp, wanted};
use crate::engine::Engine;
use crate::layout::{Slot, SlotKind, SlotUse, halves, high, low, words};
use crate::sync::latch::Holder;
use crate::sys::clock::Instant;
use crate::waiting::{self, Patience};
use crate::{Errno, Id, MsgFlags, process, sys};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// The words of a message from its type on, as they are copied into its slot together.
type Header = [u64; 5];

impl Engine {
    pub fn msgsnd(&self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        self.msg_send(id, mtype, Source::new(data), flags, timeout)
    }

    #[inline(always)]
    pub fn msg_send(&self, id: i32, mtype: i64, from: Source, flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        match self.send_at_once(id, mtype, from) {
            Attempt::Done(()) => Ok(()),
            _ => self.send_whole(id, mtype, from, flags, timeout),
        }
    }

    #[inline(always)]
    fn send_at_once(&self, id: i32, mtype: i64, from: Source) -> Attempt<()> {
        let most = (self.header.msgmax.load(Relaxed) as usize).min(MOST_AT_ONCE);
        if process::is_foundling() || mtype < 1 || from.len > most {
            return Attempt::Slow;
        }
        match self.hot_queue(id) {
            Some(queue) if queue.may(true) => send_quickly(queue, mtype, from),
            _ => Attempt::Slow,
        }
    }

    /// In the order in which the kernel checks.
    #[inline(never)]
    fn send_whole(&self, id: i32, mtype: i64, from: Source, flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        if from.len > self.header.msgmax.load(Relaxed) as usize || i32::try_from(from.len).is_err() || mtype < 1 {
            return Err(Errno::INVAL);
        }
        if process::is_foundling() {
            process::adopt_foundling();
        }
        let queue = self.standing_queue(id)?;
        if !queue.may(true) {
            return self.denied_queue(id, Errno::ACCES);
        }
        let id = Id::from_raw(id)?;
        let nowait = flags.contains(MsgFlags::NOWAIT) || timeout == Some(Duration::ZERO);
        // A time that cannot be reckoned is one without end.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if queue.is_whole() && from.len <= MOST_AT_ONCE {
            match send_quickly(queue, mtype, from) {
                Attempt::Done(()) => return Ok(()),
                Attempt::Not if nowait => return Err(Errno::AGAIN),
                Attempt::Not => {
                    if let Attempt::Done(()) = spin::until(&queue, spin::FOR_ROOM, deadline, || send_quickly(queue, mtype, from))
                    {
                        return Ok(());
                    }
                }
                Attempt::Failed(_) | Attempt::Slow => {}
            }
        }
        self.send_slowly(queue, id, mtype, from, nowait, deadline)
    }

    /// Under the queue's lock.
    #[cold]
    fn send_slowly(
        &self,
        queue: QueueView<'_>,
        id: Id,
        mtype: i64,
        from: Source,
        nowait: bool,
        deadline: Option<Instant>,
    ) -> Result<()> {
        loop {
            // One that never waits for others knows no time, and no `EINTR`.
            let patience = if nowait { Patience::Endless } else { Patience::Call(deadline, Errno::AGAIN) };
            let mut section = standing(self.queue_section_for_call(queue, patience)?, id)?;
            if !section.queue.may(true) {
                return Err(Errno::ACCES);
            }
            section.make_ready(from.len);
            let late = nowait || deadline.is_some_and(|deadline| deadline <= Instant::now());
            let fits = section.fits(from.len);
            if !fits && late {
                return Err(Errno::AGAIN);
            }
            let large = from.len > MOST_AT_ONCE;
            if fits && !large && low(section.queue.header().waiting.load(Relaxed)) == 0 {
                return section.append(mtype, from);
            }
            let message = section.reserve(mtype, from)?;
            if large {
                drop(section);
                copy_in(&queue, message, from);
                section = standing(self.queue_section(queue)?, id)?;
                if !is_reserved(message, section.holder()) {
                    // A handler's child goes on here.
                    return Err(Errno::INTR);
                }
            }
            if section.fits(from.len) {
                return section.pass_on(message, sys::pid()).or_else(|e| section.discard(message).and(Err(e)));
            }
            if late {
                return section.discard(message).and(Err(Errno::AGAIN));
            }
            let engine = process::engine_for_ever(self).ok_or(Errno::INVAL);
            let waits = engine.and_then(|engine| {
                let slot = section.enqueue(Side::Senders, mtype, MsgFlags::empty(), from.len as u64, message.unit())?;
                Ok((engine, Call::new(section.queue, id, Side::Senders, slot)))
            });
            let (engine, call) = match waits {
                Ok(waits) => waits,
                Err(e) => return section.discard(message).and(Err(e)),
            };
            waiting::announce(call.interruptible(engine));
            let signals = section.leave();
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
fn send_quickly(queue: QueueView<'_>, mtype: i64, from: Source) -> Attempt<()> {
    if !fits(&queue, from.len) {
        return Attempt::Not;
    }
    let mut given: Option<Given> = None;
    let sent = Quick::with(queue, |quick| {
        let header = queue.header();
        if header.damaged.load(Relaxed) != 0 || !queue.stands() {
            return Attempt::Slow;
        }
        if !fits(&queue, from.len) {
            return if quick.leave() { Attempt::Not } else { Attempt::Slow };
        }
        quick.forget_waits(spin::FOR_MESSAGES);
        let mut draft = Draft::new(queue);
        let mut words = Header::default();
        let drafted = match low(header.waiting.load(Relaxed)) {
            0 => draft_new(&mut draft, mtype, from, &mut words),
            _ => draft_handed_over(&mut draft, mtype, from, &mut words, &mut given),
        };
        match drafted {
            Ok(true) if draft.check().is_ok() && quick.commit(&draft) => Attempt::Done(()),
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
fn draft_handed_over(
    draft: &mut Draft<'_>,
    mtype: i64,
    from: Source,
    words: &mut Header,
    given: &mut Option<Given>,
) -> Result<bool> {
    if waiting::has_interrupted() {
        // The call that this handler has interrupted waits for nothing any more, and must not get it.
        return Ok(false);
    }
    let queue = draft.queue();
    let Some(call) = queue.calls(Side::Receivers).find(|call| wanted(*call).takes(mtype)) else {
        return draft_new(draft, mtype, from, words);
    };
    if call.get(words::SIZE) < from.len as u64 {
        // He is to be told, and others are to be tried.
        return Ok(false);
    }
    if queue.claim(Side::Receivers, call).is_none() {
        return Ok(false);
    }
    let Some((slot, class, blocks)) = draft.take_message(from.len)? else { return Ok(false) };
    let number = high(queue.header().count.load(Relaxed));
    *words = header(mtype, 0, blocks, holder_of(call.sleeper()).0);
    // If it must be put back into the line.
    words[2] = halves(number, blocks);
    draft.fill(slot.bytes(8), words.as_ptr().cast(), size_of::<Header>());
    draft.fill_message(slot, class, blocks, from)?;
    draft.put_in(slot, words::KIND, SlotKind { state: SlotUse::Receiving, class, number: from.len as u32 }.pack());
    draft.enlist(&queue.header().busy, slot)?;
    draft_given(draft, call, slot, sys::pid())?;
    *given = Some(Given::new(call, slot));
    Ok(true)
}

/// Drafts a new message at the end of the line; `words` must live until the draft is committed. `false`: there is no slot at hand.
#[inline(always)]
fn draft_new(draft: &mut Draft<'_>, mtype: i64, from: Source, words: &mut Header) -> Result<bool> {
    let Some((slot, class, blocks)) = draft.take_message(from.len)? else { return Ok(false) };
    let (links, number) = draft.at_the_end();
    *words = header(mtype, links, blocks, number);
    draft.fill(slot.bytes(8), words.as_ptr().cast(), size_of::<Header>());
    draft.fill_message(slot, class, blocks, from)?;
    let sent = words[4];
    draft.append(slot, class, from.len, mtype, blocks)?;
    let header = draft.queue().header();
    draft.put(&header.sent, sent);
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

fn is_reserved(message: Slot, by: Holder) -> bool {
    message.kind().state == SlotUse::Sending && message.get(words::NUMBER) == by.0
}

impl Section<'_> {
    /// Puts a new message at the end of the line.
    fn append(&self, mtype: i64, from: Source) -> Result<()> {
        self.provide_message(from.len)?;
        if self.queue.header().types.load(Relaxed) != 0 {
            self.provide_two_smallest()?;
        }
        let mut draft = Draft::new(self.queue);
        let mut words = Header::default();
        if !draft_new(&mut draft, mtype, from, &mut words)? {
            return Err(Errno::NOMEM);
        }
        self.commit(&draft)
    }

    /// Gives a message its slots before it is sent; what is short is copied into them at once.
    fn reserve(&self, mtype: i64, from: Source) -> Result<Slot> {
        self.provide_message(from.len)?;
        let mut draft = Draft::new(self.queue);
        let (slot, class, blocks) = draft.take_message(from.len)?.ok_or(Errno::NOMEM)?;
        let words = header(mtype, 0, blocks, self.holder().0);
        draft.fill(slot.bytes(8), words.as_ptr().cast(), size_of::<Header>());
        if from.len <= MOST_AT_ONCE {
            draft.fill_message(slot, class, blocks, from)?;
        }
        draft.set_in(slot, words::KIND, SlotKind { state: SlotUse::Sending, class, number: from.len as u32 }.pack());
        draft.enlist(&self.queue.header().busy, slot)?;
        self.commit(&draft)?;
        Ok(slot)
    }

    /// Gives a message up that was not sent.
    fn discard(&self, message: Slot) -> Result<()> {
        let mut draft = Draft::new(self.queue);
        draft_end_of(&mut draft, message.unit(), self.holder())?;
        self.commit(&draft)
    }
}
