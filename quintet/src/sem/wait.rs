//! `semop` that cannot be done at once, or not without the set's lock.

use super::place::SetView;
use super::section::{Ops, Verdict};
use crate::engine::Engine;
use crate::layout::{JournalKind, Waiter, WaiterState};
use crate::sys;
use crate::sys::futex::{self, Woken};
use crate::sys::signal::Blocked;
use crate::sys::trace;
use crate::{Errno, Id, SemFlags, SemOp, process};
use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
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

/// A waiting call of this thread.
#[derive(Clone, Copy)]
struct Call {
    engine: &'static Engine,
    id: Id,
    number: u32,
    ticket: u64,
}

impl Call {
    /// Whether the place is still this call's: not in a child made by a handler's `fork`, nor if a handler's jump has given it back.
    fn has(&self, waiter: &Waiter) -> bool {
        waiter.ticket.load(Relaxed) == self.ticket
            && waiter.pid.load(Relaxed) == sys::pid()
            && waiter.tid.load(Relaxed) == sys::tid()
    }
}

thread_local! {
    /// The waiting call that this thread is in. A handler that interrupts it, and calls us, finds it here.
    static WAITING: Cell<Option<Call>> = const { Cell::new(None) };
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
        if set.header().descriptors.iter().all(|descriptor| descriptor.owner.load(Relaxed) != 0) {
            section.clear_descriptors();
        }
        let mine = Ops::Own(ops);
        let undo = ops.iter().any(|op| op.flags.contains(SemFlags::UNDO));
        let record = if undo { section.own_record()? } else { 0 };
        let verdict = section.judge(mine, record, sys::pid());
        let blocking = match verdict {
            Ok(Verdict::Done(changes)) => {
                section.commit(JournalKind::Changes, changes, 0);
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
        let engine = process::engine_for_ever(self).ok_or(Errno::INVAL);
        let queued = engine.and_then(|engine| Ok((engine, section.enqueue(ops, blocking, record)?)));
        let (engine, (number, waiter)) = queued.inspect_err(|_| section.let_go_of(mine))?;
        let call = Call { engine, id, number, ticket: waiter.ticket.load(Relaxed) };
        WAITING.set(Some(call));
        let signals = section.leave();
        let answer = self.sleep(set, call, waiter, deadline, signals);
        WAITING.set(None);
        answer
    }

    /// Sleeps until the call is answered. A signal that comes while it is awake would not end the sleep that follows: signals are held off
    /// until just before, and looked for.
    fn sleep(
        &self,
        set: SetView<'_>,
        call: Call,
        waiter: &'static Waiter,
        deadline: Option<Instant>,
        mut signals: Blocked,
    ) -> Result<()> {
        loop {
            if let Some(answer) = self.answer_to(set, call, waiter) {
                return answer;
            }
            let watch = self.watch(set);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if signals.catches_pending() {
                // Its handler runs when the call has left the queue.
                return self.give_up(set, call, waiter, Errno::INTR);
            }
            let time = left.map_or(watch, |left| left.min(watch));
            let (woken, held_off) = trace::wait(&waiter.state, WaiterState::Waiting.pack(), time, signals);
            match woken {
                Woken::Looked => {
                    if let Some(answer) = self.answer_to(set, call, waiter) {
                        return answer;
                    }
                    signals = held_off.unwrap_or_else(Blocked::all);
                }
                Woken::Interrupted => {
                    drop(held_off);
                    return self.give_up(set, call, waiter, Errno::INTR);
                }
                Woken::TimedOut if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    drop(held_off);
                    return self.give_up(set, call, waiter, Errno::AGAIN);
                }
                Woken::TimedOut => {
                    signals = held_off.unwrap_or_else(Blocked::all);
                    self.look_around(set);
                }
            }
        }
    }

    /// What has become of the call; `None`: it waits.
    fn answer_to(&self, set: SetView<'_>, call: Call, waiter: &'static Waiter) -> Option<Result<()>> {
        let state = waiter.state.load(Acquire);
        if !call.has(waiter) {
            // A handler has given it up; or the set is not there any more.
            return Some(Err(if set.stands_as(call.id) { Errno::INTR } else { Errno::IDRM }));
        }
        if state == WaiterState::Waiting.pack() {
            return None;
        }
        let answer = match WaiterState::unpack(state) {
            WaiterState::Answered(0) => Ok(()),
            WaiterState::Answered(errno) => Err(Errno::from_raw(errno.into())),
            // Given up by a handler, or nothing that a call's place can say.
            _ if set.stands_as(call.id) => return Some(Err(Errno::INTR)),
            _ => return Some(Err(Errno::IDRM)),
        };
        set.release_waiter(waiter);
        Some(answer)
    }

    fn watch(&self, set: SetView<'_>) -> Duration {
        if set.is_census_late(0) { WATCH * set.header().waiting.load(Relaxed).div_ceil(WATCHERS).max(1) } else { LOOK }
    }

    /// Looks whether somebody has died, who held the lock or has something to take back.
    fn look_around(&self, set: SetView<'_>) {
        if let Ok(section) = self.section_in_call(set)
            && section.set.is_census_late(ASKED_LATELY)
        {
            section.census();
        }
    }

    /// Ends a waiting call with `errno`, unless it has been answered.
    fn give_up(&self, set: SetView<'_>, call: Call, waiter: &'static Waiter, errno: Errno) -> Result<()> {
        loop {
            if let Some(answer) = self.answer_to(set, call, waiter) {
                return answer;
            }
            // It cannot leave its place behind, and so goes on until it gets the lock.
            let Ok(section) = self.section_in_call(set) else {
                let _ = futex::wait(&waiter.state, WaiterState::Waiting.pack(), Duration::from_millis(10));
                continue;
            };
            // No handler comes in between any more.
            if let Some(answer) = self.answer_to(set, call, waiter) {
                return answer;
            }
            section.drop_waiter(call.number, waiter);
            return Err(errno);
        }
    }

    /// Answers the calling thread's own waiting call with `EINTR`; `forget`: nobody will come for the answer.
    fn interrupt(&self, call: Call, forget: bool) {
        let section = self.standing_set(call.id.raw()).and_then(|set| self.section_in_call(set));
        WAITING.set(None);
        let Ok(section) = section else { return };
        let Ok(waiter) = section.waiter(call.number) else { return };
        if !call.has(waiter) {
            return;
        }
        match waiter.state() {
            WaiterState::Waiting if forget => section.drop_waiter(call.number, waiter),
            WaiterState::Waiting => section.answer(call.number, waiter, Errno::INTR),
            WaiterState::Answered(_) if forget => section.set.release_waiter(waiter),
            _ => {}
        }
    }
}

/// If the calling thread is in a waiting call, this is a signal handler that has interrupted it (or has jumped out of it): in
/// the kernel that call is over by now. It ends with `EINTR`, unless it has been answered.
pub fn give_up_interrupted() {
    if let Some(call) = WAITING.get() {
        call.engine.interrupt(call, false);
    }
}

/// The calling thread jumps out of whatever it is in.
pub fn jump_out() {
    if let Some(call) = WAITING.get() {
        call.engine.interrupt(call, true);
    }
}
