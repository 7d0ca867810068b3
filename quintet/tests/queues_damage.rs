//! Damaged files of queues: callers get errors or wrong messages within a bounded time. They do not
//! crash, and other queues are not affected.

mod common;
use crash::support;

use common::{ends_soon, in_parallel};
use quintet::{Errno, Key, Kind, MsgFlags, Namespace};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Dice, Signpost, Window, alone, fork};

const KEY: Key = Key::new(0xbad);
const OTHER: Key = Key::new(0x600d);
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;

// Offsets in the file: docs/format.md.
const LOCK: usize = 0;
const CHANGES: usize = 8;
const ENDS: usize = 16;
const COUNT: usize = 32;
const FREE_SMALLEST: usize = 56;
const WAITING: usize = 88;
const TYPES: usize = 96;
const PAGES: usize = 124;
const DIVIDED: usize = 168;
const RECEIVERS: usize = 176;
const SENDERS: usize = 184;
const BUSY: usize = 192;
const JOURNALS: usize = 1024;
const FIRST_PAGE: usize = 4096;
const LAST_PAGE: usize = 5 * 4096;
const UNIT: usize = 128;

/// A lock word that names a participant that never existed.
const NO_HOLDER: u64 = 5001 | 1 << 15 | 77 << 32;

fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Creates a namespace with two queues. The first has short and long messages and an index by type.
fn create(path: &Path) {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, libc::IPC_CREAT | 0o600).unwrap();
        assert_eq!(id.index(), 0);
        for nth in 0..40 {
            ns.msgsnd(id.raw(), 1 + nth % 6, &[nth as u8; 20], NOWAIT, None).unwrap();
        }
        ns.msgsnd(id.raw(), 9, &[9; 5000], NOWAIT, None).unwrap();
        assert_eq!(ns.msgrcv(id.raw(), &mut [0; 20], 4, NOWAIT, None), Ok((4, 20)));
        let other = ns.msgget(OTHER, libc::IPC_CREAT | 0o600).unwrap();
        assert_eq!(other.index(), 1);
        ns.msgsnd(other.raw(), 7, b"other", NOWAIT, None).unwrap();
    })
    .succeeds();
}

/// Asserts that the other queue is unchanged, that new queues work, and that damaged queues can be
/// repaired.
fn assert_others_unharmed(path: &Path) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        ns.sweep().unwrap();
        let id = ns.msgget(OTHER, 0).unwrap().raw();
        let mut seen = Vec::new();
        ns.peek(id, |message, bytes| {
            seen.push((message.mtype, bytes.to_vec()));
            true
        })
        .unwrap();
        assert_eq!(seen, [(7, b"other".to_vec())]);
        ns.repair_queues().unwrap();
        assert_eq!(ns.damaged_queues().unwrap(), []);
        let new = ns.msgget(Key::PRIVATE, 0o600).unwrap().raw();
        ns.msgsnd(new, 1, b"new", NOWAIT, None).unwrap();
        ns.msg_remove(new).unwrap();
    })
    .succeeds();
}

/// Makes every call and ignores the results. Calls that may block have a short timeout, which is
/// longer than the library spins before it sleeps.
fn call_everything(ns: &Namespace, id: i32) {
    let soon = Some(Duration::from_micros(200));
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..2 {
        for len in [0, 20, 300, 5000, 8192] {
            let _ = ns.msgsnd(id, 3, &buffer[..len], MsgFlags::empty(), soon);
            let _ = ns.msgsnd(id, 1 << 40, &buffer[..len], NOWAIT, None);
        }
        for (mtype, flags) in [(0, MsgFlags::empty()), (3, MsgFlags::empty()), (-3, MsgFlags::NOERROR), (3, MsgFlags::EXCEPT)] {
            for size in [10, buffer.len()] {
                let _ = ns.msgrcv(id, &mut buffer[..size], mtype, flags, soon);
            }
        }
        let _ = ns.msgrcv(id, &mut buffer, 5, NOWAIT | MsgFlags::COPY, None);
        let _ = ns.peek(id, |_, _| true);
        let _ = (ns.msg_stat(id), ns.queues(), ns.msg_usage(), ns.msg_stat_index(0, true), ns.damaged_queues());
        let _ = ns.msg_set(id, 0, 0, 0o600, 10_000);
        let _ = ns.sweep();
    }
    let _ = ns.msgget(KEY, libc::IPC_CREAT | 0o600).map(|id| ns.msgsnd(id.raw(), 1, b"text", NOWAIT, None));
}

/// Damages a queue, then uses it in two processes: one that has mapped it before, and one that maps
/// it now.
fn use_damaged(path: &Path, what: &str, damage: &dyn Fn(&Window)) {
    create(path);
    let (ready, go) = (Signpost::new(), Signpost::new());
    let old_user = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.msgget(KEY, 0).unwrap().raw();
        ns.msgsnd(id, 2, b"known", NOWAIT, None).unwrap();
        ready.post(1);
        go.wait();
        call_everything(&ns, id);
        let _ = ns.msg_remove(id);
    });
    ready.wait();
    let file = path.join("msg/0");
    let len = std::fs::metadata(&file).unwrap().len() as usize;
    damage(&Window::open(&file, 0, len).unwrap());
    let new_user = fork(|| {
        let ns = Namespace::open(path).unwrap();
        call_everything(&ns, ns.msgget(KEY, 0).map_or(0, quintet::Id::raw));
    });
    ends_soon(new_user, what);
    assert_others_unharmed(path);
    go.post(1);
    ends_soon(old_user, what);
    assert_others_unharmed(path);
    let _ = std::fs::remove_dir_all(path);
}

/// Overwrites each word of the header in turn.
#[test]
fn damage_to_any_header_word_stays_in_its_queue() {
    alone("damage_to_any_header_word_stays_in_its_queue", |directory| {
        for at in (8..256).step_by(8).chain([JOURNALS, JOURNALS + 16, JOURNALS + 24]) {
            for (nth, bits) in [0, u64::MAX, halves(3, 3), halves(33, 64)].into_iter().enumerate() {
                use_damaged(&directory.join(format!("{at}-{nth}")), &format!("{bits:#x} at {at}"), &|w| {
                    w.long(at).store(bits, SeqCst)
                });
            }
        }
    });
}

#[test]
fn random_damage_stays_in_its_queue() {
    alone("random_damage_stays_in_its_queue", |directory| {
        in_parallel(1..=100, |seed| {
            use_damaged(&directory.join(seed.to_string()), &format!("seed {seed}"), &|w| {
                let mut dice = Dice(seed);
                for _ in 0..=dice.throw(24) {
                    let (from, to) = match dice.throw(4) {
                        0 => (CHANGES, 256),
                        1 => (JOURNALS, FIRST_PAGE),
                        _ => (FIRST_PAGE, LAST_PAGE),
                    };
                    let at = (from + dice.throw((to - from) as u64) as usize) & !7;
                    let bits = match dice.throw(5) {
                        0 => u64::MAX,
                        1 => 0,
                        2 => halves(32 + dice.throw(128) as u32, 32 + dice.throw(128) as u32),
                        3 => 1 << dice.throw(64),
                        _ => dice.throw(1 << 31) << 33 | dice.throw(1 << 31),
                    };
                    w.long(at).store(bits, SeqCst);
                }
                // The lock word names no live participant: a caller may wait for one without a
                // bound.
                w.long(LOCK).store([0, NO_HOLDER, u64::MAX][dice.throw(3) as usize], SeqCst);
            });
        });
    });
}

#[test]
fn crafted_damage_stays_in_its_queue() {
    let slot = |unit: u32| unit as usize * UNIT;
    // Writes a blocked call to the file.
    let waiter = move |w: &Window, unit: u32, next: u32, previous: u32| {
        w.long(slot(unit)).store(4, SeqCst);
        w.long(slot(unit) + 16).store(halves(next, previous), SeqCst);
        w.long(slot(unit) + 48).store(2, SeqCst);
    };
    type Damage = (&'static str, Box<dyn Fn(&Window)>);
    let damages: Vec<Damage> = vec![
        (
            "more messages and pages than the file can have, in a cyclic message list",
            Box::new(move |w: &Window| {
                let first = w.word(ENDS).load(SeqCst);
                w.long(slot(first) + 16).store(halves(first, first), SeqCst);
                w.long(COUNT).store(halves(u32::MAX, 1), SeqCst);
                w.word(PAGES).store(u32::MAX, SeqCst);
                w.long(TYPES).store(0, SeqCst);
            }),
        ),
        (
            "the first waiter has a predecessor",
            Box::new(move |w: &Window| {
                waiter(w, 40, 41, 41);
                waiter(w, 41, 40, 40);
                w.long(RECEIVERS).store(halves(40, 41), SeqCst);
                w.long(WAITING).store(halves(2, 0), SeqCst);
            }),
        ),
        (
            "cyclic lists of waiters",
            Box::new(move |w: &Window| {
                waiter(w, 40, 41, 0);
                waiter(w, 41, 40, 40);
                for list in [RECEIVERS, SENDERS, BUSY] {
                    w.long(list).store(halves(40, 41), SeqCst);
                }
                w.long(WAITING).store(u64::MAX, SeqCst);
                w.word(PAGES).store(u32::MAX, SeqCst);
            }),
        ),
        (
            "a cyclic list of free slots",
            Box::new(move |w: &Window| {
                w.long(slot(50)).store(halves(0, 50), SeqCst);
                w.long(FREE_SMALLEST).store(50, SeqCst);
            }),
        ),
        (
            "a message of 4 GiB with a cyclic list of blocks",
            Box::new(move |w: &Window| {
                let first = w.word(ENDS).load(SeqCst);
                w.word(slot(first) + 4).store(u32::MAX, SeqCst);
                w.word(slot(first) + 28).store(64, SeqCst);
                w.long(slot(64)).store(halves(5 << 8, 64), SeqCst);
            }),
        ),
        (
            "a cyclic index",
            Box::new(move |w: &Window| {
                w.long(slot(60)).store(5, SeqCst);
                w.long(slot(60) + 24).store(halves(60 << 1 | 1, 60 << 1 | 1), SeqCst);
                w.long(TYPES).store(halves(60 << 1 | 1, 2), SeqCst);
            }),
        ),
        (
            "an abandoned cyclic index",
            Box::new(move |w: &Window| {
                w.long(slot(60)).store(5, SeqCst);
                w.long(slot(60) + 40).store(60, SeqCst);
                w.long(TYPES).store(halves(60, 3), SeqCst);
                w.long(LOCK).store(NO_HOLDER, SeqCst);
            }),
        ),
        (
            "a journal with too many stores, to arbitrary offsets",
            Box::new(move |w: &Window| {
                let changes = w.long(CHANGES).load(SeqCst);
                for journal in 0..4 {
                    let at = JOURNALS + 640 * journal;
                    (2..78).for_each(|word| w.long(at + 8 * word).store(u64::MAX >> (word % 40), SeqCst));
                    w.long(at).store(0xff | changes << 8, SeqCst);
                }
                w.long(LOCK).store(NO_HOLDER, SeqCst);
            }),
        ),
        ("no slot was divided", Box::new(move |w: &Window| w.long(DIVIDED).store(0, SeqCst))),
        ("all slots are divided", Box::new(move |w: &Window| w.long(DIVIDED).store(u64::MAX, SeqCst))),
        ("retired", Box::new(move |w: &Window| w.word(64).store(0, SeqCst))),
        ("destroyed", Box::new(move |w: &Window| w.word(72).store(2, SeqCst))),
        ("half created", Box::new(move |w: &Window| w.word(72).store(0, SeqCst))),
    ];
    alone("crafted_damage_stays_in_its_queue", |directory| {
        for (nth, (what, damage)) in damages.iter().enumerate() {
            use_damaged(&directory.join(nth.to_string()), what, damage);
        }
    });
}

/// A file that is too short for a queue holds no queue.
#[test]
fn a_truncated_file_holds_no_queue() {
    alone("a_truncated_file_holds_no_queue", |directory| {
        for len in [0, 100, 4096, 8192] {
            let path = directory.join(len.to_string());
            create(&path);
            std::fs::File::options().write(true).open(path.join("msg/0")).unwrap().set_len(len).unwrap();
            let user = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let id = ns.msgget(KEY, 0).map_or(0, quintet::Id::raw);
                let sent = ns.msgsnd(id, 1, b"text", NOWAIT, None);
                assert!([Err(Errno::INVAL), Err(Errno::IDRM), Err(Errno::ACCES)].contains(&sent), "{sent:?}");
            });
            ends_soon(user, &format!("{len} bytes"));
            assert_others_unharmed(&path);
        }
    });
}
