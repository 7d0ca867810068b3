//! Many processes and threads use semaphore sets at once, and some are killed. The units add up.

mod common;
use crash::support;

use common::{create_set, op, undo};
use quintet::{Errno, Key, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Child, Dice, End, Signpost, alone, fork, is_posted};

const KEY: Key = Key::new(0x7ace);
/// How long the processes pass units on.
const WHILE: Duration = Duration::from_secs(3);

fn open(path: &Path) -> (Namespace, i32) {
    common::open_set(path, KEY)
}

/// Asserts, in a process of its own: after a sweep the set has these values and no call blocks.
fn ends_with(path: &Path, values: &[u16]) {
    fork(|| {
        let (ns, id) = open(path);
        ns.sweep().unwrap();
        assert_eq!(ns.sem_values(id).unwrap(), values);
        for num in 0..values.len() as i32 {
            assert_eq!((ns.sem_ncnt(id, num), ns.sem_zcnt(id, num)), (Ok(0), Ok(0)));
        }
        // One call can take all units, and give them back.
        let all = |sign: i16| -> Vec<SemOp> {
            let ops = (0u16..).zip(values).filter(|(_, value)| **value > 0);
            ops.map(|(num, value)| op(num, *value as i16 * sign).flags(SemFlags::NOWAIT)).collect()
        };
        ns.semtimedop(id, &all(-1), None).unwrap();
        ns.semtimedop(id, &all(1), None).unwrap();
    })
    .succeeds();
}

const SEMS: u16 = 4;
const UNITS: u16 = 6;
const LARGE: u16 = 5000;

/// Takes, gives and moves units until the process is killed, which must not lose a unit.
/// Takes and gives use SEM_UNDO; a move is one operation.
fn juggle(path: &Path, seed: u64) {
    let (ns, id) = open(path);
    let mut dice = Dice(seed);
    let soon = Some(Duration::from_micros(300));
    let ignore = |answer: Result<(), Errno>| assert!([Ok(()), Err(Errno::AGAIN)].contains(&answer), "{answer:?}");
    loop {
        let (a, b) = (dice.throw(SEMS.into()) as u16, dice.throw(SEMS.into()) as u16);
        match dice.throw(7) {
            0 | 1 => {
                if ns.semtimedop(id, &[undo(a, -1)], soon).is_ok() {
                    ns.semtimedop(id, &[undo(a, 1)], None).unwrap();
                }
            }
            2 if a != b => ignore(ns.semtimedop(id, &[op(a, -1), op(b, 1)], soon)),
            3 if a != b => ignore(ns.semtimedop(id, &[op(a, -2), op(b, 1), op(a, 1)], soon)),
            4 => {
                // More operations than a descriptor has room for.
                let all: Vec<SemOp> = (0..SEMS + 1).map(|num| undo(num, -1)).collect();
                let back: Vec<SemOp> = (0..SEMS + 1).map(|num| undo(num, 1)).collect();
                if ns.semtimedop(id, &all, soon).is_ok() {
                    ns.semtimedop(id, &back, None).unwrap();
                }
            }
            5 => {
                // An adjustment too large for a semaphore's word. No other branch takes from this
                // semaphore.
                let n = if a % 2 == 0 { 300 } else { -300 };
                ns.semtimedop(id, &[undo(SEMS + 1, n)], None).unwrap();
                ns.semtimedop(id, &[undo(SEMS + 1, -n)], None).unwrap();
            }
            _ => ignore(ns.semtimedop(id, &[op(SEMS, 0), op(a, -1), op(b, 1)], soon)),
        }
    }
}

/// Processes pass units through several semaphores and are killed again and again.
#[test]
fn killed_processes_lose_no_units() {
    alone("killed_processes_lose_no_units", |directory| {
        let path = directory.join("ns");
        create_set(&path, KEY, &[UNITS, UNITS, UNITS, UNITS, 1, LARGE]);
        let seed = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut workers: Vec<Child> = (0..4).map(|_| fork(|| juggle(&path, dice.throw(1 << 30)))).collect();
        let end = Instant::now() + WHILE;
        let mut kills = 0;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(dice.throw(4000)));
            let nth = dice.throw(4) as usize;
            let next = fork(|| juggle(&path, dice.throw(1 << 30)));
            let worker = std::mem::replace(&mut workers[nth], next);
            assert!(!worker.has_ended(), "a worker failed");
            worker.kill();
            kills += 1;
        }
        for worker in workers {
            assert!(!worker.has_ended(), "a worker failed");
            worker.kill();
        }
        println!("{kills} kills");
        fork(|| {
            let (ns, id) = open(&path);
            ns.sweep().unwrap();
            let values = ns.sem_values(id).unwrap();
            println!("{values:?}");
            assert_eq!(values.iter().take(SEMS.into()).sum::<u16>(), UNITS * SEMS);
            assert_eq!(values[usize::from(SEMS)..], [1, LARGE]);
            ends_with(&path, &values);
        })
        .succeeds();
    });
}

/// A blocked call either takes a unit or times out: each unit given is taken once or still there.
#[test]
fn a_unit_is_taken_once_or_still_there() {
    for (name, ops) in [
        ("one", vec![op(0, -1)]),
        ("undo", vec![undo(0, -1)]),
        ("two", vec![op(0, -1), op(1, 0)]),
        ("many", [op(0, -1)].into_iter().chain((1..12).map(|num| op(num, 0))).collect()),
    ] {
        alone("a_unit_is_taken_once_or_still_there", |directory| {
            let path = directory.join(name);
            create_set(&path, KEY, &[0; 12]);
            let (taken, ready) = (Signpost::new(), Signpost::new());
            let takers: Vec<Child> = (0..2)
                .map(|seed| {
                    fork(|| {
                        let (ns, id) = open(&path);
                        let mut dice = Dice(seed);
                        let mut had = 0;
                        ready.post(1);
                        // The giver sets the last semaphore when it is done.
                        while ns.sem_value(id, 11) == Ok(0) {
                            match ns.semtimedop(id, &ops, Some(Duration::from_nanos(dice.throw(120_000)))) {
                                Ok(()) => had += 1,
                                Err(e) => assert!(e == Errno::AGAIN || ns.sem_value(id, 11) == Ok(1), "{e:?}"),
                            }
                        }
                        taken.send_number(had);
                        ready.wait();
                    })
                })
                .collect();
            ready.wait();
            ready.wait();
            let given = 4000;
            fork(|| {
                let (ns, id) = open(&path);
                let mut dice = Dice(9);
                for _ in 0..given {
                    ns.semtimedop(id, &[op(0, 1)], None).unwrap();
                    (0..dice.throw(300)).for_each(|_| std::hint::spin_loop());
                }
                ns.sem_set_value(id, 11, 1).unwrap();
            })
            .succeeds();
            let had = taken.number() + taken.number();
            let left = fork(|| {
                let (ns, id) = open(&path);
                taken.send_number(ns.sem_value(id, 0).unwrap().into());
            });
            left.succeeds();
            assert_eq!(had + taken.number(), given, "{name}");
            ready.post(2);
            takers.into_iter().for_each(Child::succeeds);
        });
    }
}

/// A set is removed and created again and again. Blocked calls end with an error, and none blocks
/// forever.
#[test]
fn removal_of_a_set_wakes_all_its_users() {
    alone("removal_of_a_set_wakes_all_its_users", |directory| {
        let path = directory.join("ns");
        create_set(&path, KEY, &[1, 1, 0]);
        let stop = Signpost::new();
        let users: Vec<Child> = (0..3)
            .map(|seed| {
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let mut dice = Dice(seed);
                    while !is_posted(&stop) {
                        let Ok(id) = ns.semget(KEY, 3, libc::IPC_CREAT | 0o600) else { continue };
                        let id = id.raw();
                        let answer = match dice.throw(6) {
                            0 => ns.semtimedop(id, &[op(0, 1)], None),
                            1 => ns.semtimedop(id, &[op(2, -1), op(0, -1)], None),
                            2 => ns.semtimedop(id, &[undo(0, 1), undo(1, 1)], None),
                            3 => ns.semtimedop(id, &[undo(2, -1)], None),
                            4 => ns.sem_set_value(id, 0, 0),
                            _ => ns.semtimedop(id, &[op(0, 0), op(2, -1)], None),
                        };
                        let gone = [Ok(()), Err(Errno::IDRM), Err(Errno::INVAL), Err(Errno::RANGE)];
                        assert!(gone.contains(&answer), "{answer:?}");
                    }
                })
            })
            .collect();
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let end = Instant::now() + Duration::from_secs(2);
            let mut removed = 0;
            while Instant::now() < end {
                if let Ok(id) = ns.semget(KEY, 0, 0)
                    && ns.sem_remove(id.raw()).is_ok()
                {
                    removed += 1;
                }
                std::thread::yield_now();
            }
            println!("removed {removed}");
        })
        .succeeds();
        stop.post(1);
        // The users may block on one more set.
        let last = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            loop {
                if let Ok(id) = ns.semget(KEY, 0, 0) {
                    let _ = ns.sem_remove(id.raw());
                }
                std::thread::yield_now();
            }
        });
        for user in users {
            assert_eq!(user.end(), End::Exit(0));
        }
        last.kill();
    });
}

/// Threads of one process use a set while the process forks children.
#[test]
fn units_of_threads_and_forked_children_add_up() {
    alone("units_of_threads_and_forked_children_add_up", |directory| {
        let path = directory.join("ns");
        create_set(&path, KEY, &[3, 3, 3, 3, 3]);
        let process = fork(|| {
            let (ns, id) = open(&path);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let ns = &ns;
                    scope.spawn(move || {
                        let mut dice = Dice(thread);
                        for _ in 0..3000 {
                            let (a, b) = (dice.throw(5) as u16, dice.throw(5) as u16);
                            let ops = match dice.throw(3) {
                                0 => vec![undo(a, -1)],
                                1 if a != b => vec![undo(a, -1), undo(b, -1)],
                                _ => (0..5).map(|num| undo(num, -1)).collect(),
                            };
                            let back: Vec<SemOp> = ops.iter().map(|o| undo(o.num, 1)).collect();
                            ns.semtimedop(id, &ops, None).unwrap();
                            ns.semtimedop(id, &back, None).unwrap();
                        }
                    });
                }
                for _ in 0..30 {
                    // When the child exits, its own adjustments are undone, and not those of its
                    // parent.
                    let child = fork(|| ns.semtimedop(id, &[undo(0, -1), undo(3, -1)], None).unwrap());
                    assert_eq!(child.end(), End::Exit(0));
                }
            });
            ns.semtimedop(id, &[undo(0, -2), undo(1, -1)], None).unwrap();
        });
        assert_eq!(process.end(), End::Exit(0));
        ends_with(&path, &[3, 3, 3, 3, 3]);
    });
}

/// `SETVAL` and `SETALL` clear the adjustments of running processes.
#[test]
fn setting_a_value_clears_adjustments_of_running_processes() {
    alone("setting_a_value_clears_adjustments_of_running_processes", |directory| {
        let path = directory.join("ns");
        create_set(&path, KEY, &[100, 100]);
        for round in 0..40 {
            let ready = Signpost::new();
            let holder = fork(|| {
                let (ns, id) = open(&path);
                ready.post(1);
                loop {
                    ns.semtimedop(id, &[undo(0, -1), undo(1, -300)], Some(Duration::ZERO)).ok();
                    ns.semtimedop(id, &[undo(0, 1), undo(1, 300)], Some(Duration::ZERO)).ok();
                    ns.semtimedop(id, &[undo(0, 1)], None).unwrap();
                    ns.semtimedop(id, &[undo(0, -1)], None).unwrap();
                }
            });
            ready.wait();
            fork(|| {
                let (ns, id) = open(&path);
                for nth in 0..20 {
                    if nth % 2 == 0 {
                        ns.sem_set_value(id, 0, 100).unwrap()
                    } else {
                        ns.sem_set_values(id, &[100, 400]).unwrap()
                    }
                    ns.semtimedop(id, &[op(0, 0).flags(SemFlags::NOWAIT)], None).unwrap_err();
                }
            })
            .succeeds();
            holder.kill();
            println!("round {round}");
            ends_with(&path, &[100, 400]);
        }
    });
}

/// Operations on several semaphores need neither the lock nor a system call, even after many
/// participants and kills.
#[test]
fn operations_need_no_system_call_after_many_participants() {
    alone("operations_need_no_system_call_after_many_participants", |directory| {
        let path = directory.join("ns");
        create_set(&path, KEY, &[5, 5, 5]);
        let ops = [op(0, 1), op(1, -1), op(2, 1)];
        let back = [op(0, -1), op(1, 1), op(2, -1)];
        for _ in 0..20 {
            fork(|| {
                let (ns, id) = open(&path);
                ns.sem_values(id).unwrap();
                let other = ns.semget(Key::PRIVATE, 3, 0o600).unwrap().raw();
                ns.sem_set_values(other, &[0, 90, 0]).unwrap();
                for _ in 0..20 {
                    ns.semtimedop(id, &ops, None).unwrap();
                    ns.semtimedop(other, &ops, None).unwrap();
                    ns.semtimedop(id, &back, None).unwrap();
                }
                ns.sem_remove(other).unwrap();
            })
            .succeeds();
        }
        // Kills some processes in the middle of an operation.
        for steps in 0..20 {
            let mut tracee = support::Tracee::start(|| {
                let (ns, id) = open(&path);
                ns.sem_values(id).unwrap();
                support::begin();
                ns.semtimedop(id, &ops, None).unwrap();
                support::finish();
            });
            tracee.steps(100 + 37 * steps);
            tracee.kill();
        }
        let system_calls = |ops: Option<&[SemOp]>| {
            let mut tracee = support::Tracee::start(|| {
                let (ns, id) = open(&path);
                ns.sweep().unwrap();
                ns.semtimedop(id, &[op(0, 1), op(1, 1), op(2, 1)], None).unwrap();
                support::begin();
                ops.into_iter().for_each(|ops| ns.semtimedop(id, ops, None).unwrap());
                support::finish();
            });
            let mut stops = 0;
            while tracee.next() != support::Stop::Finished {
                stops += 1;
            }
            stops
        };
        assert_eq!(system_calls(Some(&back)), system_calls(None));
    });
}

/// Creating and removing sets at the same index leaks no mappings.
#[test]
fn repeated_creation_leaks_no_mappings() {
    alone("repeated_creation_leaks_no_mappings", |directory| {
        let path = directory.join("ns");
        create_set(&path, KEY, &[1]);
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        fork(|| {
            let (ns, id) = open(&path);
            ns.sem_remove(id).unwrap();
            let (mut before, mut last) = (0, -1);
            for round in 0..3000 {
                let id = ns.semget(KEY, 2, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap().raw();
                assert_ne!(id, last);
                ns.semtimedop(id, &[undo(0, 1)], None).unwrap();
                assert_eq!(ns.semtimedop(id, &[op(0, 1), op(1, -1)], Some(Duration::from_nanos(1))), Err(Errno::AGAIN));
                ns.sem_remove(id).unwrap();
                assert_eq!(ns.semtimedop(id, &[undo(0, 1)], None), Err(Errno::INVAL));
                last = id;
                if round == 10 {
                    before = maps();
                }
            }
            assert!(maps() < before + 100, "{before} mappings, then {}", maps());
        })
        .succeeds();
    });
}
