//! The slots that hold messages, and their allocation.
//!
//! A message has a slot of the smallest of six sizes that holds it. A message longer than the
//! largest size has further slots of that size, called blocks, linked one after the other. The free
//! slots of each size are a list; the slot that was freed last is used first.

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
/// The least number of pages by which a file grows. It grows by an eighth of its size, within these
/// limits.
const MIN_GROWTH: u32 = 8;
/// The greatest number of pages by which a file grows.
const MAX_GROWTH: u32 = 256;

/// Returns the number of blocks of a message with `len` bytes.
pub fn blocks_for(len: usize) -> usize {
    len.saturating_sub(inline_len(class_for(len), len)).div_ceil(BLOCK_BYTES)
}

impl QueueView<'_> {
    /// Returns the first `len` bytes of a message in pieces. If a peer has broken the chain of
    /// blocks, there are fewer.
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

    /// Returns the first and the last block of a message with `len` bytes.
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
    /// Stages the removal of the first free slot of a class from its list. Returns `None` if the
    /// list is empty.
    #[inline(always)]
    pub fn allocate_slot(&mut self, class: usize) -> Result<Option<Slot>> {
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

    /// Returns the unit of the first free slot of a class, as staged; 0 for none.
    #[inline(always)]
    fn free_head(&self, class: usize) -> u32 {
        let free = self.queue().header().free(class);
        low(if self.heads_changed { self.get(free) } else { free.load(Relaxed) })
    }

    /// Stages the first free slot of a class.
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

    /// Stages the return of a slot that holds no message. A store to its first word may be staged
    /// already.
    pub fn free_slot(&mut self, slot: Slot, class: usize) {
        let next = self.free_head(class);
        self.set_in(slot, words::KIND, SlotKind { state: SlotUse::Free, class, number: next }.pack());
        self.set_free_head(class, slot.unit());
    }

    /// Stages the return of the slots of a message. No store to its first word is staged yet.
    #[inline(always)]
    pub fn free_message(&mut self, slot: Slot, class: usize, len: usize) -> Result<()> {
        if len > inline_len(class, len) {
            self.free_blocks(slot, len)?;
        }
        let next = self.free_head(class);
        self.put_in(slot, words::KIND, SlotKind { state: SlotUse::Free, class, number: next }.pack());
        self.set_free_head(class, slot.unit());
        Ok(())
    }

    /// Stages the return of the blocks of a message. They stay linked, so only the last link
    /// changes.
    #[inline(never)]
    fn free_blocks(&mut self, slot: Slot, len: usize) -> Result<()> {
        if let Some((first, last)) = self.queue().blocks(slot, len)? {
            let next = self.free_head(LARGEST);
            self.put_in(last, words::KIND, SlotKind { state: SlotUse::Free, class: LARGEST, number: next }.pack());
            self.set_free_head(LARGEST, first.unit());
        }
        Ok(())
    }

    /// Stages the allocation of the slots for a message. Returns its own slot, the class, and the
    /// unit of its first block (0 for none). Returns `None` if there are too few free slots.
    #[inline(always)]
    pub fn allocate_message(&mut self, len: usize) -> Result<Option<(Slot, usize, u32)>> {
        let class = class_for(len);
        let Some(slot) = self.allocate_slot(class)? else { return Ok(None) };
        if len <= inline_len(class, len) {
            return Ok(Some((slot, class, 0)));
        }
        Ok(self.allocate_blocks(blocks_for(len))?.map(|first| (slot, class, first)))
    }

    /// Stages the allocation of `count` blocks. Free slots of a class are linked already.
    #[inline(never)]
    fn allocate_blocks(&mut self, count: usize) -> Result<Option<u32>> {
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

    /// Stages the copies of the bytes of a message into its slots. The message has at most
    /// [`MAX_COPY_UNDER_LOCK`] bytes.
    #[inline(always)]
    pub fn copy_message(&mut self, slot: Slot, class: usize, first: u32, from: Source) -> Result<()> {
        let own = inline_len(class, from.len);
        self.copy(slot.bytes(MESSAGE_HEADER), from.at, own);
        if own < from.len {
            self.copy_blocks(first, Source { at: from.at.wrapping_add(own), len: from.len - own })?;
        }
        Ok(())
    }

    #[inline(never)]
    fn copy_blocks(&mut self, first: u32, from: Source) -> Result<()> {
        let (mut done, mut next) = (0, first);
        while done < from.len {
            let block = self.queue().slot(next)?;
            let len = (from.len - done).min(block.size(LARGEST) - BLOCK_HEADER);
            self.copy(block.bytes(BLOCK_HEADER), from.at.wrapping_add(done), len);
            done += len;
            next = block.kind().number;
        }
        self.check()
    }
}

/// The greatest length of a message that is copied in one operation, with the lock held. Longer
/// ones are copied without the lock.
pub const MAX_COPY_UNDER_LOCK: usize = (MAX_COPIES - 3) * BLOCK_BYTES;

impl QueueGuard<'_> {
    /// Makes sure that there is a free slot of a class. `ENOMEM` means that there is no room.
    pub fn ensure_slot(&self, class: usize) -> Result<()> {
        let header = self.queue.header();
        if low(header.free(class).load(Relaxed)) != 0 {
            return Ok(());
        }
        self.add_page(class)
    }

    /// If the file would have to grow for a message of `len` bytes, first reclaims what exited
    /// processes have left.
    ///
    /// The repair may change the list of messages, so this must be called before an operation reads
    /// it.
    pub fn reclaim_before_growth(&self, len: usize) {
        let header = self.queue.header();
        let short = |class| low(header.free(class).load(Relaxed)) == 0;
        let needed = short(class_for(len)) || len > inline_len(class_for(len), len) && short(LARGEST);
        if needed && low(header.divided.load(Relaxed)) >= self.queue.pages() {
            self.repair();
        }
    }

    /// Divides a page that is not in use into slots of a class.
    fn divide_page(&self, page: u32, class: usize) -> Result<()> {
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
        // The words of the page are stored without a journal, because no list names its slots yet.
        // One commit counts the page as divided and adds its slots. A crash before that leaves a
        // page that is divided again.
        writes.put(&header.divided, halves(page + 1, 0));
        writes.put(header.free(class), next.into());
        self.commit(&writes)
    }

    /// Makes sure that there are free slots for a message of `len` bytes.
    pub fn ensure_message_slots(&self, len: usize) -> Result<()> {
        let blocks = blocks_for(len);
        self.ensure_slot(class_for(len))?;
        if blocks == 0 {
            return Ok(());
        }
        let (mut at, mut have) = (low(self.queue.header().free(LARGEST).load(Relaxed)), 0);
        // The slot of such a message has the same size as its blocks.
        while have < blocks + 1 && at != 0 {
            at = self.queue.slot(at)?.kind().number;
            have += 1;
        }
        for _ in have..blocks + 1 {
            self.add_page(LARGEST)?;
        }
        Ok(())
    }

    /// Makes sure that there are two free slots of the smallest size, for a message and its type.
    pub fn ensure_two_smallest(&self) -> Result<()> {
        self.ensure_slot(0)?;
        let first = self.queue.slot(low(self.queue.header().free(0).load(Relaxed)))?;
        if first.kind().number == 0 { self.add_page(0) } else { Ok(()) }
    }

    /// Adds the slots of one page to the free slots of a class. The file grows if all its pages are
    /// in use.
    fn add_page(&self, class: usize) -> Result<()> {
        let header = self.queue.header();
        let page = low(header.divided.load(Relaxed)).max(1);
        if page > self.queue.pages() {
            // A peer has overwritten the number.
            return Err(Errno::INVAL);
        }
        if page == self.queue.pages() {
            let more = (self.queue.pages() / 8).clamp(MIN_GROWTH, MAX_GROWTH);
            self.queue.grow(more).or_else(|_| self.queue.grow(1))?;
        }
        self.divide_page(page, class)
    }

    /// Empties the lists of free slots and frees the memory of the pages. No slot is in use.
    pub fn reset_slots(&self) -> Result<()> {
        let header = self.queue.header();
        let mut writes = WriteSet::new(self.queue);
        (0..CLASSES).for_each(|class| writes.put(header.free(class), 0));
        writes.put(&header.divided, 1);
        self.commit(&writes)?;
        self.queue.shrink();
        Ok(())
    }
}
