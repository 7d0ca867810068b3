//! What is written into the files: any bits, values that mean something where they are put, and whole lies made of several words.
//! Where things are: docs/format.md.

use crate::dice::Dice;
use crate::memory::Target;
use crate::scene::{ID, SEMAPHORES};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    Limits,
    Registry,
    Control,
    Data,
    Set,
    Queue,
    Pages,
}

impl Kind {
    pub const ALL: [Kind; 7] = [Kind::Limits, Kind::Registry, Kind::Control, Kind::Data, Kind::Set, Kind::Queue, Kind::Pages];
}

/// The indexes' first free ones, too; that of the objects that must not be harmed is left out.
const INDEXES: [u16; 3] = [0, 2, 3];

fn files(kind: Kind) -> Vec<String> {
    let of = |name: &str, end: &str| INDEXES.iter().map(|index| format!("{name}/{index}{end}")).collect();
    match kind {
        Kind::Limits => vec!["namespace".into()],
        Kind::Registry => vec!["registry".into()],
        Kind::Control => of("shm", ""),
        Kind::Data => of("shm", ".data"),
        Kind::Set => of("sem", ""),
        Kind::Queue => of("msg", ""),
        Kind::Pages => of("msg", ".data"),
    }
}

/// A lock that a living process is said to have: it frees it, in the end.
struct Loan {
    path: String,
    word: u64,
    until: Instant,
}

/// How long a living process holds a lock.
const LOAN: Duration = Duration::from_millis(20);

/// A lock's owner whom there never was.
const NOBODY: u64 = 5001 | 1 << 15 | 77 << 32;

pub struct Attacker {
    directory: PathBuf,
    pub dice: Dice,
    targets: Vec<(Kind, String, Target)>,
    pristine: HashMap<String, (u64, Vec<u8>)>,
    /// Who lives: slot, incarnation, thread.
    pub living: Vec<(u32, u32, u32)>,
    loans: Vec<Loan>,
    /// Whose lock a living process has held in this round already: it does not hang on to it.
    lent: Vec<String>,
    /// Files are shortened, too.
    pub shortens: bool,
    /// How many corruptions there were, by kind of file.
    pub counts: [u64; Kind::ALL.len()],
    pub shortened: u64,
}

const MARK: u64 = 1 << 63;
const SET_WORDS: usize = 1536;
const SET_JOURNAL: usize = SET_WORDS + 8 * SEMAPHORES as usize;
const SET_PAGES: usize = 4096;
const QUEUE_JOURNALS: usize = 1024;
const REGISTRY_USED: usize = 4096;
const REGISTRY_SLOTS: usize = 16384;
const REGISTRY_KEYS: usize = 536_576;

fn halves(low: u64, high: u64) -> u64 {
    low & 0xffff_ffff | high << 32
}

impl Attacker {
    pub fn new(directory: &Path, seed: u64) -> Attacker {
        let mut attacker = Attacker {
            directory: directory.into(),
            dice: Dice::new(seed),
            targets: Vec::new(),
            pristine: HashMap::new(),
            living: Vec::new(),
            loans: Vec::new(),
            lent: Vec::new(),
            shortens: false,
            counts: [0; Kind::ALL.len()],
            shortened: 0,
        };
        attacker.look();
        for (_, path, target) in &attacker.targets {
            attacker.pristine.insert(path.clone(), (target.inode, target.copy()));
        }
        attacker
    }

    /// Maps the files that there are now, and notes who lives.
    pub fn look(&mut self) {
        self.targets.clear();
        self.lent.clear();
        for kind in Kind::ALL {
            for path in files(kind) {
                if let Some(target) = Target::open(&self.directory.join(&path)) {
                    self.targets.push((kind, path, target));
                }
            }
        }
    }

    /// Notes who lives, by what the registry says as long as nobody has falsified it.
    pub fn meet(&mut self, tids: &[u32]) {
        let Some(registry) = self.target(Kind::Registry) else { return };
        let mut living = Vec::new();
        for slot in 0..8u32 {
            let at = REGISTRY_SLOTS + 32 * slot as usize;
            let (incarnation, pid) = (registry.word(at).load(Relaxed), registry.word(at + 8).load(Relaxed));
            if tids.contains(&pid) {
                living.push((slot, incarnation, pid));
            }
        }
        self.living = living;
    }

    /// Puts back what the files were, those that are still the same ones. True if all are.
    pub fn restore(&mut self) -> bool {
        self.loans.clear();
        self.targets.iter().all(|(_, path, target)| match self.pristine.get(path) {
            Some((inode, content)) if *inode == target.inode => {
                target.restore(content);
                true
            }
            _ => false,
        }) && self.targets.len() >= self.pristine.len()
    }

    pub fn target(&self, kind: Kind) -> Option<&Target> {
        self.targets.iter().find(|(of, ..)| *of == kind).map(|(.., target)| target)
    }

    /// Frees the locks that the living have held for long enough; all, if nothing is written for a while.
    pub fn end_loans(&mut self, all: bool) {
        if self.loans.is_empty() {
            return;
        }
        let now = Instant::now();
        let targets = &self.targets;
        self.loans.retain(|loan| {
            if !all && loan.until > now {
                return true;
            }
            if let Some((kind, _, target)) = targets.iter().find(|(_, path, _)| *path == loan.path) {
                let at = lock_of(*kind).unwrap_or_default();
                if *kind == Kind::Queue {
                    let _ = target.long(at).compare_exchange(loan.word, 0, Relaxed, Relaxed);
                } else {
                    let sleepers = 1 << 31;
                    let word = loan.word as u32 & !sleepers;
                    for word in [word, word | sleepers] {
                        let _ = target.word(at).compare_exchange(word, 0, Relaxed, Relaxed);
                    }
                }
            }
            false
        });
    }

    fn put(&mut self, nth: usize, at: usize, value: u64, wide: bool) {
        let (kind, path, target) = &self.targets[nth];
        let at = (at % target.len) & !(if wide { 7 } else { 3 });
        let wide = wide && !(*kind == Kind::Limits && at == 40);
        self.counts[*kind as usize] += 1;
        // Anybody may hold a lock that he can write; who is alive gives it back.
        let lock = lock_of(*kind).filter(|lock| *lock & !7 == at & !7);
        if wide {
            target.long(at).store(value, Relaxed);
        } else {
            target.word(at).store(value as u32, Relaxed);
        }
        if let Some(lock) = lock {
            let word =
                if *kind == Kind::Queue { target.long(lock).load(Relaxed) } else { target.word(lock).load(Relaxed).into() };
            let slot = (word & 0x7fff) as u32;
            if self.living.iter().any(|(living, ..)| slot == living + 1) {
                if self.lent.contains(path) {
                    target.word(lock).store(0, Relaxed);
                    return;
                }
                self.lent.push(path.clone());
                self.loans.push(Loan { path: path.clone(), word, until: Instant::now() + LOAN });
            }
        }
    }

    /// The same everywhere counts as a few.
    fn uncount(&mut self, kind: Kind, nth: usize) {
        self.counts[kind as usize] -= u64::from(nth >= 4);
    }

    /// One corruption, or several that belong together, in files of these kinds.
    pub fn corrupt(&mut self, kinds: &[Kind]) {
        let fitting: Vec<usize> = (0..self.targets.len()).filter(|nth| kinds.contains(&self.targets[*nth].0)).collect();
        if fitting.is_empty() {
            return;
        }
        // Mostly the object that is most used.
        let first: Vec<usize> = fitting
            .iter()
            .copied()
            .filter(|nth| self.targets[*nth].1.contains('0') || self.targets[*nth].0 as usize <= 1)
            .collect();
        let nth = if first.is_empty() || self.dice.once_in(8) { self.dice.one_of(&fitting) } else { self.dice.one_of(&first) };
        if self.shortens && self.dice.once_in(100) {
            self.shorten(nth);
        } else if self.dice.once_in(6) {
            self.lie(nth);
        } else {
            let at = self.place(nth);
            let (value, wide) = (self.value(nth, at), self.dice.once_in(2));
            self.put(nth, at, value, wide);
        }
    }

    /// Takes the end of a file away, and leaves what is left of it alone until the next round.
    fn shorten(&mut self, nth: usize) {
        let (_, _, target) = self.targets.remove(nth);
        let len = target.len as u64;
        let len = self.dice.one_of(&[0, 1, 100, 4096, 4096 * (len / 8192), len - 1]);
        target.shorten(len.min(target.len as u64));
        self.shortened += 1;
    }

    /// A place that is worth it.
    fn place(&mut self, nth: usize) -> usize {
        let (kind, _, target) = &self.targets[nth];
        let len = target.len as u64;
        let dice = &mut self.dice;
        let mut within = |from: usize, to: usize| from + dice.below((to - from) as u64) as usize;
        let at = match kind {
            // But not `shm_rmid_forced`, which ends segments.
            Kind::Limits => within(0, 3) / 2 * 48 + within(0, 40),
            Kind::Data => within(0, len as usize),
            Kind::Registry => match within(0, 8) {
                0..3 => within(0, 136),
                3 => within(0, 3) * 4096 + REGISTRY_USED + within(0, 16),
                4 | 5 => REGISTRY_SLOTS + within(0, 6 * 32),
                6 => REGISTRY_KEYS + within(0, 3) * 131_072 + within(0, 24),
                _ => within(0, len as usize),
            },
            Kind::Control => match within(0, 8) {
                0..6 => within(0, 152),
                6 => within(512, 576),
                _ => within(0, len as usize),
            },
            Kind::Set => match within(0, 8) {
                0..3 => within(0, 192),
                3 => within(512, 1536),
                4 => within(SET_WORDS, SET_JOURNAL),
                5 => within(SET_JOURNAL, SET_PAGES),
                6 => SET_PAGES + 4096 * within(0, 12) + within(0, 256),
                _ => within(SET_WORDS, len as usize),
            },
            Kind::Queue | Kind::Pages => match within(0, 8) {
                0..3 if *kind == Kind::Queue => within(0, 256),
                3 if *kind == Kind::Queue => within(QUEUE_JOURNALS, QUEUE_JOURNALS + 4 * 640),
                4 => within(0, len as usize),
                _ if len <= 4096 => within(0, 256),
                _ => 4096 + 128 * within(0, (len as usize - 4096) / 128) + within(0, 100),
            },
        };
        at % target.len
    }

    /// A value that is worth it.
    fn value(&mut self, nth: usize, at: usize) -> u64 {
        let (_, _, target) = &self.targets[nth];
        let now = target.long(at).load(Relaxed);
        let len = target.len as u64;
        let dice = &mut self.dice;
        let small = |dice: &mut Dice| dice.below(160);
        match dice.below(16) {
            0 => now ^ 1 << dice.below(64),
            1 => dice.word(),
            2 => dice.one_of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 33, 64, 255, 256, 500, 501]),
            3 => dice.one_of(&[
                u64::MAX,
                1 << 63,
                u64::MAX >> 1,
                1 << 32,
                u64::from(u32::MAX),
                1 << 31,
                (1 << 31) - 1,
                0x7fff,
                0xffff,
                1 << 62,
            ]),
            4 => dice.one_of(&[
                len,
                len - 1,
                len + 1,
                len / 8,
                len / 128,
                len / 4096,
                len / 128 + 1,
                len / 4096 + 1,
                len / 4096 - 1,
                len + 4096,
            ]),
            5 => halves(small(dice), small(dice)),
            6 => small(dice),
            7 => halves(dice.one_of(&[0, 1, 32, u64::from(u32::MAX)]), dice.one_of(&[0, 1, 32, u64::from(u32::MAX), 1 << 31])),
            8 => now.wrapping_add(dice.one_of(&[1, 1 << 32, u64::MAX, u64::MAX << 32])),
            9 => MARK | dice.below(16) | dice.below(64) << 6,
            10 => dice.one_of(&[NOBODY, NOBODY & 0xffff_ffff, 1 << 31, 0x7fff, 0x7fff_ffff, 0xffff_ffff, 0x8000_0001]),
            11 => {
                let of = if self.living.is_empty() { (0, 1, 1) } else { dice.one_of(&self.living) };
                named(of) | if dice.once_in(2) { 1 << 31 } else { 0 }
            }
            12 => {
                let from = dice.below(len) as usize;
                target.long(from).load(Relaxed)
            }
            13 => halves(target.word(dice.below(len.min(8192)) as usize).load(Relaxed).into(), small(dice)),
            14 => u64::MAX << dice.below(64),
            _ => dice.word() >> dice.below(64),
        }
    }

    /// Values that belong together.
    fn lie(&mut self, nth: usize) {
        match self.targets[nth].0 {
            Kind::Limits | Kind::Data => {
                let at = self.place(nth);
                let value = self.value(nth, at);
                self.put(nth, at, value, true);
            }
            Kind::Registry => self.lie_in_registry(nth),
            Kind::Control => self.lie_in_control(nth),
            Kind::Set => self.lie_in_set(nth),
            Kind::Queue => self.lie_in_queue(nth),
            Kind::Pages => {
                let queue = self.targets.iter().position(|(kind, ..)| *kind == Kind::Queue);
                self.lie_in_queue(queue.unwrap_or(nth));
            }
        }
    }

    fn lie_in_registry(&mut self, nth: usize) {
        let of = self.dice.below(3) as usize;
        let class = 32 + 32 * of;
        match self.dice.below(10) {
            // All indexes are in use, or none.
            0 => {
                let bits = self.dice.one_of(&[u64::MAX, 0, 1, 2, 3, 1 << 63]);
                let words = self.dice.one_of(&[1, 512]);
                (0..words).for_each(|word| {
                    self.put(nth, REGISTRY_USED + 4096 * of + 8 * word, bits, true);
                    self.uncount(Kind::Registry, word);
                });
            }
            // All places are taken.
            1 => {
                let high = self.dice.one_of(&[0, 1, 16255, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 16, high, false);
                for slot in 0..self.dice.one_of(&[4, 16256]) {
                    let at = REGISTRY_SLOTS + 32 * slot;
                    self.put(nth, at + 4, 1, false);
                    self.uncount(Kind::Registry, slot);
                }
            }
            // Everything has the same key.
            2 => {
                let key = self.dice.one_of(&[0, 0xa1, 0xa2, 0xa3, 0xb1, 0xb2, 0xb3]);
                (0..8).for_each(|index| self.put(nth, REGISTRY_KEYS + 131_072 * of + 4 * index, key, false));
            }
            3 => {
                let asked = self.dice.one_of(&[0, 1, 2, 32767, 32768, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0x7fff_8001]);
                self.put(nth, class + 24, asked, false);
            }
            // What waits for reuse.
            4 => {
                let index = self.dice.one_of(&[0, 1, 2, 32767, 32768, 0x7fff_ffff, 0x8000_0000]);
                self.put(nth, class + 28, index, false);
            }
            // The living look dead.
            5 => {
                for (slot, incarnation, _) in self.living.clone() {
                    let at = REGISTRY_SLOTS + 32 * slot as usize;
                    self.put(nth, at, u64::from(incarnation.wrapping_add(1)), false);
                }
            }
            6 => {
                let counters = [
                    self.dice.one_of(&[0, u64::from(u32::MAX), 32768]),
                    self.dice.one_of(&[0, 0xffff, 0x10000, u64::from(u32::MAX)]),
                ];
                (0..2).for_each(|word| self.put(nth, class + 4 * word, counters[word], false));
                let sum = self.dice.one_of(&[0, u64::MAX, 1 << 63]);
                self.put(nth, class + 8, sum, true);
            }
            // A dead one has left everything half done.
            7 => self.put(nth, 12, NOBODY, false),
            8 => {
                self.put(nth, 16, u64::from(u32::MAX), false);
                self.put(nth, 20, u64::from(u32::MAX), false);
                self.put(nth, 24, u64::MAX, true);
            }
            _ => {
                let living = self.someone();
                self.put(nth, 12, living, false);
            }
        }
    }

    fn someone(&mut self) -> u64 {
        if self.living.is_empty() || self.dice.once_in(3) { NOBODY } else { named(self.dice.one_of(&self.living)) }
    }

    fn lie_in_control(&mut self, nth: usize) {
        match self.dice.below(7) {
            0 => {
                let (state, ticket, id) = (self.dice.below(32), self.dice.below(4), self.dice.one_of(&[0, 0, 0, 1, 2, 32768]));
                self.put(nth, 8, id | state << 31 | ticket << 36, true);
            }
            1 => {
                let size = self.dice.one_of(&[
                    0,
                    1,
                    20000,
                    20480,
                    20481,
                    24576,
                    1 << 20,
                    1 << 32,
                    1 << 46,
                    1 << 47,
                    1 << 63,
                    u64::MAX,
                    u64::MAX - 4095,
                ]);
                self.put(nth, 16, size, true);
            }
            2 => {
                let high = self.dice.one_of(&[1, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 124, high, false);
                let entry = self.dice.one_of(&[u64::from(u32::MAX), 0x1_ffff, 0xffff, 1, 0x1_0001]);
                for slot in 0..self.dice.one_of(&[4, 16256]) {
                    self.put(nth, 512 + 4 * slot, entry, false);
                    self.uncount(Kind::Control, slot);
                }
            }
            3 => {
                let (mode, pages) = (
                    self.dice.one_of(&[0o600, 0o777, 0, u64::from(u32::MAX)]),
                    self.dice.one_of(&[0, 1, 5, 16, 17, u64::from(u32::MAX)]),
                );
                self.put(nth, 136, mode, false);
                self.put(nth, 140, pages, false);
                let serial = self.dice.below(5);
                self.put(nth, 128, serial, true);
            }
            4 => {
                let template = self.dice.one_of(&[0, 1, 2, 3, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 144, template, false);
            }
            5 => {
                for at in [4, 112, 116] {
                    let value = self.dice.below(2);
                    self.put(nth, at, value, false);
                }
            }
            _ => {
                let creator = self.dice.one_of(&[0, 0x1_0000, 5000, u64::from(u32::MAX)]);
                self.put(nth, 120, creator, false);
                self.put(nth, 8, 1 << 31, true);
            }
        }
    }

    /// A page of calls that wait, in a set.
    fn waiters_page(&mut self, nth: usize, page: usize) {
        let at = SET_PAGES + 4096 * page;
        self.put(nth, at, 1, false);
        let all = 4 * 31u64;
        for place in 0..self.dice.one_of(&[2, 4, 31usize]) {
            let who = if self.living.is_empty() { (0, 1, 1) } else { self.dice.one_of(&self.living) };
            let at = at + 64 + 128 * place;
            let state = self.dice.one_of(&[2, 2, 2, 0, 1, 3 | 4 << 8, 3, u64::from(u32::MAX)]);
            self.put(nth, at, state, false);
            self.put(nth, at + 4, who.0.into(), false);
            self.put(nth, at + 8, who.1.into(), false);
            self.put(nth, at + 12, who.2.into(), false);
            self.put(nth, at + 16, who.2.into(), false);
            let nops = self.dice.one_of(&[0, 1, 2, 8, 9, 500, 501, u64::from(u32::MAX)]);
            self.put(nth, at + 40, nops, false);
            let (blocking, next, ops_page) = (
                self.dice.below(10),
                self.dice.below(all),
                self.dice.one_of(&[0, 0, 1, 2, page as u64 + 1, u64::from(u32::MAX)]),
            );
            self.put(nth, at + 44, blocking, false);
            self.put(nth, at + 48, next, false);
            self.put(nth, at + 52, ops_page, false);
            for op in 0..8 {
                let (num, op_value) =
                    (self.dice.one_of(&[0, 1, 5, 39, 40, 65535]), self.dice.one_of(&[0, 1, 0xffff, 0x7fff, 0x8000]));
                let flags = self.dice.one_of(&[0, 0x1000, 0o4000]);
                self.put(nth, at + 56 + 8 * op, num | op_value << 16 | flags << 32, true);
            }
        }
    }

    fn lie_in_set(&mut self, nth: usize) {
        match self.dice.below(10) {
            // Who waits, in a queue that loops.
            0 | 1 => {
                let page = self.dice.below(4) as usize;
                self.waiters_page(nth, page);
                for at in (64..80).step_by(4) {
                    let number = self.dice.below(4 * 31 + 2);
                    self.put(nth, at, number, false);
                }
                let waiting = self.dice.one_of(&[1, 4, u64::from(u32::MAX)]);
                self.put(nth, 44, waiting, false);
                self.put(nth, 60, waiting, false);
                let pages = self.dice.one_of(&[4, 4, 12, 28, u64::from(u32::MAX)]);
                self.put(nth, 56, pages, false);
            }
            // A journal that says it holds, left by a dead one.
            2 | 3 => {
                for change in 0..self.dice.one_of(&[2, SEMAPHORES as usize]) {
                    let at = SET_JOURNAL + 32 * change;
                    let (num, record) = (
                        self.dice.one_of(&[0, 1, 39, 40, u64::from(u32::MAX)]),
                        self.dice.one_of(&[0, 1, 2, 16383, u64::from(u32::MAX)]),
                    );
                    self.put(nth, at, num, false);
                    self.put(nth, at + 4, record, false);
                    for word in [8, 16, 24] {
                        let value = self.dice.word();
                        self.put(nth, at + word, value, true);
                    }
                }
                let (kind, count) = (self.dice.below(7), self.dice.one_of(&[1, 2, 40, 41, 500, u64::from(u32::MAX)]));
                self.put(nth, 152, halves(kind, count), true);
                let answered = self.dice.one_of(&[0, 1, 32, 5000, u64::from(u32::MAX)]);
                self.put(nth, 160, answered, false);
                self.put(nth, 40, 1, false);
                self.put(nth, 16, NOBODY, false);
            }
            // Marks, and descriptors that say anything of them.
            4 | 5 => {
                let (descriptor, number) = (self.dice.below(10), self.dice.below(4));
                let at = 512 + 128 * (descriptor as usize % 8);
                let state = self.dice.below(4);
                self.put(nth, at, number << 2 | state, true);
                let owner = self.dice.one_of(&[0, 1, NOBODY, u64::MAX]);
                let owner = if self.dice.once_in(2) { self.someone() } else { owner };
                self.put(nth, at + 8, owner, true);
                let mark = MARK | number << 6 | descriptor;
                for entry in 0..4 {
                    let num = self.dice.one_of(&[0, 1, 39, 40, u64::from(u32::MAX)]);
                    let (old, new) = (self.dice.one_of(&[mark, 3, 1 << 15 | 3]), self.dice.one_of(&[mark, 4, u64::MAX]));
                    self.put(nth, at + 16 + 24 * entry, num, true);
                    self.put(nth, at + 24 + 24 * entry, old, true);
                    self.put(nth, at + 32 + 24 * entry, new, true);
                }
                for num in 0..self.dice.one_of(&[2, SEMAPHORES as usize]) {
                    self.put(nth, SET_WORDS + 8 * num, mark, true);
                }
            }
            // Undo records of the dead, with further pages that are themselves.
            6 | 7 => {
                let page = self.dice.below(4) as usize;
                let at = SET_PAGES + 4096 * page;
                self.put(nth, at, 3, false);
                let who = self.someone();
                self.put(nth, at + 4, (who & 0x7fff).wrapping_sub(1), false);
                self.put(nth, at + 8, who >> 15 & 0xffff, false);
                self.put(nth, at + 16, 0, false);
                for further in 0..4 {
                    let number = self.dice.one_of(&[0, page as u64 + 1, 1, 2, u64::from(u32::MAX)]);
                    self.put(nth, at + 64 + 4 * further, number, false);
                }
                for cell in 0..10 {
                    let value = self.dice.word();
                    self.put(nth, at + 192 + 8 * cell, value, true);
                }
                let pages = self.dice.one_of(&[4, 12, 28, 5, u64::from(u32::MAX)]);
                self.put(nth, 56, pages, false);
                let records = self.dice.one_of(&[1, 2, 4, u64::from(u32::MAX)]);
                self.put(nth, 20, records, false);
                self.put(nth, 32, 0, true);
                let word = 3 | (page as u64 + 1) << 16 | self.dice.below(512) << 30;
                self.put(nth, SET_WORDS, word, true);
            }
            8 => {
                let (at, value) = self.dice.one_of(&[
                    (0, 0),
                    (4, 0),
                    (4, 41),
                    (4, 65536),
                    (4, u64::from(u32::MAX)),
                    (8, 0),
                    (8, 2),
                    (8, 3),
                    (40, 1),
                    (164, 1),
                    (56, 0),
                    (56, 8),
                ]);
                self.put(nth, at, value, false);
            }
            _ => {
                let owner = self.someone();
                self.put(nth, 16, owner | 1 << 31, false);
                self.put(nth, 164, 1, false);
            }
        }
    }

    /// A word of a queue, wherever it is kept.
    fn in_queue(&mut self, nth: usize, at: usize, value: u64) {
        let pages = self.targets.iter().position(|(kind, ..)| *kind == Kind::Pages);
        self.put(if at < 4096 { nth } else { pages.unwrap_or(nth) }, at, value, true);
    }

    fn lie_in_queue(&mut self, nth: usize) {
        let slot = |unit: u64| unit as usize * 128;
        let header = |attacker: &Attacker, at: usize| attacker.targets[nth].2.long(at).load(Relaxed);
        let unit = 32 + self.dice.below(96);
        let other = self.dice.one_of(&[unit, unit + 1, 40, 33, 0, 1, 31, 5000, u64::from(u32::MAX)]);
        let first = header(self, 16) & 0xffff_ffff;
        match self.dice.below(14) {
            // Messages in a line that loops.
            0 => {
                self.in_queue(nth, slot(first % 10000) + 16, halves(first, other));
                self.in_queue(nth, 32, halves(u64::from(u32::MAX), 1));
                self.in_queue(nth, 24, u64::MAX);
            }
            1 => self.in_queue(nth, 16, halves(unit, other)),
            // Calls that wait, in lists that loop.
            2 | 3 => {
                for (unit, next, previous) in [(unit, unit + 1, 0), (unit + 1, other, unit)] {
                    let at = slot(unit);
                    let who = if self.living.is_empty() { (0, 1, 1) } else { self.dice.one_of(&self.living) };
                    self.in_queue(nth, at, 4 | halves(0, 1));
                    let (mtype, wants, size) = (
                        self.dice.one_of(&[0, 3, u64::MAX, 1 << 63, 9]),
                        self.dice.word(),
                        self.dice.one_of(&[0, 10, 8192, u64::MAX]),
                    );
                    self.in_queue(nth, at + 8, mtype);
                    self.in_queue(nth, at + 16, halves(next, previous));
                    self.in_queue(nth, at + 24, halves(wants & 0xf000, other));
                    self.in_queue(nth, at + 32, size);
                    let state = self.dice.one_of(&[2, 2, 3, 1, 0]);
                    self.in_queue(nth, at + 48, halves(state, who.0.into()));
                    self.in_queue(nth, at + 56, halves(who.1.into(), who.2.into()));
                    self.in_queue(nth, at + 64, halves(who.2.into(), 0));
                }
                for list in [176, 184, 192] {
                    if self.dice.once_in(2) {
                        self.in_queue(nth, list, halves(unit, unit + 1));
                    }
                }
                let waiting = self.dice.one_of(&[halves(2, 0), halves(0, 2), halves(1, 1), u64::MAX]);
                self.in_queue(nth, 88, waiting);
            }
            // Free slots that loop, or are in use.
            4 => {
                let class = self.dice.below(6);
                let list = if class == 0 { 56 } else { 120 + 8 * class as usize };
                self.in_queue(nth, slot(unit), class << 8 | halves(0, other));
                self.in_queue(nth, list, unit);
            }
            // A message that is longer than anything, in blocks that loop.
            5 => {
                let len = self.dice.one_of(&[81, 8192, 8193, 1 << 31, u64::from(u32::MAX)]);
                let class = self.dice.below(7);
                self.in_queue(nth, slot(first % 10000), 1 | class << 8 | halves(0, len));
                self.in_queue(nth, slot(first % 10000) + 24, halves(0, unit));
                self.in_queue(nth, slot(unit), 5 << 8 | halves(0, other));
            }
            // An index that loops.
            6 | 7 => {
                let kind = self.dice.one_of(&[1, 2, 3]);
                let link = self.dice.one_of(&[unit << 1 | 1, unit << 1, other << 1 | 1, other]);
                self.in_queue(nth, slot(unit), 5 | halves(0, 3));
                self.in_queue(nth, slot(unit) + 16, halves(other, other));
                self.in_queue(nth, slot(unit) + 24, halves(link, unit << 1 | 1));
                let bit = self.dice.below(70);
                self.in_queue(nth, slot(unit) + 32, bit);
                self.in_queue(nth, slot(unit) + 40, unit);
                self.in_queue(nth, 96, halves(if kind == 3 { unit } else { link }, kind));
            }
            // A journal that says it holds, with wild places; left by a dead one.
            8 | 9 => {
                let changes = header(self, 8);
                let at = QUEUE_JOURNALS + 640 * self.dice.below(4) as usize;
                for entry in 0..38 {
                    let place = match self.dice.below(4) {
                        0 => self.dice.below(512),
                        1 => 512 + self.dice.below(2048),
                        2 => self.dice.one_of(&[u64::MAX, 1 << 63, 1 << 36, 0xffff_ffff]),
                        _ => self.dice.word() >> self.dice.below(64),
                    };
                    let value = if self.dice.once_in(2) { self.dice.word() } else { self.dice.below(200) };
                    self.in_queue(nth, at + 16 + 16 * entry, place);
                    self.in_queue(nth, at + 24 + 16 * entry, value);
                }
                let stores = self.dice.one_of(&[1, 38, 39, 255]);
                self.in_queue(nth, at, stores | changes << 8);
                self.in_queue(nth, 0, NOBODY);
            }
            10 => {
                let divided = self.dice.one_of(&[0, 1, u64::MAX, 1 << 32, 1000]);
                self.in_queue(nth, 168, divided);
            }
            11 => {
                let pages = self.dice.one_of(&[0, 1, 5, 33, 1 << 20, u64::from(u32::MAX)]);
                let damaged = self.dice.below(2);
                self.in_queue(nth, 120, halves(damaged, pages));
            }
            12 => {
                let (at, value) = self.dice.one_of(&[
                    (64, 0),
                    (72, 2),
                    (72, 0),
                    (72, 7),
                    (80, 0),
                    (80, u64::MAX),
                    (200, u64::MAX),
                    (8, u64::MAX),
                    (32, u64::MAX),
                ]);
                self.in_queue(nth, at, value);
            }
            _ => {
                let owner = self.someone();
                self.in_queue(nth, 0, owner);
                self.in_queue(nth, 120, halves(1, header(self, 120) >> 32));
            }
        }
    }

    /// A word that is changed all the time, and what it changes between.
    pub fn storm(&mut self, kinds: &[Kind]) -> Option<Storm<'_>> {
        let fitting: Vec<usize> = (0..self.targets.len()).filter(|nth| kinds.contains(&self.targets[*nth].0)).collect();
        if fitting.is_empty() {
            return None;
        }
        let nth = self.dice.one_of(&fitting);
        let at = self.place(nth) & !7;
        let kind = self.targets[nth].0;
        let at = if kind == Kind::Limits { 48 } else { at };
        // A lock that always has another owner is one that is never free.
        let at = if lock_of(kind).is_some_and(|lock| lock & !7 == at) { at + 8 } else { at };
        let values = [self.value(nth, at), self.value(nth, at)];
        self.counts[kind as usize] += 2;
        let word = self.targets[nth].2.long(at);
        Some(Storm { word, values: [values[0], values[1], word.load(Relaxed)] })
    }
}

pub struct Storm<'a> {
    word: &'a AtomicU64,
    values: [u64; 3],
}

impl Storm<'_> {
    pub fn blow(&self) {
        for _ in 0..200 {
            self.values.iter().for_each(|value| self.word.store(*value, Relaxed));
        }
    }
}

/// Where the lock is.
fn lock_of(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Registry => Some(12),
        Kind::Set => Some(16),
        Kind::Queue => Some(0),
        _ => None,
    }
}

/// How a lock names a participant.
fn named((slot, incarnation, tid): (u32, u32, u32)) -> u64 {
    u64::from(slot + 1) | u64::from(incarnation & 0xffff) << 15 | u64::from(tid) << 32
}

const _: () = assert!(ID == 0);
