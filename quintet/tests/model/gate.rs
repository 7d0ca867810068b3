//! The gate between operations and forks, in every interleaving.
//!
//! The gate is private to a process, so no thread dies here. A child has the value at the time of
//! the fork.

use crate::explore;
use crate::sync::gate::{self, GateEnv};
use crate::sync::primitive::AtomicU32;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32 as Plain, Ordering::*};
use loom::thread;

/// More rounds than any thread waits here.
const PATIENCE: u32 = 1000;

#[derive(Default)]
struct Process {
    gate: AtomicU32,
    forker: Plain,
    /// A counter for each thread, which is odd during the thread's operation.
    inherited: [Plain; 3],
}

/// A thread of the process. It yields instead of sleeping.
struct Thread<'a>(&'a Process, u32);

impl GateEnv for Thread<'_> {
    fn is_forking(&self) -> bool {
        self.0.forker.load(Relaxed) == self.1
    }
    fn wait(&self, _: &AtomicU32, _: u32) {
        thread::yield_now();
    }
    fn wake(&self, _: &AtomicU32) {}
}

impl Process {
    fn operate(&self, thread: u32, polite: u32) {
        gate::enter(&self.gate, polite, &Thread(self, thread));
        self.inherited[thread as usize - 1].fetch_add(1, Relaxed);
        self.inherited[thread as usize - 1].fetch_add(1, Relaxed);
        gate::leave(&self.gate);
    }

    /// Forks, and checks what the child inherits. `mine` is the number of this thread's operations
    /// that the forking handler has interrupted.
    fn fork(&self, thread: u32, mine: u32) {
        gate::close(&self.gate, mine, PATIENCE, &Thread(self, thread));
        self.forker.store(thread, Relaxed);
        // A fork handler of the program can call the library.
        self.operate(thread, 3);
        let child: Vec<u32> = self.inherited.iter().map(|word| word.load(Relaxed)).collect();
        assert!(child.iter().all(|word| word % 2 == 0), "a child inherits an incomplete operation: {child:?}");
        self.forker.store(0, Relaxed);
        gate::open(&self.gate);
    }
}

/// A thread forks during operations of another thread: one that may be asked to wait, and one that
/// may not.
#[test]
fn fork_waits_for_operations() {
    explore(3, || {
        let process = Arc::new(Process::default());
        let other = {
            let process = process.clone();
            thread::spawn(move || {
                process.operate(2, 1);
                process.operate(2, 0);
            })
        };
        process.fork(1, 0);
        other.join().unwrap();
        assert_eq!(process.gate.seen_by_kernel(), 0);
    });
}

/// Two threads fork at the same time, one of them from a handler that interrupted its own
/// operation.
#[test]
fn two_threads_fork() {
    explore(2, || {
        let process = Arc::new(Process::default());
        let other = {
            let process = process.clone();
            thread::spawn(move || {
                gate::enter(&process.gate, 1, &Thread(&process, 2));
                process.fork(2, 1);
                gate::leave(&process.gate);
            })
        };
        process.fork(1, 0);
        other.join().unwrap();
        assert_eq!(process.gate.seen_by_kernel(), 0);
    });
}
