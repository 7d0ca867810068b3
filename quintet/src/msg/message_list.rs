//! The messages of a queue, one after the other, and which of them a receiver gets.

use crate::layout::{Slot, SlotKind, SlotUse, Stamp, TypeIndex, halves, high, low, words};
use crate::msg::mapping::QueueView;
use crate::msg::type_index;
use crate::msg::write_set::WriteSet;
use crate::object::mapping::MappedObject;
use crate::types::error::Errno;
use crate::types::msg::MsgFlags;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Errno>;

/// A queue of so many messages is looked through; a longer one has an index by type.
pub const FEW: u32 = 32;

/// Which messages a receiver takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selector {
    Any,
    Type(i64),
    /// The first one of the lowest type that is at most this.
    UpTo(i64),
    Not(i64),
    /// The one at this position, as a copy.
    At(i64),
}

impl Selector {
    /// What `msgtyp` and the flags of a call mean.
    #[inline(always)]
    pub fn new(mtype: i64, flags: MsgFlags) -> Selector {
        if flags.contains(MsgFlags::COPY) {
            Selector::At(mtype)
        } else if mtype == 0 {
            Selector::Any
        } else if mtype < 0 {
            Selector::UpTo(mtype.checked_neg().unwrap_or(i64::MAX))
        } else if flags.contains(MsgFlags::EXCEPT) {
            Selector::Not(mtype)
        } else {
            Selector::Type(mtype)
        }
    }

    /// Whether it takes a message of this type, if there is no other.
    #[inline(always)]
    pub fn takes(self, mtype: i64) -> bool {
        match self {
            Selector::Any => true,
            Selector::Type(wanted) => mtype == wanted,
            Selector::UpTo(most) => mtype <= most,
            Selector::Not(unwanted) => mtype != unwanted,
            Selector::At(_) => false,
        }
    }
}

/// What a look for a message comes to.
pub enum Selected {
    Message(Slot),
    Nothing,
    /// There are many, and no index by type yet.
    Unindexed,
}

impl<'a> QueueView<'a> {
    /// The messages, the first one first; no more than there can be, whatever a peer has made of the list.
    pub fn messages(&self) -> impl Iterator<Item = Slot> + use<'a> {
        let queue = *self;
        let mut next = low(queue.header().ends.load(Relaxed));
        let mut left = low(queue.header().count.load(Relaxed)).min(queue.most_slots());
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let slot = queue.slot(next).ok().filter(|slot| slot.kind().state == SlotUse::Queued)?;
            next = low(slot.get(words::LINKS));
            Some(slot)
        })
    }

    /// The message that a receiver gets.
    #[inline(always)]
    pub fn select(&self, select: Selector) -> Result<Selected> {
        let header = self.header();
        let count = low(header.count.load(Relaxed));
        if count == 0 {
            return Ok(Selected::Nothing);
        }
        let first = self.slot(low(header.ends.load(Relaxed)))?;
        if first.kind().state != SlotUse::Queued {
            return Err(Errno::INVAL);
        }
        let alone = match select {
            Selector::Any => true,
            Selector::Type(_) | Selector::Not(_) => select.takes(first.get(words::TYPE) as i64),
            _ => false,
        };
        if alone { Ok(Selected::Message(first)) } else { self.search(select, count) }
    }

    #[inline(never)]
    fn search(&self, select: Selector, count: u32) -> Result<Selected> {
        if let Selector::At(position) = select {
            let at = usize::try_from(position).ok().and_then(|position| self.messages().nth(position));
            return Ok(at.map_or(Selected::Nothing, Selected::Message));
        }
        let found = match (TypeIndex::unpack(self.header().types.load(Relaxed)), select) {
            (TypeIndex::On(root), Selector::Type(mtype)) => type_index::first_of(self, root, mtype)?,
            (TypeIndex::On(root), Selector::UpTo(most)) => type_index::first_up_to(self, root, most)?,
            (TypeIndex::On(root), Selector::Not(mtype)) => type_index::first_but(self, root, mtype)?,
            _ if count <= FEW => self.look_through(select),
            _ => return Ok(Selected::Unindexed),
        };
        Ok(found.map_or(Selected::Nothing, Selected::Message))
    }

    pub fn look_through(&self, select: Selector) -> Option<Slot> {
        let mtype = |slot: &Slot| slot.get(words::TYPE) as i64;
        let mut suitable = self.messages().filter(|slot| select.takes(mtype(slot)));
        // Of several of the lowest type the first.
        if matches!(select, Selector::UpTo(_)) { suitable.min_by_key(mtype) } else { suitable.next() }
    }
}

impl WriteSet<'_> {
    /// What a message that is put at the end of the line has for links and number.
    #[inline(always)]
    pub fn at_the_end(&self) -> (u64, u64) {
        let header = self.queue().header();
        (halves(0, high(header.ends.load(Relaxed))), high(header.count.load(Relaxed)).into())
    }

    /// Puts a message at the end of the line, which has the links and the number that [`WriteSet::at_the_end`] has told, and whose
    /// first further block is `blocks`. Nothing was stored to its first word yet, nor to the line's.
    #[inline(always)]
    pub fn append(&mut self, slot: Slot, class: usize, len: usize, mtype: i64, blocks: u32) -> Result<()> {
        let queue = self.queue();
        let header = queue.header();
        let ends = header.ends.load(Relaxed);
        let (first, last) = (low(ends), high(ends));
        self.put_in(slot, words::KIND, SlotKind { state: SlotUse::Queued, class, number: len as u32 }.pack());
        if last == 0 {
            self.put(&header.ends, halves(slot.unit(), slot.unit()));
        } else {
            let before = queue.slot(last)?;
            let links = self.get_in(before, words::LINKS);
            if before.kind().state != SlotUse::Queued || low(links) != 0 {
                return Err(Errno::INVAL);
            }
            self.set_in(before, words::LINKS, halves(slot.unit(), high(links)));
            self.put(&header.ends, halves(first, slot.unit()));
        }
        let count = header.count.load(Relaxed);
        self.put(&header.bytes, header.bytes.load(Relaxed).wrapping_add(len as u64));
        self.put(&header.count, halves(low(count).wrapping_add(1), high(count).wrapping_add(1)));
        if header.types.load(Relaxed) != 0 {
            type_index::add(self, slot, mtype, len, blocks)?;
        }
        Ok(())
    }

    /// Takes a message out of the line.
    #[inline(always)]
    pub fn remove(&mut self, slot: Slot, len: usize) -> Result<()> {
        let queue = self.queue();
        let header = queue.header();
        let links = slot.get(words::LINKS);
        let (next, previous) = (low(links), high(links));
        let ends = header.ends.load(Relaxed);
        let (mut first, mut last) = (low(ends), high(ends));
        if previous == 0 {
            first = next;
        } else {
            self.link(queue.slot(previous)?, Some(next), None, slot.unit())?;
        }
        if next == 0 {
            last = previous;
        } else {
            self.link(queue.slot(next)?, None, Some(previous), slot.unit())?;
        }
        self.put(&header.ends, halves(first, last));
        let count = header.count.load(Relaxed);
        self.put(&header.bytes, header.bytes.load(Relaxed).saturating_sub(len as u64));
        self.put(&header.count, halves(low(count).saturating_sub(1), high(count)));
        if header.types.load(Relaxed) != 0 {
            type_index::remove(self, slot, slot.get(words::TYPE) as i64, len, low(count) == 1)?;
        }
        Ok(())
    }

    /// Gives a neighbour in a list another next or previous one; so far that was `was`.
    fn link(&mut self, slot: Slot, next: Option<u32>, previous: Option<u32>, was: u32) -> Result<()> {
        let links = self.get_in(slot, words::LINKS);
        let now = if next.is_some() { low(links) } else { high(links) };
        if now != was {
            return Err(Errno::INVAL);
        }
        self.set_in(slot, words::LINKS, halves(next.unwrap_or(low(links)), previous.unwrap_or(high(links))));
        Ok(())
    }

    /// Puts a slot at the end of one of the other lists.
    pub fn enlist(&mut self, ends: &'static AtomicU64, slot: Slot) -> Result<()> {
        let (first, last) = (low(self.get(ends)), high(self.get(ends)));
        self.set_in(slot, words::LINKS, halves(0, last));
        if last == 0 {
            self.set(ends, halves(slot.unit(), slot.unit()));
        } else {
            self.link(self.queue().slot(last)?, Some(slot.unit()), None, 0)?;
            self.set(ends, halves(first, slot.unit()));
        }
        Ok(())
    }

    /// Takes a slot out of one of the other lists.
    pub fn delist(&mut self, ends: &'static AtomicU64, slot: Slot) -> Result<()> {
        let links = self.get_in(slot, words::LINKS);
        let (next, previous) = (low(links), high(links));
        let (mut first, mut last) = (low(self.get(ends)), high(self.get(ends)));
        if (previous == 0) != (first == slot.unit()) || (next == 0) != (last == slot.unit()) {
            return Err(Errno::INVAL);
        }
        match previous {
            0 => first = next,
            _ => self.link(self.queue().slot(previous)?, Some(next), None, slot.unit())?,
        }
        match next {
            0 => last = previous,
            _ => self.link(self.queue().slot(next)?, None, Some(previous), slot.unit())?,
        }
        self.set(ends, halves(first, last));
        Ok(())
    }

    /// Notes who has sent (or received) a message, and when.
    #[inline(always)]
    pub fn stamp(&mut self, word: &'static AtomicU64, pid: u32) {
        self.set(word, now(pid).pack());
    }
}

/// A process, and now.
#[inline(always)]
pub fn now(pid: u32) -> Stamp {
    Stamp { pid, time: crate::sys::clock::time() as u64 }
}

impl<'a> QueueView<'a> {
    /// The slots of one of the other lists, in their order; no more than there can be, whatever a peer has made of it.
    pub fn list(&self, ends: &'static AtomicU64, state: SlotUse) -> impl Iterator<Item = Slot> + use<'a> {
        let queue = *self;
        let mut next = low(ends.load(Relaxed));
        let mut left = queue.most_slots();
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let fits = |slot: &Slot| state == SlotUse::Free || slot.kind().state == state;
            let slot = queue.slot(next).ok().filter(fits)?;
            next = low(slot.get(words::LINKS));
            Some(slot)
        })
    }
}

impl WriteSet<'_> {
    /// Puts a message back into the line, before another one; `None`: at the end.
    pub fn insert(&mut self, slot: Slot, before: Option<Slot>) -> Result<()> {
        let queue = self.queue();
        let header = queue.header();
        let ends = self.get(&header.ends);
        let (next, previous) = match before {
            Some(before) => (before.unit(), high(self.get_in(before, words::LINKS))),
            None => (0, high(ends)),
        };
        self.set_in(slot, words::LINKS, halves(next, previous));
        match previous {
            0 => {}
            _ => self.link(queue.slot(previous)?, Some(slot.unit()), None, next)?,
        }
        if let Some(before) = before {
            self.link(before, None, Some(slot.unit()), previous)?;
        }
        let first = if previous == 0 { slot.unit() } else { low(ends) };
        let last = if next == 0 { slot.unit() } else { high(ends) };
        self.set(&header.ends, halves(first, last));
        let count = self.get(&header.count);
        self.set(&header.count, halves(low(count).wrapping_add(1), high(count)));
        let bytes = self.get(&header.bytes);
        self.set(&header.bytes, bytes.wrapping_add(slot.kind().number.into()));
        Ok(())
    }
}
