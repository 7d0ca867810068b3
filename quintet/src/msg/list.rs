//! Lists all queues, with their messages and blocked calls.

use crate::layout::{Slot, SlotUse, Stamp, UNIT, high, low, words};
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::waiters::{Side, participant};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::mechanism::Mechanism;
use crate::types::message_bytes::Piece;
use crate::types::msg::{MessageStat, MsgFlags, MsgUsage, MsgWait, MsgWaiter, QueueStatus, TypeCount};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

/// The number of messages that [`Queues::peek`] copies each time it holds the lock.
const MAX_BATCH_MESSAGES: usize = 64;
/// The number of bytes after which it copies no further message.
const MAX_BATCH_BYTES: usize = 64 << 10;

fn message_stat(message: Slot) -> MessageStat {
    let sent = Stamp::unpack(message.get(words::STAMP));
    MessageStat {
        mtype: message.get(words::TYPE) as i64,
        len: message.kind().number as usize,
        sender: sent.pid as i32,
        sent: sent.time as i64,
    }
}

/// The last message that a walk through a queue has visited.
struct Cursor {
    unit: u32,
    number: u32,
}

impl QueueView<'_> {
    /// Returns the first message after `seen`.
    ///
    /// The numbers of messages grow along the list, so a walk ends even if a peer has linked
    /// messages in a cycle.
    fn next_unseen(&self, seen: Option<&Cursor>) -> Option<Slot> {
        let Some(seen) = seen else { return self.messages().next() };
        let newest = high(self.header().count.load(Relaxed));
        let age = |number: u32| newest.wrapping_sub(number);
        let number = |slot: &Slot| slot.get(words::NUMBER) as u32;
        let is_message = |slot: &Slot| slot.kind().state == SlotUse::Queued;
        let is_later = |slot: &Slot| age(number(slot)) < age(seen.number);
        match self.slot(seen.unit).ok().filter(|slot| is_message(slot) && number(slot) == seen.number) {
            Some(slot) => self.slot(low(slot.get(words::LINKS))).ok().filter(|next| is_message(next) && is_later(next)),
            None => self.messages().find(is_later),
        }
    }

    /// Returns a copy of the bytes of a message.
    fn read_message(&self, message: Slot) -> Vec<u8> {
        let len = (message.kind().number as usize).min(self.max_slots() as usize * UNIT);
        let mut bytes = Vec::with_capacity(len);
        for Piece { at, len } in self.pieces(message, len) {
            let begin = bytes.len();
            bytes.resize(begin + len, 0);
            #[allow(unsafe_code)]
            // SAFETY: a piece is mapped readable, and no reference is made to it. The vector was
            // made long enough above.
            unsafe {
                std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr().add(begin), len);
            }
        }
        bytes
    }

    /// Returns the state of the queue, with its types and blocked calls.
    fn status(&self) -> QueueStatus {
        let (id, _) = self.head();
        let mut types = BTreeMap::new();
        let mut oldest = None;
        let mut waiters = Vec::new();
        // A process that may not read the messages gets only what the header says.
        if self.is_fully_mapped()
            && let Ok(guard) = self.queues.lock(*self, Patience::Brief)
        {
            let queue = guard.queue;
            for message in queue.messages() {
                let stat = message_stat(message);
                oldest.get_or_insert(stat);
                let count: &mut TypeCount =
                    types.entry(stat.mtype).or_insert(TypeCount { mtype: stat.mtype, messages: 0, bytes: 0 });
                count.messages += 1;
                count.bytes += stat.len as u64;
            }
            for side in [Side::Receivers, Side::Senders] {
                let alive = queue.calls(side).filter(|call| queue.is_waiter_alive(call.sleeper()));
                waiters.extend(alive.map(|call| queue.waiter_status(side, call)));
            }
        }
        let creator = ParticipantId::from_word(self.header().creator.load(Relaxed));
        let stat = self.stat(id);
        let idle = stat.messages == 0 && self.header().waiting.load(Relaxed) == 0;
        let orphan = idle && !Liveness::alive(&self.queues.core.participants.probe(None), creator);
        QueueStatus { stat, oldest, types: types.into_values().collect(), waiters, orphan }
    }

    /// Returns a blocked call as `quintet ls` shows it.
    fn waiter_status(&self, side: Side, call: Slot) -> MsgWaiter {
        let sleeper = call.sleeper();
        let caller = participant(sleeper);
        let (mtype, size) = (call.get(words::TYPE) as i64, usize::try_from(call.get(words::SIZE)).unwrap_or(usize::MAX));
        let flags = MsgFlags::from_bits_retain(low(call.get(words::WANTS)) as i32);
        MsgWaiter {
            pid: sleeper.pid.load(Relaxed) as i32,
            tid: sleeper.tid.load(Relaxed) as i32,
            uid: self.queues.core.participants.uid_of(caller),
            pid_visible: self.queues.core.participants.shares_pids(caller),
            wants: match side {
                Side::Receivers => MsgWait::Receive { mtype, flags, size },
                Side::Senders => MsgWait::Send { mtype, len: size },
            },
            since: sleeper.since.load(Relaxed),
        }
    }
}

impl Queues {
    /// Passes a copy of each message to `visit`, in their order, until it returns `false`. Holds
    /// the lock for a batch of messages at a time, and not while `visit` runs.
    pub fn peek(&self, id: i32, visit: &mut dyn FnMut(MessageStat, &[u8]) -> bool) -> Result<()> {
        let queue = self.live(id)?;
        if !queue.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let id = Id::from_raw(id)?;
        let mut seen: Option<Cursor> = None;
        loop {
            let mut batch = Vec::new();
            {
                let guard = crate::msg::lock::check_live(self.lock(queue, Patience::Endless)?, id)?;
                let queue = guard.queue;
                let mut bytes = 0;
                let mut next = queue.next_unseen(seen.as_ref());
                while let Some(message) = next
                    && batch.len() < MAX_BATCH_MESSAGES
                    && bytes < MAX_BATCH_BYTES
                {
                    seen = Some(Cursor { unit: message.unit(), number: message.get(words::NUMBER) as u32 });
                    bytes += message.kind().number as usize;
                    let copy = queue.read_message(message);
                    // If a peer has forged the length, the copy is as long as the message can be.
                    batch.push((MessageStat { len: copy.len(), ..message_stat(message) }, copy));
                    next = queue.next_unseen(seen.as_ref());
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            for (stat, bytes) in batch {
                if !visit(stat, &bytes) {
                    return Ok(());
                }
            }
        }
    }

    /// Returns the state of all queues.
    pub fn queues(&self) -> Result<Vec<QueueStatus>> {
        let _inside = Inside::enter();
        let mut all = Vec::new();
        for index in self.core.used_indexes(Mechanism::Msg) {
            if let Ok(Some(queue)) = self.writable_at(index)
                && queue.is_live()
            {
                all.push(queue.status());
            }
        }
        Ok(all)
    }

    /// `MSG_INFO`.
    pub fn msg_usage(&self) -> Result<MsgUsage> {
        let class = self.core.registry.class(Mechanism::Msg);
        let mut usage = MsgUsage {
            queues: class.in_use.load(Relaxed),
            max_index: self.core.max_index(Mechanism::Msg),
            ..MsgUsage::default()
        };
        for index in self.core.used_indexes(Mechanism::Msg) {
            if let Ok(stat) = self.msg_stat_index(index.into(), true) {
                usage.messages = usage.messages.saturating_add(stat.messages);
                usage.bytes = usage.bytes.saturating_add(stat.bytes);
            }
        }
        Ok(usage)
    }
}
