//! The registry's lock, and which indexes are in use.
//!
//! Creation and removal run under one robust mutex. The process that acquires it after its owner
//! exited first undoes what was half created, ends what was half removed, and counts anew. Finding
//! an object by key or identifier takes no lock.

use crate::object::core::Core;
use crate::process::acquire::Patience;
use crate::process::mutex;
use crate::sync::attach_count::ParticipantId;
use crate::sync::robust_mutex::{self, Acquired, LockOwner};
use crate::sys::signal::Blocked;
use crate::types::error::Errno;
use crate::types::id::MAX_OBJECTS;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The registry's lock is held while this lives. Signals are blocked: a handler never waits for its
/// own thread.
pub struct RegistryGuard<'a> {
    core: &'a Core,
    pub me: ParticipantId,
    _signals: Blocked,
}

impl Drop for RegistryGuard<'_> {
    fn drop(&mut self) {
        let owner = LockOwner::new(self.me.slot, self.me.incarnation);
        robust_mutex::release(&self.core.registry.lock, owner, &self.core.participants.probe(None));
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

impl Core {
    /// Acquires the registry's lock, and repairs what an owner that exited has left.
    pub fn lock(&self) -> Result<RegistryGuard<'_>> {
        let me = self.participants.me()?;
        let (how, signals) = mutex::lock(&self.participants, &self.registry.lock, me, Patience::Endless)?;
        let held = RegistryGuard { core: self, me, _signals: signals };
        if how == Acquired::OwnerDied {
            self.repair(&held)?;
        }
        Ok(held)
    }

    /// The index whose data file waits for reuse, if that is what the registry holds.
    pub fn recycled_index(&self) -> Option<u16> {
        let index = u16::try_from(self.registry.class(Mechanism::Shm).recycled.load(Relaxed)).ok()?;
        (u32::from(index) < MAX_OBJECTS).then_some(index)
    }

    pub fn is_used(&self, of: Mechanism, index: u16) -> bool {
        self.registry.used(of)[usize::from(index) / 64].load(Acquire) >> (index % 64) & 1 != 0
    }

    pub fn mark_used(&self, _held: &RegistryGuard<'_>, of: Mechanism, index: u16, used: bool) {
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
        let is_live = |index: &u16| self.class(of).is_some_and(|class| class.is_live(*index));
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
    pub fn next_sequence(&self, _held: &RegistryGuard<'_>, of: Mechanism, index: u16) -> u16 {
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
