//! Signals interrupt calls on a queue at any instruction. The handler uses the same queue, jumps
//! away or forks.
//!
//! # Safety
//!
//! The handlers use only what was set up before they can run.
#![allow(unsafe_code)]

mod common;
use crash::support;

use quintet::{Errno, Key, MsgFlags, Namespace, preload_api};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use support::{
    Child, End, QueueFile, Signpost, Tracee, alarm_every, alone, begin, finish, fork, on_signal, shared_words, text, until, which,
};

const KEY: Key = Key::new(0x516);
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;
const CAPACITY: u32 = 1 << 20;
const LONG: usize = 30_000;
/// The first step between interrupted instructions. The steps grow, and each shape starts at
/// another instruction.
const STRIDE: usize = 211;
/// The message type that handlers send and receive.
const OWN_TYPE: i64 = 1 << 40;

fn create_queue(path: &Path) {
    common::create_queue(path, KEY, CAPACITY);
}

/// The queue that the handlers use.
static QUEUE: OnceLock<(Namespace, i32)> = OnceLock::new();
static HANDLED: AtomicU32 = AtomicU32::new(0);

fn open(path: &Path) -> (&'static Namespace, i32) {
    let (ns, id) = QUEUE.get_or_init(|| common::open_queue(path, KEY));
    (ns, *id)
}

/// The type, the name and the length of a message.
type Got = (i64, u8, usize);

fn receive(ns: &Namespace, id: i32, mtype: i64, flags: MsgFlags, time: Option<Duration>) -> Result<Got, Errno> {
    let mut buffer = vec![0; LONG];
    let (mtype, len) = ns.msgrcv(id, &mut buffer, mtype, flags, time)?;
    Ok((mtype, which(&buffer[..len]), len))
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

/// Asserts that the queue holds exactly these messages, has no waiters and has lost no slot.
fn ends_with(path: &Path, ns: &Namespace, id: i32, expected: &[Got]) {
    assert_eq!(content(ns, id), expected);
    let stat = ns.msg_stat(id).unwrap();
    assert_eq!((stat.messages as usize, stat.bytes as usize), (expected.len(), expected.iter().map(|got| got.2).sum()));
    assert_eq!(ns.queues().unwrap()[0].waiters, []);
    assert_eq!(ns.damaged_queues().unwrap(), []);
    let count = QueueFile::read(path, 0).count();
    assert_eq!((count.under_way, count.lost), (0, 0), "{count:?}");
}

/// Exits with `what` unless `ok`. In a handler, a panic would unwind through the interrupted code.
fn must(ok: bool, what: i32) {
    if !ok {
        support::exit(what);
    }
}

/// Sends and receives short and long messages and leaves the queue unchanged. Allocates no memory.
extern "C" fn use_it(signal: i32) {
    static TEXT: [u8; LONG] = [0x5a; LONG];
    let Some((ns, id)) = QUEUE.get() else { return };
    let own = OWN_TYPE + i64::from(signal);
    for len in [10, 5000, 25_000, 0] {
        must(ns.msgsnd(*id, own, &TEXT[..len], NOWAIT, None).is_ok(), 71);
        let mut buffer = [0; 64];
        let got = ns.msgrcv(*id, &mut buffer, own, NOWAIT | MsgFlags::NOERROR, None);
        must(got == Ok((own, len.min(64))) && buffer[..len.min(64)] == TEXT[..len.min(64)], 72);
        must(ns.msgrcv(*id, &mut buffer, own, NOWAIT, None) == Err(Errno::NOMSG), 73);
    }
    HANDLED.fetch_add(1, SeqCst);
}

/// A static buffer: an allocation that is interrupted by a handler that allocates is not under
/// test.
static BUFFER: Mutex<[u8; LONG]> = Mutex::new([0; LONG]);

fn receive_in_place(ns: &Namespace, id: i32, mtype: i64, time: Option<Duration>) -> Result<Got, Errno> {
    let mut buffer = BUFFER.try_lock().unwrap();
    let (mtype, len) = ns.msgrcv(id, &mut buffer[..], mtype, MsgFlags::empty(), time)?;
    Ok((mtype, buffer[0], len))
}

/// The name of a call, the messages before it, the call, and the messages after it.
type Shape = (&'static str, Vec<Got>, Box<dyn Fn(&Namespace, i32)>, Vec<Got>);

fn shapes() -> Vec<Shape> {
    let long: &'static [u8] = text(9, LONG).leak();
    let send = |ns: &Namespace, id, len: usize| ns.msgsnd(id, 3, &long[..len], MsgFlags::empty(), None).unwrap();
    let three = |len| vec![(1, 1, 20), (2, 2, len), (3, 3, 20)];
    let two = || vec![(1, 1, 20), (3, 3, 20)];
    let many = || (0..40).map(|nth| (10 + i64::from(nth) % 6, nth, 20)).collect::<Vec<Got>>();
    let but = |all: Vec<Got>, nth: usize| [&all[..nth], &all[nth + 1..]].concat();
    let soon = Some(Duration::from_millis(1));
    let in_vain = [Errno::AGAIN, Errno::NOMSG, Errno::INTR];
    vec![
        ("send", vec![(1, 1, 20)], Box::new(move |ns, id| send(ns, id, 50)), vec![(1, 1, 20), (3, 9, 50)]),
        ("send-blocks", vec![], Box::new(move |ns, id| send(ns, id, 9000)), vec![(3, 9, 9000)]),
        ("send-long", vec![], Box::new(move |ns, id| send(ns, id, LONG)), vec![(3, 9, LONG)]),
        ("receive", three(20), Box::new(|ns, id| assert_eq!(receive_in_place(ns, id, 2, None), Ok((2, 2, 20)))), two()),
        ("receive-long", three(LONG), Box::new(|ns, id| assert_eq!(receive_in_place(ns, id, 2, None), Ok((2, 2, LONG)))), two()),
        (
            "receive-by-type",
            many(),
            Box::new(|ns, id| assert_eq!(receive_in_place(ns, id, 13, None), Ok((13, 3, 20)))),
            but(many(), 3),
        ),
        (
            "receive-in-vain",
            two(),
            Box::new(move |ns, id| {
                let answer = receive_in_place(ns, id, 2, soon);
                assert!(answer.is_err_and(|e| in_vain.contains(&e)), "{answer:?}");
            }),
            two(),
        ),
        (
            "send-in-vain",
            vec![(1, 1, LONG); 34],
            Box::new(move |ns, id| {
                let answer = ns.msgsnd(id, 3, long, MsgFlags::empty(), soon);
                assert!(answer.is_err_and(|e| in_vain.contains(&e)), "{answer:?}");
            }),
            vec![(1, 1, LONG); 34],
        ),
    ]
}

/// Checks the queue after a call.
type After<'a> = &'a dyn Fn(&Path, &Namespace, i32, &[Got]);

/// Interrupts each call at a selection of its instructions, lets it finish and runs `after` with
/// the expected messages.
fn at_each_instruction(directory: &Path, handler: extern "C" fn(i32), after: After<'_>) {
    for (nth, (name, before, call, then)) in shapes().into_iter().enumerate() {
        let mut at = nth * 5 + 1;
        let mut times = 0;
        loop {
            let path = directory.join(format!("{nth}-{at}"));
            create_queue(&path);
            let mut tracee = Tracee::start(|| {
                let (ns, id) = open(&path);
                for (mtype, name, len) in &before {
                    ns.msgsnd(id, *mtype, &text(*name, *len), NOWAIT, None).unwrap();
                }
                on_signal(libc::SIGUSR1, handler, 0);
                begin();
                call(ns, id);
                finish();
                after(&path, ns, id, &then);
            });
            let inside = tracee.steps(at);
            // A call that has finished already continues, too.
            let end = tracee.release(if inside { libc::SIGUSR1 } else { 0 });
            end.signal(libc::SIGCONT);
            let end = end.ends_through_stops();
            assert_eq!(end, End::Exit(0), "{name}, interrupted at its instruction {at}");
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                ns.sweep().unwrap();
                assert_eq!(ns.damaged_queues().unwrap(), []);
                let count = QueueFile::read(&path, 0).count();
                assert_eq!((count.under_way, count.lost), (0, 0), "{count:?}");
            })
            .succeeds();
            let _ = std::fs::remove_dir_all(&path);
            if !inside {
                break;
            }
            times += 1;
            at += STRIDE + at / 3;
        }
        println!("{name}: interrupted {times} times, in {at} instructions");
    }
}

#[test]
fn a_handler_can_use_the_queue_at_any_instruction() {
    alone("a_handler_can_use_the_queue_at_any_instruction", |directory| {
        at_each_instruction(directory, use_it, &|path, ns, id, then| ends_with(path, ns, id, then));
    });
}

/// Leaves the interrupted call for good, as after `longjmp`, and makes calls.
extern "C" fn jump(_: i32) {
    preload_api::before_jump();
    let Some((ns, id)) = QUEUE.get() else { return };
    let messages = || ns.msg_stat(*id).map_or(-1, |stat| stat.messages as i64);
    let before = messages();
    must((0..=41).contains(&before), 80);
    use_it(0);
    must(messages() == before, 81);
    // The abandoned call does not receive this message.
    must(ns.msgsnd(*id, 2, b"text", NOWAIT, None).is_ok() || before == 34, 82);
    must(before == 34 || messages() == before + 1, 83);
    support::exit(0);
}

#[test]
fn a_handler_can_jump_away_from_any_instruction() {
    alone("a_handler_can_jump_away_from_any_instruction", |directory| {
        at_each_instruction(directory, jump, &|_, _, _, _| {});
    });
}

/// Asserts that `handler` interrupts a blocked call, which returns EINTR and leaves no waiter.
fn interrupts(directory: &Path, name: &str, handler: extern "C" fn(i32), flags: i32) {
    for (side, len) in [("receive", 0), ("send", 20), ("send-long", LONG)] {
        let path = directory.join(format!("{name}-{side}"));
        create_queue(&path);
        let full = vec![(1, 1, LONG); if len > 0 { 34 } else { 0 }];
        let child = fork(|| {
            let (ns, id) = open(&path);
            full.iter().for_each(|_| ns.msgsnd(id, 1, &text(1, LONG), NOWAIT, None).unwrap());
            let mut before = full.clone();
            // The messages fill the queue.
            if len > 0 {
                let perm = ns.msg_stat(id).unwrap().perm;
                ns.msg_set(id, perm.uid, perm.gid, perm.mode, (34 * LONG) as u64).unwrap();
            }
            on_signal(libc::SIGUSR1, handler, flags);
            let answer = match len {
                0 => ns.msgrcv(id, &mut [0; 20], 2, MsgFlags::empty(), None).map(drop),
                _ => ns.msgsnd(id, 2, &text(9, len), MsgFlags::empty(), None),
            };
            assert_eq!(answer, Err(Errno::INTR));
            ends_with(&path, ns, id, &before);
            // No waiter is left that would take a message or the room for one.
            if len > 0 {
                assert_eq!(receive(ns, id, 0, NOWAIT, None), Ok(before.remove(0)));
            }
            ns.msgsnd(id, 2, &text(8, 20), NOWAIT, None).unwrap();
            before.push((2, 8, 20));
            ends_with(&path, ns, id, &before);
        });
        let ns = Namespace::open(&path).unwrap();
        until("the call blocks", || ns.queues().unwrap()[0].waiters.len() == 1 && support::state(child.pid) == Some('S'));
        child.signal(libc::SIGUSR1);
        assert_eq!(child.end(), End::Exit(0), "{name} {side}");
    }
}

extern "C" fn nothing(_: i32) {}

/// Jumps within the handler's own code, as a parser may, and then returns.
extern "C" fn jump_within(_: i32) {
    preload_api::before_jump();
}

/// The same, and another call takes the slot of the abandoned call at once.
extern "C" fn jump_within_and_wait(_: i32) {
    preload_api::before_jump();
    let Some((ns, id)) = QUEUE.get() else { return };
    let waits = ns.msgrcv(*id, &mut [0; 10], OWN_TYPE, MsgFlags::empty(), Some(Duration::from_millis(1)));
    must(waits == Err(Errno::NOMSG), 75);
}

/// Tries to receive the message that the interrupted call waits for.
extern "C" fn receive_in_vain(_: i32) {
    let Some((ns, id)) = QUEUE.get() else { return };
    must(ns.msgrcv(*id, &mut [0; 10], 2, NOWAIT, None) == Err(Errno::NOMSG), 76);
}

#[test]
fn a_signal_interrupts_a_blocked_call() {
    alone("a_signal_interrupts_a_blocked_call", |directory| {
        interrupts(directory, "nothing", nothing, 0);
        // As in the kernel, SA_RESTART does not restart the call.
        interrupts(directory, "restart", nothing, libc::SA_RESTART);
        interrupts(directory, "receive", receive_in_vain, libc::SA_RESTART | libc::SA_NODEFER);
        interrupts(directory, "jump-within", jump_within, 0);
        interrupts(directory, "jump-within-and-wait", jump_within_and_wait, 0);
    });
}

static FORKED: AtomicI32 = AtomicI32::new(0);

/// Forks; the child returns into the interrupted call, too.
extern "C" fn fork_within(_: i32) {
    // SAFETY: the calls take no pointers.
    FORKED.store(unsafe { libc::fork() }, SeqCst);
}

#[test]
fn a_handler_can_fork_in_a_blocked_call() {
    alone("a_handler_can_fork_in_a_blocked_call", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        let reported = Signpost::new();
        let child = fork(|| {
            let (ns, id) = open(&path);
            on_signal(libc::SIGUSR1, fork_within, 0);
            let answer = ns.msgrcv(id, &mut [0; 9], 0, MsgFlags::empty(), None);
            let forked = FORKED.load(SeqCst);
            assert_eq!(answer, Err(Errno::INTR), "forked {forked}");
            until("neither process blocks", || ns.queues().unwrap()[0].waiters.is_empty());
            ns.msgsnd(id, 1, &text(u8::from(forked == 0), 5), MsgFlags::empty(), None).unwrap();
            reported.post(1);
            if forked > 0 {
                let status = support::reap(forked);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            }
        });
        let (ns, id) = open(&path);
        until("the call blocks", || !ns.queues().unwrap()[0].waiters.is_empty() && support::state(child.pid) == Some('S'));
        child.signal(libc::SIGUSR1);
        assert_eq!(child.end(), End::Exit(0));
        (0..2).for_each(|_| reported.wait());
        let mut both = content(ns, id);
        both.sort();
        assert_eq!(both, [(1, 0, 5), (1, 1, 5)]);
    });
}

/// Forks a child that sends a message, waits for the child and receives the message.
extern "C" fn fork_and_wait(_: i32) {
    let Some((ns, id)) = QUEUE.get() else { return };
    // SAFETY: the child makes one call and exits.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let sent = ns.msgsnd(*id, OWN_TYPE, b"child", MsgFlags::empty(), None);
            support::exit(if sent.is_ok() { 0 } else { 1 });
        }
        let mut status = 0;
        must(libc::waitpid(child, &raw mut status, 0) == child && status == 0, 77);
    }
    must(ns.msgrcv(*id, &mut [0; 9], OWN_TYPE, NOWAIT, None) == Ok((OWN_TYPE, 5)), 78);
    HANDLED.fetch_add(1, SeqCst);
}

/// Sends numbered messages of all lengths and receives them while signals arrive. Each arrives
/// once, complete and in order.
fn to_and_fro(ns: &Namespace, id: i32, enough: u32, nested: bool) {
    let lengths = [8, 60, 700, 4200, 9000, 25_000];
    // Allocates no memory while signals arrive, because a handler may fork.
    let mut texts = lengths.map(|len| text(1, len));
    let mut buffer = vec![0; LONG];
    let mut round = 0u64;
    while HANDLED.load(SeqCst) < enough || round < 2000 {
        let text = &mut texts[(round % 6) as usize];
        text[..8].copy_from_slice(&round.to_ne_bytes());
        // The queue has room: the call never blocks.
        ns.msgsnd(id, 1, text, MsgFlags::empty(), None).unwrap();
        if round % 3 == 2 {
            for back in [2, 1, 0] {
                let len = ns.msgrcv(id, &mut buffer, 1, MsgFlags::empty(), None).unwrap().1;
                assert_eq!(buffer[..8], (round - back).to_ne_bytes(), "round {round}, nested {nested}");
                assert_eq!(len, lengths[((round - back) % 6) as usize]);
            }
            assert_eq!(ns.msg_stat(id).unwrap().messages, 0, "round {round}, nested {nested}");
        }
        round += 1;
    }
    alarm_every(Duration::ZERO);
    while !round.is_multiple_of(3) {
        ns.msgrcv(id, &mut buffer, 1, MsgFlags::empty(), None).unwrap();
        round -= 1;
    }
    println!("{round} rounds, {} signals", HANDLED.load(SeqCst));
}

#[test]
fn a_handler_can_wait_for_a_child_that_sends() {
    alone("a_handler_can_wait_for_a_child_that_sends", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        fork(|| {
            let (ns, id) = open(&path);
            on_signal(libc::SIGALRM, fork_and_wait, 0);
            alarm_every(Duration::from_micros(1700));
            to_and_fro(ns, id, 300, false);
            ends_with(&path, ns, id, &[]);
        })
        .succeeds();
    });
}

/// Signals from a timer and from another process interrupt each other's handlers. No decided step
/// is repeated.
#[test]
fn nested_signal_handlers_can_use_the_queue() {
    alone("nested_signal_handlers_can_use_the_queue", |directory| {
        for first in [libc::SIGUSR1, libc::SIGRTMIN()] {
            let path = directory.join(first.to_string());
            create_queue(&path);
            let handled = shared_words(1);
            let worker = fork(|| {
                let (ns, id) = open(&path);
                // Each signal can interrupt the handlers of the others.
                for signal in [libc::SIGALRM, first, libc::SIGUSR2] {
                    on_signal(signal, use_it, libc::SA_RESTART);
                }
                handled[0].store(1, SeqCst);
                alarm_every(Duration::from_micros(90));
                to_and_fro(ns, id, 6000, true);
                handled[0].store(2, SeqCst);
                for signal in [libc::SIGALRM, first, libc::SIGUSR2] {
                    on_signal(signal, nothing, 0);
                }
                ends_with(&path, ns, id, &[]);
            });
            until("the worker is ready", || handled[0].load(SeqCst) == 1);
            while handled[0].load(SeqCst) == 1 && !worker.has_ended() {
                worker.signal(first);
                (0..2000).for_each(|_| std::hint::spin_loop());
                worker.signal(libc::SIGUSR2);
                (0..3000).for_each(|_| std::hint::spin_loop());
            }
            worker.succeeds();
        }
    });
}

/// Timer signals interrupt processes that pass messages through a queue that is often full or
/// empty. The handlers send and receive, too.
#[test]
fn messages_add_up_under_a_storm_of_signals() {
    alone("messages_add_up_under_a_storm_of_signals", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        const EACH: u64 = 4000;
        let sums = shared_words(4);
        let workers: Vec<Child> = (0..4u64)
            .map(|nth| {
                fork(|| {
                    let (ns, id) = open(&path);
                    on_signal(libc::SIGALRM, use_it_of_its_own, if nth == 0 { libc::SA_RESTART } else { 0 });
                    alarm_every(Duration::from_micros(150 + nth * 37));
                    let mut buffer = vec![0; LONG];
                    for round in 0..EACH {
                        let len = [8, 100, 5000, LONG][(round % 4) as usize];
                        loop {
                            let answer = if nth < 2 {
                                let mut text = text(nth as u8, len);
                                text[..8].copy_from_slice(&round.to_ne_bytes());
                                ns.msgsnd(id, 1 + nth as i64, &text, MsgFlags::empty(), None)
                            } else {
                                ns.msgrcv(id, &mut buffer, nth as i64 - 1, MsgFlags::empty(), None).map(|(_, got)| {
                                    // Each type has one receiver, which sees its messages in order.
                                    assert_eq!((&buffer[..8], got), (&round.to_ne_bytes()[..], len));
                                    let rest = text(nth as u8 - 2, len);
                                    assert_eq!(buffer[8..got], rest[8..]);
                                })
                            };
                            match answer {
                                Err(Errno::INTR) => {}
                                other => break other.unwrap(),
                            }
                        }
                        sums[nth as usize].fetch_add(1, SeqCst);
                    }
                    alarm_every(Duration::ZERO);
                    println!("{} signals", HANDLED.load(SeqCst));
                })
            })
            .collect();
        workers.into_iter().for_each(Child::succeeds);
        fork(|| {
            let (ns, id) = open(&path);
            ns.sweep().unwrap();
            ends_with(&path, ns, id, &[]);
        })
        .succeeds();
        assert_eq!(sums.iter().map(|sum| sum.load(SeqCst)).collect::<Vec<_>>(), [EACH as u32; 4]);
    });
}

/// Sends and receives a message type of this process. Does not block if the queue has no room.
extern "C" fn use_it_of_its_own(_: i32) {
    let Some((ns, id)) = QUEUE.get() else { return };
    let own = OWN_TYPE + i64::from(std::process::id());
    for len in [8, 3000] {
        match ns.msgsnd(*id, own, &[7; 3000][..len], NOWAIT, None) {
            Ok(()) => {
                let mut buffer = [0; 3000];
                must(ns.msgrcv(*id, &mut buffer, own, NOWAIT, None) == Ok((own, len)) && buffer[..len] == [7; 3000][..len], 74);
            }
            Err(e) => must(e == Errno::AGAIN, 75),
        }
    }
    HANDLED.fetch_add(1, SeqCst);
}
