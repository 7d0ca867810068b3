//! loom's atomics with a step count: a thread can die, or a signal can arrive, before any step.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

pub use loom::sync::atomic::{Ordering, fence};

loom::thread_local! {
    /// The number of steps after which the thread dies.
    static LEFT: Cell<u32> = Cell::new(u32::MAX);
    static SIGNALS: RefCell<Signals> = RefCell::default();
}

/// The signals that will arrive, and how the thread handles them.
#[derive(Default)]
struct Signals {
    /// The number of steps before each signal, counted from the previous one.
    after: VecDeque<u32>,
    /// The number of signals that have arrived.
    came_in: usize,
    handler: Option<Rc<dyn Fn(usize)>>,
    held_off: bool,
    in_sequence: bool,
}

struct Dead;
struct Restart;

/// Counts a step. Called by each operation on an atomic, and where a handler sees another change.
pub fn step() {
    LEFT.with(|left| match left.get() {
        0 => resume_unwind(Box::new(Dead)),
        u32::MAX => {}
        n => left.set(n - 1),
    });
    let due = SIGNALS.with(|signals| match signals.borrow_mut().after.front_mut() {
        Some(steps) if *steps > 0 => {
            *steps -= 1;
            false
        }
        other => other.is_some(),
    });
    if due {
        let_in();
    }
}

/// Runs the handler of a signal that is due, unless signals are blocked. If it interrupts a
/// restartable sequence, leaves the sequence.
fn let_in() {
    let came_in = SIGNALS.with(|signals| {
        let mut signals = signals.borrow_mut();
        if signals.held_off || signals.after.front() != Some(&0) {
            return None;
        }
        signals.after.pop_front();
        signals.came_in += 1;
        Some((signals.handler.clone()?, signals.came_in, std::mem::take(&mut signals.in_sequence)))
    });
    if let Some((handler, nth, in_sequence)) = came_in {
        handler(nth);
        if in_sequence {
            resume_unwind(Box::new(Restart));
        }
    }
}

/// Runs `f` for `steps` steps. Returns `None` if the thread died.
pub fn mortal<T>(steps: u32, f: impl FnOnce() -> T) -> Option<T> {
    LEFT.with(|left| left.set(steps));
    let ended = catch_unwind(AssertUnwindSafe(f));
    LEFT.with(|left| left.set(u32::MAX));
    match ended {
        Ok(value) => Some(value),
        Err(why) if why.is::<Dead>() => None,
        Err(why) => resume_unwind(why),
    }
}

/// Runs `f` while signals arrive, each after so many steps. The handler gets the number of the
/// signal, from 1. Returns the number of signals that arrived.
pub fn interrupted(after: &[u32], handler: impl Fn(usize) + 'static, f: impl FnOnce()) -> usize {
    let signals = Signals { after: after.iter().copied().collect(), handler: Some(Rc::new(handler)), ..Signals::default() };
    SIGNALS.with(|mine| mine.replace(signals));
    let ended = catch_unwind(AssertUnwindSafe(f));
    let signals = SIGNALS.with(RefCell::take);
    match ended {
        Ok(()) => signals.came_in,
        Err(why) => resume_unwind(why),
    }
}

/// Runs `f` with signals blocked.
pub fn held_off<T>(f: impl FnOnce() -> T) -> T {
    let before = SIGNALS.with(|signals| std::mem::replace(&mut signals.borrow_mut().held_off, true));
    let done = f();
    SIGNALS.with(|signals| signals.borrow_mut().held_off = before);
    let_in();
    done
}

/// Runs `f` as a restartable sequence. Returns `None` if a signal interrupted it.
pub fn sequence<T>(f: impl FnOnce() -> T) -> Option<T> {
    let within = |within| SIGNALS.with(|signals| signals.borrow_mut().in_sequence = within);
    within(true);
    let ended = catch_unwind(AssertUnwindSafe(f));
    within(false);
    match ended {
        Ok(value) => Some(value),
        Err(why) if why.is::<Restart>() => None,
        Err(why) => resume_unwind(why),
    }
}

macro_rules! atomics {
    ($($name:ident $of:ty),*) => {$(
        #[derive(Default, Debug)]
        pub struct $name(loom::sync::atomic::$name);

        #[allow(dead_code)]
        impl $name {
            pub fn new(value: $of) -> $name {
                $name(loom::sync::atomic::$name::new(value))
            }
            pub fn load(&self, order: Ordering) -> $of {
                step();
                self.0.load(order)
            }
            /// Reads the word without a step.
            pub fn seen_by_kernel(&self) -> $of {
                self.0.load(Ordering::Relaxed)
            }
            pub fn store(&self, value: $of, order: Ordering) {
                step();
                self.0.store(value, order)
            }
            pub fn compare_exchange(&self, old: $of, new: $of, done: Ordering, failed: Ordering) -> Result<$of, $of> {
                step();
                self.0.compare_exchange(old, new, done, failed)
            }
            pub fn fetch_add(&self, by: $of, order: Ordering) -> $of {
                step();
                self.0.fetch_add(by, order)
            }
            pub fn fetch_sub(&self, by: $of, order: Ordering) -> $of {
                step();
                self.0.fetch_sub(by, order)
            }
            pub fn fetch_and(&self, other: $of, order: Ordering) -> $of {
                step();
                self.0.fetch_and(other, order)
            }
            pub fn fetch_max(&self, other: $of, order: Ordering) -> $of {
                step();
                self.0.fetch_max(other, order)
            }
        }
    )*};
}

atomics!(AtomicI16 i16, AtomicU32 u32, AtomicU64 u64);

pub fn between_seq_cst() {
    fence(Ordering::SeqCst);
}

/// Needs no fence: a thread of the model dies in program order.
pub fn program_order() {}
