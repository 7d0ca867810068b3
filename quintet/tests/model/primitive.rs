//! loom's atomics, counted: a thread can be made to die before any one of its steps.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub use loom::sync::atomic::{Ordering, fence};

loom::thread_local! {
    /// How many steps the thread still has to live.
    static LEFT: Cell<u32> = Cell::new(u32::MAX);
}

struct Dead;

fn step() {
    LEFT.with(|left| match left.get() {
        0 => resume_unwind(Box::new(Dead)),
        u32::MAX => {}
        n => left.set(n - 1),
    });
}

/// Runs `f`, for as many operations on atomics as `steps`. `None`: it died.
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
            /// Not a step of the process.
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

/// Here a thread dies in its program's order.
pub fn in_order() {}
