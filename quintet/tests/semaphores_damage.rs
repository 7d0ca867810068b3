//! Damage: whatever bits are in a set's file, its users get errors or wrong values, soon; nothing else happens to them, and nothing at all to
//! another set.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Key, Kind, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Child, End, Signpost, Window, alone, become_user, fork, is_root, open_to_all, until};

const KEY: Key = Key::new(0xbad);
const OTHER: Key = Key::new(0x600d);
const NSEMS: usize = 6;
/// For all calls together: an upper bound against hanging.
const SOON: Duration = Duration::from_secs(20);

// Where things are in the file: docs/format.md.
const HEAD: usize = 8;
const LOCK: usize = 16;
const WAITING: usize = 44;
const PAGES: usize = 56;
const QUEUES: usize = 64;
const SET_KEY: usize = 80;
const JOURNAL: usize = 152;
const ANSWERED: usize = 160;
const DESCRIPTORS: usize = 512;
const WORDS: usize = 1536;
const CHANGES: usize = WORDS + 8 * NSEMS;
const FIRST_PAGE: usize = 4096;
const FIRST_WAITER: usize = FIRST_PAGE + 64;
/// In a waiting call.
const NOPS: usize = 40;
const NEXT: usize = 48;

/// A lock word of one that has never lived.
const NOBODY: u32 = 5001 | 1 << 15;

fn op(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op)
}

fn undo(num: u16, n: i16) -> SemOp {
    op(num, n).flags(SemFlags::UNDO)
}

/// A namespace with two sets; the first one has been waited for, and somebody has something to take back.
fn make(path: &Path, kind: Kind, mode: i32) {
    fork(|| {
        let ns = Namespace::create(path, kind).unwrap();
        let id = ns.semget(KEY, NSEMS as i32, libc::IPC_CREAT | mode).unwrap();
        assert_eq!(id.index(), 0);
        ns.sem_set_values(id.raw(), &[5; NSEMS]).unwrap();
        let many: Vec<SemOp> = (0..20).map(|n| op(n % 5, 0)).collect();
        assert_eq!(ns.semtimedop(id.raw(), &many, Some(Duration::from_millis(20))), Err(Errno::AGAIN));
        let other = ns.semget(OTHER, 2, libc::IPC_CREAT | 0o600).unwrap();
        assert_eq!(other.index(), 1);
        ns.sem_set_values(other.raw(), &[7, 8]).unwrap();
    })
    .succeeds();
}

/// The other set is as it was, by its key, too; and the namespace can be used.
fn unharmed(path: &Path) {
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

/// Every call, whatever it says. Those that may wait do not for long.
fn call_everything(ns: &Namespace, id: i32) {
    let soon = Some(Duration::from_millis(1));
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

#[track_caller]
fn ends_soon(child: Child, what: &str) {
    let ended = support::ends_within(child.pid, SOON);
    assert!(ended, "{what}: it hangs");
    assert_eq!(child.end(), End::Exit(0), "{what}");
}

/// Two processes use the set, one that has known it before and one that has not, after `damage`.
fn after(path: &Path, what: &str, damage: &dyn Fn(&Window)) {
    make(path, Kind::Private, 0o600);
    let (ready, go) = (Signpost::new(), Signpost::new());
    let knows = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.semget(KEY, 0, 0).unwrap().raw();
        ns.semtimedop(id, &[undo(0, 1), undo(1, 400)], None).unwrap();
        ready.tell(1);
        go.wait();
        call_everything(&ns, id);
        let _ = ns.sem_remove(id);
    });
    ready.wait();
    let file = path.join("sem/0");
    let len = std::fs::metadata(&file).unwrap().len();
    damage(&Window::open(&file, 0, len as usize).unwrap());
    let comes = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.semget(KEY, 0, 0).map_or(0, quintet::Id::raw);
        call_everything(&ns, id);
    });
    ends_soon(comes, what);
    go.tell(1);
    ends_soon(knows, what);
    unharmed(path);
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

/// The bits change while they are looked at.
#[test]
fn bits_that_change_meanwhile() {
    alone("bits_that_change_meanwhile", |directory| {
        for seed in 1..=3u64 {
            let path = directory.join(seed.to_string());
            make(&path, Kind::Private, 0o600);
            let file = path.join("sem/0");
            let len = std::fs::metadata(&file).unwrap().len() as usize;
            let scribbler = fork(|| {
                let window = Window::open(&file, 0, len).unwrap();
                let mut random = Random(seed * 0x9e37_79b9);
                loop {
                    let at = (HEAD + random.below(len as u64 - 16) as usize) & !7;
                    match random.below(8) {
                        // As often as not something that is being used.
                        0..4 => window.long(WORDS + 8 * random.below(NSEMS as u64) as usize).store(random.next(), SeqCst),
                        4 => window.long(HEAD).store(1, SeqCst),
                        5 => window.long(FIRST_PAGE).store(random.below(6), SeqCst),
                        _ if at == LOCK => window.word(LOCK).store(NOBODY, SeqCst),
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
                            ready.tell(1);
                            call_everything(&ns, id);
                        })
                    })
                    .collect();
                ready.wait();
                users.into_iter().for_each(|user| ends_soon(user, &format!("seed {seed}")));
            }
            scribbler.kill();
            // A lock of one who lives is not there any more.
            unharmed(&path);
        }
    });
}

#[test]
fn random_bits() {
    alone("random_bits", |directory| {
        for seed in 1..=150u64 {
            after(&directory.join(seed.to_string()), &format!("seed {seed}"), &|window| {
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
                // Who waits for the living waits for them.
                window.word(LOCK).store([0, NOBODY, 1 << 31, u32::MAX][random.below(4) as usize], SeqCst);
            });
        }
    });
}

fn long(window: &Window, at: usize, bits: u64) {
    window.long(at).store(bits, SeqCst);
}

fn word(window: &Window, at: usize, bits: u32) {
    window.word(at).store(bits, SeqCst);
}

/// The mark of a use of a descriptor.
fn mark(number: u64, descriptor: u64) -> u64 {
    1 << 63 | number << 6 | descriptor
}

/// A call that waits, as far as the file says.
fn waiting(window: &Window, place: usize, next: u32) {
    let at = FIRST_WAITER + 128 * place;
    word(window, FIRST_PAGE, 1);
    word(window, at, 2);
    word(window, at + 8, 1);
    long(window, at + 24, place as u64 + 1);
    word(window, at + NOPS, 500);
    word(window, at + NEXT, next);
}

#[test]
fn crafted_bits() {
    type Damage<'a> = (&'a str, &'a dyn Fn(&Window));
    let damages: Vec<Damage> = vec![
        ("more pages than any file has", &|w| word(w, PAGES, u32::MAX)),
        ("a queue of one that loops", &|w| {
            waiting(w, 0, 1);
            (0..4).for_each(|end| word(w, QUEUES + 4 * end, 1));
            word(w, PAGES, u32::MAX);
            word(w, WAITING, 1);
        }),
        ("a queue of all places that loops", &|w| {
            (0..31).for_each(|place| waiting(w, place, (place as u32 + 1) % 31 + 1));
            (0..4).for_each(|end| word(w, QUEUES + 4 * end, 7));
            word(w, WAITING, 31);
        }),
        ("a queue that goes to where nothing is", &|w| {
            waiting(w, 0, 4_000_000_000);
            (0..4).for_each(|end| word(w, QUEUES + 4 * end, 1));
            word(w, WAITING, u32::MAX);
        }),
        ("marks of every descriptor", &|w| {
            (0..NSEMS).for_each(|num| long(w, WORDS + 8 * num, mark(num as u64 % 3, num as u64 * 13 % 64)));
        }),
        ("descriptors that lead to marks of each other", &|w| {
            for nth in 0..8 {
                let at = DESCRIPTORS + 128 * nth;
                long(w, at, (3 << 2) + nth as u64 % 3);
                long(w, at + 8, if nth % 2 == 0 { 0 } else { u64::MAX });
                for entry in 0..4 {
                    word(w, at + 16 + 24 * entry, entry as u32);
                    long(w, at + 24 + 24 * entry, mark(3, (nth as u64 + 1) % 8));
                    long(w, at + 32 + 24 * entry, mark(3, (nth as u64 + 1) % 8));
                }
            }
            (0..NSEMS).for_each(|num| long(w, WORDS + 8 * num, mark(3, num as u64)));
        }),
        ("slow words that nobody waits for", &|w| {
            (0..NSEMS).for_each(|num| _ = w.long(WORDS + 8 * num).fetch_or(1 << 15, SeqCst));
        }),
        ("a journal of more changes than fit", &|w| {
            long(w, JOURNAL, u64::from(u32::MAX) << 32 | 1);
            (0..NSEMS).for_each(|nth| {
                word(w, CHANGES + 32 * nth, nth as u32 * 1000);
                word(w, CHANGES + 32 * nth + 4, u32::MAX);
                long(w, CHANGES + 32 * nth + 16, u64::MAX);
            });
            word(w, ANSWERED, 1);
            word(w, ANSWERED + 4, 0xffff_ffff);
            word(w, LOCK, NOBODY);
        }),
        ("a journal that sets all", &|w| {
            long(w, JOURNAL, 3);
            word(w, LOCK, NOBODY);
        }),
        ("a journal of an unknown kind", &|w| {
            long(w, JOURNAL, 1 << 32 | 77);
            word(w, LOCK, NOBODY);
        }),
        ("half way through a change for ever", &|w| word(w, 40, 1)),
        ("all pages undo records of the dead", &|w| {
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
        ("it is another one's, and gone", &|w| {
            let other = 1u64;
            long(w, HEAD, other << 32 | 2);
            word(w, SET_KEY, OTHER.raw() as u32);
        }),
        ("it is another one's, and half made", &|w| {
            long(w, HEAD, 1 << 32);
            word(w, SET_KEY, OTHER.raw() as u32);
            word(w, LOCK, NOBODY);
        }),
        ("it is another one's", &|w| {
            long(w, HEAD, 1 << 32 | 1);
            word(w, SET_KEY, OTHER.raw() as u32);
        }),
        ("retired", &|w| word(w, 0, 0)),
        ("of more semaphores", &|w| word(w, 4, 1000)),
        ("of one", &|w| word(w, 4, 1)),
        ("of none", &|w| word(w, 4, 0)),
    ];
    alone("crafted_bits", |directory| {
        for (nth, (what, damage)) in damages.iter().enumerate() {
            after(&directory.join(nth.to_string()), what, damage);
        }
    });
}

/// What a sleeping call is waiting in is scribbled over: it ends, or sleeps on until a signal ends it; it does not run in circles.
#[test]
fn a_place_scribbled_over() {
    alone("a_place_scribbled_over", |directory| {
        for (nth, bits) in [0u32, 1, 0x102, 2, 7, 0xff03, u32::MAX].into_iter().enumerate() {
            let path = directory.join(nth.to_string());
            make(&path, Kind::Private, 0o600);
            let sleeps = fork(|| {
                support::on_alarm();
                let ns = Namespace::open(&path).unwrap();
                let id = ns.semget(KEY, 0, 0).unwrap().raw();
                let _ = ns.semtimedop(id, &[op(0, -6)], None);
            });
            let file = path.join("sem/0");
            let place = |window: &Window| (0..31).map(|n| FIRST_WAITER + 128 * n).find(|at| window.word(*at).load(SeqCst) == 2);
            until("it sleeps", || {
                let window = Window::open(&file, 0, FIRST_PAGE + 4096);
                window.is_some_and(|window| place(&window).is_some()) && support::state(sleeps.pid) == Some('S')
            });
            let window = Window::open(&file, 0, FIRST_PAGE + 4096).unwrap();
            let at = place(&window).unwrap();
            // All but the operations; its futex last.
            (4..64).step_by(4).for_each(|field| window.word(at + field).store(bits, SeqCst));
            window.word(at).store(bits, SeqCst);
            sleeps.signal(libc::SIGALRM);
            ends_soon(sleeps, &format!("{bits:#x}"));
            unharmed(&path);
        }
    });
}

/// A user who has the right to alter one set, and writes what he likes into its file, reaches no other set of its owner.
#[test]
fn another_user_writes_what_he_likes() {
    if !is_root() {
        println!("skipped: only root can be two users");
        return;
    }
    alone("another_user_writes_what_he_likes", |directory| {
        open_to_all(directory);
        for kind in [0u64, 1, 2] {
            let path = directory.join(kind.to_string());
            fork(|| _ = Namespace::create(&path, Kind::Shared).unwrap()).succeeds();
            fork(|| {
                become_user(4001);
                let ns = Namespace::open(&path).unwrap();
                let first = ns.semget(KEY, 2, libc::IPC_CREAT | 0o666).unwrap();
                let second = ns.semget(OTHER, 2, libc::IPC_CREAT | 0o600).unwrap();
                assert_eq!((first.index(), second.index()), (0, 1));
                ns.sem_set_values(second.raw(), &[7, 8]).unwrap();
            })
            .succeeds();
            fork(|| {
                become_user(4002);
                let ns = Namespace::open(&path).unwrap();
                let id = ns.semget(OTHER, 0, 0).unwrap().raw();
                assert_eq!(ns.sem_value(id, 0), Err(Errno::ACCES));
                assert_eq!(ns.semtimedop(id, &[op(0, 0)], None), Err(Errno::ACCES));
                assert_eq!(ns.sem_remove(id), Err(Errno::PERM));
                assert!(Window::open(&path.join("sem/1"), 0, 4096).is_none());
                let window = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
                window.long(HEAD).store((id as u64) << 32 | kind, SeqCst);
                window.word(SET_KEY).store(OTHER.raw() as u32, SeqCst);
            })
            .succeeds();
            for user in [4001, 0] {
                fork(|| {
                    if user != 0 {
                        become_user(user);
                    }
                    let ns = Namespace::open(&path).unwrap();
                    ns.sweep().unwrap();
                    let id = ns.semget(OTHER, 2, 0).unwrap();
                    assert_eq!(id.index(), 1);
                    assert_eq!(ns.sem_values(id.raw()).unwrap(), [7, 8]);
                    let stat = ns.sem_stat(id.raw()).unwrap();
                    assert_eq!((stat.perm.uid, stat.perm.cuid, stat.perm.mode, stat.key), (4001, 4001, 0o600, OTHER));
                })
                .succeeds();
            }
        }
    });
}

/// Who may read may wait for zero, and not more; whoever loses a right cannot use it any more, and who gets one can.
#[test]
fn rights_of_two_users() {
    if !is_root() {
        println!("skipped: only root can be two users");
        return;
    }
    alone("rights_of_two_users", |directory| {
        open_to_all(directory);
        let path = directory.join("ns");
        fork(|| _ = Namespace::create(&path, Kind::Shared).unwrap()).succeeds();
        fork(|| {
            become_user(4001);
            let ns = Namespace::open(&path).unwrap();
            let id = ns.semget(KEY, 2, libc::IPC_CREAT | 0o644).unwrap().raw();
            ns.sem_set_values(id, &[1, 0]).unwrap();
        })
        .succeeds();
        let (told, go) = (Signpost::new(), Signpost::new());
        let reader = fork(|| {
            become_user(4002);
            let ns = Namespace::open(&path).unwrap();
            let id = ns.semget(KEY, 0, 0o444).unwrap().raw();
            assert_eq!(ns.semget(KEY, 0, 0o222), Err(Errno::ACCES));
            assert_eq!(ns.sem_values(id).unwrap(), [1, 0]);
            for ops in [&[op(0, -1)][..], &[op(1, 1)], &[op(1, 0), undo(0, -1)]] {
                assert_eq!(ns.semtimedop(id, ops, None), Err(Errno::ACCES));
            }
            assert_eq!(ns.sem_set_value(id, 0, 0), Err(Errno::ACCES));
            assert_eq!(ns.sem_set_values(id, &[0, 0]), Err(Errno::ACCES));
            assert_eq!(ns.sem_set(id, 4002, 4002, 0o666), Err(Errno::PERM));
            let zero = [op(0, 0), op(1, 0)];
            assert_eq!(ns.semtimedop(id, &[zero[0].flags(SemFlags::NOWAIT)], None), Err(Errno::AGAIN));
            assert_eq!(ns.semtimedop(id, &zero, Some(Duration::from_millis(1))), Err(Errno::AGAIN));
            told.tell(1);
            ns.semtimedop(id, &zero, None).unwrap();
            told.tell(1);
            go.wait();
            // Now he may alter it.
            ns.semtimedop(id, &[undo(0, 3)], None).unwrap();
            ns.semtimedop(id, &[op(0, 1), op(1, 1)], None).unwrap();
            told.tell(1);
            go.wait();
            // Now he may not even read it, and what is his to take back is taken back all the same.
            assert_eq!(ns.sem_value(id, 0), Err(Errno::ACCES));
            assert_eq!(ns.semtimedop(id, &[op(0, 1)], None), Err(Errno::ACCES));
            assert_eq!(ns.semtimedop(id, &[undo(0, 1), op(1, 1)], None), Err(Errno::ACCES));
            assert_eq!(ns.semtimedop(id, &[op(1, 0)], None), Err(Errno::ACCES));
        });
        let owner = |act: &dyn Fn(&Namespace, i32)| {
            fork(|| {
                become_user(4001);
                let ns = Namespace::open(&path).unwrap();
                act(&ns, ns.semget(KEY, 0, 0).unwrap().raw());
            })
            .succeeds();
        };
        told.wait();
        owner(&|ns, id| ns.semtimedop(id, &[op(0, -1)], None).unwrap());
        told.wait();
        owner(&|ns, id| ns.sem_set(id, 4001, 4001, 0o666).unwrap());
        go.tell(1);
        told.wait();
        owner(&|ns, id| ns.sem_set(id, 4001, 4001, 0o600).unwrap());
        go.tell(1);
        reader.succeeds();
        owner(&|ns, id| {
            ns.sweep().unwrap();
            assert_eq!(ns.sem_values(id).unwrap(), [1, 1]);
            assert_eq!(ns.sem_stat(id).unwrap().perm.mode, 0o600);
            ns.sem_remove(id).unwrap();
        });
    });
}

/// A set that could not be made, after it was there under its name, does not hide one that another process makes in its place.
#[test]
fn a_creation_that_fails() {
    alone("a_creation_that_fails", |directory| {
        use std::os::unix::fs::PermissionsExt;
        open_to_all(directory);
        let path = directory.join("ns");
        std::fs::create_dir(&path).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(4001), Some(4001)).unwrap();
        }
        fork(|| {
            if is_root() {
                become_user(4001);
            }
            let ns = Namespace::create(&path, Kind::Shared).unwrap();
            let keys = |mode| std::fs::set_permissions(path.join("key"), std::fs::Permissions::from_mode(mode)).unwrap();
            keys(0o555);
            assert_eq!(ns.semget(KEY, 2, libc::IPC_CREAT | 0o600), Err(Errno::ACCES));
            assert_eq!((ns.sem_usage().unwrap().sets, ns.sets().unwrap().len()), (0, 0));
            assert_eq!(support::names(&path.join("sem")), Vec::<String>::new());
            keys(0o1777);
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let id = ns.semget(KEY, 3, libc::IPC_CREAT | 0o600).unwrap();
                assert_eq!(id.index(), 0);
                ns.sem_set_values(id.raw(), &[1, 2, 3]).unwrap();
            })
            .succeeds();
            let id = ns.semget(KEY, 3, 0).unwrap().raw();
            assert_eq!(ns.sem_values(id).unwrap(), [1, 2, 3]);
        })
        .succeeds();
    });
}
