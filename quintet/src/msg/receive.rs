//! `msgrcv`.
//!
//! A call tries the cheapest way first, as in `send`:
//!
//! 1. One restartable sequence removes a message ([`try_receive`]).
//! 2. If no message matches, the call tries this again for a short while ([`spin::until`]).
//! 3. All other calls take the lock with signals blocked.

use crate::layout::{BLOCK_BYTES, Slot, SlotKind, SlotUse, UNIT, halves, high, low, words};
use crate::msg::arena::MAX_COPY_UNDER_LOCK;
use crate::msg::blocked_call::BlockedCall;
use crate::msg::lock::{QueueGuard, RseqGuard, check_live};
use crate::msg::mapping::{FIRST_PAGES, QueueView, Queues};
use crate::msg::message_list::{Selected, Selector};
use crate::msg::spin::{self, FastOutcome};
use crate::msg::waiters::{RETRY, Side, own_stamp, stage_end_of_transfer};
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

/// The number of pages, 16 MiB in all, above which an empty queue frees their memory.
const MAX_IDLE_PAGES: u32 = 4096;

/// The arguments of a call.
#[derive(Clone, Copy)]
struct ReceiveRequest {
    /// `msgtyp`.
    mtype: i64,
    /// The meaning of `msgtyp` and `flags`.
    selector: Selector,
    /// The greatest length that the call accepts, in bytes.
    size: usize,
    flags: MsgFlags,
}

impl ReceiveRequest {
    /// Returns how many bytes of a message with `len` bytes the call receives. `E2BIG` means that
    /// the message is too long.
    #[inline(always)]
    fn accept(&self, len: usize) -> Result<usize> {
        if len > self.size && !self.flags.contains(MsgFlags::NOERROR) { Err(Errno::TOOBIG) } else { Ok(len.min(self.size)) }
    }

    /// Returns `true` if the call copies a message and leaves it in the queue.
    fn is_copy(&self) -> bool {
        self.flags.contains(MsgFlags::COPY)
    }
}

/// The receiver's own buffer.
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

/// Copies the bytes of a message to memory that has room for them.
#[inline(always)]
fn copy_out(to: *mut u8, pieces: impl Iterator<Item = Piece>) {
    let mut done = 0;
    for piece in pieces {
        #[allow(unsafe_code)]
        // SAFETY: a piece is mapped readable. A sink returns `to` only if it has room for all
        // pieces. If a peer writes to a piece meanwhile, only the copied bytes change, because no
        // reference is made to it.
        unsafe {
            std::ptr::copy_nonoverlapping(piece.at, to.wrapping_add(done), piece.len);
        }
        done += piece.len;
    }
}

impl Queues {
    /// `msgrcv` into a slice. Returns the type and the length.
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

    /// `msgrcv`: tries the restartable sequence, then all other ways.
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
        let request = ReceiveRequest { mtype, selector: Selector::new(mtype, flags), size, flags };
        let is_usual = !fork::is_raw_clone_child() && !request.is_copy();
        if is_usual
            && let Some(queue) = self.hot(id)
            && queue.may(false)
            && let FastOutcome::Done(len) = try_receive(queue, to, &request)
        {
            return Ok(len);
        }
        self.receive_slow(id, to, &request, timeout)
    }

    /// `msgrcv` in all other cases. The checks have the kernel's order.
    #[inline(never)]
    fn receive_slow(
        &'static self,
        id: i32,
        to: &mut impl Sink,
        request: &ReceiveRequest,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        if id < 0 || isize::try_from(request.size).is_err() {
            return Err(Errno::INVAL);
        }
        let nowait = request.flags.contains(MsgFlags::NOWAIT);
        if request.is_copy() && (request.flags.contains(MsgFlags::EXCEPT) || !nowait) {
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
        if queue.is_fully_mapped() {
            match try_receive(queue, to, request) {
                FastOutcome::Done(len) => return Ok(len),
                FastOutcome::Failed(e) => return Err(e),
                FastOutcome::WouldBlock if nowait => return Err(Errno::NOMSG),
                FastOutcome::WouldBlock => {
                    match spin::until(&queue, spin::FOR_MESSAGES, deadline, || try_receive(queue, to, request)) {
                        FastOutcome::Done(len) => return Ok(len),
                        FastOutcome::Failed(e) => return Err(e),
                        FastOutcome::WouldBlock | FastOutcome::NeedsLock => {}
                    }
                }
                FastOutcome::NeedsLock => {}
            }
        }
        self.receive_locked(queue, id, to, request, nowait, deadline)
    }

    /// `msgrcv` under the queue lock.
    #[cold]
    fn receive_locked(
        &'static self,
        queue: QueueView<'_>,
        id: Id,
        to: &mut impl Sink,
        request: &ReceiveRequest,
        nowait: bool,
        deadline: Option<Instant>,
    ) -> Result<usize> {
        loop {
            // A call that does not block knows neither a deadline nor `EINTR`.
            let patience = if nowait { Patience::Endless } else { Patience::Until(deadline, Errno::NOMSG) };
            let guard = check_live(self.lock(queue, patience)?, id)?;
            if !guard.queue.may(false) {
                return Err(Errno::ACCES);
            }
            guard.reclaim_before_growth(0);
            if let Some(message) = guard.select(request.selector)? {
                return guard.receive(message, to, request);
            }
            if nowait || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Errno::NOMSG);
            }
            let size = if request.flags.contains(MsgFlags::NOERROR) { u64::MAX } else { request.size as u64 };
            let slot = guard.enqueue(Side::Receivers, request.mtype, request.flags, size, 0)?;
            let call = BlockedCall::new(guard.queue, id, Side::Receivers, slot);
            waiting::announce(call.interruptible(self));
            // The call is in the list and announced to handlers before the lock is released.
            // Signals stay blocked until it sleeps.
            let signals = guard.release();
            let answer = waiting::sleep(&call, deadline, Errno::NOMSG, signals);
            if !call.is_answered() {
                return Err(answer.err().unwrap_or(Errno::IDRM));
            }
            let Err(e) = answer else { return self.receive_handed_over(&call, to, request) };
            call.end();
            if e != RETRY {
                return Err(e);
            }
        }
    }

    /// Takes the message that a sender has handed over. Only this thread frees its slots, or `reap`
    /// after the thread has exited.
    fn receive_handed_over(&self, call: &BlockedCall<'_>, to: &mut impl Sink, request: &ReceiveRequest) -> Result<usize> {
        let message = call.queue.slot(call.message())?;
        let len = (message.kind().number as usize).min(request.size);
        let delivered = deliver(&call.queue, message, len, to);
        if !call.is_own() {
            // This is a child that a handler forked. The slots belong to its parent, so the copied
            // bytes can be of another message.
            return Err(Errno::INTR);
        }
        if delivered.is_err() {
            self.lock(call.queue, Patience::EndlessInCall)?.put_back(message)?;
        }
        call.end();
        delivered.map(|()| len)
    }
}

/// Passes a message to its receiver.
fn deliver(queue: &QueueView<'_>, message: Slot, len: usize, to: &mut impl Sink) -> Result<()> {
    let mtype = message.get(words::TYPE) as i64;
    // A handler that interrupted the allocator may run this, so no memory is allocated if possible.
    const MAX_STACK_PIECES: usize = 64;
    let mut on_stack = [Piece { at: std::ptr::null(), len: 0 }; MAX_STACK_PIECES];
    if len <= (MAX_STACK_PIECES - 1) * BLOCK_BYTES {
        let mut count = 0;
        for (place, piece) in on_stack.iter_mut().zip(queue.pieces(message, len)) {
            *place = piece;
            count += 1;
        }
        return to.put(mtype, &on_stack[..count]);
    }
    let pieces: Vec<Piece> = queue.pieces(message, len).collect();
    to.put(mtype, &pieces)
}

/// Receives in a restartable sequence. `WouldBlock` means that no message matches.
#[inline(always)]
fn try_receive(queue: QueueView<'_>, to: &mut impl Sink, request: &ReceiveRequest) -> FastOutcome<usize> {
    let header = queue.header();
    if low(header.count.load(Relaxed)) == 0 {
        return FastOutcome::WouldBlock;
    }
    RseqGuard::with(queue, |guard| {
        if high(header.waiting.load(Relaxed)) != 0 || header.damaged.load(Relaxed) != 0 || !queue.is_live() || request.is_copy() {
            return FastOutcome::NeedsLock;
        }
        let message = match queue.select(request.selector) {
            Ok(Selected::Message(message)) => message,
            Ok(Selected::Nothing) if guard.release() => return FastOutcome::WouldBlock,
            _ => return FastOutcome::NeedsLock,
        };
        guard.reset_waits(spin::FOR_ROOM);
        let kind = message.kind();
        let full_len = kind.number as usize;
        let len = match request.accept(full_len) {
            Ok(len) => len,
            Err(e) if guard.release() => return FastOutcome::Failed(e),
            Err(_) => return FastOutcome::NeedsLock,
        };
        let last = low(header.count.load(Relaxed)) == 1;
        if full_len > MAX_COPY_UNDER_LOCK || last && queue.pages() > MAX_IDLE_PAGES {
            return FastOutcome::NeedsLock;
        }
        let Some(at) = to.ready(len) else { return FastOutcome::NeedsLock };
        let mtype = message.get(words::TYPE) as i64;
        let mut writes = WriteSet::new(queue);
        if stage_removal(&mut writes, message, kind, full_len).is_err() || writes.check().is_err() {
            return FastOutcome::NeedsLock;
        }
        // The message is copied out before the commit, while the lock keeps its slots from being
        // reused. If a handler takes the lock over, the commit fails and the call starts again.
        copy_out(at, queue.pieces(message, len));
        if !guard.commit(&writes) {
            return FastOutcome::NeedsLock;
        }
        to.put_type(mtype);
        FastOutcome::Done(len)
    })
    .unwrap_or(FastOutcome::NeedsLock)
}

/// Stages the removal of a message and the return of its slots.
#[inline(always)]
fn stage_removal(writes: &mut WriteSet<'_>, message: Slot, kind: SlotKind, len: usize) -> Result<()> {
    writes.remove(message, len)?;
    let header = writes.queue().header();
    writes.put(&header.received, own_stamp().pack());
    writes.free_message(message, kind.class, len)
}

impl QueueGuard<'_> {
    /// Returns the message that a receiver gets. Builds the index by type if there are many
    /// messages.
    fn select(&self, selector: Selector) -> Result<Option<Slot>> {
        match self.queue.select(selector)? {
            Selected::Message(message) => Ok(Some(message)),
            Selected::Nothing => Ok(None),
            Selected::Unindexed => {
                // If there is no room for an index, each message is looked at.
                if self.build_type_index().is_err() {
                    self.drop_type_index()?;
                    return Ok(self.queue.scan(selector));
                }
                match self.queue.select(selector)? {
                    Selected::Message(message) => Ok(Some(message)),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Receives a message, or copies it for `MSG_COPY`.
    fn receive(self, message: Slot, to: &mut impl Sink, request: &ReceiveRequest) -> Result<usize> {
        let kind = message.kind();
        let full_len = kind.number as usize;
        if full_len > self.queue.max_slots() as usize * UNIT {
            // A peer has overwritten the length.
            return Err(Errno::INVAL);
        }
        let len = request.accept(full_len)?;
        if request.is_copy() {
            // A copy is not truncated, and the kernel has a buffer of `msgmax` bytes for it.
            let room = request.size.min(self.queue.queues.core.header.msgmax.load(Relaxed) as usize);
            return if full_len <= room { deliver(&self.queue, message, len, to).map(|()| len) } else { Err(Errno::INVAL) };
        }
        let mut writes = WriteSet::new(self.queue);
        if full_len <= MAX_COPY_UNDER_LOCK {
            deliver(&self.queue, message, len, to)?;
            stage_removal(&mut writes, message, kind, full_len)?;
            self.commit(&writes)?;
            return self.after_removal().map(|()| len);
        }
        // A long message is copied without the lock. It leaves the list and becomes busy under the
        // name of this thread. If the process dies, the next sweep returns it to the list.
        let number = message.get(words::NUMBER) as u32;
        writes.remove(message, full_len)?;
        let header = self.queue.header();
        writes.put(&header.received, own_stamp().pack());
        self.stage_receiving(&mut writes, message, self.owner(), number);
        writes.list_append(&header.busy, message)?;
        self.commit(&writes)?;
        self.after_removal()?;
        let queue = self.queue;
        drop(self);
        let delivered = deliver(&queue, message, len, to);
        let guard = queue.queues.lock(queue, Patience::EndlessInCall)?;
        match delivered {
            Ok(()) => {
                let mut writes = WriteSet::new(queue);
                stage_end_of_transfer(&mut writes, message.unit(), guard.owner())?;
                guard.commit(&writes)?;
                guard.shrink_if_idle()?;
                Ok(len)
            }
            Err(e) => guard.put_back(message).and(Err(e)),
        }
    }

    /// Admits blocked senders after a message was removed, and frees memory.
    fn after_removal(&self) -> Result<()> {
        self.admit_senders()?;
        self.shrink_if_idle()
    }

    /// Frees the memory of a large queue if no slot is in use.
    fn shrink_if_idle(&self) -> Result<()> {
        let header = self.queue.header();
        let idle = low(header.count.load(Relaxed)) == 0
            && header.waiting.load(Relaxed) == 0
            && header.busy.load(Relaxed) == 0
            && header.types.load(Relaxed) == 0;
        if idle && self.queue.pages() > MAX_IDLE_PAGES.max(FIRST_PAGES) { self.reset_slots() } else { Ok(()) }
    }

    /// Returns a message that could not be copied to its receiver to its former position.
    fn put_back(&self, message: Slot) -> Result<()> {
        if message.kind().state != SlotUse::Receiving || message.get(words::NUMBER) != self.owner().0 {
            return Ok(());
        }
        self.restore(message)
    }

    /// Returns a busy message to its former position in the list.
    pub fn restore(&self, message: Slot) -> Result<()> {
        // The index expects messages to be appended, so it is dropped and built again later.
        self.drop_type_index()?;
        let header = self.queue.header();
        let (number, blocks) = (low(message.get(words::CHAIN)), high(message.get(words::CHAIN)));
        let newest = high(header.count.load(Relaxed));
        let age = |number: u32| newest.wrapping_sub(number);
        let later = self.queue.messages().find(|other| age(other.get(words::NUMBER) as u32) <= age(number));
        let mut writes = WriteSet::new(self.queue);
        writes.list_remove(&header.busy, message)?;
        writes.insert(message, later)?;
        let kind = message.kind();
        writes.set_in(message, words::KIND, SlotKind { state: SlotUse::Queued, ..kind }.pack());
        writes.set_in(message, words::NUMBER, number.into());
        writes.set_in(message, words::CHAIN, halves(0, blocks));
        self.commit(&writes)?;
        // Receivers that blocked meanwhile have not seen the message. They look again.
        self.answer_all(Side::Receivers, RETRY)
    }
}
