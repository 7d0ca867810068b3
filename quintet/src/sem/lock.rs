//! The lock of a set: staging a call, and committing it through the journal.
//!
//! A change under the lock has these steps:
//!
//! 1. `hold` makes each word slow before it is read. No operation without the lock can then slip
//!    between the read and the change.
//! 2. `stage` writes the words before and after to the journal, which is still empty, so no process
//!    reads them.
//! 3. `commit` makes the journal valid by one store, and applies it (`sync/journal.rs`).
//! 4. The queues are updated while the words are still slow (`waiters`).
//! 5. `release_word` makes each word plain, unless a call is blocked on it.
//!
//! A holder that dies before step 3 leaves slow words and no change. One that dies later leaves a
//! valid journal or queues that are out of date. In both cases the next holder repairs the set
//! before it does anything else.

use crate::layout::{Change, JournalKind, Page, Waiter};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::process::mutex;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::attach_count::ParticipantId;
use crate::sync::journal::JournalledSet;
use crate::sync::robust_mutex::{self, Acquired, LockOwner};
use crate::sync::word::{self, Descriptor, SetWords, Word};
use crate::sys::futex;
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp};
use std::sync::atomic::{AtomicI16, AtomicU32, AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The operations of a call: the caller's own, or those of a blocked call.
#[derive(Clone, Copy)]
pub enum Ops<'a> {
    Own(&'a [SemOp]),
    Waiting(&'static Waiter, Option<Page>),
}

impl Ops<'_> {
    /// Returns the number of operations. A peer can write any number in an entry; it is limited
    /// here.
    pub fn len(&self) -> usize {
        match self {
            Ops::Own(ops) => ops.len(),
            Ops::Waiting(waiter, _) => (waiter.nops.load(Relaxed) as usize).min(crate::layout::MAX_OPS),
        }
    }

    /// Returns an operation.
    pub fn get(&self, nth: usize) -> SemOp {
        match self {
            Ops::Own(ops) => ops[nth],
            Ops::Waiting(waiter, page) => {
                let bits = match (waiter.inline_op(nth), page) {
                    (_, Some(page)) => page.op(nth).load(Relaxed),
                    (Some(op), None) => op.load(Relaxed),
                    (None, None) => 0,
                };
                unpack_op(bits)
            }
        }
    }

    /// Returns the operations in their order.
    pub fn iter(&self) -> impl Iterator<Item = SemOp> + '_ {
        (0..self.len()).map(|nth| self.get(nth))
    }

    /// Returns `true` if an operation changes a value.
    pub fn alter(&self) -> bool {
        self.iter().any(|op| op.op != 0)
    }
}

/// Packs an operation into a word: semaphore, operation and flags, 16 bits each.
pub fn pack_op(op: SemOp) -> u64 {
    u64::from(op.num) | u64::from(op.op as u16) << 16 | u64::from(op.flags.bits() as u16) << 32
}

fn unpack_op(bits: u64) -> SemOp {
    SemOp::new(bits as u16, (bits >> 16) as i16).flags(SemFlags::from_bits_retain((bits >> 32) as i16))
}

/// The outcome of staging a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Staged {
    /// The call can be performed. The journal holds this number of changes, undecided.
    Ready(usize),
    /// The call must block. The operation of this index blocks it.
    Blocked(usize),
    /// The call fails.
    Failed(Errno),
}

/// Holds the lock of a set. Signals are blocked, so that a handler never waits for its own thread.
pub struct SetGuard<'a> {
    /// The set.
    pub set: SetView<'a>,
    /// This process.
    pub me: ParticipantId,
    // Fields are dropped in this order: the lock is released before signals are unblocked.
    _lock: MutexGuard<'a>,
    signals: Blocked,
}

struct MutexGuard<'a>(SetView<'a>, ParticipantId);

impl Drop for MutexGuard<'_> {
    fn drop(&mut self) {
        let MutexGuard(set, me) = self;
        robust_mutex::release(
            &set.header().lock,
            LockOwner::new(me.slot, me.incarnation),
            &set.sets.core.participants.probe(None),
        );
    }
}

impl Sets {
    /// Acquires the lock of a set. Repairs the set first if a holder of the lock has died.
    ///
    /// `EACCES` means that the process cannot write the file, or cannot map all of it although the
    /// set needs repair.
    pub fn lock<'a>(&'a self, set: SetView<'a>, patience: Patience) -> Result<SetGuard<'a>> {
        patience.begin();
        let set = match set.writable() {
            true => set,
            false => self
                .writable_at(set.index)?
                .ok_or(Errno::IDRM)
                .and_then(|set| set.writable().then_some(set).ok_or(Errno::ACCES))?,
        };
        let me = match self.core.participants.me_if_joined() {
            Some(me) => me,
            None => {
                let _inside = Inside::enter();
                self.core.participants.me()?
            }
        };
        let (how, signals) = mutex::lock(&self.core.participants, &set.header().lock, me, patience)?;
        let guard = SetGuard { set, me, _lock: MutexGuard(set, me), signals };
        // The flag outlives this holder. If this process dies during the repair, or cannot map all
        // pages, the next holder repairs the set.
        let damaged = &guard.set.header().damaged;
        if how == Acquired::OwnerDied {
            damaged.store(1, Relaxed);
        }
        if damaged.load(Relaxed) != 0 {
            // A process that cannot map all pages leaves the repair to a later holder.
            guard.set.check_pages()?;
            guard.repair();
            guard.set.header().damaged.store(0, Relaxed);
        }
        Ok(guard)
    }
}

impl SetGuard<'_> {
    /// Releases the lock, and keeps signals blocked.
    pub fn unlock(self) -> Blocked {
        self.signals
    }

    /// Makes the word of a semaphore slow and returns it. From here on only the caller changes it.
    pub fn hold(&self, num: u32) -> Result<Word> {
        word::hold(&self.set, num).ok_or(Errno::INVAL)
    }

    /// Makes the word of a semaphore plain, unless a blocked call names the semaphore.
    pub fn release_word(&self, num: u32) {
        if !self.has_waiters(num) {
            word::release(&self.set, num);
        }
    }

    /// Does so for all semaphores that `ops` name.
    pub fn release_words(&self, ops: Ops<'_>) {
        if self.set.header().waiting.load(Relaxed) > 64 {
            // The search for blocked calls would cost more than a slow word. The next operation on
            // the word takes the lock, and tries to release it again.
            return;
        }
        ops.iter().for_each(|op| self.release_word(op.num.into()));
    }

    /// Stages a call of process `pid`: computes what it changes, and writes that to the journal
    /// without a decision. `record` is the process's undo record, 0 for none.
    ///
    /// Afterwards, all words are slow up to that of the operation that blocks the call. The caller
    /// releases them, or enqueues the call, which keeps them slow.
    pub fn stage(&self, ops: Ops<'_>, record: u32, pid: u32) -> Result<Staged> {
        let memory = self.set.memory();
        // The semaphores that are staged already, as a set of the low 10 bits of their numbers. It
        // saves the search for most semaphores that are new.
        let mut seen = [0u64; 16];
        let mut changes = 0;
        for nth in 0..ops.len() {
            let op = ops.get(nth);
            let num = u32::from(op.num);
            let (word, bit) = (num as usize / 64 % 16, 1 << (num % 64));
            let known = (seen[word] & bit != 0)
                .then(|| (0..changes).find(|k| memory.change(*k).is_some_and(|change| change.num.load(Relaxed) == num)))
                .flatten();
            seen[word] |= bit;
            let change = match known {
                Some(k) => memory.change(k).ok_or(Errno::FBIG)?,
                None => {
                    let change = memory.change(changes).ok_or(Errno::FBIG)?;
                    // The word is slow before the journal has its value, so the value stays true
                    // until the journal is applied.
                    let old = self.hold(num)?;
                    let cell = if record == 0 { 0 } else { self.cell(record, num)?.load(Relaxed) as u16 };
                    change.num.store(num, Relaxed);
                    change.record.store(record, Relaxed);
                    change.old.store(old.0, Relaxed);
                    change.new.store(old.with_pid(pid).0, Relaxed);
                    change.cells.store(u32::from(cell) << 16 | u32::from(cell), Relaxed);
                    changes += 1;
                    change
                }
            };
            let now = Word(change.new.load(Relaxed));
            let result = i32::from(now.value()) + i32::from(op.op);
            if op.op == 0 && now.value() != 0 || result < 0 {
                let nowait = op.flags.contains(SemFlags::NOWAIT);
                return Ok(if nowait { Staged::Failed(Errno::AGAIN) } else { Staged::Blocked(nth) });
            }
            if result > i32::from(Limits::SEMVMX) {
                return Ok(Staged::Failed(Errno::RANGE));
            }
            let mut next = now.with_value(result as u16);
            if op.flags.contains(SemFlags::UNDO) && record != 0 {
                let cells = change.cells.load(Relaxed);
                let cell = i32::from((cells >> 16) as i16);
                let (of, adjustment) = now.undo();
                let here = if of == record { adjustment } else { 0 };
                let total = cell + here - i32::from(op.op);
                if i16::try_from(total).is_err() {
                    return Ok(Staged::Failed(Errno::RANGE));
                }
                // A small adjustment stays in the word. If it does not fit, or the word has another
                // record's, the whole adjustment goes to the record's cell. The journal changes
                // word and cell together, so their sum is right after a crash, too.
                next = match next.with_undo(record, here - i32::from(op.op)) {
                    Some(with) => with,
                    None => {
                        change.cells.store(cells & 0xffff | u32::from(total as i16 as u16) << 16, Relaxed);
                        if of == record { next.without_undo() } else { next }
                    }
                };
            }
            change.new.store(next.0, Relaxed);
        }
        Ok(Staged::Ready(changes))
    }

    /// Writes one change to the journal, without a decision. `cells` are the undo record's cell
    /// before and after.
    pub fn stage_change(&self, nth: usize, num: u32, old: Word, new: Word, record: u32, cells: (i16, i16)) -> Result<()> {
        let change = self.set.memory().change(nth).ok_or(Errno::FBIG)?;
        change.num.store(num, Relaxed);
        change.record.store(record, Relaxed);
        change.old.store(old.0, Relaxed);
        change.new.store(new.0, Relaxed);
        change.cells.store(u32::from(cells.0 as u16) | u32::from(cells.1 as u16) << 16, Relaxed);
        Ok(())
    }

    /// Decides on the first `changes` entries of the journal and on answering the blocked call
    /// `answered` (0 for none), and applies them.
    ///
    /// Returns `false` if the blocked call's thread was dead or had given up. Then nothing was
    /// changed.
    pub fn commit(&self, kind: JournalKind, changes: usize, answered: u32) -> bool {
        self.set.header().journal().commit(self, kind, changes, answered)
    }

    /// Repairs the set after a holder of the lock has died.
    fn repair(&self) {
        // The order matters. A valid journal is applied while its words are still slow. Then the
        // markers of dead processes go, and the queues and the count of records are rebuilt. Now
        // the set is consistent, and the calls proceed that the dead holder would have performed.
        //
        // Each step can be repeated. A crash in any of them leaves the repair to the next holder,
        // because the flag `damaged` is still set.
        self.set.header().journal().apply(self);
        self.clear_descriptors();
        self.salvage_queues();
        self.count_records();
        if self.set.is_live() {
            self.update(None, false);
        } else {
            self.answer_all(Errno::IDRM);
        }
    }

    /// Replaces the markers that dead processes left, and frees their MCAS descriptors.
    pub fn clear_descriptors(&self) {
        for descriptor in &self.set.header().descriptors {
            let owner = descriptor.owner.load(Acquire);
            if owner != 0 && !self.set.sets.core.participants.is_owner_alive(owner) {
                descriptor.clear(&self.set);
                // No marker is left, so the descriptor can be used again. A crash before this store
                // leaves it in use, and the next call clears it again.
                let _ = descriptor.owner.compare_exchange(owner, 0, AcqRel, Relaxed);
            }
        }
    }
}

impl SetWords for SetGuard<'_> {
    fn word(&self, num: u32) -> Option<&AtomicU64> {
        self.set.word(num)
    }

    fn descriptor(&self, nth: usize) -> Option<&Descriptor> {
        self.set.descriptor(nth)
    }
}

impl JournalledSet for SetGuard<'_> {
    fn change(&self, nth: usize) -> Option<&Change> {
        self.set.memory().change(nth)
    }

    fn cell(&self, record: u32, num: u32) -> Option<&AtomicI16> {
        self.set.record_cell(record, num).ok()
    }

    fn forget_undo(&self, num: Option<u32>) {
        SetGuard::forget_undo(self, num);
    }

    fn reset_word(&self, num: u32) -> Option<Word> {
        let value = self.set.memory().value(num)?.load(Relaxed);
        Some(Word::default().with_value(value).with_pid(self.set.header().journal_pid.load(Relaxed)))
    }

    fn waiter(&self, number: u32) -> Option<&AtomicU32> {
        self.set.waiter(number).ok().map(|waiter| &waiter.state)
    }

    fn wake(&self, number: u32) -> bool {
        self.set.waiter(number).is_ok_and(|waiter| futex::wake_one(&waiter.state) != 0)
    }

    fn is_alive(&self, number: u32) -> bool {
        self.set.waiter(number).is_ok_and(|waiter| self.set.is_waiter_alive(waiter))
    }
}
