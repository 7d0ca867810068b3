//! Signals at every moment of a call: a handler that uses the very queue that its thread is busy with, that jumps away, that forks.
//!
//! # Safety
//!
//! The handlers use nothing but what was set up before they can run.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Key, Kind, Limits, MsgFlags, Namespace, drop_in};
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
/// Of the instructions of a call, each so many-th is interrupted; another one in each shape.
const STRIDE: usize = 211;
/// What the handler sends, and receives again.
const OWN_TYPE: i64 = 1 << 40;

fn with_queue(path: &Path) {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        let limits = ns.limits().unwrap();
        ns.set_limits(&Limits { msgmax: CAPACITY, msgmnb: CAPACITY, ..limits }).unwrap();
        ns.msgget(KEY, libc::IPC_CREAT | 0o600).unwrap();
    })
    .succeeds();
}

/// What the handler uses.
static QUEUE: OnceLock<(Namespace, i32)> = OnceLock::new();
static HANDLED: AtomicU32 = AtomicU32::new(0);

fn open(path: &Path) -> (&'static Namespace, i32) {
    let (ns, id) = QUEUE.get_or_init(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.msgget(KEY, 0).unwrap().raw();
        (ns, id)
    });
    (ns, *id)
}

/// Type, which one, length.
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

/// There is this and no more, on nobody's list anything else.
fn ends_with(path: &Path, ns: &Namespace, id: i32, expected: &[Got]) {
    assert_eq!(content(ns, id), expected);
    let stat = ns.msg_stat(id).unwrap();
    assert_eq!((stat.messages as usize, stat.bytes as usize), (expected.len(), expected.iter().map(|got| got.2).sum()));
    assert_eq!(ns.queues().unwrap()[0].waiters, []);
    assert_eq!(ns.damaged_queues().unwrap(), []);
    let count = QueueFile::read(path, 0).count();
    assert_eq!((count.under_way, count.lost), (0, 0), "{count:?}");
}

/// In a handler a panic would unwind through what was interrupted.
fn must(ok: bool, what: i32) {
    if !ok {
        support::exit(what);
    }
}

/// Sends and receives, short and long, and leaves the queue as it was. It allocates nothing.
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

/// A call that is interrupted in `malloc`, by a handler that allocates, would have nothing to do with queues: here it is all at hand.
static BUFFER: Mutex<[u8; LONG]> = Mutex::new([0; LONG]);

fn receive_in_place(ns: &Namespace, id: i32, mtype: i64, time: Option<Duration>) -> Result<Got, Errno> {
    let mut buffer = BUFFER.try_lock().unwrap();
    let (mtype, len) = ns.msgrcv(id, &mut buffer[..], mtype, MsgFlags::empty(), time)?;
    Ok((mtype, buffer[0], len))
}

/// What there is before, a call, and what there is then.
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

/// What is looked at when a call has come to its end.
type After<'a> = &'a dyn Fn(&Path, &Namespace, i32, &[Got]);

/// Runs a call to each so many-th of its instructions, where a signal comes; then to its end. `after` is told what there must be.
fn at_each_instruction(directory: &Path, handler: extern "C" fn(i32), after: After<'_>) {
    for (nth, (name, before, call, then)) in shapes().into_iter().enumerate() {
        let mut at = nth * 5 + 1;
        let mut times = 0;
        loop {
            let path = directory.join(format!("{nth}-{at}"));
            with_queue(&path);
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
            // What has finished goes on, too.
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
fn a_handler_uses_the_queue_at_any_instruction() {
    alone("a_handler_uses_the_queue_at_any_instruction", |directory| {
        at_each_instruction(directory, use_it, &|path, ns, id, then| ends_with(path, ns, id, then));
    });
}

/// Goes away from whatever it has interrupted, for good: what follows a jump.
extern "C" fn jump(_: i32) {
    drop_in::jumping();
    let Some((ns, id)) = QUEUE.get() else { return };
    let messages = || ns.msg_stat(*id).map_or(-1, |stat| stat.messages as i64);
    let before = messages();
    must((0..=41).contains(&before), 80);
    use_it(0);
    must(messages() == before, 81);
    // Nobody takes what is sent now.
    must(ns.msgsnd(*id, 2, b"text", NOWAIT, None).is_ok() || before == 34, 82);
    must(before == 34 || messages() == before + 1, 83);
    support::exit(0);
}

#[test]
fn a_handler_jumps_away_from_any_instruction() {
    alone("a_handler_jumps_away_from_any_instruction", |directory| {
        at_each_instruction(directory, jump, &|_, _, _, _| {});
    });
}

/// A call that waits, interrupted by `handler`: `INTR`, and it waits no more.
fn interrupts(directory: &Path, name: &str, handler: extern "C" fn(i32), flags: i32) {
    for (side, len) in [("receive", 0), ("send", 20), ("send-long", LONG)] {
        let path = directory.join(format!("{name}-{side}"));
        with_queue(&path);
        let full = vec![(1, 1, LONG); if len > 0 { 34 } else { 0 }];
        let child = fork(|| {
            let (ns, id) = open(&path);
            full.iter().for_each(|_| ns.msgsnd(id, 1, &text(1, LONG), NOWAIT, None).unwrap());
            let mut before = full.clone();
            // They are all that it takes.
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
            // Nothing is left that would take what is sent, or use the room.
            if len > 0 {
                assert_eq!(receive(ns, id, 0, NOWAIT, None), Ok(before.remove(0)));
            }
            ns.msgsnd(id, 2, &text(8, 20), NOWAIT, None).unwrap();
            before.push((2, 8, 20));
            ends_with(&path, ns, id, &before);
        });
        let ns = Namespace::open(&path).unwrap();
        until("it waits", || ns.queues().unwrap()[0].waiters.len() == 1 && support::state(child.pid) == Some('S'));
        child.signal(libc::SIGUSR1);
        assert_eq!(child.end(), End::Exit(0), "{name} {side}");
    }
}

extern "C" fn nothing(_: i32) {}

/// As when the handler's own code, say a parser's, jumps within itself, and then returns.
extern "C" fn jump_within(_: i32) {
    drop_in::jumping();
}

/// The same, and the place of the call that was given up is taken by another one at once.
extern "C" fn jump_within_and_wait(_: i32) {
    drop_in::jumping();
    let Some((ns, id)) = QUEUE.get() else { return };
    let waits = ns.msgrcv(*id, &mut [0; 10], OWN_TYPE, MsgFlags::empty(), Some(Duration::from_millis(1)));
    must(waits == Err(Errno::NOMSG), 75);
}

/// Looks for what its thread waits for.
extern "C" fn receive_in_vain(_: i32) {
    let Some((ns, id)) = QUEUE.get() else { return };
    must(ns.msgrcv(*id, &mut [0; 10], 2, NOWAIT, None) == Err(Errno::NOMSG), 76);
}

#[test]
fn a_call_that_waits_is_interrupted() {
    alone("a_call_that_waits_is_interrupted", |directory| {
        interrupts(directory, "nothing", nothing, 0);
        // No more than in the kernel is it begun anew.
        interrupts(directory, "restart", nothing, libc::SA_RESTART);
        interrupts(directory, "receive", receive_in_vain, libc::SA_RESTART | libc::SA_NODEFER);
        interrupts(directory, "jump-within", jump_within, 0);
        interrupts(directory, "jump-within-and-wait", jump_within_and_wait, 0);
    });
}

static FORKED: AtomicI32 = AtomicI32::new(0);

/// The child returns into the call, too.
extern "C" fn fork_within(_: i32) {
    // SAFETY: no pointers.
    FORKED.store(unsafe { libc::fork() }, SeqCst);
}

#[test]
fn a_handler_forks() {
    alone("a_handler_forks", |directory| {
        let path = directory.join("ns");
        with_queue(&path);
        let told = Signpost::new();
        let child = fork(|| {
            let (ns, id) = open(&path);
            on_signal(libc::SIGUSR1, fork_within, 0);
            let answer = ns.msgrcv(id, &mut [0; 9], 0, MsgFlags::empty(), None);
            let forked = FORKED.load(SeqCst);
            assert_eq!(answer, Err(Errno::INTR), "forked {forked}");
            until("neither waits", || ns.queues().unwrap()[0].waiters.is_empty());
            ns.msgsnd(id, 1, &text(u8::from(forked == 0), 5), MsgFlags::empty(), None).unwrap();
            told.tell(1);
            if forked > 0 {
                let status = support::reap(forked);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            }
        });
        let (ns, id) = open(&path);
        until("it waits", || !ns.queues().unwrap()[0].waiters.is_empty() && support::state(child.pid) == Some('S'));
        child.signal(libc::SIGUSR1);
        assert_eq!(child.end(), End::Exit(0));
        (0..2).for_each(|_| told.wait());
        let mut both = content(ns, id);
        both.sort();
        assert_eq!(both, [(1, 0, 5), (1, 1, 5)]);
    });
}

/// At full speed: a child made by a handler sends, too, and the handler waits for it.
extern "C" fn fork_and_wait(_: i32) {
    let Some((ns, id)) = QUEUE.get() else { return };
    // SAFETY: the child uses what there is, and ends.
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

/// Sends numbers to itself, of all lengths, while signals come; each is received once and whole, in order.
fn to_and_fro(ns: &Namespace, id: i32, enough: u32, nested: bool) {
    let lengths = [8, 60, 700, 4200, 9000, 25_000];
    // No memory is asked for while signals come: a handler may fork.
    let mut texts = lengths.map(|len| text(1, len));
    let mut buffer = vec![0; LONG];
    let mut round = 0u64;
    while HANDLED.load(SeqCst) < enough || round < 2000 {
        let text = &mut texts[(round % 6) as usize];
        text[..8].copy_from_slice(&round.to_ne_bytes());
        // There is room: it never waits.
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
fn a_handler_waits_for_a_child_that_sends() {
    alone("a_handler_waits_for_a_child_that_sends", |directory| {
        let path = directory.join("ns");
        with_queue(&path);
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

/// Signals come to a process from others, too, and interrupt each other's handlers: what was decided is not done again.
#[test]
fn a_storm_of_nested_signals() {
    alone("a_storm_of_nested_signals", |directory| {
        for first in [libc::SIGUSR1, libc::SIGRTMIN()] {
            let path = directory.join(first.to_string());
            with_queue(&path);
            let handled = shared_words(1);
            let worker = fork(|| {
                let (ns, id) = open(&path);
                // Each interrupts the other ones, but not itself.
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
            until("it is ready", || handled[0].load(SeqCst) == 1);
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

/// SIGALRM all the time, in processes that pass messages to each other through a queue that is often full or empty; the handlers pass some, too.
#[test]
fn a_storm_of_signals() {
    alone("a_storm_of_signals", |directory| {
        let path = directory.join("ns");
        with_queue(&path);
        const EACH: u64 = 4000;
        let sums = shared_words(4);
        let workers: Vec<Child> = (0..4u64)
            .map(|who| {
                fork(|| {
                    let (ns, id) = open(&path);
                    on_signal(libc::SIGALRM, use_it_of_its_own, if who == 0 { libc::SA_RESTART } else { 0 });
                    alarm_every(Duration::from_micros(150 + who * 37));
                    let mut buffer = vec![0; LONG];
                    for round in 0..EACH {
                        let len = [8, 100, 5000, LONG][(round % 4) as usize];
                        loop {
                            let answer = if who < 2 {
                                let mut text = text(who as u8, len);
                                text[..8].copy_from_slice(&round.to_ne_bytes());
                                ns.msgsnd(id, 1 + who as i64, &text, MsgFlags::empty(), None)
                            } else {
                                ns.msgrcv(id, &mut buffer, who as i64 - 1, MsgFlags::empty(), None).map(|(_, got)| {
                                    // In order, as there is one for each type.
                                    assert_eq!((&buffer[..8], got), (&round.to_ne_bytes()[..], len));
                                    let rest = text(who as u8 - 2, len);
                                    assert_eq!(buffer[8..got], rest[8..]);
                                })
                            };
                            match answer {
                                Err(Errno::INTR) => {}
                                other => break other.unwrap(),
                            }
                        }
                        sums[who as usize].fetch_add(1, SeqCst);
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

/// Sends and receives a type of the process's own; if there is no room it does not wait.
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
