//! `semop` and `GETVAL` without a lock, and without a system call.

use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork;
use crate::sem::lock::Ops;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::word::{self, Descriptor, MAX_MCAS_WORDS, Planned, Word};
use crate::sys::clock::{self, Instant};
use crate::sys::{self, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// What can be said without the lock.
enum FastOutcome {
    Done,
    /// It would have to wait, as things are.
    Waits,
    Failed(Errno),
    /// The lock is needed.
    Slow,
}

/// How often a call that would have to wait looks again before it goes to sleep: so many rounds, each of so many looks if there is
/// another processor, and then the processor is offered to others.
const YIELDS: u32 = 64;
const LOOKS: u32 = 10;
/// If it takes longer, whoever was let in has work of his own: then there is nothing to be won by staying awake, now and for a
/// while (in nanoseconds).
const LONGEST_SPIN: Duration = Duration::from_micros(60);
const CROWDED: u64 = 50_000_000;
static CROWDED_UNTIL: AtomicU64 = AtomicU64::new(0);
/// How often several words are tried at once before the lock is taken instead.
const TRIES: u32 = 4;

impl Sets {
    /// `semtimedop`.
    #[inline(always)]
    pub fn semtimedop(&'static self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        if self.semop_fast(id, ops) { Ok(()) } else { self.semtimedop_slow(id, ops, timeout) }
    }

    /// One operation with `SEM_UNDO`, of a process that has a record. (Passed by reference, the set would be written to the stack and read
    /// from there at once in other pieces, which the processor waits for.)
    #[inline(always)]
    fn one_with_undo(&self, set: SetView<'_>, op: SemOp) -> FastOutcome {
        match self.core.participants.me_word().and_then(|me| set.own_record(me)) {
            Some(record) => one::<true>(set, op, record),
            None => FastOutcome::Slow,
        }
    }

    /// The greatest number of operations in one call.
    #[inline(always)]
    pub fn semopm(&self) -> usize {
        (self.core.header.semopm.load(Relaxed) as usize).min(crate::layout::MAX_OPS)
    }

    /// `semop`, if it can be done at once.
    #[inline(always)]
    pub fn semop_fast(&self, id: i32, ops: &[SemOp]) -> bool {
        if fork::is_raw_clone_child() || ops.is_empty() || ops.len() > self.semopm() {
            return false;
        }
        let Some(set) = self.hot(id) else { return false };
        let found = match ops {
            [op] if !op.flags.contains(SemFlags::UNDO) => one::<false>(set, *op, 0),
            [op] => self.one_with_undo(set, *op),
            _ => self.several(&set, ops).unwrap_or(FastOutcome::Slow),
        };
        let done = matches!(found, FastOutcome::Done);
        if done {
            set.stamp();
        }
        done
    }

    /// The same for all cases, in the order in which the kernel checks.
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
        match self.at_once(&set, ops) {
            FastOutcome::Done => {
                set.stamp();
                Ok(())
            }
            FastOutcome::Failed(Errno::ACCES) => self.denied(id, Errno::ACCES),
            FastOutcome::Failed(e) if e == Errno::FBIG || !set.dead_hold_undo() => Err(e),
            other => self.semtimedop_contended(set, id, ops, timeout, other),
        }
    }

    #[cold]
    #[inline(never)]
    fn semtimedop_contended(
        &'static self,
        set: SetView<'_>,
        id: i32,
        ops: &[SemOp],
        timeout: Option<Duration>,
        found: FastOutcome,
    ) -> Result<()> {
        check(&set, ops).or_else(|e| self.denied(id, e))?;
        // A time that cannot be reckoned is one without end.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if !set.writable() && self.writable_at(set.index)?.is_none_or(|set| !set.writable()) {
            return self.watch_for_zero(id, ops, deadline);
        }
        if let FastOutcome::Waits = found
            && timeout != Some(Duration::ZERO)
        {
            match self.spin(&set, ops, deadline) {
                FastOutcome::Done => {
                    set.stamp();
                    return Ok(());
                }
                FastOutcome::Failed(e) => return Err(e),
                FastOutcome::Waits | FastOutcome::Slow => {}
            }
        }
        self.semtimedop_locked(Id::from_raw(id)?, ops, deadline)
    }

    /// Looks again for a short while, and lets others run in between: whoever would let this call go on may be waiting for this
    /// processor. As long as it takes, at the most, to be put to sleep and woken by another processor.
    fn spin(&self, set: &SetView<'_>, ops: &[SemOp], deadline: Option<Instant>) -> FastOutcome {
        let begin = Instant::now();
        let looks = if ids::runs_on_one_processor() { 1 } else { LOOKS };
        let rounds = if clock::coarse_nanos() < CROWDED_UNTIL.load(Relaxed) { 1 } else { YIELDS };
        for round in 0..rounds {
            for _ in 0..looks {
                match self.at_once(set, ops) {
                    FastOutcome::Waits => std::hint::spin_loop(),
                    other => return other,
                }
            }
            if begin.elapsed() > LONGEST_SPIN {
                CROWDED_UNTIL.store(clock::coarse_nanos() + CROWDED, Relaxed);
                break;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) || round + 1 == rounds {
                break;
            }
            std::thread::yield_now();
        }
        FastOutcome::Waits
    }

    #[inline]
    fn at_once(&self, set: &SetView<'_>, ops: &[SemOp]) -> FastOutcome {
        match ops {
            [op] if !op.flags.contains(SemFlags::UNDO) => {
                let found = one::<false>(*set, *op, 0);
                // Perhaps only because an operation on several semaphores was under way.
                if let FastOutcome::Slow = found { self.several(set, ops).unwrap_or_else(FastOutcome::Failed) } else { found }
            }
            _ => self.several(set, ops).unwrap_or_else(FastOutcome::Failed),
        }
    }

    /// Several operations, or one with `SEM_UNDO`, on at the most [`MAX_MCAS_WORDS`] semaphores.
    #[inline(never)]
    fn several(&self, set: &SetView<'_>, ops: &[SemOp]) -> Result<FastOutcome> {
        check(set, ops)?;
        if !set.writable() || set.is_reap_due() {
            return Ok(FastOutcome::Slow);
        }
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = match undo {
            false => 0,
            true => match self.core.participants.me_word().and_then(|me| set.own_record(me)) {
                Some(record) => record,
                None => return Ok(FastOutcome::Slow),
            },
        };
        for _ in 0..TRIES {
            let mut planned = [Planned::default(); MAX_MCAS_WORDS];
            let count = match plan(set, ops, record, &mut planned)? {
                Ok(count) => count,
                Err(found) => return Ok(found),
            };
            let done = match &planned[..count] {
                [only] => swap(set, only),
                all => match self.with_descriptor(set, |nth, descriptor| descriptor.change(set, nth, all)) {
                    Some(done) => done,
                    None => return Ok(FastOutcome::Slow),
                },
            };
            if done {
                return Ok(FastOutcome::Done);
            }
        }
        Ok(FastOutcome::Slow)
    }

    /// Uses a descriptor of the set that is nobody's. `None`: there is none to be had.
    fn with_descriptor<T>(&self, set: &SetView<'_>, change: impl FnOnce(usize, &Descriptor) -> T) -> Option<T> {
        let me = self.core.participants.me_word()?;
        let descriptors = &set.header().descriptors;
        let nths = (0..descriptors.len()).map(|nth| (nth + (me >> 16) as usize) % descriptors.len());
        let claim = |nth: &usize| descriptors[*nth].owner.compare_exchange(0, me, AcqRel, Relaxed).is_ok();
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

    #[inline(always)]
    fn read_word(&self, id: i32, num: i32) -> Result<Word> {
        match self.word_fast(id, num) {
            Some(word) => Ok(word),
            None => self.read_word_slow(id, num),
        }
    }

    /// The value, if it can be told at once.
    #[inline(always)]
    pub fn sem_value_fast(&self, id: i32, num: i32) -> Option<u16> {
        self.word_fast(id, num).map(Word::value)
    }

    #[inline(always)]
    fn word_fast(&self, id: i32, num: i32) -> Option<Word> {
        let set = self.hot(id)?;
        let word = Word(set.memory().word(num as u32)?.load(Acquire));
        (word.is_plain() && set.may(false) && !set.others_hold_undo()).then_some(word)
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
        self.settle_undo(&set);
        for _ in 0..1000 {
            if let Some(word) = set.whole(num) {
                return Ok(word);
            }
            std::hint::spin_loop();
        }
        // Who changes it has stopped in the middle, or died.
        match self.lock(set, Patience::Endless) {
            Ok(guard) => guard.set.settle(num),
            Err(_) => word::peek(&set, num).ok_or(Errno::INVAL),
        }
    }

    /// A call that only waits for zero, of somebody who may read the set but has no right to its file: he cannot queue, and is not counted.
    fn watch_for_zero(&self, id: i32, ops: &[SemOp], deadline: Option<Instant>) -> Result<()> {
        if Ops::Own(ops).alter() {
            return Err(Errno::ACCES);
        }
        loop {
            let set = self.live(id).map_err(|_| Errno::IDRM)?;
            let blocking = ops.iter().find(|op| set.whole(op.num.into()).is_none_or(|word| word.value() != 0));
            let Some(blocking) = blocking else { return Ok(()) };
            if blocking.flags.contains(SemFlags::NOWAIT) {
                return Err(Errno::AGAIN);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Errno::AGAIN);
            }
            if crate::process::cancel::is_unasked() {
                return Err(crate::process::cancel::CANCELLED);
            }
            // A word of this process's own, which nobody wakes.
            let never = std::sync::atomic::AtomicU32::new(0);
            if sys::futex::wait(&never, 0, left.min(Duration::from_millis(10))) == sys::futex::WakeReason::Interrupted {
                return Err(Errno::INTR);
            }
        }
    }
}

impl SetView<'_> {
    /// The word of a semaphore, unless several are being changed just now.
    pub fn whole(&self, num: u32) -> Option<Word> {
        self.header().journal().stable_word(self, num)
    }
}

/// What the kernel finds wrong before it looks at any value.
fn check(set: &SetView<'_>, ops: &[SemOp]) -> Result<()> {
    if ops.iter().any(|op| u32::from(op.num) >= set.nsems()) {
        return Err(Errno::FBIG);
    }
    let alter = ops.iter().any(|op| op.op != 0);
    if set.may(alter) { Ok(()) } else { Err(Errno::ACCES) }
}

/// One operation; with `SEM_UNDO` if `UNDO`, then `record` is the process's.
#[inline(always)]
fn one<const UNDO: bool>(set: SetView<'_>, op: SemOp, record: u32) -> FastOutcome {
    let num = u32::from(op.num);
    let Some(at) = set.memory().word(num) else { return FastOutcome::Failed(Errno::FBIG) };
    if !set.may(op.op != 0) {
        return FastOutcome::Failed(Errno::ACCES);
    }
    // Of records, one may be the process's own.
    let others = set.header().records.load(Relaxed) > u32::from(UNDO);
    if !set.writable() || others && set.is_reap_due() {
        return FastOutcome::Slow;
    }
    let pid = ids::pid();
    loop {
        let word = Word(at.load(Acquire));
        if !word.is_plain() {
            return FastOutcome::Slow;
        }
        let result = i32::from(word.value()) + i32::from(op.op);
        if result < 0 || op.op == 0 && result != 0 {
            return if op.flags.contains(SemFlags::NOWAIT) { FastOutcome::Failed(Errno::AGAIN) } else { FastOutcome::Waits };
        }
        if result > i32::from(Limits::SEMVMX) {
            return FastOutcome::Failed(Errno::RANGE);
        }
        if result == 0 && set.header().for_zero.load(Relaxed) != 0 {
            // Somebody is to be judged again.
            return FastOutcome::Slow;
        }
        let mut new = word.with_value(result as u16).with_pid(pid);
        if UNDO {
            match undone(&set, new, op, record) {
                Some(with) => new = with,
                None => return FastOutcome::Slow,
            }
        }
        if at.compare_exchange(word.0, new.0, AcqRel, Relaxed).is_ok() {
            return FastOutcome::Done;
        }
    }
}

/// The word with what `op` adds to the process's adjustment. `None`: there is no room for it, or it is out of range.
#[inline(always)]
fn undone(set: &SetView<'_>, word: Word, op: SemOp, record: u32) -> Option<Word> {
    let (of, adjustment) = word.undo();
    let here = if of == record { adjustment } else { 0 } - i32::from(op.op);
    let cell = i32::from(set.own_cell(record, op.num.into()).ok()?.load(Relaxed));
    i16::try_from(cell + here).ok()?;
    word.with_undo(record, here)
}

fn swap(set: &SetView<'_>, change: &Planned) -> bool {
    let at = set.memory().word(change.num);
    at.is_some_and(|at| at.compare_exchange(change.old.0, change.new.0, AcqRel, Relaxed).is_ok())
}

/// Works out what `ops` change, one after the other: how many semaphores; or why not.
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
            None if count == MAX_MCAS_WORDS => return Ok(Err(FastOutcome::Slow)),
            None => {
                let old = set.settle(num)?;
                if old.is_slow() {
                    return Ok(Err(FastOutcome::Slow));
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
            // Of several words that were not read at one instant it cannot be said which operation stands in the way first.
            let certain = count == 1 || ops.iter().all(|other| other.flags.contains(SemFlags::NOWAIT) == nowait);
            return Ok(Err(match (certain, nowait) {
                (false, _) => FastOutcome::Slow,
                (_, true) => FastOutcome::Failed(Errno::AGAIN),
                (_, false) => FastOutcome::Waits,
            }));
        }
        if result == 0 && set.header().for_zero.load(Relaxed) != 0 {
            return Ok(Err(FastOutcome::Slow));
        }
        if result > i32::from(Limits::SEMVMX) {
            // Of several words that were not read at one instant nothing more can be said.
            return Ok(Err(if count == 1 { FastOutcome::Failed(Errno::RANGE) } else { FastOutcome::Slow }));
        }
        let mut next = now.with_value(result as u16);
        if op.flags.contains(SemFlags::UNDO) {
            match undone(set, next, *op, record) {
                Some(with) => next = with,
                None => return Ok(Err(FastOutcome::Slow)),
            }
        }
        planned[nth].new = next;
    }
    Ok(Ok(count))
}
