//! Sending and receiving where others wait, and waiting.

use super::*;
use crate::campaign::{Run, operations};

operations! { "queues::wait": sending_a_small_one_to_one_who_waits sending_a_long_one_to_one_who_waits sending_to_several_who_wait making_room_for_a_small_one making_room_for_a_long_one giving_more_room waiting_in_vain woken }

/// One waits to receive; if the victim's message is not his, the next one is.
fn sending_to_one_who_waits(run: &Run, len: usize) {
    Scenario {
        company: &|path| {
            let waits = receiver(path, CAPACITY as usize, 0, MsgFlags::empty());
            until_waiting(path, 1);
            vec![waits]
        },
        prelude: &used,
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

fn sending_a_small_one_to_one_who_waits(run: &Run) {
    sending_to_one_who_waits(run, SMALL);
}

fn sending_a_long_one_to_one_who_waits(run: &Run) {
    if run.is_short() {
        return println!("left out: it takes a minute");
    }
    sending_to_one_who_waits(run, LONG);
}

/// The first who waits has not room enough, the second waits for another type, the third gets it.
fn sending_to_several_who_wait(run: &Run) {
    Scenario {
        company: &|path| {
            let mut all = Vec::new();
            for (size, mtype, flags) in [(10, 0, MsgFlags::empty()), (100, 8, MsgFlags::empty()), (100, -7, NOERROR)] {
                all.push(receiver(path, size, mtype, flags));
                until_waiting(path, all.len());
            }
            all
        },
        prelude: &used,
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
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}

/// It is full, and two wait to send; the victim makes room for the second. Whoever is there afterwards does not have to do anything for it.
fn making_room(run: &Run, len: usize) {
    let rest = CAPACITY as usize - 2 * len;
    let before = [(1, 1, len), (1, 2, len), (1, 3, rest)];
    Scenario {
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
        prelude: &used,
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

/// Two wait to send to a full queue, which is then made to take more; the victim dies, and nobody else comes.
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
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}

/// Killed on the way to sleep, asleep, and giving up.
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

/// Killed while it is handed what it waits for: with that, or before.
fn woken(run: &Run) {
    for len in [SMALL, LONG] {
        Scenario {
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
            prelude: &used,
            victim: &|ns| assert_eq!(receive(ns, queue_of(ns), 7, MsgFlags::empty()), Ok((7, 9, len))),
            check: &|path, company| {
                fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    send(&ns, queue_of(&ns), 1, 1, 1);
                })
                .succeeds();
                company.into_iter().for_each(Child::succeeds);
                ends_with(path, &[vec![(1, 1, 1), (7, 9, len)], vec![(7, 9, len), (1, 1, 1)], vec![(1, 1, 1)]]);
            },
            attempt: attempt_to_look(),
            ..scenario()
        }
        .run(run);
    }
}
