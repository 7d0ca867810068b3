//! A call that waits: its sleep, and the ways it ends.
//!
//! It has a place in the object's file, with a state word that others answer and on which it sleeps. Signals are let in for the time of the sleep only; a
//! handler that calls us, or jumps away, finds the interrupted call here and ends it first, as the kernel has by then.

use crate::layout::{Sleeper, WaiterState};
use crate::process::cancel::{self, CANCELLED, Point};
use crate::process::listener;
use crate::sys::clock::Instant;
use crate::sys::futex::{self, Woken};
use crate::sys::signal::Blocked;
use crate::sys::{ids, sigframe_probe};
use crate::types::error::Errno;
use crate::types::id::Id;
use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// A waiting call's place, and what the object that it waits for has to do with it.
pub trait Waiting {
    fn sleeper(&self) -> &'static Sleeper;

    /// The number of the call, which its place has as long as it is its.
    fn ticket(&self) -> u64;

    /// The [`sys::generation`] of the process that has made the call.
    fn generation(&self) -> u32;

    /// Whether the object is still there.
    fn is_live(&self) -> bool;

    /// How long it sleeps at the most before it looks around.
    fn watch(&self) -> Duration;

    /// Looks whether somebody has died who was to wake it. An error: the object's lock cannot be had in time.
    fn look_around(&self) -> Result<()>;

    /// Takes the object's lock, and then takes the call out of the queue, unless (`false`) it does not wait any more. An error: the lock cannot
    /// be had in time.
    fn leave_queue(&self) -> Result<bool>;

    /// Gives the call up without the lock, and leaves its place to whoever comes next. `false`: it has been answered, or is just being.
    fn abandon(&self) -> bool;

    /// Gives the place of an answered call back.
    fn release(&self);

    /// Whether the call ends where its thread is cancelled.
    fn ends_when_cancelled(&self) -> bool;

    /// Whether the place is still this call's: not in a child made by a handler's `fork`, nor if a handler's jump has given it back.
    fn is_own(&self) -> bool {
        let sleeper = self.sleeper();
        sleeper.ticket.load(Relaxed) == self.ticket()
            && self.generation() == ids::generation()
            && sleeper.tid.load(Relaxed) == ids::known_tid()
    }

    /// What has become of the call; `None`: it waits.
    fn answer(&self) -> Option<Result<()>> {
        // A handler forgets it first, and then answers it; or it gives it up without the lock, and the state stays as it is.
        let forgotten = WAITING.get().is_none();
        let state = self.sleeper().state.load(Acquire);
        let ended = || Some(Err(if self.is_live() { Errno::INTR } else { Errno::IDRM }));
        if !self.is_own() {
            // A handler has given it up; or the object is not there any more.
            return ended();
        }
        if state == WaiterState::Waiting.pack() {
            return if forgotten && self.sleeper().pid.load(Relaxed) == 0 { ended() } else { None };
        }
        let answer = match WaiterState::unpack(state) {
            WaiterState::Answered(0) => Ok(()),
            WaiterState::Answered(errno) => Err(Errno::from_raw(errno.into())),
            // Given up by a handler, or nothing that a call's place can say.
            _ => return ended(),
        };
        self.release();
        Some(answer)
    }
}

/// Ends blocked calls of one class of objects.
pub trait EndCall: Sync {
    /// Ends the calling thread's own blocked call with `EINTR`. `forget`: the thread jumps out of the
    /// call, and nothing collects its answer.
    fn end_call(&self, call: &Interruptible, forget: bool);
}

/// What a signal handler that interrupts a blocked call has to know of it.
#[derive(Clone, Copy)]
pub struct Interruptible {
    class: &'static dyn EndCall,
    pub id: Id,
    /// Which of the object's queues of blocked calls it is in.
    pub queue: u8,
    /// The number of the call's place in the object.
    pub number: u32,
    pub ticket: u64,
    pub generation: u32,
}

impl Interruptible {
    pub fn new(class: &'static dyn EndCall, id: Id, queue: u8, number: u32, ticket: u64) -> Interruptible {
        Interruptible { class, id, queue, number, ticket, generation: ids::generation() }
    }

    fn end(&self, forget: bool) {
        WAITING.set(None);
        self.class.end_call(self, forget);
    }
}

thread_local! {
    /// The waiting call that this thread is in. A handler that interrupts it, and calls us, finds it here.
    static WAITING: Cell<Option<Interruptible>> = const { Cell::new(None) };
}

/// If the calling thread is in a waiting call, this is a signal handler that has interrupted it (or has jumped out of it): in
/// the kernel that call is over by now. It ends with `EINTR`, unless it has been answered.
pub fn give_up_interrupted() {
    if let Some(call) = interrupted() {
        call.end(false);
    }
}

/// The waiting call that the calling thread is in.
fn interrupted() -> Option<Interruptible> {
    // Who was made by a bare `clone` with the memory of its parent has the thread's variables, too, and is another thread.
    WAITING.get().filter(|_| ids::tid() == ids::known_tid())
}

/// Whether this is a handler that has interrupted a call that waits.
pub fn has_interrupted() -> bool {
    interrupted().is_some()
}

/// The calling thread jumps out of whatever it is in.
pub fn jump_out() {
    if let Some(call) = interrupted() {
        call.end(true);
        cancel::jump_out();
    }
}

/// Announces a call that waits, while signals are held off.
pub fn announce(call: Interruptible) {
    WAITING.set(Some(call));
}

/// Sleeps until the call is answered. A signal that comes while it is awake would not end the sleep that follows: signals are held off
/// until just before, and looked for. `late` is the errno of a call whose deadline has passed.
pub fn sleep(call: &impl Waiting, deadline: Option<Instant>, late: Errno, signals: Blocked) -> Result<()> {
    let answer = sleep_announced(call, deadline, late, signals);
    WAITING.set(None);
    answer
}

fn sleep_announced(call: &impl Waiting, deadline: Option<Instant>, late: Errno, mut signals: Blocked) -> Result<()> {
    listener::tell(|listener| listener.waits());
    let point = call.ends_when_cancelled().then(|| Point::new(&call.sleeper().state));
    loop {
        if let Some(answer) = call.answer() {
            return answer;
        }
        if point.as_ref().is_some_and(Point::is_reached) {
            return give_up(call, CANCELLED);
        }
        let watch = point.as_ref().map_or(call.watch(), |point| point.watch(call.watch()));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if signals.catches_pending() {
            // Its handler runs when the call has left the queue.
            return give_up(call, Errno::INTR);
        }
        let time = left.map_or(watch, |left| left.min(watch));
        let (woken, held_off) = sigframe_probe::wait(&call.sleeper().state, WaiterState::Waiting.pack(), time, signals);
        match woken {
            Woken::Looked => {
                if let Some(answer) = call.answer() {
                    return answer;
                }
                signals = held_off.unwrap_or_else(Blocked::all);
            }
            Woken::Interrupted => {
                drop(held_off);
                return give_up(call, Errno::INTR);
            }
            Woken::TimedOut if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                drop(held_off);
                return give_up(call, late);
            }
            Woken::TimedOut => {
                signals = held_off.unwrap_or_else(Blocked::all);
                if call.look_around().is_err_and(is_gone) {
                    return Err(Errno::IDRM);
                }
            }
        }
    }
}

/// Whether the object is not there any more, or a file of the namespace could not be opened because that is not.
pub fn is_gone(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::IDRM)
}

/// How long one sleeps who can neither have the lock nor do without.
pub const AGAIN_SOON: Duration = Duration::from_millis(10);

/// Ends a waiting call with `errno`, unless it has been answered.
fn give_up(call: &impl Waiting, errno: Errno) -> Result<()> {
    loop {
        if let Some(answer) = call.answer() {
            return answer;
        }
        match call.leave_queue() {
            Ok(true) => return Err(errno),
            Ok(false) => {}
            // The lock's holder has died with the namespace, and nobody can be asked any more.
            Err(e) if is_gone(e) => return Err(Errno::IDRM),
            // Whoever has it may have been stopped, or there is something that this process may not see.
            Err(_) if call.abandon() => return Err(errno),
            // It is just being answered.
            Err(_) => _ = futex::wait(&call.sleeper().state, WaiterState::Waiting.pack(), AGAIN_SOON),
        }
    }
}
