//! Waiting for a lock of a namespace: the rounds, the patience of the caller, and the outcomes.
//!
//! The robust mutex and the queue lock differ in a single attempt and in the pause between two
//! attempts; all else is here. After an attempt that succeeds, signals stay held off. For a call
//! that a signal ends, they are also held off between attempts.

use crate::process::liveness::LivenessProbe;
use crate::process::participants::Participants;
use crate::process::waiting;
use crate::sys::clock::Instant;
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// How long a call waits for a lock. Only a stopped process holds a lock for long.
///
/// | patience | the wait ends | errno |
/// |---|---|---|
/// | `Endless`, `EndlessInCall` | when the lock is acquired | |
/// | `Brief` | after [`LockAttempt::BRIEF_ROUNDS`] | `EAGAIN` |
/// | `BriefInCall` | after [`LockAttempt::BRIEF_ROUNDS`] | a failed probe's, else `EAGAIN` |
/// | `Until` | at its deadline, or when a signal is pending | the one given; `EINTR` |
///
/// The variants `InCall` are for a call that is blocked already. The other variants first end the
/// blocked call that a signal handler has interrupted.
#[derive(Clone, Copy)]
pub enum Patience {
    Endless,
    EndlessInCall,
    Brief,
    BriefInCall,
    Until(Option<Instant>, Errno),
}

impl Patience {
    /// Ends the blocked call that the caller has interrupted, if it is a signal handler.
    #[inline]
    pub fn begin(self) {
        if !matches!(self, Patience::EndlessInCall | Patience::BriefInCall) {
            waiting::give_up_interrupted();
        }
    }

    fn is_over(self, brief_is_over: bool, probe_error: Option<Errno>) -> Option<Errno> {
        match self {
            Patience::Brief if brief_is_over => Some(Errno::AGAIN),
            Patience::BriefInCall if brief_is_over => Some(probe_error.unwrap_or(Errno::AGAIN)),
            _ => None,
        }
    }

    /// Returns the errno with which the wait ends now, if it ends. Signals are held off.
    fn ends(self, signals: &Blocked) -> Option<Errno> {
        match self {
            Patience::Until(Some(deadline), late) if deadline <= Instant::now() => Some(late),
            Patience::Until(..) if signals.catches_pending() => Some(Errno::INTR),
            _ => None,
        }
    }

    /// Returns the time to sleep: `nap`, or less if the deadline is near.
    pub fn nap(self, nap: Duration) -> Duration {
        match self {
            Patience::Until(Some(deadline), _) => {
                nap.min(deadline.saturating_duration_since(Instant::now())).max(Duration::from_micros(50))
            }
            _ => nap,
        }
    }

    /// Returns `true` if signals stay held off between two attempts. A handler that ran there would
    /// not end the call.
    fn holds_signals_off(self) -> bool {
        matches!(self, Patience::Until(..))
    }
}

/// One kind of lock, as a waiter sees it.
pub trait LockAttempt {
    type Acquired;
    /// The number of rounds in which a healthy owner frees the lock. Later rounds check the
    /// deadline.
    const HEALTHY_ROUNDS: u32;
    /// The number of rounds of a caller with [`Patience::Brief`].
    const BRIEF_ROUNDS: u32;
    /// The number of rounds, about a second, after which a caller that cannot probe the owner gives
    /// up.
    const UNPROBED_ROUNDS: u32;

    /// Takes the lock if it is free.
    fn try_once(&mut self) -> Option<Self::Acquired>;

    /// Tries once, with signals held off. May sleep on the lock's word. `round` counts from 0.
    fn attempt(&mut self, round: u32, patience: Patience, probe: &LivenessProbe<'_>) -> Option<Self::Acquired>;

    /// Pauses between two attempts. `rounds` is the number of attempts so far. Signals come in
    /// unless the patience holds them off.
    fn pause(&mut self, rounds: u32, patience: Patience);
}

/// Acquires a lock, and holds signals off from then on.
#[inline]
pub fn acquire<L: LockAttempt>(participants: &Participants, lock: &mut L, patience: Patience) -> Result<(L::Acquired, Blocked)> {
    let signals = Blocked::all();
    match lock.try_once() {
        Some(acquired) => Ok((acquired, signals)),
        None => acquire_contended(participants, lock, patience, signals),
    }
}

#[cold]
#[inline(never)]
fn acquire_contended<L: LockAttempt>(
    participants: &Participants,
    lock: &mut L,
    patience: Patience,
    signals: Blocked,
) -> Result<(L::Acquired, Blocked)> {
    let mut held_off = Some(signals);
    let mut rounds = 0;
    loop {
        let probe = participants.probe(None);
        let signals = held_off.take().unwrap_or_else(Blocked::all);
        if let Some(acquired) = lock.attempt(rounds, patience, &probe) {
            return Ok((acquired, signals));
        }
        rounds += 1;
        if let Some(e) = patience.is_over(rounds >= L::BRIEF_ROUNDS, probe.probe_error()) {
            return Err(e);
        }
        if rounds > L::HEALTHY_ROUNDS
            && let Some(e) = patience.ends(&signals)
        {
            return Err(e);
        }
        if let Some(e) = probe.probe_error().filter(|_| rounds > L::UNPROBED_ROUNDS) {
            // The owner may have exited. An error is better than an endless wait.
            return Err(e);
        }
        if patience.holds_signals_off() {
            held_off = Some(signals);
        } else {
            drop(signals);
        }
        lock.pause(rounds, patience);
    }
}
