//! The calls of a single process.
//!
//! # Safety
//!
//! The static arrays are passed to `semop`, which reads them, and nothing else touches them.

use crate::common::companion::answer_lines;
use crate::common::turns::{Batch, there_and_back, timed};
use crate::side::{Owned, Set, Side, operation};
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, SEM_UNDO, c_int, sembuf};
use std::hint::black_box;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Instant;

/// The greatest set that the kernel's default limits allow.
const MANY: usize = 32_000;
const CREATE: c_int = IPC_CREAT | IPC_EXCL | 0o600;

type SetUp<'a> = Box<dyn Fn(&'a Side) -> Batch<'a> + 'a>;

pub struct Case<'a> {
    pub name: String,
    /// Quintet's side; the other one is the kernel's.
    pub side: &'a Side,
    /// Prepares the case on a side; what it needs lives as long as the batch.
    pub set_up: SetUp<'a>,
    /// `true` if the case makes an intercepted call.
    pub is_call: bool,
}

/// Returns all cases; `private` and `shared` are Quintet on a namespace of that kind.
pub fn cases<'a>(private: &'a Side, shared: &'a Side) -> Vec<Case<'a>> {
    let case = |side: &'a Side, name: &str, is_call, set_up| Case { name: name.into(), side, set_up, is_call };
    let floor = |name: &str, set_up| case(private, name, false, set_up);
    let on = |name: &str, set_up| case(private, name, true, set_up);
    vec![
        // The same on both sides: shows how far the ratio can be trusted, and the least possible
        // cost of a call.
        floor("(floor: compare-and-swap)", Box::new(|_| compare_and_swap())),
        floor("(floor: clock_gettime)", Box::new(|_| watched(Instant::now))),
        floor("(floor: getppid)", Box::new(|_| watched(std::os::unix::process::parent_id))),
        on("semop, array on the stack", Box::new(|side| up_and_down(side, 0))),
        on("semop, static array", Box::new(static_array)),
        on("semop, array on the heap", Box::new(heap_array)),
        on("semop, SEM_UNDO", Box::new(|side| up_and_down(side, SEM_UNDO))),
        on("semop, IPC_NOWAIT, refused", Box::new(refused)),
        on(
            "semop, IPC_NOWAIT, refused, another holds",
            Box::new(|side| held(side, |set| set.refused(&mut [operation(0, -1, libc::IPC_NOWAIT)]))),
        ),
        on("semop, four on four semaphores", Box::new(four)),
        on("lock + unlock: 0 and +1 with SEM_UNDO, then -1", Box::new(lock_and_unlock)),
        on("semop, the last of 32000 semaphores", Box::new(last_of_many)),
        on("GETVAL", Box::new(get_value)),
        on("GETVAL, another holds", Box::new(|side| held(side, |set| assert!(set.value(0) == 0)))),
        on("SETVAL", Box::new(set_value)),
        on("GETALL of 4", Box::new(|side| get_all(side, 4))),
        on("GETALL of 1000", Box::new(|side| get_all(side, 1000))),
        on("semget, existing key", Box::new(|side| find(side, 1))),
        on("semget, existing key, one of 1000", Box::new(|side| find(side, 1000))),
        on("create + remove, private", Box::new(|side| life(side, 1))),
        on("create + remove, private, 1000 semaphores", Box::new(|side| life(side, 1000))),
        on("create + remove, key", Box::new(keyed_life)),
        case(shared, "create + remove, key, shared namespace", true, Box::new(keyed_life)),
    ]
}

/// Repeats a case, for the count of its instructions.
pub fn repeat(name: &str, times: u32) {
    let side = Side::plain();
    let cases = cases(&side, &side);
    let case = cases.iter().find(|case| case.name == name).expect("a case's name");
    (case.set_up)(&side)(times);
}

/// Times an operation and discards its result.
fn watched<'a, T>(mut op: impl FnMut() -> T + 'a) -> Batch<'a> {
    timed(move || {
        black_box(op());
    })
}

fn compare_and_swap<'a>() -> Batch<'a> {
    let word = AtomicI32::new(0);
    timed(move || {
        let before = black_box(&word).load(SeqCst);
        assert!(word.compare_exchange(before, before ^ 1, SeqCst, SeqCst).is_ok());
    })
}

/// Returns the batch, which keeps its set.
fn keep<'a>(set: Owned<'a>, mut batch: Batch<'a>) -> Batch<'a> {
    Box::new(move |n| {
        let _ = &set;
        batch(n)
    })
}

fn up_and_down(side: &Side, flags: c_int) -> Batch<'_> {
    let owned = side.private(1);
    let set = owned.0;
    let by = move |by| set.operate(&mut [operation(0, by, flags)]);
    keep(owned, there_and_back(by))
}

fn static_array(side: &Side) -> Batch<'_> {
    static mut UP: sembuf = operation(0, 1, 0);
    static mut DOWN: sembuf = operation(0, -1, 0);
    let owned = side.private(1);
    let set = owned.0;
    // SAFETY: each is one operation, which does not change.
    let by = move |by| unsafe { set.operate_at(if by > 0 { &raw mut UP } else { &raw mut DOWN }, 1) };
    keep(owned, there_and_back(by))
}

fn heap_array(side: &Side) -> Batch<'_> {
    let owned = side.private(1);
    let set = owned.0;
    let (mut up, mut down) = (vec![operation(0, 1, 0)], vec![operation(0, -1, 0)]);
    let by = move |by| set.operate(if by > 0 { &mut up } else { &mut down });
    keep(owned, there_and_back(by))
}

fn refused(side: &Side) -> Batch<'_> {
    let owned = side.private(1);
    let set = owned.0;
    keep(owned, timed(move || set.refused(&mut [operation(0, -1, libc::IPC_NOWAIT)])))
}

/// As above, and `GETVAL`, while another process has an undo record, so that its liveness must be
/// checked.
fn held<'a>(side: &'a Side, act: impl Fn(Set<'a>) + 'a) -> Batch<'a> {
    let owned = side.private(2);
    let set = owned.0;
    let holder = side.companion(&["--hold", &set.id.to_string()]);
    let mut batch = keep(owned, timed(move || act(set)));
    Box::new(move |n| {
        let _ = &holder;
        batch(n)
    })
}

/// The main loop of a companion that holds semaphore 1.
pub fn hold(id: c_int) {
    Set::of(&Side::plain(), id).operate(&mut [operation(1, 1, SEM_UNDO)]);
    answer_lines(|_| String::new());
}

fn four(side: &Side) -> Batch<'_> {
    let owned = side.private(4);
    let set = owned.0;
    let by = move |by| set.operate(&mut [0, 1, 2, 3].map(|num| operation(num, by, 0)));
    keep(owned, there_and_back(by))
}

/// The textbook mutex, also fakeroot's: 0 is unlocked.
fn lock_and_unlock(side: &Side) -> Batch<'_> {
    let owned = side.private(1);
    let set = owned.0;
    keep(
        owned,
        timed(move || {
            set.operate(&mut [operation(0, 0, 0), operation(0, 1, SEM_UNDO)]);
            set.operate(&mut [operation(0, -1, SEM_UNDO)]);
        }),
    )
}

fn last_of_many(side: &Side) -> Batch<'_> {
    let owned = side.private(MANY);
    let set = owned.0;
    let by = move |by| set.operate(&mut [operation(MANY as u16 - 1, by, 0)]);
    keep(owned, there_and_back(by))
}

fn get_value(side: &Side) -> Batch<'_> {
    let owned = side.private(1);
    let set = owned.0;
    set.set_value(0, 7);
    keep(owned, timed(move || assert!(set.value(0) == 7)))
}

fn set_value(side: &Side) -> Batch<'_> {
    let owned = side.private(1);
    let set = owned.0;
    keep(owned, timed(move || set.set_value(0, 7)))
}

fn get_all(side: &Side, nsems: usize) -> Batch<'_> {
    let owned = side.private(nsems);
    let set = owned.0;
    set.set_value(nsems - 1, 7);
    let mut values = vec![0; nsems];
    keep(
        owned,
        timed(move || {
            set.values(&mut values);
            assert!(values[nsems - 1] == 7);
        }),
    )
}

fn find(side: &Side, among: usize) -> Batch<'_> {
    let all: Vec<_> = (0..among).map(|_| side.keyed()).collect();
    let key = all[among / 2].0;
    watched(move || {
        let _ = &all;
        side.get(key, 0, 0).id
    })
}

fn life(side: &Side, nsems: usize) -> Batch<'_> {
    timed(move || side.get(IPC_PRIVATE, nsems, CREATE).remove())
}

fn keyed_life(side: &Side) -> Batch<'_> {
    // A key that is free.
    let key = side.keyed().0;
    timed(move || side.get(key, 1, CREATE).remove())
}
