//! The directory of a namespace is removed while calls block in it. Mapped objects continue to
//! work.
//!
//! If the holder of a lock exited, too, no file shows any more whether the holder is alive.
//! Calls that need that lock fail.

use crash::support;

use quintet::{Errno, Key, Kind, MsgFlags, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Child, QUEUE_LOCK, SET_LOCK, Window, alone, exit, fork, lock_word_of, until};

const KEY: Key = Key::new(0x60e);
const CREATE: i32 = libc::IPC_CREAT | 0o600;

/// Runs `call` in a child process, which exits with the call's error number, or with 0.
fn waiter(path: &Path, call: impl FnOnce(&Namespace) -> Result<(), Errno>) -> Child {
    fork(|| exit(call(&Namespace::open(path).unwrap()).map_or_else(Errno::raw, |()| 0)))
}

fn ends_with(child: Child, errno: Errno) {
    assert_eq!(child.end(), support::End::Exit(errno.raw()));
}

/// Returns the lock word of a participant that exited.
fn exited_holder(path: &Path, ns: &Namespace) -> u32 {
    let set = ns.semget(Key::PRIVATE, 1, CREATE).unwrap().raw();
    let holder =
        fork(|| Namespace::open(path).unwrap().semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO)], None).unwrap());
    let pid = holder.pid;
    holder.succeeds();
    ns.sem_remove(set).unwrap();
    lock_word_of(path, pid)
}

/// Waits until `n` calls block in the objects of the namespace.
fn until_waiting(ns: &Namespace, n: usize) {
    until("all calls block", || {
        let sets = ns.sets().unwrap().iter().map(|set| set.waiters.len()).sum::<usize>();
        sets + ns.queues().unwrap().iter().map(|queue| queue.waiters.len()).sum::<usize>() == n
    });
}

#[test]
fn operations_fail_if_the_holder_of_the_set_lock_exited() {
    alone("operations_fail_if_the_holder_of_the_set_lock_exited", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.semget(KEY, 1, CREATE).unwrap().raw();
        let wait = |timeout| waiter(&path, move |ns| ns.semtimedop(id, &[SemOp::new(0, -1)], timeout));
        let (forever, in_time) = (wait(None), wait(Some(Duration::from_secs(2))));
        until_waiting(&ns, 2);
        let file = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        let exited = exited_holder(&path, &ns);
        std::fs::remove_dir_all(&path).unwrap();
        file.word(SET_LOCK).store(exited, SeqCst);
        ends_with(in_time, Errno::IDRM);
        ends_with(forever, Errno::IDRM);
    });
}

#[test]
fn receives_fail_if_the_holder_of_the_queue_lock_exited() {
    alone("receives_fail_if_the_holder_of_the_queue_lock_exited", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, CREATE).unwrap().raw();
        let wait = |timeout| waiter(&path, move |ns| ns.msgrcv(id, &mut [0; 8], 0, MsgFlags::empty(), timeout).map(drop));
        let (forever, in_time) = (wait(None), wait(Some(Duration::from_secs(2))));
        until_waiting(&ns, 2);
        let file = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        let exited = exited_holder(&path, &ns);
        std::fs::remove_dir_all(&path).unwrap();
        file.long(QUEUE_LOCK).store(u64::from(exited), SeqCst);
        ends_with(in_time, Errno::IDRM);
        ends_with(forever, Errno::IDRM);
    });
}

#[test]
fn mapped_objects_work_without_their_directory() {
    alone("mapped_objects_work_without_their_directory", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let (set, queue) = (ns.semget(KEY, 1, CREATE).unwrap().raw(), ns.msgget(KEY, CREATE).unwrap().raw());
        let taker = waiter(&path, move |ns| ns.semtimedop(set, &[SemOp::new(0, -1)], None));
        let reader = waiter(&path, move |ns| ns.msgrcv(queue, &mut [0; 8], 0, MsgFlags::empty(), None).map(drop));
        until_waiting(&ns, 2);
        std::fs::remove_dir_all(&path).unwrap();
        ns.semtimedop(set, &[SemOp::new(0, 1)], None).unwrap();
        ns.msgsnd(queue, 1, b"hello", MsgFlags::empty(), None).unwrap();
        taker.succeeds();
        reader.succeeds();
    });
}
