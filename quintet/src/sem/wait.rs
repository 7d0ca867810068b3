//! `semop` that cannot be done at once, or not without the set's lock.

use super::place::SetView;
use super::section::{Ops, Section, Verdict};
use crate::engine::Engine;
use crate::layout::{JournalKind, Waiter, WaiterState};
use crate::sys;
use crate::sys::futex::{self, Woken};
use crate::{Errno, Id, SemFlags, SemOp, process};
use std::cell::Cell;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Errno>;

/// How often a waiting call looks whether somebody has died who has something to take back.
const WATCH: Duration = Duration::from_millis(50);
/// How many watch that often; more take turns.
const WATCHERS: u32 = 32;
/// How often it looks when nobody has: whoever was to wake it may have died.
const LOOK: Duration = Duration::from_secs(1);
/// A watcher asks again only if nobody has for so long, in nanoseconds.
const ASKED_LATELY: u64 = 20_000_000;

thread_local! {
    /// The waiting call that this thread is in: engine, identifier, number of the waiter. A handler that interrupts it, and
    /// calls us, finds it here.
    static WAITING: Cell<Option<(&'static Engine, Id, u32)>> = const { Cell::new(None) };
}

impl Engine {
    /// `semtimedop` under the set's lock.
    #[cold]
    pub fn semtimedop_slowly(&self, id: Id, ops: &[SemOp], deadline: Option<Instant>) -> Result<()> {
        let set = self.standing_set(id.raw())?;
        let section = self.section(set)?;
        let set = section.set;
        if !set.stands_as(id) {
            return Err(Errno::IDRM);
        }
        if set.is_census_due() {
            section.census();
        }
        let mine = Ops::Own(ops);
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = if undo { section.own_record()? } else { 0 };
        let verdict = section.judge(mine, record, sys::pid());
        let blocking = match verdict {
            Ok(Verdict::Done(changes)) => {
                section.commit(JournalKind::Changes, changes, None);
                if mine.alter() {
                    section.update(Some(mine), true);
                } else {
                    set.stamp();
                }
                section.let_go_of(mine);
                return Ok(());
            }
            Ok(Verdict::Blocked(blocking)) => blocking,
            Ok(Verdict::Failed(e)) | Err(e) => {
                section.let_go_of(mine);
                return Err(e);
            }
        };
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            section.let_go_of(mine);
            return Err(Errno::AGAIN);
        }
        let queued = section.enqueue(ops, blocking, record);
        let (number, waiter) = queued.inspect_err(|_| section.let_go_of(mine))?;
        if section.is_interrupted() {
            // Its handler runs when the lock has been given back.
            section.drop_waiter(number, waiter);
            return Err(Errno::INTR);
        }
        let engine = process::engine_for_ever(self);
        WAITING.set(engine.map(|engine| (engine, id, number)));
        drop(section);
        let answer = self.sleep(set, id, number, waiter, deadline);
        WAITING.set(None);
        answer
    }

    /// Sleeps until the call is answered.
    fn sleep(&self, set: SetView<'_>, id: Id, number: u32, waiter: &'static Waiter, deadline: Option<Instant>) -> Result<()> {
        loop {
            match waiter.state() {
                WaiterState::Waiting => {}
                WaiterState::Answered(errno) => {
                    set.release_waiter(waiter);
                    return if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno.into())) };
                }
                // The set is not there any more.
                _ => return Err(Errno::IDRM),
            }
            let watch = self.watch(set);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match futex::wait(&waiter.state, WaiterState::Waiting.pack(), left.map_or(watch, |left| left.min(watch))) {
                Woken::Looked => {}
                Woken::Interrupted => return self.give_up(set, id, number, waiter, Errno::INTR),
                Woken::TimedOut if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return self.give_up(set, id, number, waiter, Errno::AGAIN);
                }
                Woken::TimedOut => self.look_around(set),
            }
        }
    }

    fn watch(&self, set: SetView<'_>) -> Duration {
        if set.is_census_late(0) {
            WATCH * set.header().waiting.load(std::sync::atomic::Ordering::Relaxed).div_ceil(WATCHERS).max(1)
        } else {
            LOOK
        }
    }

    /// Looks whether somebody has died, who held the lock or has something to take back.
    fn look_around(&self, set: SetView<'_>) {
        if let Ok(section) = self.section_while_waiting(set)
            && section.set.is_census_late(ASKED_LATELY)
        {
            section.census();
        }
    }

    /// The lock, for a call that goes on waiting.
    fn section_while_waiting<'a>(&'a self, set: SetView<'a>) -> Result<Section<'a>> {
        let waiting = WAITING.take();
        let section = self.section(set);
        WAITING.set(waiting);
        section
    }

    /// Ends a waiting call with `errno`, unless it has been answered.
    fn give_up(&self, set: SetView<'_>, id: Id, number: u32, waiter: &'static Waiter, errno: Errno) -> Result<()> {
        WAITING.set(None);
        let section = self.section(set)?;
        match waiter.state() {
            WaiterState::Answered(answer) => {
                set.release_waiter(waiter);
                if answer == 0 { Ok(()) } else { Err(Errno::from_raw(answer.into())) }
            }
            WaiterState::Waiting if section.set.stands_as(id) => {
                section.drop_waiter(number, waiter);
                Err(errno)
            }
            _ => Err(Errno::IDRM),
        }
    }
}

/// If the calling thread is in a waiting call, this is a signal handler that has interrupted it (or has jumped out of it): in
/// the kernel that call is over by now. It ends with `EINTR`, unless it has been answered.
pub fn give_up_interrupted() {
    if let Some((engine, id, number)) = WAITING.take() {
        engine.interrupt(id, number, false);
    }
}

/// The calling thread jumps out of whatever it is in.
pub fn jump_out() {
    if let Some((engine, id, number)) = WAITING.take() {
        engine.interrupt(id, number, true);
    }
}

impl Engine {
    /// Answers the calling thread's own waiting call with `EINTR`; `forget`: nobody will come for the answer.
    fn interrupt(&self, id: Id, number: u32, forget: bool) {
        let Ok(set) = self.standing_set(id.raw()) else { return };
        let Ok(section) = self.section(set) else { return };
        let Ok(waiter) = section.waiter(number) else { return };
        use std::sync::atomic::Ordering::Relaxed;
        let mine = waiter.slot.load(Relaxed) == section.me.slot
            && waiter.incarnation.load(Relaxed) as u16 == section.me.incarnation
            && waiter.tid.load(Relaxed) == sys::tid();
        if !mine {
            return;
        }
        match waiter.state() {
            WaiterState::Waiting if forget => section.drop_waiter(number, waiter),
            WaiterState::Waiting => section.answer(number, waiter, Errno::INTR),
            WaiterState::Answered(_) if forget => section.set.release_waiter(waiter),
            _ => {}
        }
    }
}
