//! Where messages are kept: slots of six sizes, and who gets one.
//!
//! A message has a slot of the smallest size that holds it; the bytes of one that is longer than the largest are in further slots of that size, one after the
//! other. Free slots of a size are a list, last freed, first used.

use crate::layout::{
    BLOCK_BYTES, BLOCK_HEADER, CLASSES, MESSAGE_HEADER, Slot, SlotKind, SlotUse, UNIT, class_for, halves, high, inline_len, low,
    words,
};
use crate::msg::lock::QueueGuard;
use crate::msg::mapping::QueueView;
use crate::msg::write_set::{MAX_COPIES, WriteSet};
use crate::object::mapping::MappedObject;
use crate::types::error::Errno;
use crate::types::message_bytes::{Piece, Source};
use std::sync::atomic::Ordering::Relaxed;

type Result<T> = std::result::Result<T, Errno>;

const UNITS_PER_PAGE: u32 = (4096 / UNIT) as u32;
const LARGEST: usize = CLASSES - 1;
/// How many pages a file grows by, at the least and at the most; in between, an eighth of what it has.
const LEAST_GROWTH: u32 = 8;
const MOST_GROWTH: u32 = 256;

/// How many further slots a message of this length has.
pub fn blocks_for(len: usize) -> usize {
    len.saturating_sub(inline_len(class_for(len), len)).div_ceil(BLOCK_BYTES)
}

impl QueueView<'_> {
    /// A message's bytes, the first `len` of them, a piece at a time; fewer if a peer has cut its blocks short.
    pub fn pieces(&self, slot: Slot, len: usize) -> impl Iterator<Item = Piece> + '_ {
        let kind = slot.kind();
        let room = slot.size(kind.class) - MESSAGE_HEADER;
        let own = Piece { at: slot.bytes(MESSAGE_HEADER).cast_const(), len: len.min(room) };
        let mut left = len - own.len;
        let mut next = high(slot.get(words::CHAIN));
        let further = std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let block = self.slot(next).ok()?;
            let piece = Piece { at: block.bytes(BLOCK_HEADER).cast_const(), len: left.min(block.size(LARGEST) - BLOCK_HEADER) };
            next = block.kind().number;
            left -= piece.len;
            Some(piece)
        });
        std::iter::once(own).chain(further)
    }

    /// The last of a message's further slots, and the first.
    fn blocks(&self, slot: Slot, len: usize) -> Result<Option<(Slot, Slot)>> {
        let count = blocks_for(len);
        if count == 0 {
            return Ok(None);
        }
        let first = self.slot(high(slot.get(words::CHAIN)))?;
        let mut last = first;
        for _ in 1..count {
            last = self.slot(last.kind().number)?;
        }
        Ok(Some((first, last)))
    }
}

impl<'a> WriteSet<'a> {
    /// Takes a free slot of a class. `None`: there is none at hand.
    #[inline(always)]
    pub fn take_slot(&mut self, class: usize) -> Result<Option<Slot>> {
        let unit = self.free_head(class);
        if unit == 0 {
            return Ok(None);
        }
        let slot = self.queue().slot(unit)?;
        let kind = slot.kind();
        if kind.state != SlotUse::Free || kind.class != class {
            return Err(Errno::INVAL);
        }
        self.set_free_head(class, kind.number);
        Ok(Some(slot))
    }

    #[inline(always)]
    fn free_head(&self, class: usize) -> u32 {
        let free = self.queue().header().free(class);
        low(if self.heads_changed { self.get(free) } else { free.load(Relaxed) })
    }

    #[inline(always)]
    fn set_free_head(&mut self, class: usize, unit: u32) {
        let free = self.queue().header().free(class);
        if self.heads_changed {
            self.set(free, unit.into());
        } else {
            self.put(free, unit.into());
        }
        self.heads_changed = true;
    }

    /// Gives a slot back that is no message's.
    pub fn give_slot(&mut self, slot: Slot, class: usize) {
        let next = self.free_head(class);
        self.set_in(slot, words::KIND, SlotKind { state: SlotUse::Free, class, number: next }.pack());
        self.set_free_head(class, slot.unit());
    }

    /// Gives a message's slots back.
    #[inline(always)]
    pub fn give_message(&mut self, slot: Slot, class: usize, len: usize) -> Result<()> {
        if len > inline_len(class, len) {
            self.give_blocks(slot, len)?;
        }
        let next = self.free_head(class);
        self.put_in(slot, words::KIND, SlotKind { state: SlotUse::Free, class, number: next }.pack());
        self.set_free_head(class, slot.unit());
        Ok(())
    }

    #[inline(never)]
    fn give_blocks(&mut self, slot: Slot, len: usize) -> Result<()> {
        if let Some((first, last)) = self.queue().blocks(slot, len)? {
            let next = self.free_head(LARGEST);
            self.put_in(last, words::KIND, SlotKind { state: SlotUse::Free, class: LARGEST, number: next }.pack());
            self.set_free_head(LARGEST, first.unit());
        }
        Ok(())
    }

    /// Takes the slots for a message: its own, and the first of the further ones (0: none). `None`: there are not enough at hand.
    #[inline(always)]
    pub fn take_message(&mut self, len: usize) -> Result<Option<(Slot, usize, u32)>> {
        let class = class_for(len);
        let Some(slot) = self.take_slot(class)? else { return Ok(None) };
        if len <= inline_len(class, len) {
            return Ok(Some((slot, class, 0)));
        }
        Ok(self.take_blocks(blocks_for(len))?.map(|first| (slot, class, first)))
    }

    /// Takes so many slots of the largest size: they are linked already.
    #[inline(never)]
    fn take_blocks(&mut self, count: usize) -> Result<Option<u32>> {
        let first = self.free_head(LARGEST);
        let mut last = None;
        let mut next = first;
        for _ in 0..count {
            if next == 0 {
                return Ok(None);
            }
            let block = self.queue().slot(next)?;
            if block.kind().class != LARGEST {
                return Err(Errno::INVAL);
            }
            next = block.kind().number;
            last = Some(block);
        }
        if let Some(last) = last {
            self.put_in(last, words::KIND, SlotKind { state: SlotUse::Free, class: LARGEST, number: 0 }.pack());
        }
        self.set_free_head(LARGEST, next);
        Ok(Some(first))
    }

    /// Copies a message's bytes into its slots, if they are few enough for a draft.
    #[inline(always)]
    pub fn fill_message(&mut self, slot: Slot, class: usize, first: u32, from: Source) -> Result<()> {
        let own = inline_len(class, from.len);
        self.fill(slot.bytes(MESSAGE_HEADER), from.at, own);
        if own < from.len {
            self.fill_blocks(first, Source { at: from.at.wrapping_add(own), len: from.len - own })?;
        }
        Ok(())
    }

    #[inline(never)]
    fn fill_blocks(&mut self, first: u32, from: Source) -> Result<()> {
        let (mut done, mut next) = (0, first);
        while done < from.len {
            let block = self.queue().slot(next)?;
            let len = (from.len - done).min(block.size(LARGEST) - BLOCK_HEADER);
            self.fill(block.bytes(BLOCK_HEADER), from.at.wrapping_add(done), len);
            done += len;
            next = block.kind().number;
        }
        self.check()
    }
}

/// Messages up to this length are copied in one go, with the lock held.
pub const MOST_AT_ONCE: usize = (MAX_COPIES - 3) * BLOCK_BYTES;

impl QueueGuard<'_> {
    /// Sees to it that there is a free slot of this class. `ENOMEM`: there is no room.
    pub fn provide(&self, class: usize) -> Result<()> {
        let header = self.queue.header();
        if low(header.free(class).load(Relaxed)) != 0 {
            return Ok(());
        }
        self.provide_page(class)
    }

    /// Before the file has to grow for a message of this length: what the dead have not given back is free. (Not in the middle of something: it may
    /// change the line.)
    pub fn make_ready(&self, len: usize) {
        let header = self.queue.header();
        let short = |class| low(header.free(class).load(Relaxed)) == 0;
        let needed = short(class_for(len)) || len > inline_len(class_for(len), len) && short(LARGEST);
        if needed && low(header.divided.load(Relaxed)) >= self.queue.pages() {
            self.repair();
        }
    }

    /// Divides a page that nobody uses into slots of a class.
    fn divide(&self, page: u32, class: usize) -> Result<()> {
        let header = self.queue.header();
        let units = 1 << class;
        let mut next = low(header.free(class).load(Relaxed));
        let first = page * UNITS_PER_PAGE;
        for unit in (first..first + UNITS_PER_PAGE).step_by(units).rev() {
            let kind = SlotKind { state: SlotUse::Free, class, number: next };
            self.queue.slot(unit)?.word(words::KIND).store(kind.pack(), Relaxed);
            next = unit;
        }
        let mut writes = WriteSet::new(self.queue);
        writes.put(&header.divided, halves(page + 1, 0));
        writes.put(header.free(class), next.into());
        self.commit(&writes)
    }

    /// Sees to it that there are the slots for a message of this length.
    pub fn provide_message(&self, len: usize) -> Result<()> {
        let blocks = blocks_for(len);
        self.provide(class_for(len))?;
        if blocks == 0 {
            return Ok(());
        }
        let (mut at, mut have) = (low(self.queue.header().free(LARGEST).load(Relaxed)), 0);
        // A message's own slot is of the same size.
        while have < blocks + 1 && at != 0 {
            at = self.queue.slot(at)?.kind().number;
            have += 1;
        }
        for _ in have..blocks + 1 {
            self.provide_page(LARGEST)?;
        }
        Ok(())
    }

    /// Sees to it that there are two free slots of the smallest size: for a message and its type.
    pub fn provide_two_smallest(&self) -> Result<()> {
        self.provide(0)?;
        let first = self.queue.slot(low(self.queue.header().free(0).load(Relaxed)))?;
        if first.kind().number == 0 { self.provide_page(0) } else { Ok(()) }
    }

    fn provide_page(&self, class: usize) -> Result<()> {
        let header = self.queue.header();
        let page = low(header.divided.load(Relaxed)).max(1);
        if page > self.queue.pages() {
            // A peer has scribbled.
            return Err(Errno::INVAL);
        }
        if page == self.queue.pages() {
            let more = (self.queue.pages() / 8).clamp(LEAST_GROWTH, MOST_GROWTH);
            self.queue.grow(more).or_else(|_| self.queue.grow(1))?;
        }
        self.divide(page, class)
    }

    /// Forgets all slots, and gives their memory back: nothing is kept in any of them.
    pub fn start_over(&self) -> Result<()> {
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        (0..CLASSES).for_each(|class| writes.put(header.free(class), 0));
        writes.put(&header.divided, 1);
        self.commit(&writes)?;
        self.queue.shrink();
        Ok(())
    }
}
