//! Many processes and threads use a message queue at once, and some are killed. Each message sent
//! is received once.

mod common;
use crash::support;

use quintet::{Errno, Key, MsgFlags, Namespace};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{Child, Dice, End, QueueFile, Signpost, alone, fork, is_posted, shared_words, until};

const KEY: Key = Key::new(0x7ace);
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;
/// How long the processes pass messages on.
const WHILE: Duration = Duration::from_secs(4);
const CAPACITY: u32 = 1 << 16;
/// Message types are 1 to this.
const TYPES: u64 = 7;

fn create_queue(path: &Path) {
    common::create_queue(path, KEY, CAPACITY);
}

fn open(path: &Path) -> (Namespace, i32) {
    common::open_queue(path, KEY)
}

/// Messages sent and received, by sender and number, in shared memory.
struct Ledger {
    /// Messages that each sender has certainly sent.
    sent: &'static [AtomicU32],
    received: &'static [AtomicU32],
    of_each: u32,
}

impl Ledger {
    fn new(senders: u32, of_each: u32) -> Ledger {
        Ledger { sent: shared_words(senders as usize), received: shared_words((senders * of_each) as usize), of_each }
    }

    /// Returns the content of a message: the sender, the number, and bytes that depend on both.
    fn text(sender: u32, number: u32, len: usize) -> Vec<u8> {
        let mut dice = Dice(u64::from(sender) << 32 | u64::from(number));
        let mut bytes: Vec<u8> = [sender, number].into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.resize(len.max(8), dice.throw(256) as u8);
        let last = bytes.len() - 1;
        if last >= 8 {
            bytes[last] = dice.throw(256) as u8;
        }
        bytes
    }

    #[track_caller]
    fn receive(&self, mtype: i64, bytes: &[u8]) {
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let (sender, number) = (word(0), word(4));
        assert!(bytes == Ledger::text(sender, number, bytes.len()), "message {number} of {sender} is damaged");
        assert_eq!(mtype, 1 + i64::from(number) % TYPES as i64);
        let before = self.received[(sender * self.of_each + number) as usize].fetch_add(1, SeqCst);
        assert_eq!(before, 0, "message {number} of {sender} is received twice");
    }

    /// Returns how many messages were certainly sent, and how many of these were not received.
    fn sums(&self) -> (u32, u32) {
        let (mut sent, mut lost) = (0, 0);
        for (sender, n) in self.sent.iter().enumerate() {
            let of_it = &self.received[sender * self.of_each as usize..][..n.load(SeqCst) as usize];
            sent += of_it.len() as u32;
            lost += of_it.iter().filter(|received| received.load(SeqCst) == 0).count() as u32;
        }
        (sent, lost)
    }
}

/// Returns a length; most are short.
fn length(dice: &mut Dice) -> usize {
    match dice.throw(40) {
        0 => 21_000 + dice.throw(9_000) as usize,
        1..4 => 4_000 + dice.throw(6_000) as usize,
        4..10 => 200 + dice.throw(2_000) as usize,
        _ => 8 + dice.throw(120) as usize,
    }
}

fn send_until_killed(path: &Path, ledger: &Ledger, sender: u32, seed: u64) {
    let (ns, id) = open(path);
    let mut dice = Dice(seed);
    for number in 0..ledger.of_each {
        let text = Ledger::text(sender, number, length(&mut dice));
        let mtype = 1 + i64::from(number) % TYPES as i64;
        loop {
            let time = (dice.throw(3) == 0).then(|| Duration::from_micros(dice.throw(500)));
            match ns.msgsnd(id, mtype, &text, MsgFlags::empty(), time) {
                Ok(()) => break,
                Err(e) => assert_eq!((e, time.is_some()), (Errno::AGAIN, true)),
            }
        }
        ledger.sent[sender as usize].store(number + 1, SeqCst);
    }
    support::sleep_for_ever();
}

fn receive_until_killed(path: &Path, ledger: &Ledger, seed: u64) {
    let (ns, id) = open(path);
    let mut dice = Dice(seed);
    let mut buffer = vec![0; CAPACITY as usize];
    loop {
        let mtype = 1 + dice.throw(TYPES) as i64;
        let (mtype, flags) = match dice.throw(6) {
            0 => (mtype, MsgFlags::empty()),
            1 => (-mtype, MsgFlags::empty()),
            2 => (mtype, MsgFlags::EXCEPT),
            _ => (0, MsgFlags::empty()),
        };
        // Sometimes the buffer is too small.
        let size = if dice.throw(20) == 0 { 100 } else { buffer.len() };
        match ns.msgrcv(id, &mut buffer[..size], mtype, flags, Some(Duration::from_micros(dice.throw(800)))) {
            Ok((mtype, len)) => ledger.receive(mtype, &buffer[..len]),
            Err(e) => assert!(e == Errno::NOMSG || e == Errno::TOOBIG && size == 100, "{e:?}"),
        }
        if dice.throw(200) == 0 {
            // Lets the queue fill up, so that it gets an index by type.
            std::thread::sleep(Duration::from_micros(dice.throw(3000)));
        }
    }
}

/// Receives the remaining messages and asserts that the queue is then empty, with no slot lost.
fn ends_empty(path: &Path, ledger: &Ledger) {
    fork(|| {
        let (ns, id) = open(path);
        ns.sweep().unwrap();
        assert_eq!(ns.damaged_queues().unwrap(), []);
        let stat = ns.msg_stat(id).unwrap();
        let (mut messages, mut bytes) = (0, 0);
        let mut buffer = vec![0; CAPACITY as usize];
        loop {
            match ns.msgrcv(id, &mut buffer, 0, NOWAIT, None) {
                Ok((mtype, len)) => {
                    ledger.receive(mtype, &buffer[..len]);
                    messages += 1;
                    bytes += len as u64;
                }
                Err(e) => {
                    assert_eq!(e, Errno::NOMSG);
                    break;
                }
            }
        }
        assert_eq!((stat.messages, stat.bytes), (messages, bytes));
        println!("{messages} messages were left");
        let status = &ns.queues().unwrap()[0];
        assert_eq!((status.stat.messages, status.stat.bytes, status.waiters.len()), (0, 0, 0));
        let count = QueueFile::read(path, 0).count();
        assert_eq!((count.messages, count.under_way, count.lost), (0, 0, 0), "{count:?}");
    })
    .succeeds();
}

/// Processes that send and receive are killed again and again. A killed receiver may lose the one
/// message that it has not recorded yet.
#[test]
fn killed_processes_lose_no_messages_but_those_just_received() {
    alone("killed_processes_lose_no_messages_but_those_just_received", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        let seed = u64::from(std::process::id()) << 20 ^ Instant::now().elapsed().as_nanos() as u64;
        println!("seed {seed}");
        let mut dice = Dice(seed);
        const SENDERS: u32 = 4000;
        let ledger = Ledger::new(SENDERS, 4096);
        let mut senders = 0;
        let sender = |seed, senders: &mut u32| {
            *senders += 1;
            let nth = *senders - 1;
            fork(|| send_until_killed(&path, &ledger, nth, seed))
        };
        let mut workers: Vec<Child> = (0..2).map(|_| sender(dice.throw(1 << 30), &mut senders)).collect();
        workers.extend((0..2).map(|_| fork(|| receive_until_killed(&path, &ledger, dice.throw(1 << 30)))));
        let end = Instant::now() + WHILE;
        let mut kills = [0; 2];
        while Instant::now() < end && senders < SENDERS {
            std::thread::sleep(Duration::from_micros(dice.throw(4000)));
            let nth = dice.throw(4) as usize;
            let next = match nth {
                0 | 1 => sender(dice.throw(1 << 30), &mut senders),
                _ => fork(|| receive_until_killed(&path, &ledger, dice.throw(1 << 30))),
            };
            let worker = std::mem::replace(&mut workers[nth], next);
            assert!(!worker.has_ended(), "a worker failed");
            worker.kill();
            kills[nth / 2] += 1;
        }
        for (nth, worker) in workers.into_iter().enumerate() {
            assert!(!worker.has_ended(), "a worker failed");
            worker.kill();
            kills[nth / 2] += 1;
        }
        ends_empty(&path, &ledger);
        let (sent, lost) = ledger.sums();
        println!("{kills:?} kills, {sent} messages, {lost} lost with their receivers");
        assert!(sent > 100 && lost <= kills[1], "{sent} sent, {lost} lost");
    });
}

/// A blocked call either receives a message or times out: each message sent is received once. No
/// call blocks beside a message or beside room.
#[test]
fn a_message_is_received_once_although_calls_time_out() {
    alone("a_message_is_received_once_although_calls_time_out", |directory| {
        for (name, mtype, flags) in
            [("any", 0, MsgFlags::empty()), ("type", 3, MsgFlags::empty()), ("except", 9, MsgFlags::EXCEPT)]
        {
            let path = directory.join(name);
            create_queue(&path);
            let (had, ready, stop) = (Signpost::new(), Signpost::new(), Signpost::new());
            let receivers: Vec<Child> = (0..2)
                .map(|seed| {
                    fork(|| {
                        let (ns, id) = open(&path);
                        let (mut dice, mut sum) = (Dice(seed), (0i64, 0));
                        ready.post(1);
                        while !is_posted(&stop) {
                            let mut bytes = [0; 8];
                            let time = Duration::from_nanos(dice.throw(150_000));
                            match ns.msgrcv(id, &mut bytes, mtype, flags, Some(time)) {
                                Ok(got) => {
                                    assert_eq!(got, (3, 8));
                                    sum = (sum.0 + i64::from_ne_bytes(bytes), sum.1 + 1);
                                }
                                Err(e) => assert_eq!(e, Errno::NOMSG),
                            }
                        }
                        had.send_number(sum.0);
                    })
                })
                .collect();
            ready.wait();
            ready.wait();
            let given = 4000;
            fork(|| {
                let (ns, id) = open(&path);
                let mut dice = Dice(9);
                for nth in 1..=given {
                    ns.msgsnd(id, 3, &i64::to_ne_bytes(nth), MsgFlags::empty(), None).unwrap();
                    (0..dice.throw(300)).for_each(|_| std::hint::spin_loop());
                }
                until("all are received", || ns.msg_stat(id).unwrap().messages == 0);
            })
            .succeeds();
            stop.post(1);
            receivers.into_iter().for_each(Child::succeeds);
            assert_eq!(had.number() + had.number(), given * (given + 1) / 2, "{name}");
        }
    });
}

/// Requests and replies by type, through a queue that is mostly full. All calls block, for a
/// message or for room, without a timeout.
#[test]
fn requests_and_replies_pass_through_a_full_queue() {
    alone("requests_and_replies_pass_through_a_full_queue", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        fork(|| {
            let (ns, id) = open(&path);
            let perm = ns.msg_stat(id).unwrap().perm;
            ns.msg_set(id, perm.uid, perm.gid, perm.mode, 64).unwrap();
        })
        .succeeds();
        const ROUNDS: i64 = 1500;
        let servers: Vec<Child> = (0..2)
            .map(|_| {
                fork(|| {
                    let (ns, id) = open(&path);
                    let mut request = [0; 16];
                    loop {
                        let (_, len) = ns.msgrcv(id, &mut request, 1, MsgFlags::empty(), None).unwrap();
                        let to = i64::from_ne_bytes(request[..8].try_into().unwrap());
                        if to == 0 {
                            return;
                        }
                        ns.msgsnd(id, to, &request[..len], MsgFlags::empty(), None).unwrap();
                    }
                })
            })
            .collect();
        let clients: Vec<Child> = (10..13)
            .map(|me: i64| {
                fork(|| {
                    let (ns, id) = open(&path);
                    for round in 0..ROUNDS {
                        let request = [me.to_ne_bytes(), round.to_ne_bytes()].concat();
                        ns.msgsnd(id, 1, &request, MsgFlags::empty(), None).unwrap();
                        let mut reply = [0; 16];
                        assert_eq!(ns.msgrcv(id, &mut reply, me, MsgFlags::empty(), None), Ok((me, 16)));
                        assert_eq!(reply[..], request[..]);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(Child::succeeds);
        fork(|| {
            let (ns, id) = open(&path);
            (0..2).for_each(|_| ns.msgsnd(id, 1, &0i64.to_ne_bytes(), MsgFlags::empty(), None).unwrap());
        })
        .succeeds();
        servers.into_iter().for_each(Child::succeeds);
        ends_empty(&path, &Ledger::new(1, 1));
    });
}

/// A queue is removed and created again and again. Blocked calls end with an error, and none blocks
/// forever.
#[test]
fn removal_of_a_queue_wakes_all_its_users() {
    alone("removal_of_a_queue_wakes_all_its_users", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        let stop = Signpost::new();
        let users: Vec<Child> = (0..3)
            .map(|seed| {
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let mut dice = Dice(seed);
                    let mut buffer = vec![0; CAPACITY as usize];
                    while !is_posted(&stop) {
                        let Ok(id) = ns.msgget(KEY, libc::IPC_CREAT | 0o600) else { continue };
                        let id = id.raw();
                        let len = length(&mut dice);
                        let answer = match dice.throw(4) {
                            0 | 1 => ns.msgsnd(id, 1 + dice.throw(3) as i64, &buffer[..len], MsgFlags::empty(), None),
                            2 => ns.msgrcv(id, &mut buffer, dice.throw(3) as i64, MsgFlags::empty(), None).map(drop),
                            _ => ns.msgrcv(id, &mut buffer, 0, NOWAIT, None).map(drop),
                        };
                        let gone = [Ok(()), Err(Errno::IDRM), Err(Errno::INVAL), Err(Errno::NOMSG)];
                        assert!(gone.contains(&answer), "{answer:?}");
                    }
                })
            })
            .collect();
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let end = Instant::now() + Duration::from_secs(2);
            let mut removed = 0;
            while Instant::now() < end {
                if let Ok(id) = ns.msgget(KEY, 0)
                    && ns.msg_remove(id.raw()).is_ok()
                {
                    removed += 1;
                }
                std::thread::yield_now();
            }
            println!("removed {removed}");
        })
        .succeeds();
        stop.post(1);
        // The users may block on one more queue.
        let last = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            loop {
                if let Ok(id) = ns.msgget(KEY, 0) {
                    let _ = ns.msg_remove(id.raw());
                }
                std::thread::yield_now();
            }
        });
        for user in users {
            assert_eq!(user.end(), End::Exit(0));
        }
        last.kill();
    });
}

/// Threads of one process use a queue while the process forks children.
#[test]
fn messages_of_threads_and_forked_children_add_up() {
    alone("messages_of_threads_and_forked_children_add_up", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        const EACH: u32 = 1500;
        let ledger = Ledger::new(32, EACH);
        fork(|| {
            let (ns, id) = open(&path);
            let left = AtomicU32::new(2 * EACH + 30);
            std::thread::scope(|scope| {
                for sender in 0..2 {
                    let (ns, ledger) = (&ns, &ledger);
                    scope.spawn(move || {
                        let mut dice = Dice(sender.into());
                        for number in 0..EACH {
                            let text = Ledger::text(sender, number, length(&mut dice));
                            ns.msgsnd(id, 1 + i64::from(number) % TYPES as i64, &text, MsgFlags::empty(), None).unwrap();
                        }
                        ledger.sent[sender as usize].store(EACH, SeqCst);
                    });
                }
                for seed in 0..2 {
                    let (ns, ledger, left) = (&ns, &ledger, &left);
                    scope.spawn(move || {
                        let mut dice = Dice(seed);
                        let mut buffer = vec![0; CAPACITY as usize];
                        while left.load(SeqCst) > 0 {
                            let mtype = if dice.throw(3) == 0 { -1 - dice.throw(TYPES) as i64 } else { 0 };
                            let soon = Some(Duration::from_millis(1));
                            match ns.msgrcv(id, &mut buffer, mtype, MsgFlags::empty(), soon) {
                                Ok((mtype, len)) => {
                                    ledger.receive(mtype, &buffer[..len]);
                                    left.fetch_sub(1, SeqCst);
                                }
                                Err(e) => assert_eq!(e, Errno::NOMSG),
                            }
                        }
                    });
                }
                for sender in 2..32 {
                    // The child sends one message of its own.
                    fork(|| ns.msgsnd(id, 1, &Ledger::text(sender, 0, 8), MsgFlags::empty(), None).unwrap()).succeeds();
                    ledger.sent[sender as usize].store(1, SeqCst);
                }
            });
        })
        .succeeds();
        assert_eq!(ledger.sums(), (2 * EACH + 30, 0));
        ends_empty(&path, &ledger);
    });
}

/// A process calls exec while one of its threads blocks in a receive. The receive gets no later
/// message.
#[test]
fn a_blocked_receive_gets_no_message_after_exec() {
    alone("a_blocked_receive_gets_no_message_after_exec", |directory| {
        let (path, runs) = (directory.join("ns"), directory.join("runs"));
        create_queue(&path);
        let execs = fork(|| {
            let (ns, id) = open(&path);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    until("the receive blocks", || !ns.queues().unwrap()[0].waiters.is_empty());
                    let mut shell = std::process::Command::new("sh");
                    let error = shell.args(["-c", ": > \"$0\"; exec sleep 1000"]).arg(&runs).exec();
                    panic!("{error}");
                });
                let _ = ns.msgrcv(id, &mut [0; 8], 0, MsgFlags::empty(), None);
            });
        });
        // Waits until the new program runs: only then has the old one released everything.
        until("the new program runs", || runs.exists());
        fork(|| {
            let (ns, id) = open(&path);
            ns.msgsnd(id, 2, b"text", NOWAIT, None).unwrap();
            assert_eq!(ns.msg_stat(id).unwrap().messages, 1);
            assert_eq!(ns.msgrcv(id, &mut [0; 8], 0, NOWAIT, None), Ok((2, 4)));
        })
        .succeeds();
        execs.kill();
    });
}

/// Creating and removing queues at the same index leaks no mappings.
#[test]
fn repeated_creation_leaks_no_mappings() {
    alone("repeated_creation_leaks_no_mappings", |directory| {
        let path = directory.join("ns");
        create_queue(&path);
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        fork(|| {
            let (ns, id) = open(&path);
            ns.msg_remove(id).unwrap();
            let (mut before, mut last) = (0, -1);
            for round in 0..3000 {
                let id = ns.msgget(KEY, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap().raw();
                assert_ne!(id, last);
                ns.msgsnd(id, 1, &[1; 30_000], NOWAIT, None).unwrap();
                assert_eq!(ns.msgrcv(id, &mut [0; 9], 2, MsgFlags::empty(), Some(Duration::from_nanos(1))), Err(Errno::NOMSG));
                ns.msg_remove(id).unwrap();
                assert_eq!(ns.msgsnd(id, 1, b"", NOWAIT, None), Err(Errno::INVAL));
                last = id;
                if round == 10 {
                    before = maps();
                }
            }
            assert!(maps() < before + 100, "{before} mappings, then {}", maps());
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            println!("{:?}", status.lines().filter(|line| line.starts_with("Vm")).collect::<Vec<_>>());
        })
        .succeeds();
    });
}
