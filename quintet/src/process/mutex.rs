//! Acquiring a robust mutex: `sync/robust_mutex.rs` with the waiting of `process/acquire.rs`.

use crate::process::acquire::{LockAttempt, Patience, acquire};
use crate::process::liveness::{LivenessProbe, NAP};
use crate::process::participants::Participants;
use crate::sync::attach_count::ParticipantId;
use crate::sync::robust_mutex::{self, Acquired, LockOwner};
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use std::sync::atomic::AtomicU32;

struct Mutex<'a> {
    word: &'a AtomicU32,
    owner: LockOwner,
}

impl LockAttempt for Mutex<'_> {
    type Acquired = Acquired;
    const HEALTHY_ROUNDS: u32 = 1;
    // Some 50 ms.
    const BRIEF_ROUNDS: u32 = 5;
    const UNPROBED_ROUNDS: u32 = 100;

    fn try_once(&mut self) -> Option<Acquired> {
        robust_mutex::try_acquire(self.word, self.owner).then_some(Acquired::Clean)
    }

    fn attempt(&mut self, round: u32, patience: Patience, probe: &LivenessProbe<'_>) -> Option<Acquired> {
        if round > Self::HEALTHY_ROUNDS {
            probe.nap.set(patience.nap(NAP));
        }
        // A waiter sleeps with signals held off for one round at most.
        robust_mutex::contend(self.word, self.owner, probe, round <= Self::HEALTHY_ROUNDS)
    }

    /// `contend` has slept on the word.
    fn pause(&mut self, _rounds: u32, _patience: Patience) {}
}

/// Acquires a robust mutex for `me`, and holds signals off from then on.
pub fn lock(
    participants: &Participants,
    word: &AtomicU32,
    me: ParticipantId,
    patience: Patience,
) -> Result<(Acquired, Blocked), Errno> {
    acquire(participants, &mut Mutex { word, owner: LockOwner::new(me.slot, me.incarnation) }, patience)
}
