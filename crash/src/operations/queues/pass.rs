//! Sending and receiving while no other call waits.

use super::*;
use crate::campaign::{Run, operations};

operations! { "queues::pass": sending_for_the_first_time sending_a_small_one sending_one_of_several_blocks sending_a_long_one sending_where_it_grows sending_of_a_type_that_is_there sending_of_a_new_type receiving_by_type_with_an_index receiving_by_type_without_an_index receiving_but_a_type receiving_the_lowest_type receiving_a_small_one receiving_one_of_several_blocks receiving_a_long_one receiving_it_cut_off receiving_what_is_too_long }

fn sending(run: &Run, warm_up: &dyn Fn(&Namespace), before: &[Got], mtype: i64, len: usize) {
    let bytes = text(9, len);
    let with = |more: Option<Got>| before.iter().copied().chain(more).collect::<Vec<Got>>();
    Scenario {
        setup: &|ns| {
            make_queue(ns);
            before.iter().for_each(|(mtype, name, len)| send(ns, queue_of(ns), *mtype, *name, *len));
        },
        warm_up,
        victim: &|ns| ns.msgsnd(queue_of(ns), mtype, &bytes, NOWAIT, None).unwrap(),
        check: &|path, _| ends_with(path, &[with(None), with(Some((mtype, 9, len)))]),
        deterministic: len < BLOCKS,
        ..scenario()
    }
    .run(run);
}

/// The first call of the process on the queue.
fn sending_for_the_first_time(run: &Run) {
    sending(run, &nothing, &[], 7, SMALL);
}

fn sending_a_small_one(run: &Run) {
    sending(run, &warm, &[], 7, SMALL);
}

fn sending_one_of_several_blocks(run: &Run) {
    sending(run, &warm, &[(3, 1, BLOCKS)], 7, BLOCKS);
}

fn sending_a_long_one(run: &Run) {
    sending(run, &warm, &[(3, 1, SMALL)], 7, LONG);
}

/// The file is full and grows.
fn sending_where_it_grows(run: &Run) {
    sending(run, &warm, &[(3, 1, 4000), (3, 2, 4000), (3, 3, 4000)], 7, 4000);
}

/// Enough messages for an index by type.
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

fn sending_with_an_index(run: &Run, mtype: i64) {
    let mut all = vec![(5, 5, 20)];
    all.extend(many(6));
    let bytes = text(9, SMALL);
    let with: Vec<Got> = all.iter().copied().chain([(mtype, 9, SMALL)]).collect();
    Scenario {
        setup: &|ns| make_many(ns, true),
        warm_up: &warm,
        victim: &|ns| ns.msgsnd(queue_of(ns), mtype, &bytes, NOWAIT, None).unwrap(),
        check: &|path, _| ends_with(path, &[all.clone(), with.clone()]),
        ..scenario()
    }
    .run(run);
}

fn sending_of_a_type_that_is_there(run: &Run) {
    sending_with_an_index(run, 12);
}

fn sending_of_a_new_type(run: &Run) {
    sending_with_an_index(run, 1 << 40);
}

fn receiving_by_type(run: &Run, indexed: bool, mtype: i64, flags: MsgFlags, expected: Got) {
    let mut all = vec![(5, 5, 20)];
    all.extend(many(6));
    let without: Vec<Got> = all.iter().copied().filter(|got| *got != expected).collect();
    assert_eq!(without.len() + 1, all.len());
    Scenario {
        setup: &|ns| make_many(ns, indexed),
        warm_up: if indexed { &warm } else { &used },
        victim: &|ns| {
            let got = take(ns, queue_of(ns), &mut [0; 64], mtype, NOWAIT | flags);
            assert_eq!(got, Ok((expected.0, expected.2)));
        },
        check: &|path, _| ends_with(path, &[all.clone(), without.clone()]),
        ..scenario()
    }
    .run(run);
}

fn receiving_by_type_with_an_index(run: &Run) {
    receiving_by_type(run, true, 13, MsgFlags::empty(), (13, 13, 20));
}

/// The call creates the index first.
fn receiving_by_type_without_an_index(run: &Run) {
    receiving_by_type(run, false, 13, MsgFlags::empty(), (13, 13, 20));
}

fn receiving_but_a_type(run: &Run) {
    receiving_by_type(run, true, 5, MsgFlags::EXCEPT, (10, 10, 20));
}

/// The only message of its type.
fn receiving_the_lowest_type(run: &Run) {
    receiving_by_type(run, true, -6, MsgFlags::empty(), (5, 5, 20));
}

/// Receives the second of three messages into a buffer of this size.
fn receiving(run: &Run, len: usize, size: usize, flags: MsgFlags) {
    let all: Vec<Got> = vec![(1, 1, SMALL), (2, 2, len), (3, 3, SMALL)];
    let stays = len > size && flags.is_empty();
    let after = if stays { all.clone() } else { vec![all[0], all[2]] };
    Scenario {
        setup: &|ns| {
            make_queue(ns);
            all.iter().for_each(|(mtype, name, len)| send(ns, queue_of(ns), *mtype, *name, *len));
        },
        warm_up: &warm,
        victim: &|ns| {
            let got = take(ns, queue_of(ns), &mut vec![0; size], 2, NOWAIT | flags);
            let expected = if stays { Err(Errno::TOOBIG) } else { Ok((2, len.min(size))) };
            assert_eq!(got, expected);
        },
        check: &|path, _| ends_with(path, &[all.clone(), after.clone()]),
        deterministic: len < BLOCKS,
        ..scenario()
    }
    .run(run);
}

fn receiving_a_small_one(run: &Run) {
    receiving(run, SMALL, SMALL, MsgFlags::empty());
}

fn receiving_one_of_several_blocks(run: &Run) {
    receiving(run, BLOCKS, BLOCKS, MsgFlags::empty());
}

fn receiving_a_long_one(run: &Run) {
    receiving(run, LONG, LONG, MsgFlags::empty());
}

fn receiving_it_cut_off(run: &Run) {
    receiving(run, LONG, 100, NOERROR);
}

fn receiving_what_is_too_long(run: &Run) {
    receiving(run, SMALL, SMALL - 1, MsgFlags::empty());
}
