//! The calls of a single process.

use crate::common::turns::{Batch, timed};
use crate::side::{Message, Owned, Side};
use libc::{IPC_CREAT, IPC_EXCL, IPC_NOWAIT, IPC_PRIVATE, MSG_NOERROR, c_int};
use std::hint::black_box;

const CREATE: c_int = IPC_CREAT | IPC_EXCL | 0o600;

type SetUp<'a> = Box<dyn Fn(&'a Side) -> Batch<'a> + 'a>;

pub struct Case<'a> {
    pub name: String,
    /// Quintet's side; the other one is the kernel's.
    pub side: &'a Side,
    /// Prepares the case on a side; what it needs lives as long as the batch.
    pub set_up: SetUp<'a>,
}

/// Returns all cases; `private` and `shared` are Quintet on a namespace of that kind.
pub fn cases<'a>(private: &'a Side, shared: &'a Side) -> Vec<Case<'a>> {
    let case = |side: &'a Side, name: &str, set_up| Case { name: name.into(), side, set_up };
    let on = |name: &str, set_up| case(private, name, set_up);
    vec![
        // The same on both sides: shows how far the ratio can be trusted, and the cost of a system
        // call.
        on("(floor: getppid)", Box::new(|_| watched(std::os::unix::process::parent_id))),
        on("msgsnd + msgrcv, 0 B", Box::new(|side| pair(side, 0))),
        on("msgsnd + msgrcv, 64 B", Box::new(|side| pair(side, 64))),
        on("msgsnd + msgrcv, 1 KiB", Box::new(|side| pair(side, 1024))),
        on("msgsnd + msgrcv, 8 KiB", Box::new(|side| pair(side, 8192))),
        on("msgsnd + msgrcv, 8 KiB, cut to 64 B by MSG_NOERROR", Box::new(cut)),
        on("msgsnd, IPC_NOWAIT, the queue is full", Box::new(full)),
        on("msgrcv, IPC_NOWAIT, no message", Box::new(empty)),
        on("msgrcv, IPC_NOWAIT, none of this type among 100", Box::new(none_of_this_type)),
        on("IPC_STAT", Box::new(stat)),
        on("msgget, existing key", Box::new(|side| find(side, 1))),
        on("msgget, existing key, one of 1000", Box::new(|side| find(side, 1000))),
        on("create + remove, private", Box::new(|side| timed(move || side.get(IPC_PRIVATE, CREATE).remove()))),
        on("create + send 64 B + receive + remove, private", Box::new(life)),
        on("create + remove, key", Box::new(keyed_life)),
        case(shared, "create + remove, key, shared namespace", Box::new(keyed_life)),
    ]
}

/// Times an operation and discards its result.
fn watched<'a, T>(mut op: impl FnMut() -> T + 'a) -> Batch<'a> {
    timed(move || {
        black_box(op());
    })
}

/// A repeated operation on a queue.
fn with<'a>(owned: Owned<'a>, mut op: impl FnMut(&Owned<'a>) + 'a) -> Batch<'a> {
    timed(move || op(&owned))
}

fn pair(side: &Side, len: usize) -> Batch<'_> {
    let (sent, mut received) = (Message::new(1), Message::new(0));
    with(side.private(), move |queue| {
        queue.0.send(&sent, len);
        assert!(queue.0.receive(&mut received, len, 0, 0) == len);
    })
}

fn cut(side: &Side) -> Batch<'_> {
    let (sent, mut received) = (Message::new(1), Message::new(0));
    with(side.private(), move |queue| {
        queue.0.send(&sent, 8192);
        assert!(queue.0.receive(&mut received, 64, 0, MSG_NOERROR) == 64);
    })
}

fn full(side: &Side) -> Batch<'_> {
    let (owned, sent) = (side.private(), Message::new(1));
    while owned.0.try_send(&sent, 8192, IPC_NOWAIT) {}
    with(owned, move |queue| assert!(!queue.0.try_send(&sent, 8192, IPC_NOWAIT)))
}

fn empty(side: &Side) -> Batch<'_> {
    let mut received = Message::new(0);
    with(side.private(), move |queue| assert!(queue.0.try_receive(&mut received, 64, 0, IPC_NOWAIT) == -1))
}

fn none_of_this_type(side: &Side) -> Batch<'_> {
    let mut message = Message::new(1);
    let owned = side.private();
    for _ in 0..100 {
        owned.0.send(&message, 64);
        message.mtype += 1;
    }
    with(owned, move |queue| assert!(queue.0.try_receive(&mut message, 64, 1000, IPC_NOWAIT) == -1))
}

fn stat(side: &Side) -> Batch<'_> {
    with(side.private(), |queue| assert!(queue.0.stat().msg_qnum == 0))
}

fn find(side: &Side, among: usize) -> Batch<'_> {
    let all: Vec<_> = (0..among).map(|_| side.keyed()).collect();
    let key = all[among / 2].0;
    watched(move || {
        let _ = &all;
        side.get(key, 0).id
    })
}

fn life(side: &Side) -> Batch<'_> {
    let (sent, mut received) = (Message::new(1), Message::new(0));
    timed(move || {
        let queue = side.get(IPC_PRIVATE, CREATE);
        queue.send(&sent, 64);
        assert!(queue.receive(&mut received, 64, 0, 0) == 64);
        queue.remove();
    })
}

fn keyed_life(side: &Side) -> Batch<'_> {
    // A key that is free.
    let key = side.keyed().0;
    timed(move || side.get(key, CREATE).remove())
}
