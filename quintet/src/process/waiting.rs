//! A blocked call: its sleep, and the ways it ends.
//!
//! A blocked call has a place in the object's file. The place holds a state word, on which the call
//! sleeps and in which a waker stores the answer. Signals come in only during the sleep. A handler
//! that calls this library, or jumps away, finds the interrupted call here and ends it first,
//! because in the kernel the call is over when a handler runs.
//!
//! | end | by | outcome |
//! |---|---|---|
//! | answered | the waker, by the state word | the answer's errno |
//! | deadline | the call leaves the queue under the object's lock | `EAGAIN` or `ENOMSG` |
//! | signal | the same | `EINTR` |
//! | cancellation | the same | [`CANCELLED`] |
//! | the lock cannot be acquired | the call gives its place up without the lock | as above |
//! | the object was removed | the remover answers, or the file is gone | `EIDRM` |

use crate::layout::{Sleeper, WaiterState};
use crate::process::cancel::{self, CANCELLED, Point};
use crate::process::listener;
use crate::sys::clock::Instant;
use crate::sys::futex::{self, WakeReason};
use crate::sys::signal::Blocked;
use crate::sys::{ids, sigframe_probe};
use crate::types::error::Errno;
use crate::types::id::Id;
use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// A blocked call, as its object provides it.
pub trait Waiting {
    /// Returns the place of the call in the object's file.
    fn sleeper(&self) -> &'static Sleeper;

    /// Returns the number of the call. The place has this number as long as it belongs to the call.
    fn ticket(&self) -> u64;

    /// Returns the [`ids::generation`] of the process that made the call.
    fn generation(&self) -> u32;

    /// Returns `true` if the object still exists.
    fn is_live(&self) -> bool;

    /// Returns the longest time that the call sleeps before it checks its peers.
    fn watch(&self) -> Duration;

    /// Checks whether a peer that was to wake the call has exited. An error means that the object's
    /// lock could not be acquired in time.
    fn check_peers(&self) -> Result<()>;

    /// Removes the call from the queue under the object's lock. Returns `false` if the call is not
    /// waiting any more. An error means that the lock could not be acquired in time.
    fn leave_queue(&self) -> Result<bool>;

    /// Gives the call up without the lock, and leaves its place to the next owner of the lock.
    /// Returns `false` if the call was answered, or is being answered at this moment.
    fn abandon(&self) -> bool;

    /// Frees the place of an answered call.
    fn release(&self);

    /// Returns `true` if the call ends when its thread is cancelled.
    fn ends_when_cancelled(&self) -> bool;

    /// Returns `true` if the place still belongs to this call. It does not in a child that a
    /// handler forked, nor after a handler jumped out of the call.
    fn is_own(&self) -> bool {
        let sleeper = self.sleeper();
        sleeper.ticket.load(Relaxed) == self.ticket()
            && self.generation() == ids::generation()
            && sleeper.tid.load(Relaxed) == ids::known_tid()
    }

    /// Returns the outcome of the call; `None` while it waits.
    fn answer(&self) -> Option<Result<()>> {
        // A handler first clears `WAITING`, and then answers the call or gives it up without the
        // lock. In the second case the state word stays as it is, so `forgotten` must be read
        // before the state.
        let forgotten = WAITING.get().is_none();
        let state = self.sleeper().state.load(Acquire);
        let ended = || Some(Err(if self.is_live() { Errno::INTR } else { Errno::IDRM }));
        if !self.is_own() {
            // A handler gave the call up, or the object is gone.
            return ended();
        }
        if state == WaiterState::Waiting.pack() {
            return if forgotten && self.sleeper().pid.load(Relaxed) == 0 { ended() } else { None };
        }
        let answer = match WaiterState::unpack(state) {
            WaiterState::Answered(0) => Ok(()),
            WaiterState::Answered(errno) => Err(Errno::from_raw(errno.into())),
            // A handler gave the call up, or a peer wrote a value that is no state of a place.
            _ => return ended(),
        };
        self.release();
        Some(answer)
    }
}

/// Ends blocked calls of one class of objects.
pub trait EndCall: Sync {
    /// Ends the calling thread's own blocked call with `EINTR`. `forget`: the thread jumps out of
    /// the call, and nothing collects its answer.
    fn end_call(&self, call: &Interruptible, forget: bool);
}

/// A blocked call, as a signal handler that interrupts it finds it.
#[derive(Clone, Copy)]
pub struct Interruptible {
    class: &'static dyn EndCall,
    pub id: Id,
    /// The number of the queue of blocked calls that it is in.
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
    /// The blocked call of this thread, for a handler that interrupts it.
    static WAITING: Cell<Option<Interruptible>> = const { Cell::new(None) };
}

/// Ends the blocked call that the caller has interrupted, if the caller is a signal handler.
///
/// In the kernel that call is over by now. It ends with `EINTR`, unless it was answered before.
pub fn give_up_interrupted() {
    if let Some(call) = interrupted() {
        call.end(false);
    }
}

/// Returns the blocked call of the calling thread.
fn interrupted() -> Option<Interruptible> {
    // A child of a bare `clone` that shares memory has the variables of this thread, and is another
    // thread.
    WAITING.get().filter(|_| ids::tid() == ids::known_tid())
}

/// Returns `true` if the caller is a handler that has interrupted a blocked call.
pub fn has_interrupted() -> bool {
    interrupted().is_some()
}

/// Ends the blocked call of a thread that is about to jump out of it.
pub fn jump_out() {
    if let Some(call) = interrupted() {
        call.end(true);
        cancel::jump_out();
    }
}

/// Announces a blocked call to handlers. Signals are held off.
pub fn announce(call: Interruptible) {
    WAITING.set(Some(call));
}

/// Sleeps until the call is answered. `late` is the errno of a call whose deadline has passed.
///
/// A signal that comes while the thread is awake would not end the sleep that follows. So signals
/// are held off until just before the sleep, and a pending one is looked for.
pub fn sleep(call: &impl Waiting, deadline: Option<Instant>, late: Errno, signals: Blocked) -> Result<()> {
    let answer = sleep_announced(call, deadline, late, signals);
    WAITING.set(None);
    answer
}

fn sleep_announced(call: &impl Waiting, deadline: Option<Instant>, late: Errno, mut signals: Blocked) -> Result<()> {
    listener::notify(|listener| listener.about_to_sleep());
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
            // The handler runs when the call has left the queue.
            return give_up(call, Errno::INTR);
        }
        let time = left.map_or(watch, |left| left.min(watch));
        let (woken, held_off) = sigframe_probe::wait(&call.sleeper().state, WaiterState::Waiting.pack(), time, signals);
        match woken {
            WakeReason::WokenOrChanged => {
                if let Some(answer) = call.answer() {
                    return answer;
                }
                signals = held_off.unwrap_or_else(Blocked::all);
            }
            WakeReason::Interrupted => {
                drop(held_off);
                return give_up(call, Errno::INTR);
            }
            WakeReason::TimedOut if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                drop(held_off);
                return give_up(call, late);
            }
            WakeReason::TimedOut => {
                signals = held_off.unwrap_or_else(Blocked::all);
                if call.check_peers().is_err_and(is_gone) {
                    return Err(Errno::IDRM);
                }
            }
        }
    }
}

/// Returns `true` if the error means that the object, or the namespace, is gone.
pub fn is_gone(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::IDRM)
}

/// How long a call sleeps that can neither acquire the lock nor give its place up without it.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Ends a blocked call with `errno`, unless it was answered.
fn give_up(call: &impl Waiting, errno: Errno) -> Result<()> {
    loop {
        if let Some(answer) = call.answer() {
            return answer;
        }
        match call.leave_queue() {
            Ok(true) => return Err(errno),
            Ok(false) => {}
            // The namespace is gone, and the liveness of the lock's owner cannot be probed any
            // more.
            Err(e) if is_gone(e) => return Err(Errno::IDRM),
            // The owner of the lock may be stopped, or this process may not see all of the object.
            Err(_) if call.abandon() => return Err(errno),
            // A waker is answering the call at this moment.
            Err(_) => _ = futex::wait(&call.sleeper().state, WaiterState::Waiting.pack(), RETRY_INTERVAL),
        }
    }
}
