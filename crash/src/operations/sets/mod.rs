//! Operations on a semaphore set. Waiting calls proceed or go on waiting, and the values add up.

pub mod control;
pub mod operate;
pub mod wait;

use crate::support::{self, Attempt, Child, End, Scenario, completed, fork, names, nothing, until};
use quintet::{Errno, Key, Kind, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::time::Duration;

const KEY: Key = Key::new(0x5e3a);
const UNDO: SemFlags = SemFlags::UNDO;
const NSEMS: usize = 6;
/// The semaphore that attempts add to.
const LAST: u16 = 5;
const START: [u16; NSEMS] = [10; NSEMS];

fn op(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op)
}

fn undo(num: u16, n: i16) -> SemOp {
    op(num, n).flags(UNDO)
}

fn changed(changes: &[(usize, i16)]) -> [u16; NSEMS] {
    let mut values = START;
    changes.iter().for_each(|(num, n)| values[*num] = values[*num].wrapping_add_signed(*n));
    values
}

fn set_of(ns: &Namespace) -> i32 {
    ns.semget(KEY, 0, 0).unwrap().raw()
}

/// Starts a process that performs `ops`. It exits with status 2 if the set is removed.
fn sleeper(path: &Path, ops: &[SemOp]) -> Child {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        match ns.semtimedop(set_of(&ns), ops, None) {
            Ok(()) => {}
            Err(Errno::IDRM) => support::exit(2),
            Err(e) => panic!("{e:?}"),
        }
    })
}

/// Blocks until `n` calls wait for a semaphore.
fn until_waiting(path: &Path, num: i32, n: u32) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = set_of(&ns);
        until("all are waiting", || ns.sem_ncnt(id, num).unwrap() + ns.sem_zcnt(id, num).unwrap() == n);
    })
    .succeeds();
}

/// Checks that the set works. It has these values before and afterwards.
fn works(ns: &Namespace, id: i32, values: &[u16]) {
    let nowait = |op: SemOp| op.flags(SemFlags::NOWAIT);
    for num in 0..values.len() {
        assert_eq!((ns.sem_ncnt(id, num as i32), ns.sem_zcnt(id, num as i32)), (Ok(0), Ok(0)), "semaphore {num}");
        ns.semtimedop(id, &[op(num as u16, 1)], None).unwrap();
        ns.semtimedop(id, &[nowait(op(num as u16, -1))], None).unwrap();
    }
    let all = |n: i16| -> Vec<SemOp> { (0..values.len() as u16).map(|num| nowait(op(num, n))).collect() };
    for count in [2, values.len()] {
        ns.semtimedop(id, &all(2)[..count], None).unwrap();
        ns.semtimedop(id, &all(-2)[..count], None).unwrap();
    }
    assert_eq!(ns.sem_values(id).unwrap(), values);
    // A waiting call proceeds.
    let num = values.len() as u16 - 1;
    let waits = fork(|| ns.semtimedop(id, &[op(num, -1 - values[usize::from(num)] as i16)], None).unwrap());
    until("the process is waiting", || ns.sem_ncnt(id, num.into()) == Ok(1));
    ns.semtimedop(id, &[op(num, 1)], None).unwrap();
    waits.succeeds();
    ns.sem_set_values(id, values).unwrap();
    ns.sweep().unwrap();
    let status = ns.sets().unwrap();
    assert_eq!((status.len(), status[0].waiters.len(), status[0].undo.len()), (1, 0, 0), "{status:?}");
    assert_eq!(ns.sem_usage().unwrap().semaphores as usize, values.len());
}

/// Removes all sets. Nothing may remain.
fn clear_all(path: &Path, ns: &Namespace) {
    ns.sweep().unwrap();
    for set in ns.sets().unwrap() {
        ns.sem_remove(set.stat.id.raw()).unwrap();
    }
    assert_eq!((ns.sem_usage().unwrap().sets, ns.sem_usage().unwrap().semaphores), (0, 0));
    for folder in ["sem", "key"] {
        assert_eq!(names(&path.join(folder)), Vec::<String>::new(), "{folder}");
    }
    let id = ns.semget(KEY, 3, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
    assert_eq!(ns.sem_values(id.raw()).unwrap(), [0; 3]);
    works(ns, id.raw(), &[0; 3]);
    ns.sem_remove(id.raw()).unwrap();
}

fn make_set(ns: &Namespace) {
    let id = ns.semget(KEY, NSEMS as i32, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
    ns.sem_set_values(id.raw(), &START).unwrap();
}

fn scenario<'a>() -> Scenario<'a> {
    Scenario {
        setup: &make_set,
        clear: &clear_all,
        probe: &|ns| match ns.semget(KEY, 0, 0) {
            Ok(id) => under_the_lock(ns, id.raw(), 0, SemFlags::NOWAIT, None).unwrap(),
            Err(e) => assert_eq!(e, Errno::NOENT),
        },
        repair: &|ns| match ns.semget(KEY, 0, 0) {
            Ok(id) => _ = ns.sem_values(id.raw()).unwrap(),
            Err(_) => ns.sweep().unwrap(),
        },
        attempt: Attempt {
            call: &|ns, time| under_the_lock(ns, ns.semget(KEY, 0, 0)?.raw(), 1, SemFlags::empty(), time),
            timed_out: Some(Errno::AGAIN),
            revert: &|ns, n| {
                if n > 0
                    && let Ok(id) = ns.semget(KEY, 0, 0)
                {
                    ns.semtimedop(id.raw(), &[op(LAST, -(n as i16)).flags(SemFlags::NOWAIT)], None).unwrap();
                }
            },
        },
        ..Scenario::default()
    }
}

/// More operations than a descriptor holds: no change, or `n` more units for the last semaphore.
fn under_the_lock(ns: &Namespace, id: i32, n: i16, flags: SemFlags, time: Option<Duration>) -> Result<(), Errno> {
    let ops = [op(0, 1), op(1, 1), op(2, 1), op(0, -1), op(1, -1), op(2, -1), op(LAST, n)].map(|op| op.flags(flags));
    ns.semtimedop(id, if n == 0 { &ops[..6] } else { &ops }, time)
}

/// An attempt without effect, for scenarios that set values or have a smaller set.
fn attempt_of_nothing<'a>() -> Attempt<'a> {
    let call = &|ns: &Namespace, time| under_the_lock(ns, ns.semget(KEY, 0, 0)?.raw(), 0, SemFlags::empty(), time);
    Attempt { call, timed_out: Some(Errno::AGAIN), revert: &|_, _| {} }
}

/// Checks that the set soon has one of these lists of values, the last one if the victim had
/// completed, and that it works.
fn ends_with(path: &Path, allowed: &[[u16; NSEMS]]) {
    let allowed = if completed() { &allowed[allowed.len() - 1..] } else { allowed };
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = set_of(&ns);
        let mut values = Vec::new();
        until(&format!("one of {allowed:?}"), || {
            let was = std::mem::replace(&mut values, ns.sem_values(id).unwrap());
            if values != was {
                println!("values {values:?}");
            }
            allowed.iter().any(|allowed| values == allowed)
        });
        works(&ns, id, &values);
    })
    .succeeds();
}

fn until_value(path: &Path, num: i32, value: u16) {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = set_of(&ns);
        until("the value", || ns.sem_value(id, num).unwrap() == value);
    })
    .succeeds();
}
