//! The lists of queues, of what is in them, and of those who wait.

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

/// So many messages, and so many bytes, are looked at with the lock held.
const MESSAGES_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 64 << 10;

fn message_stat(message: Slot) -> MessageStat {
    let sent = Stamp::unpack(message.get(words::STAMP));
    MessageStat {
        mtype: message.get(words::TYPE) as i64,
        len: message.kind().number as usize,
        sender: sent.pid as i32,
        sent: sent.time as i64,
    }
}

/// Where a look through a queue has come to.
struct Position {
    unit: u32,
    number: u32,
}

impl QueueView<'_> {
    /// The first message that has not been seen: numbers rise, whatever a peer has made of the line.
    fn from(&self, seen: Option<&Position>) -> Option<Slot> {
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

    fn copy(&self, message: Slot) -> Vec<u8> {
        let len = (message.kind().number as usize).min(self.most_slots() as usize * UNIT);
        let mut bytes = Vec::with_capacity(len);
        for Piece { at, len } in self.pieces(message, len) {
            let begin = bytes.len();
            bytes.resize(begin + len, 0);
            #[allow(unsafe_code)]
            // SAFETY: a piece is mapped readable, and no reference is made to it; the vector was just made long enough.
            unsafe {
                std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr().add(begin), len);
            }
        }
        bytes
    }

    fn status(&self) -> QueueStatus {
        let (id, _) = self.head();
        let mut types = BTreeMap::new();
        let mut oldest = None;
        let mut waiters = Vec::new();
        // Who may not read the messages is told nothing of them.
        if self.is_whole()
            && let Ok(guard) = self.queues.lock(*self, Patience::Brief)
        {
            let queue = guard.queue;
            for message in queue.messages() {
                let stat = message_stat(message);
                oldest.get_or_insert(stat);
                let of: &mut TypeCount =
                    types.entry(stat.mtype).or_insert(TypeCount { mtype: stat.mtype, messages: 0, bytes: 0 });
                of.messages += 1;
                of.bytes += stat.len as u64;
            }
            for side in [Side::Receivers, Side::Senders] {
                let living = queue.calls(side).filter(|call| queue.lives(call.sleeper()));
                waiters.extend(living.map(|call| queue.waiter_status(side, call)));
            }
        }
        let creator = ParticipantId::from_word(self.header().creator.load(Relaxed));
        let stat = self.stat(id);
        let idle = stat.messages == 0 && self.header().waiting.load(Relaxed) == 0;
        let orphan = idle && !Liveness::alive(&self.queues.core.participants.probe(None), creator);
        QueueStatus { stat, oldest, types: types.into_values().collect(), waiters, orphan }
    }

    fn waiter_status(&self, side: Side, call: Slot) -> MsgWaiter {
        let sleeper = call.sleeper();
        let who = participant(sleeper);
        let (mtype, size) = (call.get(words::TYPE) as i64, usize::try_from(call.get(words::SIZE)).unwrap_or(usize::MAX));
        let flags = MsgFlags::from_bits_retain(low(call.get(words::WANTS)) as i32);
        MsgWaiter {
            pid: sleeper.pid.load(Relaxed) as i32,
            tid: sleeper.tid.load(Relaxed) as i32,
            uid: self.queues.core.participants.uid_of(who),
            pid_visible: self.queues.core.participants.shares_pids(who),
            wants: match side {
                Side::Receivers => MsgWait::Receive { mtype, flags, size },
                Side::Senders => MsgWait::Send { mtype, len: size },
            },
            since: sleeper.since.load(Relaxed),
        }
    }
}

impl Queues {
    /// Looks at the messages without taking one.
    pub fn peek(&self, id: i32, see: &mut dyn FnMut(MessageStat, &[u8]) -> bool) -> Result<()> {
        let queue = self.live(id)?;
        if !queue.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let id = Id::from_raw(id)?;
        let mut seen: Option<Position> = None;
        loop {
            let mut looked_at = Vec::new();
            {
                let guard = crate::msg::lock::live(self.lock(queue, Patience::Endless)?, id)?;
                let queue = guard.queue;
                let mut bytes = 0;
                let mut next = queue.from(seen.as_ref());
                while let Some(message) = next
                    && looked_at.len() < MESSAGES_AT_ONCE
                    && bytes < BYTES_AT_ONCE
                {
                    seen = Some(Position { unit: message.unit(), number: message.get(words::NUMBER) as u32 });
                    bytes += message.kind().number as usize;
                    let copy = queue.copy(message);
                    // Of what a peer has scribbled there is as much as there is.
                    looked_at.push((MessageStat { len: copy.len(), ..message_stat(message) }, copy));
                    next = queue.from(seen.as_ref());
                }
            }
            if looked_at.is_empty() {
                return Ok(());
            }
            for (stat, bytes) in looked_at {
                if !see(stat, &bytes) {
                    return Ok(());
                }
            }
        }
    }

    /// All queues.
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
