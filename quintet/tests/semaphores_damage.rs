//! Damaged files of semaphore sets: callers get errors or wrong values within a bounded time. They
//! do not crash, and other sets are not affected.

mod common;
use crash::support;

use common::{ends_soon, in_parallel, op, undo};
use quintet::{Errno, Key, Kind, Namespace, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Child, Signpost, Window, alone, fork, until};

const KEY: Key = Key::new(0xbad);
const OTHER: Key = Key::new(0x600d);
const NSEMS: usize = 6;

// Offsets in the file: docs/format.md.
const HEAD: usize = 8;
const LOCK: usize = 16;
const WAITING: usize = 44;
const PAGES: usize = 56;
const WAIT_LISTS: usize = 64;
const SET_KEY: usize = 80;
const JOURNAL: usize = 152;
const ANSWERED: usize = 160;
const DESCRIPTORS: usize = 512;
const WORDS: usize = 1536;
const CHANGES: usize = WORDS + 8 * NSEMS;
const FIRST_PAGE: usize = 4096;
const FIRST_WAITER: usize = FIRST_PAGE + 64;
/// Offsets in the record of a blocked call.
const NOPS: usize = 40;
const NEXT: usize = 48;

/// A lock word that names a participant that never existed.
const NO_HOLDER: u32 = 5001 | 1 << 15;

/// Creates a namespace with two sets. A call has blocked in the first one.
fn create(path: &Path, kind: Kind, mode: i32) {
    fork(|| {
        let ns = Namespace::create(path, kind).unwrap();
        let id = ns.semget(KEY, NSEMS as i32, libc::IPC_CREAT | mode).unwrap();
        assert_eq!(id.index(), 0);
        ns.sem_set_values(id.raw(), &[5; NSEMS]).unwrap();
        let many: Vec<SemOp> = (0..20).map(|n| op(n % 5, 0)).collect();
        assert_eq!(ns.semtimedop(id.raw(), &many, Some(Duration::from_millis(2))), Err(Errno::AGAIN));
        let other = ns.semget(OTHER, 2, libc::IPC_CREAT | 0o600).unwrap();
        assert_eq!(other.index(), 1);
        ns.sem_set_values(other.raw(), &[7, 8]).unwrap();
    })
    .succeeds();
}

/// Asserts that the other set is unchanged and that new sets work.
fn assert_others_unharmed(path: &Path) {
    let content = std::fs::read(path.join("sem/1")).unwrap();
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        ns.sweep().unwrap();
        let id = ns.semget(OTHER, 2, 0).unwrap().raw();
        assert_eq!(ns.sem_values(id).unwrap(), [7, 8]);
        let new = ns.semget(Key::PRIVATE, 1, 0o600).unwrap().raw();
        ns.semtimedop(new, &[op(0, 1)], None).unwrap();
        ns.sem_remove(new).unwrap();
    })
    .succeeds();
    assert_eq!(content[WORDS..], std::fs::read(path.join("sem/1")).unwrap()[WORDS..]);
}

/// Makes every call and ignores the results. Calls that may block have a short timeout, which is
/// longer than the library spins before it sleeps.
fn call_everything(ns: &Namespace, id: i32) {
    let soon = Some(Duration::from_micros(200));
    for _ in 0..2 {
        for num in 0..NSEMS as u16 {
            let _ = ns.semtimedop(id, &[op(num, 1)], soon);
            let _ = ns.semtimedop(id, &[undo(num, -1)], soon);
            let _ = (ns.sem_value(id, num.into()), ns.sem_pid(id, num.into()));
            let _ = (ns.sem_ncnt(id, num.into()), ns.sem_zcnt(id, num.into()));
        }
        let _ = ns.semtimedop(id, &[op(0, 1), op(1, -1)], soon);
        let _ = ns.semtimedop(id, &[undo(2, -300), op(0, -1), op(1, 1)], soon);
        let all: Vec<SemOp> = (0..NSEMS as u16).map(|num| op(num, -30000)).collect();
        let _ = ns.semtimedop(id, &all, soon);
        let many: Vec<SemOp> = (0..100).map(|n| op(n % NSEMS as u16, 0)).collect();
        let _ = ns.semtimedop(id, &many, soon);
        let _ = (ns.sem_values(id), ns.sem_stat(id), ns.sets(), ns.sem_usage(), ns.sem_stat_index(0, true));
        let _ = ns.sem_set(id, 0, 0, 0o600);
        let _ = ns.sem_set_value(id, 0, 3);
        let _ = ns.sem_set_values(id, &[1, 0, 3, 0, 5, 6]);
        let _ = ns.sweep();
    }
    let _ = ns.semget(KEY, NSEMS as i32, libc::IPC_CREAT | 0o600).map(|id| ns.semtimedop(id.raw(), &[op(0, 1)], soon));
}

/// Damages a set, then uses it in two processes: one that has mapped it before, and one that maps
/// it now.
fn use_damaged(path: &Path, what: &str, damage: &dyn Fn(&Window)) {
    create(path, Kind::Private, 0o600);
    let (ready, go) = (Signpost::new(), Signpost::new());
    let old_user = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.semget(KEY, 0, 0).unwrap().raw();
        ns.semtimedop(id, &[undo(0, 1), undo(1, 400)], None).unwrap();
        ready.post(1);
        go.wait();
        call_everything(&ns, id);
        let _ = ns.sem_remove(id);
    });
    ready.wait();
    let file = path.join("sem/0");
    let len = std::fs::metadata(&file).unwrap().len();
    damage(&Window::open(&file, 0, len as usize).unwrap());
    let new_user = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.semget(KEY, 0, 0).map_or(0, quintet::Id::raw);
        call_everything(&ns, id);
    });
    ends_soon(new_user, what);
    go.post(1);
    ends_soon(old_user, what);
    assert_others_unharmed(path);
    let _ = std::fs::remove_dir_all(path);
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A process overwrites the file while other processes use the set.
#[test]
fn damage_during_calls_stays_in_its_set() {
    alone("damage_during_calls_stays_in_its_set", |directory| {
        for seed in 1..=3u64 {
            let path = directory.join(seed.to_string());
            create(&path, Kind::Private, 0o600);
            let file = path.join("sem/0");
            let len = std::fs::metadata(&file).unwrap().len() as usize;
            let scribbler = fork(|| {
                let window = Window::open(&file, 0, len).unwrap();
                let mut random = Random(seed * 0x9e37_79b9);
                loop {
                    let at = (HEAD + random.below(len as u64 - 16) as usize) & !7;
                    match random.below(8) {
                        // Every second write hits a value that is in use.
                        0..4 => window.long(WORDS + 8 * random.below(NSEMS as u64) as usize).store(random.next(), SeqCst),
                        4 => window.long(HEAD).store(1, SeqCst),
                        5 => window.long(FIRST_PAGE).store(random.below(6), SeqCst),
                        _ if at == LOCK => window.word(LOCK).store(NO_HOLDER, SeqCst),
                        _ => window.long(at).store(random.next() & random.next() & random.next(), SeqCst),
                    }
                    (0..random.below(300)).for_each(|_| std::hint::spin_loop());
                }
            });
            for _ in 0..60 {
                let ready = Signpost::new();
                let users: Vec<Child> = (0..2)
                    .map(|_| {
                        fork(|| {
                            let ns = Namespace::open(&path).unwrap();
                            let id = ns.semget(KEY, 0, 0).map_or(0, quintet::Id::raw);
                            ready.post(1);
                            call_everything(&ns, id);
                        })
                    })
                    .collect();
                ready.wait();
                users.into_iter().for_each(|user| ends_soon(user, &format!("seed {seed}")));
            }
            scribbler.kill();
            // The file names no live holder of the lock any more.
            assert_others_unharmed(&path);
        }
    });
}

#[test]
fn random_damage_stays_in_its_set() {
    alone("random_damage_stays_in_its_set", |directory| {
        in_parallel(1..=150, |seed| {
            use_damaged(&directory.join(seed.to_string()), &format!("seed {seed}"), &|window| {
                let mut random = Random(seed * 0x9e37_79b9);
                for _ in 0..=random.below(24) {
                    let (from, len) = match random.below(6) {
                        0 => (HEAD, 170),
                        1 => (DESCRIPTORS, 1024),
                        2 => (WORDS, 8 * NSEMS),
                        3 => (CHANGES, 34 * NSEMS),
                        4 => (FIRST_PAGE, 600),
                        _ => (FIRST_PAGE, 4 * 4096),
                    };
                    let at = (from + random.below(len as u64) as usize) & !7;
                    let bits = match random.below(5) {
                        0 => u64::MAX,
                        1 => 0,
                        2 => random.below(8) << 32 | random.below(8),
                        3 => 1 << random.below(64),
                        _ => random.next(),
                    };
                    window.long(at).store(bits, SeqCst);
                }
                // The lock word names no live participant: a caller may wait for one without a
                // bound.
                window.word(LOCK).store([0, NO_HOLDER, 1 << 31, u32::MAX][random.below(4) as usize], SeqCst);
            });
        });
    });
}

fn long(window: &Window, at: usize, bits: u64) {
    window.long(at).store(bits, SeqCst);
}

fn word(window: &Window, at: usize, bits: u32) {
    window.word(at).store(bits, SeqCst);
}

/// An MCAS marker: use `number` of a descriptor.
fn marker(number: u64, descriptor: u64) -> u64 {
    1 << 63 | number << 6 | descriptor
}

/// Writes a blocked call to the file.
fn write_waiter(window: &Window, place: usize, next: u32) {
    let at = FIRST_WAITER + 128 * place;
    word(window, FIRST_PAGE, 1);
    word(window, at, 2);
    word(window, at + 8, 1);
    long(window, at + 24, place as u64 + 1);
    word(window, at + NOPS, 500);
    word(window, at + NEXT, next);
}

#[test]
fn crafted_damage_stays_in_its_set() {
    type Damage<'a> = (&'a str, &'a dyn Fn(&Window));
    let damages: Vec<Damage> = vec![
        ("more pages than the file can have", &|w| word(w, PAGES, u32::MAX)),
        ("a cyclic list of one waiter", &|w| {
            write_waiter(w, 0, 1);
            (0..4).for_each(|end| word(w, WAIT_LISTS + 4 * end, 1));
            word(w, PAGES, u32::MAX);
            word(w, WAITING, 1);
        }),
        ("a cyclic list of all waiters", &|w| {
            (0..31).for_each(|place| write_waiter(w, place, (place as u32 + 1) % 31 + 1));
            (0..4).for_each(|end| word(w, WAIT_LISTS + 4 * end, 7));
            word(w, WAITING, 31);
        }),
        ("a list of waiters that leads out of the file", &|w| {
            write_waiter(w, 0, 4_000_000_000);
            (0..4).for_each(|end| word(w, WAIT_LISTS + 4 * end, 1));
            word(w, WAITING, u32::MAX);
        }),
        ("markers of every descriptor", &|w| {
            (0..NSEMS).for_each(|num| long(w, WORDS + 8 * num, marker(num as u64 % 3, num as u64 * 13 % 64)));
        }),
        ("descriptors that lead to markers of each other", &|w| {
            for nth in 0..8 {
                let at = DESCRIPTORS + 128 * nth;
                long(w, at, (3 << 2) + nth as u64 % 3);
                long(w, at + 8, if nth % 2 == 0 { 0 } else { u64::MAX });
                for entry in 0..4 {
                    word(w, at + 16 + 24 * entry, entry as u32);
                    long(w, at + 24 + 24 * entry, marker(3, (nth as u64 + 1) % 8));
                    long(w, at + 32 + 24 * entry, marker(3, (nth as u64 + 1) % 8));
                }
            }
            (0..NSEMS).for_each(|num| long(w, WORDS + 8 * num, marker(3, num as u64)));
        }),
        ("values marked as awaited without a waiter", &|w| {
            (0..NSEMS).for_each(|num| _ = w.long(WORDS + 8 * num).fetch_or(1 << 15, SeqCst));
        }),
        ("a journal with too many changes", &|w| {
            long(w, JOURNAL, u64::from(u32::MAX) << 32 | 1);
            (0..NSEMS).for_each(|nth| {
                word(w, CHANGES + 32 * nth, nth as u32 * 1000);
                word(w, CHANGES + 32 * nth + 4, u32::MAX);
                long(w, CHANGES + 32 * nth + 16, u64::MAX);
            });
            word(w, ANSWERED, 1);
            word(w, ANSWERED + 4, 0xffff_ffff);
            word(w, LOCK, NO_HOLDER);
        }),
        ("a journal that sets all values", &|w| {
            long(w, JOURNAL, 3);
            word(w, LOCK, NO_HOLDER);
        }),
        ("a journal of an unknown kind", &|w| {
            long(w, JOURNAL, 1 << 32 | 77);
            word(w, LOCK, NO_HOLDER);
        }),
        ("a change that never ends", &|w| word(w, 40, 1)),
        ("undo records of exited processes in all pages", &|w| {
            for page in 0..4 {
                let at = FIRST_PAGE + 4096 * page;
                word(w, at, 3);
                word(w, at + 4, 60000 + page as u32);
                (0..32).for_each(|more| word(w, at + 64 + 4 * more, page as u32 + 1));
                (0..NSEMS / 2).for_each(|cell| word(w, at + 192 + 4 * cell, 0x8000_7fff));
            }
            word(w, 20, 9);
            word(w, PAGES, 4);
        }),
        ("the file of another set, which was destroyed", &|w| {
            let other = 1u64;
            long(w, HEAD, other << 32 | 2);
            word(w, SET_KEY, OTHER.raw() as u32);
        }),
        ("the file of another set, which is half created", &|w| {
            long(w, HEAD, 1 << 32);
            word(w, SET_KEY, OTHER.raw() as u32);
            word(w, LOCK, NO_HOLDER);
        }),
        ("the file of another set", &|w| {
            long(w, HEAD, 1 << 32 | 1);
            word(w, SET_KEY, OTHER.raw() as u32);
        }),
        ("retired", &|w| word(w, 0, 0)),
        ("more semaphores than the file can have", &|w| word(w, 4, 1000)),
        ("one semaphore", &|w| word(w, 4, 1)),
        ("no semaphore", &|w| word(w, 4, 0)),
    ];
    alone("crafted_damage_stays_in_its_set", |directory| {
        for (nth, (what, damage)) in damages.iter().enumerate() {
            use_damaged(&directory.join(nth.to_string()), what, damage);
        }
    });
}

/// Overwrites the record of a blocked call. The call ends at the latest when a signal arrives; it
/// must not loop.
#[test]
fn a_blocked_call_with_a_damaged_record_ends() {
    alone("a_blocked_call_with_a_damaged_record_ends", |directory| {
        for (nth, bits) in [0u32, 1, 0x102, 2, 7, 0xff03, u32::MAX].into_iter().enumerate() {
            let path = directory.join(nth.to_string());
            create(&path, Kind::Private, 0o600);
            let sleeps = fork(|| {
                support::on_alarm();
                let ns = Namespace::open(&path).unwrap();
                let id = ns.semget(KEY, 0, 0).unwrap().raw();
                let _ = ns.semtimedop(id, &[op(0, -6)], None);
            });
            let file = path.join("sem/0");
            let place = |window: &Window| (0..31).map(|n| FIRST_WAITER + 128 * n).find(|at| window.word(*at).load(SeqCst) == 2);
            until("the call sleeps", || {
                let window = Window::open(&file, 0, FIRST_PAGE + 4096);
                window.is_some_and(|window| place(&window).is_some()) && support::state(sleeps.pid) == Some('S')
            });
            let window = Window::open(&file, 0, FIRST_PAGE + 4096).unwrap();
            let at = place(&window).unwrap();
            // Overwrites all fields but the operations, the futex last.
            (4..64).step_by(4).for_each(|field| window.word(at + field).store(bits, SeqCst));
            window.word(at).store(bits, SeqCst);
            sleeps.signal(libc::SIGALRM);
            ends_soon(sleeps, &format!("{bits:#x}"));
            assert_others_unharmed(&path);
        }
    });
}
