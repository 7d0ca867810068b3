//! Waiting for a lock of a namespace: the rounds, the patience of the caller, and the ends.
//!
//! The robust mutex and the queue lock differ in one attempt and in the pause between two; all else
//! is here. Signals are held off from an attempt that succeeds on, and in between for callers that a
//! signal ends.

use crate::process::liveness::LivenessProbe;
use crate::process::participants::Participants;
use crate::process::waiting;
use crate::sys::clock::Instant;
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// How long a call waits for a lock. Only a process that was stopped holds one for long.
///
/// | patience | ends | errno |
/// |---|---|---|
/// | `Endless`, `EndlessInCall` | when it has the lock | |
/// | `Brief` | after [`LockAttempt::BRIEF_ROUNDS`] | `EAGAIN` |
/// | `BriefInCall` | likewise | why the owner could not be probed, else `EAGAIN` |
/// | `Until` | at its deadline, or when a signal is pending | the one given; `EINTR` |
///
/// The variants `InCall` are for a call that blocks already. All others first end the blocked call
/// that a signal handler has interrupted.
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

    fn is_over(self, brief_is_over: bool, unaskable: Option<Errno>) -> Option<Errno> {
        match self {
            Patience::Brief if brief_is_over => Some(Errno::AGAIN),
            Patience::BriefInCall if brief_is_over => Some(unaskable.unwrap_or(Errno::AGAIN)),
            _ => None,
        }
    }

    /// Returns how a call ends that has waited for a while and has held signals off meanwhile.
    fn ends(self, signals: &Blocked) -> Option<Errno> {
        match self {
            Patience::Until(Some(deadline), late) if deadline <= Instant::now() => Some(late),
            Patience::Until(..) if signals.catches_pending() => Some(Errno::INTR),
            _ => None,
        }
    }

    /// Returns how long to sleep where `nap` is the usual time.
    pub fn nap(self, nap: Duration) -> Duration {
        match self {
            Patience::Until(Some(deadline), _) => {
                nap.min(deadline.saturating_duration_since(Instant::now())).max(Duration::from_micros(50))
            }
            _ => nap,
        }
    }

    /// A handler that ran between two attempts would not end the call.
    fn holds_signals_off(self) -> bool {
        matches!(self, Patience::Until(..))
    }
}

/// One kind of lock, as a waiter sees it.
pub trait LockAttempt {
    type Acquired;
    /// The rounds in which a healthy owner frees the lock; later ones heed the deadline.
    const HEALTHY_ROUNDS: u32;
    /// The rounds of a caller with [`Patience::Brief`].
    const BRIEF_ROUNDS: u32;
    /// The rounds after which a caller gives up that cannot probe the owner: about a second.
    const UNPROBED_ROUNDS: u32;

    /// Takes the lock if it is free.
    fn try_once(&mut self) -> Option<Self::Acquired>;

    /// Tries once, with signals held off. May sleep on the lock's word. `round` counts from 0.
    fn attempt(&mut self, round: u32, patience: Patience, probe: &LivenessProbe<'_>) -> Option<Self::Acquired>;

    /// Runs between two attempts, after `rounds` of them; signals come in unless the patience holds them off.
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
        if let Some(e) = patience.is_over(rounds >= L::BRIEF_ROUNDS, probe.unaskable()) {
            return Err(e);
        }
        if rounds > L::HEALTHY_ROUNDS
            && let Some(e) = patience.ends(&signals)
        {
            return Err(e);
        }
        if let Some(e) = probe.unaskable().filter(|_| rounds > L::UNPROBED_ROUNDS) {
            // The owner may have exited: an error is better than to wait for it for ever.
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
