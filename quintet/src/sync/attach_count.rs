//! Who is attached to an object, and the decision that nobody is.
//!
//! Each participant has an entry of its own with its number of attachments; an object's attach
//! count is the sum over the living. No lock: a participant announces itself first and then looks
//! whether the object still stands, the destroyer announces its intent first and then looks
//! for participants, so one of them always sees the other (Dekker). Every step may be the last of
//! its process; whoever comes next can finish what it finds.
//!
//! The head word, `id | state << 31 | ticket << 36`:
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `Free` | no object; `id` is the last one that was here | `Making` by a creator that holds the registry's lock |
//! | `Making` | being made under the registry's lock; found without it: its creator died | `Live`; `Free` |
//! | `Live` | an object with a key or private | `Checking`, `CheckingDest` |
//! | `Dest` | removed, still attached; found by identifier alone | `CheckingDest` |
//! | `Checking` | somebody looks whether a live object has lost its last attachment | `Live`, `Gone` |
//! | `CheckingDest` | the same of a removed one | `Dest`, `Gone` |
//! | `Gone` | nobody is attached, nobody can be any more; what is left is to be cleared | `Free` |
//! | 7..=31 | illegal: a peer scribbled | treated as `Gone` by all, cleared by a creator |
//!
//! The ticket grows each time a judgement begins, so that a slow judge cannot end a later one's.
//!
//! An entry, `incarnation << 16 | count`: 0 nobody; of another incarnation than the slot has now: a dead one's.

use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, between_seq_cst};
use crate::types::id::Id;

/// The state of an object; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    Free = 0,
    Making = 1,
    Live = 2,
    Dest = 3,
    Checking = 4,
    CheckingDest = 5,
    Gone = 6,
}

/// The head word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub id: Id,
    pub state: State,
    ticket: u32,
}

impl Head {
    /// The head of a new object.
    pub fn new(id: Id, state: State) -> Head {
        Head { id, state, ticket: 0 }
    }

    /// From the word. A state that does not exist is `Gone`.
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

    /// To the word.
    pub fn pack(self) -> u64 {
        self.id.raw() as u64 | (self.state as u64) << 31 | u64::from(self.ticket & 0x0fff_ffff) << 36
    }

    /// The same of an object that is at this index.
    pub fn at(self, index: u16) -> Head {
        Head { id: Id::new(self.id.sequence(), index), ..self }
    }

    fn to(self, state: State) -> Head {
        Head { state, ..self }
    }

    /// Whether the object can be used by its identifier.
    pub fn is_live(self) -> bool {
        matches!(self.state, State::Live | State::Dest | State::Checking | State::CheckingDest)
    }

    /// Whether its key finds it. (A judged one may go, but has not.)
    pub fn has_key(self) -> bool {
        matches!(self.state, State::Live | State::Checking)
    }

    /// Whether it has been removed and only its attachments keep it.
    pub fn is_dest(self) -> bool {
        matches!(self.state, State::Dest | State::CheckingDest)
    }
}

/// A participant: its slot and the low 16 bits of the slot's incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParticipantId {
    pub slot: u32,
    pub incarnation: u16,
}

impl ParticipantId {
    /// In one word: the slot, and the incarnation in the upper half.
    pub fn to_word(self) -> u32 {
        self.slot | u32::from(self.incarnation) << 16
    }

    pub fn from_word(word: u32) -> ParticipantId {
        ParticipantId { slot: word & 0xffff, incarnation: (word >> 16) as u16 }
    }
}

/// What the protocol asks of the world.
pub trait Liveness {
    /// Whether the participant is alive. One that cannot be asked about counts as alive.
    fn alive(&self, who: ParticipantId) -> bool;
    /// Told once of each dead one whose attachments were struck out; by who may not strike, of each it sees.
    fn reaped(&self, who: ParticipantId);
}

/// An object's head and entries.
#[derive(Clone, Copy)]
pub struct AttachCount<'a> {
    pub head: &'a AtomicU64,
    /// The entries, by slot.
    pub entries: &'a [AtomicU32],
    /// One more than the greatest slot that ever had an entry.
    pub high: &'a AtomicU32,
    /// Whether the caller may write to them: who has no right to the object can only count.
    pub writable: bool,
}

/// An entry has 16 bits for its count; a process that has more mappings than that is refused.
pub const MOST: u32 = 0xffff;

impl AttachCount<'_> {
    /// The head now.
    pub fn head(&self) -> Head {
        Head::unpack(self.head.load(Ordering::SeqCst))
    }

    fn change(&self, from: Head, to: Head) -> bool {
        self.head.compare_exchange(from.pack(), to.pack(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Adds `by` to `me`'s attachments. `false`: the entry is full.
    pub fn announce(&self, me: ParticipantId, by: u32) -> bool {
        let Some(entry) = self.entries.get(me.slot as usize) else { return false };
        self.high.fetch_max(me.slot + 1, Ordering::SeqCst);
        let mut old = entry.load(Ordering::SeqCst);
        loop {
            let count = own_count(old, me) + by;
            if count > MOST {
                return false;
            }
            match entry.compare_exchange(old, packed(me, count), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }

    /// Takes `by` from `me`'s attachments.
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

    /// Strikes out a dead one's attachments. `false`: it has none.
    pub fn reap(&self, dead: ParticipantId) -> bool {
        let Some(entry) = self.entries.get(dead.slot as usize) else { return false };
        let word = entry.load(Ordering::SeqCst);
        own_count(word, dead) > 0 && entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Attaches `me` to the object `id`: announces it, then makes sure that the object still stands.
    /// `false`: it does not (nothing is left announced). The caller attends to what `settle` leaves `Gone`.
    pub fn attach(&self, id: Id, me: ParticipantId, census: &impl Liveness) -> bool {
        if !self.announce(me, 1) {
            return false;
        }
        between_seq_cst();
        loop {
            let head = self.head();
            if head.id != id || !head.is_live() {
                self.withdraw(me, 1);
                return false;
            }
            match head.state {
                State::Live | State::Dest => return true,
                // A judge may have looked before we announced ourselves: end its judgement with our own look.
                _ => {
                    self.settle(head, Some(me), census);
                }
            }
        }
    }

    /// Begins to judge whether the object `id` has lost its last attachment. `remove`: it is being
    /// removed (`IPC_RMID`); `forced`: also a live one goes with its last attachment (`shm_rmid_forced`).
    ///
    /// `true`: the object is `Gone` by this call, and the caller clears what is left.
    pub fn try_destroy(&self, id: Id, me: Option<ParticipantId>, remove: bool, forced: bool, census: &impl Liveness) -> bool {
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
                State::Checking | State::CheckingDest => head.state,
                _ => return false,
            };
            let judged = Head { ticket: head.ticket.wrapping_add(1) & 0x0fff_ffff, ..head.to(next) };
            if self.change(head, judged) {
                between_seq_cst();
                return self.settle(judged, me, census);
            }
        }
    }

    /// Ends a judgement. `true`: the object is `Gone` by this call.
    fn settle(&self, judged: Head, me: Option<ParticipantId>, census: &impl Liveness) -> bool {
        let stays = match judged.state {
            State::CheckingDest => State::Dest,
            _ => State::Live,
        };
        let verdict = if self.attached(me, census) > 0 { stays } else { State::Gone };
        self.change(judged, judged.to(verdict)) && verdict == State::Gone
    }

    /// The number of attachments of the living. The entries of the dead are struck out.
    pub fn attached(&self, me: Option<ParticipantId>, census: &impl Liveness) -> u64 {
        let mut sum = 0;
        self.each(me, census, |_, count| sum += u64::from(count));
        sum
    }

    /// Calls `f` with each living participant and its count.
    pub fn each(&self, me: Option<ParticipantId>, census: &impl Liveness, mut f: impl FnMut(ParticipantId, u32)) {
        let high = (self.high.load(Ordering::SeqCst) as usize).min(self.entries.len());
        for (slot, entry) in self.entries[..high].iter().enumerate() {
            let word = entry.load(Ordering::SeqCst);
            if word & MOST == 0 {
                continue;
            }
            let who = ParticipantId { slot: slot as u32, incarnation: (word >> 16) as u16 };
            if me == Some(who) || census.alive(who) {
                f(who, word & MOST);
            } else if !self.writable || entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                census.reaped(who);
            }
        }
    }
}

fn packed(me: ParticipantId, count: u32) -> u32 {
    if count == 0 { 0 } else { u32::from(me.incarnation) << 16 | count }
}

/// The count in an entry, if it is `me`'s; a dead predecessor's does not count.
fn own_count(word: u32, me: ParticipantId) -> u32 {
    if (word >> 16) as u16 == me.incarnation { word & MOST } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_keeps_what_it_is_given() {
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
