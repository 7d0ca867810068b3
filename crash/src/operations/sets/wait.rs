//! Waking others, waiting, and what is taken back.

use super::*;
use crate::campaign::{Run, operations};

operations! { "sets::wait": waking waiting_in_vain interrupted woken taking_back ending_with_undo }

/// Two wait, one of them for two semaphores; the victim lets both go on.
fn waking(run: &Run) {
    Scenario {
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
                assert!(woken || !completed());
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
    .run(run);
}

/// Killed on the way to sleep, asleep, and giving up.
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

/// A call of more operations than a place has room for, given up for a signal.
fn interrupted(run: &Run) {
    Scenario {
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
    .run(run);
}

/// Killed while it is granted what it waits for: with what it took, or before.
fn woken(run: &Run) {
    Scenario {
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
    .run(run);
}

/// Killed while it takes back what another one has left.
fn taking_back(run: &Run) {
    Scenario {
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
    .run(run);
}

/// The process ends by itself, with something to take back that somebody waits for.
fn ending_with_undo(run: &Run) {
    Scenario {
        company: &|path| {
            vec![fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = set_of(&ns);
                until("it is taken", || ns.sem_value(id, 0).unwrap() == 7);
                ns.semtimedop(id, &[op(0, -10), op(4, -1)], None).unwrap();
            })]
        },
        prelude: &|ns| {
            let ops = [undo(0, -3), undo(1, 300), undo(2, -1), undo(3, 1)];
            ns.semtimedop(set_of(ns), &ops, None).unwrap();
            until("somebody waits", || ns.sem_ncnt(set_of(ns), 0) == Ok(1));
        },
        victim: &|_| quintet::drop_in::at_exit(),
        check: &|path, company| {
            for child in company {
                assert_eq!(child.end(), End::Exit(0));
            }
            ends_with(path, &[changed(&[(0, -10), (4, -1)])]);
        },
        ..scenario()
    }
    .run(run);
}
