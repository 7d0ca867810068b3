//! Damage: whatever bits are in a queue's file, its users get errors or wrong messages, soon; nothing else happens to them, and nothing at all to another queue.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Key, Kind, MsgFlags, Namespace};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Child, Dice, End, Signpost, Window, alone, fork};

const KEY: Key = Key::new(0xbad);
const OTHER: Key = Key::new(0x600d);
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;
/// For all calls together: an upper bound against hanging.
const SOON: Duration = Duration::from_secs(20);

// Where things are in the file: docs/format.md.
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

/// A lock word of one that has never lived.
const NOBODY: u64 = 5001 | 1 << 15 | 77 << 32;

fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// A namespace with two queues; the first has messages of all lengths, and an index by type.
fn make(path: &Path) {
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

/// The other queue is as it was, by its key, too; and the namespace can be used. What is damaged can be made anew, or removed.
fn unharmed(path: &Path) {
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

/// Every call, whatever it says. Those that may wait do not for long.
fn call_everything(ns: &Namespace, id: i32) {
    let soon = Some(Duration::from_millis(1));
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

#[track_caller]
fn ends_soon(child: Child, what: &str) {
    let ended = support::ends_within(child.pid, SOON);
    assert!(ended, "{what}: it hangs");
    assert_eq!(child.end(), End::Exit(0), "{what}");
}

/// Two processes use the queue, one that has known it before and one that has not, after `damage`.
fn after(path: &Path, what: &str, damage: &dyn Fn(&Window)) {
    make(path);
    let (ready, go) = (Signpost::new(), Signpost::new());
    let knows = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.msgget(KEY, 0).unwrap().raw();
        ns.msgsnd(id, 2, b"known", NOWAIT, None).unwrap();
        ready.tell(1);
        go.wait();
        call_everything(&ns, id);
        let _ = ns.msg_remove(id);
    });
    ready.wait();
    let file = path.join("msg/0");
    let len = std::fs::metadata(&file).unwrap().len() as usize;
    damage(&Window::open(&file, 0, len).unwrap());
    let comes = fork(|| {
        let ns = Namespace::open(path).unwrap();
        call_everything(&ns, ns.msgget(KEY, 0).map_or(0, quintet::Id::raw));
    });
    ends_soon(comes, what);
    unharmed(path);
    go.tell(1);
    ends_soon(knows, what);
    unharmed(path);
    let _ = std::fs::remove_dir_all(path);
}

/// Each word of the header, one after the other.
#[test]
fn every_word_of_the_header() {
    alone("every_word_of_the_header", |directory| {
        for at in (8..256).step_by(8).chain([JOURNALS, JOURNALS + 16, JOURNALS + 24]) {
            for (nth, bits) in [0, u64::MAX, halves(3, 3), halves(33, 64)].into_iter().enumerate() {
                after(&directory.join(format!("{at}-{nth}")), &format!("{bits:#x} at {at}"), &|w| w.long(at).store(bits, SeqCst));
            }
        }
    });
}

#[test]
fn random_bits() {
    alone("random_bits", |directory| {
        for seed in 1..=100u64 {
            after(&directory.join(seed.to_string()), &format!("seed {seed}"), &|w| {
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
                // Who waits for the living waits for them.
                w.long(LOCK).store([0, NOBODY, u64::MAX][dice.throw(3) as usize], SeqCst);
            });
        }
    });
}

#[test]
fn crafted_bits() {
    let slot = |unit: u32| unit as usize * UNIT;
    // A call that waits, as far as the file says.
    let waiter = move |w: &Window, unit: u32, next: u32, previous: u32| {
        w.long(slot(unit)).store(4, SeqCst);
        w.long(slot(unit) + 16).store(halves(next, previous), SeqCst);
        w.long(slot(unit) + 48).store(2, SeqCst);
    };
    type Damage = (&'static str, Box<dyn Fn(&Window)>);
    let damages: Vec<Damage> = vec![
        (
            "more messages and pages than any file has, in a line that loops",
            Box::new(move |w: &Window| {
                let first = w.word(ENDS).load(SeqCst);
                w.long(slot(first) + 16).store(halves(first, first), SeqCst);
                w.long(COUNT).store(halves(u32::MAX, 1), SeqCst);
                w.word(PAGES).store(u32::MAX, SeqCst);
                w.long(TYPES).store(0, SeqCst);
            }),
        ),
        (
            "the first that waits has one before it",
            Box::new(move |w: &Window| {
                waiter(w, 40, 41, 41);
                waiter(w, 41, 40, 40);
                w.long(RECEIVERS).store(halves(40, 41), SeqCst);
                w.long(WAITING).store(halves(2, 0), SeqCst);
            }),
        ),
        (
            "all who wait loop",
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
            "free slots that loop",
            Box::new(move |w: &Window| {
                w.long(slot(50)).store(halves(0, 50), SeqCst);
                w.long(FREE_SMALLEST).store(50, SeqCst);
            }),
        ),
        (
            "a message of 4 GiB whose blocks loop",
            Box::new(move |w: &Window| {
                let first = w.word(ENDS).load(SeqCst);
                w.word(slot(first) + 4).store(u32::MAX, SeqCst);
                w.word(slot(first) + 28).store(64, SeqCst);
                w.long(slot(64)).store(halves(5 << 8, 64), SeqCst);
            }),
        ),
        (
            "an index that loops",
            Box::new(move |w: &Window| {
                w.long(slot(60)).store(5, SeqCst);
                w.long(slot(60) + 24).store(halves(60 << 1 | 1, 60 << 1 | 1), SeqCst);
                w.long(TYPES).store(halves(60 << 1 | 1, 2), SeqCst);
            }),
        ),
        (
            "an index that is given up, and loops",
            Box::new(move |w: &Window| {
                w.long(slot(60)).store(5, SeqCst);
                w.long(slot(60) + 40).store(60, SeqCst);
                w.long(TYPES).store(halves(60, 3), SeqCst);
                w.long(LOCK).store(NOBODY, SeqCst);
            }),
        ),
        (
            "a journal of more stores than fit, with wild places",
            Box::new(move |w: &Window| {
                let changes = w.long(CHANGES).load(SeqCst);
                for journal in 0..4 {
                    let at = JOURNALS + 640 * journal;
                    (2..78).for_each(|word| w.long(at + 8 * word).store(u64::MAX >> (word % 40), SeqCst));
                    w.long(at).store(0xff | changes << 8, SeqCst);
                }
                w.long(LOCK).store(NOBODY, SeqCst);
            }),
        ),
        ("nothing was ever divided", Box::new(move |w: &Window| w.long(DIVIDED).store(0, SeqCst))),
        ("all is divided", Box::new(move |w: &Window| w.long(DIVIDED).store(u64::MAX, SeqCst))),
        ("retired", Box::new(move |w: &Window| w.word(64).store(0, SeqCst))),
        ("gone", Box::new(move |w: &Window| w.word(72).store(2, SeqCst))),
        ("half made", Box::new(move |w: &Window| w.word(72).store(0, SeqCst))),
    ];
    alone("crafted_bits", |directory| {
        for (nth, (what, damage)) in damages.iter().enumerate() {
            after(&directory.join(nth.to_string()), what, damage);
        }
    });
}

/// A file that is shorter than a queue's is none.
#[test]
fn a_file_cut_short() {
    alone("a_file_cut_short", |directory| {
        for len in [0, 100, 4096, 8192] {
            let path = directory.join(len.to_string());
            make(&path);
            std::fs::File::options().write(true).open(path.join("msg/0")).unwrap().set_len(len).unwrap();
            let comes = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let id = ns.msgget(KEY, 0).map_or(0, quintet::Id::raw);
                let sent = ns.msgsnd(id, 1, b"text", NOWAIT, None);
                assert!([Err(Errno::INVAL), Err(Errno::IDRM), Err(Errno::ACCES)].contains(&sent), "{sent:?}");
            });
            ends_soon(comes, &format!("{len} bytes"));
            unharmed(&path);
        }
    });
}
