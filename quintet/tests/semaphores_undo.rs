//! `SEM_UNDO`: which adjustments are undone, for which process and when, for all sizes.
#![allow(unsafe_code)]

mod common;
use crash::support;

use common::{op, undo};
use quintet::{Errno, Key, Namespace, SemFlags, SemOp};
use std::path::Path;
use support::{Child, Dice, End, Signpost, alone, fork, until};

const KEY: Key = Key::new(0x0d0);

fn create_set(path: &Path, nsems: usize, value: u16) {
    common::create_set(path, KEY, &vec![value; nsems]);
}

fn open(path: &Path) -> (Namespace, i32) {
    common::open_set(path, KEY)
}

/// Performs `ops` one by one in a process that then exits, which undoes its adjustments.
fn exit_after(path: &Path, ops: &[SemOp]) {
    fork(|| {
        let (ns, id) = open(path);
        ops.iter().for_each(|op| ns.semtimedop(id, &[*op], None).unwrap());
    })
    .succeeds();
}

/// Returns the values after a sweep.
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

/// Adjustments of one process that add up to 0 do not affect the next process.
#[test]
fn adjustments_that_add_up_to_zero_are_not_inherited() {
    alone("adjustments_that_add_up_to_zero_are_not_inherited", |directory| {
        let path = directory.join("ns");
        create_set(&path, 2, 1000);
        for n in [256, 255, 257, -256, -257, 1] {
            exit_after(&path, &[undo(0, -n), undo(0, n)]);
            assert_eq!(values(&path), [1000, 1000], "{n}");
            exit_after(&path, &[undo(1, -1), undo(1, 1)]);
            assert_eq!(values(&path), [1000, 1000], "{n}");
            exit_after(&path, &[undo(0, -1)]);
            assert_eq!(values(&path), [1000, 1000], "{n}");
        }
    });
}

/// Two processes take turns with small and large operations. Each operation fails exactly when a
/// value or an adjustment would leave its range.
#[test]
fn operations_fail_exactly_at_the_bounds_of_values_and_adjustments() {
    alone("operations_fail_exactly_at_the_bounds_of_values_and_adjustments", |directory| {
        let path = directory.join("ns");
        create_set(&path, 1, 16000);
        let sizes = [1, -1, 255, -255, 256, -256, 257, -257, 3000, -3000, 16000, -16000, 32767, -32767];
        for seed in 0..12u64 {
            let turns = [Signpost::new(), Signpost::new()];
            let run = |nth: usize| {
                let (ns, id) = open(&path);
                let mut dice = Dice(seed * 2 + nth as u64);
                let mut adjustment = 0i32;
                for _ in 0..150 {
                    turns[nth].wait();
                    let n: i16 = sizes[dice.throw(sizes.len() as u64) as usize];
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
                    turns[1 - nth].post(1);
                }
                // The status shows this process's adjustment.
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
            let both: Vec<Child> = [0, 1].map(|nth| fork(|| run(nth))).into();
            turns[0].post(1);
            both.into_iter().for_each(Child::succeeds);
            // Undoing clamps the value to its range, so that the end value depends on the order of
            // the exits.
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

/// An adjustment belongs to the process, not to the thread that made it.
#[test]
fn adjustments_belong_to_the_process_not_the_thread() {
    alone("adjustments_belong_to_the_process_not_the_thread", |directory| {
        let path = directory.join("ns");
        create_set(&path, 3, 10);
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
            // A child inherits no adjustments, and its exit does not undo those of its parent.
            assert_eq!(fork(|| drop(ns.sem_values(id))).end(), End::Exit(0));
            ns.sweep().unwrap();
            assert_eq!(ns.sem_values(id).unwrap(), [7, 7, 11]);
        })
        .succeeds();
        assert_eq!(values(&path), [10, 10, 10]);
    });
}

/// Adjustments are undone no matter how a process ends.
#[test]
fn adjustments_are_undone_however_a_process_ends() {
    alone("adjustments_are_undone_however_a_process_ends", |directory| {
        let path = directory.join("ns");
        create_set(&path, 2, 10);
        let ways: [(&str, fn(), End); 5] = [
            ("exit", || std::process::exit(0), End::Exit(0)),
            ("_exit", || support::exit(3), End::Exit(3)),
            ("abort", || std::process::abort(), End::Signal(libc::SIGABRT)),
            ("SIGTERM", || support::kill(std::process::id() as i32, libc::SIGTERM), End::Signal(libc::SIGTERM)),
            ("SIGKILL", || support::kill(std::process::id() as i32, libc::SIGKILL), End::Signal(libc::SIGKILL)),
        ];
        for (name, way, end) in ways {
            // The values suffice: this call does not block.
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
                holder.post(1);
                until("the other call blocks", || ns.sem_ncnt(id, 0) == Ok(1));
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

/// The adjustments of a large set take several pages.
#[test]
fn adjustments_of_a_large_set_are_undone() {
    alone("adjustments_of_a_large_set_are_undone", |directory| {
        let path = directory.join("ns");
        create_set(&path, 32000, 500);
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
                    ready.post(1);
                    support::sleep_for_ever();
                });
                ready.wait();
                (holder, ready)
            })
            .collect();
        exit_after(&path, &ops);
        let now = values(&path);
        assert_eq!(now[31998], 1400);
        assert!((0..32000).filter(|num| *num != 31998).all(|num| now[num] == 500));
        drop(holders);
        assert!(values(&path).into_iter().all(|value| value == 500));
    });
}

/// A process that cannot extend the file cannot use `SEM_UNDO` or block. Other operations work.
#[test]
fn undo_without_room_for_a_record_fails_with_enomem() {
    alone("undo_without_room_for_a_record_fails_with_enomem", |directory| {
        let path = directory.join("ns");
        create_set(&path, 10_000, 5);
        let file = path.join("sem/0");
        let before = std::fs::metadata(&file).unwrap().len();
        fork(|| {
            let (ns, id) = open(&path);
            let limit = libc::rlimit { rlim_cur: before, rlim_max: before };
            // SAFETY: points to a local variable.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
            for _ in 0..3 {
                assert_eq!(ns.semtimedop(id, &[undo(0, -1)], None), Err(Errno::NOMEM));
                // A call that would block fails, too.
                assert_eq!(ns.semtimedop(id, &[op(0, -100)], None), Err(Errno::NOMEM));
                ns.semtimedop(id, &[op(0, -1)], None).unwrap();
                ns.semtimedop(id, &[op(0, 1)], None).unwrap();
            }
        })
        .succeeds();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), before);
        exit_after(&path, &[undo(0, -1), undo(9999, 5)]);
        assert!(values(&path).into_iter().all(|value| value == 5));
    });
}
