//! Signals interrupt calls on a set at any instruction. The handler uses the same set, jumps away
//! or forks.
//!
//! # Safety
//!
//! The handlers use only what was set up before they can run.
#![allow(unsafe_code)]

mod common;
use crash::support;

use common::{op, undo};
use quintet::{Errno, Key, Namespace, SemOp, preload_api};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use support::{Child, End, Signpost, Tracee, Window, alarm_every, alone, begin, finish, fork, on_signal, until};

const KEY: Key = Key::new(0x516);
const NSEMS: usize = 6;
const START: [u16; NSEMS] = [3; NSEMS];
/// The first step between interrupted instructions. The steps grow, and each shape starts at
/// another instruction.
const STRIDE: usize = 173;
/// Offset in the file of the first record of a blocked call, if the second page holds such records:
/// docs/format.md.
const FIRST_WAITER: usize = 4096 + 4096 + 64;

fn create_set(path: &Path) {
    common::create_set(path, KEY, &START);
}

/// The set that the handlers use.
static SET: OnceLock<(Namespace, i32)> = OnceLock::new();
static HANDLED: AtomicU32 = AtomicU32::new(0);

fn open(path: &Path) -> (&'static Namespace, i32) {
    let (ns, id) = SET.get_or_init(|| common::open_set(path, KEY));
    (ns, *id)
}

/// Exits with `what` if `answer` is an error. In a handler, a panic would unwind through the
/// interrupted code.
fn must(answer: Result<(), Errno>, what: i32) {
    if answer.is_err() {
        support::exit(what);
    }
}

/// Makes each kind of operation and restores the values.
extern "C" fn use_it(_: i32) {
    let Some((ns, id)) = SET.get() else { return };
    let five = |n: i16| -> Vec<SemOp> { (0..5).map(|num| op(num, n)).collect() };
    let undos = |n: i16| [undo(0, n), undo(1, n), undo(5, n)];
    let (one, two) = (|n: i16| [op(0, n)], |n: i16| [op(0, n), op(1, n)]);
    for sign in [1, -1] {
        must(ns.semtimedop(*id, &one(sign), None), 71);
        must(ns.semtimedop(*id, &two(sign), None), 72);
        must(ns.semtimedop(*id, &five(sign), None), 73);
        must(ns.semtimedop(*id, &undos(sign), None), 74);
    }
    HANDLED.fetch_add(1, SeqCst);
}

/// The name of a call, the call, and the values after it.
type Shape<'a> = (&'a str, &'a dyn Fn(&Namespace, i32), [u16; NSEMS]);

fn shapes<'a>() -> Vec<Shape<'a>> {
    let changed = |nums: &[usize]| {
        let mut values = START;
        nums.iter().for_each(|num| values[*num] -= 1);
        values
    };
    vec![
        ("one", &|ns, id| ns.semtimedop(id, &[op(0, -1)], None).unwrap(), changed(&[0])),
        ("one with undo", &|ns, id| ns.semtimedop(id, &[undo(0, -1)], None).unwrap(), changed(&[0])),
        ("two", &|ns, id| ns.semtimedop(id, &[op(0, -1), op(1, -1)], None).unwrap(), changed(&[0, 1])),
        (
            "three with undo",
            &|ns, id| ns.semtimedop(id, &[undo(0, -1), undo(1, -1), undo(5, -1)], None).unwrap(),
            changed(&[0, 1, 5]),
        ),
        (
            "five",
            &|ns, id| ns.semtimedop(id, &[op(0, -1), op(1, -1), op(2, -1), op(3, -1), op(4, -1)], None).unwrap(),
            changed(&[0, 1, 2, 3, 4]),
        ),
        ("set", &|ns, id| ns.sem_set_value(id, 0, 2).unwrap(), changed(&[0])),
        ("set all", &|ns, id| ns.sem_set_values(id, &START).unwrap(), START),
        (
            "wait",
            &|ns, id| {
                let answer = ns.semtimedop(id, &[op(1, -1), op(0, -10)], Some(Duration::from_millis(1)));
                assert!([Err(Errno::AGAIN), Err(Errno::INTR)].contains(&answer), "{answer:?}");
            },
            START,
        ),
    ]
}

/// Interrupts each call at a selection of its instructions, lets it finish and runs `after`.
fn at_each_instruction(directory: &Path, handler: extern "C" fn(i32), after: &dyn Fn(&Namespace, i32, [u16; NSEMS])) {
    for (nth, (name, call, values)) in shapes().into_iter().enumerate() {
        let mut at = nth * 5 + 1;
        let mut times = 0;
        loop {
            let path = directory.join(format!("{nth}-{at}"));
            create_set(&path);
            let mut tracee = Tracee::start(|| {
                let (ns, id) = open(&path);
                // Creates an undo record first.
                ns.semtimedop(id, &[undo(5, -1)], None).unwrap();
                ns.semtimedop(id, &[undo(5, 1)], None).unwrap();
                on_signal(libc::SIGUSR1, handler, 0);
                begin();
                call(ns, id);
                finish();
                after(ns, id, values);
            });
            let inside = tracee.steps(at);
            // A call that has finished already continues, too.
            let end = tracee.release(if inside { libc::SIGUSR1 } else { 0 });
            end.signal(libc::SIGCONT);
            let end = end.ends_through_stops();
            assert_eq!(end, End::Exit(0), "{name}, interrupted at its instruction {at}");
            let _ = std::fs::remove_dir_all(&path);
            if !inside {
                break;
            }
            times += 1;
            at += STRIDE + at / 8;
        }
        println!("{name}: interrupted {times} times, in {at} instructions");
    }
}

#[test]
fn a_handler_can_use_the_set_at_any_instruction() {
    alone("a_handler_can_use_the_set_at_any_instruction", |directory| {
        at_each_instruction(directory, use_it, &|ns, id, values| {
            assert_eq!(ns.sem_values(id).unwrap(), values);
            for num in 0..NSEMS as i32 {
                assert_eq!(ns.sem_ncnt(id, num), Ok(0));
            }
            ns.semtimedop(id, &[op(0, 1), op(5, 1)], None).unwrap();
        });
    });
}

/// Leaves the interrupted call for good, as after `longjmp`, and makes calls.
extern "C" fn jump(_: i32) {
    preload_api::before_jump();
    let ok = std::panic::catch_unwind(|| {
        let (ns, id) = SET.get().unwrap();
        let before = ns.sem_values(*id).unwrap();
        for num in 0..NSEMS as i32 {
            assert_eq!(ns.sem_ncnt(*id, num), Ok(0));
        }
        // The abandoned call takes none of these units.
        ns.semtimedop(*id, &[op(0, 20), op(1, 20)], None).unwrap();
        ns.semtimedop(*id, &[op(0, -20)], None).unwrap();
        ns.semtimedop(*id, &[undo(1, -20)], None).unwrap();
        use_it(0);
        assert_eq!(ns.sem_values(*id).unwrap(), before);
        let all = before.iter().sum::<u16>();
        assert!((13..=18).contains(&all), "{before:?}");
    });
    support::exit(if ok.is_ok() { 0 } else { 79 });
}

#[test]
fn a_handler_can_jump_away_from_any_instruction() {
    alone("a_handler_can_jump_away_from_any_instruction", |directory| at_each_instruction(directory, jump, &|_, _, _| {}));
}

/// Asserts that `handler` interrupts a blocked call, which returns EINTR and leaves no waiter.
fn interrupts(directory: &Path, name: &str, handler: extern "C" fn(i32), flags: i32) {
    let path = directory.join(name);
    create_set(&path);
    let child = fork(|| {
        let (ns, id) = open(&path);
        on_signal(libc::SIGUSR1, handler, flags);
        assert_eq!(ns.semtimedop(id, &[op(0, -4), op(1, -1)], None), Err(Errno::INTR));
        assert_eq!(ns.sem_values(id).unwrap(), START);
        assert_eq!(ns.sem_ncnt(id, 0), Ok(0));
        // No waiter is left that would take these units.
        ns.semtimedop(id, &[op(0, 7)], None).unwrap();
        assert_eq!(ns.sem_value(id, 0), Ok(10));
        ns.semtimedop(id, &[op(0, -7)], None).unwrap();
    });
    let ns = Namespace::open(&path).unwrap();
    let id = ns.semget(KEY, 0, 0).unwrap().raw();
    until("the call blocks", || ns.sem_ncnt(id, 0) == Ok(1) && support::state(child.pid) == Some('S'));
    child.signal(libc::SIGUSR1);
    assert_eq!(child.end(), End::Exit(0), "{name}");
    assert_eq!(ns.sem_values(id).unwrap(), START, "{name}");
}

extern "C" fn nothing(_: i32) {}

/// Jumps within the handler's own code, as a parser may, and then returns.
extern "C" fn jump_within(_: i32) {
    preload_api::before_jump();
}

/// The same, and another call takes the record of the abandoned call at once.
extern "C" fn jump_within_and_wait(_: i32) {
    preload_api::before_jump();
    let Some((ns, id)) = SET.get() else { return };
    let waits = ns.semtimedop(*id, &[op(2, -4)], Some(Duration::from_millis(1)));
    must(if waits == Err(Errno::AGAIN) { Ok(()) } else { Err(Errno::INVAL) }, 75);
}

/// A signal interrupts a blocked call at any instruction: when it sleeps, is about to sleep, or
/// wakes to check other processes.
#[test]
fn no_signal_is_missed() {
    alone("no_signal_is_missed", |directory| {
        let path = directory.join("ns");
        create_set(&path);
        // While another process has an adjustment, blocked calls wake several times a second to
        // check that it is alive.
        let ready = Signpost::new();
        let _holder = fork(|| {
            let (ns, id) = open(&path);
            ns.semtimedop(id, &[undo(5, 1)], None).unwrap();
            ready.post(1);
            support::sleep_for_ever();
        });
        ready.wait();
        for alternate in [false, true] {
            let mut at = 0;
            while at < 9000 {
                let mut tracee = Tracee::start(|| {
                    let (ns, id) = open(&path);
                    if alternate {
                        support::alternate_stack();
                    }
                    on_signal(libc::SIGUSR1, nothing, if alternate { libc::SA_ONSTACK } else { 0 });
                    ns.sem_values(id).unwrap();
                    begin();
                    assert_eq!(ns.semtimedop(id, &[op(0, -4)], None), Err(Errno::INTR));
                });
                let window = Window::open(&path.join("sem/0"), 0, FIRST_WAITER + 128 * 4).unwrap();
                let waits = || (0..4).any(|place| window.word(FIRST_WAITER + 128 * place).load(SeqCst) == 2);
                while !waits() {
                    assert!(tracee.steps(1));
                }
                assert!(tracee.steps(at));
                let end = tracee.release(libc::SIGUSR1).end();
                assert_eq!(end, End::Exit(0), "the signal came {at} instructions after the call began to wait");
                at += 29 + at / 4;
            }
        }
        fork(|| {
            let (ns, id) = open(&path);
            assert_eq!((ns.sem_values(id).unwrap()[0], ns.sem_ncnt(id, 0)), (3, Ok(0)));
        })
        .succeeds();
    });
}

static FORKED: AtomicI32 = AtomicI32::new(0);

/// Forks; the child returns into the interrupted call, too.
extern "C" fn fork_within(_: i32) {
    // SAFETY: the calls take no pointers.
    FORKED.store(unsafe { libc::fork() }, SeqCst);
}

#[test]
fn a_signal_interrupts_a_blocked_call() {
    alone("a_signal_interrupts_a_blocked_call", |directory| {
        interrupts(directory, "nothing", nothing, 0);
        // As in the kernel, SA_RESTART does not restart the call.
        interrupts(directory, "restart", nothing, libc::SA_RESTART);
        interrupts(directory, "use", use_it, libc::SA_RESTART | libc::SA_NODEFER);
        interrupts(directory, "jump-within", jump_within, 0);
        interrupts(directory, "jump-within-and-wait", jump_within_and_wait, 0);
    });
}

#[test]
fn a_handler_can_fork_in_a_blocked_call() {
    alone("a_handler_can_fork_in_a_blocked_call", |directory| {
        let path = directory.join("ns");
        create_set(&path);
        let reported = Signpost::new();
        let child = fork(|| {
            let (ns, id) = open(&path);
            on_signal(libc::SIGUSR1, fork_within, 0);
            let answer = ns.semtimedop(id, &[op(0, -4), op(1, -1)], None);
            let forked = FORKED.load(SeqCst);
            assert_eq!(answer, Err(Errno::INTR), "forked {forked}");
            until("neither process blocks", || ns.sem_ncnt(id, 0) == Ok(0));
            ns.semtimedop(id, &[undo(0, -1), op(1, 1), op(1, -1)], None).unwrap();
            reported.send_number(i64::from(forked == 0));
            if forked > 0 {
                let status = support::reap(forked);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            }
        });
        let ns = Namespace::open(&path).unwrap();
        let id = ns.semget(KEY, 0, 0).unwrap().raw();
        until("the call blocks", || ns.sem_ncnt(id, 0) == Ok(1) && support::state(child.pid) == Some('S'));
        child.signal(libc::SIGUSR1);
        assert_eq!(child.end(), End::Exit(0));
        assert_eq!(reported.number() + reported.number(), 1);
        ns.sweep().unwrap();
        assert_eq!(ns.sem_values(id).unwrap(), START);
    });
}

/// Timer signals interrupt processes that pass units to each other, and the handlers pass units,
/// too.
#[test]
fn units_add_up_under_a_storm_of_signals() {
    alone("units_add_up_under_a_storm_of_signals", |directory| {
        let path = directory.join("ns");
        create_set(&path);
        // Enough units that no handler blocks for units that other processes hold.
        let values = [9; NSEMS];
        fork(|| {
            let (ns, id) = open(&path);
            ns.sem_set_values(id, &values).unwrap();
        })
        .succeeds();
        let workers: Vec<Child> = (0..3u16)
            .map(|nth| {
                fork(|| {
                    let (ns, id) = open(&path);
                    on_signal(libc::SIGALRM, use_it, if nth == 0 { libc::SA_RESTART } else { 0 });
                    alarm_every(Duration::from_micros(150 + u64::from(nth) * 37));
                    let again = |ops: &[SemOp]| {
                        loop {
                            match ns.semtimedop(id, ops, None) {
                                Err(Errno::INTR) => {}
                                other => return other.unwrap(),
                            }
                        }
                    };
                    let mut round = 0u16;
                    while round < 3000 || HANDLED.load(SeqCst) < 300 {
                        round = (round + 1) % 60_000;
                        let (a, b) = (round % 5, (round + 1 + nth) % 5);
                        match round % 4 {
                            0 => (again(&[op(a, -2)]), again(&[op(a, 2)])),
                            1 if a != b => (again(&[op(a, -2), op(b, -2)]), again(&[op(a, 2), op(b, 2)])),
                            2 => (again(&[undo(a, -2)]), again(&[undo(a, 2)])),
                            _ => {
                                let all = |n: i16| -> Vec<SemOp> { (0..5).map(|num| op(num, n)).collect() };
                                (again(&all(-1)), again(&all(1)))
                            }
                        };
                    }
                    alarm_every(Duration::ZERO);
                })
            })
            .collect();
        workers.into_iter().for_each(Child::succeeds);
        fork(|| {
            let (ns, id) = open(&path);
            ns.sweep().unwrap();
            assert_eq!(ns.sem_values(id).unwrap(), values);
            (0..NSEMS as i32).for_each(|num| assert_eq!(ns.sem_ncnt(id, num), Ok(0)));
        })
        .succeeds();
    });
}
