//! The guard of the registry's lock.

use crate::process::participants::Participants;
use crate::sync::attach_count::ParticipantId;
use crate::sync::robust_mutex::{self, LockOwner};
use crate::sys::signal::Blocked;

/// Holds the registry's lock. Releases it when dropped.
///
/// Signals are blocked meanwhile, so that no handler waits for a lock of its own thread.
pub struct RegistryGuard<'a> {
    participants: &'a Participants,
    pub me: ParticipantId,
    _signals: Blocked,
}

impl<'a> RegistryGuard<'a> {
    /// `me` has just acquired the lock.
    pub fn new(participants: &'a Participants, me: ParticipantId, signals: Blocked) -> RegistryGuard<'a> {
        RegistryGuard { participants, me, _signals: signals }
    }
}

impl Drop for RegistryGuard<'_> {
    fn drop(&mut self) {
        let owner = LockOwner::new(self.me.slot, self.me.incarnation);
        robust_mutex::release(&self.participants.registry.lock, owner, &self.participants.probe(None));
    }
}
