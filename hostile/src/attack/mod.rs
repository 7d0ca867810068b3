//! Corruption of the files: random bits, plausible values, and consistent forgeries of several
//! words. docs/format.md describes the offsets.

mod queues;
mod registry;
mod segments;
mod sets;

use crate::memory::Target;
use crate::objects::{ID, SEMAPHORES};
use crate::rng::Rng;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The type of a file.
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

/// Indexes that are attacked: those in use, and the first free ones. Index 1 holds the objects that
/// must not change.
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

/// A lock with a word that names a live process. The attacker frees it in the end, because that
/// process would.
struct Loan {
    path: String,
    word: u64,
    until: Instant,
}

/// How long a live process holds a lock.
const LOAN: Duration = Duration::from_millis(20);

/// The owner word of a process that has never existed.
const ABSENT_OWNER: u64 = 5001 | 1 << 15 | 77 << 32;

pub struct Attacker {
    directory: PathBuf,
    pub rng: Rng,
    targets: Vec<(Kind, String, Target)>,
    pristine: HashMap<String, (u64, Vec<u8>)>,
    /// Live participants: slot, incarnation, thread.
    pub participants: Vec<(u32, u32, u32)>,
    loans: Vec<Loan>,
    /// Files with a lock that a live process has already held in this round. It does not take it
    /// twice.
    lent: Vec<String>,
    /// `true` if files are also shortened.
    pub shortens: bool,
    /// Number of corruptions by type of file.
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
            rng: Rng::new(seed),
            targets: Vec::new(),
            pristine: HashMap::new(),
            participants: Vec::new(),
            loans: Vec::new(),
            lent: Vec::new(),
            shortens: false,
            counts: [0; Kind::ALL.len()],
            shortened: 0,
        };
        attacker.remap();
        for (_, path, target) in &attacker.targets {
            attacker.pristine.insert(path.clone(), (target.inode, target.copy()));
        }
        attacker
    }

    /// Maps all current files.
    pub fn remap(&mut self) {
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

    /// Reads the live participants from the registry before it is corrupted.
    pub fn learn_participants(&mut self, tids: &[u32]) {
        let Some(registry) = self.target(Kind::Registry) else { return };
        let mut participants = Vec::new();
        for slot in 0..8u32 {
            let at = REGISTRY_SLOTS + 32 * slot as usize;
            let (incarnation, pid) = (registry.word(at).load(Relaxed), registry.word(at + 8).load(Relaxed));
            if tids.contains(&pid) {
                participants.push((slot, incarnation, pid));
            }
        }
        self.participants = participants;
    }

    /// Restores files that have not been replaced. Returns `true` if all have been restored.
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

    /// Frees locks that a live process has held long enough, or all.
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
        // A process with write permission may take a lock. A live process gives it back.
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
            if self.participants.iter().any(|(participants, ..)| slot == participants + 1) {
                if self.lent.contains(path) {
                    target.word(lock).store(0, Relaxed);
                    return;
                }
                self.lent.push(path.clone());
                self.loans.push(Loan { path: path.clone(), word, until: Instant::now() + LOAN });
            }
        }
    }

    /// Counts many equal stores as four.
    fn uncount(&mut self, kind: Kind, nth: usize) {
        self.counts[kind as usize] -= u64::from(nth >= 4);
    }

    /// Makes one corruption, or several that belong together, in files of these types.
    pub fn corrupt(&mut self, kinds: &[Kind]) {
        let fitting: Vec<usize> = (0..self.targets.len()).filter(|nth| kinds.contains(&self.targets[*nth].0)).collect();
        if fitting.is_empty() {
            return;
        }
        // Mostly the first object, which the victims use most.
        let first: Vec<usize> = fitting
            .iter()
            .copied()
            .filter(|nth| self.targets[*nth].1.contains('0') || self.targets[*nth].0 as usize <= 1)
            .collect();
        let nth = if first.is_empty() || self.rng.once_in(8) { self.rng.choose(&fitting) } else { self.rng.choose(&first) };
        if self.shortens && self.rng.once_in(100) {
            self.shorten(nth);
        } else if self.rng.once_in(6) {
            self.forge(nth);
        } else {
            let at = self.pick_offset(nth);
            let (value, wide) = (self.value(nth, at), self.rng.once_in(2));
            self.put(nth, at, value, wide);
        }
    }

    /// Shortens a file, and leaves it alone until the next round.
    fn shorten(&mut self, nth: usize) {
        // Otherwise its lock would never be freed.
        self.end_loans(true);
        let (_, _, target) = self.targets.remove(nth);
        let len = target.len as u64;
        let len = self.rng.choose(&[0, 1, 100, 4096, 4096 * (len / 8192), len - 1]);
        target.shorten(len.min(target.len as u64));
        self.shortened += 1;
    }

    /// Picks an offset where a change has an effect.
    fn pick_offset(&mut self, nth: usize) -> usize {
        let (kind, _, target) = &self.targets[nth];
        let len = target.len as u64;
        let rng = &mut self.rng;
        let mut within = |from: usize, to: usize| from + rng.below(to.saturating_sub(from) as u64) as usize;
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

    /// Picks a value with an effect.
    fn value(&mut self, nth: usize, at: usize) -> u64 {
        let (_, _, target) = &self.targets[nth];
        let now = target.long(at).load(Relaxed);
        let len = target.len as u64;
        let rng = &mut self.rng;
        let small = |rng: &mut Rng| rng.below(160);
        match rng.below(16) {
            0 => now ^ 1 << rng.below(64),
            1 => rng.word(),
            2 => rng.choose(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 33, 64, 255, 256, 500, 501]),
            3 => rng.choose(&[
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
            4 => rng.choose(&[
                len,
                len - 1,
                len + 1,
                len / 8,
                len / 128,
                len / 4096,
                len / 128 + 1,
                len / 4096 + 1,
                (len / 4096).saturating_sub(1),
                len + 4096,
            ]),
            5 => halves(small(rng), small(rng)),
            6 => small(rng),
            7 => halves(rng.choose(&[0, 1, 32, u64::from(u32::MAX)]), rng.choose(&[0, 1, 32, u64::from(u32::MAX), 1 << 31])),
            8 => now.wrapping_add(rng.choose(&[1, 1 << 32, u64::MAX, u64::MAX << 32])),
            9 => MARK | rng.below(16) | rng.below(64) << 6,
            10 => rng.choose(&[ABSENT_OWNER, ABSENT_OWNER & 0xffff_ffff, 1 << 31, 0x7fff, 0x7fff_ffff, 0xffff_ffff, 0x8000_0001]),
            11 => {
                let of = if self.participants.is_empty() { (0, 1, 1) } else { rng.choose(&self.participants) };
                owner_word(of) | if rng.once_in(2) { 1 << 31 } else { 0 }
            }
            12 => {
                let from = rng.below(len) as usize;
                target.long(from).load(Relaxed)
            }
            13 => halves(target.word(rng.below(len.min(8192)) as usize).load(Relaxed).into(), small(rng)),
            14 => u64::MAX << rng.below(64),
            _ => rng.word() >> rng.below(64),
        }
    }

    /// Forges several values that belong together.
    fn forge(&mut self, nth: usize) {
        match self.targets[nth].0 {
            Kind::Limits | Kind::Data => {
                let at = self.pick_offset(nth);
                let value = self.value(nth, at);
                self.put(nth, at, value, true);
            }
            Kind::Registry => self.forge_in_registry(nth),
            Kind::Control => self.forge_in_control(nth),
            Kind::Set => self.forge_in_set(nth),
            Kind::Queue => self.forge_in_queue(nth),
            Kind::Pages => {
                let queue = self.targets.iter().position(|(kind, ..)| *kind == Kind::Queue);
                self.forge_in_queue(queue.unwrap_or(nth));
            }
        }
    }

    fn any_owner(&mut self) -> u64 {
        if self.participants.is_empty() || self.rng.once_in(3) {
            ABSENT_OWNER
        } else {
            owner_word(self.rng.choose(&self.participants))
        }
    }

    /// Picks a word to change all the time, and the values.
    pub fn toggler(&mut self, kinds: &[Kind]) -> Option<Toggler<'_>> {
        let fitting: Vec<usize> = (0..self.targets.len()).filter(|nth| kinds.contains(&self.targets[*nth].0)).collect();
        if fitting.is_empty() {
            return None;
        }
        let nth = self.rng.choose(&fitting);
        let at = self.pick_offset(nth) & !7;
        let kind = self.targets[nth].0;
        let at = if kind == Kind::Limits { 48 } else { at };
        // A lock with an owner that changes all the time would never be free.
        let at = if lock_of(kind).is_some_and(|lock| lock & !7 == at) { at + 8 } else { at };
        let values = [self.value(nth, at), self.value(nth, at)];
        self.counts[kind as usize] += 2;
        let word = self.targets[nth].2.long(at);
        Some(Toggler { word, values: [values[0], values[1], word.load(Relaxed)] })
    }
}

pub struct Toggler<'a> {
    word: &'a AtomicU64,
    values: [u64; 3],
}

impl Toggler<'_> {
    pub fn toggle(&self) {
        for _ in 0..200 {
            self.values.iter().for_each(|value| self.word.store(*value, Relaxed));
        }
    }
}

/// Returns the offset of the lock word.
fn lock_of(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Registry => Some(12),
        Kind::Set => Some(16),
        Kind::Queue => Some(0),
        _ => None,
    }
}

/// Returns the lock word that names a participant.
fn owner_word((slot, incarnation, tid): (u32, u32, u32)) -> u64 {
    u64::from(slot + 1) | u64::from(incarnation & 0xffff) << 15 | u64::from(tid) << 32
}

const _: () = assert!(ID == 0);
