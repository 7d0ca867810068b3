//! `SEM_UNDO`: what is taken back, of whom, and when; for every size of it.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Key, Kind, Namespace, SemFlags, SemOp};
use std::path::Path;
use support::{Child, End, Signpost, alone, fork, until};

const KEY: Key = Key::new(0x0d0);

fn op(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op)
}

fn undo(num: u16, n: i16) -> SemOp {
    op(num, n).flags(SemFlags::UNDO)
}

fn with_set(path: &Path, nsems: i32, value: u16) {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        let id = ns.semget(KEY, nsems, libc::IPC_CREAT | 0o600).unwrap();
        ns.sem_set_values(id.raw(), &vec![value; nsems as usize]).unwrap();
    })
    .succeeds();
}

fn open(path: &Path) -> (Namespace, i32) {
    let ns = Namespace::open(path).unwrap();
    let id = ns.semget(KEY, 0, 0).unwrap().raw();
    (ns, id)
}

/// Does `ops` one after the other, and dies with what is to be taken back.
fn die_after(path: &Path, ops: &[SemOp]) {
    fork(|| {
        let (ns, id) = open(path);
        ops.iter().for_each(|op| ns.semtimedop(id, &[*op], None).unwrap());
    })
    .succeeds();
}

fn values(path: &Path) -> Vec<u16> {
    let file = path.with_extension("values");
    fork(|| {
        let (ns, id) = open(path);
        ns.sweep().unwrap();
        let bytes: Vec<u8> = ns.sem_values(id).unwrap().into_iter().flat_map(u16::to_ne_bytes).collect();
        std::fs::write(&file, bytes).unwrap();
    })
    .succeeds();
    std::fs::read(&file).unwrap().chunks(2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]])).collect()
}

/// What one process leaves in a word that needs no taking back is not the next one's.
#[test]
fn what_adds_up_to_nothing() {
    alone("what_adds_up_to_nothing", |directory| {
        let path = directory.join("ns");
        with_set(&path, 2, 1000);
        for n in [256, 255, 257, -256, -257, 1] {
            die_after(&path, &[undo(0, -n), undo(0, n)]);
            assert_eq!(values(&path), [1000, 1000], "{n}");
            die_after(&path, &[undo(1, -1), undo(1, 1)]);
            assert_eq!(values(&path), [1000, 1000], "{n}");
            die_after(&path, &[undo(0, -1)]);
            assert_eq!(values(&path), [1000, 1000], "{n}");
        }
    });
}

/// Any operations, small and large, of two processes in turn: each knows when it has come to the bounds, and at the end all is as it was.
#[test]
fn any_sizes_up_to_the_bounds() {
    alone("any_sizes_up_to_the_bounds", |directory| {
        let path = directory.join("ns");
        with_set(&path, 1, 16000);
        let sizes = [1, -1, 255, -255, 256, -256, 257, -257, 3000, -3000, 16000, -16000, 32767, -32767];
        for seed in 0..12u64 {
            let turns = [Signpost::new(), Signpost::new()];
            let run = |who: usize| {
                let (ns, id) = open(&path);
                let mut dice = seed * 2 + who as u64;
                let mut adjustment = 0i32;
                for _ in 0..150 {
                    turns[who].wait();
                    dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let n: i16 = sizes[(dice >> 33) as usize % sizes.len()];
                    let value = i32::from(ns.sem_value(id, 0).unwrap());
                    let expected = if value + i32::from(n) < 0 {
                        Err(Errno::AGAIN)
                    } else if value + i32::from(n) > 32767 || i16::try_from(adjustment - i32::from(n)).is_err() {
                        Err(Errno::RANGE)
                    } else {
                        adjustment -= i32::from(n);
                        Ok(())
                    };
                    let op = undo(0, n).flags(SemFlags::UNDO | SemFlags::NOWAIT);
                    assert_eq!(ns.semtimedop(id, &[op], None), expected, "{value} {n} {adjustment}");
                    turns[1 - who].tell(1);
                }
                // Never beyond the bounds of the value at the end.
                let value = i32::from(ns.sem_value(id, 0).unwrap());
                let status = ns.sets().unwrap().remove(0);
                let told: i32 = status
                    .undo
                    .iter()
                    .filter(|u| u.pid == std::process::id() as i32)
                    .map(|u| i32::from(u.adjustments[0].1))
                    .sum();
                assert_eq!((told, value + adjustment), (adjustment, value + told));
            };
            let both: Vec<Child> = [0, 1].map(|who| fork(|| run(who))).into();
            turns[0].tell(1);
            both.into_iter().for_each(Child::succeeds);
            // Each on its way is cut off at 0 and at the greatest value; the sum of both is not, where nothing was cut off.
            let end = values(&path)[0];
            println!("seed {seed}: {end}");
            fork(|| {
                let (ns, id) = open(&path);
                ns.sem_set_value(id, 0, 16000).unwrap();
            })
            .succeeds();
        }
    });
}

/// It is the process's, whichever of its threads has asked for it.
#[test]
fn of_the_process_not_of_the_thread() {
    alone("of_the_process_not_of_the_thread", |directory| {
        let path = directory.join("ns");
        with_set(&path, 3, 10);
        fork(|| {
            let (ns, id) = open(&path);
            for _ in 0..3 {
                std::thread::scope(|scope| {
                    _ = scope.spawn(|| ns.semtimedop(id, &[undo(0, -1), undo(1, -300 + 299)], None).unwrap())
                });
            }
            ns.semtimedop(id, &[undo(2, 1)], None).unwrap();
            assert_eq!(ns.sem_values(id).unwrap(), [7, 7, 11]);
            let status = ns.sets().unwrap().remove(0);
            assert_eq!(status.undo.len(), 1);
            assert_eq!(status.undo[0].adjustments, [(0, 3), (1, 3), (2, -1)]);
            // A child has nothing to take back, and cannot take back its parent's.
            assert_eq!(fork(|| drop(ns.sem_values(id))).end(), End::Exit(0));
            ns.sweep().unwrap();
            assert_eq!(ns.sem_values(id).unwrap(), [7, 7, 11]);
        })
        .succeeds();
        assert_eq!(values(&path), [10, 10, 10]);
    });
}

/// However a process ends.
#[test]
fn ways_to_end() {
    alone("ways_to_end", |directory| {
        let path = directory.join("ns");
        with_set(&path, 2, 10);
        let ways: [(&str, fn(), End); 5] = [
            ("exit", || std::process::exit(0), End::Exit(0)),
            ("_exit", || support::exit(3), End::Exit(3)),
            ("abort", || std::process::abort(), End::Signal(libc::SIGABRT)),
            ("SIGTERM", || support::kill(std::process::id() as i32, libc::SIGTERM), End::Signal(libc::SIGTERM)),
            ("SIGKILL", || support::kill(std::process::id() as i32, libc::SIGKILL), End::Signal(libc::SIGKILL)),
        ];
        for (name, way, end) in ways {
            // Somebody sleeps on it, and is let go on.
            let waits = fork(|| {
                let (ns, id) = open(&path);
                ns.semtimedop(id, &[op(0, -9), op(1, -9)], None).unwrap();
                ns.semtimedop(id, &[op(0, 9), op(1, 9)], None).unwrap();
            });
            waits.succeeds();
            let holder = Signpost::new();
            let ends = fork(|| {
                let (ns, id) = open(&path);
                ns.semtimedop(id, &[undo(0, -2), undo(1, 500)], None).unwrap();
                ns.semtimedop(id, &[undo(1, -502)], None).unwrap();
                holder.tell(1);
                until("the other waits", || ns.sem_ncnt(id, 0) == Ok(1));
                way();
                support::sleep_for_ever();
            });
            holder.wait();
            let waits = fork(|| {
                let (ns, id) = open(&path);
                ns.semtimedop(id, &[op(0, -9), op(1, -9)], None).unwrap();
                ns.semtimedop(id, &[op(0, 9), op(1, 9)], None).unwrap();
            });
            assert_eq!(ends.end(), end, "{name}");
            assert_eq!(waits.end(), End::Exit(0), "{name}");
            assert_eq!(values(&path), [10, 10], "{name}");
        }
    });
}

/// A large set: what is taken back lies in several pages.
#[test]
fn a_large_set() {
    alone("a_large_set", |directory| {
        let path = directory.join("ns");
        with_set(&path, 32000, 500);
        let nums = [0, 1951, 1952, 3967, 3968, 20000, 31999];
        let ops: Vec<SemOp> = nums.iter().map(|num| undo(*num, -300)).collect();
        let holders: Vec<(Child, Signpost)> = (0..3)
            .map(|n| {
                let ready = Signpost::new();
                let holder = fork(|| {
                    let (ns, id) = open(&path);
                    let num = nums[n];
                    ns.semtimedop(id, &[undo(num, -1), undo(31998, 300)], None).unwrap();
                    ns.semtimedop(id, &[undo(num, -299), undo(num, 300)], None).unwrap();
                    ready.tell(1);
                    support::sleep_for_ever();
                });
                ready.wait();
                (holder, ready)
            })
            .collect();
        die_after(&path, &ops);
        let now = values(&path);
        assert_eq!(now[31998], 1400);
        assert!((0..32000).filter(|num| *num != 31998).all(|num| now[num] == 500));
        drop(holders);
        assert!(values(&path).into_iter().all(|value| value == 500));
    });
}

/// A process that may not make the file larger cannot ask for it, and can do all else.
#[test]
fn no_place_for_a_record() {
    alone("no_place_for_a_record", |directory| {
        let path = directory.join("ns");
        with_set(&path, 10_000, 5);
        let file = path.join("sem/0");
        let before = std::fs::metadata(&file).unwrap().len();
        fork(|| {
            let (ns, id) = open(&path);
            let limit = libc::rlimit { rlim_cur: before, rlim_max: before };
            // SAFETY: a local.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
            for _ in 0..3 {
                assert_eq!(ns.semtimedop(id, &[undo(0, -1)], None), Err(Errno::NOMEM));
                // Nor can it wait.
                assert_eq!(ns.semtimedop(id, &[op(0, -100)], None), Err(Errno::NOMEM));
                ns.semtimedop(id, &[op(0, -1)], None).unwrap();
                ns.semtimedop(id, &[op(0, 1)], None).unwrap();
            }
        })
        .succeeds();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), before);
        die_after(&path, &[undo(0, -1), undo(9999, 5)]);
        assert!(values(&path).into_iter().all(|value| value == 5));
    });
}
