//! Operations while no call waits.

use super::*;
use crate::campaign::{Run, operations};

operations! { "sets::operate": the_first_operation one_operation one_with_undo the_first_undo several_by_descriptor several_by_descriptor_with_undo several_under_the_lock several_under_the_lock_with_undo a_large_adjustment }

fn operating(run: &Run, warm_up: &dyn Fn(&Namespace), ops: &[SemOp], allowed: &[[u16; NSEMS]]) {
    Scenario {
        warm_up,
        victim: &|ns| ns.semtimedop(set_of(ns), ops, None).unwrap(),
        check: &|path, _| ends_with(path, allowed),
        deterministic: true,
        ..scenario()
    }
    .run(run);
}

/// The caller already has an undo record.
fn with_record(ns: &Namespace) {
    ns.semtimedop(set_of(ns), &[undo(5, -1)], None).unwrap();
}

/// Uses the set once, so that the process is a participant.
fn used(ns: &Namespace) {
    ns.semtimedop(set_of(ns), &[op(4, 1), op(4, -1)], None).unwrap();
}

/// The first call of the process on the set.
fn the_first_operation(run: &Run) {
    operating(run, &nothing, &[op(0, -3)], &[START, changed(&[(0, -3)])]);
}

fn one_operation(run: &Run) {
    operating(run, &used, &[op(0, -3)], &[START, changed(&[(0, -3)])]);
}

fn one_with_undo(run: &Run) {
    operating(run, &with_record, &[undo(0, -3)], &[START]);
}

fn the_first_undo(run: &Run) {
    operating(run, &used, &[undo(0, -3)], &[START]);
}

fn several_by_descriptor(run: &Run) {
    let ops = [op(0, -3), op(1, 4), op(2, 1)];
    operating(run, &used, &ops, &[START, changed(&[(0, -3), (1, 4), (2, 1)])]);
}

fn several_by_descriptor_with_undo(run: &Run) {
    operating(run, &with_record, &[undo(0, -3), undo(1, 4), op(0, 1)], &[START, changed(&[(0, 1)])]);
}

fn several_under_the_lock(run: &Run) {
    let ops = [op(0, -3), op(1, 4), op(2, 1), op(3, 1), op(4, 2)];
    operating(run, &used, &ops, &[START, changed(&[(0, -3), (1, 4), (2, 1), (3, 1), (4, 2)])]);
}

fn several_under_the_lock_with_undo(run: &Run) {
    let ops = [undo(0, -3), undo(1, 400), undo(2, 1), undo(3, 300), undo(4, 2)];
    operating(run, &with_record, &ops, &[START]);
}

/// The adjustment exceeds the room in the word, and then becomes 0.
fn a_large_adjustment(run: &Run) {
    let more = |ns: &Namespace| ns.semtimedop(set_of(ns), &[undo(0, 300)], None).unwrap();
    operating(run, &more, &[undo(0, -300)], &[START]);
}
