//! Who is alive: a lock that lives in a mapping.
//!
//! A participant is a process that uses a namespace. It has a slot of the registry, and a lock on one byte
//! of that file, of an open file description that only a mapping keeps. So no descriptor stays
//! open, and the lock goes with the process's memory: by exit, by exec, by SIGKILL also while it is an
//! unreaped zombie, and it is seen across PID namespaces. A reused pid cannot fool it.

use crate::layout::{Mechanism, Registry, SLOTS, SlotState};
use crate::object::core::Engine;
use crate::process::fork;
use crate::process::fork::ThreadLock;
use crate::shm::mapping::SegmentView;
use crate::sync::attach_count::{Liveness, ParticipantId};
use crate::sync::robust_mutex::{LockOwner, MutexEnv};
use crate::sys;
use crate::sys::fd_thread;
use crate::sys::fd_thread::DescriptorFailure;
use crate::sys::file::Fd;
use crate::sys::{file, futex, memory};
use crate::types::error::Errno;
use crate::types::shm::Attacher;
use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// This process's place in a namespace, and the place that a child about to be forked will have.
pub struct Membership {
    me: AtomicU64,
    token: AtomicUsize,
    fork_slot: AtomicU64,
    fork_slot_token: AtomicUsize,
    joining: ThreadLock,
}

const NOBODY: u64 = 0;

/// A participant in one word, not 0.
pub fn pack(me: ParticipantId) -> u64 {
    1 << 63 | u64::from(me.slot) << 16 | u64::from(me.incarnation)
}

pub fn unpack(word: u64) -> Option<ParticipantId> {
    (word != NOBODY).then_some(ParticipantId { slot: (word >> 16) as u32, incarnation: word as u16 })
}

impl Membership {
    pub const fn new() -> Membership {
        Membership {
            me: AtomicU64::new(NOBODY),
            token: AtomicUsize::new(0),
            fork_slot: AtomicU64::new(NOBODY),
            fork_slot_token: AtomicUsize::new(0),
            joining: ThreadLock::new(),
        }
    }
}

/// How many taken slots are asked for a dead one before the table grows.
const PROBES: usize = 8;

impl Engine {
    /// This process, if it has a slot already.
    pub fn me_if_joined(&self) -> Option<ParticipantId> {
        if fork::is_raw_clone_child() {
            fork::adopt_raw_clone_child();
        }
        unpack(self.membership.me.load(Acquire))
    }

    /// The same in one word, for a caller that has looked for a foundling.
    #[inline]
    pub fn me_word(&self) -> Option<u64> {
        match self.membership.me.load(Acquire) {
            NOBODY => None,
            me => Some(me),
        }
    }

    /// This process, which takes a slot now if it has none.
    pub fn me(&self) -> Result<ParticipantId> {
        match self.me_if_joined() {
            Some(me) => Ok(me),
            None => self.join(),
        }
    }

    fn join(&self) -> Result<ParticipantId> {
        let membership = &self.membership;
        let _turn = membership.joining.lock();
        match unpack(membership.me.load(Acquire)) {
            Some(me) => Ok(me),
            None => fd_thread::run(|| self.take_slot()).map(|(me, token)| {
                self.registry.slots[me.slot as usize].pid_namespace.store(pid_namespace(), Relaxed);
                // Without the advice a child would keep its parent's lock alive; all kernels since 2.6.16 have it.
                let _ = memory::not_for_children(token);
                membership.token.store(token, Relaxed);
                membership.me.store(pack(me), Release);
                me
            }),
        }
    }

    /// Takes a free slot and its lock. The mapping that keeps the lock is still inherited by children.
    #[inline(never)]
    fn take_slot(&self) -> Result<(ParticipantId, usize)> {
        let fd = file::reopen(self.registry_path())?;
        let slot = self.lock_a_slot(&fd)?;
        if Registry::slot_offset(slot + 1) > Registry::FIRST_BYTES {
            file::reserve_range(&fd, Registry::slot_offset(slot), 32)?;
        }
        let record = &self.registry.slots[slot];
        let last = record.incarnation.load(Relaxed);
        if record.state.load(Relaxed) != SlotState::Free as u32 {
            self.reap_predecessor(slot, last as u16);
        }
        let incarnation = last.wrapping_add(1);
        let incarnation = if incarnation as u16 == 0 { incarnation + 1 } else { incarnation };
        record.incarnation.store(incarnation, SeqCst);
        record.pid.store(sys::pid(), Relaxed);
        record.uid.store(sys::credentials::euid(), Relaxed);
        record.since.store(sys::now() as u64, Relaxed);
        record.state.store(SlotState::Taken as u32, Release);
        self.registry.slots_high.fetch_max(slot as u32 + 1, SeqCst);
        let token = memory::map_token(&fd)?;
        Ok((ParticipantId { slot: slot as u32, incarnation: incarnation as u16 }, token))
    }

    /// Locks the byte of a slot whose last owner has left, or is found dead, or that was never taken.
    fn lock_a_slot(&self, fd: &Fd) -> Result<usize> {
        let high = self.slots_high();
        // A slot whose owner has gone on to another program is still its.
        let lock = |slot: usize| {
            let at = Registry::LOCKS + slot as u64;
            if !file::lock_byte(fd, at)? {
                return Ok(false);
            }
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
        let start = if high > 0 { sys::nanos() as usize % high } else { 0 };
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

    /// Prepares the place of a child: a slot, its lock, and an entry at each segment that the child will
    /// have from its first instant. If that fails, the child joins when it first calls.
    pub fn before_fork(&self) {
        if unpack(self.membership.me.load(Acquire)).is_none() || self.attachments.is_empty() {
            return;
        }
        let Ok((fork_slot, token)) = fd_thread::run(|| self.take_slot()) else { return };
        self.announce_all(fork_slot);
        self.membership.fork_slot.store(pack(fork_slot), Relaxed);
        self.membership.fork_slot_token.store(token, Relaxed);
    }

    /// Drops the parent's hold on the child's lock. Whether the child lives is from now on its own affair, also
    /// if the fork failed: then the slot is a dead one's.
    pub fn after_fork_in_parent(&self) {
        let token = self.membership.fork_slot_token.swap(0, Relaxed);
        self.membership.fork_slot.store(NOBODY, Relaxed);
        if token != 0 {
            self.drop_token(token);
        }
    }

    /// The child moves into its own place. The parent's mapping is not among what it inherited.
    pub fn after_fork_in_child(&self) {
        let fork_slot = self.membership.fork_slot.swap(NOBODY, Relaxed);
        let token = self.membership.fork_slot_token.swap(0, Relaxed);
        self.membership.joining.forget();
        self.mapping.forget();
        self.membership.me.store(fork_slot, Relaxed);
        self.forget_own_undo();
        self.membership.token.store(token, Relaxed);
        match unpack(fork_slot) {
            Some(me) => {
                let _ = memory::not_for_children(token);
                let record = &self.registry.slots[me.slot as usize];
                record.pid.store(sys::pid(), Relaxed);
                record.pid_namespace.store(pid_namespace(), Relaxed);
            }
            None if !self.attachments.is_empty() => self.announce_late(),
            None => {}
        }
    }

    /// A child of a bare `clone` has its parent's attachments, uncounted so far, and no slot.
    pub fn after_raw_clone(&self) {
        self.membership.me.store(NOBODY, Relaxed);
        self.forget_own_undo();
        self.membership.token.store(0, Relaxed);
        self.membership.fork_slot.store(NOBODY, Relaxed);
        self.membership.joining.forget();
        self.mapping.forget();
        if !self.attachments.is_empty() {
            self.announce_late();
        }
    }

    fn announce_late(&self) {
        if let Ok(me) = self.join() {
            self.announce_all(me);
        }
    }

    /// Gives `who` an entry for each attachment of this process, and stamps the segments as the kernel does.
    fn announce_all(&self, who: ParticipantId) {
        self.attachments.each(|attachment| {
            if let Ok(Some(view)) = self.control(attachment.id.index())
                && view.writable
                && self.reserve_entry(&view, attachment.id.index(), who).is_ok()
            {
                // Who died before goes first.
                view.attach_count().attached(unpack(self.membership.me.load(Acquire)), &self.living(Some(&view)));
                view.attach_count().announce(who, 1);
                view.stamp_attach(sys::pid());
            }
        });
    }

    fn drop_token(&self, token: usize) {
        #[allow(unsafe_code)]
        // SAFETY: a page that this process mapped for this purpose alone.
        unsafe {
            if memory::unmap(token, memory::page()).is_err() {
                // The lock must go all the same: else the child would live as long as its parent.
                memory::blank(token, memory::page());
            }
        }
    }

    /// Who is alive, as far as `view`'s segment is concerned: the dead that are struck out leave their stamp on it.
    pub fn living<'a>(&'a self, view: Option<&'a SegmentView>) -> LivenessProbe<'a> {
        let (file, unaskable) = (OnceCell::new(), Cell::new(None));
        let nap = Cell::new(NAP);
        LivenessProbe { engine: self, stamp: view, file, unaskable, nap, reaped: Cell::new(false), unstamped: Cell::new(None) }
    }

    /// Clears the slots of the dead.
    pub fn sweep_slots(&self) {
        let living = self.living(None);
        for (slot, record) in self.registry.slots[..self.slots_high()].iter().enumerate() {
            let who = ParticipantId { slot: slot as u32, incarnation: record.incarnation.load(SeqCst) as u16 };
            let state = record.state.load(Acquire);
            if state != SlotState::Free as u32 && !Liveness::alive(&living, who) {
                // If somebody takes the slot just now, `Free` only makes others ask its lock in vain.
                record.state.store(SlotState::Free as u32, Release);
            }
        }
    }

    /// The living participants; the count is that of their attachments to `view`'s segment.
    pub fn attachers(&self, view: &SegmentView) -> Vec<Attacher> {
        let mut all = Vec::new();
        view.attach_count().each(self.me_if_joined(), &self.living(Some(view)), |who, count| all.push(self.attacher(who, count)));
        all
    }

    /// All living participants.
    pub fn participants(&self) -> Result<Vec<Attacher>> {
        let living = self.living(None);
        let mut all = Vec::new();
        for slot in 0..self.slots_high() {
            let record = &self.registry.slots[slot];
            let who = ParticipantId { slot: slot as u32, incarnation: record.incarnation.load(SeqCst) as u16 };
            if who.incarnation != 0 && Liveness::alive(&living, who) {
                all.push(self.attacher(who, 0));
            }
        }
        Ok(all)
    }

    /// Whether process ids mean the same to `who` as to the caller.
    pub fn shares_pids(&self, who: ParticipantId) -> bool {
        let record = self.registry.slots.get(who.slot as usize);
        record.is_some_and(|record| is_own_pid_namespace(record.pid_namespace.load(Relaxed)))
    }

    /// What a participant's slot says of it.
    pub fn attacher(&self, who: ParticipantId, count: u32) -> Attacher {
        let record = &self.registry.slots[who.slot as usize];
        Attacher {
            pid: record.pid.load(Relaxed) as i32,
            uid: record.uid.load(Relaxed),
            count,
            pid_visible: is_own_pid_namespace(record.pid_namespace.load(Relaxed)),
        }
    }

    /// Says that the process is about to end, and that it has left nothing to clear. Its lock goes when it has ended.
    pub fn say_free(&self) {
        if let Some(me) = unpack(self.membership.me.load(Acquire)) {
            self.registry.slots[me.slot as usize].state.store(SlotState::Free as u32, Release);
        }
    }

    /// The slot's last owner died without a word: its attachments are struck out while it is still known who it was.
    fn reap_predecessor(&self, slot: usize, incarnation: u16) {
        let dead = ParticipantId { slot: slot as u32, incarnation };
        for index in self.used_indexes(Mechanism::Shm) {
            if let Ok(Some(view)) = self.writable_control(index)
                && view.writable
                && view.attach_count().reap(dead)
            {
                self.living(Some(&view)).reaped(dead);
            }
        }
    }
}

/// Whether it is the caller's. Of two that are not known it is not said: their numbers may mean different processes.
fn is_own_pid_namespace(number: u64) -> bool {
    number != 0 && number == pid_namespace()
}

/// The inode number of this process's PID namespace, 0 where `/proc` does not tell. It never changes: asked once, as a new process's `/proc`
/// has to be made first, which costs half as much as a fork.
fn pid_namespace() -> u64 {
    match PID_NAMESPACE.load(Relaxed) {
        0 => {
            let number = rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino & u64::from(u32::MAX));
            PID_NAMESPACE.store(if number == 0 { UNKNOWN } else { number }, Relaxed);
            number
        }
        UNKNOWN => 0,
        known => known,
    }
}

/// `/proc` does not tell; a program that has locked itself in may not ask again.
const UNKNOWN: u64 = u64::MAX;

static PID_NAMESPACE: AtomicU64 = AtomicU64::new(0);

/// In a child of the process `parent`, which it sees if it is in the same PID namespace.
pub fn forget_pid_namespace(parent: u32) {
    let sees = rustix::process::getppid().is_some_and(|seen| seen.as_raw_nonzero().get() as u32 == parent);
    if !sees {
        PID_NAMESPACE.store(0, Relaxed);
    }
}

/// How long one who waits for a lock sleeps at a time.
pub const NAP: Duration = Duration::from_millis(10);

/// Asks the locks who is alive; opens the registry when first asked.
pub struct LivenessProbe<'a> {
    engine: &'a Engine,
    stamp: Option<&'a SegmentView>,
    file: OnceCell<Result<Fd>>,
    unaskable: Cell<Option<Errno>>,
    /// How long it sleeps for a lock before it looks again.
    pub nap: Cell<Duration>,
    /// Whether attachments of the dead were struck out.
    pub reaped: Cell<bool>,
    /// The process id of a dead one that was seen by a caller who may not write it down; 0 if not known any more.
    pub unstamped: Cell<Option<u32>>,
}

impl LivenessProbe<'_> {
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
        let Some(record) = self.engine.registry.slots.get(who.slot as usize) else { return false };
        if record.incarnation.load(SeqCst) as u16 != who.incarnation {
            return false;
        }
        let open = || file::reopen(self.engine.registry_path());
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
        let Some(view) = self.stamp else { return };
        let record = &self.engine.registry.slots[who.slot as usize];
        let known = record.incarnation.load(SeqCst) as u16 == who.incarnation;
        let pid = if known { record.pid.load(Relaxed) } else { 0 };
        if !view.writable {
            self.unstamped.set(Some(pid));
            return;
        }
        self.reaped.set(true);
        view.dtime.store(sys::now() as u64, Relaxed);
        if pid != 0 {
            view.lpid.store(pid, Relaxed);
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
