//! Many processes, threads and signal handlers make the same calls on the same segments at once.
//!
//! # Safety
//!
//! Segments are attached at addresses that the system chooses, and detached when they are not used
//! any more. The raw calls get pointers to local variables. Handlers use atomics and make the calls
//! under test.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Id, Key, Kind, Namespace, Segment};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, OnceLock};
use std::time::Duration;
use support::{Child, Signpost, alarm_every, alone, become_user, fork, is_root, names, on_signal};

const PROCESSES: usize = 8;
const KEY: Key = Key::new(0xace);

fn new_namespace(path: &Path, kind: Kind) {
    fork(|| {
        Namespace::create(path, kind).unwrap();
    })
    .succeeds();
}

/// Runs `body` in several processes that start at the same time.
fn together(path: &Path, body: &dyn Fn(usize, &Namespace)) {
    let (ready, go) = (Signpost::new(), Signpost::new());
    let children: Vec<Child> = (0..PROCESSES)
        .map(|i| {
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                ready.post(1);
                go.wait();
                body(i, &ns);
            })
        })
        .collect();
    (0..PROCESSES).for_each(|_| ready.wait());
    go.post(PROCESSES);
    children.into_iter().for_each(Child::succeeds);
}

/// Asserts that nothing is left after all segments are removed.
fn assert_empty_afterwards(path: &Path) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        ns.sweep().unwrap();
        for segment in ns.segments().unwrap() {
            assert_eq!(segment.stat.nattch, 0);
            ns.shm_remove(segment.stat.id.raw()).unwrap();
        }
        ns.sweep().unwrap();
        let usage = ns.shm_usage().unwrap();
        assert_eq!((usage.segments, usage.pages, usage.resident), (0, 0, 0));
        assert!(names(&path.join("shm")).iter().all(|name| !name.ends_with(".data")));
        assert_eq!(names(&path.join("key")), Vec::<String>::new());
        assert_eq!(ns.participants().unwrap().len(), 1);
    })
    .succeeds();
}

/// One process creates the segment; all others find it complete.
#[test]
fn exactly_one_process_creates_the_segment_of_a_key() {
    alone("exactly_one_process_creates_the_segment_of_a_key", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            let path = directory.join(format!("{kind:?}"));
            new_namespace(&path, kind);
            let results = Signpost::new();
            for round in 0..40 {
                let key = Key::new(round + 1);
                together(&path, &|i, ns| {
                    let exclusive = ns.shmget(key, 5000, libc::IPC_CREAT | libc::IPC_EXCL | 0o640);
                    match exclusive {
                        Ok(_) => {}
                        Err(e) => assert_eq!(e, Errno::EXIST),
                    }
                    // The segment exists now, and is complete.
                    let id = ns.shmget(key, if i % 2 == 0 { 0 } else { 5000 }, 0).unwrap();
                    assert!(exclusive.is_err() || exclusive == Ok(id));
                    let stat = ns.shm_stat(id.raw()).unwrap();
                    assert_eq!((stat.size, stat.perm.mode, stat.key), (5000, 0o640, key));
                    let memory = Segment::open_id(ns, id).unwrap().attach().unwrap();
                    assert_eq!(memory.len(), 5000);
                    memory.atomic_u64(8).unwrap().fetch_add(1, SeqCst);
                    memory.atomic_u64(4992).unwrap().fetch_add(1, SeqCst);
                    results.send_number(i64::from(id.raw()) << 1 | i64::from(exclusive.is_ok()));
                });
                let all: Vec<i64> = (0..PROCESSES).map(|_| results.number()).collect();
                assert_eq!(all.iter().filter(|r| *r & 1 == 1).count(), 1, "one process creates it");
                assert!(all.iter().all(|r| r >> 1 == all[0] >> 1), "all find the same segment");
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let memory = Segment::open(&ns, key).unwrap().attach().unwrap();
                    for at in [8, 4992] {
                        assert_eq!(memory.atomic_u64(at).unwrap().load(SeqCst), PROCESSES as u64);
                    }
                    // Some rounds reuse memory, and some do not.
                    if round % 2 == 0 {
                        ns.shm_remove((all[0] >> 1) as i32).unwrap();
                    }
                })
                .succeeds();
            }
            assert_empty_afterwards(&path);
        }
    });
}

/// Processes create, find, attach and remove the segment of one key. Each segment found is complete
/// and shows no old bytes.
#[test]
fn a_segment_found_during_removals_is_complete_and_clean() {
    alone("a_segment_found_during_removals_is_complete_and_clean", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            let path = directory.join(format!("{kind:?}"));
            new_namespace(&path, kind);
            together(&path, &|i, ns| {
                let mut sizes = [0; 2];
                for round in 0..300 {
                    let size = if (i + round) % 3 == 0 { 70_000 } else { 5000 };
                    let id = match ns.shmget(KEY, size, libc::IPC_CREAT | 0o600) {
                        Ok(id) => id,
                        // A smaller segment has the key.
                        Err(e) => {
                            assert_eq!((e, size), (Errno::INVAL, 70_000));
                            ns.shmget(KEY, 0, 0).unwrap_or(Id::new(0, 32767))
                        }
                    };
                    let attached = Segment::open_id(ns, id).and_then(|segment| segment.attach());
                    if let Ok(memory) = attached {
                        assert!([5000, 70_000].contains(&memory.len()), "{}", memory.len());
                        sizes[usize::from(memory.len() > 5000)] += 1;
                        // Attached processes count in the first word; no process writes the bytes
                        // in the middle.
                        memory.atomic_u64(0).unwrap().fetch_add(1, SeqCst);
                        assert_eq!(memory.to_vec(4000..4008).unwrap(), [0; 8]);
                        memory.atomic_u64(0).unwrap().fetch_sub(1, SeqCst);
                    }
                    if round % 2 == i % 2 {
                        match ns.shm_remove(id.raw()) {
                            Ok(()) => assert_ne!(ns.shmget(KEY, 0, 0), Ok(id)),
                            Err(e) => assert_eq!(e, Errno::INVAL),
                        }
                    }
                }
                assert!(sizes[0] > 0, "{sizes:?}");
            });
            assert_empty_afterwards(&path);
        }
    });
}

#[test]
fn processes_that_create_a_namespace_at_once_share_it() {
    alone("processes_that_create_a_namespace_at_once_share_it", |directory| {
        for round in 0..20 {
            let kind = if round % 2 == 0 { Kind::Private } else { Kind::Shared };
            let path = directory.join(round.to_string());
            let (ready, go, ids) = (Signpost::new(), Signpost::new(), Signpost::new());
            let children: Vec<Child> = (0..PROCESSES)
                .map(|_| {
                    fork(|| {
                        ready.post(1);
                        go.wait();
                        let ns = Namespace::create(&path, kind).unwrap();
                        assert_eq!(ns.kind(), kind);
                        ids.send_number(ns.shmget(KEY, 100, libc::IPC_CREAT | 0o600).unwrap().raw().into());
                    })
                })
                .collect();
            (0..PROCESSES).for_each(|_| ready.wait());
            go.post(PROCESSES);
            children.into_iter().for_each(Child::succeeds);
            let all: Vec<i64> = (0..PROCESSES).map(|_| ids.number()).collect();
            assert_eq!(all, vec![all[0]; PROCESSES]);
            assert_eq!(names(&path), ["key", "msg", "namespace", "registry", "sem", "shm"]);
        }
    });
}

/// Processes create both kinds at the same path. One kind is created; processes that want the other
/// get EEXIST.
#[test]
fn a_namespace_created_as_two_kinds_at_once_is_one_of_them() {
    alone("a_namespace_created_as_two_kinds_at_once_is_one_of_them", |directory| {
        use std::os::unix::fs::PermissionsExt;
        for round in 0..30 {
            let path = directory.join(round.to_string());
            let (ready, go) = (Signpost::new(), Signpost::new());
            let children: Vec<Child> = (0..PROCESSES)
                .map(|i| {
                    fork(|| {
                        let kind = if i % 2 == 0 { Kind::Private } else { Kind::Shared };
                        ready.post(1);
                        go.wait();
                        match Namespace::create(&path, kind) {
                            Ok(ns) => assert_eq!(ns.kind(), kind),
                            Err(e) => assert_eq!(e.errno(), Errno::EXIST, "{e}"),
                        }
                    })
                })
                .collect();
            (0..PROCESSES).for_each(|_| ready.wait());
            go.post(PROCESSES);
            children.into_iter().for_each(Child::succeeds);
            let mode = |name: &str| std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
            let modes = ["", "shm", "sem", "msg", "key", "namespace", "registry"].map(mode);
            fork(|| {
                let wanted = match Namespace::open(&path).unwrap().kind() {
                    Kind::Private => [0o700, 0o700, 0o700, 0o700, 0o700, 0o600, 0o600],
                    Kind::Shared => [0o777, 0o777, 0o777, 0o777, 0o777, 0o644, 0o666],
                };
                assert_eq!(modes.map(|m| format!("{m:o}")), wanted.map(|m| format!("{m:o}")));
            })
            .succeeds();
        }
    });
}

#[test]
fn exactly_one_process_removes_a_segment() {
    alone("exactly_one_process_removes_a_segment", |directory| {
        let path = directory.join("ns");
        new_namespace(&path, Kind::Private);
        let removed = Signpost::new();
        for round in 0..40 {
            let made = Signpost::new();
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                made.send_number(ns.shmget(KEY, 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap().raw().into());
            })
            .succeeds();
            let id = made.number() as i32;
            together(&path, &|_, ns| match ns.shm_remove(id) {
                Ok(()) => removed.send_number(1),
                Err(e) => {
                    assert_eq!(e, Errno::INVAL);
                    removed.send_number(0);
                }
            });
            assert_eq!((0..PROCESSES).map(|_| removed.number()).sum::<i64>(), 1, "round {round}");
        }
        assert_empty_afterwards(&path);
    });
}

/// Half of the processes attach what the others remove. An attachment stays valid, and the counts
/// add up.
#[test]
fn attachments_stay_valid_while_segments_are_removed() {
    alone("attachments_stay_valid_while_segments_are_removed", |directory| {
        let path = directory.join("ns");
        new_namespace(&path, Kind::Shared);
        together(&path, &|i, ns| {
            for _ in 0..400 {
                if i % 2 == 0 {
                    let segment = Segment::open_or_create(ns, KEY, 9000).unwrap();
                    if let Ok(memory) = segment.attach() {
                        let word = memory.atomic_u64(8192).unwrap();
                        word.fetch_add(1, SeqCst);
                        let stat = ns.shm_stat(segment.id().raw()).unwrap();
                        assert!(stat.nattch >= 1, "{stat:?}");
                        assert!(word.fetch_sub(1, SeqCst) >= 1);
                        memory.detach().unwrap();
                    }
                } else if let Ok(id) = ns.shmget(KEY, 0, 0)
                    && let Err(e) = ns.shm_remove(id.raw())
                {
                    assert_eq!(e, Errno::INVAL);
                }
            }
        });
        assert_empty_afterwards(&path);
    });
}

/// Users without permission for each other's segments create and remove segments at once.
#[test]
fn users_create_and_remove_at_once_without_interference() {
    if !is_root() {
        println!("skipped: changing users needs root");
        return;
    }
    alone("users_create_and_remove_at_once_without_interference", |directory| {
        support::open_to_all(directory);
        let path = directory.join("ns");
        new_namespace(&path, Kind::Shared);
        together(&path, &|i, _| {
            become_user(1000 + i as u32 % 3);
            let ns = Namespace::open(&path).unwrap();
            let own = Key::new(100 + i as i32);
            for round in 0..150 {
                let id = ns.shmget(own, 5000, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
                let memory = Segment::open_id(&ns, id).unwrap().attach().unwrap();
                memory.write(0, &[i as u8; 5000]).unwrap();
                assert_eq!(memory.to_vec(0..5000).unwrap(), [i as u8; 5000], "round {round}");
                memory.detach().unwrap();
                if let Ok(other) = ns.shmget(Key::new(100 + (i as i32 + 1) % 3), 0, 0) {
                    assert!([Err(Errno::PERM), Err(Errno::INVAL)].contains(&ns.shm_remove(other.raw())));
                }
                ns.shm_remove(id.raw()).unwrap();
            }
        });
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            ns.sweep().unwrap();
            assert_eq!(ns.segments().unwrap(), []);
            assert_eq!((ns.shm_usage().unwrap().segments, ns.shm_usage().unwrap().pages), (0, 0));
        })
        .succeeds();
    });
}

fn attach_at(ns: &Namespace, id: Id) -> usize {
    // SAFETY: see the module.
    unsafe { ns.shmat(id.raw(), 0, 0) }.unwrap() as usize
}

#[track_caller]
fn detach_from(ns: &Namespace, address: usize) {
    // SAFETY: see the module.
    assert_eq!(unsafe { ns.shmdt(address) }, Ok(()), "detaching at {address:#x}");
}

/// Threads of one process attach, detach and create while another thread forks.
#[test]
fn attach_counts_of_threads_add_up_while_one_forks() {
    alone("attach_counts_of_threads_add_up_while_one_forks", |directory| {
        let path = directory.join("ns");
        new_namespace(&path, Kind::Private);
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let ids = [1, 2, 3].map(|key| ns.shmget(Key::new(key), 4096 * key as u64, libc::IPC_CREAT | 0o600).unwrap());
            let held = attach_at(&ns, ids[0]);
            let barrier = Barrier::new(5);
            std::thread::scope(|scope| {
                for t in 0..4usize {
                    let (ns, barrier) = (&ns, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for round in 0..1500 {
                            let first = attach_at(ns, ids[t % 3]);
                            let second = attach_at(ns, ids[round % 3]);
                            assert!(ns.shm_stat(ids[t % 3].raw()).unwrap().nattch >= 1);
                            detach_from(ns, first);
                            detach_from(ns, second);
                            if round % 10 == t {
                                let id = ns.shmget(Key::PRIVATE, 5000, 0o600).unwrap();
                                let memory = attach_at(ns, id);
                                ns.shm_remove(id.raw()).unwrap();
                                assert!(ns.shm_stat(id.raw()).unwrap().nattch >= 1);
                                detach_from(ns, memory);
                            }
                        }
                    });
                }
                barrier.wait();
                for _ in 0..60 {
                    fork(|| {
                        // The child has its parent's attachment and can detach it.
                        detach_from(&ns, held);
                        let own = attach_at(&ns, ids[1]);
                        assert!(ns.shm_stat(ids[1].raw()).unwrap().nattch >= 1);
                        detach_from(&ns, own);
                    })
                    .succeeds();
                }
            });
            assert_eq!(ids.map(|id| ns.shm_stat(id.raw()).unwrap().nattch), [1, 0, 0]);
            detach_from(&ns, held);
        })
        .succeeds();
        assert_empty_afterwards(&path);
    });
}

/// A thread forks while another opens namespaces. The child can open one, too.
#[test]
fn a_child_forked_while_a_thread_opens_can_open() {
    alone("a_child_forked_while_a_thread_opens_can_open", |directory| {
        let path = directory.join("ns");
        new_namespace(&path, Kind::Private);
        fork(|| {
            let done = AtomicU32::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while done.load(SeqCst) == 0 {
                        Namespace::open(&path).unwrap();
                    }
                });
                for _ in 0..300 {
                    fork(|| {
                        Namespace::open(&path).unwrap();
                    })
                    .succeeds();
                }
                done.store(1, SeqCst);
            });
        })
        .succeeds();
    });
}

static NAMESPACE: OnceLock<Namespace> = OnceLock::new();
static SEGMENT: AtomicI32 = AtomicI32::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);
static KEPT: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// Makes the calls that the signal may have interrupted.
extern "C" fn handler(_: libc::c_int) {
    // SAFETY: `errno` belongs to this thread.
    let errno = unsafe { *libc::__errno_location() };
    let ns = NAMESPACE.get().unwrap();
    let id = SEGMENT.load(SeqCst);
    let n = HANDLED.fetch_add(1, SeqCst);
    // SAFETY: see the module.
    let address = unsafe { ns.shmat(id, 0, 0) }.unwrap() as usize;
    assert!(ns.shm_stat(id).unwrap().nattch >= 1);
    // Some attachments stay until a later signal.
    let old = KEPT[n as usize % KEPT.len()].swap(address, SeqCst);
    if old != 0 {
        // SAFETY: see the module.
        assert_eq!(unsafe { ns.shmdt(old) }, Ok(()));
    }
    if n.is_multiple_of(3) {
        let new = ns.shmget(Key::PRIVATE, 100, 0o600).unwrap();
        ns.shm_remove(new.raw()).unwrap();
    }
    assert!(ns.shmget(KEY, 0, 0).is_ok());
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Signals interrupt the calls at all places, and the handlers make the same calls.
#[test]
fn signal_handlers_can_make_the_interrupted_calls() {
    alone("signal_handlers_can_make_the_interrupted_calls", |directory| {
        let path = directory.join("ns");
        new_namespace(&path, Kind::Private);
        fork(|| {
            let ns = NAMESPACE.get_or_init(|| Namespace::open(&path).unwrap());
            let id = ns.shmget(KEY, 8192, libc::IPC_CREAT | 0o600).unwrap();
            SEGMENT.store(id.raw(), SeqCst);
            on_signal(libc::SIGALRM, handler, libc::SA_RESTART);
            alarm_every(Duration::from_micros(150));
            let mut rounds = 0u64;
            while HANDLED.load(SeqCst) < 4000 {
                let first = attach_at(ns, id);
                let second = attach_at(ns, id);
                let nattch = ns.shm_stat(id.raw()).unwrap().nattch;
                assert!((2..=7).contains(&nattch), "{nattch}");
                detach_from(ns, first);
                detach_from(ns, second);
                let new = ns.shmget(Key::PRIVATE, 5000, 0o600).unwrap();
                let memory = attach_at(ns, new);
                ns.shm_remove(new.raw()).unwrap();
                detach_from(ns, memory);
                ns.sweep().unwrap();
                rounds += 1;
                assert!(rounds < 10_000_000, "no signals");
            }
            alarm_every(Duration::ZERO);
            println!("{rounds} rounds, {} signals", HANDLED.load(SeqCst));
            let kept = KEPT.iter().filter(|at| at.load(SeqCst) != 0).count() as u64;
            assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, kept);
            KEPT.iter().for_each(|at| detach_from(ns, at.swap(0, SeqCst)));
            assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 0);
            assert_eq!(ns.segments().unwrap().len(), 1);
        })
        .succeeds();
        assert_empty_afterwards(&path);
    });
}

/// The same with several threads, one of which forks.
#[test]
fn signal_handlers_of_several_threads_can_make_the_interrupted_calls() {
    alone("signal_handlers_of_several_threads_can_make_the_interrupted_calls", |directory| {
        let path = directory.join("ns");
        new_namespace(&path, Kind::Private);
        fork(|| {
            let ns = NAMESPACE.get_or_init(|| Namespace::open(&path).unwrap());
            let id = ns.shmget(KEY, 8192, libc::IPC_CREAT | 0o600).unwrap();
            SEGMENT.store(id.raw(), SeqCst);
            on_signal(libc::SIGUSR1, handler, libc::SA_RESTART);
            let done = AtomicU32::new(0);
            let threads = [const { AtomicU64::new(0) }; 2];
            std::thread::scope(|scope| {
                for thread in &threads {
                    let done = &done;
                    scope.spawn(move || {
                        // SAFETY: the call takes no arguments and cannot fail.
                        thread.store(unsafe { libc::pthread_self() } as u64, SeqCst);
                        while done.load(SeqCst) == 0 {
                            let first = attach_at(ns, id);
                            let second = attach_at(ns, id);
                            detach_from(ns, second);
                            detach_from(ns, first);
                        }
                    });
                }
                support::until("both threads run", || threads.iter().all(|thread| thread.load(SeqCst) != 0));
                for i in 0..3000 {
                    // SAFETY: the threads run until `done`.
                    unsafe { libc::pthread_kill(threads[i % 2].load(SeqCst) as libc::pthread_t, libc::SIGUSR1) };
                    if i % 50 == 0 {
                        fork(|| {
                            let own = attach_at(ns, id);
                            detach_from(ns, own);
                        })
                        .succeeds();
                    }
                }
                done.store(1, SeqCst);
            });
            assert!(HANDLED.load(SeqCst) > 0);
            let kept = KEPT.iter().filter(|at| at.load(SeqCst) != 0).count() as u64;
            assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, kept);
        })
        .succeeds();
        assert_empty_afterwards(&path);
    });
}
