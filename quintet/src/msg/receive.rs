//! `msgrcv`.

use crate::layout::{BLOCK_BYTES, Slot, SlotKind, SlotUse, UNIT, halves, high, low, words};
use crate::msg::arena::MOST_AT_ONCE;
use crate::msg::lock::{QueueGuard, RseqGuard, live};
use crate::msg::mapping::{FIRST_PAGES, QueueView, Queues};
use crate::msg::message_list::{Selected, Selector};
use crate::msg::spin::{self, Attempt};
use crate::msg::waiters::{ANEW, BlockedCall, Side, own_stamp, stage_end_of};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork;
use crate::process::waiting::{self, Waiting};
use crate::sys::clock::Instant;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::message_bytes::{Piece, Sink};
use crate::types::msg::MsgFlags;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// An empty queue with more pages than this gives their memory back: 16 MiB.
const MOST_KEPT: u32 = 4096;

/// What a call asks for.
#[derive(Clone, Copy)]
struct ReceiveRequest {
    /// As the call's `msgtyp`, and what it means.
    mtype: i64,
    select: Selector,
    size: usize,
    flags: MsgFlags,
}

impl ReceiveRequest {
    /// How much of a message it gets, unless the message is longer than it takes.
    #[inline(always)]
    fn of(&self, len: usize) -> Result<usize> {
        if len > self.size && !self.flags.contains(MsgFlags::NOERROR) { Err(Errno::TOOBIG) } else { Ok(len.min(self.size)) }
    }

    fn copies(&self) -> bool {
        self.flags.contains(MsgFlags::COPY)
    }
}

/// A receiver's own memory.
struct Buffer<'b> {
    bytes: &'b mut [u8],
    mtype: i64,
}

impl Sink for Buffer<'_> {
    fn ready(&mut self, len: usize) -> Option<*mut u8> {
        (len <= self.bytes.len()).then_some(self.bytes.as_mut_ptr())
    }

    fn put_type(&mut self, mtype: i64) {
        self.mtype = mtype;
    }

    fn put(&mut self, mtype: i64, pieces: &[Piece]) -> Result<()> {
        let len = pieces.iter().map(|piece| piece.len).sum();
        let to = self.ready(len).ok_or(Errno::FAULT)?;
        copy_out(to, pieces.iter().copied());
        self.mtype = mtype;
        Ok(())
    }
}

/// Copies a message's bytes to memory that has room for them.
#[inline(always)]
fn copy_out(to: *mut u8, pieces: impl Iterator<Item = Piece>) {
    let mut done = 0;
    for piece in pieces {
        #[allow(unsafe_code)]
        // SAFETY: a piece is mapped readable; `to` has room for all of them, which a sink has said. A peer that writes there meanwhile spoils what is
        // copied and nothing else: no reference is made to it.
        unsafe {
            std::ptr::copy_nonoverlapping(piece.at, to.wrapping_add(done), piece.len);
        }
        done += piece.len;
    }
}

impl Queues {
    pub fn msgrcv(
        &'static self,
        id: i32,
        buffer: &mut [u8],
        mtype: i64,
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> Result<(i64, usize)> {
        let size = buffer.len();
        let mut to = Buffer { bytes: buffer, mtype: 0 };
        let len = self.receive(id, &mut to, size, mtype, flags, timeout)?;
        Ok((to.mtype, len))
    }

    /// `msgrcv`: tries it in a restartable sequence, and then in all generality.
    #[inline(always)]
    pub fn receive(
        &'static self,
        id: i32,
        to: &mut impl Sink,
        size: usize,
        mtype: i64,
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        let wanted = ReceiveRequest { mtype, select: Selector::new(mtype, flags), size, flags };
        let is_usual = !fork::is_raw_clone_child() && !wanted.copies();
        if is_usual
            && let Some(queue) = self.hot(id)
            && queue.may(false)
            && let Attempt::Done(len) = try_receive(queue, to, &wanted)
        {
            return Ok(len);
        }
        self.receive_slow(id, to, &wanted, timeout)
    }

    /// In the order in which the kernel checks.
    #[inline(never)]
    fn receive_slow(
        &'static self,
        id: i32,
        to: &mut impl Sink,
        wanted: &ReceiveRequest,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        if id < 0 || isize::try_from(wanted.size).is_err() {
            return Err(Errno::INVAL);
        }
        let nowait = wanted.flags.contains(MsgFlags::NOWAIT);
        if wanted.copies() && (wanted.flags.contains(MsgFlags::EXCEPT) || !nowait) {
            return Err(Errno::INVAL);
        }
        if fork::is_raw_clone_child() {
            fork::adopt_raw_clone_child();
        }
        let queue = self.live(id)?;
        if !queue.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let id = Id::from_raw(id)?;
        let nowait = nowait || timeout == Some(Duration::ZERO);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if queue.is_whole() {
            match try_receive(queue, to, wanted) {
                Attempt::Done(len) => return Ok(len),
                Attempt::Failed(e) => return Err(e),
                Attempt::Not if nowait => return Err(Errno::NOMSG),
                Attempt::Not => match spin::until(&queue, spin::FOR_MESSAGES, deadline, || try_receive(queue, to, wanted)) {
                    Attempt::Done(len) => return Ok(len),
                    Attempt::Failed(e) => return Err(e),
                    Attempt::Not | Attempt::Slow => {}
                },
                Attempt::Slow => {}
            }
        }
        self.receive_locked(queue, id, to, wanted, nowait, deadline)
    }

    /// Under the queue's lock.
    #[cold]
    fn receive_locked(
        &'static self,
        queue: QueueView<'_>,
        id: Id,
        to: &mut impl Sink,
        wanted: &ReceiveRequest,
        nowait: bool,
        deadline: Option<Instant>,
    ) -> Result<usize> {
        loop {
            // One that never waits for others knows no time, and no `EINTR`.
            let patience = if nowait { Patience::Endless } else { Patience::Until(deadline, Errno::NOMSG) };
            let guard = live(self.lock(queue, patience)?, id)?;
            if !guard.queue.may(false) {
                return Err(Errno::ACCES);
            }
            guard.make_ready(0);
            if let Some(message) = guard.select(wanted.select)? {
                return guard.receive(message, to, wanted);
            }
            if nowait || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Errno::NOMSG);
            }
            let size = if wanted.flags.contains(MsgFlags::NOERROR) { u64::MAX } else { wanted.size as u64 };
            let slot = guard.enqueue(Side::Receivers, wanted.mtype, wanted.flags, size, 0)?;
            let call = BlockedCall::new(guard.queue, id, Side::Receivers, slot);
            waiting::announce(call.interruptible(self));
            let signals = guard.leave();
            let answer = waiting::sleep(&call, deadline, Errno::NOMSG, signals);
            if !call.is_answered() {
                return Err(answer.err().unwrap_or(Errno::IDRM));
            }
            let Err(e) = answer else { return self.receive_given(&call, to, wanted) };
            call.end();
            if e != ANEW {
                return Err(e);
            }
        }
    }

    /// Takes the message that a sender has handed over.
    fn receive_given(&self, call: &BlockedCall<'_>, to: &mut impl Sink, wanted: &ReceiveRequest) -> Result<usize> {
        let message = call.queue.slot(call.message())?;
        let len = (message.kind().number as usize).min(wanted.size);
        let put = put(&call.queue, message, len, to);
        if !call.is_own() {
            // A handler's child goes on here: what it has copied may be anything.
            return Err(Errno::INTR);
        }
        if put.is_err() {
            self.lock(call.queue, Patience::EndlessInCall)?.put_back(message)?;
        }
        call.end();
        put.map(|()| len)
    }
}

/// Hands a message to its receiver.
fn put(queue: &QueueView<'_>, message: Slot, len: usize, to: &mut impl Sink) -> Result<()> {
    let mtype = message.get(words::TYPE) as i64;
    // Memory is not asked for, if that can be: this may be a handler that has interrupted the allocator.
    const FEW: usize = 64;
    let mut few = [Piece { at: std::ptr::null(), len: 0 }; FEW];
    if len <= (FEW - 1) * BLOCK_BYTES {
        let mut count = 0;
        for (place, piece) in few.iter_mut().zip(queue.pieces(message, len)) {
            *place = piece;
            count += 1;
        }
        return to.put(mtype, &few[..count]);
    }
    let pieces: Vec<Piece> = queue.pieces(message, len).collect();
    to.put(mtype, &pieces)
}

/// Receives without holding signals off, if nobody is to be woken.
#[inline(always)]
fn try_receive(queue: QueueView<'_>, to: &mut impl Sink, wanted: &ReceiveRequest) -> Attempt<usize> {
    let header = queue.header();
    if low(header.count.load(Relaxed)) == 0 {
        return Attempt::Not;
    }
    RseqGuard::with(queue, |quick| {
        if high(header.waiting.load(Relaxed)) != 0 || header.damaged.load(Relaxed) != 0 || !queue.is_live() || wanted.copies() {
            return Attempt::Slow;
        }
        let message = match queue.select(wanted.select) {
            Ok(Selected::Message(message)) => message,
            Ok(Selected::Nothing) if quick.leave() => return Attempt::Not,
            _ => return Attempt::Slow,
        };
        quick.forget_waits(spin::FOR_ROOM);
        let kind = message.kind();
        let whole = kind.number as usize;
        let len = match wanted.of(whole) {
            Ok(len) => len,
            Err(e) if quick.leave() => return Attempt::Failed(e),
            Err(_) => return Attempt::Slow,
        };
        let last = low(header.count.load(Relaxed)) == 1;
        if whole > MOST_AT_ONCE || last && queue.pages() > MOST_KEPT {
            return Attempt::Slow;
        }
        let Some(at) = to.ready(len) else { return Attempt::Slow };
        let mtype = message.get(words::TYPE) as i64;
        let mut writes = WriteSet::new(queue);
        if stage_taken(&mut writes, message, kind, whole).is_err() || writes.check().is_err() {
            return Attempt::Slow;
        }
        // From here on only a handler of this thread's can be in the way.
        copy_out(at, queue.pieces(message, len));
        if !quick.commit(&writes) {
            return Attempt::Slow;
        }
        to.put_type(mtype);
        Attempt::Done(len)
    })
    .unwrap_or(Attempt::Slow)
}

/// Drafts that a message is received, and gone.
#[inline(always)]
fn stage_taken(writes: &mut WriteSet<'_>, message: Slot, kind: SlotKind, len: usize) -> Result<()> {
    writes.remove(message, len)?;
    let header = writes.queue().header();
    writes.put(&header.received, own_stamp().pack());
    writes.give_message(message, kind.class, len)
}

impl QueueGuard<'_> {
    /// The message that a receiver gets.
    fn select(&self, select: Selector) -> Result<Option<Slot>> {
        match self.queue.select(select)? {
            Selected::Message(message) => Ok(Some(message)),
            Selected::Nothing => Ok(None),
            Selected::Unindexed => {
                // Without room for an index it takes longer.
                if self.index_types().is_err() {
                    self.forget_types()?;
                    return Ok(self.queue.look_through(select));
                }
                match self.queue.select(select)? {
                    Selected::Message(message) => Ok(Some(message)),
                    _ => Ok(None),
                }
            }
        }
    }

    fn receive(self, message: Slot, to: &mut impl Sink, wanted: &ReceiveRequest) -> Result<usize> {
        let kind = message.kind();
        let whole = kind.number as usize;
        if whole > self.queue.most_slots() as usize * UNIT {
            // A peer has scribbled.
            return Err(Errno::INVAL);
        }
        let len = wanted.of(whole)?;
        if wanted.copies() {
            // A copy is not cut off, and the kernel has room for so much.
            let room = wanted.size.min(self.queue.queues.core.header.msgmax.load(Relaxed) as usize);
            return if whole <= room { put(&self.queue, message, len, to).map(|()| len) } else { Err(Errno::INVAL) };
        }
        let mut writes = WriteSet::new(self.queue);
        if whole <= MOST_AT_ONCE {
            put(&self.queue, message, len, to)?;
            stage_taken(&mut writes, message, kind, whole)?;
            self.commit(&writes)?;
            return self.made_room().map(|()| len);
        }
        // A long message is copied with the lock not held.
        let number = message.get(words::NUMBER) as u32;
        writes.remove(message, whole)?;
        let header = self.queue.header();
        writes.put(&header.received, own_stamp().pack());
        self.stage_receiving(&mut writes, message, self.holder(), number);
        writes.enlist(&header.busy, message)?;
        self.commit(&writes)?;
        self.made_room()?;
        let queue = self.queue;
        drop(self);
        let put = put(&queue, message, len, to);
        let guard = queue.queues.lock(queue, Patience::EndlessInCall)?;
        match put {
            Ok(()) => {
                let mut writes = WriteSet::new(queue);
                stage_end_of(&mut writes, message.unit(), guard.holder())?;
                guard.commit(&writes)?;
                guard.give_memory_back()?;
                Ok(len)
            }
            Err(e) => guard.put_back(message).and(Err(e)),
        }
    }

    /// A message is gone: whoever waits for room may go on.
    fn made_room(&self) -> Result<()> {
        self.admit_senders()?;
        self.give_memory_back()
    }

    /// If nothing is kept in the queue any more, and it was large.
    fn give_memory_back(&self) -> Result<()> {
        let header = self.queue.header();
        let idle = low(header.count.load(Relaxed)) == 0
            && header.waiting.load(Relaxed) == 0
            && header.busy.load(Relaxed) == 0
            && header.types.load(Relaxed) == 0;
        if idle && self.queue.pages() > MOST_KEPT.max(FIRST_PAGES) { self.start_over() } else { Ok(()) }
    }

    /// A message could not be given to its receiver: it goes back to where it was in the line.
    fn put_back(&self, message: Slot) -> Result<()> {
        if message.kind().state != SlotUse::Receiving || message.get(words::NUMBER) != self.holder().0 {
            return Ok(());
        }
        self.restore(message)
    }

    /// Puts a message that was taken out of the line back into it.
    pub fn restore(&self, message: Slot) -> Result<()> {
        self.forget_types()?;
        let header = self.queue.header();
        let (number, blocks) = (low(message.get(words::CHAIN)), high(message.get(words::CHAIN)));
        let newest = high(header.count.load(Relaxed));
        let age = |number: u32| newest.wrapping_sub(number);
        let later = self.queue.messages().find(|other| age(other.get(words::NUMBER) as u32) <= age(number));
        let mut writes = WriteSet::new(self.queue);
        writes.delist(&header.busy, message)?;
        writes.insert(message, later)?;
        let kind = message.kind();
        writes.set_in(message, words::KIND, SlotKind { state: SlotUse::Queued, ..kind }.pack());
        writes.set_in(message, words::NUMBER, number.into());
        writes.set_in(message, words::CHAIN, halves(0, blocks));
        self.commit(&writes)?;
        // Whoever has come to wait meanwhile has not seen it.
        self.answer_all(Side::Receivers, ANEW)
    }
}
