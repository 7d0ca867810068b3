//! `msg/INDEX`: the file of a message queue, and `msg/INDEX.data` in a shared namespace.
//!
//! | part | content |
//! |---|---|
//! | header | [`QueueHeader`]: the first page |
//! | pages | the slots: messages, blocked calls, and the index by type |
//!
//! The pages begin at offset 4096. There are as many as were needed so far, and each is divided
//! into slots of one size.
//!
//! In a private namespace, both parts are one file. In a shared namespace, the pages are in a file
//! of their own, also from offset 4096 on. All users of the namespace can read the header, as
//! `ipcs` does. Only users with read or write permission for the queue can open the pages.
//!
//! A slot is named by its unit: its offset divided by 128. Its words depend on its use:
//!
//! | word | message | blocked call | type |
//! |---|---|---|---|
//! | 0 | [`SlotKind`]; length | [`SlotKind`] | [`SlotKind`]; number of messages |
//! | 1 | type | type | type |
//! | 2 | next, previous in its list | next, previous in its list | first, last message |
//! | 3 | next of the same type; next block | flags; its message | the two links of its branch |
//! | 4 | number, or [`ThreadOwner`] [1] | buffer size or message length | bit of its branch |
//! | 5 | sender and time | version of the permissions [2] | bytes of its messages |
//! | 6... | bytes | [`Sleeper`]; word 11 [3] | |
//!
//! - [1] While a thread sends or receives the message, the thread.
//! - [2] The version of the queue's permissions that were checked for the call.
//! - [3] The round of waking in which there was room for the call's message. For an answered
//!   receiver, the stamp of the receive before.
//!
//! Where a cell names two values, the first one is in the lower half of the word.
//!
//! A free slot has the next free slot in the upper half of word 0. A further block of a message has
//! the next block there, and its bytes from word 1 on.
//!
//! [`ThreadOwner`]: crate::sync::queue_lock::ThreadOwner
//!
//! # Safety
//!
//! A [`Slot`] holds an address within a mapping that stays mapped, if not always by the same file.
#![allow(unsafe_code)]

use crate::layout::AtomicStruct;
use crate::layout::permissions::{self, PermissionWords, StoredPermissions};
use crate::layout::sleeper::Sleeper;
use crate::sync::redo::Redo;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

const MAGIC: u32 = u32::from_le_bytes(*b"QMSG");
const PAGE: usize = 4096;

/// The unit of slot numbers, in bytes.
pub const UNIT: usize = 128;
/// The number of slot sizes: 128, 256, 512, 1024, 2048 and 4096 bytes.
pub const CLASSES: usize = 6;
/// The offset of a message's bytes in its slot.
pub const MESSAGE_HEADER: usize = 48;
/// The offset of a message's bytes in a further block.
pub const BLOCK_HEADER: usize = 8;
/// The greatest number of a message's bytes in its own slot.
pub const MAX_INLINE: usize = PAGE - MESSAGE_HEADER;
/// The number of a message's bytes in a further block.
pub const BLOCK_BYTES: usize = PAGE - BLOCK_HEADER;

/// The number of journals.
pub const JOURNALS: usize = 4;
/// The greatest number of stores in a journal.
pub const MAX_STORES: usize = 38;

/// The first page. Each message changes the words of the first cache line; the words of the second
/// one seldom change.
#[repr(C)]
pub struct QueueHeader {
    /// The lock of the queue: `sync::queue_lock`.
    pub lock: AtomicU64,
    /// The number of changes: `sync::redo`.
    pub changes: AtomicU64,
    /// The first message and, in the upper half, the last one.
    pub ends: AtomicU64,
    /// `msg_cbytes`.
    pub bytes: AtomicU64,
    /// `msg_qnum` and, in the upper half, the number of the next message.
    pub count: AtomicU64,
    /// The [`Stamp`] of the last `msgsnd`.
    pub sent: AtomicU64,
    /// The [`Stamp`] of the last `msgrcv`.
    pub received: AtomicU64,
    /// The first free slot of the smallest class.
    pub free_smallest: AtomicU64,

    magic: AtomicU32,
    /// The number of changes of the permissions; its lowest bit names the copy in force.
    pub current: AtomicU32,
    /// Identifier in the upper half, [`ObjectState`] in the lower.
    pub head: AtomicU64,
    /// `msg_qbytes`.
    pub capacity: AtomicU64,
    /// The number of blocked receivers and, in the upper half, of blocked senders.
    pub waiting: AtomicU64,
    /// The index by type: [`TypeIndex`].
    pub types: AtomicU64,
    /// The key; 0 for none.
    pub key: AtomicU32,
    /// The creator's user id.
    pub cuid: AtomicU32,
    /// The creator's group id.
    pub cgid: AtomicU32,
    /// The creator as a word: slot, and incarnation in the upper half.
    pub creator: AtomicU32,
    /// 1 if a holder of the lock died, and no process has examined the whole queue since.
    pub damaged: AtomicU32,
    /// The number of allocated pages.
    pub pages: AtomicU32,

    /// The first free slot of the larger classes.
    free_larger: [AtomicU64; CLASSES - 1],
    /// The number of pages that are divided into slots.
    pub divided: AtomicU64,
    /// The first and, in the upper half, the last blocked receiver.
    pub receivers: AtomicU64,
    /// The first and, in the upper half, the last blocked sender.
    pub senders: AtomicU64,
    /// The messages that are being sent or received at this moment.
    pub busy: AtomicU64,
    /// The number of the last call that blocked.
    pub tickets: AtomicU64,
    /// The two copies: `layout::permissions`.
    pub permissions: [PermissionWords; 2],
    /// The tickets of the receiver and of the sender that the lock's holder last claimed:
    /// `sync::waiter`.
    pub answering: [AtomicU64; 2],
    reserved: [AtomicU64; 94],
    journals: [Journal; JOURNALS],
}

#[repr(C)]
struct Journal {
    decided: AtomicU64,
    pad: AtomicU64,
    entries: [AtomicU64; 2 * MAX_STORES],
    pad2: [AtomicU64; 2],
}

// SAFETY: `repr(C)`, and all fields are atomics.
unsafe impl AtomicStruct for QueueHeader {}

const _: () = {
    assert!(std::mem::offset_of!(QueueHeader, magic) == 64);
    assert!(std::mem::offset_of!(QueueHeader, free_larger) == 128);
    assert!(std::mem::offset_of!(QueueHeader, permissions) == 208);
    assert!(std::mem::offset_of!(QueueHeader, journals) == 1024);
    assert!(size_of::<Journal>() == 640 && size_of::<QueueHeader>() <= PAGE);
};

/// A process and a time in one word: the process id in the low 24 bits, the time above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The process id.
    pub pid: u32,
    /// Seconds since the Epoch.
    pub time: u64,
}

impl Stamp {
    /// The stamp as a word.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        u64::from(self.pid & 0xff_ffff) | self.time << 24
    }

    /// The stamp of a word.
    pub fn unpack(word: u64) -> Stamp {
        Stamp { pid: word as u32 & 0xff_ffff, time: word >> 24 }
    }
}

/// Returns a word of two halves.
#[inline(always)]
pub fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Returns the lower half of a word.
#[inline(always)]
pub fn low(word: u64) -> u32 {
    word as u32
}

/// Returns the upper half of a word.
#[inline(always)]
pub fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The state of the index by type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeIndex {
    /// There is no index.
    Off,
    /// The index is being built; this is its root.
    Building(u32),
    /// The index has all messages; this is its root.
    On(u32),
    /// The slots of the index are being freed; this is the first one left. Each names the next one
    /// in [`words::BYTES`].
    Freeing(u32),
}

impl TypeIndex {
    /// The state as a word.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        match self {
            TypeIndex::Off => 0,
            TypeIndex::Building(root) => halves(root, 1),
            TypeIndex::On(root) => halves(root, 2),
            TypeIndex::Freeing(first) => halves(first, 3),
        }
    }

    /// The state of a word. An illegal word is `Off`.
    pub fn unpack(word: u64) -> TypeIndex {
        match high(word) {
            1 => TypeIndex::Building(low(word)),
            2 => TypeIndex::On(low(word)),
            3 => TypeIndex::Freeing(low(word)),
            _ => TypeIndex::Off,
        }
    }
}

impl QueueHeader {
    /// Turns a file of zeroes into that of a queue.
    pub fn set_up(&self) {
        self.divided.store(1, Relaxed);
        self.magic.store(MAGIC, Release);
    }

    /// Returns `true` if the file is of this class and is in use.
    pub fn is_valid(&self) -> bool {
        self.magic.load(Acquire) == MAGIC
    }

    /// Takes the file out of use. A process that has it mapped then looks for its successor.
    pub fn retire(&self) {
        self.magic.store(0, SeqCst);
    }

    /// Returns the first free slot of a class.
    #[inline(always)]
    pub fn free(&self, class: usize) -> &AtomicU64 {
        if class == 0 { &self.free_smallest } else { &self.free_larger[(class - 1) % (CLASSES - 1)] }
    }

    /// Returns the journal that the participant in slot `nth` uses.
    #[inline(always)]
    pub fn journal(&self, nth: usize) -> Redo<'_> {
        let journal = &self.journals[nth % JOURNALS];
        Redo { decided: &journal.decided, changes: &self.changes, entries: &journal.entries }
    }

    /// Returns all journals.
    pub fn journals(&self) -> impl Iterator<Item = Redo<'_>> + Clone {
        (0..JOURNALS).map(|nth| self.journal(nth))
    }

    /// Returns the permissions in force.
    pub fn stored_permissions(&self) -> StoredPermissions {
        permissions::load(&self.current, &self.permissions)
    }

    /// Changes the permissions. The caller holds the registry's lock.
    pub fn set_permissions(&self, permissions: StoredPermissions) {
        permissions::store(&self.current, &self.permissions, permissions);
    }
}

/// The use of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SlotUse {
    /// Not in use, or a further block of a message.
    Free = 0,
    /// A message in the queue.
    Queued = 1,
    /// A message that is being sent. It is not in the queue yet.
    Sending = 2,
    /// A message that is being received. It is no longer in the queue.
    Receiving = 3,
    /// A blocked call.
    Waiter = 4,
    /// A type in the index.
    Type = 5,
}

/// Word 0 of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotKind {
    /// The use, in bits 0..8.
    pub state: SlotUse,
    /// The size class (0..=5), in bits 8..16.
    pub class: usize,
    /// A length, a count, or the next slot, in bits 32..64.
    pub number: u32,
}

impl SlotKind {
    /// The parts as a word.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        self.state as u64 | (self.class as u64) << 8 | u64::from(self.number) << 32
    }

    /// The parts of a word. An illegal use is `Free`, an illegal class the largest one.
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

/// The numbers of a slot's words. The head of this file has a table.
pub mod words {
    pub const KIND: usize = 0;
    pub const TYPE: usize = 1;
    pub const LINKS: usize = 2;
    /// Message: the next one of its type; the first further block.
    pub const CHAIN: usize = 3;
    /// Message: its number, or the thread that sends or receives it.
    pub const NUMBER: usize = 4;
    /// Message: sender and time.
    pub const STAMP: usize = 5;
    /// Blocked call: flags; its message.
    pub const WANTS: usize = 3;
    /// Blocked call: buffer size or message length.
    pub const SIZE: usize = 4;
    /// Blocked call: the version of the permissions that were checked.
    pub const PERMISSIONS_VERSION: usize = 5;
    /// Blocked call: the first word of its [`Sleeper`](super::Sleeper).
    pub const STATE: usize = 6;
    /// Blocked call: the round of waking in which there was room for it.
    pub const ROUND: usize = 11;
    /// Answered receiver: the stamp of the receive before.
    pub const BEFORE: usize = 11;
    /// Type: its first and last message.
    pub const MEMBERS: usize = 2;
    /// Type: the two links of its branch.
    pub const BRANCHES: usize = 3;
    /// Type: the bit of its branch.
    pub const BIT: usize = 4;
    /// Type: the bytes of its messages.
    pub const BYTES: usize = 5;
}

/// A mapped slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    at: usize,
    unit: u32,
}

impl Slot {
    /// The slot `unit` at address `at`.
    ///
    /// # Safety
    ///
    /// - `at` is aligned to 128 bytes, and the rest of its page is mapped readable and stays
    ///   mapped.
    /// - If the caller writes through this value, it is mapped writable.
    #[inline(always)]
    pub unsafe fn new(at: usize, unit: u32) -> Slot {
        Slot { at, unit }
    }

    /// The slot's number.
    #[inline(always)]
    pub fn unit(self) -> u32 {
        self.unit
    }

    /// Returns one of the first 16 words. `nth` wraps at 16.
    #[inline(always)]
    pub fn word(self, nth: usize) -> &'static AtomicU64 {
        // SAFETY: within the 128 bytes that every slot has, because of the modulus; atomics only.
        unsafe { &*((self.at + 8 * (nth % (UNIT / 8))) as *const AtomicU64) }
    }

    /// Reads a word.
    #[inline(always)]
    pub fn get(self, nth: usize) -> u64 {
        self.word(nth).load(Relaxed)
    }

    /// Reads word 0.
    #[inline(always)]
    pub fn kind(self) -> SlotKind {
        SlotKind::unpack(self.get(words::KIND))
    }

    /// Returns the place of a word, as journals name it.
    #[inline(always)]
    pub fn place(self, nth: usize) -> u64 {
        u64::from(self.unit) * (UNIT / 8) as u64 + (nth % (UNIT / 8)) as u64
    }

    /// Returns the size in bytes that a slot of this class has here, at most to the end of the
    /// page.
    #[inline(always)]
    pub fn size(self, class: usize) -> usize {
        (UNIT << class).min(PAGE - self.at % PAGE)
    }

    /// Returns the address of the slot's bytes after its first `header` bytes.
    #[inline(always)]
    pub fn bytes(self, header: usize) -> *mut u8 {
        (self.at + header) as *mut u8
    }

    /// Returns the common words of a blocked call.
    pub fn sleeper(self) -> &'static Sleeper {
        // SAFETY: a slot has 80 bytes from word 6 on, and a `Sleeper` 40; atomics only.
        unsafe { &*((self.at + 8 * words::STATE) as *const Sleeper) }
    }
}

/// Returns the size class for a message of this length. A message that is longer than the largest
/// class has further blocks.
#[inline(always)]
pub fn class_for(len: usize) -> usize {
    let bytes = MESSAGE_HEADER + len.min(MAX_INLINE);
    (bytes.max(UNIT).next_power_of_two() / UNIT).trailing_zeros() as usize
}

/// Returns the number of bytes that a message of this length has in its own slot.
#[inline(always)]
pub fn inline_len(class: usize, len: usize) -> usize {
    len.min((UNIT << class) - MESSAGE_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_gets_smallest_class_that_fits() {
        let classes = [0, 80, 81, 208, 209, 464, 465, 976, 977, 2000, 2001, 4048, 4049, 1 << 30].map(class_for);
        assert_eq!(classes, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]);
    }
}
