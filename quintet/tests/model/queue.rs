//! A queue's lock, its journals and the calls that hold it, in every interleaving. Before any step,
//! a process can die, or a signal handler that calls the library can run.
//!
//! The lock and the journals are the crate's own. They are used as in `msg/lock.rs`:
//! [`Caller::call_fast`] stands for `RseqGuard`, with an imitated restartable sequence, and
//! [`Caller::with_guard`] for `QueueGuard`.

use crate::primitive::{held_off, interrupted, mortal, sequence, step};
use crate::sync::primitive::{AtomicU64, Ordering};
use crate::sync::queue_lock::{self, ThreadOwner};
use crate::sync::redo::{self, Redo};
use crate::sync::robust_mutex::LockOwner;
use crate::{explore, explore_deaths, explore_events};
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

#[derive(Default)]
struct Queue {
    lock: AtomicU64,
    changes: AtomicU64,
    /// Each operation increments its own byte in both words.
    words: [AtomicU64; 2],
    journals: [Journal; 2],
    dead: [AtomicBool; 3],
}

#[derive(Default)]
struct Journal {
    decided: AtomicU64,
    entries: [AtomicU64; 4],
}

impl redo::JournalWords for Queue {
    fn word(&self, place: u64) -> Option<&AtomicU64> {
        self.words.get(place as usize)
    }
}

impl Queue {
    fn journal(&self, slot: u32) -> Redo<'_> {
        let journal = &self.journals[slot as usize % 2];
        Redo { decided: &journal.decided, changes: &self.changes, entries: &journal.entries }
    }

    fn journals(&self) -> impl Iterator<Item = Redo<'_>> + Clone {
        [0, 1].into_iter().map(|nth| self.journal(nth))
    }

    fn read(&self) -> [u64; 2] {
        self.words.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    fn try_snapshot(&self) -> Option<[u64; 2]> {
        redo::try_snapshot(self.journals(), &self.changes, || self.read())
    }

    /// Returns how often each operation was done. No call is under way.
    fn done<const N: usize>(&self) -> [u8; N] {
        assert_eq!(self.lock.load(Ordering::Acquire), 0, "the lock is free");
        let [first, second] = self.try_snapshot().expect("no change is pending");
        assert_eq!(first, second);
        std::array::from_fn(|op| (first >> (8 * op)) as u8)
    }
}

/// The value of a note before the call has the lock.
const WITHOUT: u64 = u64::MAX;
/// The value of a note while the call holds the lock. A handler that takes the lock over replaces
/// it with the number of changes.
const HOLDS: u64 = u64::MAX - 1;

/// A jump out of a handler.
struct Jump;

#[derive(PartialEq, Eq)]
enum Outcome {
    Done,
    Lost,
    Interrupted,
}

/// A thread of a participant.
struct Caller {
    queue: Arc<Queue>,
    slot: u32,
    mine: ThreadOwner,
    notes: RefCell<Vec<Rc<AtomicU64>>>,
}

impl Caller {
    fn new(queue: &Arc<Queue>, slot: u32) -> Rc<Caller> {
        let mine = ThreadOwner::new(LockOwner::new(slot, 1), 100 + slot);
        Rc::new(Caller { queue: queue.clone(), slot, mine, notes: RefCell::default() })
    }

    /// Does an operation. Returns when it is done.
    fn call(&self, op: u32) {
        if !self.call_fast(op) {
            self.with_guard(|| self.commit(op));
        }
    }

    fn writes(&self, op: u32) -> [(u64, u64); 2] {
        let [first, second] = self.queue.read();
        [(0, first.wrapping_add(1 << (8 * op))), (1, second.wrapping_add(1 << (8 * op)))]
    }

    /// Does an operation without blocking signals. Returns `false` if nothing was done.
    fn call_fast(&self, op: u32) -> bool {
        let note = Rc::new(AtomicU64::new(WITHOUT));
        self.notes.borrow_mut().push(note.clone());
        step();
        let done = self.acquire_fast(&note) && self.commit_fast(&note, op);
        step();
        self.notes.borrow_mut().pop();
        done
    }

    fn acquire_fast(&self, note: &AtomicU64) -> bool {
        let lock = &self.queue.lock;
        if !queue_lock::try_acquire(lock, self.mine) {
            return false;
        }
        note.store(HOLDS, Ordering::Relaxed);
        // If it has another holder, it was taken over before the note showed that this call holds
        // it.
        queue_lock::holder(lock) == Some(self.mine)
    }

    fn commit_fast(&self, note: &AtomicU64, op: u32) -> bool {
        let writes = self.writes(op);
        let changes = self.queue.changes.load(Ordering::Relaxed);
        let was_done = || note.load(Ordering::Relaxed) == changes.wrapping_add(1);
        for _ in 0..2 {
            match self.sequence(&writes, changes) {
                Outcome::Done => return true,
                Outcome::Lost => return was_done(),
                Outcome::Interrupted => {}
            }
        }
        held_off(|| {
            if queue_lock::holder(&self.queue.lock) != Some(self.mine) {
                return was_done();
            }
            if self.queue.changes.load(Ordering::Relaxed) == changes {
                self.queue.journal(self.slot).commit(&*self.queue, writes.into_iter());
            }
            queue_lock::release(&self.queue.lock, self.mine);
            true
        })
    }

    /// Reads with the lock, without blocking signals. Returns `None` if the lock was not free, or
    /// if a handler took it over.
    fn read_fast(&self) -> Option<[u64; 2]> {
        let note = Rc::new(AtomicU64::new(WITHOUT));
        self.notes.borrow_mut().push(note.clone());
        step();
        let seen = self.acquire_fast(&note).then(|| self.queue.read());
        let seen = seen.filter(|_| {
            loop {
                match self.release_sequence() {
                    Outcome::Done => return true,
                    Outcome::Lost => return false,
                    Outcome::Interrupted => {}
                }
            }
        });
        step();
        self.notes.borrow_mut().pop();
        seen
    }

    fn release_sequence(&self) -> Outcome {
        let released = sequence(|| {
            if self.queue.lock.load(Ordering::Relaxed) != self.mine.0 {
                return Outcome::Lost;
            }
            self.queue.lock.store(0, Ordering::Release);
            Outcome::Done
        });
        released.unwrap_or(Outcome::Interrupted)
    }

    /// Imitates `sys::rseq`, on a processor on which every store is a Release.
    fn sequence(&self, writes: &[(u64, u64)], changes: u64) -> Outcome {
        let (queue, journal) = (&*self.queue, self.queue.journal(self.slot));
        let done = sequence(|| {
            if queue.lock.load(Ordering::Relaxed) != self.mine.0 {
                return Outcome::Lost;
            }
            for (&(place, value), entry) in writes.iter().zip(journal.entries.chunks_exact(2)) {
                entry[0].store(place, Ordering::Release);
                entry[1].store(value, Ordering::Release);
            }
            journal.decided.store(redo::decision(writes.len(), changes), Ordering::Release);
            for &(place, value) in writes {
                queue.words[place as usize].store(value, Ordering::Release);
            }
            journal.changes.store(changes.wrapping_add(1), Ordering::Release);
            queue.lock.store(0, Ordering::Release);
            Outcome::Done
        });
        done.unwrap_or(Outcome::Interrupted)
    }

    /// Runs `f` with the lock and with signals blocked.
    fn with_guard(&self, f: impl Fn()) {
        while !held_off(|| self.take() && self.finish(&f)) {
            step();
            thread::yield_now();
        }
    }

    fn finish(&self, f: &impl Fn()) -> bool {
        f();
        queue_lock::release(&self.queue.lock, self.mine);
        true
    }

    /// Takes the lock if it is free, or if its holder is dead or is this thread.
    fn take(&self) -> bool {
        let queue = &*self.queue;
        let holder = queue_lock::holder(&queue.lock);
        let from_own_thread = holder == Some(self.mine);
        match holder {
            None => return queue_lock::try_acquire(&queue.lock, self.mine),
            Some(_) if from_own_thread => {}
            Some(holder) => {
                let slot = holder.owner().slot().expect("no peer overwrites the word");
                if !queue.dead[slot as usize].load(Ordering::Acquire) || !queue_lock::take_over(&queue.lock, holder, self.mine) {
                    return false;
                }
            }
        }
        self.check_one_valid_journal();
        queue.journals().for_each(|journal| journal.apply(queue));
        if from_own_thread {
            self.tell_interrupted();
        }
        true
    }

    /// Checks that at most one journal is valid.
    fn check_one_valid_journal(&self) {
        let valid = redo::decision(2, self.queue.changes.seen_by_kernel());
        let journals = self.queue.journals().filter(|journal| journal.decided.seen_by_kernel() == valid);
        assert!(journals.count() <= 1);
    }

    /// Tells the interrupted call that held the lock, the innermost one of this thread, how many
    /// changes there are.
    fn tell_interrupted(&self) {
        let notes = self.notes.borrow().clone();
        for note in notes.iter().rev() {
            match note.load(Ordering::Relaxed) {
                WITHOUT => {}
                HOLDS => return note.store(self.queue.changes.load(Ordering::Relaxed), Ordering::Relaxed),
                _ => return,
            }
        }
    }

    fn commit(&self, op: u32) {
        self.queue.journal(self.slot).commit(&*self.queue, self.writes(op).into_iter());
    }

    /// Leaves a handler by a jump.
    fn jump_out(&self) {
        let notes = self.notes.borrow().len();
        for _ in 0..notes {
            if queue_lock::holder(&self.queue.lock) == Some(self.mine) {
                self.with_guard(|| ());
            }
        }
        self.notes.borrow_mut().clear();
        resume_unwind(Box::new(Jump));
    }

    /// Runs `f`, and dies before step `steps`. Returns `true` if it died.
    fn dying(&self, steps: u32, f: impl FnOnce()) -> bool {
        let died = mortal(steps, f).is_none();
        self.queue.dead[self.slot as usize].store(died, Ordering::Release);
        died
    }
}

/// Starts a thread of another participant that does one operation.
fn other(queue: &Arc<Queue>, slot: u32, op: u32) -> thread::JoinHandle<()> {
    let queue = queue.clone();
    thread::spawn(move || Caller::new(&queue, slot).call(op))
}

/// Runs a call that is interrupted by handlers, each of which does an operation. A handler can
/// interrupt the call or another handler. Returns the number of handlers.
fn call_with_handlers(caller: &Rc<Caller>, after: &[u32]) -> usize {
    let handler = caller.clone();
    interrupted(after, move |nth| handler.call(nth as u32), || caller.call(0))
}

/// Each operation is done once, and its caller knows that it was done.
#[test]
fn handlers_interrupt_call() {
    explore_events(0, 2, |after| {
        let queue = Arc::new(Queue::default());
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        assert_eq!(queue.done(), [1, u8::from(came_in > 0), u8::from(came_in > 1)]);
        came_in
    });
}

/// Three handlers without other threads. What one call is told is not taken for another call's.
#[test]
fn handlers_interrupt_handlers() {
    explore_events(0, 3, |after| {
        let queue = Arc::new(Queue::default());
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        assert_eq!(queue.done(), [1, u8::from(came_in > 0), u8::from(came_in > 1), u8::from(came_in > 2)]);
        came_in
    });
}

/// A call loses the lock right after it took it. A later handler that finds the lock held by its
/// own thread does not tell this call.
#[test]
fn handler_interrupts_right_after_acquire() {
    const ACQUIRED: u32 = 2;
    explore_events(0, 2, |after| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let handler = caller.clone();
        let handle = move |nth| match nth {
            2 => [2, 3].into_iter().for_each(|op| handler.call(op)),
            _ => handler.call(nth as u32 + u32::from(nth == 3)),
        };
        let came_in = interrupted(&[ACQUIRED, after[0], after[1]], handle, || caller.call(0));
        let (second, third) = (u8::from(came_in > 1), u8::from(came_in > 2));
        assert_eq!(queue.done(), [1, 1, second, second, third]);
        came_in - 1
    });
}

/// Another process takes the lock as soon as the handler releases it. The interrupted call then
/// stores nothing.
#[test]
fn handler_releases_to_other_process() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 7);
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        other.join().unwrap();
        assert_eq!(queue.done(), [1, came_in as u8, 0, 0, 0, 0, 0, 1]);
        came_in
    });
}

/// What a call read with the lock is consistent if the lock was not lost.
#[test]
fn handler_interrupts_reader_with_lock() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 7);
        let caller = Caller::new(&queue, 0);
        let handler = caller.clone();
        let mut seen = None;
        let came_in = interrupted(after, move |_| handler.call(0), || seen = caller.read_fast());
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        other.join().unwrap();
        assert_eq!(queue.done(), [came_in as u8, 0, 0, 0, 0, 0, 0, 1]);
        came_in
    });
}

/// A handler leaves by a jump. The interrupted operation is done or not, and the lock is free.
#[test]
fn handler_jumps_out() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 7);
        let caller = Caller::new(&queue, 0);
        let handler = caller.clone();
        let mut came_in = 1;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            came_in = interrupted(after, move |_| handler.jump_out(), || caller.call(0));
        }));
        assert!(ended.is_ok() || ended.is_err_and(|why| why.is::<Jump>()));
        assert_ne!(queue_lock::holder(&queue.lock), Some(caller.mine));
        caller.call(1);
        other.join().unwrap();
        let done: [u8; 8] = queue.done();
        assert!(done == [1, 1, 0, 0, 0, 0, 0, 1] || came_in == 1 && done == [0, 1, 0, 0, 0, 0, 0, 1], "{done:?}");
        came_in
    });
}

/// The handler of a handler leaves by a jump.
#[test]
fn nested_handler_jumps_out() {
    explore_events(0, 2, |after| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let handler = caller.clone();
        let handle = move |nth| if nth == 1 { handler.call(1) } else { handler.jump_out() };
        let mut came_in = 2;
        let ended = catch_unwind(AssertUnwindSafe(|| came_in = interrupted(after, handle, || caller.call(0))));
        assert!(ended.is_ok() || ended.is_err_and(|why| why.is::<Jump>()));
        assert_ne!(queue_lock::holder(&queue.lock), Some(caller.mine));
        caller.call(2);
        let [first, handlers, last] = queue.done();
        assert!(came_in == 2 && first <= 1 && handlers <= 1 || (first, usize::from(handlers)) == (1, came_in));
        assert_eq!(last, 1);
        came_in
    });
}

/// Two processes call at the same time, and one of them dies.
#[test]
fn caller_dies() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 1);
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        other.join().unwrap();
        // Take the lock over if the dead process still holds it.
        Caller::new(&queue, 2).with_guard(|| ());
        let [done, others] = queue.done();
        assert!(done == 1 || died && done == 0, "{done}");
        assert_eq!(others, 1);
        died
    });
}

/// A process that holds the lock with signals blocked dies, possibly after its first change.
#[test]
fn guard_holder_dies() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 1);
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.with_guard(|| [0, 2].into_iter().for_each(|op| caller.commit(op))));
        other.join().unwrap();
        Caller::new(&queue, 2).with_guard(|| ());
        let done = queue.done();
        assert!(done == [1, 1, 1] || died && [[0, 1, 0], [1, 1, 0]].contains(&done), "{done:?}");
        died
    });
}

/// The successor dies, too. The process that is left takes over from either of them.
#[test]
fn successors_die() {
    explore_events(0, 2, |steps| {
        let queue = Arc::new(Queue::default());
        let died = [0, 1].map(|slot| {
            let caller = Caller::new(&queue, slot);
            // The second process uses the other journal.
            caller.dying(steps[slot as usize], || caller.call(slot))
        });
        Caller::new(&queue, 2).call(2);
        let done: [u8; 3] = queue.done();
        assert!([0, 1].into_iter().all(|op| done[op] == 1 || died[op] && done[op] == 0), "{done:?} {died:?}");
        assert_eq!(done[2], 1);
        // The second process can die before its first step while the first one lives.
        if died[0] { 1 + usize::from(died[1]) } else { 0 }
    });
}

/// Two processes try to take over at the same time, and one does. The journal of the dead process
/// is not applied over later changes.
#[test]
fn two_processes_take_over() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        let other = other(&queue, 1, 1);
        Caller::new(&queue, 2).call(2);
        other.join().unwrap();
        let [done, others @ ..]: [u8; 3] = queue.done();
        assert!(done == 1 || died && done == 0, "{done}");
        assert_eq!(others, [1, 1]);
        died
    });
}

/// A process that lost the lock, because a peer declared it dead, does not release it.
#[test]
fn release_requires_ownership() {
    explore(0, || {
        let queue = Arc::new(Queue::default());
        let [first, second] = [0, 1].map(|slot| Caller::new(&queue, slot).mine);
        assert!(queue_lock::try_acquire(&queue.lock, first));
        assert!(queue_lock::take_over(&queue.lock, first, second));
        queue_lock::release(&queue.lock, first);
        assert_eq!(queue_lock::holder(&queue.lock), Some(second));
        assert!(!queue_lock::take_over(&queue.lock, first, first) && !queue_lock::try_acquire(&queue.lock, first));
        queue_lock::release(&queue.lock, second);
        assert_eq!(queue_lock::holder(&queue.lock), None);
    });
}

/// A handler runs, and its process dies in the handler or later.
#[test]
fn caller_dies_in_handler() {
    explore_events(0, 2, |events| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let came_in = Rc::new(std::cell::Cell::new(0));
        let handler = {
            let (caller, came_in) = (caller.clone(), came_in.clone());
            move |_| {
                came_in.set(1);
                caller.call(1);
                came_in.set(2);
            }
        };
        // The second number counts from the signal.
        let died = caller.dying(events[0] + events[1] + 1, || {
            interrupted(&events[..1], handler, || caller.call(0));
        });
        Caller::new(&queue, 1).call(2);
        let [first, handlers, last] = queue.done();
        assert!(first == 1 || died && first == 0, "{first}");
        assert!(handlers == u8::from(came_in.get() > 0) || came_in.get() == 1 && handlers == 0, "{handlers}");
        assert_eq!(last, 1);
        usize::from(came_in.get() > 0) + usize::from(died)
    });
}

/// Handlers run that do not call the library. The interrupted call tries again until it blocks
/// signals, and then its process dies.
#[test]
fn interruptions_without_operation() {
    explore_events(0, 3, |events| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let mut came_in = 0;
        let died = caller.dying(events.iter().sum::<u32>() + 2, || {
            came_in = interrupted(&events[..2], |_| (), || caller.call(0));
        });
        Caller::new(&queue, 1).call(1);
        let [done, others] = queue.done();
        assert!(done == 1 || died && done == 0, "{done}");
        assert_eq!(others, 1);
        if died { 3 } else { came_in }
    });
}

/// A reader reads while handlers run that do not call the library.
#[test]
fn reader_during_interruptions() {
    explore_events(1, 2, |after| {
        let queue = Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || queue.try_snapshot())
        };
        let caller = Caller::new(&queue, 0);
        let came_in = interrupted(after, |_| (), || caller.call(0));
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        assert_eq!(queue.done(), [1]);
        came_in
    });
}

/// A reader without the lock sees all of a change or nothing, even if a handler interrupts the
/// call.
#[test]
fn reader_during_handler() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || queue.try_snapshot())
        };
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        assert_eq!(queue.done(), [1, came_in as u8]);
        came_in
    });
}

/// A reader without the lock sees all of a change or nothing, even if the caller dies and a process
/// takes over.
#[test]
fn reader_during_death() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || queue.try_snapshot())
        };
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        Caller::new(&queue, 1).with_guard(|| ());
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        let [done] = queue.done();
        assert!(done == 1 || died && done == 0);
        died
    });
}

/// While the change of a dead process is pending, a snapshot fails.
#[test]
fn quiet_snapshot_is_complete() {
    explore_deaths(0, |steps| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        let seen = queue.try_snapshot();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        assert!(died || seen == Some([1, 1]));
        died
    });
}

/// A process that waits for a word without the lock, such as its answer, then sees all earlier
/// stores.
#[test]
fn stores_are_seen_in_order() {
    for fast in [false, true] {
        explore_deaths(2, move |steps| {
            let queue = Arc::new(Queue::default());
            let waiter = {
                let queue = queue.clone();
                thread::spawn(move || match queue.words[1].load(Ordering::Acquire) {
                    0 => [1, 1],
                    answer => [queue.words[0].load(Ordering::Relaxed), answer],
                })
            };
            let caller = Caller::new(&queue, 0);
            let died = caller.dying(steps, || match fast {
                true => caller.call(0),
                false => caller.with_guard(|| caller.commit(0)),
            });
            Caller::new(&queue, 1).with_guard(|| ());
            assert_eq!(waiter.join().unwrap(), [1, 1]);
            died
        });
    }
}
