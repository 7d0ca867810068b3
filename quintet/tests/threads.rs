//! Threads of one process share a namespace and its objects, and their results add up.
//!
//! Giving a unit and sending a message are release operations; taking the unit and receiving the
//! message are acquire operations. Some memory here has no other protection. The thread sanitizer
//! checks this (`cargo xtask sanitize`).
#![allow(unsafe_code)]

use quintet::{Attachment, Errno, Id, Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::cell::UnsafeCell;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const KEY: Key = Key::new(0x7e4d);
const THREADS: u64 = 4;
const ROUNDS: u64 = 300;
const GET: i32 = libc::IPC_CREAT | 0o600;
/// Stops a test that hangs.
const BOUND: Option<Duration> = Some(Duration::from_secs(60));

/// Memory that only the objects under test protect.
struct Guarded<T>(UnsafeCell<T>);

// SAFETY: a thread accesses the value only while it has the unit, or the message, that grants
// access.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    fn new(value: T) -> Guarded<T> {
        Guarded(UnsafeCell::new(value))
    }

    fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the caller has exclusive access; this is what the test checks.
        body(unsafe { &mut *self.0.get() })
    }
}

fn namespaces() -> (tempfile::TempDir, [PathBuf; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let paths = [("private", Kind::Private), ("shared", Kind::Shared)].map(|(name, kind)| {
        let path = directory.path().join(name);
        Namespace::create(&path, kind).unwrap();
        path
    });
    (directory, paths)
}

/// Runs `body` in all threads at once, each with its own handle and number. Returns what they
/// return.
fn at_once<T: Send>(path: &Path, body: impl Fn(&Namespace, u64) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        let (start, body) = (&start, &body);
        let threads = (0..THREADS).map(|number| {
            scope.spawn(move || {
                start.wait();
                body(&Namespace::open(path).unwrap(), number)
            })
        });
        // Joins each thread explicitly: the thread sanitizer does not see the end of a scope.
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn op(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op).flags(SemFlags::UNDO)
}

#[test]
fn a_semaphore_protects_plain_memory() {
    let (_directory, paths) = namespaces();
    for path in &paths {
        let ns = Namespace::open(path).unwrap();
        let id = ns.semget(KEY, 2, GET).unwrap().raw();
        ns.sem_set_value(id, 0, 1).unwrap();
        let sum = Guarded::new(0u64);
        at_once(path, |ns, number| {
            for round in 0..ROUNDS {
                // With one operation, or with several.
                let (take, give) = match (number + round) % 2 {
                    0 => (&[op(0, -1)][..], &[op(0, 1)][..]),
                    _ => (&[op(0, -1), op(1, 1)][..], &[op(1, -1), op(0, 1)][..]),
                };
                ns.semtimedop(id, take, BOUND).unwrap();
                sum.with(|sum| *sum += 1);
                ns.semtimedop(id, give, BOUND).unwrap();
            }
        });
        assert_eq!(sum.with(|sum| *sum), THREADS * ROUNDS);
        assert_eq!(ns.sem_values(id), Ok(vec![1, 0]));
        let sets = ns.sets().unwrap();
        assert_eq!((sets[0].undo.len(), sets[0].waiters.len()), (0, 0), "all units are back");
    }
}

#[test]
fn a_message_passes_plain_memory_on() {
    let (_directory, paths) = namespaces();
    for path in &paths {
        let ns = Namespace::open(path).unwrap();
        let id = ns.msgget(KEY, GET).unwrap().raw();
        // The queue has room for a few messages, so that senders block, too.
        ns.msg_set(id, ns.msg_stat(id).unwrap().perm.uid, ns.msg_stat(id).unwrap().perm.gid, 0o600, 200).unwrap();
        let slots: Vec<Guarded<u64>> = (0..THREADS * ROUNDS).map(|_| Guarded::new(0)).collect();
        let received = AtomicU64::new(0);
        let half = THREADS / 2;
        at_once(path, |ns, number| {
            for round in 0..ROUNDS {
                if number < half {
                    let nth = number * ROUNDS + round;
                    slots[nth as usize].with(|slot| *slot = nth + 1);
                    let data = nth.to_le_bytes().repeat(1 + round as usize % 3);
                    ns.msgsnd(id, 1 + (nth % 7) as i64, &data, MsgFlags::empty(), BOUND).unwrap();
                } else {
                    let mut buffer = [0; 64];
                    let wanted = if round % 2 == 0 { 0 } else { -7 };
                    let (_, len) = ns.msgrcv(id, &mut buffer, wanted, MsgFlags::empty(), BOUND).unwrap();
                    let nth = u64::from_le_bytes(buffer[..8].try_into().unwrap());
                    assert_eq!(buffer[..len], nth.to_le_bytes().repeat(len / 8)[..]);
                    // `take` clears the slot: a second receipt would add 0.
                    received.fetch_add(slots[nth as usize].with(std::mem::take), SeqCst);
                }
            }
        });
        let sent = half * ROUNDS;
        assert_eq!(received.load(SeqCst), sent * (sent + 1) / 2);
        let stat = ns.msg_stat(id).unwrap();
        assert_eq!((stat.messages, stat.bytes), (0, 0));
    }
}

#[test]
fn attach_counts_of_concurrent_threads_add_up() {
    let (_directory, paths) = namespaces();
    for path in &paths {
        let ns = Namespace::open(path).unwrap();
        let id = ns.shmget(KEY, 4096, GET).unwrap();
        let attach = |ns: &Namespace| -> Attachment { Segment::open_id(ns, id).unwrap().attach().unwrap() };
        at_once(path, |ns, number| {
            let kept = attach(ns);
            for round in 0..ROUNDS {
                let memory = attach(ns);
                let counted = ns.shm_stat(id.raw()).unwrap().nattch;
                assert!((2..=2 * THREADS).contains(&counted), "{counted}");
                memory.write(8 * number as usize, &round.to_le_bytes()).unwrap();
                let mut seen = [0; 8];
                kept.read(8 * number as usize, &mut seen).unwrap();
                assert_eq!(u64::from_le_bytes(seen), round);
            }
        });
        assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 0);
        let memory = attach(&ns);
        ns.shm_remove(id.raw()).unwrap();
        assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 1);
        drop(memory);
        assert_eq!(ns.shm_stat(id.raw()), Err(Errno::INVAL));
    }
}

#[test]
fn exactly_one_thread_creates_and_one_removes_an_object() {
    let (_directory, paths) = namespaces();
    for path in &paths {
        let ns = Namespace::open(path).unwrap();
        let turn = Barrier::new(THREADS as usize);
        let rounds = ROUNDS as usize / 10;
        let told = at_once(path, |ns, _| {
            let (mut made, mut gone) = (Vec::new(), Vec::new());
            // Collects results without asserting: a thread that panics would leave the others at
            // the barrier.
            for _ in 0..rounds {
                let flags = GET | libc::IPC_EXCL;
                let got = [ns.shmget(KEY, 100, flags), ns.semget(KEY, 3, flags), ns.msgget(KEY, flags)];
                made.extend(got.map(|got| got.map(drop)));
                turn.wait();
                let found = [ns.shmget(KEY, 0, 0), ns.semget(KEY, 0, 0), ns.msgget(KEY, 0)];
                let [segment, set, queue] = found.map(|id| id.map_or(-1, Id::raw));
                turn.wait();
                gone.extend([ns.shm_remove(segment), ns.sem_remove(set), ns.msg_remove(queue)]);
                turn.wait();
            }
            (made, gone)
        });
        // One thread creates and one removes each object. The others get EEXIST and EINVAL.
        let (made, gone): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        for (told, otherwise) in [(made.concat(), Errno::EXIST), (gone.concat(), Errno::INVAL)] {
            let (done, refused): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
            assert_eq!(done.len(), 3 * rounds);
            assert_eq!(refused, vec![Err(otherwise); 3 * rounds * (THREADS as usize - 1)]);
        }
        assert_eq!(ns.segments().unwrap().len() + ns.sets().unwrap().len() + ns.queues().unwrap().len(), 0);
    }
}

#[test]
fn removal_wakes_blocked_threads_with_eidrm() {
    let (_directory, paths) = namespaces();
    for path in &paths {
        let ns = Namespace::open(path).unwrap();
        let set = ns.semget(KEY, 1, GET).unwrap().raw();
        let queue = ns.msgget(KEY, GET).unwrap().raw();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| ns.semtimedop(set, &[op(0, -1)], BOUND));
            let receives = scope.spawn(|| ns.msgrcv(queue, &mut [0; 8], 0, MsgFlags::empty(), BOUND));
            while ns.sem_ncnt(set, 0) != Ok(1) || ns.queues().unwrap()[0].waiters.len() != 1 {
                std::thread::yield_now();
            }
            assert_eq!((ns.sem_remove(set), ns.msg_remove(queue)), (Ok(()), Ok(())));
            assert_eq!(waits.join().unwrap(), Err(Errno::IDRM));
            assert_eq!(receives.join().unwrap(), Err(Errno::IDRM));
        });
    }
}

#[test]
fn threads_can_create_a_namespace_at_the_same_time() {
    let directory = tempfile::tempdir().unwrap();
    let start = Barrier::new(THREADS as usize);
    for round in 0..20 {
        let path = directory.path().join(round.to_string());
        std::thread::scope(|scope| {
            let threads = (0..THREADS).map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let ns = Namespace::create(&path, Kind::Private).unwrap();
                    ns.semget(KEY, 1, GET).unwrap();
                    assert_eq!(Namespace::open(&path).unwrap().semget(KEY, 1, 0), ns.semget(KEY, 1, 0));
                })
            });
            threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        });
        let ns = Namespace::open(&path).unwrap();
        assert_eq!((ns.sets().unwrap().len(), ns.participants().unwrap().len()), (1, 1));
        ns.destroy(false).unwrap();
    }
}
