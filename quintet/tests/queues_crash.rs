//! Killed anywhere in the use of a message queue: after each store to its header, and each system call that others see something of, the process is ended by
//! SIGKILL. A message that was sent is received once, what the dead one was receiving is there or gone, whole; nobody waits in vain, and no slot is lost.
//!
//! `QUINTET_CRASH_EVERY=n` takes every n-th point; without it as many as take a second or two.
#![allow(unsafe_code)]

mod support;

use quintet::{Errno, Key, Kind, Limits, MsgFlags, Namespace};
use std::path::Path;
use std::time::Duration;
use support::{
    Child, End, QUEUE_HEAD, QueueFile, Scenario, Tracee, Watch, alone, begin, finish, fork, names, text, until, which,
};

const KEY: Key = Key::new(0x3e55);
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;
const NOERROR: MsgFlags = MsgFlags::NOERROR;
/// `msg_qbytes`, and the most that a message may have.
const CAPACITY: u64 = 1 << 20;
/// In one slot; in several; copied with the lock not held.
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
    // The page that is watched has the smallest slots.
    send(ns, id, 1, 0, 1);
    receive(ns, id, 0, NOWAIT).unwrap();
}

fn send(ns: &Namespace, id: i32, mtype: i64, name: u8, len: usize) {
    ns.msgsnd(id, mtype, &text(name, len), NOWAIT, None).unwrap();
}

/// Type, which one, length.
type Got = (i64, u8, usize);

fn receive_into(ns: &Namespace, id: i32, size: usize, mtype: i64, flags: MsgFlags) -> Result<Got, Errno> {
    let mut buffer = vec![0; size];
    let (mtype, len) = ns.msgrcv(id, &mut buffer, mtype, flags, None)?;
    Ok((mtype, which(&buffer[..len]), len))
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
        until("all wait", || ns.queues().unwrap()[0].waiters.len() == n);
    })
    .succeeds();
}

/// What the answer of a call becomes for the exit status.
fn end_as(answer: Result<(), Errno>) {
    match answer {
        Ok(()) => {}
        Err(Errno::IDRM) => support::exit(2),
        Err(Errno::TOOBIG) => support::exit(3),
        Err(e) => panic!("{e:?}"),
    }
}

/// A process that receives a message, and sends the queue's other readers its name as a type: 100 and `which`.
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

/// The queue does all that queues do, at once, and has room for all that it should have; then it is empty, and nobody waits.
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
    // It takes as much as it may, of each size.
    let capacity = ns.msg_stat(id).unwrap().capacity as usize;
    let most = capacity.min(ns.limits().unwrap().msgmax as usize);
    let lengths = [LONG, BLOCKS, SMALL, 700, 1];
    let mut sent = Vec::new();
    let mut left = capacity;
    for (nth, len) in lengths.into_iter().cycle().take(60).enumerate().filter(|(_, len)| *len <= most) {
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
    // Who waits is let go on.
    let waits = receiver(path, SMALL, 0, MsgFlags::empty());
    until("it waits", || ns.queues().unwrap()[0].waiters.len() == 1);
    send(ns, id, 3, 77, SMALL);
    assert_eq!(waits.end(), End::Exit(177));
    let stat = ns.msg_stat(id).unwrap();
    assert_eq!((stat.messages, stat.bytes), (0, 0));
    if ns.kind() == Kind::Private {
        let count = QueueFile::read(path, 0).count();
        assert_eq!((count.messages, count.lost, count.under_way), (0, 0, 0), "{count:?}");
    }
}

/// Removes what is there; nothing is left.
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
    Scenario { setup: &make_queue, clear: &clear_all, most: 14, ..Scenario::default() }
}

/// Then there are these messages, or those (in the order in which they are), and the queue works.
#[track_caller]
fn ends_with(path: &Path, allowed: &[Vec<Got>]) {
    let end = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = queue_of(&ns);
        let all = content(&ns, id);
        assert!(allowed.contains(&all), "{all:?}, not of {allowed:?}");
        works(path, &ns, id);
    })
    .end();
    assert_eq!(end, End::Exit(0), "of {allowed:?}");
}

fn sending(name: &str, before: &[Got], mtype: i64, len: usize) {
    alone(name, |directory| {
        let with = |more: Option<Got>| before.iter().copied().chain(more).collect::<Vec<Got>>();
        Scenario {
            name,
            setup: &|ns| {
                make_queue(ns);
                before.iter().for_each(|(mtype, name, len)| send(ns, queue_of(ns), *mtype, *name, *len));
            },
            victim: &|ns| send(ns, queue_of(ns), mtype, 9, len),
            check: &|path, _| ends_with(path, &[with(None), with(Some((mtype, 9, len)))]),
            steady: len < BLOCKS,
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn sending_a_small_one() {
    sending("sending_a_small_one", &[], 7, SMALL);
}

#[test]
fn sending_one_of_several_blocks() {
    sending("sending_one_of_several_blocks", &[(3, 1, BLOCKS)], 7, BLOCKS);
}

#[test]
fn sending_a_long_one() {
    sending("sending_a_long_one", &[(3, 1, SMALL)], 7, LONG);
}

/// The file has no more room for it, and grows.
#[test]
fn sending_where_it_grows() {
    sending("sending_where_it_grows", &[(3, 1, 4000), (3, 2, 4000), (3, 3, 4000)], 7, 4000);
}

/// So many that there is an index by type.
fn many(types: i64) -> Vec<Got> {
    (0..40).map(|nth| (10 + nth as i64 % types, 10 + nth as u8, 20)).collect()
}

fn make_many(ns: &Namespace, indexed: bool) {
    make_queue(ns);
    let id = queue_of(ns);
    send(ns, id, 5, 5, 20);
    many(6).into_iter().for_each(|(mtype, name, len)| send(ns, id, mtype, name, len));
    if indexed {
        send(ns, id, 99, 99, 20);
        assert_eq!(receive(ns, id, 99, NOWAIT), Ok((99, 99, 20)));
    }
}

fn sending_with_an_index(name: &str, mtype: i64) {
    alone(name, |directory| {
        let mut all = vec![(5, 5, 20)];
        all.extend(many(6));
        let with: Vec<Got> = all.iter().copied().chain([(mtype, 9, SMALL)]).collect();
        Scenario {
            name,
            setup: &|ns| make_many(ns, true),
            victim: &|ns| send(ns, queue_of(ns), mtype, 9, SMALL),
            check: &|path, _| ends_with(path, &[all.clone(), with.clone()]),
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn sending_of_a_type_that_is_there() {
    sending_with_an_index("sending_of_a_type_that_is_there", 12);
}

#[test]
fn sending_of_a_new_type() {
    sending_with_an_index("sending_of_a_new_type", 1 << 40);
}

fn receiving_by_type(name: &str, indexed: bool, mtype: i64, flags: MsgFlags, expected: Got) {
    alone(name, |directory| {
        let mut all = vec![(5, 5, 20)];
        all.extend(many(6));
        let without: Vec<Got> = all.iter().copied().filter(|got| *got != expected).collect();
        assert_eq!(without.len() + 1, all.len());
        Scenario {
            name,
            setup: &|ns| make_many(ns, indexed),
            victim: &|ns| assert_eq!(receive(ns, queue_of(ns), mtype, NOWAIT | flags), Ok(expected)),
            check: &|path, _| ends_with(path, &[all.clone(), without.clone()]),
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn receiving_by_type_with_an_index() {
    receiving_by_type("receiving_by_type_with_an_index", true, 13, MsgFlags::empty(), (13, 13, 20));
}

/// It is made first.
#[test]
fn receiving_by_type_without_an_index() {
    receiving_by_type("receiving_by_type_without_an_index", false, 13, MsgFlags::empty(), (13, 13, 20));
}

#[test]
fn receiving_but_a_type() {
    receiving_by_type("receiving_but_a_type", true, 5, MsgFlags::EXCEPT, (10, 10, 20));
}

/// The only one of its type.
#[test]
fn receiving_the_lowest_type() {
    receiving_by_type("receiving_the_lowest_type", true, -6, MsgFlags::empty(), (5, 5, 20));
}

/// The second of three is received, into so much room.
fn receiving(name: &str, len: usize, size: usize, flags: MsgFlags) {
    alone(name, |directory| {
        let all: Vec<Got> = vec![(1, 1, SMALL), (2, 2, len), (3, 3, SMALL)];
        let without = vec![all[0], all[2]];
        Scenario {
            name,
            setup: &|ns| {
                make_queue(ns);
                all.iter().for_each(|(mtype, name, len)| send(ns, queue_of(ns), *mtype, *name, *len));
            },
            victim: &|ns| {
                let got = receive_into(ns, queue_of(ns), size, 2, NOWAIT | flags);
                let expected = if len > size && flags.is_empty() { Err(Errno::TOOBIG) } else { Ok((2, 2, len.min(size))) };
                assert_eq!(got, expected);
            },
            check: &|path, _| ends_with(path, &[all.clone(), without.clone()]),
            steady: len < BLOCKS,
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn receiving_a_small_one() {
    receiving("receiving_a_small_one", SMALL, SMALL, MsgFlags::empty());
}

#[test]
fn receiving_one_of_several_blocks() {
    receiving("receiving_one_of_several_blocks", BLOCKS, BLOCKS, MsgFlags::empty());
}

#[test]
fn receiving_a_long_one() {
    receiving("receiving_a_long_one", LONG, LONG, MsgFlags::empty());
}

#[test]
fn receiving_it_cut_off() {
    receiving("receiving_it_cut_off", LONG, 100, NOERROR);
}

#[test]
fn receiving_what_is_too_long() {
    receiving("receiving_what_is_too_long", SMALL, SMALL - 1, MsgFlags::empty());
}

/// One waits to receive; if the victim's message is not his, the next one is.
fn sending_to_one_who_waits(name: &str, len: usize) {
    alone(name, |directory| {
        Scenario {
            name,
            company: &|path| {
                let waits = receiver(path, CAPACITY as usize, 0, MsgFlags::empty());
                until_waiting(path, 1);
                vec![waits]
            },
            victim: &|ns| send(ns, queue_of(ns), 7, 9, len),
            check: &|path, company| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    send(&ns, queue_of(&ns), 8, 10, SMALL);
                })
                .succeeds();
                for child in company {
                    let end = child.end();
                    let left = match end {
                        End::Exit(109) => vec![(8, 10, SMALL)],
                        End::Exit(110) => vec![],
                        _ => panic!("{end:?}"),
                    };
                    ends_with(path, &[left]);
                }
            },
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn sending_a_small_one_to_one_who_waits() {
    sending_to_one_who_waits("sending_a_small_one_to_one_who_waits", SMALL);
}

#[test]
fn sending_a_long_one_to_one_who_waits() {
    sending_to_one_who_waits("sending_a_long_one_to_one_who_waits", LONG);
}

/// The first who waits has not room enough, the second waits for another type, the third gets it.
#[test]
fn sending_to_several_who_wait() {
    alone("sending_to_several_who_wait", |directory| {
        Scenario {
            name: "several-wait",
            company: &|path| {
                let mut all = Vec::new();
                for (size, mtype, flags) in [(10, 0, MsgFlags::empty()), (100, 8, MsgFlags::empty()), (100, -7, NOERROR)] {
                    all.push(receiver(path, size, mtype, flags));
                    until_waiting(path, all.len());
                }
                all
            },
            victim: &|ns| send(ns, queue_of(ns), 7, 9, SMALL),
            check: &|path, company| {
                let first = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let id = queue_of(&ns);
                    send(&ns, id, 6, 10, SMALL);
                    send(&ns, id, 8, 11, SMALL);
                });
                first.succeeds();
                let ends: Vec<End> = company.into_iter().map(Child::end).collect();
                assert_eq!(ends[..2], [End::Exit(3), End::Exit(111)]);
                let left = match ends[2] {
                    End::Exit(109) => vec![(6, 10, SMALL)],
                    End::Exit(110) => vec![],
                    other => panic!("{other:?}"),
                };
                ends_with(path, &[left]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// It is full, and two wait to send; the victim makes room for the second. Whoever is there afterwards does not have to do anything for it.
fn making_room(name: &str, len: usize) {
    alone(name, |directory| {
        let rest = CAPACITY as usize - 2 * len;
        let before = [(1, 1, len), (1, 2, len), (1, 3, rest)];
        Scenario {
            name,
            setup: &|ns| {
                make_queue(ns);
                before.iter().for_each(|(mtype, name, len)| send(ns, queue_of(ns), *mtype, *name, *len));
            },
            company: &|path| {
                let all = vec![sender(path, 2, 20, len + 1)];
                until_waiting(path, 1);
                let all: Vec<Child> = all.into_iter().chain([sender(path, 3, 30, len)]).collect();
                until_waiting(path, 2);
                all
            },
            victim: &|ns| assert_eq!(receive(ns, queue_of(ns), 0, NOWAIT), Ok((1, 1, len))),
            check: &|path, company| {
                let [large, fitting]: [Child; 2] = company.try_into().ok().unwrap();
                let took = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let id = queue_of(&ns);
                    ns.sweep().unwrap();
                    if content(&ns, id)[0].1 == 1 {
                        assert_eq!(receive(&ns, id, 0, NOWAIT), Ok((1, 1, len)));
                    }
                });
                took.succeeds();
                fitting.succeeds();
                until_waiting(path, 1);
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    assert_eq!(receive(&ns, queue_of(&ns), 0, NOWAIT), Ok((1, 2, len)));
                    assert_eq!(receive(&ns, queue_of(&ns), 0, NOWAIT), Ok((1, 3, rest)));
                })
                .succeeds();
                large.succeeds();
                ends_with(path, &[vec![(3, 30, len), (2, 20, len + 1)]]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn making_room_for_a_small_one() {
    making_room("making_room_for_a_small_one", SMALL);
}

#[test]
fn making_room_for_a_long_one() {
    making_room("making_room_for_a_long_one", LONG);
}

/// Two wait to send to a full queue, which is then made to take more; the victim dies, and nobody else comes.
#[test]
fn giving_more_room() {
    alone("giving_more_room", |directory| {
        let more = |ns: &Namespace| {
            let id = queue_of(ns);
            let perm = ns.msg_stat(id).unwrap().perm;
            ns.msg_set(id, perm.uid, perm.gid, perm.mode, 1000).unwrap();
        };
        Scenario {
            name: "more-room",
            setup: &|ns| {
                make_queue(ns);
                let id = queue_of(ns);
                let perm = ns.msg_stat(id).unwrap().perm;
                ns.msg_set(id, perm.uid, perm.gid, perm.mode, 100).unwrap();
                send(ns, id, 1, 1, 100);
            },
            company: &|path| {
                let all = vec![sender(path, 2, 20, 60), sender(path, 2, 20, 60)];
                until_waiting(path, 2);
                all
            },
            victim: &more,
            check: &|path, company| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    if ns.msg_stat(queue_of(&ns)).unwrap().capacity == 100 {
                        more(&ns);
                    }
                })
                .succeeds();
                company.into_iter().for_each(Child::succeeds);
                ends_with(path, &[vec![(1, 1, 100), (2, 20, 60), (2, 20, 60)]]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// Whoever waits on a queue that is half removed does not wait for ever, though nobody else comes.
fn removing_it(name: &str, kind: Kind) {
    alone(name, |directory| {
        Scenario {
            name,
            kind,
            setup: &|ns| {
                make_queue(ns);
                send(ns, queue_of(ns), 1, 1, CAPACITY as usize);
            },
            company: &|path| {
                let all = vec![receiver(path, 100, 5, MsgFlags::empty()), sender(path, 2, 20, SMALL), sender(path, 2, 20, LONG)];
                until_waiting(path, 3);
                all
            },
            victim: &|ns| ns.msg_remove(queue_of(ns)).unwrap(),
            check: &|path, company| {
                let gone = std::fs::read(path.join("msg/0")).is_ok_and(|file| file[QUEUE_HEAD] == 2);
                if gone {
                    for child in company {
                        assert_eq!(child.end(), End::Exit(2));
                    }
                    return;
                }
                let stands = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    match ns.msgget(KEY, 0) {
                        Ok(id) => {
                            receive(&ns, id.raw(), 0, NOWAIT).unwrap();
                            send(&ns, id.raw(), 5, 5, SMALL);
                        }
                        Err(e) => {
                            assert_eq!(e, Errno::NOENT);
                            support::exit(2)
                        }
                    }
                })
                .end();
                let ends: Vec<End> = company.into_iter().map(Child::end).collect();
                if stands == End::Exit(0) {
                    assert_eq!(ends, [End::Exit(105), End::Exit(0), End::Exit(0)]);
                    let both = [(2, 20, SMALL), (2, 20, LONG)];
                    ends_with(path, &[both.to_vec(), vec![both[1], both[0]]]);
                } else {
                    assert_eq!((stands, ends), (End::Exit(2), vec![End::Exit(2); 3]));
                }
            },
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn removing_in_private() {
    removing_it("removing_in_private", Kind::Private);
}

#[test]
fn removing_in_shared() {
    removing_it("removing_in_shared", Kind::Shared);
}

/// Killed on the way to sleep, asleep, and giving up.
#[test]
fn waiting_in_vain() {
    alone("waiting_in_vain", |directory| {
        for (name, len) in [("send", SMALL), ("send-long", LONG), ("receive", 0)] {
            Scenario {
                name,
                setup: &|ns| {
                    make_queue(ns);
                    send(ns, queue_of(ns), 1, 1, CAPACITY as usize);
                },
                victim: &|ns| {
                    let soon = Some(Duration::from_millis(1));
                    if len > 0 {
                        assert_eq!(ns.msgsnd(queue_of(ns), 2, &text(2, len), MsgFlags::empty(), soon), Err(Errno::AGAIN));
                    } else {
                        assert_eq!(ns.msgrcv(queue_of(ns), &mut [], 2, MsgFlags::empty(), soon), Err(Errno::NOMSG));
                    }
                },
                check: &|path, _| ends_with(path, &[vec![(1, 1, CAPACITY as usize)]]),
                ..scenario()
            }
            .run(directory);
        }
    });
}

/// Killed while it is handed what it waits for: with that, or before.
#[test]
fn woken() {
    alone("woken", |directory| {
        for (name, len) in [("small", SMALL), ("long", LONG)] {
            Scenario {
                name,
                company: &|path| {
                    vec![fork(|| {
                        let ns = Namespace::open(path).unwrap();
                        let id = queue_of(&ns);
                        // It may be killed before it waits.
                        while ns.queues().unwrap()[0].waiters.is_empty() {
                            if ns.msg_stat(id).unwrap().messages == 1 {
                                return;
                            }
                            std::thread::yield_now();
                        }
                        send(&ns, id, 7, 9, len);
                    })]
                },
                victim: &|ns| assert_eq!(receive(ns, queue_of(ns), 7, MsgFlags::empty()), Ok((7, 9, len))),
                check: &|path, company| {
                    fork(|| {
                        let ns = Namespace::open(path).unwrap();
                        send(&ns, queue_of(&ns), 1, 1, 1);
                    })
                    .succeeds();
                    company.into_iter().for_each(Child::succeeds);
                    ends_with(path, &[vec![(1, 1, 1)], vec![(1, 1, 1), (7, 9, len)], vec![(7, 9, len), (1, 1, 1)]]);
                },
                ..scenario()
            }
            .run(directory);
        }
    });
}

/// An empty queue that was large gives its memory back.
#[test]
fn giving_memory_back() {
    const LARGE: usize = 17 << 20;
    alone("giving_memory_back", |directory| {
        Scenario {
            name: "memory",
            setup: &|ns| {
                let limits = ns.limits().unwrap();
                ns.set_limits(&Limits { msgmax: LARGE as u32, msgmnb: LARGE as u32, ..limits }).unwrap();
                let id = ns.msgget(KEY, libc::IPC_CREAT | 0o600).unwrap().raw();
                send(ns, id, 1, 1, 1);
                ns.msgsnd(id, 2, &vec![7; LARGE - 2], NOWAIT, None).unwrap();
                assert_eq!(ns.msgrcv(id, &mut [0], 2, NOERROR | NOWAIT, None), Ok((2, 1)));
                ns.set_limits(&Limits { msgmax: CAPACITY as u32, msgmnb: CAPACITY as u32, ..limits }).unwrap();
                let perm = ns.msg_stat(id).unwrap().perm;
                ns.msg_set(id, perm.uid, perm.gid, perm.mode, CAPACITY).unwrap();
            },
            victim: &|ns| assert_eq!(receive(ns, queue_of(ns), 0, NOWAIT), Ok((1, 1, 1))),
            check: &|path, _| ends_with(path, &[vec![(1, 1, 1)], vec![]]),
            ..scenario()
        }
        .run(directory);
    });
}

fn making(name: &str, kind: Kind) {
    alone(name, |directory| {
        Scenario {
            name,
            kind,
            setup: &support::nothing,
            victim: &|ns| _ = ns.msgget(KEY, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap(),
            check: &|path, _| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let found = ns.msgget(KEY, 0);
                    assert!(found.is_ok() || found == Err(Errno::NOENT), "{found:?}");
                    let id = ns.msgget(KEY, libc::IPC_CREAT | 0o640).unwrap();
                    assert!(found.is_err() || found == Ok(id));
                    assert_eq!(ns.msg_stat(id.raw()).unwrap().perm.mode, 0o640);
                    works(path, &ns, id.raw());
                })
                .succeeds();
            },
            ..scenario()
        }
        .run(directory);
    });
}

#[test]
fn creating_in_private() {
    making("creating_in_private", Kind::Private);
}

#[test]
fn creating_in_shared() {
    making("creating_in_shared", Kind::Shared);
}

#[test]
fn giving_rights() {
    alone("giving_rights", |directory| {
        Scenario {
            name: "rights",
            kind: Kind::Shared,
            victim: &|ns| {
                let perm = ns.msg_stat(queue_of(ns)).unwrap().perm;
                ns.msg_set(queue_of(ns), perm.uid, perm.gid, 0o660, CAPACITY).unwrap();
            },
            check: &|path, _| {
                fork(|| {
                    use std::os::unix::fs::PermissionsExt;
                    let ns = Namespace::open(path).unwrap();
                    let other = ns.msgget(Key::PRIVATE, 0o600).unwrap().raw();
                    let mode = ns.msg_stat(queue_of(&ns)).unwrap().perm.mode;
                    let of = |file: &str| std::fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777;
                    let modes = (mode, of("msg/0"), of("msg/0.data"));
                    assert!([(0o600, 0o644, 0o600), (0o660, 0o664, 0o660)].contains(&modes), "{modes:?}");
                    ns.msg_remove(other).unwrap();
                })
                .succeeds();
                ends_with(path, &[vec![]]);
            },
            ..scenario()
        }
        .run(directory);
    });
}

/// One who was killed with the lock held is followed by another one, who is killed while he makes it good.
#[test]
fn repairing() {
    alone("repairing", |directory| {
        let start = |path: &Path| {
            fork(|| {
                let ns = Namespace::create(path, Kind::Private).unwrap();
                make_many(&ns, true);
                let id = queue_of(&ns);
                let bytes = ns.msg_stat(id).unwrap().bytes as usize;
                send(&ns, id, 40, 40, CAPACITY as usize - bytes);
            })
            .succeeds();
            let waits = sender(path, 50, 50, 20);
            until_waiting(path, 1);
            let first = Tracee::start(|| {
                let ns = Namespace::open(path).unwrap();
                begin();
                receive(&ns, queue_of(&ns), 13, NOWAIT).unwrap();
                finish();
            });
            (waits, first)
        };
        let path = directory.join("points");
        let (waits, tracee) = start(&path);
        let points = tracee.all_points(&mut Watch::new(&path), true);
        drop(waits);
        let mut repairs = 0;
        for (i, point) in points.iter().enumerate().skip(3).step_by(13) {
            for nth in (i % 9..).step_by(9) {
                let path = directory.join(format!("{i}-{nth}"));
                let (waits, mut first) = start(&path);
                let mut watch = Watch::new(&path);
                first.run_to(*point, &mut watch);
                let held = first.lock_held;
                first.kill();
                let mut second = Tracee::start(|| {
                    let ns = Namespace::open(&path).unwrap();
                    begin();
                    ns.queues().unwrap();
                    finish();
                });
                let reached = second.run_to_change(nth as u32, &mut watch);
                second.kill();
                println!("repairing: {point:?}, then at change {nth}");
                repairs += 1;
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let id = queue_of(&ns);
                    let all = content(&ns, id);
                    if all.contains(&(13, 13, 20)) {
                        assert_eq!(receive(&ns, id, 13, NOWAIT), Ok((13, 13, 20)));
                    }
                    ns.queues().unwrap();
                })
                .succeeds();
                waits.succeeds();
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let id = queue_of(&ns);
                    let mut all = vec![(5, 5, 20)];
                    all.extend(many(6).into_iter().filter(|got| got.1 != 13));
                    all.push((40, 40, CAPACITY as usize - 41 * 20));
                    all.push((50, 50, 20));
                    assert_eq!(content(&ns, id), all);
                    works(&path, &ns, id);
                })
                .succeeds();
                let _ = std::fs::remove_dir_all(&path);
                if !reached || !held {
                    break;
                }
            }
        }
        println!("repairing: {repairs} deaths");
    });
}
