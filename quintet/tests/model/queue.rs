//! A queue's lock, its journals and the calls that hold it, under every interleaving, in which anybody may die, and a signal handler that calls
//! us may come in, before any step.
//!
//! The lock and the journals are the crate's own. How they are used is as in `msg/section.rs`: [`Caller::quick`] is its `RseqGuard`, the sequence
//! of which is imitated, and [`Caller::section`] its `Section`.

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
    /// Each operation raises a byte of its own in both.
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

    fn look(&self) -> [u64; 2] {
        self.words.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    fn look_once(&self) -> Option<[u64; 2]> {
        redo::look_once(self.journals(), &self.changes, || self.look())
    }

    /// How often each operation was done, when all is quiet.
    fn done<const N: usize>(&self) -> [u8; N] {
        assert_eq!(self.lock.load(Ordering::Acquire), 0, "the lock is free");
        let [first, second] = self.look_once().expect("nothing is left to be done");
        assert_eq!(first, second);
        std::array::from_fn(|op| (first >> (8 * op)) as u8)
    }
}

/// What is written into a note before a number of changes is.
const WITHOUT: u64 = u64::MAX;
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

    /// Does an operation, and returns when it is done.
    fn call(&self, op: u32) {
        if !self.quick(op) {
            self.section(|| self.commit(op));
        }
    }

    fn writes(&self, op: u32) -> [(u64, u64); 2] {
        let [first, second] = self.queue.look();
        [(0, first.wrapping_add(1 << (8 * op))), (1, second.wrapping_add(1 << (8 * op)))]
    }

    /// An operation without holding signals off. `false`: nothing was done.
    fn quick(&self, op: u32) -> bool {
        let note = Rc::new(AtomicU64::new(WITHOUT));
        self.notes.borrow_mut().push(note.clone());
        step();
        let done = self.acquire_fast(&note) && self.commit_quickly(&note, op);
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
        // Otherwise it was taken over before anybody could see whose it was.
        queue_lock::holder(lock) == Some(self.mine)
    }

    fn commit_quickly(&self, note: &AtomicU64, op: u32) -> bool {
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
            queue_lock::free(&self.queue.lock, self.mine);
            true
        })
    }

    /// Looks with the lock, without holding signals off. `None`: it was not free, or a handler has taken it over meanwhile.
    fn look_quickly(&self) -> Option<[u64; 2]> {
        let note = Rc::new(AtomicU64::new(WITHOUT));
        self.notes.borrow_mut().push(note.clone());
        step();
        let seen = self.acquire_fast(&note).then(|| self.queue.look());
        let seen = seen.filter(|_| {
            loop {
                match self.sequence_to_leave() {
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

    fn sequence_to_leave(&self) -> Outcome {
        let left = sequence(|| {
            if self.queue.lock.load(Ordering::Relaxed) != self.mine.0 {
                return Outcome::Lost;
            }
            self.queue.lock.store(0, Ordering::Release);
            Outcome::Done
        });
        left.unwrap_or(Outcome::Interrupted)
    }

    /// As `sys/region.rs` does, on a processor whose stores all release.
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

    /// Does `f` with the lock, and signals held off.
    fn section(&self, f: impl Fn()) {
        while !held_off(|| self.take() && self.finish(&f)) {
            step();
            thread::yield_now();
        }
    }

    fn finish(&self, f: &impl Fn()) -> bool {
        f();
        queue_lock::free(&self.queue.lock, self.mine);
        true
    }

    /// Takes the lock, if it is free, or its holder's who is not there to free it.
    fn take(&self) -> bool {
        let queue = &*self.queue;
        let holder = queue_lock::holder(&queue.lock);
        let from_own_thread = holder == Some(self.mine);
        match holder {
            None => return queue_lock::try_acquire(&queue.lock, self.mine),
            Some(_) if from_own_thread => {}
            Some(holder) => {
                let slot = holder.owner().slot().expect("nobody scribbles");
                if !queue.dead[slot as usize].load(Ordering::Acquire) || !queue_lock::take_over(&queue.lock, holder, self.mine) {
                    return false;
                }
            }
        }
        self.one_journal_at_most();
        queue.journals().for_each(|journal| journal.carry_out(queue));
        if from_own_thread {
            self.tell_interrupted();
        }
        true
    }

    /// Of the journals no two say something.
    fn one_journal_at_most(&self) {
        let says = redo::decision(2, self.queue.changes.seen_by_kernel());
        let saying = self.queue.journals().filter(|journal| journal.decided.seen_by_kernel() == says);
        assert!(saying.count() <= 1);
    }

    /// Who has held the lock last, of the calls that this thread is in.
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

    /// A handler leaves by a jump.
    fn jump_out(&self) {
        let notes = self.notes.borrow().len();
        for _ in 0..notes {
            if queue_lock::holder(&self.queue.lock) == Some(self.mine) {
                self.section(|| ());
            }
        }
        self.notes.borrow_mut().clear();
        resume_unwind(Box::new(Jump));
    }

    /// Does `f`, and dies before step `steps`.
    fn dying(&self, steps: u32, f: impl FnOnce()) -> bool {
        let died = mortal(steps, f).is_none();
        self.queue.dead[self.slot as usize].store(died, Ordering::Release);
        died
    }
}

/// A thread that does one operation of another participant.
fn other(queue: &Arc<Queue>, slot: u32, op: u32) -> thread::JoinHandle<()> {
    let queue = queue.clone();
    thread::spawn(move || Caller::new(&queue, slot).call(op))
}

/// A caller is interrupted; so is the handler, or the caller once more. Each does an operation, as it can.
fn call_with_handlers(caller: &Rc<Caller>, after: &[u32]) -> usize {
    let handler = caller.clone();
    interrupted(after, move |nth| handler.call(nth as u32), || caller.call(0))
}

/// Each operation is done once, and its caller knows.
#[test]
fn handlers_come_in() {
    explore_events(0, 2, |after| {
        let queue = Arc::new(Queue::default());
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        assert_eq!(queue.done(), [1, u8::from(came_in > 0), u8::from(came_in > 1)]);
        came_in
    });
}

/// Three, where nothing but signals comes in between: what is told to one call is not another's.
#[test]
fn handlers_come_in_to_handlers() {
    explore_events(0, 3, |after| {
        let queue = Arc::new(Queue::default());
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        assert_eq!(queue.done(), [1, u8::from(came_in > 0), u8::from(came_in > 1), u8::from(came_in > 2)]);
        came_in
    });
}

/// A call loses the lock right after it got it. What is told later, by a handler that finds the lock to be its own thread's, is not told to it.
#[test]
fn a_handler_comes_in_at_once() {
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

/// Another one has the lock as soon as the handler frees it: nothing of what was interrupted is stored then.
#[test]
fn a_handler_comes_in_and_another_one_goes_on() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 7);
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        other.join().unwrap();
        assert_eq!(queue.done(), [1, came_in as u8, 0, 0, 0, 0, 0, 1]);
        came_in
    });
}

/// What was seen with a lock that was not lost was so.
#[test]
fn a_handler_comes_in_while_its_thread_looks() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 7);
        let caller = Caller::new(&queue, 0);
        let handler = caller.clone();
        let mut seen = None;
        let came_in = interrupted(after, move |_| handler.call(0), || seen = caller.look_quickly());
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        other.join().unwrap();
        assert_eq!(queue.done(), [came_in as u8, 0, 0, 0, 0, 0, 0, 1]);
        came_in
    });
}

/// A handler leaves by a jump: what it has interrupted is done or not, and the lock is free.
#[test]
fn a_handler_jumps_out() {
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

/// The handler of a handler does.
#[test]
fn a_handlers_handler_jumps_out() {
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

/// Two call at a time, and one of them dies.
#[test]
fn a_caller_dies() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 1);
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        other.join().unwrap();
        // Whether the lock was still the dead one's.
        Caller::new(&queue, 2).section(|| ());
        let [done, others] = queue.done();
        assert!(done == 1 || died && done == 0, "{done}");
        assert_eq!(others, 1);
        died
    });
}

/// So does a section's holder, one that has done something already.
#[test]
fn a_sections_holder_dies() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let other = other(&queue, 1, 1);
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.section(|| [0, 2].into_iter().for_each(|op| caller.commit(op))));
        other.join().unwrap();
        Caller::new(&queue, 2).section(|| ());
        let done = queue.done();
        assert!(done == [1, 1, 1] || died && [[0, 1, 0], [1, 1, 0]].contains(&done), "{done:?}");
        died
    });
}

/// The successor dies, too, and so on: who is left takes over from whoever it was.
#[test]
fn successors_die() {
    explore_events(0, 2, |steps| {
        let queue = Arc::new(Queue::default());
        let died = [0, 1].map(|slot| {
            let caller = Caller::new(&queue, slot);
            // Who comes second has the other journal.
            caller.dying(steps[slot as usize], || caller.call(slot))
        });
        Caller::new(&queue, 2).call(2);
        let done: [u8; 3] = queue.done();
        assert!([0, 1].into_iter().all(|op| done[op] == 1 || died[op] && done[op] == 0), "{done:?} {died:?}");
        assert_eq!(done[2], 1);
        // The second may die after no steps while the first lives.
        if died[0] { 1 + usize::from(died[1]) } else { 0 }
    });
}

/// Two would take over at a time: one does, and what the dead one had decided is not done over what the other one has done since.
#[test]
fn two_take_over() {
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

/// Who has lost the lock to somebody who took him for dead does not free it.
#[test]
fn nobody_frees_what_is_not_his() {
    explore(0, || {
        let queue = Arc::new(Queue::default());
        let [first, second] = [0, 1].map(|slot| Caller::new(&queue, slot).mine);
        assert!(queue_lock::try_acquire(&queue.lock, first));
        assert!(queue_lock::take_over(&queue.lock, first, second));
        queue_lock::free(&queue.lock, first);
        assert_eq!(queue_lock::holder(&queue.lock), Some(second));
        assert!(!queue_lock::take_over(&queue.lock, first, first) && !queue_lock::try_acquire(&queue.lock, first));
        queue_lock::free(&queue.lock, second);
        assert_eq!(queue_lock::holder(&queue.lock), None);
    });
}

/// A handler comes in, and its process dies, there or later.
#[test]
fn a_caller_dies_in_its_handler() {
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
        // That many steps after the signal.
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

/// Signals whose handlers have nothing to do with us: what was interrupted is tried again, as often as it may be, and then dies.
#[test]
fn a_caller_is_interrupted_in_vain() {
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

/// The same under a reader's eyes.
#[test]
fn a_reader_looks_while_a_caller_is_interrupted_in_vain() {
    explore_events(1, 2, |after| {
        let queue = Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || queue.look_once())
        };
        let caller = Caller::new(&queue, 0);
        let came_in = interrupted(after, |_| (), || caller.call(0));
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        assert_eq!(queue.done(), [1]);
        came_in
    });
}

/// Who looks without the lock sees all of a change or nothing, whoever is interrupted meanwhile.
#[test]
fn a_reader_looks_while_a_handler_comes_in() {
    explore_events(2, 1, |after| {
        let queue = Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || queue.look_once())
        };
        let came_in = call_with_handlers(&Caller::new(&queue, 0), after);
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        assert_eq!(queue.done(), [1, came_in as u8]);
        came_in
    });
}

/// The same of somebody who dies, and of who takes over.
#[test]
fn a_reader_looks_while_a_caller_dies() {
    explore_deaths(2, |steps| {
        let queue = Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || queue.look_once())
        };
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        Caller::new(&queue, 1).section(|| ());
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        let [done] = queue.done();
        assert!(done == 1 || died && done == 0);
        died
    });
}

/// A dead one's change that nobody has carried out is not to be looked at.
#[test]
fn what_keeps_still_is_whole() {
    explore_deaths(0, |steps| {
        let queue = Arc::new(Queue::default());
        let caller = Caller::new(&queue, 0);
        let died = caller.dying(steps, || caller.call(0));
        let seen = queue.look_once();
        assert!(seen.is_none_or(|[first, second]| first == second), "{seen:?}");
        assert!(died || seen == Some([1, 1]));
        died
    });
}

/// Who waits for a word without the lock, as for its answer, finds there what was stored before it.
#[test]
fn what_is_stored_last_is_seen_last() {
    for quickly in [false, true] {
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
            let died = caller.dying(steps, || match quickly {
                true => caller.call(0),
                false => caller.section(|| caller.commit(0)),
            });
            Caller::new(&queue, 1).section(|| ());
            assert_eq!(waiter.join().unwrap(), [1, 1]);
            died
        });
    }
}
