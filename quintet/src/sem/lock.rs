//! Holding a set's lock: judging operations, and changing several words so that nobody sees half of it.
//!
//! A word that the lock's holder looks at is made slow first, so that no operation slips between look and change. What is
//! decided on is written to the journal, then the journal is said to hold, then it is carried out: whoever takes the lock over from a
//! dead holder carries it out again, or finds nothing decided.

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

/// The operations of a call: the caller's own, or those of a call that waits.
#[derive(Clone, Copy)]
pub enum Ops<'a> {
    Own(&'a [SemOp]),
    Waiting(&'static Waiter, Option<Page>),
}

impl Ops<'_> {
    pub fn len(&self) -> usize {
        match self {
            Ops::Own(ops) => ops.len(),
            Ops::Waiting(waiter, _) => (waiter.nops.load(Relaxed) as usize).min(crate::layout::MAX_OPS),
        }
    }

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

    pub fn iter(&self) -> impl Iterator<Item = SemOp> + '_ {
        (0..self.len()).map(|nth| self.get(nth))
    }

    /// Whether they change any value.
    pub fn alter(&self) -> bool {
        self.iter().any(|op| op.op != 0)
    }
}

pub fn pack_op(op: SemOp) -> u64 {
    u64::from(op.num) | u64::from(op.op as u16) << 16 | u64::from(op.flags.bits() as u16) << 32
}

fn unpack_op(bits: u64) -> SemOp {
    SemOp::new(bits as u16, (bits >> 16) as i16).flags(SemFlags::from_bits_retain((bits >> 32) as i16))
}

/// What becomes of a call, as the values are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It can be done: by so many changes, which are in the journal.
    Done(usize),
    /// It must wait; the operation of this number stands in its way.
    Blocked(usize),
    Failed(Errno),
}

/// A set's lock is held while this lives. Signals are blocked.
pub struct SetGuard<'a> {
    pub set: SetView<'a>,
    pub me: ParticipantId,
    // The lock first.
    _lock: HeldMutex<'a>,
    signals: Blocked,
}

struct HeldMutex<'a>(SetView<'a>, ParticipantId);

impl Drop for HeldMutex<'_> {
    fn drop(&mut self) {
        let HeldMutex(set, me) = self;
        robust_mutex::release(
            &set.header().lock,
            LockOwner::new(me.slot, me.incarnation),
            &set.sets.core.participants.probe(None),
        );
    }
}

impl Sets {
    /// Acquires the mutex of a set. `EACCES`: its file cannot be written.
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
        let guard = SetGuard { set, me, _lock: HeldMutex(set, me), signals };
        let damaged = &guard.set.header().damaged;
        if how == Acquired::OwnerDied {
            damaged.store(1, Relaxed);
        }
        if damaged.load(Relaxed) != 0 {
            // Who cannot see all of it, because he has given up the right to the file, leaves it to others.
            guard.set.see_all_pages()?;
            guard.repair();
            guard.set.header().damaged.store(0, Relaxed);
        }
        Ok(guard)
    }
}

impl SetGuard<'_> {
    /// Gives the lock back, and goes on holding signals off.
    pub fn leave(self) -> Blocked {
        self.signals
    }

    /// The word of a semaphore, which nobody else changes from now on.
    pub fn hold(&self, num: u32) -> Result<Word> {
        word::hold(&self.set, num).ok_or(Errno::INVAL)
    }

    /// Lets everybody change the word of a semaphore again, unless somebody waits for it.
    pub fn let_go(&self, num: u32) {
        if !self.is_waited_for(num) {
            word::release(&self.set, num);
        }
    }

    /// The same for all that `ops` look at.
    pub fn let_go_of(&self, ops: Ops<'_>) {
        if self.set.header().waiting.load(Relaxed) > 64 {
            // Too many to ask. Whoever comes to such a word finds out later.
            return;
        }
        ops.iter().for_each(|op| self.let_go(op.num.into()));
    }

    /// Judges a call of process `pid`, with the undo record `record` (0: none). What it would change goes to the journal, undecided.
    pub fn judge_call(&self, ops: Ops<'_>, record: u32, pid: u32) -> Result<Verdict> {
        let memory = self.set.memory();
        // Which semaphores are there already, by the low bits of their number.
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
                    let held = self.hold(num)?;
                    let cell = if record == 0 { 0 } else { self.cell(record, num)?.load(Relaxed) as u16 };
                    change.num.store(num, Relaxed);
                    change.record.store(record, Relaxed);
                    change.old.store(held.0, Relaxed);
                    change.new.store(held.with_pid(pid).0, Relaxed);
                    change.cells.store(u32::from(cell) << 16 | u32::from(cell), Relaxed);
                    changes += 1;
                    change
                }
            };
            let now = Word(change.new.load(Relaxed));
            let result = i32::from(now.value()) + i32::from(op.op);
            if op.op == 0 && now.value() != 0 || result < 0 {
                let nowait = op.flags.contains(SemFlags::NOWAIT);
                return Ok(if nowait { Verdict::Failed(Errno::AGAIN) } else { Verdict::Blocked(nth) });
            }
            if result > i32::from(Limits::SEMVMX) {
                return Ok(Verdict::Failed(Errno::RANGE));
            }
            let mut next = now.with_value(result as u16);
            if op.flags.contains(SemFlags::UNDO) && record != 0 {
                let cells = change.cells.load(Relaxed);
                let cell = i32::from((cells >> 16) as i16);
                let (of, adjustment) = now.undo();
                let here = if of == record { adjustment } else { 0 };
                let total = cell + here - i32::from(op.op);
                if i16::try_from(total).is_err() {
                    return Ok(Verdict::Failed(Errno::RANGE));
                }
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
        Ok(Verdict::Done(changes))
    }

    /// Writes a change of one semaphore to the journal, undecided.
    pub fn plan(&self, nth: usize, num: u32, old: Word, new: Word, record: u32, cells: (i16, i16)) -> Result<()> {
        let change = self.set.memory().change(nth).ok_or(Errno::FBIG)?;
        change.num.store(num, Relaxed);
        change.record.store(record, Relaxed);
        change.old.store(old.0, Relaxed);
        change.new.store(new.0, Relaxed);
        change.cells.store(u32::from(cells.0 as u16) | u32::from(cells.1 as u16) << 16, Relaxed);
        Ok(())
    }

    /// Decides on the first `changes` of the journal, and on performing a call that waits (0: none) by them, and carries it out.
    /// `false`: the call's caller was dead, so nothing was done.
    pub fn commit(&self, kind: JournalKind, changes: usize, answered: u32) -> bool {
        self.set.header().journal().commit(self, kind, changes, answered)
    }

    /// The lock's last holder died: what it had decided on is done, the queues are made anew, and everybody
    /// who can go on does.
    fn repair(&self) {
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

    /// Takes the descriptors of the dead from them.
    pub fn clear_descriptors(&self) {
        for descriptor in &self.set.header().descriptors {
            let owner = descriptor.owner.load(Acquire);
            if owner != 0 && !self.set.sets.core.participants.is_owner_alive(owner) {
                descriptor.clear(&self.set);
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
        self.set.waiter(number).is_ok_and(|waiter| self.set.lives(waiter))
    }
}
