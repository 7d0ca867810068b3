//! Which participants are alive.
//!
//! A participant is alive as long as the byte of its slot is locked. Its mapping of the registry
//! holds that lock. A probe asks the kernel if the byte is locked.

use crate::layout::{Registry, Shared};
use crate::process::namespace_path::NamespacePath;
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

/// How long a waiter for a lock sleeps at a time.
pub const NAP: Duration = Duration::from_millis(10);

/// Receives the deaths of participants that a probe finds.
pub trait DeathObserver {
    /// Notes the death of the process `pid`, 0 if the id is not known any more. Returns `false` if
    /// the caller may not write it down.
    fn participant_died(&self, pid: u32) -> bool;
}

/// Finds out which participants are alive, by their locks. Opens the registry at the first
/// question.
pub struct LivenessProbe<'a> {
    registry: Shared<Registry>,
    path: &'a NamespacePath,
    observer: Option<&'a dyn DeathObserver>,
    file: OnceCell<Result<Fd>>,
    probe_error: Cell<Option<Errno>>,
    /// How long a waiter that uses the probe sleeps before it tries the lock again.
    pub nap: Cell<Duration>,
    /// Set if attachments of participants that exited were removed.
    pub reaped: Cell<bool>,
    /// The process id of a participant that exited and whose death the caller may not write down; 0
    /// if the id is not known any more.
    pub unstamped: Cell<Option<u32>>,
}

impl<'a> LivenessProbe<'a> {
    pub fn new(
        registry: Shared<Registry>,
        path: &'a NamespacePath,
        observer: Option<&'a dyn DeathObserver>,
    ) -> LivenessProbe<'a> {
        LivenessProbe {
            registry,
            path,
            observer,
            file: OnceCell::new(),
            probe_error: Cell::new(None),
            nap: Cell::new(NAP),
            reaped: Cell::new(false),
            unstamped: Cell::new(None),
        }
    }

    /// Returns the errno of the last question that failed, if one failed.
    pub fn probe_error(&self) -> Option<Errno> {
        self.probe_error.get()
    }

    /// Returns `true` if the owner of an undo record is alive, even if it has executed another
    /// program.
    pub fn holds_undo(&self, participant: ParticipantId) -> bool {
        Liveness::alive(self, participant) || Registry::EXEC_LOCKS.into_iter().any(|exec_locks| self.has(participant, exec_locks))
    }

    /// Returns `true` if the slot still belongs to the participant, and its byte is locked in the
    /// range that begins at `locks`. If the kernel cannot be asked, the participant counts as
    /// alive.
    fn has(&self, participant: ParticipantId, locks: u64) -> bool {
        let Some(record) = self.registry.slots.get(participant.slot as usize) else { return false };
        if record.incarnation.load(SeqCst) as u16 != participant.incarnation {
            return false;
        }
        let open = || file::reopen(self.path.registry());
        let at = locks + u64::from(participant.slot);
        let ask = || file::is_byte_locked(&open()?, at);
        if fd_thread::is_root_pinned() {
            // The two threads have separate tables of descriptors.
            return fd_thread::run(ask).unwrap_or(true);
        }
        let asked = match self.file.get_or_init(open) {
            Ok(fd) => file::is_byte_locked(fd, at),
            Err(e) if e.lacks_descriptors() => fd_thread::run(ask),
            Err(e) => Err(*e),
        };
        asked.unwrap_or_else(|e| {
            self.probe_error.set(Some(e));
            true
        })
    }
}

impl Liveness for LivenessProbe<'_> {
    fn alive(&self, participant: ParticipantId) -> bool {
        self.has(participant, Registry::LOCKS)
    }

    fn reaped(&self, participant: ParticipantId) {
        let Some(observer) = self.observer else { return };
        let record = &self.registry.slots[participant.slot as usize];
        let known = record.incarnation.load(SeqCst) as u16 == participant.incarnation;
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
