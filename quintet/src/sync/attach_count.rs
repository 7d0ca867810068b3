//! The attach count of a segment, and the decision that no process is attached.
//!
//! Each participant has an entry with its own number of attachments. The attach count is the sum
//! over the live participants, so it needs no repair when a process dies.
//!
//! There is no lock. Attaching and destroying use Dekker's protocol on the entry and the head word:
//!
//! | | attaching (`attach`) | destroying (`try_destroy`) |
//! |---|---|---|
//! | 1 | adds to its entry | stores `Checking` or `CheckingDest` in the head |
//! | 2 | reads the head | reads all entries |
//! | 3 | fails if the object is gone | stores the verdict in the head |
//!
//! All these operations are `SeqCst`. At least one of the two therefore sees the other's first
//! step.
//!
//! Any step can be the last one of its process. The next process completes a check that it finds,
//! by reading the entries itself.
//!
//! The head word is `id | state << 31 | ticket << 36`:
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `Free` | no object; `id` is that of the last one | `Making`, under the registry's lock |
//! | `Making` | being created; if the lock is free, its creator died | `Live`; `Free` |
//! | `Live` | an object, found by key or identifier | `Checking`, `CheckingDest` |
//! | `Dest` | marked for destruction and attached; found by identifier | `CheckingDest` |
//! | `Checking` | a live object; a process checks if any process is attached | `Live`, `Gone` |
//! | `CheckingDest` | the same for an object marked for destruction | `Dest`, `Gone` |
//! | `Gone` | no process is attached or can attach; its files can be cleared | `Free` |
//! | 7..=31 | illegal: a peer overwrote the word | read as `Gone`; `Free` |
//!
//! The ticket grows with each check, so a slow process cannot complete a later check with its own
//! old sum.
//!
//! An entry is `incarnation << 16 | count`. It counts only while the slot still has that
//! incarnation and its participant lives.

use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, between_seq_cst};
use crate::types::id::Id;

/// The state of an object. The head of this module has a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// No object.
    Free = 0,
    /// Being created.
    Making = 1,
    /// An object.
    Live = 2,
    /// Marked for destruction, still attached.
    Dest = 3,
    /// A live object; a process counts its attachments.
    Checking = 4,
    /// An object marked for destruction; a process counts its attachments.
    CheckingDest = 5,
    /// Destroyed, not cleared yet.
    Gone = 6,
}

/// The parts of a head word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The identifier of the object.
    pub id: Id,
    /// Its state.
    pub state: State,
    /// The number of checks so far, modulo 2^28.
    ticket: u32,
}

impl Head {
    /// The head of a new object.
    pub fn new(id: Id, state: State) -> Head {
        Head { id, state, ticket: 0 }
    }

    /// The parts of a word. An illegal state is `Gone`.
    pub fn unpack(word: u64) -> Head {
        let state = match word >> 31 & 0x1f {
            0 => State::Free,
            1 => State::Making,
            2 => State::Live,
            3 => State::Dest,
            4 => State::Checking,
            5 => State::CheckingDest,
            _ => State::Gone,
        };
        let id = Id::new((word >> 15) as u16, (word & 0x7fff) as u16);
        Head { id, state, ticket: (word >> 36) as u32 }
    }

    /// The head as a word.
    pub fn pack(self) -> u64 {
        self.id.raw() as u64 | (self.state as u64) << 31 | u64::from(self.ticket & 0x0fff_ffff) << 36
    }

    /// The head of the same object at this index.
    pub fn at(self, index: u16) -> Head {
        Head { id: Id::new(self.id.sequence(), index), ..self }
    }

    fn to(self, state: State) -> Head {
        Head { state, ..self }
    }

    /// Returns `true` if the object can be used by its identifier.
    pub fn is_live(self) -> bool {
        matches!(self.state, State::Live | State::Dest | State::Checking | State::CheckingDest)
    }

    /// Returns `true` if the object can be found by its key. A check can end it, but has not yet.
    pub fn has_key(self) -> bool {
        matches!(self.state, State::Live | State::Checking)
    }

    /// Returns `true` if the object is marked for destruction and only its attachments keep it.
    pub fn is_dest(self) -> bool {
        matches!(self.state, State::Dest | State::CheckingDest)
    }
}

/// A participant: its slot and the low 16 bits of the slot's incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParticipantId {
    /// Its slot in the registry.
    pub slot: u32,
    /// The low 16 bits of the slot's incarnation.
    pub incarnation: u16,
}

impl ParticipantId {
    /// The participant as a word: the slot in the lower half, the incarnation in the upper half.
    pub fn to_word(self) -> u32 {
        self.slot | u32::from(self.incarnation) << 16
    }

    /// The participant that a word names.
    pub fn from_word(word: u32) -> ParticipantId {
        ParticipantId { slot: word & 0xffff, incarnation: (word >> 16) as u16 }
    }
}

/// What the protocol needs of the system.
pub trait Liveness {
    /// Returns `true` if the participant is alive, or if that cannot be found out.
    fn alive(&self, participant: ParticipantId) -> bool;
    /// Is called once for each dead participant when its entry was cleared. A caller that may not
    /// clear entries is told of each dead participant that it sees.
    fn reaped(&self, participant: ParticipantId);
}

/// An object's head and entries.
#[derive(Clone, Copy)]
pub struct AttachCount<'a> {
    /// Identifier, state and ticket.
    pub head: &'a AtomicU64,
    /// The entries, by slot.
    pub entries: &'a [AtomicU32],
    /// One more than the greatest slot that ever had an entry.
    pub high: &'a AtomicU32,
    /// `true` if the caller may write. A caller without permission for the object can only count.
    pub writable: bool,
}

/// The greatest count of an entry, which has 16 bits. A process cannot attach an object more often.
const MAX_COUNT: u32 = 0xffff;

impl AttachCount<'_> {
    /// Reads the head.
    pub fn head(&self) -> Head {
        Head::unpack(self.head.load(Ordering::SeqCst))
    }

    fn change(&self, from: Head, to: Head) -> bool {
        // The ticket is part of the word: an exchange fails if another check has begun since.
        self.head.compare_exchange(from.pack(), to.pack(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Adds `by` to the count of `me`. Returns `false` if the count would exceed 65535.
    pub fn announce(&self, me: ParticipantId, by: u32) -> bool {
        let Some(entry) = self.entries.get(me.slot as usize) else { return false };
        // `high` grows before the entry, so a check that follows the entry looks at it. A crash
        // here only makes later checks read one more empty entry.
        self.high.fetch_max(me.slot + 1, Ordering::SeqCst);
        let mut old = entry.load(Ordering::SeqCst);
        loop {
            // An entry of a dead predecessor in this slot counts 0 and is overwritten.
            let count = own_count(old, me) + by;
            if count > MAX_COUNT {
                return false;
            }
            match entry.compare_exchange(old, packed(me, count), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }

    /// Subtracts `by` from the count of `me`.
    pub fn withdraw(&self, me: ParticipantId, by: u32) {
        let Some(entry) = self.entries.get(me.slot as usize) else { return };
        let mut old = entry.load(Ordering::SeqCst);
        loop {
            let count = own_count(old, me).saturating_sub(by);
            match entry.compare_exchange(old, packed(me, count), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Clears the entry of a dead participant. Returns `false` if it has none.
    pub fn reap(&self, dead: ParticipantId) -> bool {
        let Some(entry) = self.entries.get(dead.slot as usize) else { return false };
        let word = entry.load(Ordering::SeqCst);
        // The exchange names the incarnation, so it never clears the entry of a successor.
        own_count(word, dead) > 0 && entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Attaches `me` to the object `id`. Returns `false` if the object does not exist any more, or
    /// if the count of `me` is at its maximum.
    ///
    /// Completing a check can leave the object `Gone`; the caller then clears it.
    pub fn attach(&self, id: Id, me: ParticipantId, liveness: &impl Liveness) -> bool {
        // Step 1: announce. A crash from here on leaves an entry of a dead participant, which
        // counts nothing and is cleared by the next check.
        if !self.announce(me, 1) {
            return false;
        }
        // Step 2: read the head. A check that began before the entry was stored can have missed it;
        // such a check is visible in the head now.
        between_seq_cst();
        loop {
            let head = self.head();
            if head.id != id || !head.is_live() {
                // The entry can belong to a new object at the same index by now. That object's
                // count was 1 too high for a moment, which only delays its destruction.
                self.withdraw(me, 1);
                return false;
            }
            match head.state {
                // A check that begins now sees the entry.
                State::Live | State::Dest => return true,
                // A check may have read the entries before the announcement. Complete it with an
                // own look: either it finds this entry, or the other process's verdict came first.
                _ => {
                    self.finish_check(head, Some(me), liveness);
                }
            }
        }
    }

    /// Destroys the object `id` if no process is attached. Returns `true` if this call made it
    /// `Gone`; the caller then clears it.
    ///
    /// - `remove`: marks the object for destruction first (`IPC_RMID`).
    /// - `forced`: destroys an unmarked object, too (`shm_rmid_forced`).
    pub fn try_destroy(&self, id: Id, me: Option<ParticipantId>, remove: bool, forced: bool, liveness: &impl Liveness) -> bool {
        loop {
            let head = self.head();
            if head.id != id {
                return false;
            }
            let next = match head.state {
                State::Live if remove => State::CheckingDest,
                State::Live if forced => State::Checking,
                State::Dest => State::CheckingDest,
                State::Checking if remove => State::CheckingDest,
                // A check is under way, and its process may be dead. Start over with a new ticket.
                State::Checking | State::CheckingDest => head.state,
                _ => return false,
            };
            let checking = Head { ticket: head.ticket.wrapping_add(1) & 0x0fff_ffff, ..head.to(next) };
            // Step 1: announce the check. A crash from here on leaves a check that any `attach` or
            // `try_destroy` completes.
            if self.change(head, checking) {
                // Step 2: read the entries. A process that announced itself before step 1 is found;
                // a later one finds the check.
                between_seq_cst();
                return self.finish_check(checking, me, liveness);
            }
        }
    }

    /// Completes a check. Returns `true` if this call made the object `Gone`.
    fn finish_check(&self, checking: Head, me: Option<ParticipantId>, liveness: &impl Liveness) -> bool {
        let stays = match checking.state {
            State::CheckingDest => State::Dest,
            _ => State::Live,
        };
        let verdict = if self.attached(me, liveness) > 0 { stays } else { State::Gone };
        // Step 3: of several processes that complete the same check, only one sees success, so only
        // one clears the object.
        self.change(checking, checking.to(verdict)) && verdict == State::Gone
    }

    /// Returns the number of attachments of live participants. Clears the entries of dead ones.
    pub fn attached(&self, me: Option<ParticipantId>, liveness: &impl Liveness) -> u64 {
        let mut sum = 0;
        self.for_each_live(me, liveness, |_, count| sum += u64::from(count));
        sum
    }

    /// Calls `f` with each live participant and its count. Clears the entries of dead ones.
    pub fn for_each_live(&self, me: Option<ParticipantId>, liveness: &impl Liveness, mut f: impl FnMut(ParticipantId, u32)) {
        let high = (self.high.load(Ordering::SeqCst) as usize).min(self.entries.len());
        for (slot, entry) in self.entries[..high].iter().enumerate() {
            let word = entry.load(Ordering::SeqCst);
            if word & MAX_COUNT == 0 {
                continue;
            }
            let participant = ParticipantId { slot: slot as u32, incarnation: (word >> 16) as u16 };
            if me == Some(participant) || liveness.alive(participant) {
                f(participant, word & MAX_COUNT);
            } else if !self.writable || entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                // The exchange succeeds for one process only, so each death is reported once. It
                // fails if the slot's next participant has announced itself meanwhile.
                liveness.reaped(participant);
            }
        }
    }
}

/// The entry of `me` with this count.
fn packed(me: ParticipantId, count: u32) -> u32 {
    if count == 0 { 0 } else { u32::from(me.incarnation) << 16 | count }
}

/// The count in an entry if it belongs to `me`; 0 if it belongs to a predecessor in the slot.
fn own_count(word: u32, me: ParticipantId) -> u32 {
    if (word >> 16) as u16 == me.incarnation { word & MAX_COUNT } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_survives_packing() {
        for raw in [0, 1, 32768, i32::MAX] {
            for state in [State::Free, State::Making, State::Live, State::Dest, State::Checking, State::CheckingDest, State::Gone]
            {
                let head = Head { id: Id::from_raw(raw).unwrap(), state, ticket: 0x0fff_ffff };
                assert_eq!(Head::unpack(head.pack()), head);
            }
        }
        assert_eq!(Head::unpack(u64::MAX).state, State::Gone);
    }
}
