//! The gate that keeps `fork` away from operations: a counter with two flags, private to a process.
//!
//! A fork copies the process's memory. An operation is inside the gate while it changes what a
//! child inherits, such as attachments or the slot that is being taken. A fork waits until no
//! operation is inside.
//!
//! A signal handler can enter while its own thread is inside, and it can fork. A thread that the
//! forking thread waits for must therefore never be kept out. `WANTED` only asks new operations to
//! wait a limited number of times. `FORKING`, which does keep them out, is set when no
//! operation of another thread is inside, or when the forking thread has waited long enough.
//!
//! | gate | meaning | next |
//! |---|---|---|
//! | n | n operations are inside | n + 1, n - 1; `WANTED` by a thread that wants to fork |
//! | n + `WANTED` | a thread waits for the n to leave | n - 1; |
//! | | | n + 1 by a handler or after waiting; |
//! | | | `FORKING` when only the forking thread's own operations are inside |
//! | n + `WANTED` + `FORKING` | a thread forks; the n are its own | n + 1, n - 1 by that thread; |
//! | | | n after the fork, in parent and child |
//! | n + `FORKING` | illegal | |
//!
//! A process that dies takes its gate with it, so no state here needs repair.

use crate::sync::primitive::{AtomicU32, Ordering};

/// A thread forks: only that thread may enter.
const FORKING: u32 = 1 << 31;
/// A thread waits to fork: new operations wait a while before they enter.
const WANTED: u32 = 1 << 30;
/// The number of operations inside.
const COUNT: u32 = WANTED - 1;

/// What the gate needs of the process.
pub trait GateEnv {
    /// Returns `true` if the calling thread is the one that forks.
    fn is_forking(&self) -> bool;
    /// Sleeps while the gate has this value, for a limited time.
    fn wait(&self, gate: &AtomicU32, value: u32);
    /// Wakes all threads that sleep on the gate.
    fn wake(&self, gate: &AtomicU32);
}

/// Begins an operation. While a fork is wanted, sleeps up to `polite` times first.
#[inline]
pub fn enter(gate: &AtomicU32, mut polite: u32, env: &impl GateEnv) {
    loop {
        let now = gate.load(Ordering::Relaxed);
        if now & FORKING != 0 && !env.is_forking() {
            // The fork has begun, so this thread must not change anything. The forking thread
            // itself enters: a fork handler of the program can call the library.
            env.wait(gate, now);
        } else if now & (WANTED | FORKING) == WANTED && polite > 0 {
            // The operation for which the forking thread waits may need this one to proceed. Enter
            // after a few rounds, or both wait forever.
            polite -= 1;
            env.wait(gate, now);
        // Acquire pairs with `open`: this operation sees what the fork handlers changed.
        } else if gate.compare_exchange(now, now + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// Ends an operation. Returns `true` if the caller must wake the threads that wait at the gate.
#[inline]
pub fn leave(gate: &AtomicU32) -> bool {
    // Release pairs with the Acquire in `close`: the forking thread, and so the child, sees the
    // operation complete. The same instruction reads `WANTED`, so no wakeup is missed.
    gate.fetch_sub(1, Ordering::SeqCst) & WANTED != 0
}

/// Prepares a fork by a thread that is inside `mine` times. Blocks until no other thread is inside,
/// or until it has waited `patience` times.
pub fn close(gate: &AtomicU32, mine: u32, patience: u32, env: &impl GateEnv) {
    let mut waited = 0;
    loop {
        let now = gate.load(Ordering::Acquire);
        if now & FORKING == 0 && (now & COUNT <= mine || waited > patience) {
            // The exchange compares the count, too: an operation that has just entered makes it
            // fail. Acquire pairs with `leave`.
            if gate.compare_exchange(now, now | WANTED | FORKING, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
        } else if now & WANTED == 0 {
            // From here on `leave` returns `true`. The flag orders nothing, so Relaxed is enough.
            let _ = gate.compare_exchange(now, now | WANTED, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            // A fork by another thread ends without help, so it does not use up patience.
            waited += u32::from(now & FORKING == 0);
            env.wait(gate, now);
        }
    }
}

/// Ends a fork, in the parent and in the child. The caller then wakes the threads that wait.
pub fn open(gate: &AtomicU32) {
    // Release pairs with the Acquire in `enter`. A second thread that wants to fork has lost its
    // `WANTED`; `close` sets it again.
    gate.fetch_and(COUNT, Ordering::SeqCst);
}
