//! Sending and receiving while other calls wait, and waiting itself.

use super::*;
use crate::campaign::{Run, operations};

operations! { "queues::wait": sending_a_small_one_to_a_waiter sending_a_long_one_to_a_waiter sending_to_several_waiters making_room_for_a_small_one making_room_for_a_long_one giving_more_room waiting_in_vain woken }

/// One process waits for a message. If it does not get the victim's, it gets the next one.
fn sending_to_a_waiter(run: &Run, len: usize) {
    Scenario {
        peers: &|path| {
            let waits = receiver(path, CAPACITY as usize, 0, MsgFlags::empty());
            until_waiting(path, 1);
            vec![waits]
        },
        warm_up: &used,
        victim: &|ns| send(ns, queue_of(ns), 7, 9, len),
        check: &|path, peers| {
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                send(&ns, queue_of(&ns), 8, 10, SMALL);
            })
            .succeeds();
            for child in peers {
                let end = child.end();
                let left = match end {
                    End::Exit(109) => vec![(8, 10, SMALL)],
                    End::Exit(110) if !completed() => vec![],
                    _ => panic!("{end:?}"),
                };
                ends_with(path, &[left]);
            }
        },
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}

fn sending_a_small_one_to_a_waiter(run: &Run) {
    sending_to_a_waiter(run, SMALL);
}

fn sending_a_long_one_to_a_waiter(run: &Run) {
    if run.is_short() {
        return println!("skipped: takes a minute");
    }
    sending_to_a_waiter(run, LONG);
}

/// The first waiting process has a buffer that is too small, the second waits for another type, the
/// third gets the message.
fn sending_to_several_waiters(run: &Run) {
    Scenario {
        peers: &|path| {
            let mut all = Vec::new();
            for (size, mtype, flags) in [(10, 0, MsgFlags::empty()), (100, 8, MsgFlags::empty()), (100, -7, NOERROR)] {
                all.push(receiver(path, size, mtype, flags));
                until_waiting(path, all.len());
            }
            all
        },
        warm_up: &used,
        victim: &|ns| send(ns, queue_of(ns), 7, 9, SMALL),
        check: &|path, peers| {
            let first = fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = queue_of(&ns);
                send(&ns, id, 6, 10, SMALL);
                send(&ns, id, 8, 11, SMALL);
            });
            first.succeeds();
            let ends: Vec<End> = peers.into_iter().map(Child::end).collect();
            assert_eq!(ends[..2], [End::Exit(3), End::Exit(111)]);
            let left = match ends[2] {
                End::Exit(109) => vec![(6, 10, SMALL)],
                End::Exit(110) => vec![],
                other => panic!("{other:?}"),
            };
            ends_with(path, &[left]);
        },
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}

/// The queue is full, and two processes wait to send. The victim makes room for the second. After a
/// kill the survivors proceed without further action.
fn making_room(run: &Run, len: usize) {
    let rest = CAPACITY as usize - 2 * len;
    let before = [(1, 1, len), (1, 2, len), (1, 3, rest)];
    let took = Expected::new(before[0]);
    Scenario {
        setup: &|ns| {
            make_queue(ns);
            before.iter().for_each(|(mtype, name, len)| send(ns, queue_of(ns), *mtype, *name, *len));
        },
        peers: &|path| {
            let all = vec![sender(path, 2, 20, len + 1)];
            until_waiting(path, 1);
            let all: Vec<Child> = all.into_iter().chain([sender(path, 3, 30, len)]).collect();
            until_waiting(path, 2);
            all
        },
        warm_up: &used,
        victim: &|ns| took.take(ns, 0, NOWAIT),
        check: &|path, peers| {
            let [large, fitting]: [Child; 2] = peers.try_into().ok().unwrap();
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
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}

fn making_room_for_a_small_one(run: &Run) {
    making_room(run, SMALL);
}

fn making_room_for_a_long_one(run: &Run) {
    making_room(run, LONG);
}

/// Two processes wait to send to a full queue. Its capacity is then raised. The victim dies, and
/// no other process comes.
fn giving_more_room(run: &Run) {
    let more = |ns: &Namespace| {
        let id = queue_of(ns);
        let perm = ns.msg_stat(id).unwrap().perm;
        ns.msg_set(id, perm.uid, perm.gid, perm.mode, 1000).unwrap();
    };
    Scenario {
        setup: &|ns| {
            make_queue(ns);
            let id = queue_of(ns);
            let perm = ns.msg_stat(id).unwrap().perm;
            ns.msg_set(id, perm.uid, perm.gid, perm.mode, 100).unwrap();
            send(ns, id, 1, 1, 100);
        },
        peers: &|path| {
            let all = vec![sender(path, 2, 20, 60), sender(path, 2, 20, 60)];
            until_waiting(path, 2);
            all
        },
        victim: &more,
        check: &|path, peers| {
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                if ns.msg_stat(queue_of(&ns)).unwrap().capacity == 100 {
                    more(&ns);
                }
            })
            .succeeds();
            peers.into_iter().for_each(Child::succeeds);
            ends_with(path, &[vec![(1, 1, 100), (2, 20, 60), (2, 20, 60)]]);
        },
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}

/// Kills before the sleep, in the sleep, and at the timeout.
fn waiting_in_vain(run: &Run) {
    for len in [SMALL, LONG, 0] {
        if len == LONG && run.is_short() {
            continue;
        }
        Scenario {
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
            attempt: attempt_to_look(),
            ..scenario()
        }
        .run(run);
    }
}

/// Kills a receiver while it is handed a message: it has the message or not.
fn woken(run: &Run) {
    for len in [SMALL, LONG] {
        let got = Expected::new((7, 9, len));
        Scenario {
            peers: &|path| {
                vec![fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let id = queue_of(&ns);
                    // The victim may be killed before it waits.
                    while ns.queues().unwrap()[0].waiters.is_empty() {
                        if ns.msg_stat(id).unwrap().messages == 1 {
                            return;
                        }
                        std::thread::yield_now();
                    }
                    send(&ns, id, 7, 9, len);
                })]
            },
            warm_up: &used,
            victim: &|ns| got.take(ns, 7, MsgFlags::empty()),
            check: &|path, peers| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    send(&ns, queue_of(&ns), 1, 1, 1);
                })
                .succeeds();
                peers.into_iter().for_each(Child::succeeds);
                ends_with(path, &[vec![(1, 1, 1), (7, 9, len)], vec![(7, 9, len), (1, 1, 1)], vec![(1, 1, 1)]]);
            },
            attempt: attempt_to_look(),
            ..scenario()
        }
        .run(run);
    }
}
