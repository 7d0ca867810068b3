//! A namespace whose directory is removed while calls wait in it. What is mapped goes on working; but if the holder of a lock has died with
//! the directory, nobody can be asked any more whether he lives, and the calls that need that lock end.

use crash::support;

use quintet::{Errno, Key, Kind, MsgFlags, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Child, QUEUE_LOCK, SET_LOCK, Window, alone, exit, fork, lock_word_of, until};

const KEY: Key = Key::new(0x60e);
const CREATE: i32 = libc::IPC_CREAT | 0o600;

/// What a waiting call of a process of its own has answered, for the exit status.
fn waiter(path: &Path, call: impl FnOnce(&Namespace) -> Result<(), Errno>) -> Child {
    fork(|| exit(call(&Namespace::open(path).unwrap()).map_or_else(Errno::raw, |()| 0)))
}

fn ends_with(child: Child, errno: Errno) {
    assert_eq!(child.end(), support::End::Exit(errno.raw()));
}

/// The word of a lock held by somebody who has died.
fn a_dead_ones(path: &Path, ns: &Namespace) -> u32 {
    let set = ns.semget(Key::PRIVATE, 1, CREATE).unwrap().raw();
    let dead = fork(|| Namespace::open(path).unwrap().semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO)], None).unwrap());
    let pid = dead.pid;
    dead.succeeds();
    ns.sem_remove(set).unwrap();
    lock_word_of(path, pid)
}

/// Whether the only set, or queue, has so many waiting.
fn until_waiting(ns: &Namespace, n: usize) {
    until("all wait", || {
        let sets = ns.sets().unwrap().iter().map(|set| set.waiters.len()).sum::<usize>();
        sets + ns.queues().unwrap().iter().map(|queue| queue.waiters.len()).sum::<usize>() == n
    });
}

#[test]
fn a_set_whose_lock_is_a_dead_ones() {
    alone("a_set_whose_lock_is_a_dead_ones", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.semget(KEY, 1, CREATE).unwrap().raw();
        let wait = |timeout| waiter(&path, move |ns| ns.semtimedop(id, &[SemOp::new(0, -1)], timeout));
        let (for_ever, in_time) = (wait(None), wait(Some(Duration::from_secs(2))));
        until_waiting(&ns, 2);
        let file = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        let dead = a_dead_ones(&path, &ns);
        std::fs::remove_dir_all(&path).unwrap();
        file.word(SET_LOCK).store(dead, SeqCst);
        ends_with(in_time, Errno::IDRM);
        ends_with(for_ever, Errno::IDRM);
    });
}

#[test]
fn a_queue_whose_lock_is_a_dead_ones() {
    alone("a_queue_whose_lock_is_a_dead_ones", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, CREATE).unwrap().raw();
        let wait = |timeout| waiter(&path, move |ns| ns.msgrcv(id, &mut [0; 8], 0, MsgFlags::empty(), timeout).map(drop));
        let (for_ever, in_time) = (wait(None), wait(Some(Duration::from_secs(2))));
        until_waiting(&ns, 2);
        let file = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        let dead = a_dead_ones(&path, &ns);
        std::fs::remove_dir_all(&path).unwrap();
        file.long(QUEUE_LOCK).store(u64::from(dead), SeqCst);
        ends_with(in_time, Errno::IDRM);
        ends_with(for_ever, Errno::IDRM);
    });
}

#[test]
fn what_is_mapped_goes_on() {
    alone("what_is_mapped_goes_on", |directory| {
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
