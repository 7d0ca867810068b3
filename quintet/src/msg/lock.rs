//! Holding a queue's lock.
//!
//! | | [`RseqGuard`] | [`QueueGuard`] |
//! |---|---|---|
//! | signals | come in; a handler that calls us takes the lock over from its own thread | are held off |
//! | for | one operation that nobody has to be told of | everything |
//! | what it stores | one draft, whereby the lock is freed | as many drafts as it likes, one after the other |
//! | if the lock is not free | it is a matter for a section | waits, or takes it over from a dead holder |
//!
//! A handler that runs for long, in a thread that it has interrupted just while it held the lock as `RseqGuard`, keeps others waiting, as a stopped
//! process does. One that leaves by a jump is told of: [`jump_out`].
//!
//! # Safety
//!
//! What a draft stores to are words of the queue's mapping, what it fills are slots that are free as long as the lock is held, and where it copies from
//! the caller vouches for. A [`Note`] lives on the stack of the call that has put it into the list, and takes itself out before that returns.
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

/// How often a quick operation looks whether the lock has become free.
const QUICK_LOOKS: u32 = 16;
/// How often who waits for the lock looks again, and lets others run in between, before it asks whether the holder lives.
const YIELDS: u32 = 64;
const LOOKS: u32 = 2;
/// Between two looks, about a microsecond: whoever holds the lock needs the same memory, and gets several operations done meanwhile. Two who take turns for each
/// would spend their time pulling it to and fro.
const PAUSES: u32 = 32;
/// Then it sleeps between two looks: ever longer.
const FIRST_NAP: Duration = Duration::from_micros(50);
const LONGEST_NAP: Duration = Duration::from_millis(2);
/// How often it looks if nobody can be asked whether the holder lives: about a second.
const UNASKED_LOOKS: u32 = 600;
/// After so many naps, some 20 ms, whoever holds the lock has been stopped, or as good as.
const LONG: u32 = 14;
/// How often who would rather not wait for a process that is stopped looks whether the lock has become free: some 40 ms.
const SOON: u32 = YIELDS + 20;
/// How often a sequence is tried that is interrupted each time, as by a debugger that goes step by step.
const TRIES: u32 = 8;

/// A lock that this thread holds as `RseqGuard`, for a handler that jumps out of it.
struct Note {
    queues: *const Queues,
    index: u16,
    /// How many changes there were when a handler had taken the lock over, and had done what was decided; [`WITHOUT`]: the call has not got the lock
    /// yet; [`HOLDS`]: nobody has taken it over.
    taken_at: AtomicU64,
    previous: *const Note,
}

const WITHOUT: u64 = u64::MAX;
const HOLDS: u64 = u64::MAX - 1;

/// What a thread keeps, in one place: to find it costs a call.
pub struct Thread {
    tid: ids::KnownTid,
    notes: Cell<*const Note>,
    /// How many messages it had to wait for since it last sent one, and how often for room since it last received one.
    pub waits: [Cell<u32>; 2],
}

thread_local! {
    pub static THREAD: Thread = const {
        Thread {
            tid: ids::KnownTid::new(),
            notes: Cell::new(std::ptr::null()),
            waits: [const { Cell::new(0) }; 2],
        }
    };
}

/// The newest note of the calling thread.
fn notes() -> *const Note {
    THREAD.with(|thread| thread.notes.get())
}

/// A queue's lock is held for one operation while this lives.
pub struct RseqGuard<'a> {
    pub queue: QueueView<'a>,
    mine: ThreadOwner,
    life: (&'static AtomicU64, u64),
    journal: usize,
    note: *const Note,
    held: bool,
    thread: *const Thread,
}

impl<'a> RseqGuard<'a> {
    /// Does `operation` with the lock of a queue that can be written. `None`: it is not free, or signals must be held off.
    #[inline(always)]
    pub fn with<T>(queue: QueueView<'a>, operation: impl FnOnce(RseqGuard<'a>) -> T) -> Option<T> {
        if !rseq::is_available() {
            return None;
        }
        let life = fork::life();
        let me = unpack(queue.queues.core.participants.me_word()?)?;
        THREAD.with(|thread| {
            let mine = ThreadOwner::new(LockOwner::new(me.slot, me.incarnation), thread.tid.get());
            let previous = thread.notes.get();
            let note = Note { queues: queue.queues, index: queue.index(), taken_at: AtomicU64::new(WITHOUT), previous };
            thread.notes.set(&raw const note);
            // A handler finds the note before the lock is taken, and what it says before the lock is looked at.
            program_order();
            let lock = &queue.header().lock;
            let mut acquired = queue_lock::try_acquire(lock, mine) || acquire_spinning(lock, mine);
            if acquired {
                note.taken_at.store(HOLDS, Relaxed);
                program_order();
                // A handler may have taken it over just before: nothing was decided then.
                acquired = queue_lock::holder(lock) == Some(mine);
            }
            let note = &raw const note;
            let journal = me.slot as usize;
            let done = acquired.then(|| operation(RseqGuard { queue, mine, life, journal, note, held: true, thread }));
            thread.notes.set(previous);
            done
        })
    }

    /// The calling thread, as the lock and the messages that it is sending or receiving name it.
    pub fn holder(&self) -> ThreadOwner {
        self.mine
    }

    /// The calling thread does not only wait on the other side, so there is nothing to be won there by waiting longer.
    #[inline(always)]
    pub fn forget_waits(&self, side: usize) {
        // SAFETY: this does not outlive the call of `with` that has made it.
        unsafe { &*self.thread }.waits[side].set(0);
    }

    fn work(&self) -> Work {
        Work::new(&self.queue.header().lock, self.mine.0, self.life)
    }

    /// Does what the draft says, and frees the lock. `false`: a handler has taken it over meanwhile, and nothing was done.
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
        for _ in 0..TRIES {
            // SAFETY: see the module; a draft has no more stores than a journal holds.
            match unsafe { rseq::commit(&work) } {
                Outcome::Done => return true,
                Outcome::Lost => return self.was_done(changes),
                Outcome::Interrupted => {}
            }
        }
        self.commit_held_off(writes, changes)
    }

    /// Whether who has taken the lock over has found that it was done, or has done it.
    #[cold]
    fn was_done(&self, changes: u64) -> bool {
        // SAFETY: the note is on the stack of the call that has made this.
        let taken_at = unsafe { &(*self.note).taken_at }.load(Relaxed);
        taken_at == changes.wrapping_add(1)
    }

    /// Whether the lock is still this call's; no signal comes in.
    fn is_mine(&self) -> bool {
        queue_lock::holder(&self.queue.header().lock) == Some(self.mine) && self.life.0.load(Relaxed) == self.life.1
    }

    #[cold]
    fn commit_held_off(&self, writes: &WriteSet<'_>, changes: u64) -> bool {
        let _signals = Blocked::all();
        if !self.is_mine() {
            return self.was_done(changes);
        }
        let header = self.queue.header();
        if header.changes.load(Relaxed) == changes {
            commit(self.queue, self.journal, writes);
        }
        queue_lock::release(&header.lock, self.mine);
        true
    }
}

impl RseqGuard<'_> {
    /// Frees the lock. `false`: a handler has taken it over meanwhile, and what was seen under it may not have been so at any one time.
    #[inline(always)]
    pub fn leave(mut self) -> bool {
        self.held = false;
        self.free()
    }

    #[inline(always)]
    fn free(&self) -> bool {
        for _ in 0..TRIES {
            // SAFETY: mapped words.
            match unsafe { rseq::release(&self.work()) } {
                Outcome::Done => return true,
                Outcome::Lost => return false,
                Outcome::Interrupted => {}
            }
        }
        let _signals = Blocked::all();
        let mine = self.is_mine();
        if mine {
            queue_lock::release(&self.queue.header().lock, self.mine);
        }
        mine
    }
}

impl Drop for RseqGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.held {
            self.free();
        }
    }
}

#[cold]
#[inline(never)]
fn acquire_spinning(lock: &AtomicU64, mine: ThreadOwner) -> bool {
    for _ in 0..QUICK_LOOKS {
        if queue_lock::holder(lock) == Some(mine) {
            // This is a handler, and what it has interrupted will not free the lock meanwhile.
            return false;
        }
        while_held(lock);
        if queue_lock::try_acquire(lock, mine) {
            return true;
        }
    }
    false
}

/// Waits a little, and a little longer if it is still held.
fn while_held(lock: &AtomicU64) {
    for _ in 0..LOOKS {
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        if lock.load(Relaxed) == 0 {
            return;
        }
    }
}

/// Copies and stores what a draft says. The caller holds the lock, and signals off.
fn commit(queue: QueueView<'_>, journal: usize, writes: &WriteSet<'_>) {
    for fill in writes.copies() {
        // SAFETY: see the module.
        unsafe { std::ptr::copy_nonoverlapping(fill.from, fill.to, fill.len) };
    }
    let stores = writes.stores().iter().map(|store| (store.place, store.value));
    queue.header().journal(journal).commit(&queue, stores);
}

/// A queue's lock is held while this lives. Signals are held off.
pub struct QueueGuard<'a> {
    pub queue: QueueView<'a>,
    pub me: ParticipantId,
    // The lock first.
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
    /// Does what a draft says.
    pub fn commit(&self, writes: &WriteSet<'_>) -> Result<()> {
        writes.check()?;
        commit(self.queue, self.me.slot as usize, writes);
        Ok(())
    }

    /// Gives the lock back, and goes on holding signals off.
    pub fn leave(self) -> Blocked {
        self.signals
    }

    /// The calling thread, as the lock and the messages that it is sending or receiving name it.
    pub fn holder(&self) -> ThreadOwner {
        self.lock.1
    }
}

/// From whom a lock was got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Nobody,
    Dead,
    /// This is a handler that has come in between.
    OwnThread,
}

/// Tells the call that this handler has interrupted how far it has come.
fn tell_interrupted(queue: &QueueView<'_>) {
    let mut at = notes();
    // SAFETY: the calls that have put the notes there have not returned.
    while let Some(note) = unsafe { at.as_ref() } {
        let taken_at = note.taken_at.load(Relaxed);
        if std::ptr::eq(note.queues, queue.queues) && note.index == queue.index() && taken_at != WITHOUT {
            // Who was told already lost the lock then.
            if taken_at == HOLDS {
                note.taken_at.store(queue.header().changes.load(Relaxed), Relaxed);
            }
            return;
        }
        at = note.previous;
    }
}

impl Queues {
    /// Acquires the lock of a queue, and holds signals off. `EACCES`: its files cannot be written.
    pub fn lock<'a>(&'a self, queue: QueueView<'a>, patience: Patience) -> Result<QueueGuard<'a>> {
        patience.begin();
        let queue = match queue.is_whole() {
            true => queue,
            false => self
                .writable_at(queue.index())?
                .ok_or(Errno::IDRM)
                .and_then(|queue| queue.is_whole().then_some(queue).ok_or(Errno::ACCES))?,
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
            guard.repair();
            header.damaged.store(0, Relaxed);
        }
        Ok(guard)
    }

    /// Acquires the lock of a queue that is mapped whole.
    fn acquire<'a>(&'a self, queue: QueueView<'a>, me: ParticipantId, patience: Patience) -> Result<QueueGuard<'a>> {
        let mine = ThreadOwner::new(LockOwner::new(me.slot, me.incarnation), ids::known_tid());
        let participants = &self.core.participants;
        let mut attempt = QueueLockAttempt { word: &queue.header().lock, mine, participants, nap: FIRST_NAP };
        let (from, signals) = acquire(participants, &mut attempt, patience)?;
        let guard = QueueGuard { queue, me, lock: HeldQueueLock(queue, mine), signals };
        let header = guard.queue.header();
        if from == From::Dead {
            header.damaged.store(1, Relaxed);
        }
        if from != From::Nobody {
            header.journals().for_each(|journal| journal.apply(&guard.queue));
        }
        if from == From::OwnThread {
            tell_interrupted(&queue);
        }
        Ok(guard)
    }
}

/// The queue lock, as a waiter sees it.
struct QueueLockAttempt<'a> {
    word: &'a AtomicU64,
    mine: ThreadOwner,
    participants: &'a Participants,
    nap: Duration,
}

impl LockAttempt for QueueLockAttempt<'_> {
    type Acquired = From;
    const HEALTHY_ROUNDS: u32 = YIELDS + LONG;
    const BRIEF_ROUNDS: u32 = SOON;
    const UNPROBED_ROUNDS: u32 = UNASKED_LOOKS;

    fn try_once(&mut self) -> Option<From> {
        (queue_lock::holder(self.word).is_none() && queue_lock::try_acquire(self.word, self.mine)).then_some(From::Nobody)
    }

    fn attempt(&mut self, round: u32, _patience: Patience, probe: &LivenessProbe<'_>) -> Option<From> {
        match queue_lock::holder(self.word) {
            None => queue_lock::try_acquire(self.word, self.mine).then_some(From::Nobody),
            // A child of a bare `clone` has the name of its parent, and is another thread.
            Some(holder) if holder == self.mine && ids::tid() == self.mine.tid() => Some(From::OwnThread),
            Some(holder) if round >= YIELDS && !self.participants.is_there(probe, holder) => {
                queue_lock::take_over(self.word, holder, self.mine).then_some(From::Dead)
            }
            Some(_) => None,
        }
    }

    fn pause(&mut self, rounds: u32, patience: Patience) {
        if rounds < YIELDS {
            while_held(self.word);
            std::thread::yield_now();
            return;
        }
        // A word of this process's own, which no thread wakes.
        let never = AtomicU32::new(0);
        let _ = futex::wait(&never, 0, if rounds > Self::HEALTHY_ROUNDS { patience.nap(self.nap) } else { self.nap });
        self.nap = (self.nap * 2).min(LONGEST_NAP);
    }
}

/// The calling thread jumps out of whatever it is in.
pub fn jump_out() {
    let_go();
    THREAD.with(|thread| thread.notes.set(std::ptr::null()));
}

/// This is a handler, or may be one, that will keep what it has interrupted waiting: a lock that its thread holds as `RseqGuard` is freed, and what
/// was decided on is done.
pub fn let_go() {
    let mut at = notes();
    // SAFETY: the calls that have put the notes there have not returned.
    while let Some(note) = unsafe { at.as_ref() } {
        // SAFETY: engines live for ever.
        let queues = unsafe { &*note.queues };
        if let (Ok(Some(queue)), Some(me)) = (queues.at(note.index), queues.core.participants.me_if_joined()) {
            let mine = ThreadOwner::new(LockOwner::new(me.slot, me.incarnation), ids::known_tid());
            if queue_lock::holder(&queue.header().lock) == Some(mine) {
                drop(queues.acquire(queue, me, Patience::Endless));
            }
        }
        at = note.previous;
    }
}

/// The queue, if it is still there as `id`.
pub fn live<'a>(guard: QueueGuard<'a>, id: Id) -> Result<QueueGuard<'a>> {
    if guard.queue.is_live_as(id) { Ok(guard) } else { Err(Errno::IDRM) }
}
