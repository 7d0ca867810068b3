//! One test for each defect that the hostile harness (`hostile/`) has found.
//!
//! Each writes false values to the file of one object, or to the registry. Other objects and calls
//! in progress must not suffer.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Child, Signpost, Window, alone, fork};

// Offsets: docs/format.md.
const USED: usize = 4096;
const SLOTS: usize = 16384;
const CONTROL_HEAD: usize = 8;
const CACHED_MAPPINGS: usize = 144;
const SET_HEAD: usize = 8;
const SET_LOCK: usize = 16;
const SET_PAGES: usize = 56;
const SET_DAMAGED: usize = 164;
const QUEUE_ENDS: usize = 16;
const QUEUE_HEAD: usize = 72;
const QUEUE_LISTS: [usize; 2] = [176, 184];
const QUEUE_WAITING: usize = 88;
const UNIT: usize = 128;

fn window(path: &Path, name: &str) -> Window {
    let file = path.join(name);
    let len = std::fs::metadata(&file).unwrap().len() as usize;
    Window::open(&file, 0, len).unwrap()
}

/// Creates two objects of each kind, at the indexes 0 and 1.
fn create(path: &Path, kind: Kind) {
    fork(|| {
        let ns = Namespace::create(path, kind).unwrap();
        for nth in 0..2u8 {
            let creat = libc::IPC_CREAT | 0o600;
            let key = |class: i32| Key::new(class + i32::from(nth));
            let segment = ns.shmget(key(0x10), 4096, creat).unwrap();
            Segment::open_id(&ns, segment).unwrap().attach().unwrap().write(0, &[b'a' + nth; 4096]).unwrap();
            let set = ns.semget(key(0x20), 1, creat).unwrap().raw();
            ns.sem_set_value(set, 0, 5 + i32::from(nth)).unwrap();
            let queue = ns.msgget(key(0x30), creat).unwrap().raw();
            ns.msgsnd(queue, 1, &[b'a' + nth; 10], MsgFlags::NOWAIT, None).unwrap();
            assert_eq!((segment.raw(), set, queue), (nth.into(), nth.into(), nth.into()));
        }
    })
    .succeeds();
}

#[track_caller]
fn is_unharmed(ns: &Namespace, nth: u8) {
    let id = i32::from(nth);
    let segment = Segment::open_id(ns, quintet::Id::from_raw(id).unwrap()).unwrap();
    assert_eq!(segment.attach().unwrap().to_vec(0..4096).unwrap(), [b'a' + nth; 4096]);
    assert_eq!(ns.sem_value(id, 0), Ok(5 + u16::from(nth)));
    let mut seen = Vec::new();
    ns.peek(id, |_, bytes| {
        seen.push(bytes.to_vec());
        true
    })
    .unwrap();
    assert_eq!(seen, [[b'a' + nth; 10]]);
}

/// Waits for a child that must not hang.
#[track_caller]
fn ends_soon(child: Child) {
    assert!(support::ends_within(child.pid, Duration::from_secs(30)), "it hangs");
    child.succeeds();
}

/// The registry marks indexes in use as free. Creating an object must not replace another, and a
/// sweep must not remove one.
#[test]
fn an_index_falsely_marked_free_is_not_reused() {
    alone("an_index_falsely_marked_free_is_not_reused", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for knows in [false, true] {
                let path = directory.join(format!("{kind:?}-{knows}"));
                create(&path, kind);
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    if knows {
                        is_unharmed(&ns, 0);
                    }
                    let registry = window(&path, "registry");
                    let falsify = || (0..3).for_each(|of| registry.long(USED + 4096 * of).store(0, SeqCst));
                    falsify();
                    let segment = ns.shmget(Key::PRIVATE, 4096, 0o600).unwrap();
                    let set = ns.semget(Key::PRIVATE, 1, 0o600).unwrap();
                    let queue = ns.msgget(Key::PRIVATE, 0o600).unwrap();
                    assert_eq!([segment, set, queue].map(|id| id.index()), [2; 3]);
                    (0..2).for_each(|nth| is_unharmed(&ns, nth));
                    falsify();
                    ns.sweep().unwrap();
                    (0..2).for_each(|nth| is_unharmed(&ns, nth));
                })
                .succeeds();
            }
        }
    });
}

/// A head names another object and says that it was removed. Only the object that the file belongs
/// to may be cleared.
#[test]
fn a_head_that_names_another_index_clears_only_its_own_object() {
    alone("a_head_that_names_another_index_clears_only_its_own_object", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            // Marked for destruction, being checked, destroyed, being created.
            for state in [3u64, 5, 6, 1] {
                let path = directory.join(format!("{kind:?}-{state}"));
                create(&path, kind);
                fork(|| {
                    window(&path, "shm/0").long(CONTROL_HEAD).store(1 | state << 31, SeqCst);
                    window(&path, "sem/0").long(SET_HEAD).store(1 << 32 | u64::from(state == 3), SeqCst);
                    window(&path, "msg/0").long(QUEUE_HEAD).store(1 << 32 | u64::from(state == 3), SeqCst);
                    let ns = Namespace::open(&path).unwrap();
                    let _ = ns.shm_usage();
                    for at in 0..2 {
                        let ids = [
                            ns.shm_stat_index(at, true).map(|stat| stat.id.index()),
                            ns.sem_stat_index(at, true).map(|stat| stat.id.index()),
                            ns.msg_stat_index(at, true).map(|stat| stat.id.index()),
                        ];
                        let right = |id: &Result<u16, Errno>| id.is_err() || *id == Ok(at as u16);
                        assert!(ids.iter().all(right), "{ids:?} at {at}");
                    }
                    ns.sweep().unwrap();
                    is_unharmed(&ns, 1);
                })
                .succeeds();
            }
        }
    });
}

/// The waiters of a queue that is being removed form a cyclic list.
#[test]
fn a_cyclic_list_of_waiters_does_not_hang_a_sweep() {
    alone("a_cyclic_list_of_waiters_does_not_hang_a_sweep", |directory| {
        for list in QUEUE_LISTS {
            let path = directory.join(list.to_string());
            create(&path, Kind::Private);
            let queue = window(&path, "msg/0");
            for (unit, next, previous) in [(40u64, 41u64, 0u64), (41, 40, 40)] {
                let at = unit as usize * UNIT;
                queue.long(at).store(4, SeqCst);
                queue.long(at + 16).store(next | previous << 32, SeqCst);
                queue.long(at + 48).store(2, SeqCst);
            }
            queue.long(list).store(40 | 41 << 32, SeqCst);
            queue.long(QUEUE_WAITING).store(2 | 2 << 32, SeqCst);
            queue.word(QUEUE_HEAD).store(2, SeqCst);
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                ns.sweep().unwrap();
                is_unharmed(&ns, 1);
            })
            .succeeds();
        }
    });
}

/// A message claims more bytes than it has. A process that reads the list gets the real length.
#[test]
fn a_message_that_claims_more_bytes_is_read_with_its_real_length() {
    alone("a_message_that_claims_more_bytes_is_read_with_its_real_length", |directory| {
        let path = directory.join("ns");
        create(&path, Kind::Private);
        let queue = window(&path, "msg/0");
        let first = queue.word(QUEUE_ENDS).load(SeqCst) as usize;
        for len in [11, 8192, u32::MAX] {
            queue.word(first * UNIT + 4).store(len, SeqCst);
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let looked = ns.peek(0, |stat, bytes| {
                    assert_eq!(stat.len, bytes.len());
                    true
                });
                looked.unwrap();
                is_unharmed(&ns, 1);
            })
            .succeeds();
        }
    });
}

/// A live process, which may be stopped, holds the lock of a set. Only callers that use the set
/// wait for it.
#[test]
fn a_sweep_does_not_wait_for_a_lock_of_a_live_process() {
    alone("a_sweep_does_not_wait_for_a_lock_of_a_live_process", |directory| {
        let path = directory.join("ns");
        create(&path, Kind::Private);
        let (joined, go) = (Signpost::new(), Signpost::new());
        let live = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            // Leaves an adjustment, so that a sweep has to examine the set.
            ns.semtimedop(0, &[SemOp::new(0, -1).flags(SemFlags::UNDO)], None).unwrap();
            joined.post(1);
            go.wait();
        });
        joined.wait();
        let registry = window(&path, "registry");
        let slot = (0..8).find(|slot| registry.word(SLOTS + 32 * slot + 8).load(SeqCst) == live.pid as u32).unwrap();
        let incarnation = registry.word(SLOTS + 32 * slot).load(SeqCst) & 0xffff;
        let set = window(&path, "sem/0");
        for state in [1, 2] {
            set.word(SET_HEAD).store(state, SeqCst);
            set.word(SET_LOCK).store((slot as u32 + 1) | incarnation << 15, SeqCst);
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                ns.sweep().unwrap();
                is_unharmed(&ns, 1);
            })
            .succeeds();
        }
        set.word(SET_LOCK).store(0, SeqCst);
        go.post(1);
        live.succeeds();
    });
}

/// A set claims too many or too few pages, and claims that it needs repair after a lock holder
/// exited. Blocked calls time out as they should, and the next caller finds a repaired set.
#[test]
fn a_set_with_a_false_page_count_is_repaired() {
    alone("a_set_with_a_false_page_count_is_repaired", |directory| {
        for pages in [0u32, 3, 5, 12, 0xffff, u32::MAX] {
            let path = directory.join(pages.to_string());
            create(&path, Kind::Private);
            ends_soon(fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let wait = |time| ns.semtimedop(0, &[SemOp::new(0, -100)], Some(Duration::from_millis(time)));
                assert_eq!(wait(1), Err(Errno::AGAIN));
                let set = window(&path, "sem/0");
                let falsify = || {
                    set.word(SET_PAGES).store(pages, SeqCst);
                    set.word(SET_DAMAGED).store(1, SeqCst);
                };
                falsify();
                assert_eq!(wait(1), Err(Errno::AGAIN));
                assert_eq!((set.word(SET_PAGES).load(SeqCst), set.word(SET_DAMAGED).load(SeqCst)), (4, 0));
                // The same during a call, which a signal interrupts.
                let waits = fork(|| {
                    support::on_alarm();
                    let ns = Namespace::open(&path).unwrap();
                    assert_eq!(ns.semtimedop(0, &[SemOp::new(0, -100)], None), Err(Errno::INTR));
                });
                support::until("the call blocks", || ns.sem_ncnt(0, 0) == Ok(1));
                falsify();
                waits.signal(libc::SIGALRM);
                ends_soon(waits);
                is_unharmed(&ns, 0);
                assert_eq!(ns.sem_ncnt(0, 0), Ok(0));
                // The set works again: its file grows, and a blocked call gets its units.
                let waits = fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    ns.semtimedop(0, &[SemOp::new(0, -100).flags(SemFlags::UNDO)], None).unwrap();
                });
                support::until("the call blocks", || ns.sem_ncnt(0, 0) == Ok(1));
                ns.semtimedop(0, &[SemOp::new(0, 95)], None).unwrap();
                ends_soon(waits);
                ns.sem_set_value(0, 0, 5).unwrap();
                is_unharmed(&ns, 0);
                is_unharmed(&ns, 1);
            }));
        }
    });
}

/// A control file says that an attached segment was destroyed. Its memory then reads as zeroes and
/// raises no SIGBUS.
#[test]
fn freed_memory_of_an_attached_segment_reads_as_zeroes() {
    alone("freed_memory_of_an_attached_segment_reads_as_zeroes", |directory| {
        let path = directory.join("ns");
        create(&path, Kind::Private);
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let memory = Segment::open_id(&ns, quintet::Id::new(0, 0)).unwrap().attach().unwrap();
            let control = window(&path, "shm/0");
            control.word(CACHED_MAPPINGS).store(u32::MAX, SeqCst);
            control.long(CONTROL_HEAD).store(6 << 31, SeqCst);
            fork(|| Namespace::open(&path).unwrap().sweep().unwrap()).succeeds();
            assert_eq!(memory.to_vec(0..4096).unwrap(), [0; 4096]);
            memory.write(4095, b"x").unwrap();
            is_unharmed(&ns, 1);
        })
        .succeeds();
    });
}
