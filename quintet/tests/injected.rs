//! System calls of each operation fail, one by one, in each possible way: once, or from then on.
//!
//! The operation then succeeds or returns a matching error. Other processes see the state from
//! before or after it, and the operation can be repeated. In further runs, a signal follows each
//! system call. Its handler does the same operation or a conflicting one, like another thread that
//! comes first.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

#[path = "injected/operation.rs"]
mod operation;
#[path = "injected/tracer.rs"]
mod tracer;
use crash::support;

use operation::{Act, Operation, Outcome, in_both, inject, interrupt, open};
use quintet::{Errno, Key, Kind, MsgFlags, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use support::{Window, alone, fork};

const KEY: Key = Key::new(0x1d);
const OTHER: Key = Key::new(0x2d);
const CREATE: i32 = libc::IPC_CREAT | 0o600;

#[test]
fn opening_a_namespace_survives_failing_calls() {
    let body = |path: &Path, _: Option<&Namespace>| Namespace::open(path).map(drop).map_err(|e| e.errno());
    in_both("opening_a_namespace_survives_failing_calls", Operation { body: &body, opens: false, ..Operation::default() });
}

#[test]
fn creating_a_namespace_survives_failing_calls() {
    alone("creating_a_namespace_survives_failing_calls", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            let body = |path: &Path, _: Option<&Namespace>| Namespace::create(path, kind).map(drop).map_err(|e| e.errno());
            inject(
                "creating_a_namespace_survives_failing_calls",
                directory,
                kind,
                Operation { body: &body, opens: false, exists: false, may_be_done: true, ..Operation::default() },
            );
        }
    });
}

fn create(ns: &Namespace) -> Outcome {
    ns.shmget(KEY, 9000, CREATE).map(drop)
}

#[test]
fn creating_a_segment_survives_failing_calls() {
    in_both("creating_a_segment_survives_failing_calls", Operation { body: &|_, ns| create(open(ns)), ..Operation::default() });
}

#[test]
fn creating_a_segment_from_recycled_memory_survives_failing_calls() {
    let prelude = |ns: &Namespace| ns.shm_remove(ns.shmget(OTHER, 9000, CREATE).unwrap().raw()).unwrap();
    in_both(
        "creating_a_segment_from_recycled_memory_survives_failing_calls",
        Operation { prelude: &prelude, body: &|_, ns| create(open(ns)), ..Operation::default() },
    );
}

fn setup(ns: &Namespace) {
    let id = ns.shmget(KEY, 100_000, CREATE).unwrap();
    // SAFETY: the kernel chooses the address; no other code uses it.
    let at = unsafe { ns.shmat(id.raw(), 0, 0) }.unwrap();
    // SAFETY: as above.
    unsafe {
        at.cast::<u8>().write(7);
        ns.shmdt(at as usize).unwrap();
    }
    let set = ns.semget(KEY, 4, CREATE).unwrap();
    ns.sem_set_values(set.raw(), &[1, 2, 3, 4]).unwrap();
    let queue = ns.msgget(KEY, CREATE).unwrap();
    ns.msgsnd(queue.raw(), 3, b"three", MsgFlags::empty(), None).unwrap();
    ns.msgsnd(queue.raw(), 1, &[5; 8000], MsgFlags::empty(), None).unwrap();
}

fn segment(ns: &Namespace) -> Result<i32, Errno> {
    ns.shmget(KEY, 0, 0).map(|id| id.raw())
}

fn set(ns: &Namespace) -> Result<i32, Errno> {
    ns.semget(KEY, 0, 0).map(|id| id.raw())
}

fn queue(ns: &Namespace) -> Result<i32, Errno> {
    ns.msgget(KEY, 0).map(|id| id.raw())
}

#[test]
fn finding_objects_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let ns = open(ns);
        segment(ns).and(set(ns)).and(queue(ns)).map(drop)
    };
    in_both("finding_objects_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn attaching_a_segment_survives_failing_calls() {
    // SAFETY: the kernel chooses the address.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmat(0, 0, 0) }.map(drop);
    in_both("attaching_a_segment_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn attaching_from_a_cached_mapping_survives_failing_calls() {
    // SAFETY: the kernel chooses the addresses.
    let attach = |ns: &Namespace| unsafe { ns.shmat(0, 0, 0) }.map(drop);
    let prelude = |ns: &Namespace| (0..2).for_each(|_| attach(ns).unwrap());
    let body = |_: &Path, ns: Option<&Namespace>| attach(open(ns));
    in_both(
        "attaching_from_a_cached_mapping_survives_failing_calls",
        Operation { setup: &setup, prelude: &prelude, body: &body, ..Operation::default() },
    );
}

/// The address at which the prelude has attached the segment.
static AT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn attach(ns: &Namespace) {
    // SAFETY: the kernel chooses the address.
    AT.store(unsafe { ns.shmat(0, 0, 0) }.unwrap() as usize, SeqCst);
}

/// More attachments than the first list of the process has room for.
const MANY: usize = 32;

fn attach_many(ns: &Namespace) {
    (0..MANY).for_each(|_| attach(ns));
}

#[test]
fn attaching_beyond_the_first_list_survives_failing_calls() {
    // SAFETY: the kernel chooses the address.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmat(0, 0, 0) }.map(drop);
    in_both(
        "attaching_beyond_the_first_list_survives_failing_calls",
        Operation { setup: &setup, prelude: &attach_many, body: &body, ..Operation::default() },
    );
}

/// Makes this process one of many participants: the slots before its own belong to live ones.
fn crowd(ns: &Namespace) {
    use std::os::fd::AsRawFd;
    const OTHERS: usize = 1000;
    let path = ns.path().unwrap().join("registry");
    let registry = Window::open(&path, 0, 16384 + 32 * OTHERS).unwrap();
    (0..OTHERS).for_each(|slot| registry.word(16384 + 32 * slot + 4).store(1, SeqCst));
    registry.word(16).store(OTHERS as u32, SeqCst);
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: zeroes are a valid `flock`, in a local variable. The descriptor stays open.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, 1 << 40, OTHERS as i64);
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock), 0);
    }
    std::mem::forget(file);
    // The process takes its slot when it uses another segment.
    let other = ns.shmget(OTHER, 1, CREATE).unwrap().raw();
    // SAFETY: the kernel chooses the address.
    unsafe { ns.shmat(other, 0, 0) }.unwrap();
}

#[test]
fn attaching_as_one_of_many_participants_survives_failing_calls() {
    // SAFETY: the kernel chooses the address.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmat(0, 0, 0) }.map(drop);
    in_both(
        "attaching_as_one_of_many_participants_survives_failing_calls",
        Operation { setup: &setup, prelude: &crowd, body: &body, ..Operation::default() },
    );
}

#[test]
fn detaching_a_segment_survives_failing_calls() {
    // SAFETY: no code uses the memory.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmdt(AT.load(SeqCst)) };
    in_both(
        "detaching_a_segment_survives_failing_calls",
        Operation { setup: &setup, prelude: &attach, body: &body, ..Operation::default() },
    );
}

#[test]
fn detaching_from_a_removed_segment_survives_failing_calls() {
    let prelude = |ns: &Namespace| {
        attach(ns);
        ns.shm_remove(0).unwrap();
    };
    // SAFETY: no code uses the memory.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmdt(AT.load(SeqCst)) };
    in_both(
        "detaching_from_a_removed_segment_survives_failing_calls",
        Operation { setup: &setup, prelude: &prelude, body: &body, ..Operation::default() },
    );
}

#[test]
fn removing_a_segment_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).shm_remove(0);
    in_both("removing_a_segment_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn changing_the_permissions_of_a_segment_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let stat = open(ns).shm_stat(0)?.perm;
        open(ns).shm_set(0, stat.uid, stat.gid, 0o640)
    };
    in_both(
        "changing_the_permissions_of_a_segment_survives_failing_calls",
        Operation { setup: &setup, body: &body, ..Operation::default() },
    );
}

#[test]
fn changing_the_permissions_of_a_set_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let stat = open(ns).sem_stat(0)?.perm;
        open(ns).sem_set(0, stat.uid, stat.gid, 0o640)
    };
    in_both(
        "changing_the_permissions_of_a_set_survives_failing_calls",
        Operation { setup: &setup, body: &body, ..Operation::default() },
    );
}

#[test]
fn changing_the_permissions_of_a_queue_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let stat = open(ns).msg_stat(0)?;
        open(ns).msg_set(0, stat.perm.uid, stat.perm.gid, 0o640, stat.capacity)
    };
    in_both(
        "changing_the_permissions_of_a_queue_survives_failing_calls",
        Operation { setup: &setup, body: &body, ..Operation::default() },
    );
}

#[test]
fn creating_a_set_survives_failing_calls() {
    in_both(
        "creating_a_set_survives_failing_calls",
        Operation { body: &|_, ns| open(ns).semget(KEY, 600, CREATE).map(drop), ..Operation::default() },
    );
}

#[test]
fn removing_a_set_survives_failing_calls() {
    in_both(
        "removing_a_set_survives_failing_calls",
        Operation { setup: &setup, body: &|_, ns| open(ns).sem_remove(0), ..Operation::default() },
    );
}

fn semop(ns: &Namespace, ops: &[SemOp]) -> Outcome {
    ns.semtimedop(0, ops, None)
}

#[test]
fn operating_on_semaphores_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| semop(open(ns), &[SemOp::new(0, -1), SemOp::new(1, 3)]);
    in_both("operating_on_semaphores_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn operating_with_undo_survives_failing_calls() {
    let undo = |num, op| SemOp::new(num, op).flags(SemFlags::UNDO);
    let body = |_: &Path, ns: Option<&Namespace>| semop(open(ns), &[undo(0, -1), undo(1, 300)]);
    in_both("operating_with_undo_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn setting_all_values_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).sem_set_values(0, &[9, 8, 7, 6]);
    in_both("setting_all_values_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn creating_a_queue_survives_failing_calls() {
    in_both(
        "creating_a_queue_survives_failing_calls",
        Operation { body: &|_, ns| open(ns).msgget(KEY, CREATE).map(drop), ..Operation::default() },
    );
}

#[test]
fn removing_a_queue_survives_failing_calls() {
    in_both(
        "removing_a_queue_survives_failing_calls",
        Operation { setup: &setup, body: &|_, ns| open(ns).msg_remove(0), ..Operation::default() },
    );
}

#[test]
fn sending_a_short_message_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).msgsnd(0, 2, b"two", MsgFlags::NOWAIT, None);
    in_both("sending_a_short_message_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn sending_a_long_message_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).msgsnd(0, 2, &[6; 8192], MsgFlags::NOWAIT, None);
    in_both("sending_a_long_message_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn receiving_a_message_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let mut buffer = vec![0; 10_000];
        open(ns).msgrcv(0, &mut buffer, 1, MsgFlags::NOWAIT, None).map(|got| assert_eq!(got, (1, 8000)))
    };
    in_both("receiving_a_message_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn listing_all_objects_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let ns = open(ns);
        ns.segments().map_err(|e| e.errno())?;
        ns.sets()?;
        ns.queues()?;
        ns.participants()?;
        ns.shm_stat(0).map(drop)
    };
    in_both("listing_all_objects_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn sweeping_survives_failing_calls() {
    let prelude = |ns: &Namespace| {
        let path = ns.path().unwrap().to_owned();
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            attach(&ns);
            semop(&ns, &[SemOp::new(0, 5).flags(SemFlags::UNDO)]).unwrap();
        })
        .succeeds();
    };
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).sweep();
    in_both(
        "sweeping_survives_failing_calls",
        Operation { setup: &setup, prelude: &prelude, body: &body, ..Operation::default() },
    );
}

#[test]
fn setting_limits_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let mut limits = open(ns).limits()?;
        limits.shmmni = 7;
        open(ns).set_limits(&limits)
    };
    in_both("setting_limits_survives_failing_calls", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn forking_while_attached_survives_failing_calls() {
    let body = |_: &Path, _: Option<&Namespace>| {
        // SAFETY: the child only exits; the process has one thread.
        match unsafe { libc::fork() } {
            0 => support::exit(0),
            -1 => Err(Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap())),
            pid => {
                let mut status = 0;
                // SAFETY: points to a local variable.
                while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
                assert_eq!(status, 0);
                Ok(())
            }
        }
    };
    in_both(
        "forking_while_attached_survives_failing_calls",
        Operation { setup: &setup, prelude: &attach, body: &body, ..Operation::default() },
    );
}

/// Runs `body` while the process has no free descriptor. The library then uses a thread with its
/// own descriptor table.
fn without_descriptors(body: impl FnOnce() -> Outcome) -> Outcome {
    // SAFETY: points to local variables.
    unsafe {
        let mut before: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before), 0);
        let free = libc::dup(1);
        assert!(free > 2);
        libc::close(free);
        let none = libc::rlimit { rlim_cur: free as u64, ..before };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none), 0);
        let outcome = body();
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before), 0);
        outcome
    }
}

#[test]
fn creating_a_segment_without_a_descriptor_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| without_descriptors(|| create(open(ns)));
    in_both("creating_a_segment_without_a_descriptor_survives_failing_calls", Operation { body: &body, ..Operation::default() });
}

#[test]
fn attaching_a_segment_without_a_descriptor_survives_failing_calls() {
    // SAFETY: the kernel chooses the address.
    let body = |_: &Path, ns: Option<&Namespace>| without_descriptors(|| unsafe { open(ns).shmat(0, 0, 0) }.map(drop));
    in_both(
        "attaching_a_segment_without_a_descriptor_survives_failing_calls",
        Operation { setup: &setup, body: &body, ..Operation::default() },
    );
}

#[test]
fn removing_a_segment_without_a_descriptor_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| without_descriptors(|| open(ns).shm_remove(0));
    in_both(
        "removing_a_segment_without_a_descriptor_survives_failing_calls",
        Operation { setup: &setup, body: &body, ..Operation::default() },
    );
}

#[test]
fn sending_a_message_without_a_descriptor_survives_failing_calls() {
    let body =
        |_: &Path, ns: Option<&Namespace>| without_descriptors(|| open(ns).msgsnd(0, 2, &[6; 8192], MsgFlags::NOWAIT, None));
    in_both(
        "sending_a_message_without_a_descriptor_survives_failing_calls",
        Operation { setup: &setup, body: &body, ..Operation::default() },
    );
}

#[test]
fn removing_an_attached_segment_survives_failing_calls() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).shm_remove(0);
    in_both(
        "removing_an_attached_segment_survives_failing_calls",
        Operation { setup: &setup, prelude: &attach, body: &body, ..Operation::default() },
    );
}

/// Runs pairs of an operation and a handler, in processes that have just opened the namespace or
/// have used it before.
#[test]
fn handlers_can_interrupt_after_any_system_call() {
    // SAFETY: the kernel chooses the address.
    let attach_it = |ns: &Namespace| unsafe { ns.shmat(0, 0, 0) }.map(drop);
    let undo = |ns: &Namespace| semop(ns, &[SemOp::new(0, 1).flags(SemFlags::UNDO), SemOp::new(3, 300).flags(SemFlags::UNDO)]);
    let send = |ns: &Namespace| ns.msgsnd(0, 2, &[6; 3000], MsgFlags::NOWAIT, None);
    let receive = |ns: &Namespace| ns.msgrcv(0, &mut [0; 10_000], 0, MsgFlags::NOWAIT, None).map(drop);
    let create_all = |ns: &Namespace| {
        let key = Key::PRIVATE;
        ns.shmget(key, 100, CREATE).and(ns.semget(key, 2, CREATE)).and(ns.msgget(key, CREATE)).map(drop)
    };
    let remove_set_and_queue = |ns: &Namespace| ns.sem_remove(0).and(ns.msg_remove(0));
    let read_state = |ns: &Namespace| ns.sets().and(ns.queues()).and(ns.shm_stat(0)).map(drop);
    let nothing: fn(&Namespace) = |_| {};
    let once: fn(&Namespace) = attach;
    // More messages than one mapping covers.
    let many_messages = |ns: &Namespace| {
        setup(ns);
        (0..2100).for_each(|_| ns.msgsnd(0, 9, b"", MsgFlags::NOWAIT, None).unwrap());
    };
    type Before = fn(&Namespace);
    let shapes: [(&str, Before, Before, Act, Act); 10] = [
        ("attaching first", setup, nothing, attach_it, attach_it),
        ("attaching the second time", setup, once, attach_it, attach_it),
        ("attaching very often", setup, attach_many, attach_it, attach_it),
        ("undo", setup, nothing, undo, undo),
        ("sending", setup, nothing, send, send),
        ("sending to a long queue", many_messages, nothing, send, send),
        ("receiving_a_message_survives_failing_calls", setup, nothing, receive, receive),
        ("creating", setup, nothing, create_all, create_all),
        ("reading the state while it is removed", setup, nothing, read_state, remove_set_and_queue),
        ("creating while others are removed", setup, nothing, create_all, remove_set_and_queue),
    ];
    alone("handlers_can_interrupt_after_any_system_call", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for (name, setup, prelude, act, handler) in shapes {
                let body = |_: &Path, ns: Option<&Namespace>| act(open(ns));
                let operation =
                    Operation { setup: &setup, prelude: &prelude, body: &body, handler: Some(handler), ..Operation::default() };
                interrupt(name, directory, kind, operation);
            }
        }
    });
}
