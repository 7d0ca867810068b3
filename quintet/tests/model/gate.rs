//! The gate between operations and forks, under every interleaving. It is a word of one process: who dies takes it with him, and a child has it as it
//! was when it was forked.

use crate::explore;
use crate::sync::gate::{self, GateEnv};
use crate::sync::primitive::AtomicU32;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32 as Plain, Ordering::*};
use loom::thread;

/// More than anybody waits here.
const PATIENCE: u32 = 1000;

#[derive(Default)]
struct Process {
    gate: AtomicU32,
    forker: Plain,
    /// What operations change, odd meanwhile; by each thread its own.
    inherited: [Plain; 3],
}

/// A thread of it. Waiting is a yield.
struct Thread<'a>(&'a Process, u32);

impl GateEnv for Thread<'_> {
    fn forks(&self) -> bool {
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

    /// What the child finds; `mine`: how many operations of this thread's a handler that forks has interrupted.
    fn fork(&self, thread: u32, mine: u32) {
        gate::close(&self.gate, mine, PATIENCE, &Thread(self, thread));
        self.forker.store(thread, Relaxed);
        // A fork handler of the program's may call us.
        self.operate(thread, 3);
        let child: Vec<u32> = self.inherited.iter().map(|word| word.load(Relaxed)).collect();
        assert!(child.iter().all(|word| word % 2 == 0), "a child inherits what is half done: {child:?}");
        self.forker.store(0, Relaxed);
        gate::open(&self.gate);
    }
}

/// One forks while another one is at work, who is asked to wait, and whose handler is not.
#[test]
fn a_fork_waits_for_those_inside() {
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

/// Two fork at once, and one of them out of a handler that has interrupted its own operation.
#[test]
fn two_fork() {
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
