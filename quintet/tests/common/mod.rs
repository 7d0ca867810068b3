//! Helpers that several tests share.
//!
//! # Safety
//!
//! The signal handler writes one byte to a pipe that stays open.
#![allow(unsafe_code)]
// Each test uses some of the helpers.
#![allow(dead_code)]

use crash::support::{Child, End, Signpost, ends_within, fork, on_signal};
use quintet::{Key, Kind, Limits, Namespace, SemFlags, SemOp};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

/// The bound for all calls of a process, to stop a test that hangs.
const SOON: Duration = Duration::from_secs(20);

/// An operation without flags.
pub fn op(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op)
}

/// An operation with `SEM_UNDO`.
pub fn undo(num: u16, n: i16) -> SemOp {
    op(num, n).flags(SemFlags::UNDO)
}

/// Creates a private namespace with one set, in a process that then exits.
pub fn create_set(path: &Path, key: Key, values: &[u16]) {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        let id = ns.semget(key, values.len() as i32, libc::IPC_CREAT | 0o600).unwrap();
        ns.sem_set_values(id.raw(), values).unwrap();
    })
    .succeeds();
}

/// Opens a namespace and the set with this key.
pub fn open_set(path: &Path, key: Key) -> (Namespace, i32) {
    let ns = Namespace::open(path).unwrap();
    let id = ns.semget(key, 0, 0).unwrap().raw();
    (ns, id)
}

/// Creates a private namespace with one queue, in a process that then exits.
pub fn create_queue(path: &Path, key: Key, capacity: u32) {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        let limits = ns.limits().unwrap();
        ns.set_limits(&Limits { msgmax: capacity, msgmnb: capacity, ..limits }).unwrap();
        ns.msgget(key, libc::IPC_CREAT | 0o600).unwrap();
    })
    .succeeds();
}

/// Opens a namespace and the queue with this key.
pub fn open_queue(path: &Path, key: Key) -> (Namespace, i32) {
    let ns = Namespace::open(path).unwrap();
    let id = ns.msgget(key, 0).unwrap().raw();
    (ns, id)
}

/// Asserts that a child exits within a bounded time and with status 0.
#[track_caller]
pub fn ends_soon(child: Child, what: &str) {
    assert!(ends_within(child.pid, SOON), "{what}: a process hangs");
    assert_eq!(child.end(), End::Exit(0), "{what}");
}

/// Runs `case` for each number, in four processes at a time: for most of the time, cases sleep.
pub fn in_parallel(numbers: RangeInclusive<u64>, case: impl Fn(u64)) {
    const WORKERS: u64 = 4;
    let work = |nth| numbers.clone().filter(|number| number % WORKERS == nth).for_each(&case);
    let workers: Vec<Child> = (0..WORKERS).map(|nth| fork(|| work(nth))).collect();
    workers.into_iter().for_each(Child::succeeds);
}

static CAUGHT: AtomicI32 = AtomicI32::new(-1);

extern "C" fn report_signal(_signal: i32) {
    // SAFETY: see the module.
    unsafe { libc::write(CAUGHT.load(SeqCst), [0u8].as_ptr().cast(), 1) };
}

/// Catches SIGUSR1, without `SA_RESTART`. The handler reports each signal to `caught`.
pub fn catch_sigusr1(caught: &Signpost) {
    CAUGHT.store(caught.write_end(), SeqCst);
    on_signal(libc::SIGUSR1, report_signal, 0);
}
