//! The messages of a queue in their order, the choice of the one that a receiver gets, and the
//! other lists of slots.

use crate::layout::{Slot, SlotKind, SlotUse, Stamp, TypeIndex, halves, high, low, words};
use crate::msg::mapping::QueueView;
use crate::msg::type_index;
use crate::msg::write_set::WriteSet;
use crate::object::mapping::MappedObject;
use crate::types::error::Errno;
use crate::types::msg::MsgFlags;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Errno>;

/// The number of messages up to which a receiver looks at each of them. A longer list gets an index
/// by type.
pub const MAX_UNINDEXED: u32 = 32;

/// The messages that a receiver takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selector {
    /// The first message.
    Any,
    /// The first message of this type.
    Type(i64),
    /// The first message of the lowest type that is at most this.
    UpTo(i64),
    /// The first message of another type.
    Not(i64),
    /// The message at this position, as a copy.
    At(i64),
}

impl Selector {
    /// Returns the meaning of `msgtyp` and the flags of a call.
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

    /// Returns `true` if a receiver takes a message of this type when there is no other.
    #[inline(always)]
    pub fn matches(self, mtype: i64) -> bool {
        match self {
            Selector::Any => true,
            Selector::Type(requested) => mtype == requested,
            Selector::UpTo(most) => mtype <= most,
            Selector::Not(excluded) => mtype != excluded,
            Selector::At(_) => false,
        }
    }
}

/// The outcome of a search for a message.
pub enum Selected {
    /// The receiver gets this message.
    Message(Slot),
    /// No message matches.
    Nothing,
    /// There are many messages, and no index by type yet.
    Unindexed,
}

impl<'a> QueueView<'a> {
    /// Returns the messages in their order. A peer can link them in a cycle, so the walk counts
    /// its steps.
    pub fn messages(&self) -> impl Iterator<Item = Slot> + use<'a> {
        let queue = *self;
        let mut next = low(queue.header().ends.load(Relaxed));
        let mut left = low(queue.header().count.load(Relaxed)).min(queue.max_slots());
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let slot = queue.slot(next).ok().filter(|slot| slot.kind().state == SlotUse::Queued)?;
            next = low(slot.get(words::LINKS));
            Some(slot)
        })
    }

    /// Returns the message that a receiver gets. The caller holds the queue lock.
    #[inline(always)]
    pub fn select(&self, selector: Selector) -> Result<Selected> {
        let header = self.header();
        let count = low(header.count.load(Relaxed));
        if count == 0 {
            return Ok(Selected::Nothing);
        }
        let first = self.slot(low(header.ends.load(Relaxed)))?;
        if first.kind().state != SlotUse::Queued {
            return Err(Errno::INVAL);
        }
        let first_matches = match selector {
            Selector::Any => true,
            Selector::Type(_) | Selector::Not(_) => selector.matches(first.get(words::TYPE) as i64),
            _ => false,
        };
        if first_matches { Ok(Selected::Message(first)) } else { self.search(selector, count) }
    }

    #[inline(never)]
    fn search(&self, selector: Selector, count: u32) -> Result<Selected> {
        if let Selector::At(position) = selector {
            let at = usize::try_from(position).ok().and_then(|position| self.messages().nth(position));
            return Ok(at.map_or(Selected::Nothing, Selected::Message));
        }
        let found = match (TypeIndex::unpack(self.header().types.load(Relaxed)), selector) {
            (TypeIndex::On(root), Selector::Type(mtype)) => type_index::first_of(self, root, mtype)?,
            (TypeIndex::On(root), Selector::UpTo(most)) => type_index::first_up_to(self, root, most)?,
            (TypeIndex::On(root), Selector::Not(mtype)) => type_index::first_except(self, root, mtype)?,
            _ if count <= MAX_UNINDEXED => self.scan(selector),
            _ => return Ok(Selected::Unindexed),
        };
        Ok(found.map_or(Selected::Nothing, Selected::Message))
    }

    /// Looks at each message. Returns the one that a receiver gets.
    pub fn scan(&self, selector: Selector) -> Option<Slot> {
        let mtype = |slot: &Slot| slot.get(words::TYPE) as i64;
        let mut suitable = self.messages().filter(|slot| selector.matches(mtype(slot)));
        // `min_by_key` returns the first of several of the lowest type.
        if matches!(selector, Selector::UpTo(_)) { suitable.min_by_key(mtype) } else { suitable.next() }
    }
}

impl WriteSet<'_> {
    /// Returns the word with the links, and the number, for a message that is appended next.
    #[inline(always)]
    pub fn tail_position(&self) -> (u64, u64) {
        let header = self.queue().header();
        (halves(0, high(header.ends.load(Relaxed))), high(header.count.load(Relaxed)).into())
    }

    /// Stages the appending of a message, which has the links and number of
    /// [`WriteSet::tail_position`]. `blocks` is the unit of its first block.
    ///
    /// The first word of the message, and the words of the list in the header, have not been staged
    /// yet.
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

    /// Stages the removal of a message from the list. Its slots stay allocated.
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

    /// Stages a new next or previous slot for a neighbour in a list. `EINVAL` means that the
    /// neighbour was not linked to `was`.
    fn link(&mut self, slot: Slot, next: Option<u32>, previous: Option<u32>, was: u32) -> Result<()> {
        let links = self.get_in(slot, words::LINKS);
        let now = if next.is_some() { low(links) } else { high(links) };
        if now != was {
            return Err(Errno::INVAL);
        }
        self.set_in(slot, words::LINKS, halves(next.unwrap_or(low(links)), previous.unwrap_or(high(links))));
        Ok(())
    }

    /// Stages the appending of a slot to one of the other lists.
    pub fn list_append(&mut self, ends: &'static AtomicU64, slot: Slot) -> Result<()> {
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

    /// Stages the removal of a slot from one of the other lists. `EINVAL` means that it is not in
    /// this list.
    pub fn list_remove(&mut self, ends: &'static AtomicU64, slot: Slot) -> Result<()> {
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

    /// Stages the process and time of the last `msgsnd` or `msgrcv`.
    #[inline(always)]
    pub fn stamp(&mut self, word: &'static AtomicU64, pid: u32) {
        self.set(word, stamp_now(pid).pack());
    }
}

/// Returns the stamp of a process and the current time.
#[inline(always)]
pub fn stamp_now(pid: u32) -> Stamp {
    Stamp { pid, time: crate::sys::clock::time() as u64 }
}

impl<'a> QueueView<'a> {
    /// Returns the slots of one of the other lists in their order, up to one that is not in use as
    /// `state`. `Free` stands for any use. The walk counts its steps, as in `messages`.
    pub fn list(&self, ends: &'static AtomicU64, state: SlotUse) -> impl Iterator<Item = Slot> + use<'a> {
        let queue = *self;
        let mut next = low(ends.load(Relaxed));
        let mut left = queue.max_slots();
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
    /// Stages the insertion of a message before another one, or at the end for `None`. It counts as
    /// a message again.
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
