//! The participants of a namespace: the processes that use it.
//!
//! A participant has a slot of the registry and a lock on one byte of that file. The lock belongs
//! to an open file description that only a mapping keeps, so no descriptor stays open. The lock
//! ends with the memory of the process: at exit, at exec, and at SIGKILL, even before the zombie is
//! reaped. It is visible across PID namespaces. A new process with the same process id does not
//! have it.

use crate::layout::{Registry, SLOTS, Shared, SlotState};
use crate::process::liveness::{DeathObserver, LivenessProbe};
use crate::process::namespace_path::NamespacePath;
use crate::process::thread_lock::ThreadLock;
use crate::process::{fork, pid_namespace};
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::queue_lock::ThreadOwner;
use crate::sys::fd::Fd;
use crate::sys::{clock, credentials, fd_thread, file, ids, memory};
use crate::types::error::Errno;
use crate::types::shm::Attacher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The registry as this process has it mapped, its own slot, and the slot of a child about to be
/// forked.
#[repr(C)]
pub struct Participants {
    /// This process's slot and incarnation, packed; [`NONE`] before it joined.
    me: AtomicU64,
    /// The address of the mapping that holds the lock of the slot.
    token: AtomicUsize,
    /// The slot that the next child will have, packed.
    fork_slot: AtomicU64,
    /// The address of the mapping that holds the lock of that slot.
    fork_slot_token: AtomicUsize,
    joining: ThreadLock,
    pub registry: Shared<Registry>,
    reaper: OnceLock<&'static dyn Reap>,
    pub path: NamespacePath,
}

/// Removes what a participant that exited has left in the objects.
pub trait Reap: Sync {
    /// Runs before the slot of `exited` gets a new owner, while its process id is still known.
    fn reap(&self, exited: ParticipantId);
}

const NONE: u64 = 0;

/// Packs a participant into one word, which is not 0.
pub fn pack(me: ParticipantId) -> u64 {
    1 << 63 | u64::from(me.slot) << 16 | u64::from(me.incarnation)
}

/// Unpacks a participant; `None` for 0.
pub fn unpack(word: u64) -> Option<ParticipantId> {
    (word != NONE).then_some(ParticipantId { slot: (word >> 16) as u32, incarnation: word as u16 })
}

/// The number of taken slots that are probed for an exited owner before the table grows.
const PROBES: usize = 8;

impl Participants {
    pub const fn new(registry: Shared<Registry>, path: NamespacePath) -> Participants {
        Participants {
            me: AtomicU64::new(NONE),
            token: AtomicUsize::new(0),
            fork_slot: AtomicU64::new(NONE),
            fork_slot_token: AtomicUsize::new(0),
            joining: ThreadLock::new(),
            registry,
            reaper: OnceLock::new(),
            path,
        }
    }

    /// Registers the `reaper` that is called before a slot is reused.
    pub fn set_reaper(&self, reaper: &'static dyn Reap) {
        let _ = self.reaper.set(reaper);
    }

    /// Returns this process, if it has a slot.
    pub fn me_if_joined(&self) -> Option<ParticipantId> {
        if fork::is_raw_clone_child() {
            fork::adopt_raw_clone_child();
        }
        unpack(self.me.load(Acquire))
    }

    /// Returns the same in one word. The caller has checked [`fork::is_raw_clone_child`].
    #[inline]
    pub fn me_word(&self) -> Option<u64> {
        match self.me.load(Acquire) {
            NONE => None,
            me => Some(me),
        }
    }

    /// Returns this process. Takes a slot if it has none.
    pub fn me(&self) -> Result<ParticipantId> {
        match self.me_if_joined() {
            Some(me) => Ok(me),
            None => self.join(),
        }
    }

    #[inline(never)]
    fn join(&self) -> Result<ParticipantId> {
        let _joining = self.joining.lock();
        match unpack(self.me.load(Acquire)) {
            Some(me) => Ok(me),
            None => fd_thread::run(|| self.take_slot()).map(|(me, token)| {
                self.registry.slots[me.slot as usize].pid_namespace.store(pid_namespace::number(), Relaxed);
                // Without the advice a child would keep the lock of its parent; Linux has it since
                // 2.6.16.
                let _ = memory::exclude_from_fork(token);
                self.token.store(token, Relaxed);
                self.me.store(pack(me), Release);
                me
            }),
        }
    }

    /// Takes a free slot and its lock. The mapping that keeps the lock is not excluded from forks
    /// yet.
    #[inline(never)]
    fn take_slot(&self) -> Result<(ParticipantId, usize)> {
        let fd = file::reopen(self.path.registry())?;
        let slot = self.lock_free_slot(&fd)?;
        if Registry::slot_offset(slot + 1) > Registry::FIRST_BYTES {
            file::reserve_range(&fd, Registry::slot_offset(slot), 32)?;
        }
        let record = &self.registry.slots[slot];
        let last = record.incarnation.load(Relaxed);
        if record.state.load(Relaxed) != SlotState::Free as u32
            && let Some(reaper) = self.reaper.get()
        {
            // The last owner exited without freeing the slot.
            reaper.reap(ParticipantId { slot: slot as u32, incarnation: last as u16 });
        }
        let incarnation = last.wrapping_add(1);
        let incarnation = if incarnation as u16 == 0 { incarnation + 1 } else { incarnation };
        record.incarnation.store(incarnation, SeqCst);
        record.pid.store(ids::pid(), Relaxed);
        record.uid.store(credentials::euid(), Relaxed);
        record.since.store(clock::now() as u64, Relaxed);
        record.state.store(SlotState::Taken as u32, Release);
        self.registry.slots_high.fetch_max(slot as u32 + 1, SeqCst);
        let token = memory::map_token(&fd)?;
        Ok((ParticipantId { slot: slot as u32, incarnation: incarnation as u16 }, token))
    }

    /// Locks the byte of a slot that was freed, whose owner exited, or that was never taken.
    fn lock_free_slot(&self, fd: &Fd) -> Result<usize> {
        let high = self.slots_high();
        let lock = |slot: usize| {
            let at = Registry::LOCKS + slot as u64;
            if !file::lock_byte(fd, at)? {
                return Ok(false);
            }
            // An owner that executed another program still has its undo records.
            for exec_locks in Registry::EXEC_LOCKS {
                if file::is_byte_locked(fd, exec_locks + slot as u64)? {
                    return file::unlock_byte(fd, at);
                }
            }
            Ok::<_, Errno>(true)
        };
        for slot in 0..high {
            if self.registry.slots[slot].state.load(Relaxed) != SlotState::Taken as u32 && lock(slot)? {
                return Ok(slot);
            }
        }
        let start = if high > 0 { clock::nanos() as usize % high } else { 0 };
        let probes = if high < SLOTS { PROBES.min(high) } else { high };
        for slot in (0..probes).map(|i| (start + i) % high.max(1)) {
            if lock(slot)? {
                return Ok(slot);
            }
        }
        for slot in high..SLOTS {
            if lock(slot)? {
                return Ok(slot);
            }
        }
        Err(Errno::NOSPC)
    }

    fn slots_high(&self) -> usize {
        (self.registry.slots_high.load(SeqCst) as usize).min(SLOTS)
    }

    /// Takes a slot and its lock for a child about to be forked, unless this process has none
    /// itself. If that fails, the child joins at its first call.
    pub fn take_fork_slot(&self) -> Option<(ParticipantId, usize)> {
        unpack(self.me.load(Acquire))?;
        fd_thread::run(|| self.take_slot()).ok()
    }

    /// Leaves the slot and the address of its lock to the child.
    pub fn set_fork_slot(&self, (slot, token): (ParticipantId, usize)) {
        self.fork_slot.store(pack(slot), Relaxed);
        self.fork_slot_token.store(token, Relaxed);
    }

    /// Unmaps the parent's mapping that keeps the child's lock. From now on only the child keeps
    /// it. After a fork that failed, the slot counts as that of a participant that exited.
    #[allow(unsafe_code)]
    // SAFETY: any section of code will do; see `process/fork.rs`.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    pub fn after_fork_in_parent(&self) {
        let token = self.fork_slot_token.swap(0, Relaxed);
        self.fork_slot.store(NONE, Relaxed);
        if token != 0 {
            drop_token(token);
        }
    }

    /// Moves the child into its own slot. Returns `false` if it has none. The child has not
    /// inherited the mapping that keeps the parent's lock.
    #[allow(unsafe_code)]
    // SAFETY: any section of code will do; see `process/fork.rs`.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    pub fn after_fork_in_child(&self) -> bool {
        let slot = self.fork_slot.swap(NONE, Relaxed);
        let token = self.fork_slot_token.swap(0, Relaxed);
        self.joining.forget();
        self.me.store(slot, Relaxed);
        self.token.store(token, Relaxed);
        let Some(me) = unpack(slot) else { return false };
        let _ = memory::exclude_from_fork(token);
        let record = &self.registry.slots[me.slot as usize];
        record.pid.store(ids::pid(), Relaxed);
        record.pid_namespace.store(pid_namespace::number(), Relaxed);
        true
    }

    /// Forgets the slot of the parent, in a child of a bare `clone`.
    pub fn after_raw_clone(&self) {
        self.me.store(NONE, Relaxed);
        self.token.store(0, Relaxed);
        self.fork_slot.store(NONE, Relaxed);
        self.joining.forget();
    }

    /// Returns a probe that finds out which participants are alive. It reports deaths to
    /// `observer`.
    pub fn probe<'a>(&'a self, observer: Option<&'a dyn DeathObserver>) -> LivenessProbe<'a> {
        LivenessProbe::new(self.registry, &self.path, observer)
    }

    /// Returns `true` if the participant in a packed word is alive.
    pub fn is_owner_alive(&self, owner: u64) -> bool {
        unpack(owner).is_some_and(|participant| Liveness::alive(&self.probe(None), participant))
    }

    /// Clears the slots of participants that exited.
    pub fn sweep_slots(&self) {
        let probe = self.probe(None);
        for (slot, record) in self.registry.slots[..self.slots_high()].iter().enumerate() {
            let owner = ParticipantId { slot: slot as u32, incarnation: record.incarnation.load(SeqCst) as u16 };
            let state = record.state.load(Acquire);
            if state != SlotState::Free as u32 && !Liveness::alive(&probe, owner) {
                // If another process takes the slot at this moment, it appears as `Free`. Peers
                // then try its lock in vain, which is harmless.
                record.state.store(SlotState::Free as u32, Release);
            }
        }
    }

    /// Returns the live participants.
    pub fn all(&self) -> Result<Vec<Attacher>> {
        let probe = self.probe(None);
        let mut all = Vec::new();
        for slot in 0..self.slots_high() {
            let record = &self.registry.slots[slot];
            let owner = ParticipantId { slot: slot as u32, incarnation: record.incarnation.load(SeqCst) as u16 };
            if owner.incarnation != 0 && Liveness::alive(&probe, owner) {
                all.push(self.attacher(owner, 0));
            }
        }
        Ok(all)
    }

    /// Returns `true` if process ids mean the same to the participant as to the caller.
    pub fn shares_pids(&self, participant: ParticipantId) -> bool {
        let record = self.registry.slots.get(participant.slot as usize);
        record.is_some_and(|record| pid_namespace::is_own(record.pid_namespace.load(Relaxed)))
    }

    /// Returns the user id that a participant had when it joined; `u32::MAX` if there is no such
    /// slot.
    pub fn uid_of(&self, participant: ParticipantId) -> u32 {
        let record = self.registry.slots.get(participant.slot as usize);
        record.map_or(u32::MAX, |record| record.uid.load(Relaxed))
    }

    /// Returns a participant with `count` attachments, as its slot describes it.
    pub fn attacher(&self, participant: ParticipantId, count: u32) -> Attacher {
        let record = &self.registry.slots[participant.slot as usize];
        Attacher {
            pid: record.pid.load(Relaxed) as i32,
            uid: record.uid.load(Relaxed),
            count,
            pid_visible: pid_namespace::is_own(record.pid_namespace.load(Relaxed)),
        }
    }

    /// Marks this process's slot as free, because the process is about to end and leaves nothing to
    /// reclaim. Its lock ends with the process.
    pub fn mark_slot_free(&self) {
        if let Some(me) = unpack(self.me.load(Acquire)) {
            self.registry.slots[me.slot as usize].state.store(SlotState::Free as u32, Release);
        }
    }

    /// Returns `true` if a thread is alive, as far as the caller can tell.
    pub fn is_thread_alive(&self, thread: ThreadOwner) -> bool {
        self.is_thread_alive_by(&self.probe(None), thread)
    }

    /// As [`Participants::is_thread_alive`], with the caller's probe.
    pub fn is_thread_alive_by(&self, probe: &LivenessProbe<'_>, thread: ThreadOwner) -> bool {
        let Some(slot) = thread.owner().slot() else { return false };
        let participant = ParticipantId { slot, incarnation: thread.owner().incarnation() };
        Liveness::alive(probe, participant) && self.has_thread(participant, thread.tid())
    }

    /// Returns `true` if a live participant still has a thread, as far as the caller can tell.
    pub fn has_thread(&self, participant: ParticipantId, tid: u32) -> bool {
        let Some(record) = self.registry.slots.get(participant.slot as usize) else { return false };
        !self.shares_pids(participant) || ids::thread_exists(record.pid.load(Relaxed), tid)
    }
}

fn drop_token(token: usize) {
    #[allow(unsafe_code)]
    // SAFETY: a page that this process mapped for this purpose alone.
    unsafe {
        if memory::unmap(token, memory::page()).is_err() {
            // The lock must end all the same. Otherwise the child would count as alive as long as
            // its parent lives.
            memory::make_inaccessible(token, memory::page());
        }
    }
}
