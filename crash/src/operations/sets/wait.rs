//! Waking, waiting and undo.

use super::*;
use crate::campaign::{Run, operations};
use quintet::preload_api;

operations! { "sets::wait": waking waiting_in_vain interrupted woken taking_back ending_with_undo }

/// Two calls wait, one of them for two semaphores. The victim lets both proceed.
fn waking(run: &Run) {
    Scenario {
        peers: &|path| {
            let all = vec![sleeper(path, &[op(0, -11)]), sleeper(path, &[op(1, -1), undo(0, -12)])];
            until_waiting(path, 0, 2);
            all
        },
        victim: &|ns| ns.semtimedop(set_of(ns), &[op(0, 14)], None).unwrap(),
        check: &|path, peers| {
            let done = fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = set_of(&ns);
                // Calls that can proceed do so before any process sees a value.
                let values = ns.sem_values(id).unwrap();
                println!("values {values:?}");
                let woken = values[0] == 1 || values[0] == 13;
                assert!(woken || !completed());
                assert!(woken || values == START, "{values:?}");
                if !woken {
                    assert_eq!(ns.sem_ncnt(id, 0), Ok(2));
                    ns.semtimedop(id, &[op(0, 14)], None).unwrap();
                }
                assert_eq!(ns.sem_ncnt(id, 0), Ok(0));
            });
            done.succeeds();
            for child in peers {
                assert_eq!(child.end(), End::Exit(0));
            }
            ends_with(path, &[changed(&[(0, 14 - 11), (1, -1)])]);
        },
        ..scenario()
    }
    .run(run);
}

/// Kills before the sleep, in the sleep, and at the timeout.
fn waiting_in_vain(run: &Run) {
    Scenario {
        victim: &|ns| {
            let ops = [undo(1, -1), op(0, -11)];
            assert_eq!(ns.semtimedop(set_of(ns), &ops, Some(Duration::from_millis(1))), Err(Errno::AGAIN));
        },
        check: &|path, _| ends_with(path, &[START]),
        ..scenario()
    }
    .run(run);
}

/// A call with more operations than a waiter's slot holds, interrupted by a signal.
fn interrupted(run: &Run) {
    Scenario {
        warm_up: &|_| support::on_alarm(),
        victim: &|ns| {
            let ops: Vec<SemOp> = (0..12).map(|n| op(n % 5, 1)).chain([op(0, -100)]).collect();
            support::alarm_every(Duration::from_millis(20));
            assert_eq!(ns.semtimedop(set_of(ns), &ops, None), Err(Errno::INTR));
            support::alarm_every(Duration::ZERO);
        },
        check: &|path, _| ends_with(path, &[START]),
        ..scenario()
    }
    .run(run);
}

/// Kills a waiting process while its operation is granted: it has the units or not.
fn woken(run: &Run) {
    Scenario {
        peers: &|path| {
            vec![fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = set_of(&ns);
                // The victim may be killed before it waits.
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
        check: &|path, peers| {
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                ns.sem_set_value(set_of(&ns), 5, 0).unwrap();
            })
            .succeeds();
            for child in peers {
                assert_eq!(child.end(), End::Exit(0));
            }
            ends_with(path, &[changed(&[(5, -10)]), changed(&[(0, 1), (5, -10)])]);
        },
        ..scenario()
    }
    .run(run);
}

/// Kills a process while it undoes the operations of one that exited.
fn taking_back(run: &Run) {
    Scenario {
        peers: &|path| {
            let holder = fork(|| {
                let ns = Namespace::open(path).unwrap();
                let ops = [undo(0, -3), undo(1, 300), undo(2, -1), undo(3, 1)];
                ns.semtimedop(set_of(&ns), &ops, None).unwrap();
                support::sleep_for_ever();
            });
            until_value(path, 0, 7);
            let waits = sleeper(path, &[op(0, -10), op(4, -1)]);
            until_waiting(path, 0, 1);
            // The waiting process must not undo them itself.
            waits.stop();
            holder.kill();
            vec![waits]
        },
        victim: &|ns| ns.sweep().unwrap(),
        check: &|path, peers| {
            for child in peers {
                child.signal(libc::SIGCONT);
                assert_eq!(child.end(), End::Exit(0));
            }
            ends_with(path, &[changed(&[(0, -10), (4, -1)])]);
        },
        ..scenario()
    }
    .run(run);
}

/// The process exits normally with undo that another process waits for.
fn ending_with_undo(run: &Run) {
    Scenario {
        peers: &|path| {
            vec![fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = set_of(&ns);
                until("the units are taken", || ns.sem_value(id, 0).unwrap() == 7);
                ns.semtimedop(id, &[op(0, -10), op(4, -1)], None).unwrap();
            })]
        },
        warm_up: &|ns| {
            let ops = [undo(0, -3), undo(1, 300), undo(2, -1), undo(3, 1)];
            ns.semtimedop(set_of(ns), &ops, None).unwrap();
            until("a process is waiting", || ns.sem_ncnt(set_of(ns), 0) == Ok(1));
        },
        victim: &|_| preload_api::at_exit(),
        check: &|path, peers| {
            for child in peers {
                assert_eq!(child.end(), End::Exit(0));
            }
            ends_with(path, &[changed(&[(0, -10), (4, -1)])]);
        },
        ..scenario()
    }
    .run(run);
}
