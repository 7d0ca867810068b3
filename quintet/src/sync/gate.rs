//! The gate that keeps forks away from operations: a word of one process, whose memory a fork copies as it is then.
//!
//! Whoever changes what a child would inherit (attachments, a slot being taken) is inside, and a fork waits until all are out. A signal handler
//! may come in while its own thread is inside, or forks; so nobody who may be waited for is ever kept out:
//! `WANTED` only asks newcomers to be patient, and `FORKING` is not set before all are out.
//!
//! | gate | meaning | next |
//! |---|---|---|
//! | n | n operations are inside | n + 1, n - 1; `WANTED` by a thread that is to fork |
//! | n + `WANTED` | a thread waits for the n to leave | n - 1; n + 1 by a handler, or by who has been patient; |
//! | | | `FORKING` by a forking thread, once the n are at the most its own |
//! | n + `WANTED` + `FORKING` | a thread forks; the n are its own | n + 1, n - 1 by that thread alone; n when it has forked, |
//! | | | in parent and child |
//! | n + `FORKING` | illegal | |

use crate::sync::primitive::{AtomicU32, Ordering};

const FORKING: u32 = 1 << 31;
const WANTED: u32 = 1 << 30;
const COUNT: u32 = WANTED - 1;

/// What the gate needs of the process.
pub trait GateEnv {
    /// Whether the calling thread is the one that forks.
    fn forks(&self) -> bool;
    /// Waits while the gate has this value, not for ever.
    fn wait(&self, gate: &AtomicU32, value: u32);
    /// Wakes all who wait.
    fn wake(&self, gate: &AtomicU32);
}

/// An operation begins. While a fork is wanted it waits `polite` times.
#[inline]
pub fn enter(gate: &AtomicU32, mut polite: u32, world: &impl GateEnv) {
    loop {
        let now = gate.load(Ordering::Relaxed);
        if now & FORKING != 0 && !world.forks() {
            world.wait(gate, now);
        } else if now & (WANTED | FORKING) == WANTED && polite > 0 {
            polite -= 1;
            world.wait(gate, now);
        } else if gate.compare_exchange(now, now + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// An operation has ended. `true`: somebody is to be woken.
#[inline]
pub fn leave(gate: &AtomicU32) -> bool {
    gate.fetch_sub(1, Ordering::SeqCst) & WANTED != 0
}

/// A thread that is inside `mine` times is to fork: waits until nobody else is inside, or has waited `patience` times.
pub fn close(gate: &AtomicU32, mine: u32, patience: u32, world: &impl GateEnv) {
    let mut waited = 0;
    loop {
        let now = gate.load(Ordering::Acquire);
        if now & FORKING == 0 && (now & COUNT <= mine || waited > patience) {
            if gate.compare_exchange(now, now | WANTED | FORKING, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
        } else if now & WANTED == 0 {
            let _ = gate.compare_exchange(now, now | WANTED, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            waited += u32::from(now & FORKING == 0);
            world.wait(gate, now);
        }
    }
}

/// It has forked. Whoever waits is to be woken.
pub fn open(gate: &AtomicU32) {
    gate.fetch_and(COUNT, Ordering::SeqCst);
}
