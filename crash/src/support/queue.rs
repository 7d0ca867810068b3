//! Checks the file of a queue: each slot has one place, and none is lost.

use std::collections::BTreeMap;
use std::path::Path;

// Offsets in the file: docs/format.md.
pub const QUEUE_ENDS: usize = 16;
pub const QUEUE_COUNT: usize = 32;
pub const QUEUE_HEAD: usize = 72;
pub const QUEUE_WAITING: usize = 88;
pub const QUEUE_TYPES: usize = 96;
pub const QUEUE_PAGE_COUNT: usize = 124;
const BYTES: usize = 24;
const FREE_SMALLEST: usize = 56;
const FREE_LARGER: usize = 128;
const DIVIDED: usize = 168;
const LISTS: [(&str, usize); 3] = [("receiver", 176), ("sender", 184), ("busy", 192)];
const UNIT: usize = 128;
const PAGE: usize = 4096;
const UNITS: u32 = (PAGE / UNIT) as u32;

/// The content of a queue's file.
pub struct QueueFile(Vec<u8>);

/// The counted content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    pub messages: usize,
    pub bytes: u64,
    /// Waiting calls, and messages that are being sent or received.
    pub under_way: usize,
    /// Slots that no list contains.
    pub lost: usize,
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

impl QueueFile {
    /// Reads the file of a queue in a private namespace.
    pub fn read(path: &Path, index: u16) -> QueueFile {
        QueueFile(std::fs::read(path.join(format!("msg/{index}"))).unwrap())
    }

    pub fn long(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn word(&self, unit: u32, nth: usize) -> u64 {
        self.long(unit as usize * UNIT + 8 * nth)
    }

    fn class(&self, unit: u32) -> usize {
        usize::from((self.word(unit, 0) >> 8) as u8)
    }

    /// Returns the slots of a linked list.
    fn list(&self, first: u32, next: impl Fn(u32) -> u32) -> Vec<u32> {
        let all: Vec<u32> =
            std::iter::successors(Some(first), |unit| Some(next(*unit))).take_while(|unit| *unit != 0).take(1 << 20).collect();
        assert!(all.len() < 1 << 20, "a cyclic list");
        all
    }

    fn message(&self, unit: u32, place: &mut impl FnMut(u32, &'static str)) -> u64 {
        place(unit, "message");
        let (len, class) = (high(self.word(unit, 0)) as usize, self.class(unit));
        let own = len.min((UNIT << class) - 48);
        let mut block = high(self.word(unit, 3));
        for _ in 0..(len - own).div_ceil(PAGE - 8) {
            place(block, "block");
            block = high(self.word(block, 0));
        }
        len as u64
    }

    fn leaves(&self, link: u32, all: &mut Vec<u32>) {
        let unit = link >> 1;
        if link & 1 == 0 {
            all.push(unit);
        } else {
            let branches = self.word(unit, 3);
            self.leaves(low(branches), all);
            self.leaves(high(branches), all);
        }
    }

    /// Counts all slots. Panics if one has two places.
    pub fn count(&self) -> Inventory {
        let mut places: BTreeMap<u32, &str> = BTreeMap::new();
        let mut place = |unit: u32, what: &'static str| {
            let before = places.insert(unit, what);
            assert_eq!(before, None, "slot {unit} is also a {what}");
        };
        let mut inventory = Inventory::default();
        for class in 0..6 {
            let head = if class == 0 { FREE_SMALLEST } else { FREE_LARGER + 8 * (class - 1) };
            for unit in self.list(low(self.long(head)), |unit| high(self.word(unit, 0))) {
                assert_eq!((self.word(unit, 0) as u8, self.class(unit)), (0, class), "free slot {unit}");
                place(unit, "free slot");
            }
        }
        let next = |unit| low(self.word(unit, 2));
        for unit in self.list(low(self.long(QUEUE_ENDS)), next) {
            assert_eq!(self.word(unit, 0) as u8, 1, "message {unit}");
            inventory.bytes += self.message(unit, &mut place);
            inventory.messages += 1;
        }
        for (what, at) in LISTS {
            for unit in self.list(low(self.long(at)), next) {
                inventory.under_way += 1;
                match self.word(unit, 0) as u8 {
                    4 => place(unit, what),
                    2 | 3 => _ = self.message(unit, &mut place),
                    other => panic!("slot {unit} of {what} is {other}"),
                }
            }
        }
        let types = self.long(QUEUE_TYPES);
        if high(types) != 0 && low(types) != 0 {
            let mut leaves = Vec::new();
            self.leaves(low(types), &mut leaves);
            leaves.into_iter().for_each(|leaf| place(leaf, "type"));
        }
        for page in 1..low(self.long(DIVIDED)) {
            let first = page * UNITS;
            let step = 1 << self.class(first);
            let lost = (first..first + UNITS).step_by(step).filter(|unit| places.remove(unit).is_none());
            inventory.lost += lost.inspect(|unit| println!("slot {unit} is lost: {:#x}", self.word(*unit, 0))).count();
        }
        assert_eq!(places, BTreeMap::new(), "entries that are not slots");
        let (count, bytes) = (low(self.long(QUEUE_COUNT)) as usize, self.long(BYTES));
        assert_eq!((count, bytes), (inventory.messages, inventory.bytes), "counters in the header");
        inventory
    }
}

/// Returns a text. Its first byte identifies it and determines the other bytes.
pub fn text(which: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| which.wrapping_add((at * 7 + at / 251) as u8)).collect()
}

/// Checks a text and returns its first byte.
#[track_caller]
pub fn which(bytes: &[u8]) -> u8 {
    assert_eq!(bytes, text(bytes[0], bytes.len()), "a message of {} bytes is damaged", bytes.len());
    bytes[0]
}
