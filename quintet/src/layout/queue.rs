//! `msg/INDEX`: the file of a message queue, and `msg/INDEX.data` in a shared namespace.
//!
//! | part | what |
//! |---|---|
//! | header | [`QueueHeader`]: the first page |
//! | pages | from 4096 on, as many as were needed so far: each is divided into slots of one size |
//!
//! In a private namespace both are one file. In a shared one everybody who may enter it may read the header, as `ipcs` does; the pages are in a file
//! of their own (from 4096 on there, too), which only those can open who may read or write the queue.
//!
//! A slot is known by its number: how many times 128 bytes it is from the beginning. Its words:
//!
//! | word | of a message | of a waiting call | of a type |
//! |---|---|---|---|
//! | 0 | [`SlotUse`], size class, length in the upper half | state, class | state, class, how many messages |
//! | 1 | type | type | type |
//! | 2 | next and previous in its list | the same | first and last message |
//! | 3 | next of the same type; first further block | flags; the message sent or received | the two links of its branch |
//! | 4 | number; or owner and thread of who sends or receives it | size of its buffer, or length of its message | bit of its branch |
//! | 5 | sender and time | the rights by which it was judged | bytes of its messages |
//! | 6... | bytes | [`Sleeper`]; in word 11 in which round there was room for it | |
//!
//! A free slot has the next free one in the upper half of word 0; so has a further block of a message the next block, and its bytes from word 1 on.
//!
//! # Safety
//!
//! [`Slot`] is made of addresses within what is mapped, and stays mapped, if not always by the same file.
#![allow(unsafe_code)]

use crate::layout::AtomicStruct;
use crate::layout::rights::{self, Rights, RightsWords};
use crate::layout::sleeper::Sleeper;
use crate::sync::redo::Redo;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

const MAGIC: u32 = u32::from_le_bytes(*b"QMSG");
const PAGE: usize = 4096;

/// What a slot's number counts.
pub const UNIT: usize = 128;
/// The sizes of slots: 128, 256, 512, 1024, 2048 and 4096 bytes.
pub const CLASSES: usize = 6;
/// Where a message's bytes begin, and those of a further block.
pub const MESSAGE_HEADER: usize = 48;
pub const BLOCK_HEADER: usize = 8;
/// The bytes of a message in a slot of the largest class, and in a further block.
pub const MOST_INLINE: usize = PAGE - MESSAGE_HEADER;
pub const BLOCK_BYTES: usize = PAGE - BLOCK_HEADER;

/// How many journals there are, and how many stores one holds.
pub const JOURNALS: usize = 4;
pub const MOST_STORES: usize = 38;

/// The first page. The words of the first line change with each message, those of the second seldom.
#[repr(C)]
pub struct QueueHeader {
    /// `sync::latch`.
    pub lock: AtomicU64,
    /// Counts the changes: `sync::redo`.
    pub changes: AtomicU64,
    /// The first message and, in the upper half, the last.
    pub ends: AtomicU64,
    /// `msg_cbytes`.
    pub bytes: AtomicU64,
    /// `msg_qnum` and, in the upper half, the number of the next message.
    pub count: AtomicU64,
    /// The last sender and when: [`Stamp`].
    pub sent: AtomicU64,
    /// The last receiver and when.
    pub received: AtomicU64,
    /// The first free slot of each class; this is the smallest's.
    pub free_smallest: AtomicU64,

    magic: AtomicU32,
    /// Which of `rights` counts: 0 or 1.
    pub current: AtomicU32,
    /// Identifier in the upper half, [`ObjectState`] in the lower.
    pub head: AtomicU64,
    /// `msg_qbytes`.
    pub capacity: AtomicU64,
    /// How many receivers wait and, in the upper half, how many senders.
    pub waiting: AtomicU64,
    /// The index by type: [`TypeIndex`].
    pub types: AtomicU64,
    pub key: AtomicU32,
    pub cuid: AtomicU32,
    pub cgid: AtomicU32,
    /// Who made it: slot, and incarnation in the upper half.
    pub creator: AtomicU32,
    /// 1: a holder of the lock has died, and nobody has looked at what he left since.
    pub damaged: AtomicU32,
    /// How many pages have their place.
    pub pages: AtomicU32,

    /// The first free slot of the larger classes.
    free_larger: [AtomicU64; CLASSES - 1],
    /// How many pages have been divided into slots.
    pub divided: AtomicU64,
    /// The waiting receivers and senders: first and last.
    pub receivers: AtomicU64,
    pub senders: AtomicU64,
    /// Messages that are being sent or received just now.
    pub busy: AtomicU64,
    /// The number of the last call that waited.
    pub tickets: AtomicU64,
    pub rights: [RightsWords; 2],
    /// The numbers of the receiver's and of the sender's call that the lock's holder was last about to answer: `sync::waiter`.
    pub answering: [AtomicU64; 2],
    reserved: [AtomicU64; 94],
    journals: [Journal; JOURNALS],
}

#[repr(C)]
struct Journal {
    decided: AtomicU64,
    pad: AtomicU64,
    entries: [AtomicU64; 2 * MOST_STORES],
    pad2: [AtomicU64; 2],
}

// SAFETY: atomics only.
unsafe impl AtomicStruct for QueueHeader {}

const _: () = {
    assert!(std::mem::offset_of!(QueueHeader, magic) == 64);
    assert!(std::mem::offset_of!(QueueHeader, free_larger) == 128);
    assert!(std::mem::offset_of!(QueueHeader, rights) == 208);
    assert!(std::mem::offset_of!(QueueHeader, journals) == 1024);
    assert!(size_of::<Journal>() == 640 && size_of::<QueueHeader>() <= PAGE);
};

/// A process and a second, in one word: process id in the lowest 24 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub pid: u32,
    pub time: u64,
}

impl Stamp {
    #[inline(always)]
    pub fn pack(self) -> u64 {
        u64::from(self.pid & 0xff_ffff) | self.time << 24
    }

    pub fn unpack(word: u64) -> Stamp {
        Stamp { pid: word as u32 & 0xff_ffff, time: word >> 24 }
    }
}

/// Two halves of a word.
#[inline(always)]
pub fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline(always)]
pub fn low(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
pub fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The state of the index by type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeIndex {
    /// There is none.
    Off,
    /// It is being made; the link is its root.
    Building(u32),
    /// It knows all messages.
    On(u32),
    /// Its slots are being given back: the first of those that are left, each with the next one where the bytes of its messages were.
    Leaving(u32),
}

impl TypeIndex {
    #[inline(always)]
    pub fn pack(self) -> u64 {
        match self {
            TypeIndex::Off => 0,
            TypeIndex::Building(root) => halves(root, 1),
            TypeIndex::On(root) => halves(root, 2),
            TypeIndex::Leaving(first) => halves(first, 3),
        }
    }

    pub fn unpack(word: u64) -> TypeIndex {
        match high(word) {
            1 => TypeIndex::Building(low(word)),
            2 => TypeIndex::On(low(word)),
            3 => TypeIndex::Leaving(low(word)),
            _ => TypeIndex::Off,
        }
    }
}

impl QueueHeader {
    /// How a queue's file begins.
    pub fn set_up(&self) {
        self.divided.store(1, Relaxed);
        self.magic.store(MAGIC, Release);
    }

    pub fn is_valid(&self) -> bool {
        self.magic.load(Acquire) == MAGIC
    }

    /// Takes the file out of use: who has it mapped looks for its successor.
    pub fn retire(&self) {
        self.magic.store(0, SeqCst);
    }

    /// The first free slot of a class.
    #[inline(always)]
    pub fn free(&self, class: usize) -> &AtomicU64 {
        if class == 0 { &self.free_smallest } else { &self.free_larger[(class - 1) % (CLASSES - 1)] }
    }

    /// A participant's journal.
    #[inline(always)]
    pub fn journal(&self, nth: usize) -> Redo<'_> {
        let journal = &self.journals[nth % JOURNALS];
        Redo { decided: &journal.decided, changes: &self.changes, entries: &journal.entries }
    }

    /// All journals.
    pub fn journals(&self) -> impl Iterator<Item = Redo<'_>> + Clone {
        (0..JOURNALS).map(|nth| self.journal(nth))
    }

    pub fn rights(&self) -> Rights {
        rights::load(&self.current, &self.rights)
    }

    /// Changes the rights, whole. The caller holds the registry's lock.
    pub fn set_rights(&self, rights: Rights) {
        rights::store(&self.current, &self.rights, rights);
    }
}

/// What a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SlotUse {
    /// Nobody's; or a further block of a message.
    Free = 0,
    /// A message in the queue.
    Queued = 1,
    /// A message that is being sent: not in the queue yet.
    Sending = 2,
    /// A message that is being received: not in the queue any more.
    Receiving = 3,
    /// A call that waits.
    Waiter = 4,
    /// A type of the index.
    Type = 5,
}

/// Word 0 of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotKind {
    pub state: SlotUse,
    pub class: usize,
    /// A length, a count, or the next free slot.
    pub number: u32,
}

impl SlotKind {
    #[inline(always)]
    pub fn pack(self) -> u64 {
        self.state as u64 | (self.class as u64) << 8 | u64::from(self.number) << 32
    }

    #[inline(always)]
    pub fn unpack(word: u64) -> SlotKind {
        let state = match word as u8 {
            1 => SlotUse::Queued,
            2 => SlotUse::Sending,
            3 => SlotUse::Receiving,
            4 => SlotUse::Waiter,
            5 => SlotUse::Type,
            _ => SlotUse::Free,
        };
        SlotKind { state, class: ((word >> 8) as u8 as usize).min(CLASSES - 1), number: high(word) }
    }
}

/// The words of a slot, by what they mean.
pub mod words {
    pub const KIND: usize = 0;
    pub const TYPE: usize = 1;
    pub const LINKS: usize = 2;
    /// Of a message: the next of its type; the first further block.
    pub const CHAIN: usize = 3;
    /// Of a message: its number; of one that is being sent or received, its owner and thread.
    pub const NUMBER: usize = 4;
    pub const STAMP: usize = 5;
    /// Of a waiting call: flags; the message.
    pub const WANTS: usize = 3;
    pub const SIZE: usize = 4;
    pub const JUDGED: usize = 5;
    pub const STATE: usize = 6;
    pub const ROUND: usize = 11;
    /// Of a receiver's call that was answered: when and by whom a message was received before.
    pub const BEFORE: usize = 11;
    /// Of a type.
    pub const MEMBERS: usize = 2;
    pub const BRANCHES: usize = 3;
    pub const BIT: usize = 4;
    pub const BYTES: usize = 5;
}

/// A slot that is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    at: usize,
    unit: u32,
}

impl Slot {
    /// # Safety
    ///
    /// From `at` on, aligned to 128 bytes, the rest of its page is mapped readable, and stays mapped. What is written through this is mapped
    /// writable.
    #[inline(always)]
    pub unsafe fn new(at: usize, unit: u32) -> Slot {
        Slot { at, unit }
    }

    /// The slot's number.
    #[inline(always)]
    pub fn unit(self) -> u32 {
        self.unit
    }

    /// One of its first 16 words.
    #[inline(always)]
    pub fn word(self, nth: usize) -> &'static AtomicU64 {
        // SAFETY: within the 128 bytes that every slot has; atomics.
        unsafe { &*((self.at + 8 * (nth % (UNIT / 8))) as *const AtomicU64) }
    }

    #[inline(always)]
    pub fn get(self, nth: usize) -> u64 {
        self.word(nth).load(Relaxed)
    }

    #[inline(always)]
    pub fn kind(self) -> SlotKind {
        SlotKind::unpack(self.get(words::KIND))
    }

    /// The place of a word, as journals name it.
    #[inline(always)]
    pub fn place(self, nth: usize) -> u64 {
        u64::from(self.unit) * (UNIT / 8) as u64 + (nth % (UNIT / 8)) as u64
    }

    /// How many bytes a slot of this class has that begins here, and does not end beyond its page.
    #[inline(always)]
    pub fn size(self, class: usize) -> usize {
        (UNIT << class).min(PAGE - self.at % PAGE)
    }

    /// Where its bytes are, from `header` on.
    #[inline(always)]
    pub fn bytes(self, header: usize) -> *mut u8 {
        (self.at + header) as *mut u8
    }

    /// The words of who waits.
    pub fn sleeper(self) -> &'static Sleeper {
        // SAFETY: from word 6 on the slot has 80 bytes; atomics only.
        unsafe { &*((self.at + 8 * words::STATE) as *const Sleeper) }
    }
}

/// The size class for a message of this length; what is longer has further blocks.
#[inline(always)]
pub fn class_for(len: usize) -> usize {
    let bytes = MESSAGE_HEADER + len.min(MOST_INLINE);
    (bytes.max(UNIT).next_power_of_two() / UNIT).trailing_zeros() as usize
}

/// How many bytes a message of this length has in its own slot.
#[inline(always)]
pub fn inline_len(class: usize, len: usize) -> usize {
    len.min((UNIT << class) - MESSAGE_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_the_smallest_class_that_holds_it() {
        let classes = [0, 80, 81, 208, 209, 464, 465, 976, 977, 2000, 2001, 4048, 4049, 1 << 30].map(class_for);
        assert_eq!(classes, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]);
    }
}
