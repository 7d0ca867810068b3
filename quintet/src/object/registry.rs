//! The registry's lock, the indexes, the keys.
//!
//! Creation and removal are done under the one robust lock. Whoever takes it over from a dead owner first
//! clears what that one left half done and counts anew. Finding an object by key or identifier takes no lock.
//!
//! In a shared namespace a key is a name in the directory `key`, which only its owner can take away: nobody can
//! hide another user's segment, or put his own in its place. In a private one there is nobody else, and
//! a table in the registry does the same without a system call.

use crate::layout::{Mechanism, Registry};
use crate::object::core::Engine;
use crate::process::fork::Inside;
use crate::process::participants::NAP;
use crate::process::waiting::Patience;
use crate::sync::attach_count::ParticipantId;
use crate::sync::robust_mutex;
use crate::sync::robust_mutex::{Acquired, LockOwner};
use crate::sys::fd_thread;
use crate::sys::file;
use crate::sys::file::PathBuffer;
use crate::sys::memory;
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::kind::Kind;
use rustix::fs::{self, CWD};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The registry's lock is held while this lives. Signals are blocked: a handler never waits for its own thread.
pub struct Held<'a> {
    engine: &'a Engine,
    pub me: ParticipantId,
    _signals: Blocked,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let owner = LockOwner::new(self.me.slot, self.me.incarnation);
        robust_mutex::release(&self.engine.registry.lock, owner, &self.engine.living(None));
    }
}

/// How long a healthy critical section may take before a waiter asks whether its owner lives, in rounds of sleep.
const PATIENT_ROUNDS: u32 = 1;

/// How long to wait for an owner of whom nobody can be asked whether he lives: about a second.
const UNASKED_ROUNDS: u32 = 100;

/// How many names a key may have at the most: see `Engine::key_path`.
const MOST_KEY_NAMES: u32 = 8;

/// An object that a key may lead to.
pub trait Keyed<'a>: Sized {
    const OF: Mechanism;

    /// What is at `index`; `None` if nothing was ever there; `EINVAL` if it is damaged.
    fn at(engine: &'a Engine, index: u16) -> Result<Option<Self>>;

    /// The identifier, if it has this key.
    fn id_by(&self, key: Key) -> Option<Id>;
}

/// An object that is one file, made in one go.
pub trait CreatedInOneStep<'a>: Keyed<'a> {
    /// Whether the calling thread has the access that `flags` names.
    fn permits(&self, flags: u32) -> bool;

    /// Whether an object is there.
    fn is_live(&self) -> bool;

    /// Whether the file at `index` is another user's: nothing can be created there.
    fn foreign(engine: &'a Engine, index: u16) -> &'a AtomicU32;
}

const HINT_BITS: u32 = 15;
const HINTS: usize = Mechanism::ALL.len() << HINT_BITS;

/// The indexes where this process last found keys, plus 1, by a hash of the key: zeroed memory that costs nothing until touched.
pub struct Hints(usize);

impl Hints {
    pub fn new() -> Result<Hints> {
        memory::anonymous(size_of::<AtomicU64>() * HINTS).map(Hints)
    }
}

impl std::ops::Deref for Hints {
    type Target = [AtomicU64; HINTS];

    fn deref(&self) -> &Self::Target {
        #[allow(unsafe_code)]
        // SAFETY: mapped with this size, zeroed, never unmapped; atomics only.
        unsafe {
            &*(self.0 as *const [AtomicU64; HINTS])
        }
    }
}

/// The indexes whose bit is set, in order.
pub fn marked(bits: &[AtomicU64; MAX_OBJECTS as usize / 64]) -> impl Iterator<Item = u16> {
    bits.iter().enumerate().flat_map(|(i, word)| {
        let mut bits = word.load(Acquire);
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
            (bit < 64).then_some(i as u16 * 64 + bit as u16)
        })
    })
}

/// What a key led to.
pub enum Found<T> {
    Object(T, Id),
    Nothing,
    /// A name is there, but no object has the key: its creator is at work, or has died.
    Unsure,
}

impl Engine {
    /// Takes the registry's lock.
    pub fn lock(&self) -> Result<Held<'_>> {
        let me = self.me()?;
        let (how, signals) = self.take(&self.registry.lock, me, Patience::Endless)?;
        let held = Held { engine: self, me, _signals: signals };
        if how == Acquired::FromDead {
            self.repair(&held)?;
        }
        Ok(held)
    }

    /// Takes a robust lock for `me`, with signals blocked.
    pub fn take(&self, word: &AtomicU32, me: ParticipantId, patience: Patience) -> Result<(Acquired, Blocked)> {
        let owner = LockOwner::new(me.slot, me.incarnation);
        let mut rounds = 0;
        let mut held_off = None;
        loop {
            let living = self.living(None);
            if rounds > PATIENT_ROUNDS {
                living.nap.set(patience.nap(NAP));
            }
            let signals = held_off.take().unwrap_or_else(Blocked::all);
            let how = if rounds == 0 && robust_mutex::try_acquire(word, owner) {
                Some(Acquired::Clean)
            } else {
                // Asleep with signals blocked for one round at the most.
                robust_mutex::contend(word, owner, &living, rounds <= PATIENT_ROUNDS)
            };
            match how {
                Some(how) => return Ok((how, signals)),
                None => rounds += 1,
            }
            if let Some(e) = patience.is_over(rounds, living.unaskable()) {
                return Err(e);
            }
            if rounds > PATIENT_ROUNDS
                && let Some(e) = patience.ends(&signals)
            {
                return Err(e);
            }
            if patience.holds_signals_off() {
                held_off = Some(signals);
            }
            if let Some(e) = living.unaskable().filter(|_| rounds > UNASKED_ROUNDS) {
                // Nobody can be asked whether the owner lives: better an error than to wait for the dead for ever.
                return Err(e);
            }
        }
    }

    /// The name of a key. The first is the rule; the others serve while an earlier one is in the way that only
    /// another user can take away.
    fn key_path(&self, of: Mechanism, key: Key, nth: u32) -> PathBuffer {
        let (class, raw) = (of.name(), key.raw());
        match nth {
            0 => PathBuffer::new(self.directory(), format_args!("/key/{class}.{raw:08x}")),
            nth => PathBuffer::new(self.directory(), format_args!("/key/{class}.{raw:08x}.{nth}")),
        }
    }

    /// The names that a key may have in this namespace.
    fn key_names(&self) -> std::ops::Range<u32> {
        0..self.registry.key_names.load(Relaxed).clamp(1, MOST_KEY_NAMES)
    }

    fn key_hint(&self, of: Mechanism, key: Key) -> &AtomicU64 {
        let hash = (key.raw() as u32).wrapping_mul(0x9e37_79b9) >> (32 - HINT_BITS);
        &self.hints[of as usize * (1 << HINT_BITS) + hash as usize]
    }

    /// Finds the object of a key where this process last found it.
    pub fn find_by_hint<'a, T: Keyed<'a>>(&'a self, key: Key) -> Found<T> {
        let hint = self.key_hint(T::OF, key).load(Relaxed);
        if hint != 0
            && let Ok(Some(object)) = T::at(self, (hint - 1) as u16)
            && let Some(id) = object.id_by(key)
        {
            return Found::Object(object, id);
        }
        Found::Unsure
    }

    /// Finds the object of a key, which is not `IPC_PRIVATE`.
    pub fn find<'a, T: Keyed<'a>>(&'a self, key: Key) -> Result<Found<T>> {
        if let found @ Found::Object(..) = self.find_by_hint(key) {
            return Ok(found);
        }
        match self.kind() {
            Kind::Private => match self.used_indexes(T::OF).find(|index| self.table_key(T::OF, *index) == key) {
                Some(index) => self.check_found(key, index, None),
                None => Ok(Found::Nothing),
            },
            Kind::Shared => {
                let mut found = Found::Nothing;
                for nth in self.key_names() {
                    if let Some(id) = self.read_key(T::OF, key, nth)? {
                        found = self.check_found(key, id.index(), Some(id))?;
                        if let Found::Object(..) = found {
                            break;
                        }
                    }
                }
                Ok(found)
            }
        }
    }

    /// The object of a key, as `semget` and `msgget` find it or have it made, in the order in which the kernel checks. `suits` says whether
    /// one that is there is what the caller wants.
    pub fn find_or_create<'a, T: CreatedInOneStep<'a>>(
        &'a self,
        key: Key,
        flags: i32,
        suits: impl Fn(&T) -> Result<()>,
        make: impl Fn(&Held<'_>) -> Result<Id>,
    ) -> Result<Id> {
        fd_thread::run(|| self.find_or_create_inner(key, flags, &suits, &make))
    }

    fn find_or_create_inner<'a, T: CreatedInOneStep<'a>>(
        &'a self,
        key: Key,
        flags: i32,
        suits: impl Fn(&T) -> Result<()>,
        make: impl Fn(&Held<'_>) -> Result<Id>,
    ) -> Result<Id> {
        let open = |object: &T, id| {
            let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
            if flags & exclusive == exclusive {
                return Err(Errno::EXIST);
            }
            suits(object)?;
            if object.permits(flags as u32 & 0o777) { Ok(id) } else { Err(Errno::ACCES) }
        };
        let creates = flags & libc::IPC_CREAT != 0;
        if !key.is_private() {
            match if creates { self.find_by_hint(key) } else { self.find::<T>(key)? } {
                Found::Object(object, id) => return open(&object, id),
                Found::Nothing if !creates => return Err(Errno::NOENT),
                _ => {}
            }
        }
        let _inside = Inside::enter();
        let held = self.lock()?;
        if !key.is_private() {
            if let Found::Object(object, id) = self.find::<T>(key)? {
                drop(held);
                return open(&object, id);
            }
            if !creates {
                return Err(Errno::NOENT);
            }
        }
        make(&held)
    }

    /// Makes an object at the first free index, or at that of `sem_next_id` or `msg_next_id`.
    pub fn create_at_free_index<'a, T: CreatedInOneStep<'a>>(
        &'a self,
        held: &Held<'_>,
        make: impl Fn(Id) -> Result<()>,
    ) -> Result<Id> {
        let asked = Id::from_raw(self.registry.class(T::OF).next_id.swap(-1, Relaxed)).ok();
        for index in self.free_indexes(T::OF, asked.map_or(0, Id::index), asked.is_none()) {
            let foreign = T::foreign(self, index);
            if foreign.load(Relaxed) != 0 {
                continue;
            }
            let sequence = match asked {
                Some(id) => id.sequence(),
                None => self.next_sequence(held, T::OF, index),
            };
            let id = Id::new(sequence, index);
            self.reserve_key(T::OF, index).map_err(|e| self.restore_next_id(T::OF, asked, e))?;
            self.mark_used(held, T::OF, index, true);
            match make(id) {
                Ok(()) => return Ok(id),
                Err(e) => {
                    self.mark_used(held, T::OF, index, false);
                    match e {
                        // Somebody has falsified the registry: the index is not free.
                        Errno::EXIST if lives::<T>(self, index) => self.mark_used(held, T::OF, index, true),
                        // Somebody who does not keep to the lock.
                        Errno::EXIST => foreign.store(1, Relaxed),
                        e => return Err(self.restore_next_id(T::OF, asked, e)),
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    /// A creation has failed. The identifier that was asked for is the next one's, as in the kernel: this one's, too, if it is tried again.
    pub fn restore_next_id(&self, of: Mechanism, asked: Option<Id>, e: Errno) -> Errno {
        if let Some(id) = asked {
            self.registry.class(of).next_id.store(id.raw(), Relaxed);
        }
        e
    }

    /// What a key led to, if the object there (of this identifier, where one is known) has the key.
    fn check_found<'a, T: Keyed<'a>>(&'a self, key: Key, index: u16, id: Option<Id>) -> Result<Found<T>> {
        let object = match T::at(self, index) {
            Ok(Some(object)) => object,
            Ok(None) | Err(Errno::INVAL) => return Ok(Found::Unsure),
            Err(e) => return Err(e),
        };
        match object.id_by(key) {
            Some(found) if id.is_none_or(|id| id == found) => {
                self.key_hint(T::OF, key).store(u64::from(index) + 1, Relaxed);
                Ok(Found::Object(object, found))
            }
            _ => Ok(Found::Unsure),
        }
    }

    /// The key of an index in use, whose place in the table has been reserved.
    fn table_key(&self, of: Mechanism, index: u16) -> Key {
        Key::new(self.registry.keys(of)[usize::from(index)].load(Acquire) as i32)
    }

    /// Sees to it that an index's place in the key table is on the file system, before the index is marked as in use:
    /// a read, too, would otherwise be a SIGBUS when that is full.
    #[inline(never)]
    pub fn reserve_key(&self, of: Mechanism, index: u16) -> Result<()> {
        const PER_PAGE: u16 = 1024;
        let page = 1 << (index / PER_PAGE);
        if self.kind() == Kind::Private && self.key_pages[of as usize].load(Relaxed) & page == 0 {
            fd_thread::run(|| {
                let (fd, _) = file::open(self.registry_path(), true)?;
                let start = Registry::key_offset(of, index / PER_PAGE * PER_PAGE);
                file::reserve_range(&fd, start, 4 * u64::from(PER_PAGE)).map_err(no_memory)
            })?;
            self.key_pages[of as usize].fetch_or(page, Relaxed);
        }
        Ok(())
    }

    /// The identifier that a key's name says.
    #[inline(never)]
    fn read_key(&self, of: Mechanism, key: Key, nth: u32) -> Result<Option<Id>> {
        let mut text = [MaybeUninit::uninit(); 16];
        let path = self.key_path(of, key, nth);
        let (text, _) = match fs::readlinkat_raw(CWD, path.c_str(), &mut text) {
            Ok(read) => read,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            // Not a symbolic link: somebody put something else there.
            Err(rustix::io::Errno::INVAL) => return Ok(Some(Id::new(u16::MAX, 0x7fff))),
            Err(e) => return Err(e.into()),
        };
        let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(i32::MAX);
        Ok(Some(Id::from_raw(number).unwrap_or(Id::new(u16::MAX, 0x7fff))))
    }

    /// Gives `id` the key, under the lock, when no object has it.
    #[inline(never)]
    pub fn link_key(&self, _held: &Held<'_>, of: Mechanism, key: Key, id: Id) -> Result<()> {
        if self.kind() == Kind::Private {
            self.registry.keys(of)[usize::from(id.index())].store(key.raw() as u32, Release);
            return Ok(());
        }
        let number = PathBuffer::new(b"", format_args!("{id}"));
        for nth in 0..MOST_KEY_NAMES {
            let path = self.key_path(of, key, nth);
            let mut linked = fs::symlinkat(number.c_str(), CWD, path.c_str());
            // What a dead creator or remover left.
            if linked == Err(rustix::io::Errno::EXIST) && fs::unlink(path.c_str()).is_ok() {
                linked = fs::symlinkat(number.c_str(), CWD, path.c_str());
            }
            match linked {
                Err(rustix::io::Errno::EXIST) => {
                    self.registry.key_names.fetch_max(nth + 2, Relaxed);
                }
                other => return Ok(other?),
            }
        }
        Err(Errno::ACCES)
    }

    /// Takes the key from `id`, if it is its.
    #[inline(never)]
    pub fn unlink_key(&self, _held: &Held<'_>, of: Mechanism, key: Key, id: Id) {
        if key.is_private() {
            return;
        }
        if self.kind() == Kind::Private {
            self.registry.keys(of)[usize::from(id.index())].store(0, Release);
            return;
        }
        // Among several users a control file's word on its key alone may be a lie.
        for nth in self.key_names().filter(|nth| self.read_key(of, key, *nth).ok().flatten() == Some(id)) {
            let _ = fs::unlink(self.key_path(of, key, nth).c_str());
        }
    }

    /// Takes away the names of a key that lead to no segment with it, as far as they are the caller's to take.
    #[inline(never)]
    pub fn drop_stale_names<'a, T: Keyed<'a>>(&'a self, _held: &Held<'_>, key: Key) {
        for nth in self.key_names() {
            let Ok(Some(id)) = self.read_key(T::OF, key, nth) else { continue };
            if !matches!(self.check_found::<T>(key, id.index(), Some(id)), Ok(Found::Object(..))) {
                let _ = fs::unlink(self.key_path(T::OF, key, nth).c_str());
            }
        }
    }

    /// The index whose data file waits for reuse, if that is what the registry holds.
    pub fn recycled_index(&self) -> Option<u16> {
        let index = u16::try_from(self.registry.class(Mechanism::Shm).recycled.load(Relaxed)).ok()?;
        (u32::from(index) < MAX_OBJECTS).then_some(index)
    }

    pub fn is_used(&self, of: Mechanism, index: u16) -> bool {
        self.registry.used(of)[usize::from(index) / 64].load(Acquire) >> (index % 64) & 1 != 0
    }

    pub fn mark_used(&self, _held: &Held<'_>, of: Mechanism, index: u16, used: bool) {
        let (word, bit) = (&self.registry.used(of)[usize::from(index) / 64], 1 << (index % 64));
        if used {
            word.fetch_or(bit, AcqRel)
        } else {
            word.fetch_and(!bit, AcqRel)
        };
    }

    /// The indexes in use, in order.
    pub fn used_indexes(&self, of: Mechanism) -> impl Iterator<Item = u16> {
        marked(self.registry.used(of))
    }

    /// The highest index of an object; the kernel says 0 for none. (A dead creator may have left one higher in use.)
    pub fn max_index(&self, of: Mechanism) -> u32 {
        let is_live = |index: &u16| match of {
            Mechanism::Shm => matches!(self.control(*index), Ok(Some(view)) if view.head().is_live()),
            Mechanism::Sem => matches!(self.set(*index), Ok(Some(set)) if set.is_live()),
            Mechanism::Msg => matches!(self.queue(*index), Ok(Some(queue)) if queue.is_live()),
        };
        let words = self.registry.used(of).iter().enumerate().rev();
        let indexes = words.flat_map(|(i, word)| {
            let mut bits = word.load(Acquire);
            std::iter::from_fn(move || {
                let highest = bits.checked_ilog2()? as u16;
                bits &= !(1 << highest);
                Some(i as u16 * 64 + highest)
            })
        });
        indexes.into_iter().find(is_live).map_or(0, u32::from)
    }

    /// The free indexes from `from` on, then, `around`, those before it.
    pub fn free_indexes(&self, of: Mechanism, from: u16, around: bool) -> impl Iterator<Item = u16> + '_ {
        let before = if around { 0..from } else { 0..0 };
        [from..MAX_OBJECTS as u16, before].into_iter().flat_map(move |range| {
            let mut next = range.start;
            std::iter::from_fn(move || {
                while next < range.end {
                    let free = !self.registry.used(of)[usize::from(next) / 64].load(Acquire) >> (next % 64);
                    let skip = free.trailing_zeros().min(64 - u32::from(next % 64)) as u16;
                    next += skip;
                    if free != 0 {
                        next += 1;
                        return (next <= range.end).then_some(next - 1);
                    }
                }
                None
            })
        })
    }

    /// The sequence number for a new object at `index`: the kernel begins a new one when the index does not rise.
    pub fn next_sequence(&self, _held: &Held<'_>, of: Mechanism, index: u16) -> u16 {
        let class = self.registry.class(of);
        let mut sequence = class.sequence.load(Relaxed) % 65535;
        if i32::from(index) <= class.last_index.load(Relaxed) {
            sequence = (sequence + 1) % 65535;
            class.sequence.store(sequence, Relaxed);
        }
        class.last_index.store(index.into(), Relaxed);
        sequence as u16
    }
}

/// Whether an object is at an index, whatever the registry says.
pub fn lives<'a, T: CreatedInOneStep<'a>>(engine: &'a Engine, index: u16) -> bool {
    matches!(T::at(engine, index), Ok(Some(object)) if object.is_live())
}

/// A full file system is to a caller of `shmget` or `semget` what full memory is.
pub fn no_memory(errno: Errno) -> Errno {
    match errno {
        Errno::NOSPC | Errno::FBIG => Errno::NOMEM,
        other => other,
    }
}
