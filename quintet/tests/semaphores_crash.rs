//! Killed anywhere in the use of a semaphore set: after each store to shared memory, and each system call that others
//! see something of, the process is ended by SIGKILL; whoever waits goes on or waits on, and whoever comes finds a set whose values add up.
//!
//! `QUINTET_CRASH_EVERY=n` takes every n-th point; without it it is each, or each second one where others store, too.
#![allow(unsafe_code)]

mod support;

use quintet::{Errno, Key, Kind, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::time::Duration;
use support::{Child, End, Scenario, Tracee, Watch, alone, begin, finish, fork, names, nothing, until};

const KEY: Key = Key::new(0x5e3a);
const UNDO: SemFlags = SemFlags::UNDO;
const NSEMS: usize = 6;
const START: [u16; NSEMS] = [10; NSEMS];

fn op(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op)
}

fn undo(num: u16, n: i16) -> SemOp {
    op(num, n).flags(UNDO)
}

fn changed(changes: &[(usize, i16)]) -> [u16; NSEMS] {
    let mut values = START;
    changes.iter().for_each(|(num, n)| values[*num] = values[*num].wrapping_add_signed(*n));
    values
}

fn set_of(ns: &Namespace) -> i32 {
    ns.semget(KEY, 0, 0).unwrap().raw()
}

/// A process that has done `ops` and holds on to what it has; it ends by itself when it is killed.
fn sleeper(path: &Path, ops: &[SemOp]) -> Child {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        match ns.semtimedop(set_of(&ns), ops, None) {
            Ok(()) => {}
            Err(Errno::IDRM) => support::exit(2),
            Err(e) => panic!("{e:?}"),
        }
    })
}

/// Waits until so many wait for a semaphore, or for its being zero.
fn until_waiting(path: &Path, num: i32, n: u32) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = set_of(&ns);
        until("all wait", || ns.sem_ncnt(id, num).unwrap() + ns.sem_zcnt(id, num).unwrap() == n);
    })
    .succeeds();
}

/// The set does all that sets do, at once; it has these values before and afterwards.
fn works(ns: &Namespace, id: i32, values: &[u16]) {
    let nowait = |op: SemOp| op.flags(SemFlags::NOWAIT);
    for num in 0..values.len() {
        assert_eq!((ns.sem_ncnt(id, num as i32), ns.sem_zcnt(id, num as i32)), (Ok(0), Ok(0)), "semaphore {num}");
        ns.semtimedop(id, &[op(num as u16, 1)], None).unwrap();
        ns.semtimedop(id, &[nowait(op(num as u16, -1))], None).unwrap();
    }
    let all = |n: i16| -> Vec<SemOp> { (0..values.len() as u16).map(|num| nowait(op(num, n))).collect() };
    for count in [2, values.len()] {
        ns.semtimedop(id, &all(2)[..count], None).unwrap();
        ns.semtimedop(id, &all(-2)[..count], None).unwrap();
    }
    assert_eq!(ns.sem_values(id).unwrap(), values);
    // One that waits is let go on.
    let num = values.len() as u16 - 1;
    let waits = fork(|| ns.semtimedop(id, &[op(num, -1 - values[usize::from(num)] as i16)], None).unwrap());
    until("it waits", || ns.sem_ncnt(id, num.into()) == Ok(1));
    ns.semtimedop(id, &[op(num, 1)], None).unwrap();
    waits.succeeds();
    ns.sem_set_values(id, values).unwrap();
    ns.sweep().unwrap();
    let status = ns.sets().unwrap();
    assert_eq!((status.len(), status[0].waiters.len(), status[0].undo.len()), (1, 0, 0), "{status:?}");
    assert_eq!(ns.sem_usage().unwrap().semaphores as usize, values.len());
}

/// Removes what is there; nothing is left.
fn clear_all(path: &Path, ns: &Namespace) {
    ns.sweep().unwrap();
    for set in ns.sets().unwrap() {
        ns.sem_remove(set.stat.id.raw()).unwrap();
    }
    assert_eq!((ns.sem_usage().unwrap().sets, ns.sem_usage().unwrap().semaphores), (0, 0));
    for folder in ["sem", "key"] {
        assert_eq!(names(&path.join(folder)), Vec::<String>::new(), "{folder}");
    }
    let id = ns.semget(KEY, 3, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
    assert_eq!(ns.sem_values(id.raw()).unwrap(), [0; 3]);
    works(ns, id.raw(), &[0; 3]);
    ns.sem_remove(id.raw()).unwrap();
}

fn make_set(ns: &Namespace) {
    let id = ns.semget(KEY, NSEMS as i32, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
    ns.sem_set_values(id.raw(), &START).unwrap();
}

fn scenario<'a>() -> Scenario<'a> {
    Scenario { setup: &make_set, clear: &clear_all, ..Scenario::default() }
}

/// Then the set has one of these lists of values (where something is to be taken back, soon), and works.
fn ends_with(path: &Path, allowed: &[[u16; NSEMS]]) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = set_of(&ns);
        let mut values = Vec::new();
        until(&format!("one of {allowed:?}"), || {
            let was = std::mem::replace(&mut values, ns.sem_values(id).unwrap());
            if values != was {
                println!("values {values:?}");
            }
            allowed.iter().any(|allowed| values == allowed)
        });
        works(&ns, id, &values);
    })
    .succeeds();
}

fn operating(name: &str, prelude: &dyn Fn(&Namespace), ops: &[SemOp], allowed: &[[u16; NSEMS]]) {
    alone(name, |directory| {
        Scenario {
            name,
            prelude,
            victim: &|ns| ns.semtimedop(set_of(ns), ops, None).unwrap(),
            check: &|path, _| ends_with(path, allowed),
            steady: true,
            ..scenario()
        }
        .run(directory);
    });
}

/// The caller has its undo record already.
fn with_record(ns: &Namespace) {
    ns.semtimedop(set_of(ns), &[undo(5, -1)], None).unwrap();
}

#[test]
fn one_operation() {
    operating("one_operation", &nothing, &[op(0, -3)], &[START, changed(&[(0, -3)])]);
}

#[test]
fn one_with_undo() {
    operating("one_with_undo", &with_record, &[undo(0, -3)], &[START]);
}

#[test]
fn the_first_undo() {
    operating("the_first_undo", &nothing, &[undo(0, -3)], &[START]);
}

#[test]
fn several_by_descriptor() {
    let joined = |ns: &Namespace| ns.sem_values(set_of(ns)).map(drop).unwrap();
    let ops = [op(0, -3), op(1, 4), op(2, 1)];
    operating("several_by_descriptor", &joined, &ops, &[START, changed(&[(0, -3), (1, 4), (2, 1)])]);
}

#[test]
fn several_by_descriptor_with_undo() {
    operating(
        "several_by_descriptor_with_undo",
        &with_record,
        &[undo(0, -3), undo(1, 4), op(0, 1)],
        &[START, changed(&[(0, 1)])],
    );
}

#[test]
fn several_under_the_lock() {
    let ops = [op(0, -3), op(1, 4), op(2, 1), op(3, 1), op(4, 2)];
    operating("several_under_the_lock", &nothing, &ops, &[START, changed(&[(0, -3), (1, 4), (2, 1), (3, 1), (4, 2)])]);
}

#[test]
fn several_under_the_lock_with_undo() {
    let ops = [undo(0, -3), undo(1, 400), undo(2, 1), undo(3, 300), undo(4, 2)];
    operating("several_under_the_lock_with_undo", &with_record, &ops, &[START]);
}

/// What is to be taken back is more than the word has room for, and then nothing.
#[test]
fn a_large_adjustment() {
    let more = |ns: &Namespace| ns.semtimedop(set_of(ns), &[undo(0, 300)], None).unwrap();
    operating("a_large_adjustment", &more, &[undo(0, -300)], &[START]);
}

#[test]
fn setting_one_value() {
    alone("setting_one_value", |directory| {
        Scenario {
            name: "setting",
            // Somebody has taken 2 of it, and keeps them.
            company: &|path| {
                let holder = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    ns.semtimedop(set_of(&ns), &[undo(0, -2), undo(1, -2)], None).unwrap();
                    ns.semtimedop(set_of(&ns), &[op(4, 1)], None).unwrap();
                    support::sleep_for_ever();
                });
                until_value(path, 4, 11);
                vec![holder]
            },
            victim: &|ns| ns.sem_set_value(set_of(ns), 0, 77).unwrap(),
            check: &|path, company| {
                drop(company);
                ends_with(path, &[changed(&[(4, 1)]), changed(&[(0, 67), (4, 1)])]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

fn until_value(path: &Path, num: i32, value: u16) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = set_of(&ns);
        until("the value", || ns.sem_value(id, num).unwrap() == value);
    })
    .succeeds();
}

#[test]
fn setting_all_values() {
    alone("setting_all_values", |directory| {
        Scenario {
            name: "setting-all",
            company: &|path| {
                let holder = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    ns.semtimedop(set_of(&ns), &[undo(0, -2), undo(1, 500)], None).unwrap();
                    support::sleep_for_ever();
                });
                until_value(path, 1, 510);
                vec![holder]
            },
            victim: &|ns| ns.sem_set_values(set_of(ns), &[1, 2, 3, 4, 5, 6]).unwrap(),
            check: &|path, company| {
                drop(company);
                ends_with(path, &[START, [1, 2, 3, 4, 5, 6]]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// Two wait, one of them for two semaphores; the victim lets both go on.
#[test]
fn waking() {
    alone("waking", |directory| {
        Scenario {
            name: "waking",
            company: &|path| {
                let all = vec![sleeper(path, &[op(0, -11)]), sleeper(path, &[op(1, -1), undo(0, -12)])];
                until_waiting(path, 0, 2);
                all
            },
            victim: &|ns| ns.semtimedop(set_of(ns), &[op(0, 14)], None).unwrap(),
            check: &|path, company| {
                let done = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let id = set_of(&ns);
                    // Whoever can go on does, before anybody sees a value.
                    let values = ns.sem_values(id).unwrap();
                    println!("values {values:?}");
                    let woken = values[0] == 1 || values[0] == 13;
                    assert!(woken || values == START, "{values:?}");
                    if !woken {
                        assert_eq!(ns.sem_ncnt(id, 0), Ok(2));
                        ns.semtimedop(id, &[op(0, 14)], None).unwrap();
                    }
                    assert_eq!(ns.sem_ncnt(id, 0), Ok(0));
                });
                done.succeeds();
                for child in company {
                    assert_eq!(child.end(), End::Exit(0));
                }
                ends_with(path, &[changed(&[(0, 14 - 11), (1, -1)])]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// Killed on the way to sleep, asleep, and giving up.
#[test]
fn waiting_in_vain() {
    alone("waiting_in_vain", |directory| {
        Scenario {
            name: "waiting",
            victim: &|ns| {
                let ops = [undo(1, -1), op(0, -11)];
                assert_eq!(ns.semtimedop(set_of(ns), &ops, Some(Duration::from_millis(1))), Err(Errno::AGAIN));
            },
            check: &|path, _| ends_with(path, &[START]),
            ..scenario()
        }
        .run(directory);
    });
}

/// A call of more operations than a place has room for, given up for a signal.
#[test]
fn interrupted() {
    alone("interrupted", |directory| {
        Scenario {
            name: "interrupted",
            prelude: &|_| support::on_alarm(),
            victim: &|ns| {
                let ops: Vec<SemOp> = (0..12).map(|n| op(n % 5, 1)).chain([op(0, -100)]).collect();
                support::alarm_every(Duration::from_millis(20));
                assert_eq!(ns.semtimedop(set_of(ns), &ops, None), Err(Errno::INTR));
                support::alarm_every(Duration::ZERO);
            },
            check: &|path, _| ends_with(path, &[START]),
            ..scenario()
        }
        .run(directory);
    });
}

/// Killed while it is granted what it waits for: with what it took, or before.
#[test]
fn woken() {
    alone("woken", |directory| {
        Scenario {
            name: "woken",
            company: &|path| {
                vec![fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let id = set_of(&ns);
                    // It may be killed before it waits.
                    while ns.sem_ncnt(id, 0).unwrap() == 0 {
                        if ns.sem_value(id, 5).unwrap() == 0 {
                            return;
                        }
                        std::thread::yield_now();
                    }
                    ns.semtimedop(id, &[op(0, 1)], None).unwrap();
                })]
            },
            victim: &|ns| ns.semtimedop(set_of(ns), &[undo(0, -11)], None).unwrap(),
            check: &|path, company| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    ns.sem_set_value(set_of(&ns), 5, 0).unwrap();
                })
                .succeeds();
                for child in company {
                    assert_eq!(child.end(), End::Exit(0));
                }
                ends_with(path, &[changed(&[(5, -10)]), changed(&[(0, 1), (5, -10)])]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// Killed while it takes back what another one has left.
#[test]
fn taking_back() {
    alone("taking_back", |directory| {
        Scenario {
            name: "taking-back",
            company: &|path| {
                let holder = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let ops = [undo(0, -3), undo(1, 300), undo(2, -1), undo(3, 1)];
                    ns.semtimedop(set_of(&ns), &ops, None).unwrap();
                    support::sleep_for_ever();
                });
                until_value(path, 0, 7);
                let waits = sleeper(path, &[op(0, -10), op(4, -1)]);
                until_waiting(path, 0, 1);
                // It must not do it itself.
                waits.stop();
                holder.kill();
                vec![waits]
            },
            victim: &|ns| ns.sweep().unwrap(),
            check: &|path, company| {
                for child in company {
                    child.signal(libc::SIGCONT);
                    assert_eq!(child.end(), End::Exit(0));
                }
                ends_with(path, &[changed(&[(0, -10), (4, -1)])]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

fn making(name: &str, kind: Kind) {
    alone(name, |directory| {
        Scenario {
            name,
            kind,
            setup: &nothing,
            victim: &|ns| _ = ns.semget(KEY, 3, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap(),
            check: &|path, _| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let found = ns.semget(KEY, 3, 0);
                    assert!(found.is_ok() || found == Err(Errno::NOENT), "{found:?}");
                    let id = ns.semget(KEY, 3, libc::IPC_CREAT | 0o640).unwrap();
                    assert!(found.is_err() || found == Ok(id));
                    assert_eq!(ns.sem_stat(id.raw()).unwrap().perm.mode, 0o640);
                    assert_eq!(ns.sem_values(id.raw()).unwrap(), [0; 3]);
                    works(&ns, id.raw(), &[0; 3]);
                })
                .succeeds();
            },
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn creating_in_private() {
    making("creating_in_private", Kind::Private);
}

#[test]
fn creating_in_shared() {
    making("creating_in_shared", Kind::Shared);
}

/// Whoever waits on a set that is half removed does not wait for ever, though nobody else comes.
fn removing_it(name: &str, kind: Kind) {
    alone(name, |directory| {
        Scenario {
            name,
            kind,
            company: &|path| {
                let all = vec![sleeper(path, &[op(0, -11)]), sleeper(path, &[op(0, 0)])];
                until_waiting(path, 0, 2);
                all
            },
            victim: &|ns| ns.sem_remove(set_of(ns)).unwrap(),
            check: &|path, company| {
                let stands = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let id = match ns.semget(KEY, 0, 0) {
                        Ok(id) => id.raw(),
                        Err(e) => {
                            assert_eq!(e, Errno::NOENT);
                            support::exit(2)
                        }
                    };
                    ns.semtimedop(id, &[op(0, 1)], None).unwrap();
                    ns.sem_set_value(id, 0, 0).unwrap();
                })
                .end();
                assert!(stands == End::Exit(0) || stands == End::Exit(2), "{stands:?}");
                for child in company {
                    assert_eq!(child.end(), stands);
                }
                if stands == End::Exit(0) {
                    ends_with(path, &[changed(&[(0, -10)])]);
                }
            },
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn removing_in_private() {
    removing_it("removing_in_private", Kind::Private);
}

#[test]
fn removing_in_shared() {
    removing_it("removing_in_shared", Kind::Shared);
}

#[test]
fn giving_rights() {
    alone("giving_rights", |directory| {
        Scenario {
            name: "rights",
            kind: Kind::Shared,
            victim: &|ns| {
                let perm = ns.sem_stat(set_of(ns)).unwrap().perm;
                ns.sem_set(set_of(ns), perm.uid, perm.gid, 0o660).unwrap();
            },
            check: &|path, _| {
                fork(|| {
                    use std::os::unix::fs::PermissionsExt;
                    let ns = Namespace::open(path).unwrap();
                    ns.semget(Key::PRIVATE, 1, 0o600).unwrap();
                    let mode = ns.sem_stat(set_of(&ns)).unwrap().perm.mode;
                    let file = std::fs::metadata(path.join("sem/0")).unwrap().permissions().mode() & 0o777;
                    assert!((mode, file) == (0o600, 0o644) || (mode, file) == (0o660, 0o664), "{mode:o} {file:o}");
                    let private = ns.sets().unwrap().into_iter().find(|set| set.stat.key.is_private()).unwrap();
                    ns.sem_remove(private.stat.id.raw()).unwrap();
                })
                .succeeds();
                ends_with(path, &[START]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// One who was killed with the lock held is followed by another one, who is killed while he makes it good.
#[test]
fn repairing() {
    alone("repairing", |directory| {
        let path = directory.join("points");
        let start = |path: &Path| {
            fork(|| make_set(&Namespace::create(path, Kind::Private).unwrap())).succeeds();
            let waits = sleeper(path, &[op(1, -11), undo(0, -1)]);
            until_waiting(path, 1, 1);
            let first = Tracee::start(|| {
                let ns = Namespace::open(path).unwrap();
                with_record(&ns);
                let ops = [undo(0, 300), op(1, 1), undo(2, 1), undo(3, 1), undo(4, 1)];
                begin();
                ns.semtimedop(set_of(&ns), &ops, None).unwrap();
                finish();
            });
            (waits, first)
        };
        let (waits, tracee) = start(&path);
        let points = tracee.all_points(&mut Watch::new(&path), true);
        drop(waits);
        let mut repairs = 0;
        for (i, point) in points.iter().enumerate().skip(3).step_by(9) {
            // Each of these deaths is followed by one at every seventh point of what it takes to make it good.
            for nth in (i % 7..).step_by(7) {
                let path = directory.join(format!("{i}-{nth}"));
                let (waits, mut first) = start(&path);
                let mut watch = Watch::new(&path);
                first.run_to(*point, &mut watch);
                let held = first.lock_held;
                first.kill();
                let mut second = Tracee::start(|| {
                    let ns = Namespace::open(&path).unwrap();
                    begin();
                    ns.sem_values(set_of(&ns)).unwrap();
                    finish();
                });
                let reached = second.run_to_change(nth as u32, &mut watch);
                second.kill();
                println!("repairing: {point:?}, then at change {nth}");
                repairs += 1;
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let id = set_of(&ns);
                    let all = ns.sem_values(id).unwrap();
                    if ns.sem_ncnt(id, 1) == Ok(1) {
                        assert_eq!(all[1], 10, "{all:?}");
                        ns.semtimedop(id, &[op(1, 1)], None).unwrap();
                    }
                })
                .succeeds();
                waits.succeeds();
                ends_with(&path, &[changed(&[(1, -10)])]);
                fork(|| clear_all(&path, &Namespace::open(&path).unwrap())).succeeds();
                let _ = std::fs::remove_dir_all(&path);
                if !reached || !held {
                    break;
                }
            }
        }
        println!("repairing: {repairs} deaths");
    });
}
