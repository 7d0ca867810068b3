//! Operations on a message queue. Each sent message is received once. A message that a killed
//! process was receiving is in the queue or gone, and intact. No call waits in vain, and no slot is
//! lost.

pub mod control;
pub mod pass;
pub mod wait;

use crate::support::{
    self, Attempt, Child, End, QUEUE_HEAD, QueueFile, Scenario, completed, fork, names, nothing, text, until, which,
};
use quintet::{Errno, Key, Kind, Limits, MsgFlags, Namespace};
use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

const KEY: Key = Key::new(0x3e55);
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;
const NOERROR: MsgFlags = MsgFlags::NOERROR;
/// `msg_qbytes`, and the maximal length of a message.
const CAPACITY: u64 = 1 << 20;
/// Lengths of a message: in one slot; in several; copied without the lock.
const SMALL: usize = 50;
const BLOCKS: usize = 10_000;
const LONG: usize = 30_000;

fn queue_of(ns: &Namespace) -> i32 {
    ns.msgget(KEY, 0).unwrap().raw()
}

fn make_queue(ns: &Namespace) {
    let limits = ns.limits().unwrap();
    let more = Limits { msgmax: CAPACITY as u32, msgmnb: CAPACITY as u32, ..limits };
    ns.set_limits(&more).unwrap();
    let id = ns.msgget(KEY, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap().raw();
    // The watched page has the smallest slots.
    send(ns, id, 1, 0, 1);
    receive(ns, id, 0, NOWAIT).unwrap();
}

fn send(ns: &Namespace, id: i32, mtype: i64, name: u8, len: usize) {
    ns.msgsnd(id, mtype, &text(name, len), NOWAIT, None).unwrap();
}

/// Type, number, length.
type Got = (i64, u8, usize);

fn receive_into(ns: &Namespace, id: i32, size: usize, mtype: i64, flags: MsgFlags) -> Result<Got, Errno> {
    let mut buffer = vec![0; size];
    let (mtype, len) = ns.msgrcv(id, &mut buffer, mtype, flags, None)?;
    Ok((mtype, which(&buffer[..len]), len))
}

/// Receives without looking at the text, for a process that is single-stepped.
fn take(ns: &Namespace, id: i32, buffer: &mut [u8], mtype: i64, flags: MsgFlags) -> Result<(i64, usize), Errno> {
    ns.msgrcv(id, buffer, mtype, flags, None)
}

/// A message that a single-stepped process receives. Buffer and expected text are prepared before,
/// so that the steps are those of the call and of one `memcmp`.
struct Expected {
    got: Got,
    bytes: Vec<u8>,
    buffer: RefCell<Vec<u8>>,
}

impl Expected {
    fn new(got: Got) -> Expected {
        Expected { got, bytes: text(got.1, got.2), buffer: RefCell::new(vec![0; CAPACITY as usize]) }
    }

    /// Receives the message into a buffer of the full capacity. Checks its type and each byte.
    #[track_caller]
    fn take(&self, ns: &Namespace, mtype: i64, flags: MsgFlags) {
        let mut buffer = self.buffer.borrow_mut();
        assert_eq!(take(ns, queue_of(ns), &mut buffer, mtype, flags), Ok((self.got.0, self.got.2)));
        assert!(buffer[..self.got.2] == self.bytes[..], "a message of {} bytes is damaged", self.got.2);
    }
}

fn receive(ns: &Namespace, id: i32, mtype: i64, flags: MsgFlags) -> Result<Got, Errno> {
    receive_into(ns, id, CAPACITY as usize, mtype, flags)
}

fn content(ns: &Namespace, id: i32) -> Vec<Got> {
    let mut all = Vec::new();
    ns.peek(id, |message, bytes| {
        all.push((message.mtype, which(bytes), bytes.len()));
        true
    })
    .unwrap();
    all
}

fn until_waiting(path: &Path, n: usize) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        until("all are waiting", || ns.queues().unwrap()[0].waiters.len() == n);
    })
    .succeeds();
}

/// Turns the result of a call into an exit status.
fn end_as(answer: Result<(), Errno>) {
    match answer {
        Ok(()) => {}
        Err(Errno::IDRM) => support::exit(2),
        Err(Errno::TOOBIG) => support::exit(3),
        Err(e) => panic!("{e:?}"),
    }
}

/// Starts a process that receives a message and exits with status 100 plus the number of the
/// message.
fn receiver(path: &Path, size: usize, mtype: i64, flags: MsgFlags) -> Child {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let got = receive_into(&ns, queue_of(&ns), size, mtype, flags);
        end_as(got.map(|(_, which, _)| support::exit(100 + i32::from(which))));
    })
}

fn sender(path: &Path, mtype: i64, name: u8, len: usize) -> Child {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        end_as(ns.msgsnd(queue_of(&ns), mtype, &text(name, len), MsgFlags::empty(), None));
    })
}

/// Checks that the queue works and has its full capacity. Leaves it empty.
fn works(path: &Path, ns: &Namespace, id: i32) {
    ns.sweep().unwrap();
    let status = ns.queues().unwrap();
    assert_eq!((status.len(), status[0].waiters.len()), (1, 0), "{status:?}");
    assert_eq!(ns.damaged_queues().unwrap(), []);
    let before = content(ns, id);
    let stat = ns.msg_stat(id).unwrap();
    assert_eq!((stat.messages as usize, stat.bytes as usize), (before.len(), before.iter().map(|got| got.2).sum()));
    if ns.kind() == Kind::Private {
        let count = QueueFile::read(path, 0).count();
        assert_eq!((count.lost, count.under_way), (0, 0), "{count:?}");
    }
    for message in &before {
        assert_eq!(receive(ns, id, 0, NOWAIT).as_ref(), Ok(message));
    }
    assert_eq!(receive(ns, id, 0, NOWAIT), Err(Errno::NOMSG));
    // It accepts messages of each size up to its capacity.
    let capacity = ns.msg_stat(id).unwrap().capacity as usize;
    let max_points = capacity.min(ns.limits().unwrap().msgmax as usize);
    let lengths = [LONG, BLOCKS, SMALL, 700, 1];
    let mut sent = Vec::new();
    let mut left = capacity;
    for (nth, len) in lengths.into_iter().cycle().take(60).enumerate().filter(|(_, len)| *len <= max_points) {
        if len > left {
            assert_eq!(ns.msgsnd(id, 1, &text(0, len), NOWAIT, None), Err(Errno::AGAIN));
            break;
        }
        left -= len;
        send(ns, id, 1 + nth as i64 % 7, nth as u8, len);
        sent.push((1 + nth as i64 % 7, nth as u8, len));
    }
    assert_eq!(ns.msg_stat(id).unwrap().bytes as usize, capacity - left);
    assert_eq!(content(ns, id), sent);
    let position = sent.iter().position(|got| got.0 == 5);
    if let Some(position) = position {
        assert_eq!(receive(ns, id, 5, NOWAIT), Ok(sent.remove(position)));
    }
    for message in sent {
        assert_eq!(receive(ns, id, 0, NOWAIT), Ok(message));
    }
    // A waiting receiver is served.
    let waits = receiver(path, SMALL, 0, MsgFlags::empty());
    until("the receiver is waiting", || ns.queues().unwrap()[0].waiters.len() == 1);
    send(ns, id, 3, 77, SMALL);
    assert_eq!(waits.end(), End::Exit(177));
    let stat = ns.msg_stat(id).unwrap();
    assert_eq!((stat.messages, stat.bytes), (0, 0));
    if ns.kind() == Kind::Private {
        let count = QueueFile::read(path, 0).count();
        assert_eq!((count.messages, count.lost, count.under_way), (0, 0, 0), "{count:?}");
    }
}

/// Removes all queues. Nothing may remain.
fn clear_all(path: &Path, ns: &Namespace) {
    ns.sweep().unwrap();
    for queue in ns.queues().unwrap() {
        ns.msg_remove(queue.stat.id.raw()).unwrap();
    }
    assert_eq!(ns.msg_usage().unwrap().queues, 0);
    for folder in ["msg", "key"] {
        assert_eq!(names(&path.join(folder)), Vec::<String>::new(), "{folder}");
    }
    let id = ns.msgget(KEY, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap().raw();
    works(path, ns, id);
    ns.msg_remove(id).unwrap();
}

fn scenario<'a>() -> Scenario<'a> {
    Scenario {
        setup: &make_queue,
        clear: &clear_all,
        max_points: 14,
        probe: &|ns| match ns.msgget(KEY, 0) {
            Ok(id) => assert_eq!(look(ns, id.raw(), None), Ok(())),
            Err(e) => assert_eq!(e, Errno::NOENT),
        },
        repair: &|ns| _ = ns.queues().unwrap(),
        attempt: Attempt {
            call: &|ns, time| ns.msgsnd(ns.msgget(KEY, 0)?.raw(), MORE, &text(200, SMALL), MsgFlags::empty(), time),
            timed_out: Some(Errno::AGAIN),
            revert: &|ns, n| {
                if let Ok(id) = ns.msgget(KEY, 0) {
                    (0..n).for_each(|_| assert_eq!(receive(ns, id.raw(), MORE, NOWAIT), Ok((MORE, 200, SMALL))));
                    assert_eq!(receive(ns, id.raw(), MORE, NOWAIT), Err(Errno::NOMSG));
                }
            },
        },
        ..Scenario::default()
    }
}

/// The type of messages that attempts send.
const MORE: i64 = 1000;

/// Reads the first message with a buffer that is too small.
fn look(ns: &Namespace, id: i32, time: Option<Duration>) -> Result<(), Errno> {
    let flags = if time.is_none() { NOWAIT } else { MsgFlags::empty() };
    match ns.msgrcv(id, &mut [], 0, flags, time) {
        Err(Errno::TOOBIG | Errno::NOMSG) => Ok(()),
        Err(e) => Err(e),
        Ok(got) => panic!("{got:?}"),
    }
}

/// An attempt for scenarios that a further message would disturb.
fn attempt_to_look<'a>() -> Attempt<'a> {
    let call = &|ns: &Namespace, time| look(ns, ns.msgget(KEY, 0)?.raw(), time);
    Attempt { call, timed_out: Some(Errno::NOMSG), revert: &|_, _| {} }
}

/// Sends and receives a message, so that later calls take the usual path.
fn warm(ns: &Namespace) {
    send(ns, queue_of(ns), 77, 77, SMALL);
    assert_eq!(receive(ns, queue_of(ns), 77, NOWAIT), Ok((77, 77, SMALL)));
}

/// Uses the queue once, so that the process is a participant.
fn used(ns: &Namespace) {
    look(ns, queue_of(ns), None).unwrap();
}

/// Checks that the queue holds one of these lists of messages, the last one if the victim had
/// completed, and that it works.
#[track_caller]
fn ends_with(path: &Path, allowed: &[Vec<Got>]) {
    let allowed = if completed() { &allowed[allowed.len() - 1..] } else { allowed };
    let end = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = queue_of(&ns);
        let all = content(&ns, id);
        assert!(allowed.contains(&all), "{all:?} is not one of {allowed:?}");
        works(path, &ns, id);
    })
    .end();
    assert_eq!(end, End::Exit(0), "of {allowed:?}");
}
