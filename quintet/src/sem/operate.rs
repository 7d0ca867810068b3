//! `semop` and `GETVAL` without the lock and without a system call.
//!
//! A call tries the cheapest way first:
//!
//! 1. One operation is one compare-and-swap of the semaphore's word ([`apply_one`]).
//! 2. Operations on up to four words are one multi-word compare-and-swap (`sync::word`).
//! 3. A call that would block tries again for a short while ([`Sets::spin`]).
//! 4. All other calls take the set's lock (`wait`).
//!
//! The first two ways leave a slow word alone: a call is blocked on it, or the lock's holder
//! changes it. An operation that could let a blocked call proceed therefore takes the lock.

use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork;
use crate::process::spin::{SpinBackoff, spin};
use crate::sem::lock::Ops;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::word::{self, Descriptor, MAX_MCAS_WORDS, Planned, Word};
use crate::sys::clock::Instant;
use crate::sys::{self, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp};
use std::sync::atomic::Ordering::*;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// The outcome of a call without the lock.
enum FastOutcome {
    Done,
    /// The values do not allow the call to proceed now.
    WouldBlock,
    Failed(Errno),
    /// Only the lock's holder can decide.
    NeedsLock,
}

/// The number of attempts in a round of [`spin`], if the process can run on more than one
/// processor.
const TRIES_PER_ROUND: u32 = 10;
static SPIN_BACKOFF: SpinBackoff = SpinBackoff::new();
/// The number of times that a multi-word operation is tried before the call takes the lock.
const MCAS_ATTEMPTS: u32 = 4;

impl Sets {
    /// `semtimedop`.
    #[inline(always)]
    pub fn semtimedop(&'static self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        if self.semop_fast(id, ops) { Ok(()) } else { self.semtimedop_slow(id, ops, timeout) }
    }

    /// Applies one operation with `SEM_UNDO`, if the process has a cached undo record.
    ///
    /// `set` is passed by value. By reference, the compiler would spill it to the stack and reload
    /// parts of it at once, and the processor would wait for the stores.
    #[inline(always)]
    fn apply_one_with_undo(&self, set: SetView<'_>, op: SemOp) -> FastOutcome {
        match self.core.participants.me_word().and_then(|me| set.cached_record(me)) {
            Some(record) => apply_one::<true>(set, op, record),
            None => FastOutcome::NeedsLock,
        }
    }

    /// Returns the greatest number of operations in one call.
    #[inline(always)]
    pub fn semopm(&self) -> usize {
        (self.core.header.semopm.load(Relaxed) as usize).min(crate::layout::MAX_OPS)
    }

    /// Performs a `semop` that needs no lock and no system call. Returns `false` if the call must
    /// go on in [`Sets::semtimedop_slow`], which also reports errors.
    #[inline(always)]
    pub fn semop_fast(&self, id: i32, ops: &[SemOp]) -> bool {
        if fork::is_raw_clone_child() || ops.is_empty() || ops.len() > self.semopm() {
            return false;
        }
        let Some(set) = self.hot(id) else { return false };
        let outcome = match ops {
            [op] if !op.flags.contains(SemFlags::UNDO) => apply_one::<false>(set, *op, 0),
            [op] => self.apply_one_with_undo(set, *op),
            _ => self.apply_several(&set, ops).unwrap_or(FastOutcome::NeedsLock),
        };
        let done = matches!(outcome, FastOutcome::Done);
        if done {
            set.stamp();
        }
        done
    }

    /// `semtimedop` for all cases. The checks have the kernel's order.
    #[inline(never)]
    pub fn semtimedop_slow(&'static self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        if ops.is_empty() {
            return Err(Errno::INVAL);
        }
        if ops.len() > self.semopm() {
            return Err(Errno::TOOBIG);
        }
        if fork::is_raw_clone_child() {
            fork::adopt_raw_clone_child();
        }
        let set = self.live(id)?;
        match self.try_ops(&set, ops) {
            FastOutcome::Done => {
                set.stamp();
                Ok(())
            }
            FastOutcome::Failed(Errno::ACCES) => self.denied(id, Errno::ACCES),
            // A refusal counts only if no exited process has undo to apply: the caller may have
            // seen that process end.
            FastOutcome::Failed(e) if e == Errno::FBIG || !set.has_orphaned_undo() => Err(e),
            other => self.semtimedop_contended(set, id, ops, timeout, other),
        }
    }

    /// Performs a call that needs the lock, or that may have to block.
    #[cold]
    #[inline(never)]
    fn semtimedop_contended(
        &'static self,
        set: SetView<'_>,
        id: i32,
        ops: &[SemOp],
        timeout: Option<Duration>,
        outcome: FastOutcome,
    ) -> Result<()> {
        check(&set, ops).or_else(|e| self.denied(id, e))?;
        // A deadline beyond the range of the clock never passes.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if !set.writable() && self.writable_at(set.index)?.is_none_or(|set| !set.writable()) {
            return self.poll_for_zero(id, ops, deadline);
        }
        if let FastOutcome::WouldBlock = outcome
            && timeout != Some(Duration::ZERO)
        {
            match self.spin(&set, ops, deadline) {
                FastOutcome::Done => {
                    set.stamp();
                    return Ok(());
                }
                FastOutcome::Failed(e) => return Err(e),
                FastOutcome::WouldBlock | FastOutcome::NeedsLock => {}
            }
        }
        self.semtimedop_locked(Id::from_raw(id)?, ops, deadline)
    }

    /// Tries the call again for a short while, and yields the processor in between. The thread that
    /// would let the call proceed may need this processor.
    ///
    /// The time is about what it takes to be put to sleep and woken by another processor.
    fn spin(&self, set: &SetView<'_>, ops: &[SemOp], deadline: Option<Instant>) -> FastOutcome {
        let outcome = spin(&SPIN_BACKOFF, TRIES_PER_ROUND, deadline, || match self.try_ops(set, ops) {
            FastOutcome::WouldBlock => None,
            outcome => Some(outcome),
        });
        outcome.unwrap_or(FastOutcome::WouldBlock)
    }

    /// Tries the call once, without the lock.
    #[inline]
    fn try_ops(&self, set: &SetView<'_>, ops: &[SemOp]) -> FastOutcome {
        match ops {
            [op] if !op.flags.contains(SemFlags::UNDO) => {
                let outcome = apply_one::<false>(*set, *op, 0);
                // The word may only have held an MCAS marker. `apply_several` completes the
                // operation that put it there.
                if let FastOutcome::NeedsLock = outcome {
                    self.apply_several(set, ops).unwrap_or_else(FastOutcome::Failed)
                } else {
                    outcome
                }
            }
            _ => self.apply_several(set, ops).unwrap_or_else(FastOutcome::Failed),
        }
    }

    /// Applies several operations, or one with `SEM_UNDO`, on up to [`MAX_MCAS_WORDS`] semaphores.
    #[inline(never)]
    fn apply_several(&self, set: &SetView<'_>, ops: &[SemOp]) -> Result<FastOutcome> {
        check(set, ops)?;
        if !set.writable() || set.is_reap_due() {
            return Ok(FastOutcome::NeedsLock);
        }
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = match undo {
            false => 0,
            true => match self.core.participants.me_word().and_then(|me| set.cached_record(me)) {
                Some(record) => record,
                None => return Ok(FastOutcome::NeedsLock),
            },
        };
        for _ in 0..MCAS_ATTEMPTS {
            let mut planned = [Planned::default(); MAX_MCAS_WORDS];
            // Each attempt reads the words again. The exchange, of one word or of several, fails if
            // a word has changed since.
            let count = match plan(set, ops, record, &mut planned)? {
                Ok(count) => count,
                Err(outcome) => return Ok(outcome),
            };
            let done = match &planned[..count] {
                [only] => compare_and_swap(set, only),
                all => match self.with_descriptor(set, |nth, descriptor| descriptor.change(set, nth, all)) {
                    Some(done) => done,
                    None => return Ok(FastOutcome::NeedsLock),
                },
            };
            if done {
                return Ok(FastOutcome::Done);
            }
        }
        Ok(FastOutcome::NeedsLock)
    }

    /// Runs `change` with a free MCAS descriptor of the set. Returns `None` if no descriptor is
    /// free.
    fn with_descriptor<T>(&self, set: &SetView<'_>, change: impl FnOnce(usize, &Descriptor) -> T) -> Option<T> {
        let me = self.core.participants.me_word()?;
        let descriptors = &set.header().descriptors;
        // Participants begin their search at different descriptors.
        let nths = (0..descriptors.len()).map(|nth| (nth + (me >> 16) as usize) % descriptors.len());
        let claim = |nth: &usize| descriptors[*nth].owner.compare_exchange(0, me, AcqRel, Relaxed).is_ok();
        // Acquire shows the last owner's use to be over. If this process dies before the Release
        // store below, its participant stays the owner until a holder of the lock clears the
        // descriptor.
        let nth = { nths }.find(claim)?;
        let changed = change(nth, &descriptors[nth]);
        descriptors[nth].owner.store(0, Release);
        Some(changed)
    }

    /// `GETVAL`.
    #[inline(always)]
    pub fn sem_value(&self, id: i32, num: i32) -> Result<u16> {
        self.read_word(id, num).map(Word::value)
    }

    /// `GETPID`.
    pub fn sem_pid(&self, id: i32, num: i32) -> Result<i32> {
        self.read_word(id, num).map(|word| word.pid() as i32)
    }

    /// Returns the word of a semaphore, for `GETVAL` and `GETPID`.
    #[inline(always)]
    fn read_word(&self, id: i32, num: i32) -> Result<Word> {
        match self.word_fast(id, num) {
            Some(word) => Ok(word),
            None => self.read_word_slow(id, num),
        }
    }

    /// Returns the value of a semaphore that can be read without the lock.
    #[inline(always)]
    pub fn sem_value_fast(&self, id: i32, num: i32) -> Option<u16> {
        self.word_fast(id, num).map(Word::value)
    }

    /// Returns a plain word of a set in which no other process has undo. A slow word may belong to
    /// a change of several words.
    #[inline(always)]
    fn word_fast(&self, id: i32, num: i32) -> Option<Word> {
        let set = self.hot(id)?;
        let word = Word(set.memory().word(num as u32)?.load(Acquire));
        (word.is_plain() && set.may(false) && !set.peers_hold_undo()).then_some(word)
    }

    #[inline(never)]
    fn read_word_slow(&self, id: i32, num: i32) -> Result<Word> {
        let set = self.live(id)?;
        if !set.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        let num = u32::try_from(num).ok().filter(|num| *num < set.nsems()).ok_or(Errno::INVAL)?;
        self.read_contended(set, num)
    }

    fn read_contended(&self, set: SetView<'_>, num: u32) -> Result<Word> {
        self.reap_orphaned_undo(&set);
        for _ in 0..1000 {
            if let Some(word) = set.stable_word(num) {
                return Ok(word);
            }
            std::hint::spin_loop();
        }
        // The process that changes the word has stopped or died. The lock's next holder completes
        // the change.
        match self.lock(set, Patience::Endless) {
            Ok(guard) => guard.set.settle(num),
            Err(_) => word::peek(&set, num).ok_or(Errno::INVAL),
        }
    }

    /// A call that waits for zero, of a process that may read the set but not write its file. The
    /// call cannot enter the queue, so it polls, and `GETZCNT` does not count it.
    fn poll_for_zero(&self, id: i32, ops: &[SemOp], deadline: Option<Instant>) -> Result<()> {
        if Ops::Own(ops).alter() {
            return Err(Errno::ACCES);
        }
        loop {
            let set = self.live(id).map_err(|_| Errno::IDRM)?;
            let blocking = ops.iter().find(|op| set.stable_word(op.num.into()).is_none_or(|word| word.value() != 0));
            let Some(blocking) = blocking else { return Ok(()) };
            if blocking.flags.contains(SemFlags::NOWAIT) {
                return Err(Errno::AGAIN);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Errno::AGAIN);
            }
            if crate::process::cancel::must_ask() {
                return Err(crate::process::cancel::CANCELLED);
            }
            // A private word that no thread wakes: the sleep ends after 10 ms, or for a signal.
            let never = std::sync::atomic::AtomicU32::new(0);
            if sys::futex::wait(&never, 0, left.min(Duration::from_millis(10))) == sys::futex::WakeReason::Interrupted {
                return Err(Errno::INTR);
            }
        }
    }
}

impl SetView<'_> {
    /// Returns the word of a semaphore, or `None` while several words are being changed.
    pub fn stable_word(&self, num: u32) -> Option<Word> {
        self.header().journal().stable_word(self, num)
    }
}

/// Checks what the kernel checks before it looks at any value.
fn check(set: &SetView<'_>, ops: &[SemOp]) -> Result<()> {
    if ops.iter().any(|op| u32::from(op.num) >= set.nsems()) {
        return Err(Errno::FBIG);
    }
    let alter = ops.iter().any(|op| op.op != 0);
    if set.may(alter) { Ok(()) } else { Err(Errno::ACCES) }
}

/// Applies one operation by a compare-and-swap. If `UNDO` is set, the operation has `SEM_UNDO` and
/// `record` is the caller's undo record.
#[inline(always)]
fn apply_one<const UNDO: bool>(set: SetView<'_>, op: SemOp, record: u32) -> FastOutcome {
    let num = u32::from(op.num);
    let Some(at) = set.memory().word(num) else { return FastOutcome::Failed(Errno::FBIG) };
    if !set.may(op.op != 0) {
        return FastOutcome::Failed(Errno::ACCES);
    }
    // One of the records may be the caller's own. Undo that is due must be applied first.
    let has_peer_records = set.header().records.load(Relaxed) > u32::from(UNDO);
    if !set.writable() || has_peer_records && set.is_reap_due() {
        return FastOutcome::NeedsLock;
    }
    let pid = ids::pid();
    loop {
        // Acquire pairs with the Release of the last change: the caller sees what was written
        // before it.
        let word = Word(at.load(Acquire));
        // A slow word or a marker: see the head of this module.
        if !word.is_plain() {
            return FastOutcome::NeedsLock;
        }
        let result = i32::from(word.value()) + i32::from(op.op);
        if result < 0 || op.op == 0 && result != 0 {
            return if op.flags.contains(SemFlags::NOWAIT) { FastOutcome::Failed(Errno::AGAIN) } else { FastOutcome::WouldBlock };
        }
        if result > i32::from(Limits::SEMVMX) {
            return FastOutcome::Failed(Errno::RANGE);
        }
        if result == 0 && set.header().for_zero.load(Relaxed) != 0 {
            // As in the kernel, blocked calls that wait for several zeroes are tried again when any
            // semaphore becomes zero. Only the lock's holder can do that.
            return FastOutcome::NeedsLock;
        }
        let mut new = word.with_value(result as u16).with_pid(pid);
        if UNDO {
            match with_adjustment(&set, new, op, record) {
                Some(with) => new = with,
                None => return FastOutcome::NeedsLock,
            }
        }
        // This exchange is the whole operation, adjustment included. A crash before or after it
        // leaves a consistent word. It fails if the word has changed, has become slow, or holds a
        // marker.
        if at.compare_exchange(word.0, new.0, AcqRel, Relaxed).is_ok() {
            return FastOutcome::Done;
        }
    }
}

/// Returns the word with the adjustment that `op` adds for `record`.
///
/// Returns `None` in these cases:
///
/// - another record's adjustment is in the word
/// - the adjustment does not fit in the word
/// - its sum with the record's cell is out of range
#[inline(always)]
fn with_adjustment(set: &SetView<'_>, word: Word, op: SemOp, record: u32) -> Option<Word> {
    let (of, adjustment) = word.undo();
    let here = if of == record { adjustment } else { 0 } - i32::from(op.op);
    let cell = i32::from(set.cached_cell(record, op.num.into()).ok()?.load(Relaxed));
    i16::try_from(cell + here).ok()?;
    word.with_undo(record, here)
}

/// Changes one word, if it is still the word before.
fn compare_and_swap(set: &SetView<'_>, change: &Planned) -> bool {
    let at = set.memory().word(change.num);
    at.is_some_and(|at| at.compare_exchange(change.old.0, change.new.0, AcqRel, Relaxed).is_ok())
}

/// Computes the words before and after `ops`, applied one after the other. Returns their number, or
/// the outcome of a call that cannot be applied without the lock.
fn plan(
    set: &SetView<'_>,
    ops: &[SemOp],
    record: u32,
    planned: &mut [Planned; MAX_MCAS_WORDS],
) -> Result<std::result::Result<usize, FastOutcome>> {
    let pid = ids::pid();
    let mut count = 0;
    for op in ops {
        let num = u32::from(op.num);
        let nth = match planned[..count].iter().position(|change| change.num == num) {
            Some(nth) => nth,
            None if count == MAX_MCAS_WORDS => return Ok(Err(FastOutcome::NeedsLock)),
            None => {
                let old = set.settle(num)?;
                if old.is_slow() {
                    return Ok(Err(FastOutcome::NeedsLock));
                }
                planned[count] = Planned { num, old, new: old.with_pid(pid) };
                count += 1;
                count - 1
            }
        };
        let now = planned[nth].new;
        let result = i32::from(now.value()) + i32::from(op.op);
        if result < 0 || op.op == 0 && result != 0 {
            let nowait = op.flags.contains(SemFlags::NOWAIT);
            // The words were read at different instants, so it is not certain which operation
            // blocks first. That matters if only some of them have `IPC_NOWAIT`.
            let certain = count == 1 || ops.iter().all(|other| other.flags.contains(SemFlags::NOWAIT) == nowait);
            return Ok(Err(match (certain, nowait) {
                (false, _) => FastOutcome::NeedsLock,
                (_, true) => FastOutcome::Failed(Errno::AGAIN),
                (_, false) => FastOutcome::WouldBlock,
            }));
        }
        // As in `apply_one`.
        if result == 0 && set.header().for_zero.load(Relaxed) != 0 {
            return Ok(Err(FastOutcome::NeedsLock));
        }
        if result > i32::from(Limits::SEMVMX) {
            // For the same reason it is not certain that this operation is the first to fail.
            return Ok(Err(if count == 1 { FastOutcome::Failed(Errno::RANGE) } else { FastOutcome::NeedsLock }));
        }
        let mut next = now.with_value(result as u16);
        if op.flags.contains(SemFlags::UNDO) {
            match with_adjustment(set, next, *op, record) {
                Some(with) => next = with,
                None => return Ok(Err(FastOutcome::NeedsLock)),
            }
        }
        planned[nth].new = next;
    }
    Ok(Ok(count))
}
