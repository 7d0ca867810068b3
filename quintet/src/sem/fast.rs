//! `semop` and `GETVAL` without a lock, and without a system call.

use super::place::SetView;
use super::section::Ops;
use crate::engine::Engine;
use crate::participant::{pack, unpack};
use crate::sync::lock::{Owner, World};
use crate::sync::presence::Me;
use crate::sync::word::{self, Altered, DESCRIBED, Descriptor, Planned, Word};
use crate::{Errno, Id, Limits, SemFlags, SemOp, process, sys};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Errno>;

/// What can be said without the lock.
enum Fast {
    Done,
    /// It would have to wait, as things are.
    Waits,
    Failed(Errno),
    /// The lock is needed.
    Slow,
}

/// How often to look again before a call goes to sleep, when another processor may be about to let it go on: some microseconds. Sleeping
/// and being woken across processors costs several times that.
const SPINS: u32 = 200;
/// After so many it is asked whether there is another processor at all.
const SPINS_UNASKED: u32 = 20;
/// How often to let others run before going to sleep: whoever would let this call go on may be waiting for this processor.
const YIELDS: u32 = 6;
/// How often several words are tried at once before the lock is taken instead.
const TRIES: u32 = 4;

thread_local! {
    /// The descriptor that this thread has made its own: the address of the descriptors, and which. It keeps it until it needs one elsewhere.
    static DESCRIPTOR: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// Whether the thread is using it: then this is a signal handler.
    static DESCRIBING: Cell<bool> = const { Cell::new(false) };
}

impl Engine {
    /// `semtimedop`, in the order in which the kernel checks.
    #[inline]
    pub fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        if ops.is_empty() {
            return Err(Errno::INVAL);
        }
        if ops.len() > (self.header.semopm.load(Relaxed) as usize).min(crate::layout::MOST_OPS) {
            return Err(Errno::TOOBIG);
        }
        if process::is_foundling() {
            process::adopt_foundling();
        }
        let set = self.standing_set(id)?;
        match self.at_once(&set, ops)? {
            Fast::Done => {
                set.stamp();
                Ok(())
            }
            Fast::Failed(e) => Err(e),
            other => self.not_at_once(set, id, ops, timeout, other),
        }
    }

    #[cold]
    fn not_at_once(&self, set: SetView<'_>, id: i32, ops: &[SemOp], timeout: Option<Duration>, found: Fast) -> Result<()> {
        // A time that cannot be reckoned is one without end.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if !set.writable() && self.writable_set(set.index)?.is_none_or(|set| !set.writable()) {
            return self.watch_for_zero(id, ops, deadline);
        }
        if let Fast::Waits = found
            && timeout != Some(Duration::ZERO)
        {
            match self.spin(&set, ops, deadline)? {
                Fast::Done => {
                    set.stamp();
                    return Ok(());
                }
                Fast::Failed(e) => return Err(e),
                Fast::Waits | Fast::Slow => {}
            }
        }
        self.semtimedop_slowly(Id::from_raw(id)?, ops, deadline)
    }

    /// Looks again for a short while.
    fn spin(&self, set: &SetView<'_>, ops: &[SemOp], deadline: Option<Instant>) -> Result<Fast> {
        let mut alone = false;
        for round in 0..SPINS + YIELDS {
            if round == SPINS_UNASKED {
                alone = sys::runs_on_one_processor();
            }
            if alone || round >= SPINS {
                if round >= SPINS + YIELDS || alone && round >= SPINS_UNASKED + YIELDS {
                    break;
                }
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            match self.at_once(set, ops)? {
                Fast::Waits if deadline.is_some_and(|deadline| Instant::now() >= deadline) => break,
                Fast::Waits => {}
                other => return Ok(other),
            }
        }
        Ok(Fast::Waits)
    }

    #[inline]
    fn at_once(&self, set: &SetView<'_>, ops: &[SemOp]) -> Result<Fast> {
        if set.is_census_due() {
            return self.after_checks(set, ops);
        }
        match ops {
            [op] if !op.flags.contains(SemFlags::UNDO) => {
                let num = u32::from(op.num);
                let Some(at) = set.memory().word(num) else { return Err(Errno::FBIG) };
                if !set.may(op.op != 0) {
                    return Err(Errno::ACCES);
                }
                if !set.writable() {
                    return Ok(Fast::Slow);
                }
                Ok(one(set, at, *op))
            }
            _ => self.several(set, ops),
        }
    }

    /// What the kernel would find wrong before it looks at any value; then the lock.
    #[cold]
    fn after_checks(&self, set: &SetView<'_>, ops: &[SemOp]) -> Result<Fast> {
        check(set, ops)?;
        Ok(Fast::Slow)
    }

    /// Several operations, or one with `SEM_UNDO`, on at the most [`DESCRIBED`] semaphores.
    fn several(&self, set: &SetView<'_>, ops: &[SemOp]) -> Result<Fast> {
        check(set, ops)?;
        if !set.writable() {
            return Ok(Fast::Slow);
        }
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = match undo {
            false => 0,
            true => match self.me_if_joined().and_then(|me| set.own_record(pack(me))) {
                Some(record) => record,
                None => return Ok(Fast::Slow),
            },
        };
        for _ in 0..TRIES {
            let mut planned = [Planned::default(); DESCRIBED];
            let count = match plan(set, ops, record, &mut planned)? {
                Ok(count) => count,
                Err(found) => return Ok(found),
            };
            let done = match &planned[..count] {
                [only] => swap(set, only),
                all => match self.with_descriptor(set, |nth, descriptor| descriptor.change(set, nth, all)) {
                    Some(done) => done,
                    None => return Ok(Fast::Slow),
                },
            };
            if done {
                return Ok(Fast::Done);
            }
        }
        Ok(Fast::Slow)
    }

    /// Uses a descriptor of the set that is this thread's own. `None`: there is none to be had, or the thread is using it already.
    fn with_descriptor<T>(&self, set: &SetView<'_>, change: impl FnOnce(usize, &Descriptor) -> T) -> Option<T> {
        if DESCRIBING.get() {
            return None;
        }
        let name = self.owner_name()?;
        DESCRIBING.set(true);
        let descriptors = &set.header().descriptors;
        let here = descriptors.as_ptr() as usize;
        let (at, nth) = DESCRIPTOR.get();
        let nth = if at == here && descriptors.get(nth).is_some_and(|d| d.owner.load(Relaxed) == name) {
            Some(nth)
        } else {
            let claim = |d: &Descriptor| d.owner.compare_exchange(0, name, AcqRel, Relaxed).is_ok();
            // What an earlier use by this thread was interrupted in, and jumped out of, is not touched.
            descriptors.iter().position(claim)
        };
        let changed = nth.map(|nth| {
            DESCRIPTOR.set((here, nth));
            change(nth, &descriptors[nth])
        });
        DESCRIBING.set(false);
        changed
    }

    /// What this thread is called as an owner of descriptors.
    fn owner_name(&self) -> Option<u64> {
        thread_local! {
            static TID: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
        }
        let me = pack(self.me_if_joined()?);
        let (of, tid) = TID.get();
        let tid = if of == me {
            tid
        } else {
            let tid = u64::from(sys::tid()) & 0x3f_ffff;
            TID.set((me, tid));
            tid
        };
        Some(1 << 63 | (me & 0x3fff_ffff) << 22 | tid)
    }

    /// `GETVAL`.
    #[inline]
    pub fn sem_value(&self, id: i32, num: i32) -> Result<u16> {
        self.read_word(id, num).map(Word::value)
    }

    /// `GETPID`.
    pub fn sem_pid(&self, id: i32, num: i32) -> Result<i32> {
        self.read_word(id, num).map(|word| word.pid() as i32)
    }

    #[inline]
    fn read_word(&self, id: i32, num: i32) -> Result<Word> {
        let set = self.standing_set(id)?;
        if !set.may(false) {
            return Err(Errno::ACCES);
        }
        let at = u32::try_from(num).ok().and_then(|num| set.memory().word(num)).ok_or(Errno::INVAL)?;
        let word = Word(at.load(Acquire));
        if word.is_plain() && !set.is_census_due() {
            return Ok(word);
        }
        self.read_contended(set, num as u32)
    }

    #[cold]
    fn read_contended(&self, set: SetView<'_>, num: u32) -> Result<Word> {
        if set.is_census_due()
            && let Ok(section) = self.section(set)
        {
            section.census();
        }
        for _ in 0..1000 {
            if let Some(word) = set.whole(num) {
                return Ok(word);
            }
            std::hint::spin_loop();
        }
        // Who changes it has stopped in the middle, or died.
        match self.section(set) {
            Ok(section) => section.set.settle(num),
            Err(_) => word::peek(&set, num).ok_or(Errno::INVAL),
        }
    }

    /// A call that only waits for zero, of somebody who may read the set but has no right to its file: he cannot queue, and is not counted.
    fn watch_for_zero(&self, id: i32, ops: &[SemOp], deadline: Option<Instant>) -> Result<()> {
        if Ops::Own(ops).alter() {
            return Err(Errno::ACCES);
        }
        loop {
            let set = self.standing_set(id).map_err(|_| Errno::IDRM)?;
            let blocking = ops.iter().find(|op| set.whole(op.num.into()).is_none_or(|word| word.value() != 0));
            let Some(blocking) = blocking else { return Ok(()) };
            if blocking.flags.contains(SemFlags::NOWAIT) {
                return Err(Errno::AGAIN);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Errno::AGAIN);
            }
            // A word of this process's own, which nobody wakes.
            let never = std::sync::atomic::AtomicU32::new(0);
            if sys::futex::wait(&never, 0, left.min(Duration::from_millis(10))) == sys::futex::Woken::Interrupted {
                return Err(Errno::INTR);
            }
        }
    }
}

impl SetView<'_> {
    /// The word of a semaphore, unless several are being changed just now.
    pub fn whole(&self, num: u32) -> Option<Word> {
        let applying = &self.header().applying;
        let before = applying.load(Acquire);
        let word = word::peek(self, num)?;
        std::sync::atomic::fence(Acquire);
        let still = before & 1 == 0 && applying.load(Relaxed) == before;
        (word.is_plain() || still).then_some(word)
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

/// One operation on one word.
#[inline]
fn one(set: &SetView<'_>, at: &AtomicU64, op: SemOp) -> Fast {
    let judge = |word: Word| {
        let result = i32::from(word.value()) + i32::from(op.op);
        if result < 0 || op.op == 0 && result != 0 {
            return Err(if op.flags.contains(SemFlags::NOWAIT) { Fast::Failed(Errno::AGAIN) } else { Fast::Waits });
        }
        if result > i32::from(Limits::SEMVMX) {
            return Err(Fast::Failed(Errno::RANGE));
        }
        Ok(word.with_value(result as u16).with_pid(sys::pid()))
    };
    match word::alter(set, op.num.into(), at, judge) {
        Altered::Done => Fast::Done,
        Altered::Refused(found) => found,
        Altered::Slow => Fast::Slow,
    }
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
    planned: &mut [Planned; DESCRIBED],
) -> Result<std::result::Result<usize, Fast>> {
    let pid = sys::pid();
    let mut count = 0;
    for op in ops {
        let num = u32::from(op.num);
        let nth = match planned[..count].iter().position(|change| change.num == num) {
            Some(nth) => nth,
            None if count == DESCRIBED => return Ok(Err(Fast::Slow)),
            None => {
                let old = set.settle(num)?;
                if old.is_slow() {
                    return Ok(Err(Fast::Slow));
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
            return Ok(Err(if nowait { Fast::Failed(Errno::AGAIN) } else { Fast::Waits }));
        }
        if result > i32::from(Limits::SEMVMX) {
            // Of several words that were not read at one instant nothing more can be said.
            return Ok(Err(if count == 1 { Fast::Failed(Errno::RANGE) } else { Fast::Slow }));
        }
        let mut next = now.with_value(result as u16);
        if op.flags.contains(SemFlags::UNDO) {
            let (of, adjustment) = now.undo();
            let here = if of == record { adjustment } else { 0 } - i32::from(op.op);
            let cell = i32::from(set.record_cell(record, num)?.load(Relaxed));
            match next.with_undo(record, here) {
                Some(with) if i16::try_from(cell + here).is_ok() => next = with,
                _ => return Ok(Err(Fast::Slow)),
            }
        }
        planned[nth].new = next;
    }
    Ok(Ok(count))
}

/// Whether the thread lives that is called so as an owner of descriptors.
pub fn is_owner_alive(engine: &Engine, name: u64) -> bool {
    let Some(Me { slot, incarnation }) = unpack(name >> 22 & 0x3fff_ffff) else { return false };
    let alive = engine.living(None).alive(Owner::new(slot, incarnation));
    let own = engine.me_if_joined() == Some(Me { slot, incarnation });
    alive && (!own || sys::thread_exists(sys::pid(), (name & 0x3f_ffff) as u32))
}
