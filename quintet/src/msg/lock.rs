//! The two ways to hold a queue lock.
//!
//! | | [`RseqGuard`] | [`QueueGuard`] |
//! |---|---|---|
//! | signals | come in; a handler can take the lock over from its own thread | are blocked |
//! | use | one operation that needs no system call under the lock | everything |
//! | stores | one write set; its commit also releases the lock | any number of write sets |
//! | lock not free | spins briefly, then gives up | waits, or takes over from a dead owner |
//!
//! An operation under an `RseqGuard` has these steps:
//!
//! 1. It announces itself to the signal handlers of its thread.
//! 2. It takes the lock, reads the queue and stages a write set.
//! 3. One restartable sequence checks that this thread still holds the lock. The sequence then
//!    makes the copies, writes the journal, decides, makes the stores and releases the lock.
//!
//! A handler that finds the lock held by its own thread takes it over. It completes a decided
//! change. It then tells the announced operation how many changes there were. The interrupted
//! operation finds the lock lost. From the number of changes it learns if its own change was made.
//!
//! If a handler runs for long in such a thread, other threads wait, as they do for a stopped
//! process. [`jump_out`] releases the lock of an operation that a handler leaves by a jump.
//!
//! # Safety
//!
//! - A write set stores to words of the queue's mapping, and copies to slots that are free as long
//!   as the lock is held. The caller is responsible for the source of a copy.
//! - An [`Announcement`] lies on the stack of the call that added it to the list. The call removes
//!   it before it returns.
#![allow(unsafe_code)]

use crate::msg::mapping::{QueueView, Queues};
use crate::msg::write_set::WriteSet;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::{LockAttempt, Patience, acquire};
use crate::process::fork::{self, Inside};
use crate::process::liveness::LivenessProbe;
use crate::process::participants::{Participants, unpack};
use crate::sync::attach_count::ParticipantId;
use crate::sync::primitive::program_order;
use crate::sync::queue_lock::{self, ThreadOwner};
use crate::sync::redo;
use crate::sync::robust_mutex::LockOwner;
use crate::sys::rseq::{self, Outcome, Work};
use crate::sys::signal::Blocked;
use crate::sys::{futex, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// The number of times that an [`RseqGuard`] tries to take the lock after the first one.
const FAST_ATTEMPTS: u32 = 16;
/// The number of rounds in which a waiter spins and yields the processor. Only then does it check
/// if the owner is alive.
const YIELD_ROUNDS: u32 = 64;
/// The number of times that a waiter looks at the lock in a round.
const LOOKS_PER_ROUND: u32 = 2;
/// The pause between two looks, in spin-loop hints: about a microsecond.
///
/// The owner needs the cache line of the lock. During the pause it gets several operations done.
/// Two threads that alternated for each operation would spend their time on exchanging the line.
const SPINS_PER_LOOK: u32 = 32;
/// The first sleep between two rounds, after the rounds that yield. Each sleep is twice as long as
/// the one before.
const FIRST_NAP: Duration = Duration::from_micros(50);
/// The longest sleep between two rounds.
const MAX_NAP: Duration = Duration::from_millis(2);
/// The number of rounds, about a second, after which a waiter gives up that cannot check if the
/// owner is alive.
const MAX_UNPROBED_ROUNDS: u32 = 600;
/// The number of sleeps, about 20 ms in all, after which the owner counts as stopped.
const HEALTHY_NAPS: u32 = 14;
/// The number of rounds, about 40 ms in all, of a caller that does not wait for a stopped process.
const MAX_BRIEF_ROUNDS: u32 = YIELD_ROUNDS + 20;
/// The number of times that a restartable sequence is tried. A debugger that steps through it
/// interrupts it each time.
const MAX_RESTARTS: u32 = 8;

/// An operation under an [`RseqGuard`], as the signal handlers of its thread find it.
struct Announcement {
    queues: *const Queues,
    index: u16,
    /// The number of changes at the moment when a handler took the lock over, after it had
    /// completed the decided change.
    ///
    /// [`NOT_HELD`] until the operation has the lock; [`HELD`] while no handler has taken it over.
    taken_over_at: AtomicU64,
    previous: *const Announcement,
}

/// The operation does not hold the lock yet.
const NOT_HELD: u64 = u64::MAX;
/// The operation has taken the lock.
const HELD: u64 = u64::MAX - 1;

/// The variables of a thread. They are in one place because each access to a thread-local variable
/// costs a call.
pub struct ThreadState {
    /// The id of the thread.
    tid: ids::KnownTid,
    /// The newest announcement.
    announcements: Cell<*const Announcement>,
    /// By [`crate::msg::spin`] index: how often in a row the thread waited for a message without a
    /// send, and for room without a receive.
    pub waits: [Cell<u32>; 2],
}

thread_local! {
    /// The variables of the calling thread.
    pub static THREAD: ThreadState = const {
        ThreadState {
            tid: ids::KnownTid::new(),
            announcements: Cell::new(std::ptr::null()),
            waits: [const { Cell::new(0) }; 2],
        }
    };
}

/// Returns the newest announcement of the calling thread.
fn newest_announcement() -> *const Announcement {
    THREAD.with(|thread| thread.announcements.get())
}

/// Holds a queue lock for one operation, with signals coming in. Dropping it releases the lock.
pub struct RseqGuard<'a> {
    /// The queue.
    pub queue: QueueView<'a>,
    owner: ThreadOwner,
    /// The generation word of the process, and its value. In a child that a handler forks, the word
    /// has another value.
    process_word: (&'static AtomicU64, u64),
    journal: usize,
    announcement: *const Announcement,
    /// `false` once `commit` or `release` has begun to release the lock.
    held: bool,
    thread: *const ThreadState,
}

impl<'a> RseqGuard<'a> {
    /// Calls `operation` with the lock of a queue that is mapped writable. Returns `None` if the
    /// lock is not free, or if signals must be blocked.
    #[inline(always)]
    pub fn with<T>(queue: QueueView<'a>, operation: impl FnOnce(RseqGuard<'a>) -> T) -> Option<T> {
        if !rseq::is_available() {
            return None;
        }
        let process_word = fork::process_word();
        let me = unpack(queue.queues.core.participants.me_word()?)?;
        THREAD.with(|thread| {
            let owner = ThreadOwner::new(LockOwner::new(me.slot, me.incarnation), thread.tid.get());
            let previous = thread.announcements.get();
            let announcement =
                Announcement { queues: queue.queues, index: queue.index(), taken_over_at: AtomicU64::new(NOT_HELD), previous };
            thread.announcements.set(&raw const announcement);
            // A handler that finds the lock held must also find the announcement. So the
            // announcement is stored first, in program order. An operation that dies here leaves
            // nothing, because the list is private to the process.
            program_order();
            let lock = &queue.header().lock;
            let mut acquired = queue_lock::try_acquire(lock, owner) || acquire_spinning(lock, owner);
            if acquired {
                announcement.taken_over_at.store(HELD, Relaxed);
                program_order();
                // A handler that ran before the store of `HELD` could not tell this operation that
                // it took the lock over. Nothing was decided by then, so the lock word alone
                // answers the question.
                acquired = queue_lock::holder(lock) == Some(owner);
            }
            let announcement = &raw const announcement;
            let journal = me.slot as usize;
            let done =
                acquired.then(|| operation(RseqGuard { queue, owner, process_word, journal, announcement, held: true, thread }));
            thread.announcements.set(previous);
            done
        })
    }

    /// Returns the calling thread, as the lock and busy messages name it.
    pub fn owner(&self) -> ThreadOwner {
        self.owner
    }

    /// Notes an operation for the other side, so that the thread does not count as the end of a
    /// stream.
    #[inline(always)]
    pub fn reset_waits(&self, side: usize) {
        // SAFETY: the guard does not outlive the call of `with` that made it.
        unsafe { &*self.thread }.waits[side].set(0);
    }

    /// Returns the input of a restartable sequence that only releases the lock.
    fn work(&self) -> Work {
        Work::new(&self.queue.header().lock, self.owner.0, self.process_word)
    }

    /// Commits a write set and releases the lock. Returns `false` if a handler took the lock over
    /// before the decision; the queue is then unchanged by this operation.
    #[inline(always)]
    pub fn commit(mut self, writes: &WriteSet<'_>) -> bool {
        self.held = false;
        let header = self.queue.header();
        let (journal, changes) = (header.journal(self.journal), header.changes.load(Relaxed));
        let mut work = self.work();
        (work.copies, work.copy_count) = (writes.copies().as_ptr(), writes.copies().len());
        (work.stores, work.store_count) = (writes.stores().as_ptr(), writes.stores().len());
        work.journal = journal.entries.as_ptr();
        (work.decided, work.decision) = (journal.decided, redo::decision(work.store_count, changes));
        (work.changes, work.done) = (journal.changes, changes.wrapping_add(1));
        // The sequence leaves one of these states when it is interrupted or when its process dies:
        //
        // - Before the store to `decided`, the copies lie in free slots, and no process reads the
        //   journal.
        // - After it, the change counts as made. A handler of this thread, or the next owner of the
        //   lock, completes it.
        // - After the store to `changes`, only the lock is left to be released.
        for _ in 0..MAX_RESTARTS {
            // SAFETY: see the module. A write set has no more stores than a journal has room for.
            match unsafe { rseq::commit(&work) } {
                Outcome::Done => return true,
                Outcome::Lost => return self.was_completed(changes),
                Outcome::Interrupted => {}
            }
        }
        self.commit_slow(writes, changes)
    }

    /// Returns `true` if the change was made, by this operation or by the handler that took the
    /// lock over. `changes` is the number of changes before.
    #[cold]
    fn was_completed(&self, changes: u64) -> bool {
        // SAFETY: the announcement is on the stack of the call of `with` that made the guard.
        let taken_over_at = unsafe { &(*self.announcement).taken_over_at }.load(Relaxed);
        // The lock was held from the read of `changes` until the handler took over. If there is one
        // change more, it is the change of this operation.
        taken_over_at == changes.wrapping_add(1)
    }

    /// Returns `true` if this operation still holds the lock. Signals are blocked. In a child that
    /// a handler forked, the lock belongs to the parent.
    fn still_holds(&self) -> bool {
        queue_lock::holder(&self.queue.header().lock) == Some(self.owner)
            && self.process_word.0.load(Relaxed) == self.process_word.1
    }

    /// Commits a write set with signals blocked, after the sequence was interrupted too often.
    #[cold]
    fn commit_slow(&self, writes: &WriteSet<'_>, changes: u64) -> bool {
        let _signals = Blocked::all();
        if !self.still_holds() {
            return self.was_completed(changes);
        }
        let header = self.queue.header();
        // An interrupted sequence may have decided already. Deciding on the same change again
        // stores the same values. If `changes` has grown, the sequence was interrupted just before
        // it released the lock.
        if header.changes.load(Relaxed) == changes {
            commit(self.queue, self.journal, writes);
        }
        queue_lock::release(&header.lock, self.owner);
        true
    }
}

impl RseqGuard<'_> {
    /// Releases the lock. Returns `false` if a handler took it over meanwhile. What the operation
    /// has read can then be of different instants.
    #[inline(always)]
    pub fn release(mut self) -> bool {
        self.held = false;
        self.release_inner()
    }

    /// Releases the lock, if this operation still holds it. Returns `true` if it did.
    #[inline(always)]
    fn release_inner(&self) -> bool {
        for _ in 0..MAX_RESTARTS {
            // SAFETY: the words are mapped.
            match unsafe { rseq::release(&self.work()) } {
                Outcome::Done => return true,
                Outcome::Lost => return false,
                Outcome::Interrupted => {}
            }
        }
        let _signals = Blocked::all();
        let held = self.still_holds();
        if held {
            queue_lock::release(&self.queue.header().lock, self.owner);
        }
        held
    }
}

impl Drop for RseqGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.held {
            self.release_inner();
        }
    }
}

/// Tries a few times to take the lock. A handler does not wait for the operation that it
/// interrupted.
#[cold]
#[inline(never)]
fn acquire_spinning(lock: &AtomicU64, owner: ThreadOwner) -> bool {
    for _ in 0..FAST_ATTEMPTS {
        if queue_lock::holder(lock) == Some(owner) {
            // The caller is a handler, and the operation that it interrupted does not release the
            // lock meanwhile.
            return false;
        }
        spin_while_held(lock);
        if queue_lock::try_acquire(lock, owner) {
            return true;
        }
    }
    false
}

/// Pauses for one look, and for another one if the lock is still held.
fn spin_while_held(lock: &AtomicU64) {
    for _ in 0..LOOKS_PER_ROUND {
        (0..SPINS_PER_LOOK).for_each(|_| std::hint::spin_loop());
        if lock.load(Relaxed) == 0 {
            return;
        }
    }
}

/// Makes the copies and commits the stores of a write set. The caller holds the lock, with signals
/// blocked.
fn commit(queue: QueueView<'_>, journal: usize, writes: &WriteSet<'_>) {
    for copy in writes.copies() {
        // SAFETY: see the module.
        unsafe { std::ptr::copy_nonoverlapping(copy.from, copy.to, copy.len) };
    }
    // The bytes are in place before the journal decides. A crash before that leaves them in free
    // slots.
    let stores = writes.stores().iter().map(|store| (store.place, store.value));
    queue.header().journal(journal).commit(&queue, stores);
}

/// Holds a queue lock, with signals blocked. Dropping it releases the lock.
pub struct QueueGuard<'a> {
    /// The queue.
    pub queue: QueueView<'a>,
    /// The calling process.
    pub me: ParticipantId,
    // Fields are dropped in this order: the lock is released before signals come in.
    lock: HeldQueueLock<'a>,
    signals: Blocked,
}

struct HeldQueueLock<'a>(QueueView<'a>, ThreadOwner);

impl Drop for HeldQueueLock<'_> {
    fn drop(&mut self) {
        queue_lock::release(&self.0.header().lock, self.1);
    }
}

impl QueueGuard<'_> {
    /// Commits a write set. `EINVAL` means that it has too many stores; none of them was made.
    pub fn commit(&self, writes: &WriteSet<'_>) -> Result<()> {
        writes.check()?;
        commit(self.queue, self.me.slot as usize, writes);
        Ok(())
    }

    /// Releases the lock. Signals stay blocked.
    pub fn release(self) -> Blocked {
        self.signals
    }

    /// Returns the calling thread, as the lock and busy messages name it.
    pub fn owner(&self) -> ThreadOwner {
        self.lock.1
    }
}

/// The state in which a lock was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcquiredFrom {
    /// It was free.
    Free,
    /// Its owner had exited.
    DeadOwner,
    /// It was held by an operation of this thread, which the calling signal handler has
    /// interrupted.
    OwnThread,
}

/// Tells the interrupted operation that the calling handler has taken the lock over, and after how
/// many changes.
fn notify_interrupted(queue: &QueueView<'_>) {
    let mut at = newest_announcement();
    // SAFETY: the calls that added the announcements have not returned.
    while let Some(announcement) = unsafe { at.as_ref() } {
        let taken_over_at = announcement.taken_over_at.load(Relaxed);
        if std::ptr::eq(announcement.queues, queue.queues) && announcement.index == queue.index() && taken_over_at != NOT_HELD {
            // An operation that was told before lost the lock at that time. The first number is the
            // right one.
            if taken_over_at == HELD {
                announcement.taken_over_at.store(queue.header().changes.load(Relaxed), Relaxed);
            }
            return;
        }
        at = announcement.previous;
    }
}

impl Queues {
    /// Acquires a queue lock, and blocks signals. `EACCES` means that the queue's files cannot be
    /// mapped writable.
    pub fn lock<'a>(&'a self, queue: QueueView<'a>, patience: Patience) -> Result<QueueGuard<'a>> {
        patience.begin();
        let queue = match queue.is_fully_mapped() {
            true => queue,
            false => self
                .writable_at(queue.index())?
                .ok_or(Errno::IDRM)
                .and_then(|queue| queue.is_fully_mapped().then_some(queue).ok_or(Errno::ACCES))?,
        };
        let me = match self.core.participants.me_if_joined() {
            Some(me) => me,
            None => {
                let _inside = Inside::enter();
                self.core.participants.me()?
            }
        };
        let guard = self.acquire(queue, me, patience)?;
        let header = guard.queue.header();
        if header.damaged.load(Relaxed) != 0 {
            // The mark is cleared after the repair. If this process dies in between, the next owner
            // repairs the queue again.
            guard.repair();
            header.damaged.store(0, Relaxed);
        }
        Ok(guard)
    }

    /// Acquires the lock of a queue that has its header and pages mapped writable. Completes what
    /// the last owner had decided.
    fn acquire<'a>(&'a self, queue: QueueView<'a>, me: ParticipantId, patience: Patience) -> Result<QueueGuard<'a>> {
        let owner = ThreadOwner::new(LockOwner::new(me.slot, me.incarnation), ids::known_tid());
        let participants = &self.core.participants;
        let mut attempt = QueueLockAttempt { word: &queue.header().lock, owner, participants, nap: FIRST_NAP };
        let (from, signals) = acquire(participants, &mut attempt, patience)?;
        let guard = QueueGuard { queue, me, lock: HeldQueueLock(queue, owner), signals };
        let header = guard.queue.header();
        if from == AcquiredFrom::DeadOwner {
            // A dead owner may have stopped between two commits of one operation. The mark comes
            // first, so that it outlives this process.
            header.damaged.store(1, Relaxed);
        }
        if from != AcquiredFrom::Free {
            // A decided change counts as made. It is completed before this owner reads anything. At
            // most one journal is valid.
            header.journals().for_each(|journal| journal.apply(&guard.queue));
        }
        if from == AcquiredFrom::OwnThread {
            notify_interrupted(&queue);
        }
        Ok(guard)
    }
}

/// The queue lock, as a waiter sees it.
struct QueueLockAttempt<'a> {
    word: &'a AtomicU64,
    owner: ThreadOwner,
    participants: &'a Participants,
    nap: Duration,
}

impl LockAttempt for QueueLockAttempt<'_> {
    type Acquired = AcquiredFrom;
    const HEALTHY_ROUNDS: u32 = YIELD_ROUNDS + HEALTHY_NAPS;
    const BRIEF_ROUNDS: u32 = MAX_BRIEF_ROUNDS;
    const UNPROBED_ROUNDS: u32 = MAX_UNPROBED_ROUNDS;

    fn try_once(&mut self) -> Option<AcquiredFrom> {
        (queue_lock::holder(self.word).is_none() && queue_lock::try_acquire(self.word, self.owner)).then_some(AcquiredFrom::Free)
    }

    fn attempt(&mut self, round: u32, _patience: Patience, probe: &LivenessProbe<'_>) -> Option<AcquiredFrom> {
        match queue_lock::holder(self.word) {
            None => queue_lock::try_acquire(self.word, self.owner).then_some(AcquiredFrom::Free),
            // A child of a bare `clone` inherits the known thread id of its parent. The kernel
            // tells them apart.
            Some(holder) if holder == self.owner && ids::tid() == self.owner.tid() => Some(AcquiredFrom::OwnThread),
            Some(holder) if round >= YIELD_ROUNDS && !self.participants.is_thread_alive_by(probe, holder) => {
                queue_lock::take_over(self.word, holder, self.owner).then_some(AcquiredFrom::DeadOwner)
            }
            Some(_) => None,
        }
    }

    fn pause(&mut self, rounds: u32, patience: Patience) {
        if rounds < YIELD_ROUNDS {
            spin_while_held(self.word);
            std::thread::yield_now();
            return;
        }
        // A word that no thread wakes.
        let never = AtomicU32::new(0);
        let _ = futex::wait(&never, 0, if rounds > Self::HEALTHY_ROUNDS { patience.nap(self.nap) } else { self.nap });
        self.nap = (self.nap * 2).min(MAX_NAP);
    }
}

/// Releases the queue lock and forgets the announcements of a thread that is about to jump out of
/// its calls.
pub fn jump_out() {
    release_interrupted();
    THREAD.with(|thread| thread.announcements.set(std::ptr::null()));
}

/// Releases each queue lock that an operation of this thread holds, and completes what the
/// operation had decided.
///
/// A caller that may be a signal handler does this before it does something that takes long.
pub fn release_interrupted() {
    let mut at = newest_announcement();
    // SAFETY: the calls that added the announcements have not returned.
    while let Some(announcement) = unsafe { at.as_ref() } {
        // SAFETY: the tables of a namespace are never freed.
        let queues = unsafe { &*announcement.queues };
        if let (Ok(Some(queue)), Some(me)) = (queues.at(announcement.index), queues.core.participants.me_if_joined()) {
            let owner = ThreadOwner::new(LockOwner::new(me.slot, me.incarnation), ids::known_tid());
            if queue_lock::holder(&queue.header().lock) == Some(owner) {
                // The owner is this thread, so this takes the lock over and then releases it.
                drop(queues.acquire(queue, me, Patience::Endless));
            }
        }
        at = announcement.previous;
    }
}

/// Returns the guard if the queue still exists as `id`, else `EIDRM`.
pub fn check_live<'a>(guard: QueueGuard<'a>, id: Id) -> Result<QueueGuard<'a>> {
    if guard.queue.is_live_as(id) { Ok(guard) } else { Err(Errno::IDRM) }
}
