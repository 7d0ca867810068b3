//! Rebuilds a damaged queue from its slots.
//!
//! A queue is damaged if its lists do not agree with its slots. Usually, a process with permission
//! for the queue has overwritten words of its file. The following is kept, and all other slots
//! become free:
//!
//! - messages with a consistent length, type and blocks, in the order of their numbers;
//! - blocked calls of live threads, in the order of their tickets, and answered ones;
//! - messages that live threads are sending or receiving.

use crate::layout::{
    BLOCK_BYTES, CLASSES, Slot, SlotKind, SlotUse, TypeIndex, UNIT, WaiterState, class_for, halves, high, inline_len, low, words,
};
use crate::msg::lock::QueueGuard;
use crate::msg::mapping::{QueueView, Queues};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::sync::queue_lock::ThreadOwner;
use crate::sys::futex;
use crate::types::error::Errno;
use crate::types::mechanism::Mechanism;
use crate::types::msg::QueueRepair;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

const UNITS_PER_PAGE: u32 = (4096 / UNIT) as u32;
const LARGEST: usize = CLASSES - 1;

/// What the slots hold.
#[derive(Default)]
struct Found {
    /// The messages in the queue, in their order.
    messages: Vec<Slot>,
    /// Messages that are being sent or received, and answered calls.
    busy: Vec<Slot>,
    /// Blocked receivers, in their order.
    receivers: Vec<Slot>,
    /// Blocked senders, in their order.
    senders: Vec<Slot>,
    /// The units of all these slots, and of the blocks of the messages.
    used: HashSet<u32>,
}

impl QueueView<'_> {
    /// Returns the pages that are divided into slots, each with the class of its slots.
    fn divided_pages(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        let divided = low(self.header().divided.load(Relaxed)).min(self.pages());
        (1..divided).map_while(|page| Some((page, self.slot(page * UNITS_PER_PAGE).ok()?.kind().class)))
    }

    /// Returns all slots of all divided pages.
    fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.divided_pages().flat_map(move |(page, class)| {
            let first = page * UNITS_PER_PAGE;
            (first..first + UNITS_PER_PAGE)
                .step_by(1 << class)
                .filter_map(move |unit| self.slot(unit).ok().filter(|slot| slot.kind().class == class))
        })
    }

    /// Returns the units of the blocks of a message. Returns `None` if its length, type or blocks
    /// are not consistent.
    fn sound_blocks(&self, message: Slot, used: &HashSet<u32>) -> Option<Vec<u32>> {
        let (kind, mtype) = (message.kind(), message.get(words::TYPE) as i64);
        let len = kind.number as usize;
        if kind.class != class_for(len) || mtype < 1 {
            return None;
        }
        let own = inline_len(kind.class, len);
        let mut blocks = Vec::new();
        let mut next = high(message.get(words::CHAIN));
        for _ in 0..(len - own).div_ceil(BLOCK_BYTES) {
            let block = self.slot(next).ok()?;
            let fits =
                next.is_multiple_of(UNITS_PER_PAGE) && block.kind().class == LARGEST && block.kind().state == SlotUse::Free;
            if !fits || used.contains(&next) || blocks.contains(&next) {
                return None;
            }
            blocks.push(next);
            next = block.kind().number;
        }
        Some(blocks)
    }
}

impl QueueGuard<'_> {
    /// Collects what the slots hold.
    fn scan_slots(&self) -> Found {
        let queue = self.queue;
        let mut found = Found::default();
        for slot in queue.slots() {
            let state = slot.kind().state;
            match state {
                SlotUse::Queued | SlotUse::Sending | SlotUse::Receiving => {
                    let Some(blocks) = queue.sound_blocks(slot, &found.used) else { continue };
                    if state == SlotUse::Queued {
                        found.messages.push(slot);
                    } else if queue.queues.core.participants.is_thread_alive(ThreadOwner(slot.get(words::NUMBER))) {
                        found.busy.push(slot);
                    } else {
                        continue;
                    }
                    found.used.extend(blocks);
                }
                SlotUse::Waiter if queue.is_waiter_alive(slot.sleeper()) => match slot.sleeper().state() {
                    WaiterState::Waiting if high(slot.get(words::WANTS)) == 0 => found.receivers.push(slot),
                    WaiterState::Waiting => found.senders.push(slot),
                    WaiterState::Answered(_) => found.busy.push(slot),
                    _ => continue,
                },
                _ => continue,
            }
            found.used.insert(slot.unit());
        }
        let newest = high(queue.header().count.load(Relaxed));
        found.messages.sort_by_key(|slot| std::cmp::Reverse(newest.wrapping_sub(slot.get(words::NUMBER) as u32)));
        for calls in [&mut found.receivers, &mut found.senders] {
            calls.sort_by_key(|slot| slot.sleeper().ticket.load(Relaxed));
        }
        found
    }

    /// Returns `true` if the lists agree with the slots.
    fn is_sound(&self, found: &Found) -> bool {
        let queue = self.queue;
        let header = queue.header();
        let units = |slots: &[Slot]| slots.iter().map(|slot| slot.unit()).collect::<Vec<_>>();
        let bytes: u64 = found.messages.iter().map(|slot| u64::from(slot.kind().number)).sum();
        let listed: Vec<u32> = queue.messages().map(Slot::unit).collect();
        let list = |ends: &'static AtomicU64| {
            let units: Vec<u32> = queue.list(ends, SlotUse::Free).map(Slot::unit).collect();
            (high(ends.load(Relaxed)) == units.last().copied().unwrap_or(0)).then_some(units)
        };
        let lists = [(&header.receivers, &found.receivers), (&header.senders, &found.senders)];
        let waiting = halves(found.receivers.len() as u32, found.senders.len() as u32);
        listed == units(&found.messages)
            && low(header.count.load(Relaxed)) as usize == listed.len()
            && header.bytes.load(Relaxed) == bytes
            && high(header.ends.load(Relaxed)) == listed.last().copied().unwrap_or(0)
            && lists.into_iter().all(|(ends, slots)| list(ends).is_some_and(|linked| linked == units(slots)))
            && list(&header.busy).is_some_and(|there| {
                let mut known = units(&found.busy);
                let mut there = there;
                known.sort_unstable();
                there.sort_unstable();
                there == known
            })
            && header.waiting.load(Relaxed) == waiting
            && self.free_lists_are_sound(found)
    }

    /// Returns `true` if the lists of free slots contain all slots that are not in use, each once,
    /// and no other slot.
    fn free_lists_are_sound(&self, found: &Found) -> bool {
        let mut seen = HashSet::new();
        let all_free = (0..CLASSES).all(|class| {
            let mut next = low(self.queue.header().free(class).load(Relaxed));
            while next != 0 {
                let Ok(slot) = self.queue.slot(next) else { return false };
                let kind = slot.kind();
                if kind.state != SlotUse::Free || kind.class != class || found.used.contains(&next) || !seen.insert(next) {
                    return false;
                }
                next = kind.number;
            }
            true
        });
        let indexed = TypeIndex::unpack(self.queue.header().types.load(Relaxed)) != TypeIndex::Off;
        let in_index = |slot: &Slot| indexed && slot.kind().state == SlotUse::Type;
        let (mut all, mut types) = (0, 0);
        for slot in self.queue.slots() {
            all += 1;
            types += usize::from(in_index(&slot));
        }
        all_free && all == seen.len() + found.used.len() + types
    }

    /// Links slots as a list, without a journal.
    fn relink(&self, ends: &AtomicU64, slots: &[Slot]) {
        let unit = |nth: Option<usize>| nth.and_then(|nth| slots.get(nth)).map_or(0, |slot| slot.unit());
        for (nth, slot) in slots.iter().enumerate() {
            slot.word(words::LINKS).store(halves(unit(Some(nth + 1)), unit(nth.checked_sub(1))), Relaxed);
        }
        ends.store(halves(unit(Some(0)), unit(slots.len().checked_sub(1))), Relaxed);
    }

    /// Rebuilds the lists and counters from the slots. The caller holds the queue lock.
    fn salvage(&self, found: &Found) {
        let queue = self.queue;
        let header = queue.header();
        // This is not journalled. A crash in the middle leaves a damaged queue, as before, and the
        // slots still say what is to be kept.
        header.types.store(TypeIndex::Off.pack(), Relaxed);
        let mut bytes = 0;
        for (nth, message) in (0..).zip(&found.messages) {
            message.word(words::NUMBER).store(nth, Relaxed);
            let blocks = high(message.get(words::CHAIN));
            message.word(words::CHAIN).store(halves(0, blocks), Relaxed);
            bytes += u64::from(message.kind().number);
        }
        self.relink(&header.ends, &found.messages);
        self.relink(&header.busy, &found.busy);
        self.relink(&header.receivers, &found.receivers);
        self.relink(&header.senders, &found.senders);
        header.bytes.store(bytes, Relaxed);
        header.count.store(halves(found.messages.len() as u32, found.messages.len() as u32), Relaxed);
        header.waiting.store(halves(found.receivers.len() as u32, found.senders.len() as u32), Relaxed);
        let mut free = [0; CLASSES];
        let pages: Vec<(u32, usize)> = queue.divided_pages().collect();
        for (page, class) in pages.into_iter().rev() {
            let first = page * UNITS_PER_PAGE;
            for unit in (first..first + UNITS_PER_PAGE).step_by(1 << class).rev().filter(|unit| !found.used.contains(unit)) {
                if let Ok(slot) = queue.slot(unit) {
                    let kind = SlotKind { state: SlotUse::Free, class, number: free[class] };
                    slot.word(words::KIND).store(kind.pack(), Relaxed);
                    free[class] = unit;
                }
            }
        }
        (0..CLASSES).for_each(|class| header.free(class).store(free[class].into(), Relaxed));
        let divided = low(header.divided.load(Relaxed)).clamp(1, queue.pages().max(1));
        header.divided.store(divided.into(), Relaxed);
        // A reader without the lock sees a new number of changes and reads again.
        header.changes.fetch_add(1, Release);
        for call in &found.busy {
            if call.kind().state == SlotUse::Waiter {
                // An answered call may have lost the wake-up for its answer.
                futex::wake_one(&call.sleeper().state);
            }
        }
    }
}

impl Queues {
    /// Returns the damaged queues. Rebuilds them if `repair`.
    pub fn damaged_queues(&self, repair: bool) -> Result<Vec<QueueRepair>> {
        let _inside = Inside::enter();
        let mut all = Vec::new();
        for index in self.core.used_indexes(Mechanism::Msg) {
            let Ok(Some(queue)) = self.writable_at(index) else { continue };
            if !queue.is_live() || !queue.is_fully_mapped() {
                continue;
            }
            let Ok(guard) = self.lock(queue, Patience::Brief) else { continue };
            guard.repair();
            let found = guard.scan_slots();
            if guard.is_sound(&found) {
                continue;
            }
            let claimed = low(queue.header().count.load(Relaxed));
            if repair {
                guard.salvage(&found);
                let _ = guard.admit_senders();
            }
            let (id, _) = queue.head();
            all.push(QueueRepair { id, messages: found.messages.len() as u64, claimed: claimed.into() });
        }
        Ok(all)
    }
}
