//! Which participants are alive: asked of the locks that their mappings hold.

use crate::layout::Registry;
use crate::process::participants::Participants;
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::robust_mutex::{LockOwner, MutexEnv};
use crate::sys::fd::Fd;
use crate::sys::fd_thread::{self, DescriptorFailure};
use crate::sys::{file, futex};
use crate::types::error::Errno;
use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// How long one who waits for a lock sleeps at a time.
pub const NAP: Duration = Duration::from_millis(10);

/// What a probe tells of participants that it found dead.
pub trait DeathObserver {
    /// Notes the death of the process `pid`, 0 if the id is not known any more. Returns `false` if
    /// the caller may not write it down.
    fn participant_died(&self, pid: u32) -> bool;
}

/// Asks the locks who is alive; opens the registry when first asked.
pub struct LivenessProbe<'a> {
    participants: &'a Participants,
    observer: Option<&'a dyn DeathObserver>,
    file: OnceCell<Result<Fd>>,
    unaskable: Cell<Option<Errno>>,
    /// How long it sleeps for a lock before it looks again.
    pub nap: Cell<Duration>,
    /// Whether attachments of the dead were struck out.
    pub reaped: Cell<bool>,
    /// The process id of a dead one that was seen by a caller who may not write it down; 0 if not known any more.
    pub unstamped: Cell<Option<u32>>,
}

impl<'a> LivenessProbe<'a> {
    pub fn new(participants: &'a Participants, observer: Option<&'a dyn DeathObserver>) -> LivenessProbe<'a> {
        LivenessProbe {
            participants,
            observer,
            file: OnceCell::new(),
            unaskable: Cell::new(None),
            nap: Cell::new(NAP),
            reaped: Cell::new(false),
            unstamped: Cell::new(None),
        }
    }

    /// Why nobody could be asked whether he lives, if that was tried in vain.
    pub fn unaskable(&self) -> Option<Errno> {
        self.unaskable.get()
    }

    /// Whether the process lives whose undo record says so, whatever program it runs by now.
    pub fn holds_undo(&self, who: ParticipantId) -> bool {
        Liveness::alive(self, who) || Registry::EXEC_LOCKS.into_iter().any(|exec_locks| self.has(who, exec_locks))
    }

    /// Whether the lock of `who`'s slot among those that begin at `locks` is held, and the slot is still its.
    fn has(&self, who: ParticipantId, locks: u64) -> bool {
        let Some(record) = self.participants.registry.slots.get(who.slot as usize) else { return false };
        if record.incarnation.load(SeqCst) as u16 != who.incarnation {
            return false;
        }
        let open = || file::reopen(self.participants.path.registry());
        let at = locks + u64::from(who.slot);
        let ask = || file::is_byte_locked(&open()?, at);
        if fd_thread::is_root_pinned() {
            // No descriptor is carried from one thread to the other.
            return fd_thread::run(ask).unwrap_or(true);
        }
        let asked = match self.file.get_or_init(open) {
            Ok(fd) => file::is_byte_locked(fd, at),
            Err(e) if e.lacks_descriptors() => fd_thread::run(ask),
            Err(e) => Err(*e),
        };
        asked.unwrap_or_else(|e| {
            self.unaskable.set(Some(e));
            true
        })
    }
}

impl Liveness for LivenessProbe<'_> {
    fn alive(&self, who: ParticipantId) -> bool {
        self.has(who, Registry::LOCKS)
    }

    fn reaped(&self, who: ParticipantId) {
        let Some(observer) = self.observer else { return };
        let record = &self.participants.registry.slots[who.slot as usize];
        let known = record.incarnation.load(SeqCst) as u16 == who.incarnation;
        let pid = if known { record.pid.load(Relaxed) } else { 0 };
        if observer.participant_died(pid) {
            self.reaped.set(true);
        } else {
            self.unstamped.set(Some(pid));
        }
    }
}

impl MutexEnv for LivenessProbe<'_> {
    fn alive(&self, owner: LockOwner) -> bool {
        let Some(slot) = owner.slot() else { return false };
        Liveness::alive(self, ParticipantId { slot, incarnation: owner.incarnation() })
    }

    fn sleep(&self, word: &AtomicU32, value: u32) {
        let _ = futex::wait(word, value, self.nap.get());
    }

    fn wake(&self, word: &AtomicU32) {
        futex::wake_one(word);
    }
}
