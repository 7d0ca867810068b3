//! The registry's lock, and the indexes in use.
//!
//! Creation and removal run under one robust mutex. If its owner exits, the next process that
//! acquires it repairs the namespace first. It undoes an unfinished creation, finishes an
//! unfinished removal, and recounts the objects. A lookup by key or identifier takes no lock.

use crate::object::core::Core;
use crate::object::registry::RegistryGuard;
use crate::process::acquire::Patience;
use crate::process::mutex;
use crate::sync::robust_mutex::Acquired;
use crate::types::error::Errno;
use crate::types::id::MAX_OBJECTS;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// Returns the indexes of the set bits in ascending order.
pub fn set_bits(bits: &[AtomicU64; MAX_OBJECTS as usize / 64]) -> impl Iterator<Item = u16> {
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
    /// Acquires the registry's lock. Repairs the namespace if the previous owner exited.
    pub fn lock(&self) -> Result<RegistryGuard<'_>> {
        let me = self.participants.me()?;
        let (acquired, signals) = mutex::lock(&self.participants, &self.registry.lock, me, Patience::Endless)?;
        let guard = RegistryGuard::new(&self.participants, me, signals);
        if acquired == Acquired::OwnerDied {
            self.repair(&guard)?;
        }
        Ok(guard)
    }

    /// Returns the index of the data file that is kept for reuse, if the registry names a valid
    /// one.
    pub fn recycled_index(&self) -> Option<u16> {
        let index = u16::try_from(self.registry.class(Mechanism::Shm).recycled.load(Relaxed)).ok()?;
        (u32::from(index) < MAX_OBJECTS).then_some(index)
    }

    /// Returns `true` if the registry marks `index` as in use.
    pub fn is_used(&self, of: Mechanism, index: u16) -> bool {
        self.registry.used(of)[usize::from(index) / 64].load(Acquire) >> (index % 64) & 1 != 0
    }

    /// Marks `index` as in use or as free.
    pub fn mark_used(&self, _guard: &RegistryGuard<'_>, of: Mechanism, index: u16, used: bool) {
        let (word, bit) = (&self.registry.used(of)[usize::from(index) / 64], 1 << (index % 64));
        if used {
            word.fetch_or(bit, AcqRel)
        } else {
            word.fetch_and(!bit, AcqRel)
        };
    }

    /// Returns the indexes in use in ascending order.
    pub fn used_indexes(&self, of: Mechanism) -> impl Iterator<Item = u16> {
        set_bits(self.registry.used(of))
    }

    /// Returns the highest index of a live object, or 0 if there is none, as the kernel does.
    ///
    /// Higher indexes may be marked as in use if their creator exited too early.
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

    /// Returns the free indexes from `from` on. If `wrap` is `true`, the free indexes below `from`
    /// follow.
    pub fn free_indexes(&self, of: Mechanism, from: u16, wrap: bool) -> impl Iterator<Item = u16> + '_ {
        let before = if wrap { 0..from } else { 0..0 };
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

    /// Returns the sequence number for a new object at `index`. As in the kernel, the number rises
    /// unless the index is higher than the previous one.
    pub fn next_sequence(&self, _guard: &RegistryGuard<'_>, of: Mechanism, index: u16) -> u16 {
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
