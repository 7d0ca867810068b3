//! The safe interface of semaphores: guards, timeouts and creation.
//!
//! Tests run in a directory and, if an IPC namespace can be created, in the kernel.

mod common;
use crash::support;

use common::catch_sigusr1;
use quintet::{Errno, Key, Kind, Namespace, Segment, SemFlags, SemOp, Semaphore, SemaphoreSet};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{BOUND, End, Point, Signpost, Tracee, Watch, alone, begin, finish, fork, on_both, sleep_for_ever, until};

const KEY: Key = Key::new(0x5e3a);

#[test]
fn a_killed_holder_gives_its_units_back() {
    on_both("a_killed_holder_gives_its_units_back", |ns| {
        let semaphore = Semaphore::open_or_create(ns, KEY, 3).unwrap();
        let ready = Signpost::new();
        let holder = fork(|| {
            let _one = semaphore.acquire().unwrap();
            let _two = semaphore.acquire_many(2).unwrap();
            ready.post(1);
            sleep_for_ever();
        });
        ready.wait();
        assert_eq!(semaphore.value().unwrap(), 0);
        assert!(semaphore.try_acquire().unwrap().is_none());
        holder.kill();
        let guard = semaphore.acquire_timeout(BOUND).unwrap().expect("the killed holder's units are back");
        assert_eq!(semaphore.set().namespace().path(), ns.path());
        assert_eq!((guard.semaphore().num(), guard.semaphore().set().id()), (semaphore.num(), semaphore.set().id()));
        assert_eq!((guard.units(), semaphore.value().unwrap()), (1, 2));
        guard.release().unwrap();
        assert_eq!(semaphore.value().unwrap(), 3);
        semaphore.remove().unwrap();
    });
}

#[test]
fn a_blocked_call_gets_the_units_of_a_killed_holder() {
    on_both("a_blocked_call_gets_the_units_of_a_killed_holder", |ns| {
        let semaphore = Semaphore::open_or_create(ns, KEY, 1).unwrap();
        let ready = Signpost::new();
        let holder = fork(|| {
            semaphore.acquire().unwrap().forget();
            ready.post(1);
            sleep_for_ever();
        });
        ready.wait();
        let waiter = fork(|| drop(semaphore.acquire().unwrap()));
        until("the call blocks", || semaphore.set().waiting(0).unwrap() == 1);
        holder.kill();
        waiter.succeeds();
        assert_eq!(semaphore.value().unwrap(), 1);
        semaphore.remove().unwrap();
    });
}

#[test]
fn a_forgotten_guard_keeps_its_units_until_the_process_exits() {
    on_both("a_forgotten_guard_keeps_its_units_until_the_process_exits", |ns| {
        let semaphore = Semaphore::create_new(ns, KEY, 1).unwrap();
        fork(|| {
            semaphore.acquire().unwrap().forget();
            std::mem::forget(semaphore.try_acquire().unwrap());
            assert_eq!(semaphore.value().unwrap(), 0);
        })
        .succeeds();
        assert_eq!(semaphore.value().unwrap(), 1);
        semaphore.remove().unwrap();
    });
}

#[test]
fn dropping_a_forked_copy_of_a_guard_gives_nothing_back() {
    on_both("dropping_a_forked_copy_of_a_guard_gives_nothing_back", |ns| {
        let semaphore = Semaphore::create_new(ns, KEY, 1).unwrap();
        let mut guard = Some(semaphore.acquire().unwrap());
        fork(|| {
            drop(guard.take());
            assert_eq!(semaphore.value().unwrap(), 0);
        })
        .succeeds();
        assert_eq!(semaphore.value().unwrap(), 0);
        drop(guard);
        assert_eq!(semaphore.value().unwrap(), 1);
        semaphore.remove().unwrap();
    });
}

#[test]
fn a_guard_can_be_dropped_in_another_thread() {
    on_both("a_guard_can_be_dropped_in_another_thread", |ns| {
        let semaphore = Semaphore::create_new(ns, KEY, 1).unwrap();
        fork(|| {
            let guard = semaphore.acquire().unwrap();
            std::thread::spawn(move || drop(guard)).join().unwrap();
            assert_eq!(semaphore.value().unwrap(), 1);
        })
        .succeeds();
        // The exiting process had no adjustment left.
        assert_eq!(semaphore.value().unwrap(), 1);
        semaphore.remove().unwrap();
    });
}

#[test]
fn a_signal_interrupts_an_operation_but_not_an_acquisition() {
    on_both("a_signal_interrupts_an_operation_but_not_an_acquisition", |ns| {
        let semaphore = Semaphore::create_new(ns, KEY, 0).unwrap();
        let waits = || until("the call blocks", || semaphore.set().waiting(0).unwrap() == 1);
        let caught = Signpost::new();

        let operator = fork(|| {
            catch_sigusr1(&caught);
            let error = semaphore.set().op(&[SemOp::new(0, -1)]).unwrap_err();
            assert_eq!(error.errno(), Errno::INTR);
            assert!(error.to_string().contains("a signal was caught"), "{error}");
        });
        waits();
        operator.signal(libc::SIGUSR1);
        operator.succeeds();
        caught.wait();

        let acquirers: [fn(&Semaphore) -> bool; 3] = [
            |semaphore| semaphore.acquire().is_ok(),
            |semaphore| semaphore.acquire_timeout(BOUND).unwrap().is_some(),
            |semaphore| semaphore.acquire_timeout(Duration::MAX).unwrap().is_some(),
        ];
        for acquires in acquirers {
            let acquirer = fork(|| {
                catch_sigusr1(&caught);
                assert!(acquires(&semaphore));
            });
            waits();
            acquirer.signal(libc::SIGUSR1);
            caught.wait();
            waits();
            semaphore.release(1).unwrap();
            acquirer.succeeds();
            // The guard gave the unit back.
            until("the unit is back", || semaphore.value().unwrap() == 1);
            assert!(semaphore.set().try_op(&[SemOp::new(0, -1)]).unwrap());
        }
        semaphore.remove().unwrap();
    });
}

#[test]
fn removal_of_a_set_ends_a_blocked_acquisition() {
    on_both("removal_of_a_set_ends_a_blocked_acquisition", |ns| {
        let semaphore = Semaphore::create_new(ns, KEY, 0).unwrap();
        let waiter = fork(|| {
            let error = semaphore.acquire().unwrap_err();
            assert_eq!(error.errno(), Errno::IDRM);
            assert!(error.to_string().contains("it was removed meanwhile"), "{error}");
        });
        until("the call blocks", || semaphore.set().waiting(0).unwrap() == 1);
        semaphore.remove().unwrap();
        waiter.succeeds();
        assert_eq!(semaphore.acquire().unwrap_err().errno(), Errno::INVAL);
    });
}

#[test]
fn acquisitions_respect_timeouts_and_deadlines() {
    on_both("acquisitions_respect_timeouts_and_deadlines", |ns| {
        let set = SemaphoreSet::create_new(ns, KEY, &[1, 0]).unwrap();
        let semaphore = set.semaphore(0);
        let past = Instant::now();
        let guard = semaphore.acquire_deadline(past).unwrap().expect("a unit is available");
        assert!(semaphore.acquire_deadline(past).unwrap().is_none());
        assert!(semaphore.acquire_timeout(Duration::ZERO).unwrap().is_none());
        assert!(semaphore.acquire_timeout(Duration::from_millis(2)).unwrap().is_none());
        assert!(set.op_timeout(&[SemOp::new(1, 0)], Duration::ZERO).unwrap());
        assert!(!set.op_deadline(&[SemOp::new(1, -1)], past).unwrap());
        assert!(!set.op_timeout(&[SemOp::new(1, -1).flags(SemFlags::NOWAIT)], BOUND).unwrap());
        assert!(!set.try_op(&[SemOp::new(1, 1), SemOp::new(0, -1)]).unwrap(), "all or nothing");
        assert_eq!(set.values().unwrap(), [0, 0]);
        drop(guard);
        set.remove().unwrap();
    });
}

#[test]
fn concurrent_creators_find_a_set_with_its_values() {
    const PROCESSES: usize = 6;
    const ROUNDS: i32 = 40;
    on_both("concurrent_creators_find_a_set_with_its_values", |ns| {
        let memory = Segment::open_or_create(ns, KEY, 8).unwrap().attach().unwrap();
        let starts: Vec<Signpost> = (0..PROCESSES).map(|_| Signpost::new()).collect();
        let done = Signpost::new();
        let children: Vec<_> = starts
            .iter()
            .map(|start| {
                fork(|| {
                    let sum = memory.cell::<u64>(0).unwrap();
                    for round in 0..ROUNDS {
                        start.wait();
                        let set = SemaphoreSet::open_or_create(ns, Key::new(100 + round), &[1, 7, 8]).unwrap();
                        let values = set.values().unwrap();
                        assert!(values == [1, 7, 8] || values == [0, 7, 8], "{values:?}");
                        {
                            let _mine = set.semaphore(0).acquire().unwrap();
                            sum.store(sum.load() + 1).unwrap();
                        }
                        done.post(1);
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            starts.iter().for_each(|start| start.post(1));
            (0..PROCESSES).for_each(|_| done.wait());
            let set = SemaphoreSet::open(ns, Key::new(100 + round)).unwrap();
            assert_eq!(set.values().unwrap(), [1, 7, 8]);
            assert_ne!(set.stat().unwrap().otime, 0);
            set.remove().unwrap();
        }
        children.into_iter().for_each(|child| assert_eq!(child.end(), End::Exit(0)));
        assert_eq!(memory.cell::<u64>(0).unwrap().load(), PROCESSES as u64 * ROUNDS as u64);
        memory.segment().remove().unwrap();
    });
}

/// Kills a process before and after each system call of a creation. There is no set, or one with
/// its values.
#[test]
fn a_killed_creator_leaves_no_set_or_a_complete_one() {
    alone("a_killed_creator_leaves_no_set_or_a_complete_one", |directory: &Path| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let mut found = [0; 2];
        let creates = || {
            Tracee::start(|| {
                // The work of a process's first call is not under test.
                SemaphoreSet::open_or_create(&ns, Key::PRIVATE, &[1]).unwrap().remove().unwrap();
                begin();
                SemaphoreSet::open_or_create(&ns, KEY, &[1, 0, 7]).unwrap();
                finish();
            })
        };
        let mut watch = Watch::new(&path);
        for stop in 0.. {
            let point = Point::Stop(stop);
            let mut tracee = creates();
            watch.reopen();
            let goes_on = tracee.run_to(point, &mut watch);
            tracee.release(libc::SIGKILL).kill();
            if !goes_on {
                break;
            }
            found[usize::from(SemaphoreSet::open(&ns, KEY).is_ok())] += 1;
            if let Ok(set) = SemaphoreSet::open(&ns, KEY) {
                assert_eq!(set.values().unwrap(), [1, 0, 7], "{point:?}");
                assert_ne!(set.stat().unwrap().otime, 0);
            }
            let set = SemaphoreSet::open_or_create(&ns, KEY, &[1, 0, 7]).unwrap();
            assert_eq!(set.values().unwrap(), [1, 0, 7], "{point:?}");
            set.remove().unwrap();
        }
        assert!(found[0] > 9 && found[1] > 0, "{found:?}");
    });
}

#[test]
fn creating_waits_for_the_values_of_a_c_creator() {
    on_both("creating_waits_for_the_values_of_a_c_creator", |ns| {
        let id = ns.semget(KEY, 2, libc::IPC_CREAT | 0o600).unwrap();
        let (ready, opened) = (Signpost::new(), Signpost::new());
        let finder = fork(|| {
            ready.post(1);
            let set = SemaphoreSet::open_or_create(ns, KEY, &[9, 9]).unwrap();
            opened.post(1);
            assert_eq!(set.values().unwrap(), [4, 0]);
        });
        ready.wait();
        ns.sem_set_values(id.raw(), &[5, 0]).unwrap();
        assert!(SemaphoreSet::open(ns, KEY).unwrap().stat().unwrap().otime == 0);
        ns.semtimedop(id.raw(), &[SemOp::new(0, -1)], None).unwrap();
        opened.wait();
        finder.succeeds();
        ns.sem_remove(id.raw()).unwrap();
    });
}

#[test]
fn creating_does_not_wait_for_an_exited_creator() {
    on_both("creating_does_not_wait_for_an_exited_creator", |ns| {
        let id = ns.semget(KEY, 1, libc::IPC_CREAT | 0o600).unwrap();
        let error = Semaphore::open_or_create(ns, KEY, 1).unwrap_err();
        assert_eq!(error.errno(), Errno::TIMEDOUT);
        assert!(error.to_string().contains("no process has operated on it yet"), "{error}");
        assert_eq!(Semaphore::open(ns, KEY).unwrap().value().unwrap(), 0);
        ns.sem_remove(id.raw()).unwrap();
        assert_eq!(Semaphore::open_or_create(ns, KEY, 1).unwrap().value().unwrap(), 1);
        SemaphoreSet::open(ns, KEY).unwrap().remove().unwrap();
    });
}

#[test]
fn sets_larger_than_one_operation_get_all_values() {
    on_both("sets_larger_than_one_operation_get_all_values", |ns| {
        for first in [0, 1, 32767] {
            let values: Vec<u16> = (0..600).map(|num| if num == 0 { first } else { num + 1 }).collect();
            let set = SemaphoreSet::create_new(ns, KEY, &values).unwrap();
            assert_eq!(set.values().unwrap(), values);
            assert_ne!(set.stat().unwrap().otime, 0);
            set.remove().unwrap();
        }
        // Only values other than 0 need an operation.
        let mut values = vec![0; 600];
        values[599] = 32767;
        let set = SemaphoreSet::create_new(ns, KEY, &values).unwrap();
        assert_eq!(set.values().unwrap(), values);
        assert_eq!((set.pid(599).unwrap(), set.pid(0).unwrap()), (std::process::id() as i32, 0));
        set.remove().unwrap();
    });
}

#[test]
fn error_messages_name_the_reason() {
    on_both("error_messages_name_the_reason", |ns| {
        let failed = |error: quintet::Error| (error.errno(), error.to_string());
        let create = |values: &[u16]| failed(SemaphoreSet::open_or_create(ns, KEY, values).unwrap_err());
        assert_eq!(create(&[]), (Errno::INVAL, error("a set of 0 semaphores", "a set has at least 1 semaphore (EINVAL)")));
        assert_eq!(create(&[1, 32768]), (Errno::RANGE, error("a set of 2 semaphores", "a value is at most 32767 (ERANGE)")));
        assert_eq!(SemaphoreSet::open(ns, KEY).unwrap_err().errno(), Errno::NOENT);
        assert_eq!(SemaphoreSet::open(ns, Key::PRIVATE).unwrap_err().errno(), Errno::NOENT);

        let set = SemaphoreSet::open_or_create(ns, KEY, &[1]).unwrap();
        assert_eq!(
            create(&[1, 1]),
            (Errno::INVAL, error("a set of 2 semaphores", "a set of fewer semaphores has this key (EINVAL)"))
        );
        assert_eq!(SemaphoreSet::create_new(ns, KEY, &[1]).unwrap_err().errno(), Errno::EXIST);
        assert_eq!(SemaphoreSet::open_id(ns, set.id()).unwrap().values().unwrap(), [1]);

        let id = set.id();
        let cannot = |what: String| format!("cannot {what}");
        for (units, of) in [(0, 0), (32768, 32768), (u16::MAX, 65535)] {
            let text = cannot(format!("acquire or release {of} units of set {id}: the number must be in 1..=32767 (EINVAL)"));
            assert_eq!(failed(set.semaphore(0).acquire_many(units).unwrap_err()), (Errno::INVAL, text.clone()));
            assert_eq!(failed(set.semaphore(0).release(units).unwrap_err()), (Errno::INVAL, text));
        }
        let text = cannot(format!("operate on set {id}: it has no semaphore 3 (EFBIG)"));
        assert_eq!(failed(set.semaphore(3).acquire().unwrap_err()), (Errno::FBIG, text.clone()));
        assert_eq!(failed(set.semaphore(3).try_acquire().unwrap_err()), (Errno::FBIG, text));
        let text = cannot(format!(
            "read the value of semaphore 3 of set {id}: it does not exist (any more), or has no such semaphore (EINVAL)"
        ));
        assert_eq!(failed(set.value(3).unwrap_err()), (Errno::INVAL, text));
        let text = cannot(format!("operate on set {id}: a value would not be in 0..=32767 (ERANGE)"));
        assert_eq!(failed(set.semaphore(0).release(32767).unwrap_err()), (Errno::RANGE, text));
        let text = cannot(format!("operate on set {id}: there are no operations (EINVAL)"));
        assert_eq!(failed(set.op(&[]).unwrap_err()), (Errno::INVAL, text.clone()));
        assert_eq!(failed(set.try_op(&[]).unwrap_err()), (Errno::INVAL, text));
        let text = cannot(format!("operate on set {id}: 501 operations are more than the limit semopm, 500 (E2BIG)"));
        assert_eq!(failed(set.op(&[SemOp::new(0, 0); 501]).unwrap_err()), (Errno::TOOBIG, text));
        set.set_value(0, 32767).unwrap();
        assert_eq!(set.set_value(0, 32768).unwrap_err().errno(), Errno::RANGE);
        assert_eq!(set.set_values(&[1, 2]).unwrap_err().errno(), Errno::INVAL);
        set.set_permissions(set.stat().unwrap().perm.uid, set.stat().unwrap().perm.gid, 0o640).unwrap();
        assert_eq!(set.stat().unwrap().perm.mode, 0o640);

        set.remove().unwrap();
        assert_eq!(set.remove().unwrap_err().errno(), Errno::INVAL);
        assert_eq!(set.semaphore(0).acquire().unwrap_err().errno(), Errno::INVAL);
        assert_eq!(SemaphoreSet::open_id(ns, id).unwrap_err().errno(), Errno::INVAL);
    });
}

fn error(what: &str, why: &str) -> String {
    format!("cannot create {what} with key {KEY}: {why}")
}

#[test]
fn operations_have_a_text_form() {
    let nowait = SemFlags::NOWAIT;
    let texts = [
        (SemOp::new(0, 0), "0:0"),
        (SemOp::new(65535, 1), "65535:+1"),
        (SemOp::new(1, i16::MIN).flags(nowait), "1:-32768n"),
        (SemOp::new(2, 0).flags(nowait | SemFlags::UNDO), "2:0nu"),
    ];
    for (op, text) in texts {
        assert_eq!(op.to_string(), text);
    }
}
